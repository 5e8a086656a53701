use thiserror::Error;

use super::Identity;
use crate::OpError;

/// Why the store can't be opened, or failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder can't be used.
    #[error(
        "the data in {folder} can't be opened: {reason}; check the path, its rights, and that no other node uses it"
    )]
    Unusable {
        /// The folder.
        folder: String,
        /// What the system said.
        reason: String,
    },
    /// The data belongs to somebody else.
    #[error("the data belongs to {found}, and this is {wanted}: give each node a folder of its own")]
    Foreign {
        /// Who wrote it.
        found: Box<Identity>,
        /// Who wants to open it.
        wanted: Box<Identity>,
    },
    /// The data is of another version of this program.
    #[error(
        "the data has format {found:?}, and this program reads {wanted:?}: use the version that wrote it"
    )]
    Format {
        /// The format of the data.
        found: String,
        /// The format that this program reads.
        wanted: &'static str,
    },
    /// A stored field breaks a rule that was checked when it was written.
    #[error("the stored {0} is damaged: restore this node from another copy")]
    Damaged(&'static str),
    /// The disk failed. Close the store and open it again before anything else.
    #[error("the store failed: {0}; it must be opened again")]
    Disk(Box<redb::Error>),
}

/// The errors of redb are many, and to us they are one.
macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Disk(Box::new(error.into()))
            }
        }

        impl From<redb::$error> for OpError {
            fn from(error: redb::$error) -> Self {
                Self::Store(error.into())
            }
        }
    )*};
}

from_redb!(CommitError, SetDurabilityError, StorageError, TableError, TransactionError);
