//! The real store of one owner, stepped so that a state can be gone back to.
//!
//! A state is the steps that led to it. Two states that show the same, now and after a power cut, are one; so each step from each
//! state is done once, by the real [`Store`] and the real [`Progress`], and looked up ever after.

use std::collections::HashMap;
use std::sync::Arc;

use homing_kv::{
    Applied, Batch, Coin, Disk, Identity, Key, Op, OpError, Part, Position, Progress, Proposal, Refusal,
    Reply, Request, Standing, Store, Value,
};
use homing_types::{Epoch, IdempotencyKey};
use parking_lot::RwLock;

use super::interned::Interned;
use super::{WRITES, node_name, space};

/// A state of one owner's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CopyId(u32);

/// A message of the replication protocol, or an answer to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MessageId(u32);

/// What can be done with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Begin to lead: nothing is known of the replica yet.
    TakeLead(u64),
    /// Act as the primary: what is held?
    Begin(u64),
    /// Propose a write, by its number, with its key or without.
    Propose {
        epoch: u64,
        write: usize,
        keyed: bool,
    },
    /// The next request to the replica.
    Next,
    /// The replica's reply to a request.
    Learn(MessageId),
    Commit {
        epoch: u64,
        position: Position,
    },
    /// A request of the primary.
    Handle(MessageId),
    /// A power cut. All of what was not synced survives, or nothing.
    Crash {
        keeps: bool,
    },
}

/// What came of a step.
#[derive(Debug, Clone)]
pub(super) enum Came {
    Nothing,
    Began(Result<Standing, Refusal>),
    Proposed(Result<Proposal, Refusal>),
    Next(Result<Option<Request>, Refusal>),
    Learned(Result<(), Refusal>),
    Committed(Result<Vec<Applied>, Refusal>),
    Handled(Reply),
}

/// What a copy shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shows {
    pub(super) standing: Standing,
    pub(super) fence: u64,
    /// Where each write stands, in the log or committed.
    pub(super) holds: [Vec<Position>; WRITES],
    /// How far the replica has come, as the primary knows, if it knows anything.
    pub(super) accepted: Option<u64>,
    pub(super) committed: Option<u64>,
}

/// All states that were ever seen, and what came of each step from each of them.
#[derive(Default)]
pub(super) struct Copies {
    states: Interned<(Vec<Step>, Arc<Shows>)>,
    steps: RwLock<HashMap<(CopyId, Step), (CopyId, Came)>>,
    messages: Interned<Arc<Message>>,
}

/// A request, and the reply to it if it is that.
pub(super) type Message = (Request, Option<Reply>);

/// More entries than any run has.
const MOST_ENTRIES: u64 = 8;

impl Copies {
    /// An owner that holds nothing.
    pub(super) fn empty(&self) -> CopyId {
        self.intern(self.replay(&[]), Vec::new())
    }

    pub(super) fn shows(&self, id: CopyId) -> Arc<Shows> {
        self.states.read(id.0, |(_, shows)| Arc::clone(shows))
    }

    /// How many states there are.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Does a step.
    pub(super) fn step(&self, from: CopyId, step: Step) -> (CopyId, Came) {
        if let Some(known) = self.steps.read().get(&(from, step)) {
            return known.clone();
        }
        let mut steps = self.states.read(from.0, |(steps, _)| steps.clone());
        let mut copy = self.replay(&steps);
        let came = self.take(&mut copy, step);
        steps.push(step);
        let done = (self.intern(copy, steps), came);
        self.steps.write().insert((from, step), done.clone());
        done
    }

    /// The state of a copy to which these steps led.
    fn intern(&self, copy: Copy, steps: Vec<Step>) -> CopyId {
        let shows = Arc::new(copy.shows());
        CopyId(self.states.id(copy.describe(), || (steps, shows)))
    }

    fn replay(&self, steps: &[Step]) -> Copy {
        let disk = Disk::new();
        let mut copy = Copy { store: open(&disk), disk, lead: None };
        for step in steps {
            self.take(&mut copy, *step);
        }
        copy
    }

    fn take(&self, copy: &mut Copy, step: Step) -> Came {
        match step {
            Step::Learn(id) => match &*self.message(id) {
                (request, Some(reply)) => copy.learn(request, reply),
                (_, None) => Came::Nothing,
            },
            Step::Handle(id) => {
                let request = &self.message(id).0;
                Came::Handled(copy.write(|batch| batch.handle(request)))
            }
            step => copy.step(step),
        }
    }

    pub(super) fn name(&self, request: &Request, reply: Option<&Reply>) -> MessageId {
        let text = format!("{request:?} {reply:?}");
        MessageId(self.messages.id(text, || Arc::new((request.clone(), reply.cloned()))))
    }

    pub(super) fn message(&self, id: MessageId) -> Arc<Message> {
        self.messages.read(id.0, Arc::clone)
    }
}

/// A live one.
struct Copy {
    disk: Disk,
    store: Store,
    lead: Option<(u64, Progress)>,
}

