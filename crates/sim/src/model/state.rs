//! The cluster as a state machine: what is, and what can happen next.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use homing_kv::Position;
use homing_routing_table::{Diff, Group, RoutingTable, Snapshot};
use homing_types::{Epoch, Outcome, Owners, Replica, ReplicaState};
use parking_lot::RwLock;

use super::client::{Caller, Calls, First, Try};
use super::copies::{Copies, CopyId, Step};
use super::guard::Guard;
use super::message::{Ask, Message, Request, Said};
use super::node::Node;
use super::{
    Bounds, CALLERS, EPOCHS, FRESH, NODES, OWNERS, ROUNDS, WRITES, is_keyed, node_name, rule, space,
};

/// One state of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) nodes: [Node; NODES],
    pub(super) callers: [Caller; CALLERS],
    pub(super) net: BTreeSet<Message>,
    /// The newest epoch there is.
    pub(super) newest: u64,
    crashes: u8,
    repeats: u8,
    /// What callers were told of their writes.
    acknowledged: [Option<Position>; CALLERS],
    /// As which entries each write was ever committed.
    pub(super) committed: [Vec<Position>; WRITES],
    // Left out of `Hash`: they say how this state was first reached, and don't make it another one.
    pub(super) forwarded_stale: bool,
    pub(super) deduplicated: bool,
    /// What must never happen, and did.
    pub(super) broken: Option<&'static str>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { nodes, callers, net, newest, crashes, repeats, acknowledged, committed, broken, .. } =
            self;
        (nodes, callers, net, newest, crashes, repeats, acknowledged, committed, broken).hash(hasher);
    }
}

impl State {
    /// Whether every call has ended.
    fn is_quiet(&self) -> bool {
        self.callers.iter().all(|caller| caller.over)
    }
}

/// How it goes when a message arrives that makes a node turn to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Luck {
    /// Whoever is asked answers.
    Good,
    /// Nobody can be reached.
    Bad,
    /// The request is passed on, and its reply not waited for.
    GivesUp,
}

/// What can happen next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// The authority makes the other owner the primary, in a new epoch. That owner is told at once.
    Promote,
    /// A node is told of the newest epoch.
    Tell(usize),
    /// A node loses what it had in memory, and perhaps what it had not synced.
    Crash {
        /// Which.
        node: usize,
        /// Whether its disk keeps what was not synced.
        keeps: bool,
    },
    /// A caller makes its next attempt.
    Attempt {
        /// Which.
        caller: usize,
        /// Whom it tries first, if it plans anew.
        first: First,
        /// Whether the node can be dialled.
        reached: bool,
    },
    /// A caller has waited long enough.
    GiveUp(usize),
    /// A primary whose replica does not answer looks at its table.
    LookAgain(usize),
    /// A message arrives.
    Arrives {
        /// Which.
        message: Message,
        /// How it goes on.
        luck: Luck,
        /// Whether it will arrive once more.
        again: bool,
    },
}

/// The model.
pub(super) struct Cluster {
    bounds: Bounds,
    pub(super) without: Option<Guard>,
    pub(super) copies: Arc<Copies>,
    pub(super) calls: Calls,
    pub(super) tables: Tables,
    empty: CopyId,
    /// Whether a new call is acknowledged in a fair schedule, by the hash of all that it meets.
    served: RwLock<HashMap<u64, bool>>,
}

/// What there is to know: the group of each epoch, in a real table.
pub(super) struct Tables {
    /// By epoch; the first knows nothing.
    known: Vec<(Arc<Snapshot>, [usize; OWNERS])>,
    /// The epoch that a table has which had the first one and learns the second.
    learned: Vec<Vec<u64>>,
}

