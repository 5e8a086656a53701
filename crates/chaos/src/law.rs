//! Whether the gaps between attempts follow the law of backoff: drawn evenly from zero to min(cap, base × 2ⁿ), and waited for.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// The defaults of a node, by which the clusters here go.
const BASE: Duration = Duration::from_millis(10);
const CAP: Duration = Duration::from_secs(1);

/// Gaps as the nodes logged them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gaps {
    /// Each as a share of the most that it could be.
    shares: Vec<f64>,
    /// Those that were over that.
    over: usize,
    /// Those that ended before they were over, though the owners had not changed.
    short: usize,
    /// Those before a deadline that was near: long ones don't fit there, so what is left isn't even.
    near: usize,
}

/// What they say of the law.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Law {
    /// Gaps that were judged.
    pub(crate) gaps: usize,
    /// Those longer than the law allows.
    pub(crate) over: usize,
    /// Those after which the next attempt came too soon.
    pub(crate) short: usize,
    /// Gaps near their deadline, which aren't judged.
    pub(crate) near: usize,
    /// The largest difference between their distribution and an even one (Kolmogorov and Smirnov).
    pub(crate) distance: f64,
    /// What an even one stays under in 999 of 1,000 runs.
    pub(crate) bound: f64,
}

impl Gaps {
    /// Takes the gaps from a node's log.
    pub(crate) fn read(&mut self, log: &str) {
        for line in log.lines().filter(|line| line.contains("\"drawn_ns\"")) {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let fields = &line["fields"];
            let nanos = |name: &str| fields[name].as_u64().map(Duration::from_nanos);
            if let (Some(drawn), Some(left), Some(nth)) =
                (nanos("drawn_ns"), nanos("left_ns"), fields["nth"].as_u64())
            {
                self.add(nth, drawn, left);
            }
            if let (Some(gap), Some(waited), Some(true)) =
                (nanos("gap_ns"), nanos("waited_ns"), fields["whole"].as_bool())
            {
                self.short += usize::from(waited < gap);
            }
        }
    }

    fn add(&mut self, nth: u64, drawn: Duration, left: Duration) {
        let most = BASE.saturating_mul(2_u32.saturating_pow(nth as u32)).min(CAP);
        if left <= most {
            self.near += 1;
            return;
        }
        self.over += usize::from(drawn > most);
        self.shares.push(drawn.as_secs_f64() / most.as_secs_f64());
    }

    /// All of them together with others.
    pub(crate) fn join(&mut self, others: &Self) {
        self.shares.extend(&others.shares);
        self.over += others.over;
        self.short += others.short;
        self.near += others.near;
    }

    pub(crate) fn law(&self) -> Law {
        let mut shares = self.shares.clone();
        shares.sort_by(f64::total_cmp);
        let count = shares.len() as f64;
        let distances = shares.iter().enumerate().map(|(i, share)| {
            let (below, above) = (i as f64 / count, (i + 1) as f64 / count);
            (share - below).abs().max((share - above).abs())
        });
        let distance = distances.fold(0.0, f64::max);
        Law {
            gaps: shares.len(),
            over: self.over,
            short: self.short,
            near: self.near,
            distance,
            bound: 1.95 / count.max(1.0).sqrt(),
        }
    }
}

impl Law {
    pub(crate) fn holds(&self) -> bool {
        self.over == 0 && self.short == 0 && (self.gaps == 0 || self.distance <= self.bound)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const FAR: u64 = 60_000_000_000;

    fn line(nth: u64, drawn_ns: u64) -> String {
        format!(
            "{{\"fields\":{{\"message\":\"wait\",\"nth\":{nth},\"drawn_ns\":{drawn_ns},\"left_ns\":{FAR}}}}}\n"
        )
    }

    fn judged(gaps: impl Iterator<Item = (u64, u64)>) -> Law {
        let log: String = gaps.map(|(nth, drawn)| line(nth, drawn)).collect();
        let mut gaps = Gaps::default();
        gaps.read(&log);
        gaps.law()
    }

    fn most(nth: u64) -> u64 {
        (10_000_000 << nth).min(1_000_000_000)
    }

    #[test]
    fn drawn_gaps_keep_the_law() {
        let mut rng = StdRng::seed_from_u64(1);
        let law = judged((0..2_000).map(|i| (i % 9, rng.random_range(0..=most(i % 9)))));
        assert!(law.holds() && law.gaps == 2_000, "{law:?}");
    }

    /// What it must notice: no jitter, half of it, a base that is twice as long.
    #[test]
    fn other_gaps_break_it() {
        let mut rng = StdRng::seed_from_u64(2);
        assert!(!judged((0..100).map(|i| (i % 9, most(i % 9)))).holds());
        assert!(
            !judged((0..500).map(|i| (i % 9, most(i % 9) / 2 + rng.random_range(0..=most(i % 9) / 2))))
                .holds()
        );
        assert!(!judged((0..100).map(|i| (i % 3, rng.random_range(0..=2 * most(i % 3))))).holds());
    }

    #[test]
    fn who_does_not_wait_breaks_it() {
        let line = |whole: bool| {
            format!(
                "{{\"fields\":{{\"nth\":3,\"gap_ns\":900,\"drawn_ns\":900,\"left_ns\":{FAR},\"whole\":{whole},\"waited_ns\":100}}}}"
            )
        };
        let mut gaps = Gaps::default();
        gaps.read(&line(false));
        assert_eq!(gaps.law().short, 0);
        gaps.read(&line(true));
        assert_eq!(gaps.law().short, 1);
        assert!(!gaps.law().holds());
    }

    #[test]
    fn gaps_near_a_deadline_are_not_judged() {
        let mut gaps = Gaps::default();
        gaps.add(7, Duration::from_millis(3), Duration::from_millis(900));
        let law = gaps.law();
        assert!(law.holds() && (law.gaps, law.near) == (0, 1));
    }
}
