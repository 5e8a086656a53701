use crate::{Plan, run};

/// The same run with the fewest of its faults that still break the rule which it broke first: one after the other is left out, and
/// stays out if that rule is broken without it, until none can be left out. A plan that breaks none comes back as it is.
#[must_use]
pub fn shrink(plan: &Plan) -> Plan {
    let Some(broken) = run(plan).violations.first().map(|violation| violation.rule) else {
        return plan.clone();
    };
    let breaks = |plan: &Plan| run(plan).violations.iter().any(|violation| violation.rule == broken);
    let mut fewest = plan.clone();
    loop {
        let before = fewest.faults.len();
        for at in (0..before).rev() {
            let mut fewer = fewest.clone();
            fewer.faults.remove(at);
            if breaks(&fewer) {
                fewest = fewer;
            }
        }
        if fewest.faults.len() == before {
            return fewest;
        }
    }
}
