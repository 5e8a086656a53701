//! What a run has found, as data.

use serde::{Deserialize, Serialize};

use crate::allocations::Allocations;
use crate::contestants::Contestant;
use crate::figures::{Round, Spread};

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: serde_json::Value,
    pub(crate) commit: String,
    pub(crate) quick: bool,
    pub(crate) seconds: f64,
    /// Connections of each contestant.
    pub(crate) connections: usize,
    pub(crate) rows: Vec<Row>,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) allocations: Vec<Allocations>,
    /// What was left out, and why.
    pub(crate) skipped: Vec<String>,
}

/// One contestant in one scenario: medians over the rounds. A ratio is taken in each round, so that what slows the machine
/// down slows both.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) contestant: &'static str,
    pub(crate) payload: usize,
    pub(crate) in_flight: usize,
    pub(crate) rounds: usize,
    pub(crate) tls: &'static str,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) calls_per_s: f64,
    pub(crate) cpu_us_per_call: f64,
    pub(crate) failed: usize,
    pub(crate) baseline: &'static str,
    pub(crate) ratio_p50: f64,
    pub(crate) ratio_rate: f64,
    pub(crate) ratio_cpu: f64,
    /// The least, the median and the most of the rounds.
    pub(crate) spread: Spreads,
    /// Points of the distribution, in the round with the median p50.
    pub(crate) curve: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Spreads {
    pub(crate) p50_us: Spread,
    pub(crate) calls_per_s: Spread,
    pub(crate) cpu_us_per_call: Spread,
    pub(crate) ratio_p50: Spread,
    pub(crate) ratio_rate: Spread,
}

/// What must hold, and what is wished.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Budget {
    pub(crate) name: String,
    pub(crate) value: Option<f64>,
    pub(crate) gate: f64,
    pub(crate) aim: f64,
    pub(crate) met: bool,
    pub(crate) aimed: bool,
    /// Where it was the worst.
    pub(crate) at: String,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) scenario: &'static str,
    pub(crate) payload: usize,
    pub(crate) in_flight: usize,
}

impl Row {
    /// A contestant's rounds beside those of its baseline, if that took part.
    pub(crate) fn of(
        cell: Cell,
        contestant: Contestant,
        rounds: &[Round],
        baseline: Option<&[Round]>,
    ) -> Self {
        let all = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
        let beside = |figure: fn(&Round) -> f64| {
            let pairs = baseline.into_iter().flatten().zip(rounds);
            Spread::of(pairs.map(|(base, ours)| figure(ours) / figure(base)))
        };
        let spread = Spreads {
            p50_us: all(|round| round.p50_us),
            calls_per_s: all(|round| round.calls_per_s),
            cpu_us_per_call: all(|round| round.cpu_us_per_call),
            ratio_p50: beside(|round| round.p50_us),
            ratio_rate: beside(|round| round.calls_per_s),
        };
        let mut by_p50: Vec<_> = rounds.iter().collect();
        by_p50.sort_by(|a, b| a.p50_us.total_cmp(&b.p50_us));
        Self {
            scenario: cell.scenario,
            contestant: contestant.name(),
            payload: cell.payload,
            in_flight: cell.in_flight,
            rounds: rounds.len(),
            tls: contestant.tls(),
            p50_us: spread.p50_us.median,
            p90_us: all(|round| round.p90_us).median,
            p99_us: all(|round| round.p99_us).median,
            p999_us: all(|round| round.p999_us).median,
            calls_per_s: spread.calls_per_s.median,
            cpu_us_per_call: spread.cpu_us_per_call.median,
            failed: rounds.iter().map(|round| round.failed).sum(),
            baseline: contestant.baseline().name(),
            ratio_p50: spread.ratio_p50.median,
            ratio_rate: spread.ratio_rate.median,
            ratio_cpu: beside(|round| round.cpu_us_per_call).median,
            spread,
            curve: by_p50.get(rounds.len() / 2).map(|round| round.curve.clone()).unwrap_or_default(),
        }
    }

    pub(crate) fn place(&self) -> String {
        format!("{}, {} B, {} in flight", self.scenario, self.payload, self.in_flight)
    }
}

/// One budget: which of whose figures, the worst of them.
struct Judged {
    name: &'static str,
    gate: f64,
    aim: f64,
    /// Whether more is better.
    more: bool,
    value: fn(&Row, &[Row]) -> Option<f64>,
}

fn embedded(row: &Row, contestant: &str) -> bool {
    row.scenario == "one-hop" && row.contestant == contestant && row.payload <= 16 << 10
}

