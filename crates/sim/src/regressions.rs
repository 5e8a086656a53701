use crate::{Plan, Size};

/// Runs that once failed, each with what was wrong. They are always run.
#[must_use]
pub fn regressions() -> Vec<(Plan, &'static str)> {
    let drawn = |seed| Plan::draw(seed, &Size::default());
    vec![(
        Plan { history: 0, stale: 0, ..drawn(369) },
        "a primary that held nothing declined reads for ever, since another owner held a write that nobody was told of",
    )]
}
