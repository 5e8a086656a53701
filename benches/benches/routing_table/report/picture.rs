//! The picture: bars of nanoseconds, written by hand. It names no font and runs no script; its text follows the reader's colours.

use std::fmt::Write;

use homing_benches::Machine;

use crate::cases::{pins, unpinned};
use crate::contestants::called;
use crate::rows::{Row, Rows};

const WIDTH: f64 = 860.0;
/// Where bars begin; what they are called stands before.
const LEFT: f64 = 230.0;
/// Room for the figure behind the longest bar.
const RIGHT: f64 = 80.0;
const BAR: f64 = 14.0;
const STEP: f64 = 19.0;
const HEAD: f64 = 30.0;
const TOP: f64 = 58.0;

/// Ours stands out, what no table can beat steps back, rivals are between.
const STYLE: &str = "
  text { font: 12px sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: bold }
  .case { font-weight: bold }
  .note { fill: #57606a }
  .ours { fill: #1a7f5a }
  .rival { fill: #8aa4c8 }
  .floor { fill: #b9b9b9 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .note { fill: #9198a1 }
    .ours { fill: #3fb68b }
    .rival { fill: #5f7da8 }
    .floor { fill: #6e7681 }
  }
";

/// Lookups of the primary by one thread, by size and contestant.
pub(super) fn draw(rows: &Rows, machine: &Machine) -> String {
    let panels = panels(rows);
    let longest = panels.iter().flat_map(|(_, rows)| rows).map(|row| row.ns).fold(1.0, f64::max);
    let bars: usize = panels.iter().map(|(_, rows)| rows.len()).sum();
    let height = TOP + panels.len() as f64 * HEAD + bars as f64 * STEP + 10.0;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Nanoseconds of a lookup, by size and contestant\">\n<style>{STYLE}</style>"
    );
    text(&mut svg, 10.0, 22.0, "title", "A lookup of the primary, in nanoseconds: shorter is better");
    let note = format!("One reader. {}, {} cores; commit {}", machine.cpu, machine.cores, machine.commit);
    text(&mut svg, 10.0, 42.0, "note", &note);
    let mut y = TOP;
    for (title, rows) in &panels {
        text(&mut svg, 10.0, y + 18.0, "case", title);
        y += HEAD;
        for row in rows {
            bar(&mut svg, y, row, longest);
            y += STEP;
        }
    }
    svg + "</svg>\n"
}

fn panels(rows: &Rows) -> Vec<(String, Vec<&Row>)> {
    let spaces = |size: &str| match size {
        "1k" => "1,000",
        "100k" => "100,000",
        "1m" => "1,000,000",
        _ => "10,000,000",
    };
    let sizes = ["1k", "100k", "1m", "10m"];
    let unpinned = sizes.map(|size| (format!("{} spaces", spaces(size)), unpinned::case(size)));
    let pinned = ("1,000,000 spaces, each pinned".into(), pins::case("1m"));
    let beside = ("1,000,000 spaces without pin beside as many with".into(), pins::BESIDE_CASE.into());
    let panel = |(title, case): (String, String)| {
        (title, rows.iter().filter(|row| row.case == case).collect::<Vec<_>>())
    };
    unpinned.into_iter().chain([pinned, beside]).map(panel).filter(|(_, rows)| !rows.is_empty()).collect()
}

fn bar(svg: &mut String, y: f64, row: &Row, longest: f64) {
    let class = match row.contestant.as_str() {
        called::OURS => "ours",
        called::XXH3 | called::SPACE_KEY => "floor",
        _ => "rival",
    };
    let length = (row.ns / longest * (WIDTH - LEFT - RIGHT)).max(1.0);
    let base = y + BAR - 3.0;
    text(svg, 24.0, base, "", &row.contestant);
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\"/>"
    );
    text(svg, LEFT + length + 6.0, base, "", &format!("{:.1}", row.ns));
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}
