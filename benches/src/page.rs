//! A report as a page: latencies as lines, then the tables. It loads nothing, and runs no script.

use std::fmt::Write;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 34.0;
const RIGHT: f64 = 12.0;
const BOTTOM: f64 = 44.0;

const STYLE: &str = "
  body { font: 14px sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #24292f; background: #fff }
  svg { max-width: 100% } text { font: 12px sans-serif; fill: currentColor }
  .title { font-weight: bold } .grid { stroke: #8884 } .line { fill: none; stroke-width: 2 }
  .c0 { stroke: #1a7f5a } .c1 { stroke: #8250df } .c2 { stroke: #8aa4c8; stroke-dasharray: 5 3 } .c3 { stroke: #bf5b17 }
  .c4 { stroke: #0969da } .c5 { stroke: #cf222e; stroke-dasharray: 2 2 } .c6 { stroke: #9a6700; stroke-dasharray: 5 3 }
  table { border-collapse: collapse; margin: 1em 0 } td, th { border-bottom: 1px solid #8884; padding: 2px 8px; text-align: left }
  @media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 } }
";

/// Distributions of latencies beside each other.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What was asked of all of them.
    pub title: String,
    /// Of each, its name, and the points of its distribution: so many calls of a thousand took at most so many milliseconds.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// A page with this title, the charts, and the report in Markdown: a heading, text and tables.
#[must_use]
pub fn page(title: &str, markdown: &str, charts: &[Chart]) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style><body>\n"
    );
    let mut lines = markdown.lines();
    // The heading and what was measured come before the pictures, the tables after them.
    for line in lines.by_ref().take(4) {
        page += &html(line);
    }
    page.extend(charts.iter().map(picture));
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

/// The milliseconds at the two ends of an axis, as powers of ten.
#[derive(Clone, Copy)]
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    /// One on which all of these are.
    fn of(chart: &Chart) -> Self {
        let all = chart.lines.iter().flat_map(|(_, points)| points.iter().map(|(_, ms)| *ms));
        let all = all.filter(|ms| ms.is_finite() && *ms > 0.0);
        let (least, most) = all.fold((f64::MAX, 0.0_f64), |(least, most), ms| (least.min(ms), most.max(ms)));
        if least > most {
            return Self { low: -1, high: 4 };
        }
        let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        Self { low, high: high.max(low + 1) }
    }

    fn up(self, ms: f64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let share = (ms.max(1e-9).log10().clamp(low, high) - low) / (high - low);
        HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share
    }
}

/// How many calls took at most how long.
fn picture(chart: &Chart) -> String {
    let (title, axis) = (&chart.title, Axis::of(chart));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" aria-label=\"latencies: {title}\">\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"16\">{title}</text>\n"
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
    for power in axis.low..=axis.high {
        let ms = 10_f64.powi(power);
        let y = axis.up(ms);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            WIDTH - RIGHT
        );
        let label = if power < 0 { format!("{:.0} µs", ms * 1e3) } else { format!("{ms:.0} ms") };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let apart = (WIDTH - LEFT) / chart.lines.len().max(3) as f64;
    for (i, (name, points)) in chart.lines.iter().enumerate() {
        let point = |(of_1000, ms): &(f64, f64)| format!("{:.1},{:.1} ", across(*of_1000), axis.up(*ms));
        let drawn: String = points.iter().filter(|(_, ms)| ms.is_finite()).map(point).collect();
        let color = i % 7;
        let _ = writeln!(svg, "<polyline class=\"line c{color}\" points=\"{drawn}\"/>");
        let (x, y) = (LEFT + apart * i as f64, HEIGHT - 8.0);
        let _ = writeln!(
            svg,
            "<line class=\"line c{color}\" x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{}\" y2=\"{}\"/>",
            x + 14.0,
            y - 4.0,
            y - 4.0
        );
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{y}\">{name}</text>", x + 17.0);
    }
    svg + "</svg>\n"
}

/// A share of calls, by how few are left above it: each step to the right leaves a tenth of them.
fn across(of_1000: f64) -> f64 {
    let left = (1.0 - of_1000 / 1_000.0).max(3e-4);
    LEFT + (WIDTH - LEFT - RIGHT) * -left.log10() / 3.55
}
