//! What a run has found, as data.

use serde::{Deserialize, Serialize};

use crate::contestants::Contestant;
use crate::counts::Counts;
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
    /// Whether all ran on all processors.
    pub(crate) floating: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) counts: Vec<Counts>,
    /// What was left out, and why.
    pub(crate) skipped: Vec<String>,
}

/// One contestant in one scenario: medians over the rounds. A ratio is taken in each round, so that what slows the machine
/// down slows both. What was not measured, or can't be told of so few calls, is `null`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) contestant: &'static str,
    pub(crate) payload: usize,
    pub(crate) in_flight: usize,
    pub(crate) rounds: usize,
    pub(crate) tls: &'static str,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p90_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) p999_us: Option<f64>,
    pub(crate) calls_per_s: Option<f64>,
    pub(crate) cpu_us_per_call: Option<f64>,
    /// What an open loop offered; the same to all that are held against one baseline.
    pub(crate) offered_per_s: Option<f64>,
    /// Of its processes and of its clients here, at the end.
    pub(crate) memory_mb: f64,
    pub(crate) failed: usize,
    /// Why the first call failed.
    pub(crate) error: Option<String>,
    pub(crate) baseline: &'static str,
    pub(crate) ratio_p50: Option<f64>,
    pub(crate) ratio_rate: Option<f64>,
    pub(crate) ratio_cpu: Option<f64>,
    pub(crate) spread: Spreads,
    /// Points of the distribution, in the round with the median p50.
    pub(crate) curve: Vec<(f64, f64)>,
    #[serde(skip)]
    pub(crate) measured: Vec<Round>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spreads {
    pub(crate) p50_us: Option<Spread>,
    pub(crate) calls_per_s: Option<Spread>,
    pub(crate) cpu_us_per_call: Option<Spread>,
    pub(crate) ratio_p50: Option<Spread>,
    pub(crate) ratio_rate: Option<Spread>,
}

/// What must hold, and what is wished.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Budget {
    pub(crate) name: String,
    pub(crate) value: Option<f64>,
    /// What must hold; `null` where nothing must.
    pub(crate) gate: Option<f64>,
    pub(crate) aim: f64,
    /// `null` if it was not measured.
    pub(crate) met: Option<bool>,
    pub(crate) aimed: Option<bool>,
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
        measured: Vec<Round>,
        baseline: Option<&[Round]>,
    ) -> Self {
        let all = |figure: fn(&Round) -> f64| Spread::of(measured.iter().map(figure));
        let beside = |figure: fn(&Round) -> f64| ratio(&measured, baseline?, figure);
        let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
        let spread = Spreads {
            p50_us: all(|round| round.p50_us),
            calls_per_s: all(|round| round.calls_per_s),
            cpu_us_per_call: all(|round| round.cpu_us_per_call),
            ratio_p50: beside(|round| round.p50_us),
            ratio_rate: beside(|round| round.calls_per_s),
        };
        let mut by_p50: Vec<_> = measured.iter().collect();
        by_p50.sort_by(|a, b| a.p50_us.total_cmp(&b.p50_us));
        Self {
            scenario: cell.scenario,
            contestant: contestant.name(),
            payload: cell.payload,
            in_flight: cell.in_flight,
            rounds: measured.len(),
            tls: contestant.tls(),
            p50_us: median(spread.p50_us),
            p90_us: median(all(|round| round.p90_us)),
            p99_us: median(all(|round| round.p99_us)),
            p999_us: median(all(|round| round.p999_us)),
            calls_per_s: median(spread.calls_per_s),
            cpu_us_per_call: median(spread.cpu_us_per_call),
            offered_per_s: None,
            memory_mb: 0.0,
            failed: measured.iter().map(|round| round.failed).sum(),
            error: measured.iter().find_map(|round| round.error.clone()),
            baseline: contestant.baseline().name(),
            ratio_p50: median(spread.ratio_p50),
            ratio_rate: median(spread.ratio_rate),
            ratio_cpu: median(beside(|round| round.cpu_us_per_call)),
            spread,
            curve: by_p50.get(by_p50.len() / 2).map(|round| round.curve.clone()).unwrap_or_default(),
            measured,
        }
    }

    pub(crate) fn place(&self) -> String {
        format!("{}, {} B, {} in flight", self.scenario, self.payload, self.in_flight)
    }
}

