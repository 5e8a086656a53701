//! The cluster: nodes, network, authority and callers.

use std::collections::{BTreeMap, BTreeSet};

use homing_kv::{
    Applied, Entry, Op, Progress, Proposal, Refusal, Reply, Request, RequestKind, Store, decode_reply,
    encode_reply,
};
use homing_types::Epoch;

use crate::Event;
use crate::support::*;

pub(crate) const NODES: usize = 3;

/// What the authority decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) epoch: u64,
    pub(crate) primary: usize,
    /// All that must acknowledge, the primary too.
    pub(crate) in_sync: BTreeSet<usize>,
}

pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) store: Store,
    /// Told from one process to the next; replies to an earlier one are lost.
    pub(crate) incarnation: u64,
    pub(crate) view: Config,
    pub(crate) lead: Option<Lead>,
    /// The highest epoch that this node has answered to.
    pub(crate) told: u64,
}

/// A primary at work.
pub(crate) struct Lead {
    pub(crate) epoch: u64,
    pub(crate) replicas: BTreeMap<usize, Progress>,
    pub(crate) joining: Option<usize>,
    pub(crate) waiting: Vec<(usize, Waiting)>,
    pub(crate) results: BTreeMap<u64, Applied>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Waiting {
    For(u64),
    Done(Applied),
}

#[derive(Clone)]
pub(crate) enum Message {
    Request { from: usize, to: usize, incarnation: u64, request: Request },
    Reply { from: usize, to: usize, incarnation: u64, request: Request, reply: Reply },
}

pub(crate) struct Written {
    pub(crate) op: Op,
    pub(crate) idempotency: Option<u64>,
    pub(crate) acknowledged: Option<Applied>,
}

/// What happened in all runs, so that a run in which nothing happens can't pass for a good one.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) acknowledged: u64,
    pub(crate) promoted: u64,
    pub(crate) joined: u64,
    pub(crate) crashed: u64,
    pub(crate) installed: u64,
    pub(crate) fenced: u64,
    pub(crate) unsettled: u64,
    pub(crate) reads: u64,
    pub(crate) repeated: u64,
    pub(crate) reordered: u64,
    pub(crate) lost: u64,
    pub(crate) gaps: u64,
}

pub(crate) struct Cluster<'s> {
    pub(crate) config: Config,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Vec<Message>,
    pub(crate) writes: Vec<Written>,
    /// The history on which all nodes must agree.
    pub(crate) chosen: BTreeMap<u64, Entry>,
    pub(crate) seen: &'s mut Seen,
}

impl<'s> Cluster<'s> {
    pub(crate) fn new(seen: &'s mut Seen) -> Self {
        let config = Config { epoch: 1, primary: 0, in_sync: (0..NODES).collect() };
        let node = |i: usize| {
            let disk = Disk::new();
            let store = open(&disk, &format!("n{i}"));
            Node { disk, store, incarnation: 0, view: config.clone(), lead: None, told: 0 }
        };
        let nodes = (0..NODES).map(node).collect();
        let mut cluster = Self {
            config: config.clone(),
            nodes,
            net: vec![],
            writes: vec![],
            chosen: BTreeMap::new(),
            seen,
        };
        cluster.learn(0);
        cluster
    }

