//! The table against a plain map, under random diffs.

use std::collections::BTreeMap;

use homing_routing_table::{BRANCHES, Diff, Group, RoutingTable, Snapshot};
use homing_types::{Access, Epoch, Owners, Replica, ReplicaState, Slot, SpaceKey};
use proptest::prelude::*;

use crate::{groups, key, node, slot};

/// First and last of the table, and of a branch of the digest.
const SLOTS: [u16; 5] = [0, 1, 127, 128, 16_383];
const EPOCHS: u64 = 4;
const NODES: usize = 5;
/// All but the last ones have one home.
const KEYS: [u128; 6] = [0, 1, 8, 16, 1 << 64, (1 << 114) - 1];

/// What an honest authority ever mints: one group for each slot and epoch.
type World = BTreeMap<(Slot, u64), Group>;
/// Some of it, in one batch.
type Batch = Vec<(Slot, u64)>;

prop_compose! {
    fn owners()(
        nodes in prop::sample::subsequence((0..NODES).collect::<Vec<_>>(), 1..=NODES).prop_shuffle(),
        in_sync in prop::collection::vec(any::<bool>(), NODES),
    ) -> Owners {
        let state = |in_sync: bool| if in_sync { ReplicaState::InSync } else { ReplicaState::CatchingUp };
        let replica = |(n, in_sync): (&usize, &bool)| Replica { node: node(*n), state: state(*in_sync) };
        Owners::new(node(nodes[0]), nodes[1..].iter().zip(&in_sync).map(replica).collect()).unwrap()
    }
}

fn world() -> impl Strategy<Value = World> {
    let pins = prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), owners(), 0..=KEYS.len());
    let contents = prop::collection::vec((owners(), pins), SLOTS.len() * EPOCHS as usize);
    contents.prop_map(|contents| {
        let minted = SLOTS.iter().flat_map(|s| (1..=EPOCHS).map(|epoch| (slot(*s), epoch)));
        let group = |((slot, epoch), (owners, pins)): ((Slot, u64), (Owners, BTreeMap<u128, Owners>))| {
            let pins = pins.into_iter().map(|(low, owners)| (key(slot, low), owners)).collect();
            ((slot, epoch), Group { epoch: Epoch::new(epoch), owners, pins })
        };
        minted.zip(contents).map(group).collect()
    })
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let epoch = prop::option::of(1..=EPOCHS);
    let batch = prop::collection::vec(epoch, SLOTS.len()).prop_map(|epochs| {
        let slots = SLOTS.iter().map(|s| slot(*s));
        slots.zip(epochs).filter_map(|(slot, epoch)| Some((slot, epoch?))).collect()
    });
    prop::collection::vec(batch, 0..6)
}

fn diff(world: &World, batch: &[(Slot, u64)]) -> Diff {
    Diff::new(batch.iter().map(|(slot, epoch)| (*slot, world[&(*slot, *epoch)].clone()))).unwrap()
}

fn table<'a>(world: &World, batches: impl IntoIterator<Item = &'a Batch>) -> RoutingTable {
    let table = RoutingTable::new();
    for batch in batches {
        table.apply(&diff(world, batch)).unwrap();
    }
    table
}

fn all_keys() -> impl Iterator<Item = SpaceKey> {
    SLOTS.into_iter().flat_map(|s| KEYS.into_iter().chain([3, 24]).map(move |low| key(slot(s), low)))
}

