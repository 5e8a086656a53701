//! The floor: no table that finds owners by the hash of a name can be faster than the hash.

use homing_types::SpaceKey;
use xxhash_rust::xxh3::xxh3_128;

use super::{Contestant, Field, Lookup, called};

/// The hash function alone.
struct Xxh3;

/// The hash and, before it, the look for a hash tag: what a lookup by name starts with.
struct OfSpace;

pub(super) fn xxh3(_: &Field) -> Box<dyn Contestant> {
    Box::new(Xxh3)
}

pub(super) fn space_key(_: &Field) -> Box<dyn Contestant> {
    Box::new(OfSpace)
}

impl Lookup for Xxh3 {
    fn name(&self) -> &'static str {
        called::XXH3
    }

    fn primary(&self, name: &str) -> usize {
        fold(xxh3_128(name.as_bytes()))
    }

    fn replicas(&self, name: &str) -> usize {
        self.primary(name)
    }

    fn seat(&self, _: &str) -> Option<u16> {
        None
    }
}

impl Lookup for OfSpace {
    fn name(&self) -> &'static str {
        called::SPACE_KEY
    }

    fn primary(&self, name: &str) -> usize {
        fold(SpaceKey::of(name).as_u128())
    }

    fn replicas(&self, name: &str) -> usize {
        self.primary(name)
    }

    fn seat(&self, _: &str) -> Option<u16> {
        None
    }
}

/// Needs all bits, so that no half of the hash is left out.
const fn fold(hash: u128) -> usize {
    (hash ^ (hash >> 64)) as usize
}
