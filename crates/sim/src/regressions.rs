use crate::Plan;

/// Runs that are always made, each with what it finds and few others do.
///
/// A change of what [`Plan::draw`] draws makes other runs of these seeds: look for others then, with the known-bad twin that each
/// names (`HOMING_TWIN`). What the simulation found in the product has tests of its own beside what was mended, which no
/// draw changes: `a_space_with_nothing_but_a_write_that_nobody_was_told_of_is_empty` and
/// `a_key_from_the_future_whose_write_is_here_is_answered` of `homing-kv`, `a_loser_has_a_place_among_the_requests_under_way` of `homing-router`.
#[must_use]
pub fn regressions() -> Vec<(Plan, &'static str)> {
    const FINDS: [(u64, &str); 3] = [
        (48, "maybe-sent-weakened: who forwards says not sent of what may have been"),
        (24, "equal-epoch-applied: another group of the same epoch is taken"),
        (108, "breaker-never-closes: a peer that failed is gone around for good"),
    ];
    FINDS.into_iter().map(|(seed, what)| (Plan::draw(seed), what)).collect()
}
