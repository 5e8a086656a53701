//! Three nodes that exchange messages by hand, over a network that loses, repeats and reorders, on disks
//! that forget, under an authority that promotes and replaces: no acknowledged write is ever lost, shown
//! late, or executed twice.

#![allow(clippy::unwrap_used, reason = "the helpers of tests panic as the tests do")]

mod checks;
mod cluster;
#[path = "../support/mod.rs"]
mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use cluster::{Cluster, NODES, Seen};

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A caller writes at the node that it believes to be the primary, past the last: at the one that is.
    Write {
        at: usize,
        key: u8,
        value: Option<u8>,
        idempotent: bool,
    },
    /// A caller that got no answer tries again, at the current primary.
    Retry(usize),
    /// A primary sends what is due, commits and answers.
    Drive(usize),
    /// A message arrives; which one, and whether it will arrive again.
    Deliver {
        which: usize,
        again: bool,
    },
    /// For a while everything works: the current primary drives, and messages arrive in order.
    Calm(usize),
    Lose(usize),
    Crash {
        node: usize,
        seed: u64,
        keep: u64,
    },
    Flush(usize),
    /// The authority makes an in-sync replica the primary, and may take a node out of the owners.
    Promote {
        to: usize,
        without: usize,
    },
    /// The primary begins to bring a node in sync.
    Join(usize),
    /// A node hears what the authority has decided.
    Learn(usize),
    Ask(usize),
    Read {
        at: usize,
        key: u8,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 0..NODES;
    let value = prop::option::weighted(0.8, any::<u8>());
    prop_oneof![
        10 => (0..NODES + 5, 0..3u8, value, any::<bool>())
            .prop_map(|(at, key, value, idempotent)| Event::Write { at, key, value, idempotent }),
        3 => (0..64usize).prop_map(Event::Retry),
        24 => node().prop_map(Event::Drive),
        5 => (1..12usize).prop_map(Event::Calm),
        40 => (prop_oneof![Just(0), 0..8usize], prop::bool::weighted(0.2))
            .prop_map(|(which, again)| Event::Deliver { which, again }),
        3 => (0..8usize).prop_map(Event::Lose),
        2 => (node(), any::<u64>(), 0..5u64).prop_map(|(node, seed, keep)| Event::Crash { node, seed, keep }),
        1 => node().prop_map(Event::Flush),
        2 => (node(), 0..NODES * 2).prop_map(|(to, without)| Event::Promote { to, without }),
        5 => node().prop_map(Event::Join),
        8 => node().prop_map(Event::Learn),
        2 => node().prop_map(Event::Ask),
        6 => (node(), 0..3u8).prop_map(|(at, key)| Event::Read { at, key }),
    ]
}

#[test]
fn no_acknowledged_write_is_lost_hidden_or_executed_twice() {
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    let seen = std::cell::RefCell::new(Seen::default());
    let result = TestRunner::new(config).run(&vec(event(), 50..400), |events| {
        let mut seen = seen.borrow_mut();
        let mut cluster = Cluster::new(&mut seen);
        events.iter().for_each(|event| cluster.run(event));
        cluster.end_well();
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let seen = seen.into_inner();
    println!("{seen:?}");
    let Seen { acknowledged, promoted, joined, crashed, installed, fenced, unsettled, reads, .. } = seen;
    let counts = [acknowledged, promoted, joined, crashed, installed, fenced, unsettled, reads];
    assert!(
        counts.into_iter().chain([seen.repeated, seen.reordered, seen.lost, seen.gaps]).all(|n| n > 20),
        "{seen:?}"
    );
}
