use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The cargo that runs us, so that a `+toolchain` holds for all that we start.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args);
    cargo
}

/// What a cargo command prints.
///
/// # Errors
/// The command and what it said on stderr, if it can't be started or fails.
pub(crate) fn output(args: &[&str]) -> Result<String> {
    let asked = || format!("cargo {}", args.join(" "));
    let output = command(args).output().with_context(asked)?;
    ensure!(output.status.success(), "{}: {}", asked(), String::from_utf8_lossy(&output.stderr).trim_end());
    String::from_utf8(output.stdout).with_context(asked)
}

/// Whether cargo has this subcommand, say `clippy` or `nextest`.
pub(crate) fn has(subcommand: &str) -> bool {
    let asked = command(&[subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}
