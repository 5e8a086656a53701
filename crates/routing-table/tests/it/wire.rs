//! Tables on the wire: in one piece or in many, small, and never worth more memory than they are long.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;

use homing_routing_table::{DecodeError, Diff, DiffError, Group, MAX_NODES, MAX_PINS, RoutingTable};
use homing_types::{Epoch, Owners, Replica, ReplicaState, Slot};
use proptest::prelude::*;

use crate::{group, groups, key, node, slot};

/// A group with this primary and two replicas.
fn replicated(epoch: u64, primary: usize) -> Group {
    let replica = |n| Replica { node: node((primary + n) % 12), state: ReplicaState::InSync };
    Group::new(Epoch::new(epoch), Owners::new(node(primary % 12), vec![replica(1), replica(2)]).unwrap())
}

fn pinned(at: Slot, pins: usize, nodes: usize) -> Group {
    let pin = |i: usize| (key(at, i as u128), Owners::new(node(i % nodes), Vec::new()).unwrap());
    Group { pins: (0..pins).map(pin).collect(), ..replicated(1, 0) }
}

#[test]
fn a_full_table_without_pins_is_small() {
    let table = RoutingTable::new();
    let groups = Slot::all().map(|slot| (slot, replicated(1 << 48, slot.index())));
    table.apply(&Diff::new(groups).unwrap()).unwrap();
    let len = table.snapshot().to_diff().as_bytes().len();
    assert!(len <= 512 << 10, "{len} bytes");
}

#[test]
fn a_table_in_chunks_is_the_same_table() {
    let table = RoutingTable::new();
    let large = (slot(9), pinned(slot(9), 500, 100));
    let small = Slot::all().step_by(31).filter(|at| *at != slot(9)).map(|at| (at, replicated(3, at.index())));
    table.apply(&Diff::new(small.chain([large])).unwrap()).unwrap();
    let snapshot = table.snapshot();
    for len in [1, 200, 4_096, usize::MAX] {
        let chunks: Vec<Diff> = snapshot.chunks(len).collect();
        let over = chunks.iter().filter(|chunk| chunk.as_bytes().len() > len);
        assert!(over.clone().all(|chunk| chunk.len() == 1), "a chunk is at most {len} bytes, or one group");
        assert!(len < 200 || over.count() <= 1, "only the large group goes beyond {len}");
        let other = RoutingTable::new();
        chunks.iter().rev().for_each(|chunk| drop(other.apply(chunk).unwrap()));
        assert_eq!((other.load().digest(), groups(&other)), (snapshot.digest(), groups(&table)));
        // And none could have been spared: two that follow each other don't fit into one.
        for pair in chunks.windows(2).filter(|_| len > 1) {
            let first = pair[1].epochs().next().unwrap().0;
            let with_first = pair[0].epochs().map(|(slot, _)| slot).chain([first]);
            assert!(snapshot.diff(with_first).as_bytes().len() > len);
        }
    }
}

#[test]
fn what_nobody_knows_is_in_no_diff() {
    let table = RoutingTable::new();
    assert_eq!((table.load().to_diff(), table.load().chunks(100).count()), (Diff::default(), 0));
    table.apply(&Diff::one(slot(4), group(1, 0)).unwrap()).unwrap();
    let diff = table.load().diff([slot(5), slot(4), slot(4), slot(3)]);
    assert_eq!(diff, Diff::one(slot(4), group(1, 0)).unwrap());
}

/// A group that a diff takes can always travel, and one that it doesn't take never arrives.
#[test]
fn the_bounds_hold_where_a_diff_is_made_and_where_it_is_decoded() {
    let most = pinned(slot(0), MAX_NODES, MAX_NODES);
    let diff = Diff::one(slot(0), most.clone()).unwrap();
    assert_eq!(Diff::decode(diff.as_bytes()).unwrap().iter().collect::<Vec<_>>(), [(slot(0), most)]);
    for nodes in [MAX_NODES + 1, 70_000] {
        let over = Diff::one(slot(0), pinned(slot(0), nodes, nodes));
        assert_eq!(over, Err(DiffError::TooManyNodes));
    }
    // A pin more, by hand.
    let diff = Diff::one(slot(0), pinned(slot(0), MAX_PINS, 1)).unwrap();
    let mut bytes = diff.into_bytes();
    let count = bytes.windows(3).position(|bytes| bytes == [0x0f, 0x42, 0x40]).unwrap();
    bytes[count + 2] += 1;
    let last = bytes[bytes.len() - 20..].to_vec();
    bytes.extend(last);
    let at = bytes.len() - 20;
    bytes[at + 12..at + 16].copy_from_slice(&1_000_000_u32.to_be_bytes());
    assert_eq!(Diff::decode(bytes), Err(DecodeError::Diff(DiffError::TooManyPins)));
}

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Decodes, and says how many times the bytes' length was allocated at most, the copy of them included.
fn decode(bytes: &[u8]) -> (Result<Diff, DecodeError>, f64) {
    LIVE.set(0);
    PEAK.set(0);
    let result = Diff::decode(bytes);
    (result, PEAK.get() as f64 / bytes.len() as f64)
}

/// Many short ids, groups or pins, and counts that claim more than there is: what costs the most beside its length.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let diff = (0..400_usize, 1..200_usize, 0..300_usize).prop_map(|(groups, nodes, pins)| {
        let groups = Slot::all().skip(1).take(groups).map(|at| (at, group(1, at.index() % nodes)));
        let pinned = (pins > 0).then(|| (slot(0), pinned(slot(0), pins, nodes)));
        Diff::new(pinned.into_iter().chain(groups)).unwrap().into_bytes()
    });
    let letters = || "abcdefghijklmnopqrstuvwxyz0123456789".chars();
    let ids =
        letters().flat_map(|a| letters().map(move |b| format!("{a}{b}"))).chain(letters().map(String::from));
    let ids: std::collections::BTreeSet<String> = ids.collect();
    let dictionary = (0..ids.len(), any::<u16>()).prop_map(move |(count, claim)| {
        let mut bytes = vec![2];
        bytes.extend(claim.to_be_bytes());
        ids.iter().take(count).for_each(|id| bytes.extend([&[id.len() as u8], id.as_bytes()].concat()));
        bytes
    });
    let noise = prop::collection::vec(any::<u8>(), 1..64).prop_map(|noise| [&[2][..], &noise].concat());
    prop_oneof![diff, dictionary, noise]
}

proptest! {
    #[test]
    fn memory_follows_the_bytes_whatever_they_claim(
        mut bytes in hostile(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (result, times) = decode(&bytes);
        prop_assert!(times <= 4.0, "{times} times {} bytes: {:?}", bytes.len(), result.map(|diff| diff.len()));
    }
}

#[test]
fn a_claim_of_everything_in_a_few_bytes_costs_next_to_nothing() {
    for bytes in [&[2, 0x10, 0][..], &[2, 0, 0, 0x40, 0], &[2, 0, 1, 1, b'a', 0x40, 0, 0, 0]] {
        let (result, times) = decode(bytes);
        assert_eq!(result, Err(DecodeError::Short));
        assert!(times <= 2.0, "{times}");
    }
    let everything: BTreeMap<Slot, Group> =
        Slot::all().map(|at| (at, group(1, at.index() % 4_000))).collect();
    let diff = Diff::new(everything).unwrap();
    let (result, times) = decode(diff.as_bytes());
    assert_eq!(result.unwrap(), diff);
    assert!(times <= 4.0, "{times}");
}
