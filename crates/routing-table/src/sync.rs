//! What threads share, so that a model checker can take its place.

#[cfg(not(crossbeam_loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicPtr, Ordering},
};

#[cfg(crossbeam_loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicPtr, Ordering},
};
