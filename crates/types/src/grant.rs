use std::fmt;

use crate::{Epoch, Space, Time};

/// What a node is for a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Executes writes.
    Primary,
    /// Holds a copy and serves reads while in sync.
    Replica,
}

impl Role {
    /// The word on the wire and in the CLI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }

    /// The role for its word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Primary, Self::Replica].into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The right to execute one request, handed to the service with it: its fencing token.
///
/// A service compares `epoch` with the highest it has seen for the space and refuses a lower one.
/// See Kleppmann, "How to do distributed locking" (2016), for why the store must do this itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The space the request is for.
    pub space: Space,
    /// What this node is for the space.
    pub role: Role,
    /// The epoch of the group that says so.
    pub epoch: Epoch,
    /// When the right ends; `None` where the authority grants without end (`static`).
    pub valid_until: Option<Time>,
}
