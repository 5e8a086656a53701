//! `homing-chaos`: real nodes on a real network, and what becomes of their calls when packets are lost, links are cut and
//! nodes are killed.
//!
//! **Never knows** internals: it runs the binary `homing`, calls it as clients do and reads what operators read.
//!
//! - `needs`, `sandbox`, `network`, `quota`: the machine; namespaces that go with the process, hosts with faults.
//! - `cluster`, `kv`, `load`: five nodes, a call, an open-loop load.
//! - `stage`, `cases`: what they are put through.
//! - `copies`, `law`, `figures`: what must hold afterwards.
//! - `report`, `page`: what is told.

mod cases;
mod cluster;
mod copies;
mod figures;
mod kv;
mod law;
mod load;
mod needs;
mod network;
mod page;
mod quota;
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "it is shared with the tests of the node, which use all of it"
)]
#[path = "../../node/tests/it/support/relay.rs"]
mod relay;
mod report;
mod sandbox;
mod stage;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use tokio::time::{Instant, timeout};

use crate::cases::{CASES, Case};
use crate::cluster::Hosts;
use crate::law::Gaps;
use crate::report::{CaseReport, Report};
use crate::stage::Arena;

/// Put real clusters through real faults: packets lost, links cut, nodes killed, on both wires.
///
/// Each node runs in a network namespace of its own, and calls come from another; all of that is gone when the command ends,
/// however it ends. The report stands in target/chaos: report.json, report.md and report.html. Exits with 0 if all that must
/// hold held, with 1 if something did not, with 2 if the command line is wrong.
#[derive(Parser)]
#[command(name = "cargo xtask chaos", bin_name = "cargo xtask chaos", version)]
struct Cli {
    /// The shorter form, of fewer cases: less than five minutes
    #[arg(long)]
    quick: bool,
    /// The wires between nodes
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Wire::Grpc, Wire::Quic])]
    wire: Vec<Wire>,
    /// Only these cases, separated by commas; `--list` names them
    #[arg(long, value_delimiter = ',', value_parser = case)]
    case: Vec<&'static Case>,
    /// Name the cases and end
    #[arg(long)]
    list: bool,
    /// Fail, instead of skipping, where this machine lacks something
    #[arg(long)]
    require: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wire {
    Grpc,
    Quic,
}

impl Wire {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Quic => "quic",
        }
    }
}

fn case(name: &str) -> Result<&'static Case, String> {
    let found = CASES.iter().find(|case| case.name == name);
    let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
    found.ok_or_else(|| format!("no case is called that: use one of {}", names.join(", ")))
}

/// Tells a line. Whoever has closed the other end has heard enough.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stdout(), $($line)*))
    }};
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    if cli.list {
        for case in CASES {
            say!("{:<14} {}{}", case.name, case.what, if case.quick { " (quick)" } else { "" });
        }
        return Ok(ExitCode::SUCCESS);
    }
    let missing = needs::missing();
    if !missing.is_empty() {
        for what in &missing {
            say!("SKIPPED: chaos (missing: {what})");
        }
        return Ok(if cli.require { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let binary = beside("homing")?;
    let out = out(&binary)?;
    match sandbox::folder() {
        None => runtime.block_on(sandbox::run(&out)),
        Some(folder) => inside(&cli, &runtime, binary, &out, folder),
    }
}

/// A binary that cargo has put beside this one.
fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} is missing: cargo build --release --package homing-node", path.display());
    Ok(path)
}

/// Where the report goes: `chaos` in cargo's target directory.
fn out(binary: &Path) -> Result<PathBuf> {
    let target = binary.ancestors().nth(2).context("the binary stands in cargo's target directory")?;
    Ok(target.join("chaos"))
}

fn inside(
    cli: &Cli,
    runtime: &tokio::runtime::Runtime,
    binary: PathBuf,
    out: &Path,
    folder: PathBuf,
) -> Result<ExitCode> {
    let hosts = Hosts::make()?;
    let run = sandbox::outer_id(&folder).context("the folder bears no process id")?;
    let (load, bare) = (hosts.load.runtime()?, [hosts.bare[0].runtime()?, hosts.bare[1].runtime()?]);
    let arena = Arena { hosts, load, bare, binary, folder, quick: cli.quick, run };
    let no_quota = needs::no_quota(run);
    let may = |case: &&Case| !case.needs_quota() || no_quota.is_none();
    let (cases, skipped): (Vec<_>, Vec<_>) = chosen(cli).into_iter().partition(may);
    let report = runtime.block_on(run_cases(cli, &arena, &cases, out))?;
    say!("{}", page::summary(&report));
    if !report.cases.is_empty() {
        say!("{}", out.join("report.html").display());
    }
    let good = report.is_good();
    if report.cases.iter().any(|case| case.missed().next().is_some()) {
        say!("logs of the nodes, until the next run: {}", arena.folder.display());
    }
    if let Some(what) = no_quota.filter(|_| !skipped.is_empty()) {
        let names: Vec<_> = skipped.iter().map(|case| case.name).collect();
        say!("SKIPPED: chaos {} (missing: {what})", names.join(", "));
    }
    let good = good && (skipped.is_empty() || !cli.require);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(cli: &Cli) -> Vec<&'static Case> {
    let chosen = |case: &&Case| {
        if cli.case.is_empty() {
            !cli.quick || case.quick
        } else {
            cli.case.iter().any(|c| c.name == case.name)
        }
    };
    CASES.iter().filter(chosen).collect()
}

async fn run_cases(cli: &Cli, arena: &Arena, cases: &[&Case], out: &Path) -> Result<Report> {
    let began = Instant::now();
    let machine = homing_benches::Machine::here();
    let mut report = Report {
        machine: machine.json(),
        commit: machine.commit,
        quick: cli.quick,
        seconds: 0.0,
        planned: cases.len() * cli.wire.len(),
        cases: Vec::new(),
        backoff: Vec::new(),
    };
    for wire in &cli.wire {
        let mut gaps = Gaps::default();
        report.backoff.push((wire.as_str(), gaps.law()));
        for case in cases {
            let number = report.cases.len() + 1;
            say!(
                "[{:>5.0?}] {number}/{} {} on {}: {}",
                began.elapsed(),
                report.planned,
                case.name,
                wire.as_str(),
                case.what
            );
            // One that breaks off is a failure; the others are run all the same.
            let ended = with_progress(case.run(arena, wire.as_str())).await;
            let ended = ended.unwrap_or_else(|error| CaseReport::broken(case.name, wire.as_str(), &error));
            say!("{}", page::told(&ended, cli.quick));
            gaps.join(&ended.gaps);
            report.cases.push(ended);
            if let Some((_, law)) = report.backoff.last_mut() {
                *law = gaps.law();
            }
            report.seconds = began.elapsed().as_secs_f64();
            // Who ends the run has what it has found until then.
            page::write(&report, out)?;
        }
    }
    Ok(report)
}

/// Tells now and then that a case goes on.
async fn with_progress<T>(case: impl Future<Output = T>) -> T {
    const EACH: Duration = Duration::from_secs(20);
    let began = Instant::now();
    let mut case = pin!(case);
    loop {
        match timeout(EACH, &mut case).await {
            Ok(ended) => return ended,
            Err(_) => say!("    {:.0?} so far", began.elapsed()),
        }
    }
}
