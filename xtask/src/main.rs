//! The project's own commands: `cargo xtask test`, `tidy`, `sim`, `chaos` and `bench`.
//!
//! **Never knows** our crates: it reads manifests, `Cargo.lock`, sources and what cargo says of them, so
//! that it builds in seconds and works while they don't compile.

mod cargo;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check in order and stop at the first that fails.
    ///
    /// Format, clippy with warnings denied, tidy, all tests, each wire built alone, docs without warnings. Then the simulation and the
    /// model, the quick form of chaos, the table under loom, and each rule of failover broken once, which a test must notice. Last what needs
    /// more than cargo: space keys in Python, the table under sanitizers, short runs of the fuzz targets.
    /// What couldn't run is said in the last lines as `SKIPPED: what (why)`, with how to get what is missing.
    Test {
        /// Leave out the builds with one wire alone, the docs, the sanitizers and the fuzz targets.
        #[arg(long)]
        fast: bool,
    },
    /// Check the rules that no compiler knows.
    ///
    /// What each crate must never know, version floors, and that every crate has its docs. One line a
    /// finding: file, problem, remedy.
    Tidy,
    /// Simulate clusters under faults, one for each seed: `cargo xtask sim --help` says more.
    #[command(disable_help_flag = true)]
    Sim {
        /// Go to the simulation as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Put real clusters on a real network through faults: `cargo xtask chaos --help` says more.
    #[command(disable_help_flag = true)]
    Chaos {
        /// Go to the suite as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure calls through Homing beside the bare wires: `cargo xtask bench --help` says more.
    #[command(disable_help_flag = true)]
    Bench {
        /// Go to the benchmark as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let clean = match Args::parse().command {
        Command::Test { fast } => test::run(fast)?,
        Command::Tidy => tidy::run()?,
        Command::Sim { arguments } => return program("homing-sim", &arguments),
        Command::Chaos { arguments } => return beside_node("homing-chaos", &arguments),
        Command::Bench { arguments } => return beside_node("homing-benches", &arguments),
    };
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a program that runs the node: that is built by itself, as a user builds it.
fn beside_node(package: &str, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let built = cargo::command(&["build", "--quiet", "--release", "--package", "homing-node"]).status()?;
    if built.success() { program(package, arguments) } else { Ok(ExitCode::FAILURE) }
}

/// Runs a program of its own, since this one knows none of our crates. It is built optimised: that is most of its speed.
fn program(package: &str, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = cargo::command(&["run", "--quiet", "--release", "--package", package, "--"]);
    let status = command.args(arguments).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
