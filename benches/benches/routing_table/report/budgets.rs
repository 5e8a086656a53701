//! The budgets of the table, held against what was measured. Where a budget leaves a choice, both are shown: the ratio to
//! `DashMap` with its own hasher, which is what one gets, and with foldhash, which is harder to beat.

use serde_json::{Value, json};

use super::{memory, tables};
use crate::bench::Bench;
use crate::cases::{diff, pins, unpinned, writer};
use crate::contestants::called;

/// What was promised, and what came of it.
pub(super) struct Budget {
    pub(super) what: String,
    /// `None` if it wasn't measured in this run.
    value: Option<f64>,
    unit: Unit,
    /// Must hold.
    pub(super) gate: f64,
    /// Is hoped for.
    pub(super) aim: f64,
    /// Under what the value was measured: where, if it is the worst of several.
    at: Option<String>,
    /// Whether the case was not what the budget speaks of.
    fell_short: bool,
}

#[derive(Clone, Copy)]
enum Unit {
    Ratio,
    Milliseconds,
    Bytes,
}

impl Budget {
    pub(super) fn verdict(&self) -> &'static str {
        match self.value {
            None => "not measured",
            Some(_) if self.fell_short => "MISSED",
            Some(value) if value <= self.aim => "aim met",
            Some(value) if value <= self.gate => "gate met",
            Some(_) => "MISSED",
        }
    }

    pub(super) fn shown(&self) -> String {
        let value = match (self.value, self.unit) {
            (None, _) => "-".into(),
            (Some(value), Unit::Ratio) => format!("{value:.3}"),
            (Some(value), Unit::Milliseconds) => tables::time(value * 1e6),
            (Some(value), Unit::Bytes) => format!("{value:.1} bytes"),
        };
        match &self.at {
            Some(at) => format!("{value} ({at})"),
            None => value,
        }
    }

    pub(super) fn json(&self) -> Value {
        let unit = match self.unit {
            Unit::Ratio => "ratio",
            Unit::Milliseconds => "ms",
            Unit::Bytes => "bytes",
        };
        json!({
            "what": self.what, "value": self.value, "unit": unit, "at": self.at,
            "gate": self.gate, "aim": self.aim, "verdict": self.verdict(),
        })
    }
}

/// The first four rows of the budgets, in their order.
pub(super) fn all(bench: &Bench, memory: Option<&Value>) -> Vec<Budget> {
    let mut budgets = vec![
        unpinned(bench, called::DASHMAP, 0.5, 0.35),
        unpinned(bench, called::DASHMAP_FOLDHASH, 0.5, 0.35),
        unpinned(bench, called::XXH3, 3.0, 2.0),
        unpinned(bench, called::SPACE_KEY, 3.0, 2.0),
    ];
    for (what, case) in [("pinned", pins::case("1m")), ("unpinned beside pins", pins::BESIDE_CASE.into())] {
        for rival in [called::DASHMAP, called::DASHMAP_FOLDHASH] {
            let what = format!("lookup with 1 M pins, {what} ÷ {rival}");
            budgets.push(ratio(bench, what, &case, called::OURS, rival, (0.7, 0.5)));
        }
    }
    for case in writer::CASES {
        let what = format!("a reader with 100 diffs a second ÷ without, {case}");
        budgets.push(ratio(bench, what, case, writer::WITH, writer::WITHOUT, (1.25, 1.1)));
    }
    budgets.push(Budget {
        what: "a diff of 1,000 groups with 1 M pins, until visible".into(),
        value: bench.rows.ns(diff::THOUSAND_PINNED, diff::VISIBLE).map(|ns| ns / 1e6),
        unit: Unit::Milliseconds,
        gate: 2.0,
        aim: 1.0,
        at: None,
        fell_short: false,
    });
    budgets.push(Budget {
        what: "bytes a pin, two replicas".into(),
        value: memory.and_then(memory::bytes_a_pin),
        unit: Unit::Bytes,
        gate: 64.0,
        aim: 40.0,
        at: None,
        fell_short: false,
    });
    budgets
}

/// The worst ratio over all sizes.
fn unpinned(bench: &Bench, rival: &str, gate: f64, aim: f64) -> Budget {
    let ratios = bench.effort.sizes().iter().filter_map(|(size, _)| {
        let case = unpinned::case(size);
        Some((bench.rows.ns(&case, called::OURS)? / bench.rows.ns(&case, rival)?, *size))
    });
    let worst = ratios.max_by(|a, b| a.0.total_cmp(&b.0));
    Budget {
        what: format!("lookup without pin ÷ {rival}, the worst of all sizes"),
        value: worst.map(|(ratio, _)| ratio),
        unit: Unit::Ratio,
        gate,
        aim,
        at: worst.map(|(_, size)| format!("at {size}")),
        fell_short: false,
    }
}

fn ratio(
    bench: &Bench,
    what: String,
    case: &str,
    ours: &str,
    other: &str,
    (gate, aim): (f64, f64),
) -> Budget {
    let value = bench.rows.ns(case, ours).zip(bench.rows.ns(case, other)).map(|(ours, other)| ours / other);
    let note = value.and(bench.rows.note_of(case));
    Budget {
        what,
        value,
        unit: Unit::Ratio,
        gate,
        aim,
        at: note.map(|note| note.text.clone()),
        fell_short: note.is_some_and(|note| note.fell_short),
    }
}
