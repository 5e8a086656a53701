use std::fmt;

use homing_types::{Epoch, IdempotencyKey};
use xxhash_rust::xxh3::Xxh3;

use crate::{Key, Value};

/// The label of an entry in the log of its space, and the version of what it wrote.
///
/// Within an epoch only one primary writes, and it writes an entry to its own disk before anybody else
/// sees it. So one position never names two entries, not even when the primary crashes and goes on
/// in the same epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// The epoch of the primary that wrote the entry.
    pub epoch: Epoch,
    /// 1 for the first entry of a space, then one more each; 0 is before the first.
    pub seq: u64,
}

impl Position {
    /// Before the first entry.
    pub const ZERO: Self = Self { epoch: Epoch::ZERO, seq: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

/// What a node holds of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// The last entry in its log.
    pub last: Position,
    /// The last entry that reads show.
    pub committed: Position,
}

/// One write to one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put {
        /// The key.
        key: Key,
        /// Its new value.
        value: Value,
    },
    /// Removes a key, if it is there.
    Delete {
        /// The key.
        key: Key,
    },
}

impl Op {
    /// The key that is written.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The value that is set; `None` if the key is removed.
    #[must_use]
    pub const fn value(&self) -> Option<&Value> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }

    /// xxh3-128 of the write, by which a repeated idempotency key is told from a reused one.
    pub(crate) fn digest(&self) -> u128 {
        let key = self.key().bytes();
        let mut hash = Xxh3::new();
        // The key's length keeps `ab` = `c` apart from `a` = `bc`.
        hash.update(&[u8::from(self.value().is_some())]);
        hash.update(&(key.len() as u64).to_le_bytes());
        hash.update(key);
        hash.update(self.value().map_or(&[][..], |value| value.bytes()));
        hash.digest128()
    }

    /// What it costs of a message, in bytes.
    pub(crate) fn size(&self) -> usize {
        crate::limits::OVERHEAD
            + self.key().bytes().len()
            + self.value().map_or(0, |value| value.bytes().len())
    }
}

/// A write in the log of its space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its label.
    pub position: Position,
    /// The key by which its retries are known, if the caller gave one.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The write.
    pub op: Op,
}

/// The result of a write.
///
/// It is worked out when the entry is applied, from the committed state just before it, not when it
/// is proposed: entries that wait in the tail may still change what it finds. The log gives every copy
/// the same order, so every copy works out the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The entry that the write became.
    pub version: Position,
    /// Whether the key was there before.
    pub found: bool,
}

/// A key's value and the entry that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Key,
    /// The entry that wrote it.
    pub version: Position,
    /// The value.
    pub value: Value,
}

/// What is remembered of a write that carried an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The idempotency key.
    pub key: IdempotencyKey,
    /// xxh3-128 of the write.
    pub digest: u128,
    /// Its result.
    pub applied: Applied,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_writes_have_different_digests() {
        let key = |key: &'static str| Key::new(key).unwrap();
        let put = |k, value: &'static str| Op::Put { key: key(k), value: Value::new(value).unwrap() };
        let ops = [put("a", "bc"), put("ab", "c"), put("abc", ""), Op::Delete { key: key("abc") }];
        for (i, a) in ops.iter().enumerate() {
            for b in &ops[i + 1..] {
                assert_ne!(a.digest(), b.digest(), "{a:?} {b:?}");
            }
        }
    }
}
