//! Three nodes that exchange messages by hand, over a network that loses, repeats and reorders, on disks
//! that forget, under an authority that promotes and replaces: no acknowledged write is ever lost, shown
//! late, or executed twice.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};

use homing_kv::{
    Applied, Entry, Item, Op, Position, Progress, Proposal, Refusal, Reply, Request, RequestKind, Store,
    decode_reply, encode_reply,
};
use homing_types::{Epoch, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::*;

const NODES: usize = 3;

#[derive(Debug, Clone)]
enum Event {
    /// A caller writes at the node that it believes to be the primary, past the last: at the one that is.
    Write { at: usize, key: u8, value: Option<u8>, idempotent: bool },
    /// A caller that got no answer tries again, at the current primary.
    Retry(usize),
    /// A primary sends what is due, commits and answers.
    Drive(usize),
    /// A message arrives; which one, and whether it will arrive again.
    Deliver { which: usize, again: bool },
    /// For a while everything works: the current primary drives, and messages arrive in order.
    Calm(usize),
    Lose(usize),
    Crash { node: usize, seed: u64, keep: u64 },
    Flush(usize),
    /// The authority makes an in-sync replica the primary, and may take a node out of the owners.
    Promote { to: usize, without: usize },
    /// The primary begins to bring a node in sync.
    Join(usize),
    /// A node hears what the authority has decided.
    Learn(usize),
    Ask(usize),
    Read { at: usize, key: u8 },
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

/// What the authority decided.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    epoch: u64,
    primary: usize,
    /// All that must acknowledge, the primary too.
    in_sync: BTreeSet<usize>,
}

struct Node {
    disk: Disk,
    store: Store,
    /// Told from one process to the next; replies to an earlier one are lost.
    incarnation: u64,
    view: Config,
    lead: Option<Lead>,
    /// The highest epoch that this node has answered to.
    told: u64,
}

/// A primary at work.
struct Lead {
    epoch: u64,
    replicas: BTreeMap<usize, Progress>,
    joining: Option<usize>,
    waiting: Vec<(usize, Waiting)>,
    results: BTreeMap<u64, Applied>,
}

#[derive(Debug, Clone, Copy)]
enum Waiting {
    For(u64),
    Done(Applied),
}

enum Message {
    Request { from: usize, to: usize, incarnation: u64, request: Request },
    Reply { from: usize, to: usize, incarnation: u64, request: Request, reply: Reply },
}

struct Written {
    op: Op,
    idempotency: Option<u64>,
    acknowledged: Option<Applied>,
}

/// What happened in all runs, so that a run in which nothing happens can't pass for a good one.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: u64,
    promoted: u64,
    joined: u64,
    crashed: u64,
    installed: u64,
    fenced: u64,
    unsettled: u64,
    reads: u64,
    repeated: u64,
    reordered: u64,
    lost: u64,
    gaps: u64,
}

struct Cluster<'s> {
    config: Config,
    nodes: Vec<Node>,
    net: Vec<Message>,
    writes: Vec<Written>,
    /// The history on which all nodes must agree.
    chosen: BTreeMap<u64, Entry>,
    seen: &'s mut Seen,
}

impl<'s> Cluster<'s> {
    fn new(seen: &'s mut Seen) -> Self {
        let config = Config { epoch: 1, primary: 0, in_sync: (0..NODES).collect() };
        let node = |i: usize| {
            let disk = Disk::new();
            let store = open(&disk, &format!("n{i}"));
            Node { disk, store, incarnation: 0, view: config.clone(), lead: None, told: 0 }
        };
        let nodes = (0..NODES).map(node).collect();
        let mut cluster =
            Self { config: config.clone(), nodes, net: vec![], writes: vec![], chosen: BTreeMap::new(), seen };
        cluster.learn(0);
        cluster
    }

