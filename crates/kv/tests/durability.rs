//! One store on a disk that forgets what was not synced, against a model in memory.

#![allow(clippy::unwrap_used, reason = "the helpers of tests panic as the tests do")]

mod support;

use std::collections::BTreeMap;

use homing_kv::{Applied, Entry, Op, Proposal, Refusal, Store};
use homing_types::{Epoch, Role, Space};
use proptest::collection::vec;
use proptest::prelude::*;
use redb::StorageBackend;
use support::*;

#[test]
fn the_disk_forgets_what_was_not_synced_and_nothing_else() {
    let disk = Disk::new();
    disk.write(0, &[1; 1024]).unwrap();
    disk.sync_data().unwrap();
    disk.write(0, &[2; 1024]).unwrap();
    let byte = |disk: &Disk| {
        let mut out = [0; 1024];
        disk.read(0, &mut out).unwrap();
        out
    };
    assert_eq!(byte(&disk), [2; 1024]);
    assert_eq!(byte(&disk.cut(&mut Coin(1), 0)), [1; 1024]);
    assert!(disk.write(0, &[3]).is_err());
}

#[test]
fn committing_alone_costs_no_sync_and_is_done_again_after_a_crash() {
    let disk = Disk::new();
    let store = open(&disk, "n1");
    propose(&store, 1, &put_op("k", "v"), Some(1)).unwrap();
    let syncs = disk.syncs();
    let applied = commit(&store, 1, at(1, 1)).unwrap();
    assert_eq!(disk.syncs(), syncs);
    assert!(store.read(&space(), epoch(1), Role::Primary, &key("k")).unwrap().is_some());

    let store = open(&disk.cut(&mut Coin(1), 0), "n1");
    let unsettled = answer(store.read(&space(), epoch(1), Role::Primary, &key("k")));
    assert_eq!(unsettled, Err(Refusal::Unsettled));
    assert_eq!(store.unsettled_spaces(), [space()]);
    assert_eq!(commit(&store, 1, at(1, 1)).unwrap(), applied);
    assert!(store.read(&space(), epoch(1), Role::Primary, &key("k")).unwrap().is_some());
    assert_eq!(store.unsettled_spaces(), []);
}

#[test]
fn a_flush_makes_commits_durable_and_costs_nothing_without_them() {
    let disk = Disk::new();
    let store = open(&disk, "n1");
    write(&store, 1, &put_op("k", "v"));
    store.flush().unwrap();
    let syncs = disk.syncs();
    store.flush().unwrap();
    assert_eq!(disk.syncs(), syncs);
    let store = open(&disk.cut(&mut Coin(1), 0), "n1");
    assert!(store.read(&space(), epoch(1), Role::Primary, &key("k")).unwrap().is_some());
}

/// What was written in vain would have to be synced in vain, too.
#[test]
fn what_changes_nothing_is_not_written() {
    let store = open(&Disk::new(), "n1");
    write(&store, 1, &put_op("k", "v"));
    store.flush().unwrap();
    commit(&store, 1, at(1, 1)).unwrap();
    run(&store, |batch| batch.lead(&space(), epoch(1))).unwrap();
    run(&store, |batch| batch.lead(&space(), Epoch::ZERO)).unwrap_err();
    assert!(!store.is_floating());
    assert!(commit(&store, 1, at(1, 2)).is_err());
    assert!(!store.is_floating());
    // What changes something, and no more than that, is.
    propose(&store, 1, &put_op("k", "w"), None).unwrap();
    commit(&store, 1, at(1, 2)).unwrap();
    assert!(store.is_floating());
    commit(&store, 1, at(1, 2)).unwrap();
    assert!(store.is_floating(), "what is written in vain doesn't make what is not synced safe");
}

#[test]
fn a_batch_that_fails_changes_nothing() {
    let store = open(&Disk::new(), "n1");
    let failed = store.write(|batch| {
        batch.propose(&space(), epoch(1), &put_op("k", "v"), None).unwrap();
        Err::<(), _>(homing_kv::StoreError::Damaged("a test"))
    });
    assert!(failed.is_err());
    assert_eq!(store.standing(&space()).unwrap().last, at(0, 0));
    assert_eq!(store.fence(&space()).unwrap(), Epoch::ZERO);
}

/// What a caller or an operator may do to one of two spaces, and to the power.
#[derive(Debug, Clone)]
enum Step {
    /// Writes in one batch: space, key, value or delete, idempotency key.
    Write(Vec<(usize, u8, Option<u8>, Option<u64>)>),
    /// Commits this many entries.
    Commit(usize, u64),
    /// A new primary at a higher epoch.
    Raise(usize),
    Flush,
    Crash {
        seed: u64,
        keep: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let op = (0..2usize, 0..4u8, prop::option::of(any::<u8>()), prop::option::of(1..20u64));
    prop_oneof![
        6 => vec(op, 1..5).prop_map(Step::Write),
        6 => (0..2usize, 1..6u64).prop_map(|(space, n)| Step::Commit(space, n)),
        1 => (0..2usize).prop_map(Step::Raise),
        1 => Just(Step::Flush),
        3 => (any::<u64>(), 0..5u64).prop_map(|(seed, keep)| Step::Crash { seed, keep }),
    ]
}

/// A space as it must be.
#[derive(Default)]
struct Model {
    epoch: u64,
    log: Vec<Entry>,
    results: Vec<Applied>,
    items: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    /// Committed entries that must survive a crash.
    durable: usize,
}

impl Model {
    fn propose(&mut self, op: &Op, key: Option<u64>) -> Result<Proposal, Refusal> {
        let idempotency_key = key.map(idempotency_key);
        let known = self.log.iter().position(|e| key.is_some() && e.idempotency_key == idempotency_key);
        if let Some(i) = known {
            return match self.results.get(i) {
                _ if self.log[i].op != *op => Err(Refusal::KeyReused),
                Some(result) => Ok(Proposal::Done(*result)),
                None => Ok(Proposal::Pending(self.log[i].position)),
            };
        }
        let position = at(self.epoch, self.log.len() as u64 + 1);
        self.log.push(Entry { position, idempotency_key, op: op.clone() });
        Ok(Proposal::Appended(position))
    }

