//! Lists of operations on a table and on a plain map beside it, and hostile bytes: read from bytes, so that a fuzzer can
//! look for a list that tells the two apart. The fuzz targets in `fuzz/` include this file; here random bytes run it.
//!
//! Other than in `model`, an epoch may be minted twice with different contents here, as no honest authority does.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use homing_routing_table::{Applied, Counters, Diff, Group, RoutingTable, Snapshot};
use homing_types::{Epoch, NodeId, Owners, Replica, ReplicaState, Slot, SpaceKey};

/// Few, so that operations meet: first and last of the table, and of a branch of the digest.
const SLOTS: [u16; 5] = [0, 1, 127, 128, 16_383];
/// All but the last ones have one home.
const KEYS: [u128; 8] = [0, 1, 8, 16, 24, 1 << 64, 1 << 113, (1 << 114) - 1];
/// Few too, of two incarnations, and the last of all.
const EPOCHS: [u64; 12] =
    [1, 2, 3, 4, 5, 6, 7, (1 << 48) - 1, 1 << 48, (1 << 48) + 1, (1 << 48) + 2, u64::MAX];
const NODES: u8 = 6;

/// What is done to the table; small numbers are taken modulo what there is.
#[derive(Debug, Arbitrary)]
enum Operation {
    /// A diff of these groups.
    Apply(Minted, Vec<Minted>),
    /// A group with the epoch that its slot has: a repetition if all is honest, else a contradiction.
    Remint(Minted),
    /// A diff that was applied before, again; one of no groups if there is none.
    Repeat(u8),
    /// What a reader sees of one space.
    Lookup { slot: u8, key: u8 },
    /// A snapshot is kept; it must still be the same at the end.
    Keep,
    /// Another table gets the same in another order.
    Compare,
}

#[derive(Debug, Arbitrary)]
struct Minted {
    slot: u8,
    epoch: u8,
    owners: Assigned,
    pins: Vec<(u8, Assigned)>,
}

/// The primary, then a replica for each set bit, in rising or in falling order.
#[derive(Debug, Arbitrary)]
struct Assigned {
    primary: u8,
    replicas: u8,
    falling: bool,
    catching_up: u8,
}

/// Reads operations from bytes and does them. Any bytes are some operations.
///
/// # Panics
/// The table and the map differ.
pub(crate) fn run(bytes: &[u8]) {
    let mut source = Unstructured::new(bytes);
    let is_honest = bool::arbitrary(&mut source).unwrap_or_default();
    let mut stage = Stage { is_honest, ..Stage::default() };
    // Not as one `Vec`, which asks before each operation whether it goes on, and so ends after two of random ones.
    while !source.is_empty() {
        match Operation::arbitrary(&mut source) {
            Ok(operation) => stage.act(&operation),
            Err(_) => break,
        }
    }
    stage.close();
}

/// Decodes bytes, and the encoding of a diff in which some bits are flipped and the end may be missing.
///
/// # Panics
/// What was decoded has other bytes when it is encoded again, or no table takes it.
pub(crate) fn decode(bytes: &[u8]) {
    sound(bytes);
    let mut source = Unstructured::new(bytes);
    let Ok((minted, flips, cut)) = <(Vec<Minted>, Vec<(u16, u8)>, u8)>::arbitrary(&mut source) else {
        return;
    };
    let groups: BTreeMap<_, _> = minted.iter().map(|minted| (slot_of(minted.slot), group(minted))).collect();
    let mut bytes = Diff::new(groups).expect("each group is one that a table takes").into_bytes();
    for (at, bit) in flips {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= 1 << (bit % 8);
    }
    // Most are left whole.
    bytes.truncate(bytes.len().saturating_sub(usize::from(cut.saturating_sub(240))));
    sound(&bytes);
}

fn sound(bytes: &[u8]) {
    if let Ok(diff) = Diff::decode(bytes) {
        diff.iter().for_each(|(slot, group)| takes(slot, &group));
        let again = Diff::new(diff.iter()).expect("it was decoded");
        assert_eq!(again.as_bytes(), bytes, "a diff of {} groups has two encodings", diff.len());
        RoutingTable::new().apply(&diff).expect("a diff alone breaks no bound");
    }
}

fn takes(slot: Slot, group: &Group) {
    assert!(!group.epoch.is_zero(), "slot {slot} without an epoch");
    assert!(group.pins.keys().all(|key| key.slot() == slot), "slot {slot} with a foreign pin");
}

