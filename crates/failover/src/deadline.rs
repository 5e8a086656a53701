//! How the time of a call is shared out, along its way and among its attempts.
//!
//! Each hop passes on a little less than it has, so that an explanation from further down arrives before the one who
//! waits gives up: deadline propagation, as in gRPC and Google's SRE book ("Addressing Cascading Failures"), with
//! a margin.

use std::time::Duration;

/// The most that a hop keeps back.
const MARGIN: Duration = Duration::from_millis(50);

/// The time to pass on of what is left: less by a tenth, and at most by 50 ms.
#[must_use]
pub fn shrink(left: Duration) -> Duration {
    left.saturating_sub((left / 10).min(MARGIN))
}

/// How long an attempt may wait for its reply to begin, of what is `left` for the call.
///
/// One after which no other may follow gets all of it, as giving up early would only lose its answer. Everything
/// else gets at most half, so that another candidate has a chance.
pub(crate) fn attempt_timeout(longest: Duration, left: Duration, last_chance: bool) -> Duration {
    if last_chance { left } else { longest.min(left / 2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hop_has_a_little_less_than_the_one_before() {
        for (left, passed_on) in [(10_000, 9_950), (500, 450), (100, 90), (0, 0)] {
            assert_eq!(shrink(Duration::from_millis(left)), Duration::from_millis(passed_on));
        }
    }
}
