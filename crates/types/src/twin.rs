//! Known-bad twins: what Homing would be with one rule broken, so that a test can show that it would notice.
//!
//! A twin exists only in builds with the feature `twins`, and is switched on for a whole process by the environment
//! variable `HOMING_TWIN`. Without the feature [`Twin::is_on`] is `false` at compile time.

/// A rule that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    /// Each gap is as long as it may be: those that failed together come back together.
    NoJitter,
    /// A write without an idempotency key that may have been executed is sent again.
    UnkeyedWriteRetried,
    /// A forward leaves the hops as they were.
    HopNotCounted,
    /// What a reply teaches is thrown away.
    CorrectionNotApplied,
    /// A group of the same epoch replaces the one that is known.
    EqualEpochApplied,
    /// Retries and hedges are never refused.
    BudgetIgnored,
    /// Nobody probes a peer whose breaker is open.
    BreakerNeverCloses,
    /// A write's idempotency key is not stored with it, as if the process had died between the two.
    DedupeOutsideTransaction,
    /// A relay passes its flag on.
    RelayFlagNotCleared,
    /// A forwarder says *not sent* of what may have been sent.
    MaybeSentWeakened,
}

impl Twin {
    /// Its name in `HOMING_TWIN`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoJitter => "no-jitter",
            Self::UnkeyedWriteRetried => "unkeyed-write-retried",
            Self::HopNotCounted => "hop-not-counted",
            Self::CorrectionNotApplied => "correction-not-applied",
            Self::EqualEpochApplied => "equal-epoch-applied",
            Self::BudgetIgnored => "budget-ignored",
            Self::BreakerNeverCloses => "breaker-never-closes",
            Self::DedupeOutsideTransaction => "dedupe-outside-transaction",
            Self::RelayFlagNotCleared => "relay-flag-not-cleared",
            Self::MaybeSentWeakened => "maybe-sent-weakened",
        }
    }

    /// Whether this process runs with this rule broken.
    #[cfg(not(feature = "twins"))]
    #[must_use]
    #[inline]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Whether this process runs with this rule broken.
    #[cfg(feature = "twins")]
    #[must_use]
    pub fn is_on(self) -> bool {
        static ON: std::sync::LazyLock<Option<String>> =
            std::sync::LazyLock::new(|| std::env::var("HOMING_TWIN").ok());
        ON.as_deref() == Some(self.as_str())
    }
}
