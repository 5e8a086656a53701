//! The rules of the protocol, one by one.

#![allow(clippy::unwrap_used, reason = "the helpers of tests panic as the tests do")]

mod support;

use homing_kv::{
    Accept, Entry, MAX_RECORDS, MAX_TAIL, Op, Page, Part, Progress, Proposal, Refusal, Reply, Request,
    RequestKind, Standing, Store,
};
use homing_types::{Epoch, Role};
use prost::bytes::Bytes;
use redb::StorageBackend;
use support::*;

fn entry(e: u64, seq: u64, op: Op) -> Entry {
    Entry { position: at(e, seq), idempotency_key: None, op }
}

fn accept(store: &Store, e: u64, prev: (u64, u64), entries: Vec<Entry>, committed: (u64, u64)) -> Reply {
    let accept = Accept { prev: at(prev.0, prev.1), entries, committed: at(committed.0, committed.1) };
    run(store, |batch| batch.accept(&space(), epoch(e), &accept))
}

/// A replica that holds 1.1 (committed), 1.2 and 1.3.
fn replica() -> (Disk, Store) {
    let disk = Disk::new();
    let store = open(&disk, "n2");
    let entries = (1..=3).map(|seq| entry(1, seq, put_op(&format!("k{seq}"), "old"))).collect();
    let standing = accept(&store, 1, (0, 0), entries, (1, 1)).unwrap();
    assert_eq!(standing, Standing { last: at(1, 3), committed: at(1, 1) });
    (disk, store)
}

#[test]
fn a_gap_is_refused_with_what_is_held() {
    let (_, store) = replica();
    let gap = Err(Refusal::Gap(Standing { last: at(1, 3), committed: at(1, 1) }));
    assert_eq!(accept(&store, 1, (1, 4), vec![entry(1, 5, put_op("k", "v"))], (1, 1)), gap);
    assert_eq!(accept(&store, 1, (1, 4), vec![], (1, 4)), gap);
    assert_eq!(commit(&store, 1, at(1, 4)), gap.map(|_| vec![]));
}

#[test]
fn entries_that_come_again_late_or_out_of_order_change_nothing() {
    let (_, store) = replica();
    let first = vec![entry(1, 1, put_op("k1", "old"))];
    let standing = Ok(Standing { last: at(1, 3), committed: at(1, 1) });
    assert_eq!(accept(&store, 1, (0, 0), first, (0, 0)), standing);
    assert_eq!(accept(&store, 1, (1, 1), vec![entry(1, 2, put_op("k2", "old"))], (1, 1)), standing);
    assert_eq!(accept(&store, 1, (1, 3), vec![], (1, 1)), standing);
    assert_eq!(store.log(&space(), epoch(1), 1).unwrap().1.len(), 2);
}

#[test]
fn a_newer_primary_replaces_an_uncommitted_tail_and_nothing_committed() {
    let (_, store) = replica();
    let standing = accept(&store, 2, (1, 1), vec![entry(2, 2, put_op("k2", "new"))], (1, 1));
    assert_eq!(standing, Ok(Standing { last: at(2, 2), committed: at(1, 1) }));
    // What it wrote itself it doesn't replace either: only a late or broken message asks for that.
    let late = accept(&store, 2, (1, 1), vec![entry(1, 2, put_op("k2", "old"))], (1, 1));
    assert_eq!(late, Err(Refusal::Diverged { at: at(2, 2) }));
    let gap = Err(Refusal::Gap(standing.unwrap()));
    assert_eq!(accept(&store, 2, (1, 3), vec![], (1, 1)), gap);
    assert_eq!(accept(&store, 3, (3, 2), vec![entry(3, 3, put_op("k3", "new"))], (1, 1)), gap);

    let diverged = Err(Refusal::Diverged { at: at(1, 1) });
    assert_eq!(accept(&store, 3, (0, 0), vec![entry(2, 1, put_op("k1", "new"))], (0, 0)), diverged);
    assert_eq!(accept(&store, 3, (2, 1), vec![], (2, 1)), diverged);
    assert_eq!(commit(&store, 3, at(2, 1)), diverged.map(|_: Standing| vec![]));
}

#[test]
fn one_label_never_names_two_entries() {
    let (_, store) = replica();
    let diverged = |e, seq| Err(Refusal::Diverged { at: at(e, seq) });
    assert_eq!(accept(&store, 1, (1, 1), vec![entry(1, 2, put_op("k2", "other"))], (1, 1)), diverged(1, 2));
    // Nor where the entry is committed, and only its digest is left.
    assert_eq!(accept(&store, 1, (0, 0), vec![entry(1, 1, put_op("k1", "other"))], (0, 0)), diverged(1, 1));
    assert!(accept(&store, 1, (0, 0), vec![entry(1, 1, put_op("k1", "old"))], (0, 0)).is_ok());
    // Entries must follow each other, and can't be newer than their sender.
    assert_eq!(accept(&store, 1, (1, 3), vec![entry(1, 5, put_op("k", "v"))], (1, 1)), diverged(1, 5));
    assert_eq!(accept(&store, 1, (1, 3), vec![entry(2, 4, put_op("k", "v"))], (1, 1)), diverged(2, 4));
}