impl Tables {
    fn new(without: Option<Guard>) -> Self {
        let owners = |epoch: u64| match (without, epoch) {
            // The second epoch goes to a node that holds nothing.
            (Some(Guard::InSyncPromoted), 2) => [2, 0],
            _ => [(epoch as usize + 1) % OWNERS, epoch as usize % OWNERS],
        };
        let diff = |epoch: u64| {
            let [primary, replica] = owners(epoch).map(node_name);
            let replica = Replica { node: replica, state: ReplicaState::InSync };
            let owners = Owners::new(primary, vec![replica]).ok();
            let group = owners.map(|owners| Group::new(Epoch::new(epoch), owners));
            group.and_then(|group| Diff::one(space().key().slot(), group).ok()).unwrap_or_default()
        };
        let table = |epochs: &[u64]| {
            let table = RoutingTable::new();
            for epoch in epochs.iter().filter(|epoch| **epoch > 0) {
                if let Err(error) = table.apply(&diff(*epoch)) {
                    unreachable!("{error}");
                }
            }
            table.snapshot()
        };
        let epoch = |table: Arc<Snapshot>| table.epoch(space().key().slot()).number();
        let all = 0..=EPOCHS;
        Self {
            known: all.clone().map(|epoch| (table(&[epoch]), owners(epoch.max(1)))).collect(),
            learned: all
                .clone()
                .map(|known| all.clone().map(|told| epoch(table(&[known, told]))).collect())
                .collect(),
        }
    }

    pub(super) fn at(&self, epoch: u64) -> &Snapshot {
        &self.known[epoch as usize].0
    }

    /// The primary and its replica.
    pub(super) fn owners(&self, epoch: u64) -> [usize; OWNERS] {
        self.known[epoch as usize].1
    }

    pub(super) fn learn(&self, known: u64, told: u64) -> u64 {
        self.learned[known as usize][told as usize]
    }
}

impl Cluster {
    pub(super) fn new(bounds: Bounds, without: Option<Guard>) -> Self {
        let copies = Copies::default();
        let empty = copies.empty();
        let (copies, calls, tables) = (Arc::new(copies), Calls::default(), Tables::new(without));
        Self { bounds, without, copies, calls, tables, empty, served: RwLock::default() }
    }

