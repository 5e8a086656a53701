use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What a request wants of its space. What isn't said counts as [`Access::Write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Access {
    /// Changes the space: the primary alone.
    #[default]
    Write,
    /// Reads the space: the primary or any in-sync replica.
    Read,
    /// Reads what the primary holds: the primary alone.
    ReadPrimary,
}

impl Access {
    /// Every access.
    pub const ALL: [Self; 3] = [Self::Write, Self::Read, Self::ReadPrimary];

    /// The word on the wire and in the CLI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::ReadPrimary => "read-primary",
        }
    }

    /// Whether an in-sync replica may serve it.
    #[must_use]
    pub const fn any_replica(self) -> bool {
        matches!(self, Self::Read)
    }

    /// Whether doing it twice is the same as doing it once.
    #[must_use]
    pub const fn is_read(self) -> bool {
        !matches!(self, Self::Write)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Access {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        Self::ALL.into_iter().find(|access| access.as_str() == text).ok_or(AccessError)
    }
}

/// A text that is no [`Access`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the access is unknown: use write, read or read-primary")]
pub struct AccessError;
