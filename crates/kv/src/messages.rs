use homing_types::{Epoch, IdempotencyKey, Space};
use prost::Message;
use prost::bytes::Bytes;
use thiserror::Error;

use crate::generated::replica as wire;
use crate::{Applied, Entry, Item, Key, Op, Position, Record, Refusal, Standing, Value};

/// What one node asks of another about one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The space.
    pub space: Space,
    /// The epoch in which the sender acts.
    pub epoch: Epoch,
    /// What is asked.
    pub kind: RequestKind,
}

/// The requests of the replication protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKind {
    /// The primary brings entries, and tells what is committed.
    Accept(Accept),
    /// The primary brings one part of a full copy.
    Install(Part),
    /// A copy that has just started asks a settled one what is committed.
    Ask,
}

/// Entries that follow `prev`, and what the primary has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// The entry before the first of `entries`.
    pub prev: Position,
    /// The entries, without gaps.
    pub entries: Vec<Entry>,
    /// The last entry that the primary has committed.
    pub committed: Position,
}

impl Accept {
    /// The last entry that a node holds which takes this.
    #[must_use]
    pub fn end(&self) -> Position {
        self.entries.last().map_or(self.prev, |entry| entry.position)
    }
}

/// One part of a full copy of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The last entry that the copy contains.
    pub position: Position,
    /// 0 for the first part, which begins anew, then one more each.
    pub index: u32,
    /// Keys and values.
    pub items: Vec<Item>,
    /// Results of writes that may be retried.
    pub records: Vec<Record>,
    /// Idempotency keys below this, as numbers, are too late.
    pub floor: u128,
    /// Whether this is the last part: it makes the copy visible.
    pub done: bool,
}

/// The answer to a [`Request`].
pub type Reply = Result<Standing, Refusal>;

impl Request {
    /// The request as it travels.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let kind = match &self.kind {
            RequestKind::Accept(accept) => wire::request::Kind::Accept(accept.into()),
            RequestKind::Install(part) => wire::request::Kind::Install(part.into()),
            RequestKind::Ask => wire::request::Kind::Ask(wire::Ask {}),
        };
        let request = wire::Request {
            space: self.space.as_str().to_owned(),
            epoch: self.epoch.number(),
            kind: Some(kind),
        };
        request.encode_to_vec().into()
    }

    /// Reads a request and checks all that it contains.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no request, or breaks a limit.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let request = wire::Request::decode(bytes)?;
        let space = Space::new(&request.space).map_err(|_| DecodeError::Field("space"))?;
        let kind = match request.kind.ok_or(DecodeError::Field("kind"))? {
            wire::request::Kind::Accept(accept) => RequestKind::Accept(accept.try_into()?),
            wire::request::Kind::Install(install) => RequestKind::Install(install.try_into()?),
            wire::request::Kind::Ask(wire::Ask {}) => RequestKind::Ask,
        };
        Ok(Self { space, epoch: Epoch::new(request.epoch), kind })
    }
}

/// A reply as it travels.
///
/// [`Refusal::KeyReused`], [`Refusal::TooLate`] and [`Refusal::TooNew`] answer callers, not nodes: they don't travel, and
/// become [`Refusal::Unsettled`], the refusal that promises nothing.
#[must_use]
pub fn encode_reply(reply: &Reply) -> Bytes {
    use wire::refusal::Kind;
    let kind = match reply {
        Ok(standing) => wire::reply::Kind::Standing((*standing).into()),
        Err(refusal) => wire::reply::Kind::Refusal(wire::Refusal {
            kind: Some(match refusal {
                Refusal::Fenced { fence } => Kind::Fenced(fence.number()),
                Refusal::Gap(standing) => Kind::Gap((*standing).into()),
                Refusal::Diverged { at } => Kind::Diverged((*at).into()),
                Refusal::TailFull { tail } => Kind::TailFull(*tail),
                Refusal::Part { expected } => Kind::Part(*expected),
                Refusal::Unsettled | Refusal::KeyReused | Refusal::TooLate | Refusal::TooNew { .. } => {
                    Kind::Unsettled(wire::Unsettled {})
                }
            }),
        }),
    };
    wire::Reply { kind: Some(kind) }.encode_to_vec().into()
}

/// Reads a reply.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_reply(bytes: Bytes) -> Result<Reply, DecodeError> {
    use wire::refusal::Kind;
    let refusal = match wire::Reply::decode(bytes)?.kind.ok_or(DecodeError::Field("kind"))? {
        wire::reply::Kind::Standing(standing) => return Ok(Ok(standing.try_into()?)),
        wire::reply::Kind::Refusal(refusal) => refusal.kind.ok_or(DecodeError::Field("refusal"))?,
    };
    Ok(Err(match refusal {
        Kind::Fenced(fence) => Refusal::Fenced { fence: Epoch::new(fence) },
        Kind::Gap(standing) => Refusal::Gap(standing.try_into()?),
        Kind::Diverged(at) => Refusal::Diverged { at: position(Some(at))? },
        Kind::TailFull(tail) => Refusal::TailFull { tail },
        Kind::Part(expected) => Refusal::Part { expected },
        Kind::Unsettled(wire::Unsettled {}) => Refusal::Unsettled,
    }))
}

