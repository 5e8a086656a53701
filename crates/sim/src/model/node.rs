//! A node: the receive rule, and the primary's round over its copy.
//!
//! The round is that of `kv`'s task: align the replica with the log, propose what waits, bring it to the replica, commit it here
//! and there, answer. A tail comes before new writes; what was done under an older epoch is not acknowledged.

use homing_kv::{Position, Proposal, Refusal, Request as Replication};
use homing_routing_table::{Decision, Known, Pull, Received, receive};
use homing_types::{Access, Epoch, Outcome};

use super::copies::{Came, CopyId, MessageId, Step};
use super::guard::Guard;
use super::message::{Ask, Message, Request, Said};
use super::state::{Cluster, Luck, State};
use super::{WRITES, is_keyed, node_name, rule, space};

/// A node that is up, or has just come back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) copy: CopyId,
    /// The epoch that its table has.
    pub(super) epoch: u64,
    lead: Option<Lead>,
    queued: Vec<Wanted>,
    waiting: Vec<Waiting>,
    /// What the replica was asked last, and has not answered.
    pub(super) asked: Option<MessageId>,
}

/// What a primary does in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lead {
    epoch: u64,
    aligned: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    /// Another round may begin.
    Idle,
    /// The replica takes the log up to here, before anything is proposed.
    Align(Position),
    /// The replica takes what was proposed.
    Accept(Position),
    /// The replica shows it.
    Commit(Position),
}

/// A write that is not proposed yet, and the way back to its caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Wanted {
    ask: Ask,
    back: Vec<u8>,
}

/// A write in the log, or one that was executed before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Waiting {
    wanted: Wanted,
    position: Position,
    applied: bool,
}

impl Node {
    pub(super) fn new(copy: CopyId) -> Self {
        Self { copy, epoch: 1, lead: None, queued: Vec::new(), waiting: Vec::new(), asked: None }
    }

    /// All that was in memory is gone.
    pub(super) fn forget(&mut self) {
        *self = Self { epoch: self.epoch, ..Self::new(self.copy) };
    }

    /// Whether it asks its replica in an epoch that is over.
    pub(super) fn is_overtaken(&self) -> bool {
        self.asked.is_some() && self.lead.is_some_and(|lead| lead.epoch != self.epoch)
    }

    /// Whether it works on an attempt.
    pub(super) fn has(&self, ask: Ask) -> bool {
        let waiting = self.waiting.iter().map(|waiting| &waiting.wanted);
        self.queued.iter().chain(waiting).any(|wanted| wanted.ask == ask)
    }
}

impl Cluster {
    /// A routed request comes to a node.
    pub(super) fn receive(&self, state: &mut State, mut request: Request, luck: Luck) {
        let at = usize::from(request.to);
        let step = (request.to, request.believed, request.relay);
        if request.path.contains(&step) {
            state.broken = Some(rule::PATH);
        }
        request.path.push(step);
        if request.path.len() > 3 {
            state.broken = Some(rule::HOPS);
        }
        if request.relay && request.path.len() > 1 {
            state.broken = Some(rule::RELAY);
        }
        // Forwards between members carry the group that they rest on.
        let shown = (request.path.len() > 1).then_some(request.believed);
        if let Some(shown) = shown {
            self.learn(state, at, shown);
        }
        let (mut pull, mut looked_up) = (Pull::NotTried, false);
        loop {
            let table = self.tables.at(state.nodes[at].epoch);
            let lookup = table.lookup(space().key());
            let me = node_name(at);
            let known = Known { me: &me, lookup: lookup.as_ref(), closed: &|_| None };
            let believed = if self.keeps(Guard::Behind) {
                request.believed
            } else {
                request.believed.min(state.nodes[at].epoch)
            };
            let received = Received {
                believed: Epoch::new(believed),
                access: Access::Write,
                hops_left: request.hops_left,
                relay: request.relay,
                shown: shown.map(Epoch::new),
                pull,
            };
            match receive(&received, &known) {
                Decision::Pull if luck == Luck::Good => {
                    self.learn(state, at, request.believed);
                    pull = Pull::Answered(Epoch::new(request.believed));
                }
                Decision::Pull => pull = Pull::Failed,
                Decision::Forward { hops_left: 0, .. } if !looked_up => {
                    looked_up = true;
                    if luck == Luck::Good {
                        self.learn(state, at, state.newest);
                    }
                }
                Decision::Forward { hops_left, .. } => return self.forward(state, request, hops_left, luck),
                Decision::Execute { epoch, .. } => {
                    if epoch.number() < request.believed {
                        state.broken = Some(rule::OLD);
                    }
                    let back = way_back(&request);
                    state.nodes[at].queued.push(Wanted { ask: request.ask, back });
                    return self.go_on(state, at);
                }
                Decision::NotReady { .. } => return self.answer(state, &request, Outcome::NotReady),
                Decision::NotOwner => return self.answer(state, &request, Outcome::NotOwner),
                Decision::Phantom => return self.answer(state, &request, Outcome::Refused),
            }
        }
    }

