use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What became of an attempt, as routing sees it: everything but the service's own answer.
///
/// It travels as `homing-outcome`. A reply without one is the service's answer, be it an error or not,
/// and is returned untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The request left nobody's hands: a dial failed, a stream was refused.
    NotSent,
    /// The request may have been executed: a connection was lost, an attempt timed out.
    MaybeSent,
    /// The receiver doesn't own the space and says who does.
    NotOwner,
    /// The receiver owns the space but can't execute now: fenced, loading, catching up, holding.
    NotReady,
    /// The receiver is at a limit.
    Overloaded,
    /// The deadline had passed before the request was executed.
    Expired,
    /// The request breaks a rule (a phantom epoch, a limit); the same request would be refused again.
    Refused,
}

/// Whether a request was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// Certainly not.
    No,
    /// Nobody can tell.
    Maybe,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::NotSent,
        Self::MaybeSent,
        Self::NotOwner,
        Self::NotReady,
        Self::Overloaded,
        Self::Expired,
        Self::Refused,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not-sent",
            Self::MaybeSent => "maybe-sent",
            Self::NotOwner => "not-owner",
            Self::NotReady => "not-ready",
            Self::Overloaded => "overloaded",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }

    /// Whether the request may have been executed all the same.
    #[must_use]
    pub const fn execution(self) -> Execution {
        match self {
            Self::MaybeSent => Execution::Maybe,
            _ => Execution::No,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = ParseOutcomeError;

    fn from_str(text: &str) -> Result<Self, ParseOutcomeError> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or(ParseOutcomeError)
    }
}

/// A text that is no [`Outcome`]. A receiver treats it as [`Outcome::MaybeSent`], the careful reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the outcome is unknown")]
pub struct ParseOutcomeError;
