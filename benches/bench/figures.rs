//! What calls took.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Calls that were made, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Of those that were answered.
    pub(crate) took: Vec<Duration>,
    pub(crate) failed: usize,
    /// Why the first of them failed.
    pub(crate) error: Option<String>,
}

impl Calls {
    /// One more.
    pub(crate) fn add(&mut self, took: Duration, ended: Result<()>) {
        match ended {
            Ok(()) => self.took.push(took),
            Err(error) => {
                self.failed += 1;
                self.error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    /// All of them together with others.
    pub(crate) fn join(mut self, others: Self) -> Self {
        self.took.extend(others.took);
        self.failed += others.failed;
        self.error = self.error.or(others.error);
        self
    }
}

/// One round of one contestant. What can't be told of it is no number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) calls_per_s: f64,
    pub(crate) cpu_us_per_call: f64,
    /// Calls without an answer, and why the first had none.
    pub(crate) failed: usize,
    pub(crate) error: Option<String>,
    /// Points of the distribution: so many of a thousand took at most so many microseconds.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// The points that are drawn.
const POINTS: &[f64] = &[
    1.0, 10.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 850.0, 900.0, 930.0, 950.0,
    970.0, 980.0, 990.0, 995.0, 999.0,
];

impl Round {
    /// Of calls that took so long, one by one: what else there was to do between them says nothing of them.
    pub(crate) fn of_each(calls: Calls) -> Self {
        let Calls { mut took, failed, error } = calls;
        took.sort_unstable();
        let at = |of_1000: f64| {
            let rank = (took.len() as f64 * of_1000 / 1_000.0).ceil() as usize;
            took.get(rank.saturating_sub(1)).map_or(f64::NAN, |took| took.as_secs_f64() * 1e6)
        };
        // With fewer calls, the slowest is all that there would be to tell.
        let among = |least: usize, of_1000: f64| if took.len() < least { f64::NAN } else { at(of_1000) };
        Self {
            p50_us: at(500.0),
            p90_us: among(10, 900.0),
            p99_us: among(100, 990.0),
            p999_us: among(1_000, 999.0),
            calls_per_s: f64::NAN,
            cpu_us_per_call: f64::NAN,
            failed,
            error,
            curve: POINTS.iter().map(|point| (*point, at(*point))).collect(),
        }
    }

    /// Of calls that were made within `lasted`, for so much processor time.
    pub(crate) fn of(calls: Calls, lasted: Duration, cpu: Duration) -> Self {
        let answered = calls.took.len() as f64;
        let calls_per_s = answered / lasted.as_secs_f64();
        Self { calls_per_s, cpu_us_per_call: cpu.as_secs_f64() * 1e6 / answered, ..Self::of_each(calls) }
    }
}

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of rounds that tell it, if any does.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { min, median, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(us: impl IntoIterator<Item = u64>) -> Calls {
        Calls { took: us.into_iter().map(Duration::from_micros).collect(), failed: 3, error: None }
    }

    #[test]
    fn percentiles_are_ranks_and_a_median_is_the_middle() {
        let second = Duration::from_secs(1);
        let round = Round::of(calls((1..=1_000).rev()), second / 2, second);
        assert_eq!(
            [round.p50_us, round.p90_us, round.p99_us, round.p999_us].map(f64::round),
            [500.0, 900.0, 990.0, 999.0]
        );
        assert_eq!((round.calls_per_s, round.cpu_us_per_call, round.failed), (2_000.0, 1_000.0, 3));

        let spread = Spread::of([3.0, f64::NAN, 1.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
        assert!(Spread::of([f64::NAN]).is_none());
    }

    #[test]
    fn what_so_few_calls_can_not_tell_is_no_number() {
        let round = Round::of_each(calls(1..=99));
        assert!(round.p90_us == 90.0 && round.p99_us.is_nan() && round.p999_us.is_nan());
        assert!(round.calls_per_s.is_nan() && Round::of_each(Calls::default()).p50_us.is_nan());
    }

    #[test]
    fn the_first_error_is_kept() {
        let mut some = calls([1]);
        some.add(Duration::ZERO, Err(anyhow::anyhow!("first")));
        some.add(Duration::ZERO, Err(anyhow::anyhow!("second")));
        let all = calls([2]).join(some);
        assert_eq!((all.took.len(), all.failed, all.error.as_deref()), (2, 8, Some("first")));
    }
}
