//! The report for people: lines while it runs, Markdown, and a page with the distributions.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Result;
use homing_benches::Chart;

use crate::counts::Counts;
use crate::processors;
use crate::report::{Budget, Report, Row};

/// Writes `report.json`, `report.md` and `report.html`.
pub(crate) fn write(report: &Report, out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    fs::write(out.join("report.json"), serde_json::to_string_pretty(report)?)?;
    let markdown = markdown(report);
    fs::write(out.join("report.html"), homing_benches::page("Homing: bench", &markdown, &charts(report)))?;
    fs::write(out.join("report.md"), markdown)?;
    Ok(())
}

/// The contestants of each cell beside each other.
fn charts(report: &Report) -> Vec<Chart> {
    let cells = report.rows.chunk_by(|a, b| a.place() == b.place());
    let line = |row: &Row| {
        let curve = row.curve.iter().map(|(of_1000, us)| (*of_1000, us / 1e3));
        (row.contestant.to_owned(), curve.collect())
    };
    cells.map(|cell| Chart { title: cell[0].place(), lines: cell.iter().map(line).collect() }).collect()
}

/// A figure, if there is one.
fn or_none(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.digits$}"))
}

/// One row, as it is told while the run goes on.
pub(crate) fn told(row: &Row) -> String {
    let mut line = format!(
        "    {:<18} p50 {:>8} µs, p99 {:>9}, {:>8} calls/s, {:>6} CPU µs a call, {:>5.0} MB",
        row.contestant,
        or_none(row.p50_us, 1),
        or_none(row.p99_us, 1),
        or_none(row.calls_per_s, 0),
        or_none(row.cpu_us_per_call, 1),
        row.memory_mb
    );
    if row.contestant != row.baseline && row.ratio_p50.is_some() {
        let (p50, rate) = (or_none(row.ratio_p50, 2), or_none(row.ratio_rate, 2));
        let _ = write!(line, "; ÷ {}: p50 {p50}, calls/s {rate}", row.baseline);
    }
    if row.failed > 0 {
        let _ = write!(line, "; {} FAILED: {}", row.failed, row.error.as_deref().unwrap_or_default());
    }
    line
}

/// What of a call was counted.
pub(crate) fn counted(of: &Counts) -> String {
    let Counts { contestant, allocations, bytes, instructions } = of;
    let instructions = or_none(instructions.map(|number| number / 1e3), 1);
    format!(
        "    {contestant:<15} {allocations:>6.1} allocations, {bytes:>7.0} B; {instructions} thousand instructions"
    )
}

/// One budget.
pub(crate) fn judged(budget: &Budget) -> String {
    let Budget { name, value, aim, at, .. } = budget;
    let gate = budget.gate.map_or_else(String::new, |gate| format!("gate {gate}, "));
    match value {
        Some(value) => format!("{name}: {value:.2} ({gate}aim {aim}): {}; {at}", verdict(budget)),
        None => format!("{name}: not measured"),
    }
}

const fn verdict(budget: &Budget) -> &'static str {
    match (budget.met, budget.aimed) {
        (None, _) => "not measured",
        (Some(false), _) => "MISSED",
        (_, Some(true)) => "met, aim too",
        _ if budget.gate.is_none() => "aim missed",
        _ => "met",
    }
}

fn markdown(report: &Report) -> String {
    let mut text = format!(
        "# Bench\n\nCommit {}, {}{:.0} s, {}; {}; {} connections each, unless the scenario says how many; medians of rounds, ratios taken in each round.\n\n",
        report.commit,
        if report.quick { "the quick form, " } else { "" },
        report.seconds,
        report.machine,
        processors::told(),
        report.connections
    );
    for skipped in &report.skipped {
        let _ = writeln!(text, "Left out: {skipped}.\n");
    }
    text += "| what must hold | figure | gate | aim | | where it is the worst |\n|---|---|---|---|---|---|\n";
    for budget in &report.budgets {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            budget.name,
            or_none(budget.value, 2),
            budget.gate.map_or_else(|| "–".to_owned(), |gate| gate.to_string()),
            budget.aim,
            verdict(budget),
            budget.at
        );
    }
    text +=
        "\n| a call of 128 B, both sides together | allocations | B | instructions |\n|---|---|---|---|\n";
    for Counts { contestant, allocations, bytes, instructions } in &report.counts {
        let instructions = or_none(*instructions, 0);
        let _ = writeln!(text, "| {contestant} | {allocations:.1} | {bytes:.0} | {instructions} |");
    }
    text += "\n| scenario | B | in flight | contestant | TLS | offered/s | p50 µs | p90 | p99 | p99.9 | calls/s | (min to max) | CPU µs a call | MB | ÷ | p50 | calls/s | CPU |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for row in &report.rows {
        let Row { scenario, payload, in_flight, contestant, tls, baseline, .. } = row;
        let rate = row.spread.calls_per_s;
        let _ = writeln!(
            text,
            "| {scenario} | {payload} | {in_flight} | {contestant} | {tls} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} | {baseline} | {} | {} | {} |",
            or_none(row.offered_per_s, 0),
            or_none(row.p50_us, 1),
            or_none(row.p90_us, 1),
            or_none(row.p99_us, 1),
            or_none(row.p999_us, 1),
            or_none(row.calls_per_s, 0),
            rate.map_or_else(|| "–".to_owned(), |rate| format!("{:.0} to {:.0}", rate.min, rate.max)),
            or_none(row.cpu_us_per_call, 1),
            row.memory_mb,
            or_none(row.ratio_p50, 3),
            or_none(row.ratio_rate, 3),
            or_none(row.ratio_cpu, 3)
        );
    }
    text
}