/// The table and what it should hold.
#[derive(Default)]
struct Stage {
    table: RoutingTable,
    model: BTreeMap<Slot, Held>,
    version: u64,
    counters: Counters,
    /// All diffs, in order.
    diffs: Vec<Diff>,
    /// Whether each epoch of a slot comes with one content, as it should. Else the order of diffs matters.
    is_honest: bool,
    minted: BTreeMap<(Slot, Epoch), Group>,
    kept: Vec<(Arc<Snapshot>, BTreeMap<Slot, Held>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    group: Group,
    conflict: bool,
}

impl Stage {
    fn act(&mut self, operation: &Operation) {
        match operation {
            Operation::Apply(first, more) => {
                let groups = more.iter().chain([first]).map(|minted| (slot_of(minted.slot), group(minted)));
                self.mint(groups);
            }
            Operation::Remint(minted) => {
                let (slot, mut group) = (slot_of(minted.slot), group(minted));
                group.epoch = self.model.get(&slot).map_or(group.epoch, |held| held.group.epoch);
                self.mint([(slot, group)]);
            }
            Operation::Repeat(which) => {
                self.apply(pick(&self.diffs, *which).cloned().unwrap_or_default());
            }
            Operation::Lookup { slot, key } => self.lookup(slot_of(*slot), key_of(*key)),
            Operation::Keep => self.kept.push((self.table.snapshot(), self.model.clone())),
            Operation::Compare => self.compare(),
        }
    }

    /// Applies a diff of these groups; the last of several of one slot, since a diff holds each slot once.
    fn mint(&mut self, groups: impl IntoIterator<Item = (Slot, Group)>) {
        let mut batch = BTreeMap::new();
        for (slot, mut group) in groups {
            if self.is_honest {
                group = self.minted.entry((slot, group.epoch)).or_insert(group).clone();
            }
            batch.insert(slot, group);
        }
        self.apply(Diff::new(batch).expect("each group is one that a table takes"));
    }

    fn apply(&mut self, diff: Diff) {
        assert_eq!(Diff::decode(diff.as_bytes()).as_ref(), Ok(&diff), "a diff doesn't survive its encoding");
        let before = self.table.snapshot();
        let expected = self.expect(&diff);
        let applied = self.table.apply(&diff).expect("a table this small breaks no bound");
        assert_eq!(applied, expected, "{diff:?}");
        assert_eq!(self.table.counters(), self.counters, "{diff:?}");

        let after = self.table.snapshot();
        same(&after, &self.model);
        assert_eq!(after.version(), self.version);
        let is_new = after.digest() != before.digest();
        assert_eq!(
            is_new,
            !applied.changed.is_empty(),
            "the digest changes exactly if a group does: {diff:?}"
        );
        self.diffs.push(diff);
    }

    /// Applies a diff to the model: the highest epoch wins, and the first content of an epoch.
    fn expect(&mut self, diff: &Diff) -> Applied {
        let mut applied = Applied::default();
        let mut newly_marked = false;
        for (slot, group) in diff.iter() {
            match self.model.get_mut(&slot) {
                Some(held) if group.epoch < held.group.epoch => applied.regressions += 1,
                Some(held) if group == held.group => applied.same += 1,
                Some(held) if group.epoch == held.group.epoch => {
                    newly_marked |= !held.conflict;
                    held.conflict = true;
                    applied.conflicts.push(slot);
                }
                _ => {
                    self.model.insert(slot, Held { group, conflict: false });
                    applied.changed.push(slot);
                }
            }
        }
        self.version += u64::from(newly_marked || !applied.changed.is_empty());
        applied.version = self.version;
        self.counters.diffs += 1;
        self.counters.groups += applied.changed.len() as u64;
        self.counters.regressions += applied.regressions as u64;
        self.counters.conflicts += applied.conflicts.len() as u64;
        applied
    }

