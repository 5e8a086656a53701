//! Generated from `proto/`; the test `generated` compares and rewrites it.

/// The messages of `proto/replica.proto`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub(crate) mod replica {
    include!("generated/homing.kv.replica.v1.rs");
}
