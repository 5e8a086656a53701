use std::time::Duration;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// All sizes; some minutes.
    Whole,
    /// `--quick`: shorter, and without the largest size; less than a minute. For a first look, not for a report.
    Quick,
    /// As a test (`cargo test --benches`): each case once, small, without figures.
    Smoke,
}

impl Effort {
    pub(crate) fn from_args() -> Self {
        let has = |flag: &str| std::env::args().any(|arg| arg == flag);
        if !has("--bench") || has("--test") || has("--list") {
            Self::Smoke
        } else if has("--quick") {
            Self::Quick
        } else {
            Self::Whole
        }
    }

    /// What it is called in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Quick => "quick",
            Self::Smoke => "smoke",
        }
    }

    /// The sizes at which lookups are measured: their name and how many spaces.
    pub(crate) const fn sizes(self) -> &'static [(&'static str, u32)] {
        let all: &[_] = &[("1k", 1_000), ("100k", 100_000), ("1m", 1_000_000), ("10m", 10_000_000)];
        match self {
            Self::Whole => all,
            Self::Quick => all.split_at(3).0,
            Self::Smoke => all.split_at(1).0,
        }
    }

    /// The size at which what isn't measured at all sizes is measured.
    pub(crate) const fn million(self) -> u32 {
        match self {
            Self::Whole | Self::Quick => 1_000_000,
            Self::Smoke => 1_000,
        }
    }

    /// How long is measured after how long a warm-up.
    pub(crate) const fn times(self) -> (Duration, Duration) {
        match self {
            Self::Whole => (Duration::from_millis(300), Duration::from_secs(1)),
            Self::Quick | Self::Smoke => (Duration::from_millis(50), Duration::from_millis(200)),
        }
    }

    /// How many windows with a writer and without are measured, and how long each is.
    pub(crate) const fn windows(self) -> (usize, Duration) {
        match self {
            Self::Whole => (15, Duration::from_millis(150)),
            Self::Quick => (5, Duration::from_millis(100)),
            Self::Smoke => (1, Duration::from_millis(20)),
        }
    }
}
