//! Tables that read well as text and as Markdown.

use super::budgets::Budget;
use crate::rows::Rows;

/// Every figure, and the first of its case divided by it: below 1, the first is faster.
pub(super) fn figures(rows: &Rows) -> String {
    let body = rows.iter().map(|row| {
        let reference = rows.reference(&row.case);
        let ratio = reference.map(|first| format!("{:.2}", first.ns / row.ns)).unwrap_or_default();
        [row.case.clone(), row.contestant.clone(), time(row.ns), ratio]
    });
    "The last column is the first contestant of a case divided by this one: below 1, the first is faster.\n\n"
        .to_owned()
        + &table(["case", "contestant", "median", "first ÷ this"], body)
}

/// The budgets, with what came of them.
pub(super) fn budgets(budgets: &[Budget]) -> String {
    let body = budgets.iter().map(|budget| {
        [
            budget.what.clone(),
            budget.shown(),
            format!("≤ {}", budget.gate),
            format!("≤ {}", budget.aim),
            budget.verdict().into(),
        ]
    });
    table(["budget", "measured", "gate", "aim", ""], body)
}

/// Nanoseconds in the unit that reads best.
pub(super) fn time(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.1} ns"),
        ..1e6 => format!("{:.1} µs", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}

/// Columns from the third on are figures and stand to the right.
fn table<const N: usize>(head: [&str; N], body: impl Iterator<Item = [String; N]>) -> String {
    let body: Vec<_> = body.collect();
    let width = |column: usize| {
        let cells = body.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap_or(3)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let mut line = String::from("|");
        for (column, cell) in cells.into_iter().enumerate() {
            let width = widths[column];
            if column < 2 {
                line += &format!(" {cell:<width$} |");
            } else {
                line += &format!(" {cell:>width$} |");
            }
        }
        line + "\n"
    };
    let rules: [String; N] = std::array::from_fn(|column| {
        let dashes = "-".repeat(widths[column] - 1);
        if column < 2 { format!(":{dashes}") } else { format!("{dashes}:") }
    });
    let mut text = line(head);
    text += &line(rules.each_ref().map(String::as_str));
    for row in &body {
        text += &line(row.each_ref().map(String::as_str));
    }
    text
}
