//! What must hold, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};

use homing_kv::{Applied, Entry, Item, Key, Position, Refusal, Request, RequestKind, Store};
use homing_types::{Epoch, Role};

use crate::cluster::{Cluster, NODES};
use crate::support::*;

impl Cluster<'_> {
    /// Does something at a node, and checks what it commits: entries of its log, or of the request.
    pub(crate) fn at<T>(
        &mut self,
        node: usize,
        request: Option<&Request>,
        act: impl FnOnce(&Store) -> T,
    ) -> T {
        let store = &self.nodes[node].store;
        let (before, tail) = store.log(&space(), epoch(u64::MAX), 0).unwrap();
        let mut log = tail.into_iter().map(|entry| (entry.position.seq, entry)).collect::<BTreeMap<_, _>>();
        match request.map(|request| &request.kind) {
            Some(RequestKind::Accept(accept)) => {
                log.extend(accept.entries.iter().map(|entry| (entry.position.seq, entry.clone())));
            }
            // A full copy commits no entries; `check_copy` compares what comes of it.
            Some(RequestKind::Install(_)) => log.clear(),
            _ => {}
        }
        let answer = act(store);
        let after = store.standing(&space()).unwrap();
        assert!(after.committed.seq >= before.committed.seq, "n{node} took back what it had committed");
        for (_, entry) in log.range((Excluded(before.committed.seq), Included(after.committed.seq))) {
            self.choose(node, entry);
        }
        answer
    }

    pub(crate) fn choose(&mut self, node: usize, entry: &Entry) {
        let chosen = self.chosen.entry(entry.position.seq).or_insert_with(|| entry.clone());
        assert_eq!(chosen, entry, "n{node} committed another history");
    }

    /// An in-sync copy shows every acknowledged write, or says that it can't.
    pub(crate) fn read(&mut self, i: usize, name: u8) {
        let node = &self.nodes[i];
        if node.view != self.config || !self.config.in_sync.contains(&i) {
            return;
        }
        let role = if self.config.primary == i { Role::Primary } else { Role::Replica };
        let key = key(format!("k{name}"));
        let shown = match answer(node.store.read(&space(), Epoch::new(self.config.epoch), role, &key)) {
            Ok(shown) => shown,
            Err(Refusal::Unsettled) => {
                self.seen.unsettled += 1;
                return;
            }
            Err(refusal) => panic!("{refusal}"),
        };
        self.seen.reads += 1;
        let acknowledged = self.writes.iter().filter(|write| *write.op.key() == key);
        let last =
            acknowledged.filter_map(|write| write.acknowledged).map(|applied| applied.version.seq).max();
        let committed = node.store.standing(&space()).unwrap().committed;
        assert!(last.is_none_or(|last| committed.seq >= last), "n{i} hides an acknowledged write");
        assert_eq!(shown.as_ref(), self.replay(committed.seq).0.get(&key));
    }

    /// What the chosen history comes to, up to `seq`: the items, and the result of each entry.
    pub(crate) fn replay(&self, seq: u64) -> (BTreeMap<Key, Item>, BTreeMap<u64, Applied>) {
        let (mut items, mut results) = (BTreeMap::new(), BTreeMap::new());
        for (at, entry) in self.chosen.range(..=seq) {
            let (key, version) = (entry.op.key().clone(), entry.position);
            let before = match entry.op.value() {
                Some(value) => items.insert(key.clone(), Item { key, version, value: value.clone() }),
                None => items.remove(&key),
            };
            results.insert(*at, Applied { version, found: before.is_some() });
        }
        (items, results)
    }

    pub(crate) fn check_copy(&self, i: usize) {
        let store = &self.nodes[i].store;
        let committed = store.standing(&space()).unwrap().committed;
        let chosen = self.chosen.get(&committed.seq).map_or(Position::ZERO, |entry| entry.position);
        assert_eq!(committed, chosen, "n{i}");
        let items = self.replay(committed.seq).0.into_values().collect::<Vec<_>>();
        assert_eq!(committed_items(store), items, "n{i}");
    }

    /// Lets everything work for long enough, and checks all that was promised.
    pub(crate) fn end_well(&mut self) {
        self.net.clear();
        for round in 0.. {
            (0..NODES).for_each(|node| self.learn(node));
            self.drive(self.config.primary);
            // A copy that lost its commits in a crash asks; its primary thinks that it has them.
            (0..NODES).for_each(|node| self.ask(node));
            while !self.net.is_empty() {
                self.deliver(0, false);
            }
            let last = self.nodes[self.config.primary].store.standing(&space()).unwrap().last;
            let committed = |node: &usize| self.nodes[*node].store.standing(&space()).unwrap().committed;
            if self.config.in_sync.iter().all(|node| committed(node) == last) {
                break;
            }
            assert!(round < 50, "no end in sight");
        }
        (0..NODES).for_each(|node| self.check_copy(node));
        for node in self.config.in_sync.clone() {
            let committed = self.nodes[node].store.standing(&space()).unwrap().committed;
            assert_eq!(committed.seq, self.chosen.len() as u64, "n{node} lacks a part of the history");
            self.read(node, 0);
        }
        let (_, results) = self.replay(u64::MAX);
        for (i, write) in self.writes.iter().enumerate() {
            let Some(applied) = write.acknowledged else { continue };
            assert_eq!(self.chosen[&applied.version.seq].op, write.op, "write {i}");
            assert_eq!(results[&applied.version.seq], applied, "write {i}");
        }
        let keys = self.chosen.values().filter_map(|entry| entry.idempotency_key);
        let (mut once, all) = (BTreeSet::new(), keys.collect::<Vec<_>>());
        assert!(all.iter().all(|key| once.insert(*key)), "a write was executed twice");
    }
}