    fn run(&mut self, event: &Event) {
        match *event {
            Event::Write { at, key, value, idempotent } => {
                let key = format!("k{key}");
                let op = value.map_or_else(|| delete_op(&key), |value| put_op(&key, [value]));
                let idempotency = idempotent.then_some(self.writes.len() as u64 + 1);
                self.writes.push(Written { op, idempotency, acknowledged: None });
                let at = if at < NODES { at } else { self.config.primary };
                self.propose(at, self.writes.len() - 1);
            }
            Event::Retry(which) => {
                let retry = which.checked_rem(self.writes.len());
                if let Some(write) = retry.filter(|write| self.writes[*write].idempotency.is_some()) {
                    self.propose(self.config.primary, write);
                }
            }
            Event::Drive(node) => self.drive(node),
            Event::Deliver { which, again } => self.deliver(which, again),
            Event::Calm(turns) => {
                self.learn(self.config.primary);
                for _ in 0..turns {
                    self.drive(self.config.primary);
                    (0..3).for_each(|_| self.deliver(0, false));
                }
            }
            Event::Lose(which) => {
                if which < self.net.len() {
                    self.net.remove(which);
                    self.seen.lost += 1;
                }
            }
            Event::Crash { node, seed, keep } => self.crash(node, seed, keep),
            Event::Flush(node) => self.nodes[node].store.flush().unwrap(),
            Event::Promote { to, without } => self.promote(to, without),
            Event::Join(node) => self.join(node),
            Event::Learn(node) => self.learn(node),
            Event::Ask(node) => self.ask(node),
            Event::Read { at, key } => self.read(at, key),
        }
    }

