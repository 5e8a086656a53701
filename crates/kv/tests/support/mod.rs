//! What the tests of the store share: a disk that forgets, and short names.
#![allow(dead_code)]

use std::io::{self, Error};
use std::sync::{Arc, Mutex};

use homing_kv::{Applied, Identity, Item, Key, Op, OpError, Position, Proposal, Refusal, Store, Value};
use homing_types::{Epoch, IdempotencyKey, NodeId, Space};
use redb::StorageBackend;

/// What survives or fails as one when the power goes, in bytes.
const SECTOR: usize = 512;

/// A disk that keeps only what was synced. A power cut drops what was not, or any part of it: sectors
/// of one write may be old and new.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    live: Vec<u8>,
    /// What is there after a power cut.
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    syncs: u64,
    off: bool,
}

#[derive(Debug)]
enum Change {
    Len(u64),
    Write { offset: u64, data: Vec<u8> },
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// How often it was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    /// Cuts the power: this disk fails from now on, and what is returned is what it kept. Of what was not
    /// synced, each sector survives with a chance of `keep` in 4.
    pub(crate) fn cut(&self, coin: &mut Coin, keep: u64) -> Self {
        let mut state = self.0.lock().unwrap();
        state.off = true;
        let mut kept = state.durable.clone();
        for change in &state.unsynced {
            match change {
                Change::Len(len) => {
                    if coin.toss(4) < keep {
                        kept.resize(usize::try_from(*len).unwrap(), 0);
                    }
                }
                Change::Write { offset, data } => {
                    for (i, sector) in data.chunks(SECTOR).enumerate() {
                        if coin.toss(4) < keep {
                            put(&mut kept, *offset + (i * SECTOR) as u64, sector);
                        }
                    }
                }
            }
        }
        let state = State { live: kept.clone(), durable: kept, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        if state.off { Err(Error::other("the power is off")) } else { Ok(act(&mut state)) }
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = usize::try_from(offset).unwrap();
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| state.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.with(|state| {
            let data =
                state.live.get(offset..offset + out.len()).ok_or_else(|| Error::other("past the end"))?;
            out.copy_from_slice(data);
            Ok(())
        })?
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state| {
            state.live.resize(usize::try_from(len).unwrap(), 0);
            state.unsynced.push(Change::Len(len));
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            state.unsynced.clear();
            state.durable.clone_from(&state.live);
            state.syncs += 1;
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|state| {
            put(&mut state.live, offset, data);
            state.unsynced.push(Change::Write { offset, data: data.to_vec() });
        })
    }
}

/// Seeded chance: splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub(crate) struct Coin(pub(crate) u64);

impl Coin {
    /// A number below `sides`.
    pub(crate) fn toss(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

pub(crate) fn open(disk: &Disk, node: &str) -> Store {
    let identity = Identity { cluster: "test".to_owned(), node: NodeId::new(node).unwrap() };
    Store::with_backend(disk.clone(), &identity).unwrap()
}

pub(crate) fn space() -> Space {
    Space::new("acme").unwrap()
}

pub(crate) fn epoch(number: u64) -> Epoch {
    Epoch::new(number)
}

pub(crate) fn at(epoch: u64, seq: u64) -> Position {
    Position { epoch: Epoch::new(epoch), seq }
}

pub(crate) fn key(name: impl AsRef<[u8]>) -> Key {
    Key::new(name.as_ref().to_vec()).unwrap()
}

pub(crate) fn put_op(name: &str, value: impl AsRef<[u8]>) -> Op {
    Op::Put { key: key(name), value: Value::new(value.as_ref().to_vec()).unwrap() }
}

pub(crate) fn delete_op(name: &str) -> Op {
    Op::Delete { key: key(name) }
}

/// The `n`th idempotency key; they sort as their numbers.
pub(crate) fn idempotency_key(n: u64) -> IdempotencyKey {
    IdempotencyKey::new(n, [0; 10])
}

/// The answer, or the refusal; the store never fails in these tests.
pub(crate) fn answer<T>(result: Result<T, OpError>) -> Result<T, Refusal> {
    match result {
        Ok(answer) => Ok(answer),
        Err(OpError::Refused(refusal)) => Err(refusal),
        Err(OpError::Store(error)) => panic!("{error}"),
    }
}

/// One operation in a batch of its own.
pub(crate) fn run<T>(
    store: &Store,
    op: impl FnOnce(&mut homing_kv::Batch<'_>) -> Result<T, OpError>,
) -> Result<T, Refusal> {
    store.write(|batch| Ok(answer(op(batch)))).unwrap()
}

pub(crate) fn propose(store: &Store, e: u64, op: &Op, key: Option<u64>) -> Result<Proposal, Refusal> {
    run(store, |batch| batch.propose(&space(), epoch(e), op, key.map(idempotency_key)))
}

pub(crate) fn commit(store: &Store, e: u64, position: Position) -> Result<Vec<Applied>, Refusal> {
    run(store, |batch| batch.commit(&space(), epoch(e), position))
}

/// Proposes and commits, as a primary without replicas.
pub(crate) fn write(store: &Store, e: u64, op: &Op) -> Applied {
    let Ok(Proposal::Appended(position)) = propose(store, e, op, None) else { panic!("refused") };
    commit(store, e, position).unwrap()[0]
}

/// Everything that is committed, settled or not.
pub(crate) fn committed_items(store: &Store) -> Vec<Item> {
    let mut export = store.export(&space()).unwrap();
    let mut items = Vec::new();
    while let Some(part) = export.next_part().unwrap() {
        items.extend(part.items);
    }
    items
}