    pub(crate) fn run(&mut self, event: &Event) {
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

    pub(crate) fn propose(&mut self, node: usize, write: usize) {
        let Written { op, idempotency, .. } = &self.writes[write];
        let (op, idempotency) = (op.clone(), *idempotency);
        let Some(lead) = &self.nodes[node].lead else { return };
        let proposed = propose(&self.nodes[node].store, lead.epoch, &op, idempotency);
        let waiting = match proposed {
            Ok(Proposal::Appended(position)) => Waiting::For(position.seq),
            Ok(Proposal::Pending(position)) => Waiting::For(position.seq),
            Ok(Proposal::Done(applied)) => Waiting::Done(applied),
            Err(Refusal::Fenced { .. }) => return self.step_down(node),
            Err(refusal) => panic!("{refusal}"),
        };
        if let Some(lead) = &mut self.nodes[node].lead {
            lead.waiting.push((write, waiting));
        }
    }

    pub(crate) fn step_down(&mut self, node: usize) {
        self.seen.fenced += 1;
        self.nodes[node].lead = None;
    }

    pub(crate) fn drive(&mut self, node: usize) {
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
    pub(crate) fn acknowledge(&mut self, lead: &mut Lead) {
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
    pub(crate) fn mint_joined(&mut self, node: usize, lead: &mut Lead) {
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

    pub(crate) fn join(&mut self, joining: usize) {
        let Config { epoch, primary, in_sync } = &self.config;
        let Some(lead) = &mut self.nodes[*primary].lead else { return };
        if lead.epoch == *epoch && !in_sync.contains(&joining) && lead.joining.is_none() {
            lead.joining = Some(joining);
            lead.replicas.insert(joining, Progress::new(space(), Epoch::new(*epoch)));
        }
    }

    pub(crate) fn deliver(&mut self, which: usize, again: bool) {
        if which >= self.net.len() {
            return;
        }
        self.seen.reordered += u64::from(which > 0);
        self.seen.repeated += u64::from(again);
        let message = self.net.remove(which);
        if again {
            self.net.push(message.clone());
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

    pub(crate) fn handle(&mut self, node: usize, request: &Request) -> Reply {
        let request = Request::decode(request.encode()).unwrap();
        let reply = self.at(node, Some(&request), |store| run(store, |batch| batch.handle(&request)));
        if let (RequestKind::Install(part), Ok(_)) = (&request.kind, &reply) {
            self.seen.installed += u64::from(part.done);
        }
        self.told(node, &request, reply)
    }

    pub(crate) fn told(&mut self, node: usize, request: &Request, reply: Reply) -> Reply {
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

    pub(crate) fn learn_reply(&mut self, from: usize, to: usize, request: &Request, reply: &Reply) {
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

    pub(crate) fn crash(&mut self, i: usize, seed: u64, keep: u64) {
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

    pub(crate) fn promote(&mut self, to: usize, without: usize) {
        if !self.config.in_sync.contains(&to) {
            return;
        }
        if without != to {
            self.config.in_sync.remove(&without);
        }
        self.config = Config { epoch: self.config.epoch + 1, primary: to, ..self.config.clone() };
        self.seen.promoted += 1;
    }

    pub(crate) fn learn(&mut self, i: usize) {
        let config = self.config.clone();
        let node = &mut self.nodes[i];
        let leads = node.lead.as_ref().is_some_and(|lead| lead.epoch == config.epoch);
        node.view = config.clone();
        if config.primary != i || leads {
            return;
        }
        let led =
            self.at(i, None, |store| run(store, |batch| batch.lead(&space(), Epoch::new(config.epoch))));
        led.unwrap();
        let replicas = config.in_sync.iter().filter(|replica| **replica != i);
        let progress = |replica: &usize| (*replica, Progress::new(space(), Epoch::new(config.epoch)));
        let replicas = replicas.map(progress).collect();
        let (waiting, results) = (Vec::new(), BTreeMap::new());
        let lead = Lead { epoch: config.epoch, replicas, joining: None, waiting, results };
        self.nodes[i].told = self.nodes[i].told.max(config.epoch);
        self.nodes[i].lead = Some(lead);
    }

    pub(crate) fn ask(&mut self, node: usize) {
        let Node { store, view, incarnation, .. } = &self.nodes[node];
        if store.unsettled_spaces().is_empty() || view.primary == node {
            return;
        }
        let request = Request { space: space(), epoch: Epoch::new(view.epoch), kind: RequestKind::Ask };
        let (from, to, incarnation) = (node, view.primary, *incarnation);
        self.net.push(Message::Request { from, to, incarnation, request });
    }
}
