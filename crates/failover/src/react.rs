//! The outcome table: what an outcome allows a call to do.
//!
//! All of failover hangs on one question: was anything executed? Surely not: anybody may be tried. Perhaps: only
//! what can be done twice may be done again. The table is small, total, and written as one, so that it can be
//! read against the design. gRPC draws the same line between what a server surely did not see and the rest
//! (gRFC A6, "gRPC Retry Design", transparent retries).

use homing_types::{Access, Outcome, Twin};

use crate::Verdict;

/// What a call does after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Tries the next candidate at once.
    TryNext,
    /// Plans anew from the correction, without a gap. It costs a hop. Without a correction it is
    /// [`Next::TryNext`].
    Follow,
    /// Leaves this node alone for as long as it asked (its retry-after), and tries others meanwhile.
    Wait,
    /// Ends.
    End(Verdict),
}

/// What `outcome` allows. `keyed`: the request carries an idempotency key and the service dedupes by it, so that
/// a write can be sent again with the same key.
#[must_use]
pub fn react(outcome: Outcome, access: Access, keyed: bool) -> Next {
    match outcome {
        Outcome::NotSent | Outcome::Expired => Next::TryNext,
        Outcome::MaybeSent if access.is_read() || keyed || Twin::UnkeyedWriteRetried.is_on() => Next::TryNext,
        Outcome::MaybeSent => Next::End(Verdict::Ambiguous),
        Outcome::NotOwner => Next::Follow,
        Outcome::NotReady | Outcome::Overloaded => Next::Wait,
        Outcome::Refused => Next::End(Verdict::Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_design_says() {
        use Next::{End, Follow, TryNext, Wait};
        for (outcome, read, keyed_write, other_write) in [
            (Outcome::NotSent, TryNext, TryNext, TryNext),
            (Outcome::MaybeSent, TryNext, TryNext, End(Verdict::Ambiguous)),
            (Outcome::NotOwner, Follow, Follow, Follow),
            (Outcome::NotReady, Wait, Wait, Wait),
            (Outcome::Overloaded, Wait, Wait, Wait),
            (Outcome::Expired, TryNext, TryNext, TryNext),
            (Outcome::Refused, End(Verdict::Refused), End(Verdict::Refused), End(Verdict::Refused)),
        ] {
            for keyed in [true, false] {
                assert_eq!(react(outcome, Access::Read, keyed), read, "{outcome}");
                assert_eq!(react(outcome, Access::ReadPrimary, keyed), read, "{outcome}");
            }
            assert_eq!(react(outcome, Access::Write, true), keyed_write, "{outcome}");
            assert_eq!(react(outcome, Access::Write, false), other_write, "{outcome}");
        }
    }
}
