use std::fmt;
use std::time::Duration;

/// How long some calls took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    sorted: Vec<Duration>,
}

impl Latencies {
    /// What this share of the calls stayed within; zero if there were none.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let rank = (self.sorted.len() as f64 * share).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// How many took longer than this.
    pub(crate) fn over(&self, this: Duration) -> usize {
        self.sorted.len() - self.sorted.partition_point(|took| *took <= this)
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<T: IntoIterator<Item = Duration>>(calls: T) -> Self {
        let mut sorted: Vec<_> = calls.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |share| self.at(share).as_secs_f64() * 1e3;
        let (p50, p99, p999, longest) = (ms(0.5), ms(0.99), ms(0.999), ms(1.0));
        write!(f, "{} calls, p50 {p50:.2} ms, p99 {p99:.2}, p99.9 {p999:.2}, max {longest:.2}", self.len())
    }
}
