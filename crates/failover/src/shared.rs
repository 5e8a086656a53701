//! What all calls of one router share.

use crate::{Budget, BudgetLimits, HedgeTimer};

/// The budget for retries, and when a read is hedged. A router has one, behind a lock that is held for a few
/// instructions.
#[derive(Debug)]
pub struct Shared {
    /// Pays for retries and hedges.
    pub budget: Budget,
    /// Measures answers to reads.
    pub timer: HedgeTimer,
}

impl Shared {
    /// A full budget, and nothing measured.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Self {
        Self { budget: Budget::new(limits), timer: HedgeTimer::default() }
    }
}
