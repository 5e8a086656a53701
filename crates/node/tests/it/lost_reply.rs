//! The answer to a write is lost after its commit. With an idempotency key the write is executed once, however often it
//! is sent; without one the caller is told that nobody knows.

use std::time::Duration;

use homing::{Access, IdempotencyKey};
use homing_kv::MAX_RECORDS;
use homing_kv::proto::Version;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::on_each_wire;
use crate::support::{Cluster, Layout, OwnersOf, Relay, Served, every, new_key};

const ENTRY: usize = 4;
const PRIMARY: usize = 1;
const OTHER: usize = 0;

type Written = Result<Served<Version>, Status>;

on_each_wire!(a_write_whose_answer_is_lost_is_sent_again_and_executed_once);
async fn a_write_whose_answer_is_lost_is_sent_again_and_executed_once(wire: &'static str) {
    let lossy = Lossy::start(wire).await;
    let before = lossy.put(ENTRY).await;
    let write = lossy.lose_answer(Some(new_key())).await;
    lossy.relay.cut();
    let served = write.await.unwrap().unwrap();
    assert_eq!((served.by.as_str(), served.hops), ("n2", 2), "it was not sent again by way of another");
    assert!(served.attempts > 1, "it was not sent again");
    assert_eq!(served.value, Version { seq: before.seq + 1, ..before });
    let after = lossy.put(OTHER).await;
    assert_eq!(after.seq, before.seq + 2);
}

on_each_wire!(a_caller_that_comes_back_after_the_primary_was_killed_finds_its_write_executed_once);
async fn a_caller_that_comes_back_after_the_primary_was_killed_finds_its_write_executed_once(
    wire: &'static str,
) {
    let mut lossy = Lossy::start(wire).await;
    let before = lossy.put(ENTRY).await;
    let name = new_key();
    let write = lossy.lose_answer(Some(name)).await;
    lossy.cluster.nodes[PRIMARY].kill();
    assert_maybe_sent(&write.await.unwrap().unwrap_err());
    lossy.relay.mend();
    lossy.cluster.nodes[PRIMARY].start();
    lossy.cluster.nodes[PRIMARY].answers().await;
    for entry in [ENTRY, OTHER, PRIMARY] {
        let again = lossy.cluster.kv(entry).put_with_key(&lossy.space, "key", b"lost", name).await.unwrap();
        assert_eq!(again.value, Version { seq: before.seq + 1, ..before });
    }
    let after = lossy.put(ENTRY).await;
    assert_eq!(after.seq, before.seq + 2);
}

on_each_wire!(a_caller_that_comes_back_too_late_is_told_so_and_nothing_is_executed);
async fn a_caller_that_comes_back_too_late_is_told_so_and_nothing_is_executed(wire: &'static str) {
    let lossy = Lossy::start(wire).await;
    let before = lossy.put(ENTRY).await;
    let name = new_key();
    let write = lossy.lose_answer(Some(name)).await;
    lossy.relay.cut();
    write.await.unwrap().unwrap();
    lossy.relay.mend();

    let kv = lossy.cluster.kv(PRIMARY);
    every(0..MAX_RECORDS, |i| {
        let (kv, space) = (kv.clone(), lossy.space.clone());
        async move {
            kv.put_with_key(&space, "other", i.to_string().as_bytes(), new_key()).await.unwrap();
        }
    })
    .await;

    // One that was executed, and one that never was: nobody can tell them apart any more.
    for name in [name, IdempotencyKey::new(name.unix_millis() - 1, [0; 10])] {
        for entry in [ENTRY, OTHER] {
            let kv = lossy.cluster.kv(entry);
            let late = kv.put_with_key(&lossy.space, "key", b"lost", name).await.unwrap_err();
            assert_eq!(late.code(), Code::FailedPrecondition, "{late}");
            assert!(late.message().contains("older than what the space remembers"), "{late}");
            assert!(late.metadata().get("homing-outcome").is_none(), "it is the service's own answer");
        }
    }
    let after = lossy.put(ENTRY).await;
    assert_eq!(after.seq, before.seq + 1 + MAX_RECORDS + 1);
}

on_each_wire!(a_write_without_a_key_whose_answer_is_lost_is_called_ambiguous);
async fn a_write_without_a_key_whose_answer_is_lost_is_called_ambiguous(wire: &'static str) {
    let lossy = Lossy::start(wire).await;
    let before = lossy.put(ENTRY).await;
    let write = lossy.lose_answer(None).await;
    lossy.relay.cut();
    let error = write.await.unwrap().unwrap_err();
    assert_maybe_sent(&error);
    assert_eq!(error.metadata().get("homing-attempts").unwrap(), "1", "it was sent again: {error}");
    let after = lossy.put(OTHER).await;
    assert_eq!(after.seq, before.seq + 2);
}

/// Clients send again what is UNAVAILABLE.
fn assert_maybe_sent(error: &Status) {
    assert_eq!(error.code(), Code::Unknown, "{error}");
    assert_eq!(error.metadata().get("homing-outcome").unwrap(), "maybe-sent", "{error}");
}

/// A cluster in which n5's way to n2 goes by a relay, and a space whose primary is n2.
struct Lossy {
    cluster: Cluster,
    relay: Relay,
    space: String,
}

impl Lossy {
    async fn start(wire: &'static str) -> Self {
        let mut cluster = Cluster::prepare(Layout::five(wire));
        let relay = cluster.relay(PRIMARY, &[ENTRY]).await;
        cluster.start_all().await;
        let space = OwnersOf::ask(&cluster.nodes[0]).await.spaces_of("n2", 1).remove(0);
        Self { cluster, relay, space }
    }

    async fn put(&self, entry: usize) -> Version {
        self.cluster.kv(entry).put(&self.space, "key", b"value").await.unwrap().value
    }

    /// Begins a write at the entry. It is committed, and its answer is lost; the entry waits for it still.
    async fn lose_answer(&self, name: Option<IdempotencyKey>) -> JoinHandle<Written> {
        let passed = self.relay.requests_passed();
        self.relay.drop_replies();
        let (kv, space) = (self.cluster.kv(ENTRY), self.space.clone());
        let kv = kv.with_timeout(Duration::from_secs(6));
        let write = tokio::spawn(async move {
            match name {
                Some(name) => kv.put_with_key(&space, "key", b"lost", name).await,
                None => kv.put(&space, "key", b"lost").await,
            }
        });
        let started = Instant::now();
        while !self.is_committed().await || self.primary_is_busy().await {
            assert!(started.elapsed() < Duration::from_secs(10), "the write is not executed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(self.relay.requests_passed() > passed, "the write went another way");
        assert!(self.relay.replies_swallowed() > 0, "nothing was lost");
        assert!(!write.is_finished(), "the answer was not lost");
        write
    }

    /// What the primary says to somebody else.
    async fn is_committed(&self) -> bool {
        let kv = self.cluster.kv(OTHER);
        let read = kv.get_with(&self.space, "key", Access::ReadPrimary).await.unwrap();
        read.value.as_deref() == Some(b"lost")
    }

    /// Whether the primary has still to answer somebody.
    async fn primary_is_busy(&self) -> bool {
        self.cluster.nodes[PRIMARY].counter("homing_in_flight", "").await > 0.0
    }
}
