//! The report for people: lines while it runs, Markdown, and a page with pictures that needs no network.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Result;
use homing_benches::Chart;

use crate::cases::loss;
use crate::report::{CaseReport, Check, Report};

/// Writes `report.json`, `report.md` and `report.html`.
pub(crate) fn write(report: &Report, out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    fs::write(out.join("report.json"), serde_json::to_string_pretty(report)?)?;
    fs::write(out.join("report.md"), markdown(report))?;
    let charts: Vec<_> =
        report.cases.iter().filter(|case| case.case.starts_with("loss-")).map(chart).collect();
    fs::write(out.join("report.html"), homing_benches::page("Homing: chaos", &markdown(report), &charts))?;
    Ok(())
}

/// Latencies under this loss, beside the bare wire's.
fn chart(case: &CaseReport) -> Chart {
    let drawn = case.classes.iter().filter(|(name, _)| loss::DRAWN.contains(&name.as_str()));
    let lines = drawn.map(|(name, figures)| (name.clone(), figures.curve.clone()));
    Chart { title: format!("{} on {}", case.case, case.wire), lines: lines.collect() }
}

/// A case that has just ended.
pub(crate) fn told(case: &CaseReport, quick: bool) -> String {
    let mut lines = String::new();
    for (name, figures) in &case.classes {
        let _ = writeln!(
            lines,
            "    {name}: {:.2} % of {} answered, p50 {:.2} ms, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.0}; {:.3} attempts {}",
            figures.success(),
            figures.calls,
            figures.p50_ms,
            figures.p90_ms,
            figures.p99_ms,
            figures.p999_ms,
            figures.max_ms,
            figures.attempts,
            figures.others.iter().map(|(how, times)| format!("{how} {times} ")).collect::<String>(),
        );
    }
    let _ = writeln!(
        lines,
        "    goodput {:.1}/s; retries {:.0}, hedges {:.0} (won {:.0}), relays {:.0}, corrections {:.0}, breakers opened {:.0}, connections replaced {:.0}",
        case.goodput,
        case.retries,
        case.hedges,
        case.hedges_won,
        case.relays,
        case.corrections,
        case.breakers_opened,
        case.connections_replaced
    );
    for note in &case.notes {
        let _ = writeln!(lines, "    {note}");
    }
    for check in case.missed() {
        let _ = writeln!(lines, "    {} {}", missed(check, quick), judged(check));
    }
    for example in case.copies.iter().flat_map(|found| &found.examples) {
        let _ = writeln!(lines, "    {example}");
    }
    lines.trim_end().to_owned()
}

fn judged(check: &Check) -> String {
    let Check { what, value, must, .. } = check;
    format!("{what}: {value:.3}, must be {must}")
}

/// What is missed and no failure was a matter of how fast this machine is just now.
const fn missed(check: &Check, quick: bool) -> &'static str {
    if check.fails(quick) { "MISSED" } else { "slow:" }
}

/// The end.
pub(crate) fn summary(report: &Report) -> String {
    let mut lines = String::new();
    for (wire, law) in &report.backoff {
        let how = if report.keeps(wire, law) {
            "keep the law"
        } else {
            "MISSED: break the law, or were not logged"
        };
        let _ = writeln!(
            lines,
            "backoff on {wire}: {} gaps {how}: {} too long, {} cut short, {:.3} from even (at most {:.3}); {} near a deadline",
            law.gaps, law.over, law.short, law.distance, law.bound, law.near
        );
    }
    let checks: usize = report.cases.iter().map(|case| case.checks.len()).sum();
    let missed: Vec<_> = report
        .cases
        .iter()
        .flat_map(|case| {
            case.missed().map(move |check| {
                let how = missed(check, report.quick);
                format!("{how} {} on {}: {}", case.case, case.wire, judged(check))
            })
        })
        .collect();
    let _ = writeln!(
        lines,
        "{} cases in {:.0} s: {} of {checks} figures as they must be",
        report.cases.len(),
        report.seconds,
        checks - missed.len()
    );
    for line in missed {
        let _ = writeln!(lines, "{line}");
    }
    lines.trim_end().to_owned()
}

fn markdown(report: &Report) -> String {
    let mut text = format!(
        "# Chaos\n\nCommit {}, {}{}{:.0} s, {}.\n\n",
        report.commit,
        if report.cases.len() < report.planned {
            format!("{} cases of {}, ", report.cases.len(), report.planned)
        } else {
            String::new()
        },
        if report.quick { "the quick form, " } else { "" },
        report.seconds,
        report.machine
    );
    for (wire, law) in &report.backoff {
        let _ = writeln!(
            text,
            "Backoff on {wire}: {} gaps, {} longer than the law allows, {} cut short, {:.3} from an even distribution (at most {:.3} in 999 of 1,000 runs): {}.\n",
            law.gaps,
            law.over,
            law.short,
            law.distance,
            law.bound,
            if report.keeps(wire, law) { "met" } else { "**missed**" }
        );
    }
    text += "| case | wire | calls | success % | p50 ms | p90 | p99 | p99.9 | max | attempts a call |\n|---|---|---|---|---|---|---|---|---|---|\n";
    for case in &report.cases {
        for (name, f) in &case.classes {
            let _ = writeln!(
                text,
                "| {}: {name} | {} | {} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} | {:.0} | {:.3} |",
                case.case,
                case.wire,
                f.calls,
                f.success(),
                f.p50_ms,
                f.p90_ms,
                f.p99_ms,
                f.p999_ms,
                f.max_ms,
                f.attempts
            );
        }
    }
    text += "\n| case | wire | goodput /s | retries | hedges (won) | relays | corrections | breakers opened | faults | acknowledged writes | lost | twice |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for case in &report.cases {
        let found = case.copies.clone().unwrap_or_default();
        let fired: Vec<_> = case.fired.iter().map(|(what, times)| format!("{what}: {times:.0}")).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.0} | {:.0} ({:.0}) | {:.0} | {:.0} | {:.0} | {} | {} | {} | {} |",
            case.case,
            case.wire,
            case.goodput,
            case.retries,
            case.hedges,
            case.hedges_won,
            case.relays,
            case.corrections,
            case.breakers_opened,
            fired.join("; "),
            found.acknowledged,
            found.lost,
            found.twice
        );
    }
    text += "\n| what must hold | case | wire | figure | gate | |\n|---|---|---|---|---|---|\n";
    for case in &report.cases {
        for check in &case.checks {
            let gate = check.must;
            let met = match (check.met, check.fails(report.quick)) {
                (true, _) => "met",
                (_, true) => "**missed**",
                (_, false) => "slow",
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.3} | {gate} | {met} |",
                check.what, case.case, case.wire, check.value
            );
        }
    }
    text
}