    fn forward(&self, state: &mut State, request: Request, hops_left: u8, luck: Luck) {
        let epoch = state.nodes[usize::from(request.to)].epoch;
        let [primary, _] = self.tables.owners(epoch);
        if primary == usize::from(request.to) {
            return self.answer(state, &request, Outcome::NotOwner);
        }
        if luck == Luck::Bad {
            return self.answer(state, &request, Outcome::NotSent);
        }
        state.forwarded_stale |= epoch > request.believed;
        let on = Request {
            to: primary as u8,
            believed: if self.keeps(Guard::EpochRaised) { epoch } else { request.believed },
            hops_left,
            relay: request.relay && !self.keeps(Guard::RelayCleared),
            ..request.clone()
        };
        state.net.insert(Message::Request(on));
        if luck == Luck::GivesUp {
            let outcome = if self.keeps(Guard::MaybeSent) { Outcome::MaybeSent } else { Outcome::NotSent };
            self.answer(state, &request, outcome);
        }
    }

    fn answer(&self, state: &mut State, request: &Request, outcome: Outcome) {
        let epoch = state.nodes[usize::from(request.to)].epoch;
        self.reply(state, request.ask, &way_back(request), Said::Outcome(outcome), epoch);
    }

    /// A request of a primary comes to its replica; the reply comes back, or is lost.
    pub(super) fn replicate(&self, state: &mut State, (from, to): (u8, u8), id: MessageId, luck: Luck) {
        let message = self.copies.message(id);
        let (request, _) = &*message;
        let at = usize::from(to);
        let known = state.nodes[at].epoch;
        let handled = if self.keeps(Guard::Fence) {
            id
        } else {
            let fence = Epoch::new(self.copies.shows(state.nodes[at].copy).fence);
            self.copies.name(&Replication { epoch: request.epoch.max(fence), ..request.clone() }, None)
        };
        let reply = if self.keeps(Guard::Fence) && known > request.epoch.number() {
            Err(Refusal::Fenced { fence: Epoch::new(known) })
        } else {
            match self.step(state, at, Step::Handle(handled)) {
                Came::Handled(reply) => reply,
                came => unreachable!("{came:?}"),
            }
        };
        let primary = usize::from(from);
        if luck != Luck::Good || state.nodes[primary].asked != Some(id) {
            return;
        }
        state.nodes[primary].asked = None;
        match self.step(state, primary, Step::Learn(self.copies.name(request, Some(&reply)))) {
            Came::Learned(Ok(())) => {}
            Came::Learned(Err(_)) => {
                self.decline(state, primary);
            }
            came => unreachable!("{came:?}"),
        }
        self.go_on(state, primary);
    }

    /// The primary's replica does not answer, and its table knows of another epoch: it goes round again.
    pub(super) fn look_again(&self, state: &mut State, at: usize) {
        state.nodes[at].asked = None;
        self.again(state, at);
        self.go_on(state, at);
    }

