//! What the tests of the store share: short names.
#![allow(dead_code)]

use homing_kv::{Applied, Identity, Item, Key, Op, OpError, Position, Proposal, Refusal, Store, Value};
pub(crate) use homing_kv::{Coin, Disk};
use homing_types::{Epoch, IdempotencyKey, NodeId, Space};

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
