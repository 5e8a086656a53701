//! The atomics, so that a model checker can take their place.

#[cfg(not(crossbeam_loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, Ordering};

#[cfg(crossbeam_loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, Ordering};
