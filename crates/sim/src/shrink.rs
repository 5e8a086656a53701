use crate::{Plan, run};

/// The same run with the fewest of its faults that still break one of the rules it broke: one after the other is left out, and stays
/// out if the run fails without it. A plan that breaks none comes back as it is.
#[must_use]
pub fn shrink(plan: &Plan) -> Plan {
    let broken: Vec<&str> = run(plan).violations.iter().map(|violation| violation.rule).collect();
    let mut fewest = plan.clone();
    let mut at = 0;
    while at < fewest.faults.len() {
        let mut fewer = fewest.clone();
        fewer.faults.remove(at);
        if run(&fewer).violations.iter().any(|violation| broken.contains(&violation.rule)) {
            fewest = fewer;
        } else {
            at += 1;
        }
    }
    fewest
}
