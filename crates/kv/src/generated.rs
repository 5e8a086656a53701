//! Generated from `proto/`; the test `generated` compares and rewrites it.

/// The messages of `proto/replica.proto`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub(crate) mod replica {
    include!("generated/homing.kv.replica.v1.rs");
}

/// The public API, as `proto/kv.proto` defines it: messages, and `kv_client::KvClient`, a client over any
/// `tower` service.
#[cfg(feature = "grpc")]
#[allow(missing_docs, clippy::all, unused_qualifications, unreachable_pub)]
pub mod kv {
    include!("generated/homing.kv.v1.rs");
}
