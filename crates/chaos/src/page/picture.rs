//! The page: latencies by loss rate and wire as lines, then the tables. It loads nothing, and runs no script.

use std::fmt::Write;

use crate::figures::Figures;
use crate::report::{CaseReport, Report};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 34.0;
const RIGHT: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// The milliseconds at the two ends of the axis, as powers of ten.
const LOW: f64 = -1.0;
const HIGH: f64 = 4.0;

const STYLE: &str = "
  body { font: 14px sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #24292f; background: #fff }
  svg { max-width: 100% } text { font: 12px sans-serif; fill: currentColor }
  .title { font-weight: bold } .grid { stroke: #8884; } .line { fill: none; stroke-width: 2 }
  .c0 { stroke: #1a7f5a } .c1 { stroke: #8250df } .c2 { stroke: #8aa4c8; stroke-dasharray: 5 3 }
  table { border-collapse: collapse; margin: 1em 0 } td, th { border-bottom: 1px solid #8884; padding: 2px 8px; text-align: left }
  @media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 } }
";

pub(super) fn page(report: &Report, markdown: &str) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Homing: chaos</title><style>{STYLE}</style><body>\n"
    );
    let pictures: String =
        report.cases.iter().filter(|case| case.case.starts_with("loss-")).map(picture).collect();
    let mut lines = markdown.lines();
    // The heading and what was measured come before the pictures, the tables after them.
    for line in lines.by_ref().take(4) {
        page += &html(line);
    }
    page += &pictures;
    let mut in_table = false;
    for line in lines {
        if line.starts_with('|') != in_table {
            in_table = !in_table;
            page += if in_table { "<table>" } else { "</table>" };
        }
        page += &html(line);
    }
    page += if in_table { "</table></body></html>\n" } else { "</body></html>\n" };
    page
}

/// A line of our own Markdown: a heading, a row or text.
fn html(line: &str) -> String {
    let escaped = line.replace('&', "&amp;").replace('<', "&lt;");
    let bold = escaped.replace("**missed**", "<b>missed</b>");
    if let Some(heading) = bold.strip_prefix("# ") {
        return format!("<h1>{heading}</h1>\n");
    }
    if !bold.starts_with('|') {
        return format!("<p>{bold}</p>\n");
    }
    if bold.starts_with("|---") {
        return String::new();
    }
    let cells: Vec<_> =
        bold.trim_matches('|').split('|').map(|cell| format!("<td>{}</td>", cell.trim())).collect();
    format!("<tr>{}</tr>\n", cells.concat())
}

/// How many of its calls took at most how long.
fn picture(case: &CaseReport) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" aria-label=\"latencies of {} on {}\">\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"16\">{} on {}</text>\n",
        case.case, case.wire, case.case, case.wire
    );
    for (of_1000, label) in [(0.0, "0"), (500.0, "50"), (900.0, "90"), (990.0, "99"), (999.0, "99.9")] {
        let x = across(of_1000);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            HEIGHT - BOTTOM
        );
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label} %</text>",
            HEIGHT - BOTTOM + 16.0
        );
    }
    for power in LOW as i32..=HIGH as i32 {
        let (ms, y) = (10_f64.powi(power), up(10_f64.powi(power)));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            WIDTH - RIGHT
        );
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ms} ms</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for (i, (name, figures)) in case.classes.iter().enumerate().take(3) {
        let _ = writeln!(svg, "<polyline class=\"line c{i}\" points=\"{}\"/>", points(figures));
        let (x, y) = (LEFT + 165.0 * i as f64, HEIGHT - 8.0);
        let _ = writeln!(
            svg,
            "<line class=\"line c{i}\" x1=\"{x}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>",
            x + 20.0,
            y - 4.0,
            y - 4.0
        );
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{y}\">{name}</text>", x + 25.0);
    }
    svg + "</svg>\n"
}

fn points(figures: &Figures) -> String {
    let point = |(of_1000, ms): &(f64, f64)| format!("{:.1},{:.1} ", across(*of_1000), up(*ms));
    figures.curve.iter().map(point).collect()
}

/// A share of calls, by how few are left above it: each step to the right leaves a tenth of them.
fn across(of_1000: f64) -> f64 {
    let left = (1.0 - of_1000 / 1_000.0).max(3e-4);
    LEFT + (WIDTH - LEFT - RIGHT) * -left.log10() / 3.55
}

fn up(ms: f64) -> f64 {
    let share = (ms.max(1e-9).log10().clamp(LOW, HIGH) - LOW) / (HIGH - LOW);
    HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share
}