    /// The round, as far as it goes without a word of the replica.
    fn go_on(&self, state: &mut State, at: usize) {
        while state.nodes[at].asked.is_none() && self.advance(state, at) {}
    }

    /// One step of the round; whether there is another.
    fn advance(&self, state: &mut State, at: usize) -> bool {
        let node = &state.nodes[at];
        let epoch = node.epoch;
        let Some(lead) = node.lead.filter(|lead| lead.stage != Stage::Idle) else {
            return self.begin_round(state, at);
        };
        let shows = self.copies.shows(node.copy);
        let alone = !self.keeps(Guard::AllInSync);
        let still_primary = lead.epoch == epoch;
        match lead.stage {
            Stage::Idle => unreachable!("handled above"),
            Stage::Align(goal) if shows.accepted >= Some(goal.seq) => {
                self.enter(state, at, Lead { aligned: true, ..lead });
                self.propose(state, at)
            }
            Stage::Accept(goal) if alone || shows.accepted >= Some(goal.seq) => {
                if !still_primary {
                    return self.again(state, at);
                }
                let position = goal;
                match self.step(state, at, Step::Commit { epoch: lead.epoch, position }) {
                    Came::Committed(Ok(applied)) => {
                        for waiting in &mut state.nodes[at].waiting {
                            waiting.applied |=
                                applied.iter().any(|applied| applied.version == waiting.position);
                        }
                        self.enter(state, at, Lead { stage: Stage::Commit(goal), ..lead });
                        true
                    }
                    Came::Committed(Err(_)) => self.decline(state, at),
                    came => unreachable!("{came:?}"),
                }
            }
            Stage::Commit(goal) if alone || shows.committed >= Some(goal.seq) => {
                if !still_primary {
                    return self.again(state, at);
                }
                for waiting in std::mem::take(&mut state.nodes[at].waiting) {
                    let Waiting { wanted: Wanted { ask, back }, position, applied } = waiting;
                    let said = if applied { Said::Done(position) } else { Said::Outcome(Outcome::MaybeSent) };
                    self.reply(state, ask, &back, said, epoch);
                }
                self.enter(state, at, Lead { stage: Stage::Idle, ..lead });
                true
            }
            Stage::Align(_) | Stage::Accept(_) | Stage::Commit(_) => self.ask_replica(state, at),
        }
    }

    fn begin_round(&self, state: &mut State, at: usize) -> bool {
        let node = &mut state.nodes[at];
        if node.queued.is_empty() && node.waiting.is_empty() {
            node.lead = None;
            return false;
        }
        let epoch = node.epoch;
        if self.tables.owners(epoch)[0] != at {
            node.lead = None;
            return self.decline(state, at);
        }
        let lead = match node.lead {
            Some(lead) if lead.epoch == epoch => lead,
            _ => {
                self.step(state, at, Step::TakeLead(epoch));
                Lead { epoch, aligned: false, stage: Stage::Idle }
            }
        };
        if lead.aligned {
            self.enter(state, at, lead);
            return self.propose(state, at);
        }
        let last = self.copies.shows(state.nodes[at].copy).standing.last;
        self.enter(state, at, Lead { stage: Stage::Align(last), ..lead });
        true
    }

    /// Proposes all that waits, unless a tail comes first.
    fn propose(&self, state: &mut State, at: usize) -> bool {
        let Some(lead) = state.nodes[at].lead else { return false };
        let epoch = lead.epoch;
        let standing = match self.step(state, at, Step::Begin(epoch)) {
            Came::Began(Ok(standing)) => standing,
            Came::Began(Err(_)) => return self.decline(state, at),
            came => unreachable!("{came:?}"),
        };
        let mut last = standing.last;
        if standing.last.seq == standing.committed.seq {
            for wanted in std::mem::take(&mut state.nodes[at].queued) {
                let write = usize::from(wanted.ask.caller);
                let keyed = is_keyed(write) && self.keeps(Guard::Dedupe);
                let (position, applied) = match self.step(state, at, Step::Propose { epoch, write, keyed }) {
                    Came::Proposed(Ok(Proposal::Appended(position))) => {
                        last = position;
                        (position, false)
                    }
                    Came::Proposed(Ok(Proposal::Pending(position))) => {
                        state.deduplicated = true;
                        (position, false)
                    }
                    Came::Proposed(Ok(Proposal::Done(applied))) => {
                        state.deduplicated = true;
                        (applied.version, true)
                    }
                    came => unreachable!("{came:?}"),
                };
                state.nodes[at].waiting.push(Waiting { wanted, position, applied });
            }
        } else if !self.keeps(Guard::TailFirst) {
            return self.decline(state, at);
        }
        self.enter(state, at, Lead { stage: Stage::Accept(last), ..lead });
        true
    }

