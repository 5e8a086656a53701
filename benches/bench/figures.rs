//! What calls took.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One round of one contestant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) calls_per_s: f64,
    pub(crate) cpu_us_per_call: f64,
    /// Calls without an answer.
    pub(crate) failed: usize,
    /// Points of the distribution: so many of a thousand took at most so many microseconds.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// The points that are drawn.
const POINTS: &[f64] = &[
    1.0, 10.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 850.0, 900.0, 930.0, 950.0,
    970.0, 980.0, 990.0, 995.0, 999.0,
];

impl Round {
    /// Of calls that took so long, all together within `lasted`, for so much processor time.
    pub(crate) fn of(mut took: Vec<Duration>, lasted: Duration, cpu: Duration, failed: usize) -> Self {
        took.sort_unstable();
        let at = |of_1000: f64| {
            let rank = (took.len() as f64 * of_1000 / 1_000.0).ceil() as usize;
            took.get(rank.saturating_sub(1)).map_or(f64::NAN, |took| took.as_secs_f64() * 1e6)
        };
        let calls = took.len() as f64;
        Self {
            p50_us: at(500.0),
            p90_us: at(900.0),
            p99_us: at(990.0),
            p999_us: at(999.0),
            calls_per_s: calls / lasted.as_secs_f64(),
            cpu_us_per_call: cpu.as_secs_f64() * 1e6 / calls,
            failed,
            curve: POINTS.iter().map(|point| (*point, at(*point))).collect(),
        }
    }
}

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (values.first(), values.last()) else { return Self::default() };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { least: *least, median, most: *most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks_and_a_median_is_the_middle() {
        let took = (1..=1_000).rev().map(Duration::from_micros).collect();
        let second = Duration::from_secs(1);
        let round = Round::of(took, second / 2, second, 3);
        assert_eq!(
            [round.p50_us, round.p90_us, round.p99_us, round.p999_us].map(f64::round),
            [500.0, 900.0, 990.0, 999.0]
        );
        assert_eq!((round.calls_per_s, round.cpu_us_per_call, round.failed), (2_000.0, 1_000.0, 3));

        let spread = Spread::of([3.0, f64::NAN, 1.0, 2.0]);
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of([1.0, 2.0]).median, 1.5);
    }
}