    /// Does something at a node, and checks what it commits: entries of its log, or of the request.
    fn at<T>(&mut self, node: usize, request: Option<&Request>, act: impl FnOnce(&Store) -> T) -> T {
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

    fn choose(&mut self, node: usize, entry: &Entry) {
        let chosen = self.chosen.entry(entry.position.seq).or_insert_with(|| entry.clone());
        assert_eq!(chosen, entry, "n{node} committed another history");
    }

    fn propose(&mut self, node: usize, write: usize) {
        let Written { op, idempotency, .. } = &self.writes[write];
        let (op, idempotency) = (op.clone(), *idempotency);
        let Some(lead) = &self.nodes[node].lead else { return };
        let proposed = propose(&self.nodes[node].store, lead.epoch, &op, idempotency);
        let waiting = match proposed {
            Ok(Proposal::Appended(position)) => Waiting::For(position.seq),
            Ok(Proposal::Pending { seq }) => Waiting::For(seq),
            Ok(Proposal::Done(applied)) => Waiting::Done(applied),
            Err(Refusal::Fenced { .. }) => return self.step_down(node),
            Err(refusal) => panic!("{refusal}"),
        };
        if let Some(lead) = &mut self.nodes[node].lead {
            lead.waiting.push((write, waiting));
        }
    }

    fn step_down(&mut self, node: usize) {
        self.seen.fenced += 1;
        self.nodes[node].lead = None;
    }

    fn drive(&mut self, node: usize) {
        let Some(mut lead) = self.nodes[node].lead.take() else { return };
        let Node { store, incarnation, .. } = &self.nodes[node];
        for (to, progress) in &mut lead.replicas {
            let request = match answer(progress.next(store)) {
                Ok(Some(request)) if self.net.len() < 16 => request,
                Ok(_) => continue,
                Err(Refusal::Fenced { .. }) => return self.step_down(node),
                Err(refusal) => panic!("{refusal}"),
            };
            let (from, to, incarnation) = (node, *to, *incarnation);
            self.net.push(Message::Request { from, to, incarnation, request });
        }
        let last = store.standing(&space()).unwrap().last;
        if lead.replicas.values().all(|replica| replica.has_accepted(last)) {
            let results = match self.at(node, None, |store| commit(store, lead.epoch, last)) {
                Ok(results) => results,
                Err(Refusal::Fenced { .. }) => return self.step_down(node),
                Err(refusal) => panic!("{refusal}"),
            };
            lead.results.extend(results.into_iter().map(|applied| (applied.version.seq, applied)));
        }
        self.acknowledge(&mut lead);
        self.mint_joined(node, &mut lead);
        self.nodes[node].lead = Some(lead);
    }

    /// Answers the callers whose writes every in-sync replica shows.
    fn acknowledge(&mut self, lead: &mut Lead) {
        let (replicas, results) = (&lead.replicas, &lead.results);
        lead.waiting.retain(|(write, waiting)| {
            let applied = match waiting {
                Waiting::Done(applied) => *applied,
                Waiting::For(seq) => match results.get(seq) {
                    Some(applied) => *applied,
                    None => return true,
                },
            };
            if !replicas.values().all(|replica| replica.has_committed(applied.version)) {
                return true;
            }
            let before = self.writes[*write].acknowledged.replace(applied);
            assert!(before.is_none_or(|before| before == applied), "two answers to one write");
            self.seen.acknowledged += 1;
            false
        });
    }

    /// A node that the primary has brought in sync enters by an epoch minted for that.
    fn mint_joined(&mut self, node: usize, lead: &mut Lead) {
        let Some(joining) = lead.joining else { return };
        let standing = self.nodes[node].store.standing(&space()).unwrap();
        let replica = &lead.replicas[&joining];
        let ready = replica.has_accepted(standing.last) && replica.has_committed(standing.committed);
        if ready && self.config.epoch == lead.epoch {
            self.config.epoch += 1;
            self.config.in_sync.insert(joining);
            lead.joining = None;
            self.seen.joined += 1;
        }
    }

    fn join(&mut self, joining: usize) {
        let Config { epoch, primary, in_sync } = &self.config;
        let Some(lead) = &mut self.nodes[*primary].lead else { return };
        if lead.epoch == *epoch && !in_sync.contains(&joining) && lead.joining.is_none() {
            lead.joining = Some(joining);
            lead.replicas.insert(joining, Progress::new(space(), Epoch::new(*epoch)));
        }
    }

    fn deliver(&mut self, which: usize, again: bool) {
        if which >= self.net.len() {
            return;
        }
        self.seen.reordered += u64::from(which > 0);
        self.seen.repeated += u64::from(again);
        let message = self.net.remove(which);
        if again {
            self.net.push(message.copy());
        }
        match message {
            Message::Request { from, to, incarnation, request } => {
                let reply = self.handle(to, &request);
                self.net.push(Message::Reply { from: to, to: from, incarnation, request, reply });
            }
            Message::Reply { from, to, incarnation, request, reply } => {
                if self.nodes[to].incarnation == incarnation {
                    self.learn_reply(from, to, &request, &reply);
                }
            }
        }
    }

    fn handle(&mut self, node: usize, request: &Request) -> Reply {
        let request = Request::decode(request.encode()).unwrap();
        let reply = self.at(node, Some(&request), |store| run(store, |batch| batch.handle(&request)));
        if let (RequestKind::Install(part), Ok(_)) = (&request.kind, &reply) {
            self.seen.installed += u64::from(part.done);
        }
        self.told(node, &request, reply)
    }

    fn told(&mut self, node: usize, request: &Request, reply: Reply) -> Reply {
        let claims = !matches!(request.kind, RequestKind::Ask);
        match &reply {
            Err(Refusal::Diverged { at }) => panic!("n{node} diverged at {at} from {request:?}"),
            Err(Refusal::Fenced { .. }) => self.seen.fenced += 1,
            Err(Refusal::Gap(_)) => self.seen.gaps += 1,
            _ => {}
        }
        let fence = self.nodes[node].store.fence(&space()).unwrap().number();
        if claims && !matches!(reply, Err(Refusal::Fenced { .. })) {
            assert!(fence >= request.epoch.number());
            self.nodes[node].told = self.nodes[node].told.max(fence);
        }
        decode_reply(encode_reply(&reply)).unwrap()
    }

    fn learn_reply(&mut self, from: usize, to: usize, request: &Request, reply: &Reply) {
        if request.kind == RequestKind::Ask {
            if let Ok(standing) = reply {
                // A gap means that this copy is not in sync any more; it stays unsettled.
                let _ = self.at(to, None, |store| {
                    run(store, |batch| batch.settle(&space(), request.epoch, standing.committed))
                });
            }
            return;
        }
        let Node { store, lead, .. } = &mut self.nodes[to];
        let Some(lead) = lead.as_mut().filter(|lead| lead.epoch == request.epoch.number()) else { return };
        let Some(progress) = lead.replicas.get_mut(&from) else { return };
        match answer(progress.learn(store, request, reply)) {
            Ok(()) => {}
            Err(Refusal::Fenced { .. }) => self.step_down(to),
            Err(refusal) => panic!("{refusal}"),
        }
    }

    fn crash(&mut self, i: usize, seed: u64, keep: u64) {
        let node = &mut self.nodes[i];
        let before = node.store.standing(&space()).unwrap();
        node.disk = node.disk.cut(&mut Coin(seed), keep);
        node.store = open(&node.disk, &format!("n{i}"));
        node.incarnation += 1;
        node.lead = None;
        assert!(node.store.fence(&space()).unwrap().number() >= node.told, "n{i} forgot its fence");
        assert_eq!(node.store.standing(&space()).unwrap().last, before.last, "n{i} forgot an entry");
        self.seen.crashed += 1;
        self.check_copy(i);
    }

    fn promote(&mut self, to: usize, without: usize) {
        if !self.config.in_sync.contains(&to) {
            return;
        }
        if without != to {
            self.config.in_sync.remove(&without);
        }
        self.config = Config { epoch: self.config.epoch + 1, primary: to, ..self.config.clone() };
        self.seen.promoted += 1;
    }

    fn learn(&mut self, i: usize) {
        let config = self.config.clone();
        let node = &mut self.nodes[i];
        let leads = node.lead.as_ref().is_some_and(|lead| lead.epoch == config.epoch);
        node.view = config.clone();
        if config.primary != i || leads {
            return;
        }
        let led = self.at(i, None, |store| run(store, |batch| batch.lead(&space(), Epoch::new(config.epoch))));
        led.unwrap();
        let replicas = config.in_sync.iter().filter(|replica| **replica != i);
        let progress = |replica: &usize| (*replica, Progress::new(space(), Epoch::new(config.epoch)));
        let replicas = replicas.map(progress).collect();
        let (waiting, results) = (Vec::new(), BTreeMap::new());
        let lead = Lead { epoch: config.epoch, replicas, joining: None, waiting, results };
        self.nodes[i].told = self.nodes[i].told.max(config.epoch);
        self.nodes[i].lead = Some(lead);
    }

    fn ask(&mut self, node: usize) {
        let Node { store, view, incarnation, .. } = &self.nodes[node];
        if store.unsettled_spaces().is_empty() || view.primary == node {
            return;
        }
        let request = Request { space: space(), epoch: Epoch::new(view.epoch), kind: RequestKind::Ask };
        let (from, to, incarnation) = (node, view.primary, *incarnation);
        self.net.push(Message::Request { from, to, incarnation, request });
    }

    /// An in-sync copy shows every acknowledged write, or says that it can't.
    fn read(&mut self, i: usize, name: u8) {
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
        let last = acknowledged.filter_map(|write| write.acknowledged).map(|applied| applied.version.seq).max();
        let committed = node.store.standing(&space()).unwrap().committed;
        assert!(last.is_none_or(|last| committed.seq >= last), "n{i} hides an acknowledged write");
        assert_eq!(shown.as_ref(), self.replay(committed.seq).0.get(&key));
    }

    /// What the chosen history comes to, up to `seq`: the items, and the result of each entry.
    fn replay(&self, seq: u64) -> (BTreeMap<homing_kv::Key, Item>, BTreeMap<u64, Applied>) {
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

    fn check_copy(&self, i: usize) {
        let store = &self.nodes[i].store;
        let committed = store.standing(&space()).unwrap().committed;
        let chosen = self.chosen.get(&committed.seq).map_or(Position::ZERO, |entry| entry.position);
        assert_eq!(committed, chosen, "n{i}");
        let items = self.replay(committed.seq).0.into_values().collect::<Vec<_>>();
        assert_eq!(committed_items(store), items, "n{i}");
    }

    /// Lets everything work for long enough, and checks all that was promised.
    fn end_well(&mut self) {
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

impl Message {
    fn copy(&self) -> Self {
        match self {
            Self::Request { from, to, incarnation, request } => Self::Request {
                from: *from,
                to: *to,
                incarnation: *incarnation,
                request: request.clone(),
            },
            Self::Reply { from, to, incarnation, request, reply } => Self::Reply {
                from: *from,
                to: *to,
                incarnation: *incarnation,
                request: request.clone(),
                reply: reply.clone(),
            },
        }
    }
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
    assert!(counts.into_iter().chain([seen.repeated, seen.reordered, seen.lost, seen.gaps]).all(|n| n > 20), "{seen:?}");
}