/// Why bytes are no message of this protocol: the sender is of another version, or broken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes are no protobuf message.
    #[error("the replication message is damaged: {0}")]
    Damaged(#[from] prost::DecodeError),
    /// A field is missing or breaks a limit.
    #[error("the field `{0}` of a replication message is missing or out of its bounds")]
    Field(&'static str),
}

impl From<Position> for wire::Position {
    fn from(position: Position) -> Self {
        Self { epoch: position.epoch.number(), seq: position.seq }
    }
}

/// No log gets so long; a position beyond is a broken sender's, and would overflow.
const MAX_SEQ: u64 = u64::MAX >> 1;

/// An absent position is the one before the first entry.
fn position(position: Option<wire::Position>) -> Result<Position, DecodeError> {
    match position.unwrap_or_default() {
        wire::Position { epoch, seq } if seq <= MAX_SEQ => Ok(Position { epoch: Epoch::new(epoch), seq }),
        _ => Err(DecodeError::Field("position")),
    }
}

impl From<Standing> for wire::Standing {
    fn from(standing: Standing) -> Self {
        Self { last: Some(standing.last.into()), committed: Some(standing.committed.into()) }
    }
}

impl TryFrom<wire::Standing> for Standing {
    type Error = DecodeError;

    fn try_from(standing: wire::Standing) -> Result<Self, DecodeError> {
        Ok(Self { last: position(standing.last)?, committed: position(standing.committed)? })
    }
}

impl From<&Accept> for wire::Accept {
    fn from(accept: &Accept) -> Self {
        Self {
            prev: Some(accept.prev.into()),
            entries: accept.entries.iter().map(Into::into).collect(),
            committed: Some(accept.committed.into()),
        }
    }
}

impl TryFrom<wire::Accept> for Accept {
    type Error = DecodeError;

    fn try_from(accept: wire::Accept) -> Result<Self, DecodeError> {
        let prev = position(accept.prev)?;
        let entries =
            accept.entries.into_iter().zip(prev.seq + 1..).map(|(entry, seq)| decode_entry(entry, seq));
        Ok(Self { prev, entries: entries.collect::<Result<_, _>>()?, committed: position(accept.committed)? })
    }
}

impl From<&Entry> for wire::Entry {
    fn from(entry: &Entry) -> Self {
        let key = entry.op.key().bytes().clone();
        let op = match entry.op.value() {
            Some(value) => wire::entry::Op::Put(wire::Put { key, value: value.bytes().clone() }),
            None => wire::entry::Op::Delete(wire::Delete { key }),
        };
        Self {
            epoch: entry.position.epoch.number(),
            idempotency_key: entry.idempotency_key.map(encode_idempotency_key).unwrap_or_default(),
            op: Some(op),
        }
    }
}

fn decode_entry(entry: wire::Entry, seq: u64) -> Result<Entry, DecodeError> {
    let op = match entry.op.ok_or(DecodeError::Field("op"))? {
        wire::entry::Op::Put(put) => Op::Put { key: decode_key(put.key)?, value: decode_value(put.value)? },
        wire::entry::Op::Delete(delete) => Op::Delete { key: decode_key(delete.key)? },
    };
    let idempotency_key = match entry.idempotency_key {
        none if none.is_empty() => None,
        key => Some(decode_idempotency_key(&key)?),
    };
    Ok(Entry { position: Position { epoch: Epoch::new(entry.epoch), seq }, idempotency_key, op })
}

impl From<&Part> for wire::Install {
    fn from(part: &Part) -> Self {
        let items = part.items.iter().map(|item| wire::Item {
            key: item.key.bytes().clone(),
            value: item.value.bytes().clone(),
            version: Some(item.version.into()),
        });
        let records = part.records.iter().map(|record| wire::Record {
            idempotency_key: encode_idempotency_key(record.key),
            digest: encode_number(record.digest),
            version: Some(record.applied.version.into()),
            found: record.applied.found,
        });
        Self {
            position: Some(part.position.into()),
            index: part.index,
            items: items.collect(),
            records: records.collect(),
            floor: encode_number(part.floor),
            done: part.done,
        }
    }
}

impl TryFrom<wire::Install> for Part {
    type Error = DecodeError;

    fn try_from(install: wire::Install) -> Result<Self, DecodeError> {
        let items = install.items.into_iter().map(|item| {
            let (key, value) = (decode_key(item.key)?, decode_value(item.value)?);
            Ok(Item { key, value, version: position(item.version)? })
        });
        let records = install.records.into_iter().map(|record| {
            Ok(Record {
                key: decode_idempotency_key(&record.idempotency_key)?,
                digest: decode_number(&record.digest).ok_or(DecodeError::Field("digest"))?,
                applied: Applied { version: position(record.version)?, found: record.found },
            })
        });
        Ok(Self {
            position: position(install.position)?,
            index: install.index,
            items: items.collect::<Result<_, DecodeError>>()?,
            records: records.collect::<Result<_, DecodeError>>()?,
            floor: decode_number(&install.floor).ok_or(DecodeError::Field("floor"))?,
            done: install.done,
        })
    }
}

fn decode_key(key: Bytes) -> Result<Key, DecodeError> {
    Key::new(key).map_err(|_| DecodeError::Field("key"))
}

fn decode_value(value: Bytes) -> Result<Value, DecodeError> {
    Value::new(value).map_err(|_| DecodeError::Field("value"))
}

fn encode_idempotency_key(key: IdempotencyKey) -> Bytes {
    Bytes::copy_from_slice(&key.to_bytes())
}

fn decode_idempotency_key(key: &[u8]) -> Result<IdempotencyKey, DecodeError> {
    key.try_into()
        .ok()
        .and_then(|bytes| IdempotencyKey::from_bytes(bytes).ok())
        .ok_or(DecodeError::Field("idempotency_key"))
}

fn encode_number(number: u128) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn decode_number(bytes: &[u8]) -> Option<u128> {
    if bytes.is_empty() { Some(0) } else { bytes.try_into().ok().map(u128::from_be_bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch: Epoch::new(epoch), seq }
    }

    fn item() -> Item {
        Item { key: Key::new("k").unwrap(), version: at(3, 4), value: Value::new("v").unwrap() }
    }

    fn request(kind: RequestKind) -> Request {
        Request { space: Space::new("acme").unwrap(), epoch: Epoch::new(7), kind }
    }

    fn accept() -> Accept {
        let key = IdempotencyKey::new(5, [6; 10]);
        let put = Op::Put { key: item().key, value: item().value };
        let entries = vec![
            Entry { position: at(6, 9), idempotency_key: Some(key), op: put },
            Entry { position: at(7, 10), idempotency_key: None, op: Op::Delete { key: item().key } },
        ];
        Accept { prev: at(5, 8), entries, committed: at(5, 7) }
    }

    #[test]
    fn messages_survive_the_wire() {
        let applied = Applied { version: at(1, 2), found: true };
        let record = Record { key: IdempotencyKey::new(1, [2; 10]), digest: u128::MAX - 1, applied };
        let part = Part {
            position: at(3, 4),
            index: 5,
            items: vec![item()],
            records: vec![record],
            floor: 1 << 100,
            done: true,
        };
        for kind in [RequestKind::Accept(accept()), RequestKind::Install(part), RequestKind::Ask] {
            let request = request(kind);
            assert_eq!(Request::decode(request.encode()), Ok(request));
        }
        let standing = Standing { last: at(2, 3), committed: at(1, 1) };
        let refusals = [
            Refusal::Fenced { fence: Epoch::new(9) },
            Refusal::Gap(standing),
            Refusal::Diverged { at: at(1, 2) },
            Refusal::TailFull { tail: 1024 },
            Refusal::Part { expected: 0 },
            Refusal::Unsettled,
        ];
        for reply in refusals.into_iter().map(Err).chain([Ok(standing)]) {
            assert_eq!(decode_reply(encode_reply(&reply)), Ok(reply));
        }
    }

    #[test]
    fn a_message_out_of_bounds_names_its_field() {
        let damaged = |change: &dyn Fn(&mut wire::Accept)| {
            let mut message = wire::Accept::from(&accept());
            change(&mut message);
            let kind = Some(wire::request::Kind::Accept(message));
            let message = wire::Request { space: "acme".into(), epoch: 7, kind };
            Request::decode(message.encode_to_vec().into())
        };
        assert!(damaged(&|_| {}).is_ok());
        assert_eq!(damaged(&|m| m.entries[0].op = None), Err(DecodeError::Field("op")));
        let empty = |m: &mut wire::Accept| {
            m.entries[0].op = Some(wire::entry::Op::Delete(wire::Delete { key: Bytes::new() }));
        };
        assert_eq!(damaged(&empty), Err(DecodeError::Field("key")));
        let short = |m: &mut wire::Accept| m.entries[0].idempotency_key = Bytes::from_static(b"short");
        assert_eq!(damaged(&short), Err(DecodeError::Field("idempotency_key")));
        let last = |m: &mut wire::Accept| m.prev = Some(wire::Position { epoch: 1, seq: u64::MAX });
        assert_eq!(damaged(&last), Err(DecodeError::Field("position")));
        assert!(matches!(Request::decode(Bytes::from_static(b"\xff")), Err(DecodeError::Damaged(_))));
    }
}