/// Everything that a snapshot tells of a space is what the group in the model says.
fn same_lookup(
    snapshot: &Snapshot,
    model: &BTreeMap<Slot, Group>,
    key: SpaceKey,
) -> Result<(), TestCaseError> {
    let (Some(group), Some(lookup)) = (model.get(&key.slot()), snapshot.lookup(key)) else {
        prop_assert!(model.get(&key.slot()).is_none() && snapshot.lookup(key).is_none());
        return Ok(());
    };
    let owners = group.owners_of(key);
    prop_assert_eq!(lookup.epoch(), group.epoch);
    prop_assert_eq!(lookup.primary(), owners.primary());
    prop_assert_eq!(&lookup.owners(), owners);
    let replicas: Vec<_> = owners.replicas().iter().map(|replica| (&replica.node, replica.state)).collect();
    prop_assert_eq!(lookup.replicas().collect::<Vec<_>>(), replicas);
    prop_assert_eq!(lookup.is_pinned(), group.pins.contains_key(&key));
    prop_assert!(!lookup.conflict());
    for access in Access::ALL {
        for n in (0..=NODES).map(node) {
            prop_assert_eq!(lookup.serves(&n, access), owners.serves(&n, access));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_table_is_a_map_in_which_the_highest_epoch_wins(world in world(), batches in batches()) {
        let table = RoutingTable::new();
        let mut model: BTreeMap<Slot, Group> = BTreeMap::new();
        for batch in &batches {
            let before = table.snapshot();
            let applied = table.apply(&diff(&world, batch)).unwrap();
            let known = |slot: &Slot| model.get(slot).map_or(0, |group| group.epoch.number());
            let newer: Vec<_> = batch.iter().filter(|(slot, epoch)| *epoch > known(slot)).copied().collect();
            let lower = batch.iter().filter(|(slot, epoch)| *epoch < known(slot)).count();
            prop_assert_eq!(&applied.changed, &newer.iter().map(|(slot, _)| *slot).collect::<Vec<_>>());
            prop_assert_eq!(applied.regressions, lower);
            prop_assert_eq!(applied.same, batch.len() - newer.len() - lower);
            prop_assert!(applied.conflicts.is_empty());
            prop_assert_eq!(applied.version, before.version() + u64::from(!newer.is_empty()));
            model.extend(newer.into_iter().map(|(slot, epoch)| (slot, world[&(slot, epoch)].clone())));

            let snapshot = table.snapshot();
            prop_assert_eq!(snapshot.version(), applied.version);
            prop_assert_eq!(snapshot.pins(), model.values().map(|group| group.pins.len()).sum::<usize>());
            prop_assert_eq!(snapshot.groups().collect::<BTreeMap<_, _>>(), model.clone());
            for key in all_keys() {
                same_lookup(&snapshot, &model, key)?;
            }
        }
    }

    #[test]
    fn an_old_snapshot_never_changes(world in world(), batches in batches()) {
        let table = RoutingTable::new();
        let mut seen = Vec::new();
        for batch in &batches {
            seen.push((table.snapshot(), groups(&table)));
            table.apply(&diff(&world, batch)).unwrap();
        }
        for (snapshot, groups) in seen {
            prop_assert_eq!(snapshot.groups().collect::<BTreeMap<_, _>>(), groups);
        }
    }

    /// In another order, one group at a time, and everything twice.
    #[test]
    fn diffs_commute_and_repeat_without_effect(
        world in world(),
        (batches, shuffled) in batches().prop_flat_map(|b| (Just(b.clone()), Just(b).prop_shuffle())),
    ) {
        let expected = table(&world, &batches);
        let singles: Vec<Batch> = batches.iter().flatten().map(|one| vec![*one]).collect();
        for other in [
            table(&world, &shuffled),
            table(&world, &singles),
            table(&world, batches.iter().chain(&shuffled)),
        ] {
            prop_assert_eq!(groups(&other), groups(&expected));
            prop_assert_eq!(other.load().digest(), expected.load().digest());
        }
    }

    #[test]
    fn digests_are_equal_exactly_if_the_tables_are(world in world(), a in batches(), b in batches()) {
        let (a, b) = (table(&world, &a), table(&world, &b));
        let equal = groups(&a) == groups(&b);
        prop_assert_eq!(a.load().digest() == b.load().digest(), equal);
    }

    /// Root, branches that differ, leaves that differ: what two nodes send each other.
    #[test]
    fn the_tree_leads_to_exactly_the_slots_that_differ(world in world(), a in batches(), b in batches()) {
        let (a, b) = (table(&world, &a), table(&world, &b));
        let (left, right) = (a.snapshot(), b.snapshot());
        let branches = (0..BRANCHES).filter(|branch| left.branches()[*branch] != right.branches()[*branch]);
        let leaves = branches.flat_map(|branch| left.leaves(branch).zip(right.leaves(branch)));
        let found: Vec<_> = leaves.filter(|(l, r)| l != r).map(|((slot, ..), _)| slot).collect();
        let (left, right) = (groups(&a), groups(&b));
        let differ: Vec<_> = Slot::all().filter(|slot| left.get(slot) != right.get(slot)).collect();
        prop_assert_eq!(found, differ);
    }

    /// A digest is of node ids: the order in which a table met them doesn't show.
    #[test]
    fn equal_tables_have_equal_digests_whatever_they_held_before(world in world(), batches in batches()) {
        let last: Batch = SLOTS.iter().map(|s| (slot(*s), EPOCHS)).collect();
        let detour = table(&world, batches.iter().chain([&last]));
        let direct = table(&world, [&last]);
        prop_assert_eq!(detour.load().digest(), direct.load().digest());
    }
}

#[test]
fn a_removed_pin_does_not_come_back() {
    let space = key(slot(7), 1);
    let mut pinned = crate::group(1, 0);
    pinned.pins.insert(space, Owners::new(node(1), Vec::new()).unwrap());
    let table = RoutingTable::new();
    let diff = |group: &Group| Diff::one(slot(7), group.clone()).unwrap();
    table.apply(&diff(&pinned)).unwrap();
    assert_eq!(crate::primary(&table.load(), space), node(1));
    table.apply(&diff(&crate::group(2, 0))).unwrap();
    assert_eq!(table.apply(&diff(&pinned)).unwrap().regressions, 1);
    assert_eq!(crate::primary(&table.load(), space), node(0));
    assert_eq!((table.load().pins(), table.counters().regressions), (0, 1));
}
