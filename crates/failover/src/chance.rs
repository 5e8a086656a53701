//! Numbers drawn from the generator that a caller gives.

use std::time::Duration;

use rand_core::Rng;

/// Evenly from zero to `most`, in nanoseconds: Lemire, "Fast Random Integer Generation in an Interval" (2019),
/// without its rejection, as a gap can bear a bias of one part in billions.
pub(crate) fn up_to(most: Duration, rng: &mut dyn Rng) -> Duration {
    let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(scaled(u128::from(most) + 1, rng))
}

/// Evenly from the numbers below `n`; 0 if there is none.
pub(crate) fn below(n: usize, rng: &mut dyn Rng) -> usize {
    scaled(n as u128, rng) as usize
}

fn scaled(n: u128, rng: &mut dyn Rng) -> u64 {
    ((u128::from(rng.next_u64()) * n) >> 64) as u64
}
