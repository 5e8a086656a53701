//! Maps from a space's name to its owners: what one writes first.

use std::collections::HashMap;
use std::hash::BuildHasher;

use ::arc_swap::ArcSwap;
use ::dashmap::DashMap;
use foldhash::fast::RandomState as FoldHash;
use homing_benches::name;
use homing_types::SpaceKey;
use parking_lot::RwLock;

use super::{Contestant, Field, Lookup, Value, called};

type DashMapOf<S> = DashMap<String, Value, S>;
type PapayaMap = ::papaya::HashMap<String, Value, FoldHash>;
type StdMap = HashMap<String, Value, FoldHash>;

/// A map and what it is called.
struct ByName<M> {
    called: &'static str,
    map: M,
}

/// What the maps differ in.
trait Map: Sync {
    fn with<R>(&self, name: &str, read: impl FnOnce(Value) -> R) -> Option<R>;
}

impl<M: Map> Lookup for ByName<M> {
    fn name(&self) -> &'static str {
        self.called
    }

    fn primary(&self, name: &str) -> usize {
        self.map.with(name, Value::primary).unwrap_or(0)
    }

    fn replicas(&self, name: &str) -> usize {
        self.map.with(name, Value::all).unwrap_or(0)
    }

    fn seat(&self, name: &str) -> Option<u16> {
        Some(self.map.with(name, |value| value.primary).expect("every name is in the map"))
    }
}

impl<S: BuildHasher + Clone + Sync + Send> Map for DashMapOf<S> {
    fn with<R>(&self, name: &str, read: impl FnOnce(Value) -> R) -> Option<R> {
        self.get(name).map(|value| read(*value))
    }
}

impl Map for PapayaMap {
    fn with<R>(&self, name: &str, read: impl FnOnce(Value) -> R) -> Option<R> {
        self.pin().get(name).map(|value| read(*value))
    }
}

impl Map for RwLock<StdMap> {
    fn with<R>(&self, name: &str, read: impl FnOnce(Value) -> R) -> Option<R> {
        self.read().get(name).map(|value| read(*value))
    }
}

impl Map for ArcSwap<StdMap> {
    fn with<R>(&self, name: &str, read: impl FnOnce(Value) -> R) -> Option<R> {
        self.load().get(name).map(|value| read(*value))
    }
}

pub(super) fn dashmap(field: &Field) -> Box<dyn Contestant> {
    boxed(called::DASHMAP, entries(field).collect::<DashMap<_, _>>())
}

pub(super) fn dashmap_foldhash(field: &Field) -> Box<dyn Contestant> {
    boxed(called::DASHMAP_FOLDHASH, entries(field).collect::<DashMapOf<FoldHash>>())
}

pub(super) fn papaya(field: &Field) -> Box<dyn Contestant> {
    boxed(called::PAPAYA, entries(field).collect::<PapayaMap>())
}

pub(super) fn rw_lock(field: &Field) -> Box<dyn Contestant> {
    boxed(called::RW_LOCK, RwLock::new(entries(field).collect::<StdMap>()))
}

pub(super) fn arc_swap(field: &Field) -> Box<dyn Contestant> {
    boxed(called::ARC_SWAP, ArcSwap::from_pointee(entries(field).collect::<StdMap>()))
}

fn boxed(called: &'static str, map: impl Map + 'static) -> Box<dyn Contestant> {
    Box::new(ByName { called, map })
}

fn entries(field: &Field) -> impl Iterator<Item = (String, Value)> {
    field.spaces.clone().map(|space| {
        let name = name(space);
        let value = Value::new(field.seats(SpaceKey::of(&name)));
        (name, value)
    })
}
