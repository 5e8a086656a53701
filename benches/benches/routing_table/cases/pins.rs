//! Spaces with owners of their own, and spaces without that share a group with such.

use homing_benches::{Keys, Spaces, table};

use crate::bench::Bench;
use crate::contestants::{BY_SPACE, Contestant, Field, Ours, RIVALS, build_all, check};
use crate::lookups::time_fresh;

pub(crate) const BESIDE_CASE: &str = "beside-pins-1m";

pub(crate) fn case(size: &str) -> String {
    format!("pinned-{size}")
}

pub(crate) fn run(bench: &mut Bench) {
    let million = bench.effort.million();
    for (size, count) in bench.effort.sizes().iter().filter(|(_, count)| *count <= million) {
        if bench.wants(&case(size)) {
            let field = Field { spaces: 0..*count, pinned: true };
            measure(bench, &case(size), &field, &build_all(BY_SPACE, &field));
        }
    }
    if bench.wants(BESIDE_CASE) {
        beside(bench, million);
    }
}

/// As many spaces as there are pins, none of them pinned: each lookup has to find out that there is no pin.
fn beside(bench: &mut Bench, pins: u32) {
    let field = Field { spaces: pins..2 * pins, pinned: false };
    let ours: Box<dyn Contestant> = Box::new(Ours(table(&Spaces::new(0..pins, 2))));
    check(&*ours, &field);
    let mut contestants = vec![ours];
    contestants.extend(build_all(RIVALS, &field));
    measure(bench, BESIDE_CASE, &field, &contestants);
}

fn measure(bench: &mut Bench, case: &str, field: &Field, contestants: &[Box<dyn Contestant>]) {
    for contestant in contestants {
        let mut keys = Keys::new(field.spaces.clone(), 1);
        bench.measure(case, contestant.name(), |lookups| {
            time_fresh(&mut keys, lookups, |names| contestant.primaries(names))
        });
    }
}
