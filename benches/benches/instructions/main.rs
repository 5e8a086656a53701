//! How many instructions a lookup and a diff take, counted by callgrind: the steady figure. It doesn't depend on what else
//! the machine does, so a change of a few percent in it is a change of the code.
//!
//! It says nothing of caches and of waiting: for that see `routing_table`. The table has 100,000 pins here, since callgrind
//! makes everything some fifty times slower.
//!
//! Takes a minute or two, so `--quick` leaves it out. Needs valgrind, and `gungraun-runner` of the library's own version; without
//! them it says so and measures nothing.

#![expect(clippy::print_stdout, reason = "a benchmark shows what it does")]
#![expect(unused_qualifications, reason = "gungraun's macros write whole paths")]

mod suite;
mod tools;

fn main() {
    let has = |flag: &str| std::env::args().any(|arg| arg == flag);
    // Under callgrind this program is called again, for one measurement.
    if has("--gungraun-run") {
        suite::run();
    } else if has("--quick") {
        println!("SKIPPED: instruction counts: no part of a quick run");
    } else if has("--bench") {
        match tools::missing() {
            None => suite::run(),
            Some(why) => println!("SKIPPED: instruction counts: {why}"),
        }
    }
}
