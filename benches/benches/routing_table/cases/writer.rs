//! What a reader notices of a writer: the same reader with 100 diffs of 1,000 groups a second, and without, by turns, so that
//! whatever else the machine does meets both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use homing_benches::{BATCH, Batch, Diffs, Keys, Spaces, now, sleep_until, table, timed};
use homing_routing_table::{Diff, RoutingTable};

use crate::bench::Bench;
use crate::contestants::{Contestant, Ours};
use crate::rows::Note;

pub(crate) const CASES: [&str; 2] = ["writer-unpinned-1m", "writer-pinned-1m"];
pub(crate) const WITHOUT: &str = "without a writer";
pub(crate) const WITH: &str = "with a writer";

const PERIOD: Duration = Duration::from_millis(10);
const GROUPS: usize = 1_000;
/// Diffs a second that count as a hundred: one is lost at the end of a window.
const LEAST_RATE: f64 = 90.0;

pub(crate) fn run(bench: &mut Bench) {
    let spaces = bench.effort.million();
    for (case, pinned) in CASES.into_iter().zip([0..0, 0..spaces]) {
        if bench.wants(case) {
            by_turns(bench, case, &Spaces::new(pinned, 2), Keys::new(0..spaces, 1));
        }
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark shows what it measures")]
fn by_turns(bench: &mut Bench, case: &str, spaces: &Spaces, mut keys: Keys) {
    let (windows, window) = bench.effort.windows();
    let ours = Ours(table(spaces));
    let mut diffs = Diffs::new(spaces, GROUPS);
    let (mut without, mut with, mut applied) = (Vec::new(), Vec::new(), 0);
    for _ in 0..windows {
        without.push(read(&ours, &mut keys, window));
        // A diff's making takes longer than its turn, so all of a window are made before it.
        let turns = window.as_micros() / PERIOD.as_micros();
        let prepared: Vec<Diff> = (0..turns).map(|_| diffs.diff()).collect();
        let (ns, count) = read_with_writer(&ours, &mut keys, window, &prepared);
        with.push(ns);
        applied += count;
    }
    let rate = applied as f64 / (window.as_secs_f64() * windows as f64);
    for (contestant, ns) in [(WITHOUT, without), (WITH, with)] {
        let [low, median, high] = quartiles(ns);
        println!("{case}/{contestant}\n{:24}time:   [{low:.3} ns {median:.3} ns {high:.3} ns]", "");
        bench.rows.add(case, contestant, median);
    }
    let text = format!("{rate:.0} diffs a second were applied");
    println!("{:24}{text}", "");
    bench.rows.note(Note { case: case.into(), text, fell_short: rate < LEAST_RATE });
}

fn read_with_writer(ours: &Ours, keys: &mut Keys, window: Duration, diffs: &[Diff]) -> (f64, usize) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(&ours.0, diffs, &stop));
        let ns = read(ours, keys, window);
        stop.store(true, Ordering::Relaxed);
        (ns, writer.join().expect("a writer doesn't panic"))
    })
}

/// Applies diffs, one a period, and says how many it came to.
fn write(table: &RoutingTable, diffs: &[Diff], stop: &AtomicBool) -> usize {
    let mut turn = now();
    for (count, diff) in diffs.iter().enumerate() {
        sleep_until(turn);
        if stop.load(Ordering::Relaxed) {
            return count;
        }
        table.apply(diff).expect("within the bounds");
        turn += PERIOD;
    }
    diffs.len()
}

/// The mean time of a lookup over a window, in nanoseconds.
fn read(ours: &Ours, keys: &mut Keys, window: Duration) -> f64 {
    let end = now() + window;
    let mut batch = Batch::new();
    let (mut time, mut lookups) = (Duration::ZERO, 0);
    while now() < end {
        let names = batch.fill(keys, BATCH);
        time += timed(|| ours.primaries(&names));
        lookups += names.len();
    }
    time.as_nanos() as f64 / lookups as f64
}

fn quartiles(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| figures[(figures.len() - 1) * quarter / 4])
}