const JUDGED: &[Judged] = &[
    Judged {
        name: "embedded over gRPC: p50 ÷ bare tonic",
        gate: 1.15,
        aim: 1.05,
        more: false,
        value: |row, _| embedded(row, "homing-grpc").then_some(row.ratio_p50),
    },
    Judged {
        name: "embedded over gRPC: calls/s ÷ bare tonic",
        gate: 0.85,
        aim: 0.95,
        more: true,
        value: |row, _| embedded(row, "homing-grpc").then_some(row.ratio_rate),
    },
    Judged {
        name: "embedded over QUIC: p50 ÷ bare quinn",
        gate: 1.15,
        aim: 1.05,
        more: false,
        value: |row, _| embedded(row, "homing-quic").then_some(row.ratio_p50),
    },
    Judged {
        name: "embedded over QUIC: calls/s ÷ bare quinn",
        gate: 0.85,
        aim: 0.95,
        more: true,
        value: |row, _| embedded(row, "homing-quic").then_some(row.ratio_rate),
    },
    Judged {
        name: "routed over QUIC ÷ bare tonic with TLS: calls/s at 64, 128 B",
        gate: 1.5,
        aim: 2.0,
        more: true,
        value: |row, rows| {
            let here = row.scenario == "one-hop" && row.contestant == "homing-quic";
            let here = here && (row.payload, row.in_flight) == (128, 64);
            here.then(|| Some(row.calls_per_s / beside(row, rows, "tonic")?.calls_per_s)).flatten()
        },
    },
    Judged {
        name: "the node as a hop ÷ Envoy: calls/s at 64",
        gate: 1.2,
        aim: 1.2,
        more: true,
        value: |row, rows| {
            let here = row.contestant == "homing-node" && row.in_flight == 64;
            here.then(|| Some(row.calls_per_s / beside(row, rows, "envoy")?.calls_per_s)).flatten()
        },
    },
    Judged {
        name: "the node as a hop: p50 that it adds ÷ what Envoy adds",
        gate: 1.0,
        aim: 1.0,
        more: false,
        value: |row, rows| {
            let here = row.contestant == "homing-node" && row.in_flight == 1;
            let bare = || beside(row, rows, "tonic").map(|bare| bare.p50_us);
            let added = |row: &Row| bare().map(|bare| row.p50_us - bare);
            here.then(|| Some(added(row)? / added(beside(row, rows, "envoy")?)?)).flatten()
        },
    },
    Judged {
        name: "the node as a hop ÷ HAProxy: calls/s at 64",
        gate: 0.0,
        aim: 1.0,
        more: true,
        value: |row, rows| {
            let here = row.contestant == "homing-node" && row.in_flight == 64;
            here.then(|| Some(row.calls_per_s / beside(row, rows, "haproxy")?.calls_per_s)).flatten()
        },
    },
];

/// Another contestant in the same cell.
fn beside<'a>(row: &Row, rows: &'a [Row], contestant: &str) -> Option<&'a Row> {
    rows.iter().find(|other| {
        other.contestant == contestant
            && (other.scenario, other.payload, other.in_flight) == (row.scenario, row.payload, row.in_flight)
    })
}

/// Section 11 of the design, as far as these rows tell.
pub(crate) fn budgets(rows: &[Row]) -> Vec<Budget> {
    let judge = |judged: &Judged| {
        let values = rows.iter().filter_map(|row| Some(((judged.value)(row, rows)?, row)));
        let worst = values.min_by(|(a, _), (b, _)| {
            let order = a.total_cmp(b);
            if judged.more { order } else { order.reverse() }
        });
        let within = |bound: f64, value: f64| if judged.more { value >= bound } else { value <= bound };
        let value = worst.map(|(value, _)| value);
        Budget {
            name: judged.name.to_owned(),
            value,
            gate: judged.gate,
            aim: judged.aim,
            met: value.is_none_or(|value| within(judged.gate, value)),
            aimed: value.is_some_and(|value| within(judged.aim, value)),
            at: worst.map(|(_, row)| row.place()).unwrap_or_default(),
        }
    };
    JUDGED.iter().map(judge).collect()
}