    fn lookup(&self, slot: Slot, low: u128) {
        let (key, table) = (key(slot, low), self.table.load());
        let (Some(held), Some(lookup)) = (self.model.get(&slot), table.lookup(key)) else {
            assert!(!self.model.contains_key(&slot) && table.lookup(key).is_none(), "slot {slot}");
            return;
        };
        let owners = held.group.owners_of(key);
        assert_eq!((lookup.epoch(), lookup.conflict()), (held.group.epoch, held.conflict), "{key}");
        assert_eq!(lookup.is_pinned(), held.group.pins.contains_key(&key), "{key}");
        assert_eq!((lookup.primary(), &lookup.owners()), (owners.primary(), owners), "{key}");
        let replicas = owners.replicas().iter().map(|replica| (&replica.node, replica.state));
        assert!(lookup.replicas().eq(replicas), "{key}");
    }

    /// Fed by the groups alone, from the last slot to the first, another table has the same digest; fed by all diffs
    /// backwards too, if each epoch has one content.
    fn compare(&self) {
        let direct = RoutingTable::new();
        for (slot, held) in self.model.iter().rev() {
            let alone = Diff::one(*slot, held.group.clone()).expect("it came in a diff");
            direct.apply(&alone).expect("a table this small breaks no bound");
        }
        assert_eq!(direct.load().digest(), self.table.load().digest(), "equal groups, other digests");
        if !self.is_honest {
            return;
        }
        let backwards = RoutingTable::new();
        for diff in self.diffs.iter().rev() {
            backwards.apply(diff).expect("a table this small breaks no bound");
        }
        same(&backwards.load(), &self.model);
        assert_eq!(backwards.load().digest(), self.table.load().digest(), "the order of diffs shows");
    }

    fn close(self) {
        self.compare();
        for slot in 0..SLOTS.len() as u8 {
            for key in 0..KEYS.len() as u8 {
                self.lookup(slot_of(slot), key_of(key));
            }
        }
        // Snapshots outlive their table.
        drop(self.table);
        for (snapshot, model) in &self.kept {
            same(snapshot, model);
        }
    }
}

fn same(snapshot: &Snapshot, model: &BTreeMap<Slot, Held>) {
    let group = |(slot, group)| (slot, Held { group, conflict: snapshot.conflict(slot) });
    assert_eq!(snapshot.groups().map(group).collect::<BTreeMap<_, _>>(), *model);
    assert_eq!(snapshot.pins(), model.values().map(|held| held.group.pins.len()).sum::<usize>());
}

fn group(minted: &Minted) -> Group {
    let slot = slot_of(minted.slot);
    let pin = |(low, assigned): &(u8, Assigned)| (key(slot, key_of(*low)), owners(assigned));
    Group {
        epoch: Epoch::new(EPOCHS[usize::from(minted.epoch) % EPOCHS.len()]),
        owners: owners(&minted.owners),
        pins: minted.pins.iter().map(pin).collect(),
    }
}

fn owners(assigned: &Assigned) -> Owners {
    let primary = assigned.primary % NODES;
    let bit = |bits: u8, n: u8| bits >> n & 1 == 1;
    let mut replicas: Vec<Replica> = (0..NODES)
        .filter(|n| *n != primary && bit(assigned.replicas, *n))
        .map(|n| {
            let catching_up = bit(assigned.catching_up, n);
            Replica {
                node: node(n),
                state: if catching_up { ReplicaState::CatchingUp } else { ReplicaState::InSync },
            }
        })
        .collect();
    if assigned.falling {
        replicas.reverse();
    }
    Owners::new(node(primary), replicas).expect("each node once")
}

fn node(number: u8) -> NodeId {
    NodeId::new(&format!("n{number}")).expect("a DNS label")
}

fn slot_of(byte: u8) -> Slot {
    Slot::new(SLOTS[usize::from(byte) % SLOTS.len()]).expect("below 16,384")
}

fn key_of(byte: u8) -> u128 {
    KEYS[usize::from(byte) % KEYS.len()]
}

fn key(slot: Slot, low: u128) -> SpaceKey {
    SpaceKey::from_u128(u128::from(slot.number()) << 114 | low)
}

fn pick<T>(all: &[T], byte: u8) -> Option<&T> {
    all.get(usize::from(byte) % all.len().max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..400)
    }

    proptest! {
        // One takes tens of milliseconds without optimisation.
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_table_is_a_map_whatever_is_done_to_it(bytes in bytes()) {
            run(&bytes);
        }
    }

    proptest! {
        // As many as it takes to meet each rule of the encoding.
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn hostile_bytes_are_an_error_or_the_one_encoding(bytes in bytes()) {
            decode(&bytes);
        }
    }
}
