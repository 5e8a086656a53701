use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

/// Number of slots: the top 14 bits of a [`SpaceKey`].
pub const SLOTS: usize = 1 << 14;

/// The name of a space, the unit of ownership: UTF-8, 1 to 255 bytes.
///
/// Cheap to clone. A hash tag keeps related spaces together: of `{acme}/orders` only `acme` is hashed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space(Arc<str>);

impl Space {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks the length; any UTF-8 of 1 to [`Self::MAX_LEN`] bytes is a name.
    ///
    /// # Errors
    /// [`SpaceError`] if the name is empty or too long.
    pub fn new(name: &str) -> Result<Self, SpaceError> {
        match name.len() {
            0 => Err(SpaceError::Empty),
            len if len > Self::MAX_LEN => Err(SpaceError::TooLong { len }),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The routing identity of this space.
    #[must_use]
    pub fn key(&self) -> SpaceKey {
        SpaceKey::of(&self.0)
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Why a text is no [`Space`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpaceError {
    /// The name has no bytes.
    #[error("the space is empty: a space is 1 to 255 bytes of UTF-8")]
    Empty,
    /// The name has more than [`Space::MAX_LEN`] bytes.
    #[error("the space has {len} bytes: a space is 1 to 255 bytes of UTF-8")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The name's bytes are not UTF-8.
    #[error("the space is not UTF-8: a space is 1 to 255 bytes of UTF-8")]
    NotUtf8,
}

/// Routing identity of a space: xxh3-128 with seed 0 of its name, or of its hash tag.
///
/// Two names with one key share their owners and nothing more. The hash is the same in every language
/// (<https://github.com/Cyan4973/xxHash>).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceKey(u128);

impl SpaceKey {
    /// The key of a space's name.
    ///
    /// As in Redis Cluster, the hash tag is what stands between the first `{` and the first `}` after
    /// it; if that is nothing, the whole name is hashed.
    #[inline]
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(xxh3_128(hashed_part(name).as_bytes()))
    }

    /// A key from its number, as it travels between nodes.
    #[must_use]
    pub const fn from_u128(key: u128) -> Self {
        Self(key)
    }

    /// The key as a number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The slot this key belongs to: its top 14 bits.
    #[inline]
    #[must_use]
    pub const fn slot(self) -> Slot {
        Slot((self.0 >> (128 - 14)) as u16)
    }
}

#[inline]
fn hashed_part(name: &str) -> &str {
    if has_brace(name.as_bytes()) { tag(name) } else { name }
}

/// The hash tag of a name, or all of it.
#[cold]
fn tag(name: &str) -> &str {
    let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    match tag {
        Some(tag) if !tag.is_empty() => tag,
        _ => name,
    }
}

/// Whether a `{` is among the bytes. Every request asks this, of few bytes: eight of them are looked at as one number, of
/// which a byte is zero where the brace stands (Mycroft, 1987; Warren, "Hacker's Delight", 6-1).
#[inline]
fn has_brace(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let braces = |eight: [u8; 8]| {
        let zeroed = u64::from_ne_bytes(eight) ^ (ONES * b'{' as u64);
        zeroed.wrapping_sub(ONES) & !zeroed & (ONES << 7)
    };
    let Some(last) = bytes.last_chunk() else { return bytes.contains(&b'{') };
    bytes.as_chunks().0.iter().fold(braces(*last), |found, eight| found | braces(*eight)) != 0
}

impl fmt::Display for SpaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SpaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpaceKey({self})")
    }
}

/// One of the [`SLOTS`] parts of the key space: 0 to 16,383.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

impl Slot {
    /// A slot from its number; `None` past 16,383.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if (number as usize) < SLOTS { Some(Self(number)) } else { None }
    }

    /// The slot's number, always below [`SLOTS`].
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The slot's number as an index into an array of [`SLOTS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All slots in order.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..SLOTS as u16).map(Slot)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_is_1_to_255_bytes() {
        assert_eq!(Space::new(""), Err(SpaceError::Empty));
        assert!(Space::new(&"x".repeat(255)).is_ok());
        assert_eq!(Space::new(&"x".repeat(256)), Err(SpaceError::TooLong { len: 256 }));
    }

    #[test]
    fn only_the_first_hash_tag_is_hashed() {
        let acme = SpaceKey::of("acme");
        for name in ["{acme}", "{acme}/orders", "eu/{acme}/orders", "{acme}{other}"] {
            assert_eq!(SpaceKey::of(name), acme, "{name}");
        }
        for name in ["{}acme", "{acme", "acme}", "}acme{", "{}{acme}"] {
            assert_ne!(SpaceKey::of(name), acme, "{name}");
        }
    }

    #[test]
    fn a_brace_is_found_wherever_it_stands() {
        for len in 0..40 {
            let mut bytes = vec![b'z'; len];
            assert!(!has_brace(&bytes), "{len}");
            bytes.fill(0xfb);
            assert!(!has_brace(&bytes), "{len}");
            for at in 0..len {
                bytes.fill(b'|');
                bytes[at] = b'{';
                assert!(has_brace(&bytes), "{at} of {len}");
            }
        }
    }

    /// The keys are part of the wire and of every disk: no refactoring may change one.
    #[test]
    fn keys_are_xxh3_128_with_seed_0() {
        // The reference implementation's own vector (`xxhsum -H2` of nothing).
        assert_eq!(xxh3_128(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        for (name, key, slot) in [
            ("acme", 0xcba5_0475_7281_3a7a_a155_9c4b_55ab_a488_u128, 13_033),
            ("{acme}/orders", 0xcba5_0475_7281_3a7a_a155_9c4b_55ab_a488, 13_033),
            ("größe", 0x55e8_ea76_fb17_50ca_7085_c8c7_bee0_fc31, 5_498),
        ] {
            assert_eq!(
                (format!("{:032x}", SpaceKey::of(name).as_u128()), SpaceKey::of(name).slot().number()),
                (format!("{key:032x}"), slot),
                "{name}"
            );
        }
    }

    #[test]
    fn the_slot_is_the_top_14_bits() {
        assert_eq!(SpaceKey::from_u128(u128::MAX).slot().index(), SLOTS - 1);
        assert_eq!(SpaceKey::from_u128(1 << 114).slot().number(), 1);
        assert_eq!(SpaceKey::from_u128((1 << 114) - 1).slot().number(), 0);
        assert_eq!(Slot::new(SLOTS as u16), None);
    }
}
