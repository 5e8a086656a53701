//! What stays of a run: a table, the budgets, a picture.

mod budgets;
mod memory;
mod picture;
mod tables;

use std::fs;

use homing_benches::{Machine, output_dir};
use serde_json::json;

use crate::bench::Bench;
use crate::rows::Rows;
use budgets::Budget;

/// Prints the report, and writes it to `target/bench`.
#[expect(clippy::print_stdout, reason = "a benchmark shows what it has measured")]
pub(crate) fn write(bench: &Bench, others: Option<f64>) {
    let dir = output_dir(env!("CARGO_TARGET_TMPDIR"));
    let machine = Machine::here();
    let memory = memory::read(&dir);
    let budgets = budgets::all(bench, memory.as_ref());
    let markdown = [
        format!(
            "{}, {} cores, {}, commit {}; {} run\n",
            machine.cpu,
            machine.cores,
            machine.kernel,
            machine.commit,
            bench.effort.name()
        ),
        company(others),
        tables::figures(&bench.rows),
        memory::describe(memory.as_ref()),
        tables::budgets(&budgets),
    ]
    .join("\n");
    println!("\n{markdown}");
    let json = json!({
        "machine": machine.json(),
        "commit": machine.commit,
        "other_cores_busy": others,
        "effort": bench.effort.name(),
        "rows": rows_json(&bench.rows),
        "budgets": budgets.iter().map(Budget::json).collect::<Vec<_>>(),
        "memory": memory,
    });
    let json = serde_json::to_string_pretty(&json).expect("a value is written as JSON");
    let picture = picture::draw(&bench.rows, &machine);
    for (extension, text) in [("json", json), ("md", markdown), ("svg", picture)] {
        let path = dir.join("routing_table").with_extension(extension);
        fs::write(&path, text).expect("the target directory can be written");
        println!("wrote {}", path.display());
    }
}

/// Who else was on the machine.
fn company(others: Option<f64>) -> String {
    let Some(cores) = others else { return "What else the machine did is not known.\n".into() };
    let warning =
        if cores > 0.1 { " **That is too much: run it again before you trust a figure.**" } else { "" };
    format!("Other processes kept {cores:.2} cores busy meanwhile.{warning}\n")
}

fn rows_json(rows: &Rows) -> serde_json::Value {
    let row = |row: &crate::rows::Row| {
        let reference = rows.reference(&row.case).map(|reference| reference.ns / row.ns);
        json!({ "case": row.case, "contestant": row.contestant, "ns": row.ns, "ratio": reference })
    };
    rows.iter().map(row).collect()
}