    /// Whether this rule of production holds here.
    pub(super) fn keeps(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    pub(super) fn begin(&self) -> State {
        let calls = |who: usize| self.bounds.callers.get(who).is_some_and(|calls| *calls);
        State {
            nodes: std::array::from_fn(|_| Node::new(self.empty)),
            callers: std::array::from_fn(|who| self.caller(who, self.bounds.attempts, calls(who))),
            net: BTreeSet::new(),
            newest: 1,
            crashes: 0,
            repeats: 0,
            acknowledged: [None; CALLERS],
            committed: std::array::from_fn(|_| Vec::new()),
            forwarded_stale: false,
            deduplicated: false,
            broken: None,
        }
    }

    pub(super) fn possible(&self, state: &State) -> Vec<Action> {
        let mut possible = Vec::new();
        if state.broken.is_some() {
            return possible;
        }
        let message =
            |message: &Message, luck, again| Action::Arrives { message: message.clone(), luck, again };
        for on_its_way in &state.net {
            possible.push(message(on_its_way, Luck::Good, false));
            possible.push(message(on_its_way, Luck::Bad, false));
            if let Message::Request(request) = on_its_way {
                possible.push(message(on_its_way, Luck::GivesUp, false));
                if request.ask.caller == 0 && state.repeats < self.bounds.repeats {
                    possible.push(message(on_its_way, Luck::Good, true));
                }
            }
        }
        for (i, caller) in state.callers.iter().enumerate().filter(|(_, caller)| !caller.over) {
            if caller.waits_for.is_some() {
                possible.push(Action::GiveUp(i));
            } else {
                for first in First::ALL {
                    possible.extend([true, false].map(|reached| Action::Attempt {
                        caller: i,
                        first,
                        reached,
                    }));
                }
            }
        }
        if state.newest < self.bounds.epochs {
            possible.push(Action::Promote);
        }
        for (i, node) in state.nodes.iter().enumerate() {
            if node.epoch < state.newest {
                possible.push(Action::Tell(i));
            }
            if node.is_overtaken() {
                possible.push(Action::LookAgain(i));
            }
            if state.crashes < self.bounds.crashes && i < OWNERS {
                possible.extend([true, false].map(|keeps| Action::Crash { node: i, keeps }));
            }
        }
        possible
    }

    /// An action in words, with what a message says.
    pub(super) fn tell(&self, action: &Action) -> String {
        let mut line = format!("{action:?}");
        if let Action::Arrives { message: Message::Replicate { from, to, message }, luck, .. } = action {
            let (request, _) = &*self.copies.message(*message);
            let (epoch, kind) = (request.epoch, &request.kind);
            line = format!(
                "{} to {}, epoch {epoch}, {luck:?}: {kind:?}",
                node_name((*from).into()),
                node_name((*to).into())
            );
        }
        line
    }

    pub(super) fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Promote => {
                state.newest += 1;
                let [primary, _] = self.tables.owners(state.newest);
                self.learn(state, primary, state.newest);
            }
            Action::Tell(node) => self.learn(state, node, state.newest),
            Action::Crash { node, keeps } => {
                state.crashes += 1;
                self.step(state, node, Step::Crash { keeps });
                if !self.keeps(Guard::Synced) {
                    state.nodes[node].copy = self.empty;
                }
                state.nodes[node].forget();
            }
            Action::Attempt { caller, first, reached } => self.attempt(state, caller, first, reached),
            Action::GiveUp(caller) => self.give_up(state, caller),
            Action::LookAgain(node) => self.look_again(state, node),
            Action::Arrives { message, luck, again } => self.arrives(state, message, luck, again),
        }
        self.forget_what_is_refused(state);
    }

    /// A primary's request of an epoch that its replica knows to be over changes nothing any more.
    fn forget_what_is_refused(&self, state: &mut State) {
        if !self.keeps(Guard::Fence) {
            return;
        }
        let nodes = &state.nodes;
        state.net.retain(|message| match message {
            Message::Replicate { from, to, message } => {
                let over = nodes[usize::from(*to)].epoch > self.copies.message(*message).0.epoch.number();
                !over || nodes[usize::from(*from)].asked == Some(*message)
            }
            Message::Request(_) => true,
        });
    }

    fn attempt(&self, state: &mut State, who: usize, first: First, reached: bool) {
        let caller = &mut state.callers[who];
        let Some(Try { to, relay, hops_left }) = self.next_attempt(caller, first) else { return };
        if !reached {
            self.attempted(caller, to, Outcome::NotSent, false);
            return;
        }
        caller.waits_for = Some(to);
        let ask = Ask { caller: who as u8, attempt: caller.attempt };
        let believed = caller.epoch;
        let request = Request { ask, to, believed, hops_left, relay, path: Vec::new() };
        state.net.insert(Message::Request(request));
    }

    fn give_up(&self, state: &mut State, who: usize) {
        let caller = &mut state.callers[who];
        let Some(node) = caller.waits_for else { return };
        let honest = is_keyed(who) || self.keeps(Guard::Ambiguous);
        let outcome = if honest { Outcome::MaybeSent } else { Outcome::NotSent };
        self.attempted(caller, node, outcome, false);
    }

    fn arrives(&self, state: &mut State, message: Message, luck: Luck, again: bool) {
        match message {
            Message::Request(request) => {
                if again {
                    state.repeats += 1;
                } else {
                    state.net.remove(&Message::Request(request.clone()));
                }
                self.receive(state, request, luck);
            }
            Message::Replicate { from, to, message } => self.replicate(state, (from, to), message, luck),
        }
    }

    /// What is said of an attempt, out of an epoch, if its caller still waits. All on its way learn.
    pub(super) fn reply(&self, state: &mut State, ask: Ask, back: &[u8], said: Said, mut epoch: u64) {
        let who = usize::from(ask.caller);
        if state.callers[who].attempt != ask.attempt || state.callers[who].waits_for.is_none() {
            return;
        }
        for node in back.iter().rev() {
            self.learn(state, usize::from(*node), epoch);
            epoch = epoch.max(state.nodes[usize::from(*node)].epoch);
        }
        let caller = &mut state.callers[who];
        let Some(node) = caller.waits_for else { return };
        let taught = self.teach(caller, epoch);
        if caller.epoch < epoch {
            state.broken = Some(rule::TAUGHT);
        }
        match said {
            Said::Done(position) => {
                caller.waits_for = None;
                caller.over = true;
                state.acknowledged[who] = Some(position);
            }
            Said::Outcome(outcome) => self.attempted(caller, node, outcome, taught),
        }
    }

    /// What a caller was told is held by all in-sync owners.
    pub(super) fn keeps_its_word(&self, state: &State) -> bool {
        let owners = self.tables.owners(state.newest);
        (0..WRITES).all(|write| {
            state.acknowledged[write].is_none_or(|position| {
                owners
                    .iter()
                    .all(|owner| self.copies.shows(state.nodes[*owner].copy).holds[write].contains(&position))
            })
        })
    }

    /// All messages arrive from here on, everybody is told, and nobody crashes: then every call ends soon, and a new one is
    /// acknowledged soon after.
    ///
    /// This is asked where a call is under way, and there the nodes are met in all their states: a reply that nobody hears leaves
    /// them as one that is heard. What breaks on the way is explored, too, and told by its own name.
    pub(super) fn serves_fairly(&self, state: &State) -> bool {
        if state.broken.is_some() || state.is_quiet() {
            return true;
        }
        let mut state = state.clone();
        let ended = (0..ROUNDS).any(|_| {
            self.go_round(&mut state);
            state.broken.is_some() || state.is_quiet()
        });
        ended && (state.broken.is_some() || self.serves_anew(state))
    }

    /// Whether a new call is acknowledged soon: one that has ended may have failed. It has a key, and as many attempts as it likes.
    fn serves_anew(&self, mut state: State) -> bool {
        // Fair schedules from many states come to the same, so that few go on from here.
        let mut hasher = DefaultHasher::new();
        (&state.nodes, &state.net, state.newest).hash(&mut hasher);
        let met = hasher.finish();
        if let Some(serves) = self.served.read().get(&met) {
            return *serves;
        }
        state.callers[FRESH] = self.caller(FRESH, ROUNDS as u32, true);
        let serves = (0..ROUNDS).any(|_| {
            self.go_round(&mut state);
            state.acknowledged[FRESH].is_some()
        });
        self.served.write().insert(met, serves);
        serves
    }

    /// One round of a fair schedule.
    fn go_round(&self, state: &mut State) {
        for node in 0..NODES {
            self.act(state, Action::Tell(node));
            if state.nodes[node].is_overtaken() {
                self.act(state, Action::LookAgain(node));
            }
        }
        for message in state.net.clone() {
            if state.net.contains(&message) {
                self.act(state, Action::Arrives { message, luck: Luck::Good, again: false });
            }
        }
        for caller in 0..CALLERS {
            self.act_for(state, caller);
        }
    }

    /// What a caller does in a fair schedule: it waits for as long as anybody works on its attempt.
    fn act_for(&self, state: &mut State, who: usize) {
        let caller = &state.callers[who];
        if caller.over {
            return;
        }
        let ask = Ask { caller: who as u8, attempt: caller.attempt };
        let of_it = |message: &Message| matches!(message, Message::Request(request) if request.ask == ask);
        let under_way = state.net.iter().any(of_it) || state.nodes.iter().any(|node| node.has(ask));
        match caller.waits_for {
            None => self.act(state, Action::Attempt { caller: who, first: First::Primary, reached: true }),
            Some(_) if under_way => {}
            Some(_) => self.act(state, Action::GiveUp(who)),
        }
    }
}