#[test]
fn only_entries_that_the_message_proves_are_committed() {
    let (_, store) = replica();
    // The primary has committed its 2.2 and 2.3; 1.2 and 1.3 here are leftovers of an older one.
    let standing = accept(&store, 2, (1, 1), vec![], (2, 3));
    assert_eq!(standing, Ok(Standing { last: at(1, 3), committed: at(1, 1) }));
    assert_eq!(
        accept(&store, 2, (1, 3), vec![], (2, 4)),
        Ok(Standing { last: at(1, 3), committed: at(1, 3) })
    );
}

#[test]
fn the_fence_outlives_a_crash_even_if_the_request_was_refused() {
    let (disk, store) = replica();
    assert!(matches!(accept(&store, 7, (7, 9), vec![], (0, 0)), Err(Refusal::Gap(_))));
    let store = open(&disk.cut(&mut Coin(1), 0), "n2");
    let fenced = Refusal::Fenced { fence: epoch(7) };
    assert_eq!(accept(&store, 6, (1, 3), vec![], (1, 1)), Err(fenced.clone()));
    assert_eq!(propose(&store, 6, &put_op("k", "v"), None), Err(fenced.clone()));
    assert_eq!(commit(&store, 6, at(1, 3)), Err(fenced.clone()));
    assert_eq!(run(&store, |batch| batch.lead(&space(), epoch(6))), Err(fenced.clone()));
    assert_eq!(answer(store.read(&space(), epoch(6), Role::Replica, &key("k1"))), Err(fenced));
    assert_eq!(store.fence(&space()).unwrap(), epoch(7));
}