    fn commit(&mut self, n: usize) -> Vec<Applied> {
        let from = self.results.len();
        for entry in &self.log[from..n] {
            let key = entry.op.key().bytes().to_vec();
            let before = match entry.op.value() {
                Some(value) => self.items.insert(key, (entry.position.seq, value.bytes().to_vec())),
                None => self.items.remove(&key),
            };
            self.results.push(Applied { version: entry.position, found: before.is_some() });
        }
        self.results[from..].to_vec()
    }
}

struct World {
    disk: Disk,
    store: Store,
    models: [Model; 2],
}

impl World {
    fn new() -> Self {
        let disk = Disk::new();
        let store = open(&disk, "n1");
        let models = std::array::from_fn(|_| Model { epoch: 1, ..Model::default() });
        Self { disk, store, models }
    }

    fn space(i: usize) -> Space {
        Space::new(["acme", "acme2"][i]).unwrap()
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Write(writes) => self.write(writes),
            Step::Commit(i, n) => self.commit(*i, *n),
            Step::Raise(i) => {
                self.models[*i].epoch += 1;
                let epoch = Epoch::new(self.models[*i].epoch);
                run(&self.store, |batch| batch.lead(&Self::space(*i), epoch)).unwrap();
                self.synced();
            }
            Step::Flush => {
                self.store.flush().unwrap();
                self.synced();
            }
            Step::Crash { seed, keep } => self.crash(*seed, *keep),
        }
    }

    fn write(&mut self, writes: &[(usize, u8, Option<u8>, Option<u64>)]) {
        let mut expected = Vec::new();
        let answers = self.store.write(|batch| {
            let mut answers = Vec::new();
            for (i, key, value, idempotency) in writes {
                let key = format!("k{key}");
                let op = value.map_or_else(|| delete_op(&key), |value| put_op(&key, [value]));
                let model = &mut self.models[*i];
                expected.push(model.propose(&op, *idempotency));
                let epoch = Epoch::new(model.epoch);
                let proposed = batch.propose(&Self::space(*i), epoch, &op, idempotency.map(idempotency_key));
                answers.push(answer(proposed));
            }
            Ok(answers)
        });
        assert_eq!(answers.unwrap(), expected);
        if expected.iter().any(|answer| matches!(answer, Ok(Proposal::Appended(_)))) {
            self.synced();
        }
    }

    fn commit(&mut self, i: usize, n: u64) {
        let model = &mut self.models[i];
        let n = model.log.len().min(model.results.len() + usize::try_from(n).unwrap());
        let Some(entry) = n.checked_sub(1).map(|last| model.log[last].clone()) else { return };
        let expected = model.commit(n);
        let epoch = Epoch::new(model.epoch);
        let applied = run(&self.store, |batch| batch.commit(&Self::space(i), epoch, entry.position));
        assert_eq!(applied, Ok(expected));
    }

    fn synced(&mut self) {
        for model in &mut self.models {
            model.durable = model.results.len();
        }
    }

    fn crash(&mut self, seed: u64, keep: u64) {
        self.disk = self.disk.cut(&mut Coin(seed), keep);
        self.store = open(&self.disk, "n1");
        for i in 0..2 {
            self.check_recovered(i);
        }
    }

    /// Nothing acknowledged is lost, and committing again comes to the same.
    fn check_recovered(&mut self, i: usize) {
        let (space, model) = (Self::space(i), &mut self.models[i]);
        let standing = self.store.standing(&space).unwrap();
        assert_eq!(standing.last, model.log.last().map_or(at(0, 0), |entry| entry.position));
        let committed = usize::try_from(standing.committed.seq).unwrap();
        assert!((model.durable..=model.results.len()).contains(&committed), "{committed}");
        let (_, tail) = self.store.log(&space, epoch(u64::MAX), standing.committed.seq).unwrap();
        assert_eq!(tail, model.log[committed..]);

        let fence = self.store.fence(&space).unwrap();
        let epoch = Epoch::new(model.epoch);
        assert!(fence == epoch || (fence == Epoch::ZERO && model.log.is_empty() && model.epoch == 1));
        let read = answer(self.store.read(&space, epoch, Role::Replica, &key("k0")));
        assert_eq!(read.is_err(), !tail.is_empty(), "a tail hides the space until it is settled");

        let again = model.log[..model.results.len()].last().map_or(at(0, 0), |entry| entry.position);
        let results = run(&self.store, |batch| batch.commit(&space, epoch, again)).unwrap();
        assert_eq!(results, model.results[committed..]);
    }

    /// What reads show is what the model has committed.
    fn check_items(&self) {
        for (i, model) in self.models.iter().enumerate() {
            let mut export = self.store.export(&Self::space(i)).unwrap();
            let part = export.next_part().unwrap().unwrap();
            assert!(part.done);
            let items = part
                .items
                .into_iter()
                .map(|item| (item.key.bytes().to_vec(), (item.version.seq, item.value.bytes().to_vec())));
            assert_eq!(items.collect::<BTreeMap<_, _>>(), model.items);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_any_crash(steps in vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
            world.check_items();
        }
        world.crash(steps.len() as u64, 0);
        world.check_items();
    }
}