impl Copy {
    fn step(&mut self, step: Step) -> Came {
        match step {
            Step::TakeLead(epoch) => {
                self.lead = Some((epoch, Progress::new(space(), Epoch::new(epoch))));
                Came::Nothing
            }
            Step::Begin(epoch) => Came::Began(self.write(|batch| batch.lead(&space(), Epoch::new(epoch)))),
            Step::Propose { epoch, write, keyed } => {
                let (op, key) = (op(write), keyed.then(|| key(write)));
                Came::Proposed(self.write(|batch| batch.propose(&space(), Epoch::new(epoch), &op, key)))
            }
            Step::Next => {
                let Some((_, progress)) = &mut self.lead else { return Came::Next(Ok(None)) };
                Came::Next(refused(progress.next(&self.store)))
            }
            Step::Commit { epoch, position } => {
                Came::Committed(self.write(|batch| batch.commit(&space(), Epoch::new(epoch), position)))
            }
            Step::Crash { keeps } => {
                self.disk = self.disk.cut(&mut Coin(1), if keeps { 4 } else { 0 });
                self.store = open(&self.disk);
                self.lead = None;
                Came::Nothing
            }
            Step::Learn(_) | Step::Handle(_) => unreachable!("they are looked up"),
        }
    }

    fn learn(&mut self, request: &Request, reply: &Reply) -> Came {
        let Some((_, progress)) = &mut self.lead else { return Came::Learned(Ok(())) };
        Came::Learned(refused(progress.learn(&self.store, request, reply)))
    }

    fn write<T>(&self, job: impl Fn(&mut Batch<'_>) -> Result<T, OpError>) -> Result<T, Refusal> {
        match self.store.write(|batch| Ok(refused(job(batch)))) {
            Ok(done) => done,
            Err(error) => broken(error),
        }
    }

    fn shows(&self) -> Shows {
        let standing = self.store.standing(&space()).unwrap_or_else(broken);
        let fence = self.store.fence(&space()).unwrap_or_else(broken);
        let (_, log) = refused(self.store.log(&space(), fence, 0)).unwrap_or_default();
        let shown: Vec<_> = parts(&self.store).into_iter().flat_map(|part| part.items).collect();
        let holds = std::array::from_fn(|write| {
            let logged = log.iter().filter(|entry| entry.op == op(write)).map(|entry| entry.position);
            let shown = shown.iter().filter(|item| item.key == *op(write).key()).map(|item| item.version);
            logged.chain(shown).collect()
        });
        let at = |seq| Position { epoch: Epoch::ZERO, seq };
        let come = |has: &dyn Fn(&Progress, Position) -> bool| {
            let lead = self.lead.as_ref();
            lead.and_then(|(_, lead)| (0..=MOST_ENTRIES).rev().find(|seq| has(lead, at(*seq))))
        };
        Shows {
            standing,
            fence: fence.number(),
            holds,
            accepted: come(&|lead, at| lead.has_accepted(at)),
            committed: come(&|lead, at| lead.has_committed(at)),
        }
    }

    /// All of a state that a step can tell from another.
    fn describe(self) -> String {
        let lead = self.lead.as_ref().map(|(epoch, progress)| format!("{epoch} {progress:?}"));
        let live = describe(&self.store);
        let cut = describe(&open(&self.disk.cut(&mut Coin(1), 0)));
        format!("{lead:?} {live} {cut}")
    }
}

fn describe(store: &Store) -> String {
    let fence = store.fence(&space()).unwrap_or_else(broken);
    let log = refused(store.log(&space(), fence, 0));
    let unsettled = store.unsettled_spaces();
    format!("{fence:?} {log:?} {unsettled:?} {:?} {}", parts(store), store.is_floating())
}

fn parts(store: &Store) -> Vec<Part> {
    let mut export = store.export(&space()).unwrap_or_else(broken);
    std::iter::from_fn(|| export.next_part().unwrap_or_else(broken)).collect()
}

fn open(disk: &Disk) -> Store {
    let identity = Identity { cluster: "model".to_owned(), node: node_name(0) };
    Store::with_backend(disk.clone(), &identity).unwrap_or_else(broken)
}

fn refused<T>(done: Result<T, OpError>) -> Result<T, Refusal> {
    match done {
        Ok(done) => Ok(done),
        Err(OpError::Refused(refusal)) => Err(refusal),
        Err(OpError::Store(error)) => broken(error),
    }
}

fn broken<T>(error: impl Into<OpError>) -> T {
    unreachable!("a disk in memory does not fail: {}", error.into())
}

/// The write of this number: each writes a key of its own.
pub(super) fn op(write: usize) -> Op {
    let text = write.to_string();
    match (Key::new(text.clone().into_bytes()), Value::new(text.into_bytes())) {
        (Ok(key), Ok(value)) => Op::Put { key, value },
        _ => unreachable!("a digit is no long key"),
    }
}

fn key(write: usize) -> IdempotencyKey {
    IdempotencyKey::new(1 + write as u64, [0; 10])
}