/// Round by round.
fn ratio(ours: &[Round], theirs: &[Round], figure: fn(&Round) -> f64) -> Option<Spread> {
    Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)))
}

/// One budget: which of whose figures, the worst of them.
struct Rule {
    name: &'static str,
    gate: Option<f64>,
    aim: f64,
    /// Whether more is better.
    more: bool,
    value: fn(&Row, &[Row]) -> Option<f64>,
}

const fn at_least(name: &'static str, gate: f64, aim: f64, value: fn(&Row, &[Row]) -> Option<f64>) -> Rule {
    Rule { name, gate: Some(gate), aim, more: true, value }
}

const fn at_most(name: &'static str, gate: f64, aim: f64, value: fn(&Row, &[Row]) -> Option<f64>) -> Rule {
    Rule { name, gate: Some(gate), aim, more: false, value }
}

fn embedded(row: &Row, contestant: &str, ratio: Option<f64>) -> Option<f64> {
    let here = row.scenario == "one-hop" && row.contestant == contestant && row.payload <= 16 << 10;
    ratio.filter(|_| here)
}

/// Calls a second of the node with 64 in flight, held against those of another hop.
fn hop(row: &Row, rows: &[Row], other: &str) -> Option<f64> {
    if row.contestant != "homing-node" || row.in_flight != 64 {
        return None;
    }
    let other = beside(row, rows, other)?;
    Some(ratio(&row.measured, &other.measured, |round| round.calls_per_s)?.median)
}

/// The p50 that the node adds to that of no hop at all, held against what Envoy adds.
fn added(row: &Row, rows: &[Row]) -> Option<f64> {
    if row.contestant != "homing-node" || row.in_flight != 1 {
        return None;
    }
    let (bare, envoy) = (beside(row, rows, "tonic")?, beside(row, rows, "envoy")?);
    let each = row.measured.iter().zip(&envoy.measured).zip(&bare.measured);
    // Where a hop adds nothing, there is nothing to be held against.
    let added = each.map(|((ours, envoy), bare)| (ours.p50_us - bare.p50_us, envoy.p50_us - bare.p50_us));
    Some(Spread::of(added.filter(|(_, envoy)| *envoy > 0.0).map(|(ours, envoy)| ours / envoy))?.median)
}

/// Section 11 of the design.
const BUDGETS: &[Rule] = &[
    at_most("embedded over gRPC: p50 ÷ bare tonic", 1.15, 1.05, |row, _| {
        embedded(row, "homing-grpc", row.ratio_p50)
    }),
    at_least("embedded over gRPC: calls/s ÷ bare tonic", 0.85, 0.95, |row, _| {
        embedded(row, "homing-grpc", row.ratio_rate)
    }),
    at_most("embedded over QUIC: p50 ÷ bare quinn", 1.15, 1.05, |row, _| {
        embedded(row, "homing-quic", row.ratio_p50)
    }),
    at_least("embedded over QUIC: calls/s ÷ bare quinn", 0.85, 0.95, |row, _| {
        embedded(row, "homing-quic", row.ratio_rate)
    }),
    at_least("routed over QUIC ÷ bare tonic with TLS: calls/s at 64, 128 B", 1.5, 2.0, |row, rows| {
        let here = (row.scenario, row.contestant) == ("one-hop", "homing-quic");
        if !here || (row.payload, row.in_flight) != (128, 64) {
            return None;
        }
        let tonic = beside(row, rows, "tonic")?;
        Some(ratio(&row.measured, &tonic.measured, |round| round.calls_per_s)?.median)
    }),
    at_least("the node as a hop ÷ Envoy: calls/s at 64", 1.2, 1.2, |row, rows| hop(row, rows, "envoy")),
    at_most("the node as a hop: p50 that it adds ÷ what Envoy adds", 1.0, 1.0, added),
    Rule {
        name: "the node as a hop ÷ HAProxy: calls/s at 64",
        gate: None,
        aim: 1.0,
        more: true,
        value: |row, rows| hop(row, rows, "haproxy"),
    },
];

