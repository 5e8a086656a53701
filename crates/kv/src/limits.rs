use std::fmt;

use prost::bytes::Bytes;
use thiserror::Error;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1 << 10;
/// The longest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// The most items in a page of a list.
pub const MAX_PAGE: usize = 1_000;
/// The most entries of a space that are in the log and not committed.
pub const MAX_TAIL: u64 = 1_024;
/// The most results of writes with an idempotency key that a space remembers.
pub const MAX_RECORDS: u64 = 4_096;
/// What a page, a message of entries and a part of a full copy hold at most, in bytes. One item or
/// entry always fits, whatever its size.
pub const MAX_BYTES: usize = 1 << 20;

/// What an item or entry costs of [`MAX_BYTES`] beyond its key and value.
pub(crate) const OVERHEAD: usize = 64;

/// A key: 1 to [`MAX_KEY`] bytes, of any kind. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Bytes);

impl Key {
    /// Checks the length.
    ///
    /// # Errors
    /// [`LimitError`] if the key is empty or too long.
    pub fn new(key: impl Into<Bytes>) -> Result<Self, LimitError> {
        let key = key.into();
        match key.len() {
            0 => Err(LimitError::KeyEmpty),
            len if len > MAX_KEY => Err(LimitError::KeyTooLong { len }),
            _ => Ok(Self(key)),
        }
    }

    /// The key's bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A value: at most [`MAX_VALUE`] bytes, of any kind. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Value(Bytes);

impl Value {
    /// Checks the length.
    ///
    /// # Errors
    /// [`LimitError`] if the value is too long.
    pub fn new(value: impl Into<Bytes>) -> Result<Self, LimitError> {
        let value = value.into();
        let len = value.len();
        if len > MAX_VALUE { Err(LimitError::ValueTooLong { len }) } else { Ok(Self(value)) }
    }

    /// The value's bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.0.len())
    }
}

/// Which part of a space a list shows, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub(crate) prefix: Bytes,
    pub(crate) after: Bytes,
    pub(crate) limit: usize,
}

impl Page {
    /// Up to `limit` keys that begin with `prefix` and come after `after`; empty bytes mean any. A
    /// `limit` of 0 means [`MAX_PAGE`].
    ///
    /// # Errors
    /// [`LimitError`] if `limit`, `prefix` or `after` is too large.
    pub fn new(prefix: Bytes, after: Bytes, limit: u32) -> Result<Self, LimitError> {
        for (field, bytes) in [("prefix", &prefix), ("after", &after)] {
            if bytes.len() > MAX_KEY {
                return Err(LimitError::CursorTooLong { field, len: bytes.len() });
            }
        }
        let limit = match limit as usize {
            0 => MAX_PAGE,
            limit if limit > MAX_PAGE => return Err(LimitError::PageTooLarge { limit }),
            limit => limit,
        };
        Ok(Self { prefix, after, limit })
    }
}

/// Why something is no [`Key`], [`Value`] or [`Page`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LimitError {
    /// The key has no bytes.
    #[error("the key is empty: a key is 1 to 1,024 bytes")]
    KeyEmpty,
    /// The key has more than [`MAX_KEY`] bytes.
    #[error("the key has {len} bytes: a key is 1 to 1,024 bytes")]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The value has more than [`MAX_VALUE`] bytes.
    #[error("the value has {len} bytes: a value is at most 1,048,576 bytes (1 MiB)")]
    ValueTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A list's `prefix` or `after` is longer than any key.
    #[error("{field} has {len} bytes: no key is longer than 1,024 bytes")]
    CursorTooLong {
        /// The field: `prefix` or `after`.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// More items were asked for than a page holds.
    #[error("the limit is {limit}: a page has at most 1,000 items; ask for the next with `after`")]
    PageTooLarge {
        /// What was asked for.
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_1_to_1024_bytes_and_a_value_at_most_1_mib() {
        assert_eq!(Key::new(""), Err(LimitError::KeyEmpty));
        assert!(Key::new(vec![0; MAX_KEY]).is_ok());
        assert_eq!(Key::new(vec![0; MAX_KEY + 1]), Err(LimitError::KeyTooLong { len: MAX_KEY + 1 }));
        assert!(Value::new(vec![0; MAX_VALUE]).is_ok());
        let long = Value::new(vec![0; MAX_VALUE + 1]);
        assert_eq!(long, Err(LimitError::ValueTooLong { len: MAX_VALUE + 1 }));
    }

    #[test]
    fn a_page_has_at_most_1000_items_and_zero_means_all_of_them() {
        let page = |limit| Page::new(Bytes::new(), Bytes::new(), limit).map(|page| page.limit);
        assert_eq!(page(0), Ok(1_000));
        assert_eq!(page(7), Ok(7));
        assert_eq!(page(1_001), Err(LimitError::PageTooLarge { limit: 1_001 }));
    }
}
