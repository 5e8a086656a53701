//! What calls took, and how they ended.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::kv::Ended;
use crate::load::Done;

/// Figures of a class of calls.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) calls: usize,
    pub(crate) answered: usize,
    /// How the others ended.
    pub(crate) others: BTreeMap<&'static str, usize>,
    /// Of those that were answered, on average.
    pub(crate) attempts: f64,
    /// Of those that were answered, from when they were due, in milliseconds. A refusal is quick, and a call that is lost takes as long as
    /// it is waited for: neither says how long an answer takes.
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// The longest of all, answered or not, in milliseconds.
    pub(crate) longest_ms: f64,
    /// Points of the distribution: how many of a thousand took at most so many milliseconds.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// The points that are drawn: closer together the nearer to all.
const POINTS: &[f64] = &[
    1.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 850.0, 900.0, 930.0, 950.0, 970.0,
    980.0, 985.0, 990.0, 993.0, 995.0, 997.0, 998.0, 999.0, 999.5, 1000.0,
];

impl Figures {
    pub(crate) fn of<'a>(calls: impl IntoIterator<Item = &'a Done>) -> Self {
        let (mut took, mut attempts, mut figures) = (Vec::new(), 0, Self::default());
        for call in calls {
            figures.longest_ms = figures.longest_ms.max(call.took.as_secs_f64() * 1e3);
            match &call.ended {
                Ended::Answered(answer) => {
                    took.push(call.took);
                    figures.answered += 1;
                    attempts += answer.attempts;
                }
                other => *figures.others.entry(other.as_str()).or_default() += 1,
            }
        }
        figures.attempts = f64::from(attempts) / figures.answered.max(1) as f64;
        figures.with_times(took)
    }

    /// Of calls of which only the times are known, all answered but so many.
    pub(crate) fn of_times(took: Vec<Duration>, lost: usize) -> Self {
        let mut figures = Self { answered: took.len(), attempts: 1.0, ..Self::default() };
        if lost > 0 {
            figures.others.insert("lost", lost);
        }
        figures.with_times(took)
    }

    fn with_times(mut self, mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |of_1000: f64| {
            let rank = (took.len() as f64 * of_1000 / 1_000.0).ceil() as usize;
            took.get(rank.saturating_sub(1)).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
        };
        self.calls = self.answered + self.others.values().sum::<usize>();
        self.p50_ms = at(500.0);
        self.p90_ms = at(900.0);
        self.p99_ms = at(990.0);
        self.p999_ms = at(999.0);
        self.max_ms = at(1_000.0);
        self.curve = POINTS.iter().map(|point| (*point, at(*point))).collect();
        self
    }

    /// The share of calls that were answered, in per cent.
    pub(crate) fn success(&self) -> f64 {
        100.0 * self.answered as f64 / self.calls.max(1) as f64
    }
}

impl Ended {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Ambiguous => "ambiguous",
            Self::Expired => "expired",
            Self::Exhausted => "exhausted",
            Self::Overloaded => "overloaded",
            Self::Wrong(_) => "wrong",
            Self::Silent => "silent",
        }
    }
}
