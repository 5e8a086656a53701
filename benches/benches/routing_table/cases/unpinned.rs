//! Spaces that follow their slot, which is what most do: the case that a table is made for.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use homing_benches::{Keys, shuffled};

use crate::bench::Bench;
use crate::contestants::{ALL, Contestant, Field, build_all, built};
use crate::lookups::{time_cold, time_fresh};

pub(crate) const READERS_CASE: &str = "readers-2-1m";
pub(crate) const REPLICAS_CASE: &str = "replicas-1m";
pub(crate) const COLD_CASE: &str = "cold-1m";

pub(crate) fn case(size: &str) -> String {
    format!("primary-{size}")
}

pub(crate) fn run(bench: &mut Bench) {
    for (size, count) in bench.effort.sizes() {
        let field = Field { spaces: 0..*count, pinned: false };
        if *count > bench.effort.million() {
            one_by_one(bench, size, &field);
        } else {
            side_by_side(bench, size, &field);
        }
    }
}

/// Ten million names in six maps at once would need more memory than many machines have.
fn one_by_one(bench: &mut Bench, size: &str, field: &Field) {
    if bench.wants(&case(size)) {
        for build in ALL {
            primary(bench, size, field, &*built(*build, field));
        }
    }
}

fn side_by_side(bench: &mut Bench, size: &str, field: &Field) {
    let million = field.spaces.end == bench.effort.million();
    let others: &[_] = if million { &[READERS_CASE, REPLICAS_CASE, COLD_CASE] } else { &[] };
    if !bench.wants(&case(size)) && !others.iter().any(|case| bench.wants(case)) {
        return;
    }
    let contestants = build_all(ALL, field);
    for contestant in &contestants {
        primary(bench, size, field, &**contestant);
    }
    if million {
        for contestant in &contestants {
            two_readers(bench, field, &**contestant);
        }
        for contestant in &contestants {
            replicas(bench, field, &**contestant);
        }
        let names = shuffled(field.spaces.clone(), 5);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for contestant in &contestants {
            cold(bench, &names, &**contestant);
        }
    }
}

fn primary(bench: &mut Bench, size: &str, field: &Field, contestant: &dyn Contestant) {
    let mut keys = Keys::new(field.spaces.clone(), 1);
    bench.measure(&case(size), contestant.name(), |lookups| {
        time_fresh(&mut keys, lookups, |names| contestant.primaries(names))
    });
}

fn replicas(bench: &mut Bench, field: &Field, contestant: &dyn Contestant) {
    let mut keys = Keys::new(field.spaces.clone(), 1);
    bench.measure(REPLICAS_CASE, contestant.name(), |lookups| {
        time_fresh(&mut keys, lookups, |names| contestant.replicas(names))
    });
}

/// Names that come from memory, not from a request: what a cache miss for the name costs, on top.
fn cold(bench: &mut Bench, names: &[&str], contestant: &dyn Contestant) {
    bench.measure(COLD_CASE, contestant.name(), |lookups| {
        time_cold(names, lookups, |names| contestant.primaries(names))
    });
}

/// The mean time of a lookup while another thread looks up other names: what readers cost each other. (Between two batches
/// a reader fills its buffer, so they meet a part of the time: more readers would meet more.)
fn two_readers(bench: &mut Bench, field: &Field, contestant: &dyn Contestant) {
    let mut keys = [1, 2].map(|seed| Keys::new(field.spaces.clone(), seed));
    bench.measure(READERS_CASE, contestant.name(), |lookups| {
        let start = Barrier::new(keys.len());
        let times: Vec<Duration> = thread::scope(|scope| {
            let reader = |keys| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    time_fresh(keys, lookups, |names| contestant.primaries(names))
                })
            };
            let readers = keys.each_mut().map(reader);
            readers.into_iter().map(|reader| reader.join().expect("a reader doesn't panic")).collect()
        });
        times.iter().sum::<Duration>() / times.len() as u32
    });
}