/// Another contestant in the same cell.
fn beside<'a>(row: &Row, rows: &'a [Row], contestant: &str) -> Option<&'a Row> {
    rows.iter().find(|other| {
        other.contestant == contestant
            && (other.scenario, other.payload, other.in_flight) == (row.scenario, row.payload, row.in_flight)
    })
}

/// The budgets, as far as these rows tell.
pub(crate) fn budgets(rows: &[Row]) -> Vec<Budget> {
    let judge = |rule: &Rule| {
        let values = rows.iter().filter_map(|row| Some(((rule.value)(row, rows)?, row)));
        let worst = values.min_by(|(a, _), (b, _)| {
            let order = a.total_cmp(b);
            if rule.more { order } else { order.reverse() }
        });
        let within = |bound: f64, value: f64| if rule.more { value >= bound } else { value <= bound };
        let value = worst.map(|(value, _)| value);
        Budget {
            name: rule.name.to_owned(),
            value,
            gate: rule.gate,
            aim: rule.aim,
            met: value.map(|value| rule.gate.is_none_or(|gate| within(gate, value))),
            aimed: value.map(|value| within(rule.aim, value)),
            at: worst.map(|(_, row)| row.place()).unwrap_or_default(),
        }
    };
    BUDGETS.iter().map(judge).collect()
}

/// What is read of an earlier report.
#[derive(Debug, Deserialize)]
pub(crate) struct Earlier {
    pub(crate) commit: String,
    connections: usize,
    #[serde(default = "floating")]
    floating: bool,
    rows: Vec<EarlierRow>,
}

/// Reports that say nothing of it.
const fn floating() -> bool {
    true
}

#[derive(Debug, Deserialize)]
struct EarlierRow {
    scenario: String,
    contestant: String,
    payload: usize,
    in_flight: usize,
    rounds: usize,
    spread: EarlierSpreads,
}

#[derive(Debug, Deserialize)]
struct EarlierSpreads {
    ratio_p50: Option<Spread>,
    ratio_rate: Option<Spread>,
    cpu_us_per_call: Option<Spread>,
}

/// So many rounds of both runs lie apart by chance less than once in a hundred figures.
const ENOUGH: usize = 5;

impl Earlier {
    /// Why nothing can be held against it.
    pub(crate) fn unlike(&self, connections: usize, floating: bool) -> Option<String> {
        if self.connections != connections {
            let has = self.connections;
            return Some(format!("its contestants have {has} connections: say --connections {has}"));
        }
        let (with, say) = if self.floating { ("with", "say it") } else { ("without", "leave it out") };
        (self.floating != floating).then(|| format!("it was {with} --floating: {say}"))
    }

