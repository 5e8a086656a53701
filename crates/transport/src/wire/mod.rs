//! The form of heads on each wire.
