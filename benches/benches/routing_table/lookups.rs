//! How lookups are timed: a buffer of names is filled, which is not timed; they are looked up in one go, which is; and again.

use std::time::Duration;

use homing_benches::{BATCH, Batch, Keys, timed};

/// Times so many lookups of names that a request has just brought.
pub(crate) fn time_fresh(keys: &mut Keys, lookups: u64, mut look_up: impl FnMut(&[&str])) -> Duration {
    let mut batch = Batch::new();
    let mut time = Duration::ZERO;
    for count in batches(lookups) {
        let names = batch.fill(keys, count);
        time += timed(|| look_up(&names));
    }
    time
}

/// Times so many lookups of names that lie about in memory, from the first of them round and round.
pub(crate) fn time_cold(names: &[&str], lookups: u64, mut look_up: impl FnMut(&[&str])) -> Duration {
    let chunks = names.chunks_exact(BATCH.min(names.len())).cycle();
    batches(lookups)
        .zip(chunks)
        .map(|(count, chunk)| timed(|| look_up(&chunk[..count.min(chunk.len())])))
        .sum()
}

fn batches(lookups: u64) -> impl Iterator<Item = usize> {
    let whole = lookups / BATCH as u64;
    let rest = (lookups % BATCH as u64) as usize;
    (0..whole).map(|_| BATCH).chain((rest > 0).then_some(rest))
}