    fn ask_replica(&self, state: &mut State, at: usize) -> bool {
        let Some(lead) = state.nodes[at].lead else { return false };
        let request: Replication = match self.step(state, at, Step::Next) {
            Came::Next(Ok(Some(request))) => request,
            Came::Next(Ok(None)) => return self.again(state, at),
            Came::Next(Err(_)) => return self.decline(state, at),
            came => unreachable!("{came:?}"),
        };
        let id = self.copies.name(&request, None);
        let [_, replica] = self.tables.owners(lead.epoch);
        state.nodes[at].asked = Some(id);
        let (from, to) = (at as u8, replica as u8);
        state.net.insert(Message::Replicate { from, to, message: id });
        false
    }

    /// The owners changed: another round.
    fn again(&self, state: &mut State, at: usize) -> bool {
        if let Some(lead) = &mut state.nodes[at].lead {
            lead.stage = Stage::Idle;
        }
        true
    }

    /// Nothing more can be done for those who wait.
    fn decline(&self, state: &mut State, at: usize) -> bool {
        let node = &mut state.nodes[at];
        let epoch = node.epoch;
        let queued = std::mem::take(&mut node.queued).into_iter().map(|wanted| (wanted, Outcome::NotReady));
        let waiting = std::mem::take(&mut node.waiting).into_iter();
        let declined: Vec<_> =
            queued.chain(waiting.map(|waiting| (waiting.wanted, Outcome::MaybeSent))).collect();
        for (Wanted { ask, back }, outcome) in declined {
            self.reply(state, ask, &back, Said::Outcome(outcome), epoch);
        }
        self.again(state, at)
    }

    fn enter(&self, state: &mut State, at: usize, lead: Lead) {
        state.nodes[at].lead = Some(lead);
    }

    /// A node hears of an epoch.
    pub(super) fn learn(&self, state: &mut State, at: usize, epoch: u64) {
        let before = state.nodes[at].epoch;
        let now = self.tables.learn(before, epoch);
        if now < before {
            state.broken = Some(rule::EPOCH);
        }
        state.nodes[at].epoch = now;
    }

    /// A step of a node's copy. What is committed by it is noted: a write is committed as one entry only.
    pub(super) fn step(&self, state: &mut State, at: usize, step: Step) -> Came {
        let before = self.copies.shows(state.nodes[at].copy);
        let (copy, came) = self.copies.step(state.nodes[at].copy, step);
        state.nodes[at].copy = copy;
        let after = self.copies.shows(copy);
        let is_now: &dyn Fn(&Position) -> bool = match &came {
            Came::Committed(Ok(applied)) => &|at| applied.iter().any(|applied| applied.version == *at),
            _ => &|_| false,
        };
        for write in 0..WRITES {
            let shown = after.holds[write].iter().filter(|at| at.seq <= after.standing.committed.seq);
            let committed = &mut state.committed[write];
            committed.extend(shown.chain(before.holds[write].iter().filter(|at| is_now(at))));
            committed.sort_unstable();
            committed.dedup();
            if committed.len() > 1 {
                state.broken = Some(rule::TWICE);
            }
        }
        came
    }
}

/// Who passes the reply on.
fn way_back(request: &Request) -> Vec<u8> {
    let passed = request.path.len().saturating_sub(1);
    request.path[..passed].iter().map(|(node, _, _)| *node).collect()
}
