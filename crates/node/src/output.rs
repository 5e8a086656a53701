//! What the binary says: answers on standard output, everything else on standard error.

use std::io::{self, Write};

use serde::Serialize;

/// Prints one line of an answer. A reader that went away (`| head`) is no reason to panic.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints an answer as one JSON document.
pub(crate) fn say_json(document: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(document)?);
    Ok(())
}

/// Prints bytes as they are, such as a value.
pub(crate) fn say_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Says what went wrong, on one line.
pub(crate) fn complain(problem: &str) {
    let _ = writeln!(io::stderr(), "homing: {}", problem.replace('\n', " "));
}

/// Says how it goes.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A table for people: a header and rows, aligned, without lines.
pub(crate) fn say_table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for line in table.lines() {
        say(line.trim_end());
    }
}
