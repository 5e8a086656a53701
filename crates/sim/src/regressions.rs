use crate::Plan;

/// Runs that once failed, each with what was wrong. They are always run.
///
/// A change of what [`Plan::draw`] draws makes other runs of these seeds: take the mend out, and look for one that fails again.
#[must_use]
pub fn regressions() -> Vec<(Plan, &'static str)> {
    const FAILED: [(u64, &str); 4] = [
        (
            1_324,
            "a primary that held nothing declined reads where another owner held a write that nobody was told of",
        ),
        (
            4_407,
            "a retry was refused for a key from the future though its write was there: it seemed not executed, and was",
        ),
        (
            23_777,
            "a replica that did not know what is committed never asked, so its primary's reads were declined for ever",
        ),
        (28_835, "attempts that a call had given up went on beside max_in_flight"),
    ];
    FAILED.into_iter().map(|(seed, what)| (Plan::draw(seed), what)).collect()
}