/// What is read of an earlier report.
#[derive(Debug, Deserialize)]
pub(crate) struct Earlier {
    pub(crate) commit: String,
    pub(crate) rows: Vec<EarlierRow>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EarlierRow {
    pub(crate) scenario: String,
    pub(crate) contestant: String,
    pub(crate) payload: usize,
    pub(crate) in_flight: usize,
    pub(crate) spread: EarlierSpreads,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EarlierSpreads {
    pub(crate) ratio_p50: Spread,
    pub(crate) ratio_rate: Spread,
    pub(crate) cpu_us_per_call: Spread,
}

/// What changed beyond the noise: where not even the nearest rounds of both runs meet. Ratios are compared where there are some, since
/// machines differ; processor time otherwise.
pub(crate) fn changes(earlier: &Earlier, rows: &[Row]) -> Vec<String> {
    let mut changes = Vec::new();
    for row in rows {
        let same = |other: &&EarlierRow| {
            other.scenario == row.scenario
                && other.contestant == row.contestant
                && (other.payload, other.in_flight) == (row.payload, row.in_flight)
        };
        let Some(before) = earlier.rows.iter().find(same) else { continue };
        let pairs = [
            ("p50 ÷ baseline", before.spread.ratio_p50, row.spread.ratio_p50),
            ("calls/s ÷ baseline", before.spread.ratio_rate, row.spread.ratio_rate),
            ("CPU µs a call", before.spread.cpu_us_per_call, row.spread.cpu_us_per_call),
        ];
        for (what, before, now) in pairs {
            if now.least > before.most || now.most < before.least {
                changes.push(format!(
                    "{}, {}: {what} {:.3} → {:.3} ({:+.0} %)",
                    row.place(),
                    row.contestant,
                    before.median,
                    now.median,
                    100.0 * (now.median / before.median - 1.0)
                ));
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: Cell = Cell { scenario: "one-hop", payload: 128, in_flight: 64 };

    /// Rounds of a contestant that makes so many calls a second.
    fn rounds(rates: &[f64]) -> Vec<Round> {
        let round = |rate: &f64| Round { calls_per_s: *rate, p50_us: 64e6 / rate, ..Round::default() };
        rates.iter().map(round).collect()
    }

    fn rows(ours: &[f64], quinn: &[f64], tonic: &[f64]) -> Vec<Row> {
        let (quinn, tonic) = (rounds(quinn), rounds(tonic));
        vec![
            Row::of(CELL, Contestant::Tonic, &tonic, Some(&tonic)),
            Row::of(CELL, Contestant::Quinn, &quinn, Some(&quinn)),
            Row::of(CELL, Contestant::RouterQuic, &rounds(ours), Some(&quinn)),
        ]
    }

    fn budget(rows: &[Row], name: &str) -> Budget {
        budgets(rows).into_iter().find(|budget| budget.name.starts_with(name)).unwrap()
    }

    #[test]
    fn ratios_are_of_neighbours_so_that_a_machine_that_slows_down_changes_none() {
        let rows = rows(&[90.0, 45.0, 9.0], &[100.0, 50.0, 10.0], &[40.0, 20.0, 4.0]);
        assert_eq!((rows[2].ratio_rate, rows[2].calls_per_s), (0.9, 45.0));
        assert!((rows[2].ratio_p50 - 1.0 / 0.9).abs() < 1e-9);
    }

    #[test]
    fn gates_and_aims_are_told_apart_and_what_was_not_measured_is_said() {
        let met = rows(&[90.0], &[100.0], &[50.0]);
        let rate = budget(&met, "embedded over QUIC: calls/s");
        assert!(rate.met && !rate.aimed);
        assert_eq!(rate.at, "one-hop, 128 B, 64 in flight");
        assert!(budget(&met, "routed over QUIC").met);
        let missed = rows(&[80.0], &[100.0], &[70.0]);
        assert!(!budget(&missed, "embedded over QUIC: calls/s").met);
        assert!(!budget(&missed, "embedded over QUIC: p50").met);
        assert!(!budget(&missed, "routed over QUIC").met);
        let none = budget(&missed, "the node as a hop ÷ Envoy");
        assert!(none.value.is_none() && none.met && !none.aimed);
    }

    #[test]
    fn a_change_counts_only_if_not_even_the_nearest_rounds_meet() {
        let before = rows(&[90.0, 91.0, 92.0], &[100.0; 3], &[50.0; 3]);
        let report = serde_json::json!({ "commit": "before", "rows": before });
        let earlier: Earlier = serde_json::from_value(report).unwrap();
        assert_eq!(changes(&earlier, &rows(&[92.0, 93.0, 94.0], &[100.0; 3], &[50.0; 3])), [""; 0]);
        let found = changes(&earlier, &rows(&[70.0, 71.0, 89.0], &[100.0; 3], &[50.0; 3]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("0.910 → 0.710"), "{found:?}");
    }
}
