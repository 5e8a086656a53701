//! The report for people: lines while it runs, Markdown, and a page with the distributions.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Result;
use homing_benches::Chart;

use crate::allocations::Allocations;
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

/// One row, as it is told while the run goes on.
pub(crate) fn told(row: &Row) -> String {
    let failed = if row.failed > 0 { format!(", {} FAILED", row.failed) } else { String::new() };
    format!(
        "    {:<15} p50 {:>8.1} µs, p99 {:>9.1}, {:>8.0} calls/s, {:>6.1} CPU µs a call; ÷ {}: p50 {:.2}, calls/s {:.2}{failed}",
        row.contestant,
        row.p50_us,
        row.p99_us,
        row.calls_per_s,
        row.cpu_us_per_call,
        row.baseline,
        row.ratio_p50,
        row.ratio_rate
    )
}

/// What a call asks of the allocator.
pub(crate) fn asked(of: &Allocations) -> String {
    let large = of.large.iter().map(|(size, times)| format!("{times:.1} × {size}")).collect::<Vec<_>>();
    format!(
        "    {:<15} {:>6.1} allocations a call, {:>7.0} B; large ones: {}",
        of.contestant,
        of.calls,
        of.bytes,
        large.join(", ")
    )
}

/// One budget.
pub(crate) fn judged(budget: &Budget) -> String {
    let Budget { name, value, gate, aim, at, .. } = budget;
    match value {
        Some(value) => format!("{name}: {value:.2} (gate {gate}, aim {aim}): {}; {at}", verdict(budget)),
        None => format!("{name}: not measured"),
    }
}

const fn verdict(budget: &Budget) -> &'static str {
    match (budget.value.is_some(), budget.met, budget.aimed) {
        (false, ..) => "not measured",
        (true, false, _) => "**missed**",
        (true, true, false) => "met",
        (true, true, true) => "met, aim too",
    }
}

fn markdown(report: &Report) -> String {
    let mut text = format!(
        "# Bench\n\nCommit {}, {}{:.0} s, {}; {} connections each; medians of rounds, ratios taken in each round.\n\n",
        report.commit,
        if report.quick { "the quick form, " } else { "" },
        report.seconds,
        report.machine,
        report.connections
    );
    for skipped in &report.skipped {
        let _ = writeln!(text, "Left out: {skipped}.\n");
    }
    text += "| what must hold | figure | gate | aim | | where it is the worst |\n|---|---|---|---|---|---|\n";
    for budget in &report.budgets {
        let value = budget.value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
        let _ = writeln!(
            text,
            "| {} | {value} | {} | {} | {} | {} |",
            budget.name,
            budget.gate,
            budget.aim,
            verdict(budget),
            budget.at
        );
    }
    text += "\n| allocations of a call of 128 B, both sides together | | B |\n|---|---|---|\n";
    for Allocations { contestant, calls, bytes, .. } in &report.allocations {
        let _ = writeln!(text, "| {contestant} | {calls:.1} | {bytes:.0} |");
    }
    text += "\n| scenario | B | in flight | contestant | TLS | p50 µs | p90 | p99 | p99.9 | calls/s | (least to most) | CPU µs a call | ÷ | p50 | calls/s | CPU |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for row in &report.rows {
        let Row { scenario, payload, in_flight, contestant, tls, baseline, .. } = row;
        let rate = row.spread.calls_per_s;
        let _ = writeln!(
            text,
            "| {scenario} | {payload} | {in_flight} | {contestant} | {tls} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} to {:.0} | {:.1} | {baseline} | {:.3} | {:.3} | {:.3} |",
            row.p50_us,
            row.p90_us,
            row.p99_us,
            row.p999_us,
            row.calls_per_s,
            rate.least,
            rate.most,
            row.cpu_us_per_call,
            row.ratio_p50,
            row.ratio_rate,
            row.ratio_cpu
        );
    }
    text
}
