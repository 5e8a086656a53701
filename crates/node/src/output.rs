//! What the binary says: answers on standard output, everything else on standard error.

use std::io::{self, Write};
use std::sync::OnceLock;

use serde::Serialize;

/// Why an answer did not get out, the first time it did not.
static LOST: OnceLock<String> = OnceLock::new();

/// Prints one line of an answer.
pub(crate) fn say(line: &str) {
    keep_problem(writeln!(io::stdout(), "{line}"));
}

/// Why not all that was said got out; `None` if it did. A reader that went away (`| head`) has what it wanted.
pub(crate) fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}

fn keep_problem(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error.to_string());
    }
}

/// Prints an answer as one JSON document.
pub(crate) fn say_json(document: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(document)?);
    Ok(())
}

/// Prints bytes as they are, such as a value.
pub(crate) fn say_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout();
    keep_problem(stdout.write_all(bytes).and_then(|()| stdout.flush()));
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