    /// What changed beyond the noise: where not even the nearest rounds of both runs meet. Ratios, since machines differ, and processor time. Beside it, how many rows
    /// could be compared.
    pub(crate) fn changes(&self, rows: &[Row]) -> (Vec<String>, usize) {
        let (mut changes, mut compared) = (Vec::new(), 0);
        for row in rows {
            let same = |other: &&EarlierRow| {
                (other.scenario.as_str(), other.contestant.as_str()) == (row.scenario, row.contestant)
                    && (other.payload, other.in_flight) == (row.payload, row.in_flight)
                    && other.rounds.min(row.rounds) >= ENOUGH
            };
            let Some(before) = self.rows.iter().find(same) else { continue };
            compared += 1;
            let pairs = [
                ("p50 ÷ baseline", before.spread.ratio_p50, row.spread.ratio_p50),
                ("calls/s ÷ baseline", before.spread.ratio_rate, row.spread.ratio_rate),
                ("CPU µs a call", before.spread.cpu_us_per_call, row.spread.cpu_us_per_call),
            ];
            for (what, before, now) in pairs {
                let (Some(before), Some(now)) = (before, now) else { continue };
                if now.min > before.max || now.max < before.min {
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
        (changes, compared)
    }
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
            Row::of(CELL, Contestant::Tonic, tonic.clone(), Some(&tonic)),
            Row::of(CELL, Contestant::Quinn, quinn.clone(), Some(&quinn)),
            Row::of(CELL, Contestant::RouterQuic, rounds(ours), Some(&quinn)),
        ]
    }

    fn budget(rows: &[Row], name: &str) -> Budget {
        budgets(rows).into_iter().find(|budget| budget.name.starts_with(name)).unwrap()
    }

    #[test]
    fn ratios_are_of_neighbours_so_that_a_machine_that_slows_down_changes_none() {
        let rows = rows(&[90.0, 45.0, 9.0], &[100.0, 50.0, 10.0], &[40.0, 20.0, 4.0]);
        assert_eq!((rows[2].ratio_rate, rows[2].calls_per_s), (Some(0.9), Some(45.0)));
        assert!((rows[2].ratio_p50.unwrap() - 1.0 / 0.9).abs() < 1e-9);
        assert_eq!(budget(&rows, "routed over QUIC").value, Some(2.25));
    }

    #[test]
    fn gates_and_aims_are_told_apart_and_what_was_not_measured_is_neither() {
        let met = rows(&[90.0], &[100.0], &[50.0]);
        let rate = budget(&met, "embedded over QUIC: calls/s");
        assert_eq!((rate.met, rate.aimed), (Some(true), Some(false)));
        assert_eq!(rate.at, "one-hop, 128 B, 64 in flight");
        assert_eq!(budget(&met, "routed over QUIC").met, Some(true));
        let missed = rows(&[80.0], &[100.0], &[70.0]);
        for name in ["embedded over QUIC: calls/s", "embedded over QUIC: p50", "routed over QUIC"] {
            assert_eq!(budget(&missed, name).met, Some(false), "{name}");
        }
        let none = budget(&missed, "the node as a hop ÷ Envoy");
        assert_eq!((none.value, none.met, none.aimed), (None, None, None));
        // Without what it is held against, a contestant has no ratio.
        let alone = [Row::of(CELL, Contestant::RouterQuic, rounds(&[9.0]), None)];
        assert_eq!(alone[0].ratio_rate, None);
        assert!(budgets(&alone).iter().all(|budget| budget.met.is_none()));
    }

    #[test]
    fn what_a_hop_adds_is_held_against_what_another_adds_unless_that_is_nothing() {
        let hops = |ours: f64, envoy: f64| {
            let cell = Cell { in_flight: 1, ..CELL };
            let of = |contestant, p50_us| {
                Row::of(cell, contestant, vec![Round { p50_us, ..Round::default() }], None)
            };
            let rows =
                [of(Contestant::Hop, ours), of(Contestant::Envoy, envoy), of(Contestant::Tonic, 100.0)];
            budget(&rows, "the node as a hop: p50").value
        };
        assert_eq!(hops(150.0, 200.0), Some(0.5));
        assert_eq!(hops(150.0, 90.0), None);
    }

    #[test]
    fn a_change_counts_only_if_not_even_the_nearest_rounds_meet() {
        let with = |ours: [f64; 5]| rows(&ours, &[100.0; 5], &[50.0; 5]);
        let report = serde_json::json!({
            "commit": "before", "connections": 2, "rows": with([90.0, 91.0, 92.0, 91.0, 91.0])
        });
        let earlier: Earlier = serde_json::from_value(report).unwrap();
        assert_eq!(earlier.unlike(2, true), None);
        assert!(earlier.unlike(3, true).is_some() && earlier.unlike(2, false).is_some());
        assert_eq!(earlier.changes(&with([92.0, 93.0, 94.0, 93.0, 93.0])), (Vec::new(), 3));
        let (found, _) = earlier.changes(&with([70.0, 71.0, 89.0, 71.0, 71.0]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("0.910 → 0.710"), "{found:?}");
        let few = rows(&[70.0; 3], &[100.0; 3], &[50.0; 3]);
        assert_eq!(earlier.changes(&few), (Vec::new(), 0), "so few rounds tell nothing");
    }
}
