//! What is measured, one file each.

pub(crate) mod diff;
pub(crate) mod pins;
pub(crate) mod publication;
pub(crate) mod unpinned;
pub(crate) mod writer;