#[test]
fn a_tail_has_a_bound_at_the_primary_and_at_the_replica() {
    let store = open(&Disk::new(), "n1");
    store
        .write(|batch| {
            for _ in 0..MAX_TAIL {
                answer(batch.propose(&space(), epoch(1), &put_op("k", "v"), None)).unwrap();
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(propose(&store, 1, &put_op("k", "v"), None), Err(Refusal::TailFull { tail: MAX_TAIL }));
    let more = vec![entry(1, MAX_TAIL + 1, put_op("k", "v"))];
    let full = accept(&store, 1, (1, MAX_TAIL), more.clone(), (0, 0));
    assert_eq!(full, Err(Refusal::TailFull { tail: MAX_TAIL + 1 }));
    assert!(accept(&store, 1, (1, MAX_TAIL), more, (1, 1)).is_ok());
}

#[test]
fn a_key_is_executed_once_and_means_one_write() {
    let store = open(&Disk::new(), "n1");
    write(&store, 1, &put_op("k", "v"));
    assert_eq!(propose(&store, 1, &delete_op("k"), Some(5)), Ok(Proposal::Appended(at(1, 2))));
    assert_eq!(propose(&store, 1, &delete_op("k"), Some(5)), Ok(Proposal::Pending(at(1, 2))));
    assert_eq!(propose(&store, 1, &delete_op("other"), Some(5)), Err(Refusal::KeyReused));
    let applied = commit(&store, 1, at(1, 2)).unwrap()[0];
    assert!(applied.found && applied.version == at(1, 2));
    write(&store, 1, &put_op("k", "again"));
    assert_eq!(propose(&store, 2, &delete_op("k"), Some(5)), Ok(Proposal::Done(applied)));
    assert_eq!(propose(&store, 2, &delete_op("other"), Some(5)), Err(Refusal::KeyReused));
}

/// A primary whose space remembers as many results as it may: keys 1 to `MAX_RECORDS`.
fn full_of_records() -> Store {
    let store = open(&Disk::new(), "n1");
    for chunk in (1..=MAX_RECORDS).collect::<Vec<u64>>().chunks(512) {
        store
            .write(|batch| {
                for n in chunk {
                    let op = put_op(&format!("k{}", n % 7), n.to_be_bytes());
                    answer(batch.propose(&space(), epoch(1), &op, Some(idempotency_key(*n)))).unwrap();
                }
                answer(batch.commit(&space(), epoch(1), at(1, *chunk.last().unwrap()))).unwrap();
                Ok(())
            })
            .unwrap();
    }
    store
}

#[test]
fn the_oldest_key_makes_room_and_is_too_late_for_ever() {
    let store = full_of_records();
    let retry = |n: u64| propose(&store, 1, &put_op(&format!("k{}", n % 7), n.to_be_bytes()), Some(n));
    assert!(matches!(retry(1), Ok(Proposal::Done(_))));
    // Proposed while it still has room: the one before it takes the room when it is applied.
    let (newer, older) = (MAX_RECORDS + 1, 0);
    assert_eq!(retry(newer), Ok(Proposal::Appended(at(1, newer))));
    assert_eq!(retry(older), Ok(Proposal::Appended(at(1, newer + 1))));
    commit(&store, 1, at(1, newer + 1)).unwrap();
    for late in [0, 1] {
        assert_eq!(retry(late), Err(Refusal::TooLate), "{late}");
    }
    for known in [2, newer] {
        assert!(matches!(retry(known), Ok(Proposal::Done(_))), "{known}");
    }
}

#[test]
fn a_list_has_pages_in_the_order_of_the_keys() {
    let store = open(&Disk::new(), "n1");
    for name in ["b2", "a", "b1", "c", "b3"] {
        write(&store, 1, &put_op(name, name));
    }
    let page = |prefix: &'static str, after: &'static str, limit| {
        let page = Page::new(Bytes::from(prefix), Bytes::from(after), limit).unwrap();
        let listing = store.list(&space(), epoch(1), Role::Replica, &page).unwrap();
        let keys = listing.items.iter().map(|item| item.key.bytes().escape_ascii().to_string());
        (keys.collect::<Vec<_>>(), listing.more)
    };
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    assert_eq!(page("", "", 0), (keys(&["a", "b1", "b2", "b3", "c"]), false));
    assert_eq!(page("b", "", 2), (keys(&["b1", "b2"]), true));
    assert_eq!(page("b", "b2", 2), (keys(&["b3"]), false));
    assert_eq!(page("", "b3", 2), (keys(&["c"]), false));
    assert_eq!(page("b", "c", 2), (keys(&[]), false));
    assert_eq!(page("x", "", 2), (keys(&[]), false));
}

#[test]
fn a_promoted_primary_shows_nothing_before_it_has_committed_what_it_inherited() {
    let (_, store) = replica();
    let read = |e, role| answer(store.read(&space(), epoch(e), role, &key("k1"))).map(|item| item.is_some());
    assert_eq!(read(1, Role::Replica), Ok(true));
    assert_eq!(read(2, Role::Replica), Ok(true));
    assert_eq!(read(2, Role::Primary), Err(Refusal::Unsettled));
    commit(&store, 2, at(1, 3)).unwrap();
    assert_eq!(read(2, Role::Primary), Ok(true));
}

#[test]
fn a_copy_with_a_tail_is_settled_by_its_primary_or_by_the_word_of_a_settled_copy() {
    let restart = || {
        let (disk, store) = replica();
        drop(store);
        open(&disk.cut(&mut Coin(1), 0), "n2")
    };
    let reads = |store: &Store| answer(store.read(&space(), epoch(2), Role::Replica, &key("k1"))).is_ok();

    let store = restart();
    assert!(!reads(&store));
    let ask = Request { space: space(), epoch: epoch(2), kind: RequestKind::Ask };
    assert_eq!(run(&store, |batch| batch.handle(&ask)), Err(Refusal::Unsettled));
    accept(&store, 2, (1, 2), vec![], (1, 2)).unwrap();
    assert!(!reads(&store), "the rest of the tail may be acknowledged, too");
    accept(&store, 2, (1, 3), vec![], (1, 3)).unwrap();
    assert!(reads(&store));
    assert!(run(&store, |batch| batch.handle(&ask)).is_ok());

    let store = restart();
    run(&store, |batch| batch.settle(&space(), epoch(1), at(1, 2))).unwrap();
    assert!(reads(&store));

    let store = restart();
    accept(&store, 2, (1, 1), vec![entry(2, 2, put_op("k2", "new"))], (2, 2)).unwrap();
    assert!(reads(&store), "a newer primary replaced the tail by a shorter one");
}

/// Brings a replica up to its primary; the requests that it took.
fn align(primary: &Store, replica: &Store, e: u64) -> Vec<Request> {
    let mut progress = Progress::new(space(), epoch(e));
    let mut sent = Vec::new();
    while let Some(request) = answer(progress.next(primary)).unwrap() {
        let reply = run(replica, |batch| batch.handle(&request));
        answer(progress.learn(primary, &request, &reply)).unwrap();
        sent.push(request);
        assert!(sent.len() < 100, "no progress");
    }
    sent
}

#[test]
fn a_replica_that_lacks_more_than_the_log_holds_gets_a_full_copy() {
    let (disk, replica) = replica();
    let primary = full_of_records();
    propose(&primary, 2, &put_op("k", "v"), Some(MAX_RECORDS + 1)).unwrap();
    commit(&primary, 2, at(2, MAX_RECORDS + 1)).unwrap();
    for i in 0..5 {
        write(&primary, 2, &put_op(&format!("big{i}"), vec![i; 700_000]));
    }
    propose(&primary, 3, &put_op("tail", "v"), None).unwrap();
    let sent = align(&primary, &replica, 3);
    let parts = sent.iter().filter(|request| matches!(request.kind, RequestKind::Install(_))).count();
    assert!(parts >= 5, "{parts}");
    assert!(sent.iter().all(|request| request.encode().len() < (1 << 20) + 2048));

    drop(replica);
    let replica = open(&disk.cut(&mut Coin(1), 0), "n2");
    assert_eq!(replica.standing(&space()).unwrap(), primary.standing(&space()).unwrap());
    assert_eq!(committed_items(&replica), committed_items(&primary));
    // The results came along, and the floor: the copy could be the next primary.
    for store in [&primary, &replica] {
        let known = propose(store, 4, &put_op("k2", 9_u64.to_be_bytes()), Some(9));
        assert!(matches!(known, Ok(Proposal::Done(applied)) if applied.version == at(1, 9)), "{known:?}");
        assert_eq!(propose(store, 4, &put_op("k1", "v"), Some(1)), Err(Refusal::TooLate));
    }
    commit(&primary, 4, at(3, MAX_RECORDS + 7)).unwrap();
    let Ok(Proposal::Appended(position)) = propose(&primary, 4, &put_op("k", "v"), None) else { panic!() };
    assert_eq!(align(&primary, &replica, 4).len(), 1, "from here on the log is enough");
    commit(&primary, 4, position).unwrap();
    align(&primary, &replica, 4);
    assert_eq!(committed_items(&replica), committed_items(&primary));
}

#[test]
fn a_full_copy_is_visible_whole_or_not_at_all_whatever_happens_to_its_parts() {
    let primary = open(&Disk::new(), "n1");
    for i in 0..4 {
        write(&primary, 2, &put_op(&format!("big{i}"), vec![i; 700_000]));
    }
    let (disk, replica) = replica();
    let before = committed_items(&replica);
    let mut export = primary.export(&space()).unwrap();
    let mut parts = Vec::<Part>::new();
    while let Some(part) = export.next_part().unwrap() {
        parts.push(part);
    }
    assert_eq!(parts.len(), 4);
    let install = |store: &Store, e: u64, part: &Part| {
        run(store, |batch| batch.install(&space(), epoch(e), part)).map(|_| ())
    };
    install(&replica, 2, &parts[0]).unwrap();
    assert_eq!(install(&replica, 2, &parts[2]), Err(Refusal::Part { expected: 1 }));
    install(&replica, 2, &parts[1]).unwrap();
    install(&replica, 2, &parts[1]).unwrap();
    drop(replica);
    let replica = open(&disk.cut(&mut Coin(1), 0), "n2");
    assert_eq!(committed_items(&replica), before);
    install(&replica, 2, &parts[2]).unwrap();
    // Another primary's copy is another copy.
    assert_eq!(install(&replica, 3, &parts[3]), Err(Refusal::Part { expected: 0 }));
    install(&replica, 3, &parts[0]).unwrap();
    for part in &parts[1..] {
        assert_eq!(committed_items(&replica), before);
        install(&replica, 3, part).unwrap();
    }
    assert_eq!(committed_items(&replica), committed_items(&primary));
    // Late parts of a copy that is here already are agreed to and change nothing.
    install(&replica, 3, &parts[0]).unwrap();
    assert_eq!(replica.standing(&space()).unwrap(), primary.standing(&space()).unwrap());
    assert_eq!(install(&replica, 2, &parts[1]), Err(Refusal::Fenced { fence: Epoch::new(3) }));
}

#[test]
fn full_copies_leave_nothing_behind() {
    let primary = open(&Disk::new(), "n1");
    let (disk, replica) = replica();
    let mut first = 0;
    for i in 0..8 {
        // Committed without the replica: its log can't catch up.
        write(&primary, 2, &put_op("k", vec![i; 700_000]));
        write(&primary, 2, &put_op("k2", "v"));
        align(&primary, &replica, 2);
        assert_eq!(committed_items(&replica), committed_items(&primary));
        first = if i == 1 { disk.len().unwrap() } else { first };
    }
    assert!(disk.len().unwrap() <= first * 2, "{} after {first}", disk.len().unwrap());
}

#[test]
fn a_primary_that_lacks_what_its_replica_committed_is_not_fit() {
    let primary = open(&Disk::new(), "n1");
    let (_, replica) = replica();
    let mut progress = Progress::new(space(), epoch(2));
    let request = answer(progress.next(&primary)).unwrap().unwrap();
    let reply = run(&replica, |batch| batch.handle(&request));
    let unfit = Err(Refusal::Diverged { at: at(1, 1) });
    assert_eq!(answer(progress.learn(&primary, &request, &reply)), unfit);
}
