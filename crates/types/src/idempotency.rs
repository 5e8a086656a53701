use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::{Uuid, Variant, Version};

/// Names one write for ever, so that its retry is known: a UUIDv7 (RFC 9562, section 5.7).
///
/// Keys sort by the time they were made, to the millisecond. That lets a service forget old keys and
/// still tell *too late* from *new*: it keeps a floor and refuses everything below.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Uuid);

impl IdempotencyKey {
    /// A key made at `unix_millis` (milliseconds since 1970) with 80 bits of the caller's randomness.
    #[must_use]
    pub fn new(unix_millis: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid())
    }

    /// The key's 16 bytes, in the order in which keys sort.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// A key from its 16 bytes.
    ///
    /// # Errors
    /// [`IdempotencyKeyError`] if they are no UUIDv7.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdempotencyKeyError> {
        Self::checked(Uuid::from_bytes(bytes))
    }

    /// When the key was made: milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(self) -> u64 {
        u64::try_from(self.0.as_u128() >> 80).unwrap_or(u64::MAX)
    }

    fn checked(uuid: Uuid) -> Result<Self, IdempotencyKeyError> {
        let v7 = uuid.get_version() == Some(Version::SortRand) && uuid.get_variant() == Variant::RFC4122;
        if v7 { Ok(Self(uuid)) } else { Err(IdempotencyKeyError) }
    }
}

impl FromStr for IdempotencyKey {
    type Err = IdempotencyKeyError;

    fn from_str(text: &str) -> Result<Self, IdempotencyKeyError> {
        Uuid::try_parse(text).map_err(|_| IdempotencyKeyError).and_then(Self::checked)
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text or bytes that are no [`IdempotencyKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the idempotency key is no UUIDv7, like 01890a5d-ac96-774b-bcce-b302099a8057")]
pub struct IdempotencyKeyError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_of_version_7_is_a_key() {
        let key: IdempotencyKey = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(key.to_string(), "01890a5d-ac96-774b-bcce-b302099a8057");
        assert_eq!(key.unix_millis(), 0x0189_0a5d_ac96);
        assert_eq!(IdempotencyKey::from_bytes(key.to_bytes()), Ok(key));
        for wrong in ["", "x", "01890a5d-ac96-474b-bcce-b302099a8057", "01890a5d-ac96-774b-1cce-b302099a8057"]
        {
            assert_eq!(wrong.parse::<IdempotencyKey>(), Err(IdempotencyKeyError), "{wrong}");
        }
    }

    #[test]
    fn keys_sort_by_the_time_they_were_made() {
        let older = IdempotencyKey::new(1_000, [0xff; 10]);
        let newer = IdempotencyKey::new(1_001, [0; 10]);
        assert!(older < newer);
        assert_eq!(newer.unix_millis(), 1_001);
    }
}
