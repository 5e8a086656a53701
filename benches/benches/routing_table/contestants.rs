//! Who is measured, each behind the same small trait.
//!
//! What favours whom:
//! - The rivals' value is the leanest there is: a `Copy` struct of three `u16`, in the map itself. Ours gives `&NodeId`,
//!   by way of its dictionary, and up to seven replicas with their state. In the rivals' favour.
//! - Hashing: ours and the slot-keyed map hash the name with xxh3-128, which is the same on every node and in every
//!   language. The others need no such promise: beside `DashMap` with the hasher that it comes with (SipHash), all
//!   maps are measured with foldhash, one of the fastest there is. In the rivals' favour.
//! - Memory: a map by name holds all its names; ours, and the map by slot, hold no name. In ours.

mod by_name;
mod by_slot;
mod floor;
mod ours;

use std::hint::black_box;
use std::ops::Range;

use homing_benches::{Batch, Keys, Seats, group_seats, pin_seats};
use homing_types::SpaceKey;

pub(crate) use ours::Ours;

/// One way to ask who owns a space.
pub(crate) trait Contestant: Sync {
    /// What it is called in reports.
    fn name(&self) -> &'static str;

    /// Reads the primary of each name.
    fn primaries(&self, names: &[&str]);

    /// Reads the primary and both replicas of each name.
    fn replicas(&self, names: &[&str]);

    /// The primary's number, if this contestant knows one: for the check that all give the same answers.
    fn seat(&self, name: &str) -> Option<u16>;
}

/// A lookup of one name. The loops over many stand in [`Contestant`], so that one virtual call is made for a whole batch.
trait Lookup: Sync {
    fn name(&self) -> &'static str;
    /// Something that can't be computed without the primary.
    fn primary(&self, name: &str) -> usize;
    /// Something that can't be computed without the primary and both replicas.
    fn replicas(&self, name: &str) -> usize;
    fn seat(&self, name: &str) -> Option<u16>;
}

impl<L: Lookup> Contestant for L {
    fn name(&self) -> &'static str {
        Lookup::name(self)
    }

    fn primaries(&self, names: &[&str]) {
        for name in names {
            black_box(self.primary(name));
        }
    }

    fn replicas(&self, names: &[&str]) {
        for name in names {
            black_box(Lookup::replicas(self, name));
        }
    }

    fn seat(&self, name: &str) -> Option<u16> {
        Lookup::seat(self, name)
    }
}

/// The spaces that a contestant is built for.
#[derive(Clone)]
pub(crate) struct Field {
    /// Their numbers.
    pub(crate) spaces: Range<u32>,
    /// Whether each has owners of its own.
    pub(crate) pinned: bool,
}

impl Field {
    fn seats(&self, key: SpaceKey) -> Seats {
        if self.pinned { pin_seats(key, 1) } else { group_seats(key.slot(), 1) }
    }
}

/// Makes a contestant that knows a field.
pub(crate) type Build = fn(&Field) -> Box<dyn Contestant>;

/// All of them, in the order in which they are measured.
pub(crate) const ALL: &[Build] = &[
    ours::build,
    by_name::dashmap,
    by_name::dashmap_foldhash,
    by_slot::dashmap,
    by_name::papaya,
    by_name::rw_lock,
    by_name::arc_swap,
    floor::xxh3,
    floor::space_key,
];

/// Those that can know the owners of one space: a map by slot can't, and the floor knows nothing.
pub(crate) const BY_SPACE: &[Build] =
    &[ours::build, by_name::dashmap, by_name::dashmap_foldhash, by_name::papaya];

/// Those of [`BY_SPACE`] that are not ours.
pub(crate) const RIVALS: &[Build] = BY_SPACE.split_first().expect("not empty").1;

/// Names as reports write them.
pub(crate) mod called {
    pub(crate) const OURS: &str = "ours";
    pub(crate) const DASHMAP: &str = "DashMap by name";
    pub(crate) const DASHMAP_FOLDHASH: &str = "DashMap by name, foldhash";
    pub(crate) const DASHMAP_BY_SLOT: &str = "DashMap by slot";
    pub(crate) const PAPAYA: &str = "papaya by name, foldhash";
    pub(crate) const RW_LOCK: &str = "RwLock of HashMap, foldhash";
    pub(crate) const ARC_SWAP: &str = "ArcSwap of HashMap, foldhash";
    pub(crate) const XXH3: &str = "floor: xxh3-128 alone";
    pub(crate) const SPACE_KEY: &str = "floor: space key alone";
}

/// Builds contestants, and checks that they know what they are asked.
pub(crate) fn build_all(builds: &[Build], field: &Field) -> Vec<Box<dyn Contestant>> {
    builds.iter().map(|build| built(*build, field)).collect()
}

/// Builds one contestant, and checks that it knows what it is asked.
pub(crate) fn built(build: Build, field: &Field) -> Box<dyn Contestant> {
    let contestant = build(field);
    check(&*contestant, field);
    contestant
}

/// A fast wrong answer is worth nothing.
pub(crate) fn check(contestant: &dyn Contestant, field: &Field) {
    let mut batch = Batch::new();
    for name in batch.fill(&mut Keys::new(field.spaces.clone(), 11), 1_000) {
        let expected = field.seats(SpaceKey::of(name))[0];
        let seat = contestant.seat(name).unwrap_or(expected);
        assert_eq!(seat, expected, "{} doesn't know who owns {name}", contestant.name());
    }
}

/// The leanest value that says who owns a space.
#[derive(Clone, Copy)]
struct Value {
    primary: u16,
    replicas: [u16; 2],
}

impl Value {
    const fn new(seats: Seats) -> Self {
        Self { primary: seats[0], replicas: [seats[1], seats[2]] }
    }

    const fn primary(self) -> usize {
        self.primary as usize
    }

    const fn all(self) -> usize {
        self.primary as usize ^ self.replicas[0] as usize ^ self.replicas[1] as usize
    }
}
