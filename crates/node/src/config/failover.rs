//! `[failover]`: what the node does when a node does not answer.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::parse::{DAY_MS, within};

/// The knobs of failover. docs/FAILOVER.md says what they do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FailoverFile {
    /// The most that one attempt waits for its reply, in milliseconds, where another may follow it.
    pub(crate) attempt_timeout_ms: u64,
    /// The most that the first gap between two walks through the candidates can be, in milliseconds.
    pub(crate) backoff_base_ms: u64,
    /// The most that any gap can be, in milliseconds.
    pub(crate) backoff_cap_ms: u64,
    /// Retries and hedges for 100 calls.
    pub(crate) retry_percent: u32,
    /// Retries and hedges each second, calls or not.
    pub(crate) retry_per_second: u32,
    /// Retries and hedges that can be saved up.
    pub(crate) retry_burst: u32,
    /// Hedges for 100 calls, out of the same budget; 0 for none.
    pub(crate) hedge_percent: u32,
    /// Failures in a row that open a breaker.
    pub(crate) breaker_failures: u32,
    /// The time over which the share of successes is counted, in milliseconds.
    pub(crate) breaker_window_ms: u64,
    /// Attempts within that time before their share counts.
    pub(crate) breaker_at_least: u32,
    /// The share of successes, in per cent, under which a breaker opens.
    pub(crate) breaker_percent: u32,
    /// How long a breaker stays open the first time, in milliseconds.
    pub(crate) breaker_open_ms: u64,
    /// The most that a breaker stays open, in milliseconds.
    pub(crate) breaker_open_cap_ms: u64,
    /// For how long a peer that could not be reached is tried last before it is dialled again, in milliseconds.
    pub(crate) suspicion_ms: u64,
    /// Attempts in a row without a reply on one connection after which it is replaced.
    pub(crate) stuck_after: u32,
}

impl Default for FailoverFile {
    fn default() -> Self {
        let homing::RouterOptions { call, budget, breaker, .. } = homing::RouterOptions::default();
        let pool = homing::PoolOptions::default();
        Self {
            attempt_timeout_ms: ms(call.attempt_timeout),
            backoff_base_ms: ms(call.backoff.base),
            backoff_cap_ms: ms(call.backoff.cap),
            retry_percent: budget.percent,
            retry_per_second: budget.per_second,
            retry_burst: budget.burst,
            hedge_percent: budget.hedge_percent,
            breaker_failures: breaker.failures,
            breaker_window_ms: ms(breaker.window),
            breaker_at_least: breaker.at_least,
            breaker_percent: breaker.percent,
            breaker_open_ms: ms(breaker.base),
            breaker_open_cap_ms: ms(breaker.cap),
            suspicion_ms: ms(pool.suspicion),
            stuck_after: pool.stuck_after,
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl FailoverFile {
    /// Checks the section, and sets what it says.
    pub(super) fn set(
        &self,
        router: &mut homing::RouterOptions,
        pool: &mut homing::PoolOptions,
    ) -> Result<()> {
        let time = |key, value| Ok::<_, anyhow::Error>(Duration::from_millis(within(key, value, 1, DAY_MS)?));
        router.call.attempt_timeout = time("failover.attempt_timeout_ms", self.attempt_timeout_ms)?;
        router.call.backoff = homing::Backoff {
            base: time("failover.backoff_base_ms", self.backoff_base_ms)?,
            cap: time("failover.backoff_cap_ms", self.backoff_cap_ms)?,
        };
        router.budget = homing::BudgetLimits {
            percent: within("failover.retry_percent", self.retry_percent, 0, 1_000)?,
            per_second: within("failover.retry_per_second", self.retry_per_second, 0, 1_000_000)?,
            burst: within("failover.retry_burst", self.retry_burst, 1, 1_000_000)?,
            hedge_percent: within("failover.hedge_percent", self.hedge_percent, 0, 100)?,
        };
        router.breaker = homing::BreakerLimits {
            failures: within("failover.breaker_failures", self.breaker_failures, 1, 1_000_000)?,
            window: time("failover.breaker_window_ms", self.breaker_window_ms)?,
            at_least: within("failover.breaker_at_least", self.breaker_at_least, 1, 1_000_000)?,
            percent: within("failover.breaker_percent", self.breaker_percent, 0, 100)?,
            base: time("failover.breaker_open_ms", self.breaker_open_ms)?,
            cap: time("failover.breaker_open_cap_ms", self.breaker_open_cap_ms)?,
        };
        pool.suspicion = time("failover.suspicion_ms", self.suspicion_ms)?;
        pool.stuck_after = within("failover.stuck_after", self.stuck_after, 1, 1_000_000)?;
        for (base_key, base, cap_key, cap) in [
            ("backoff_base_ms", self.backoff_base_ms, "backoff_cap_ms", self.backoff_cap_ms),
            ("breaker_open_ms", self.breaker_open_ms, "breaker_open_cap_ms", self.breaker_open_cap_ms),
        ] {
            ensure!(base <= cap, "failover.{base_key}: {base} is over failover.{cap_key}: use at most {cap}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_the_defaults() {
        let page = include_str!("../../../../docs/FAILOVER.md").replace(',', "");
        for (key, value) in toml::Table::try_from(FailoverFile::default()).unwrap() {
            let row = page.lines().find(|line| line.starts_with(&format!("| `failover.{key}` |"))).unwrap();
            assert!(row.contains(&format!(" | {value} | ")), "{key} is {value}: {row}");
        }
    }
}
