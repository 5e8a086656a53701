//! `homing-bench`: what a call through Homing takes beside the bare wires, in one run and between real processes.
//!
//! - `scenarios`: what is measured, as data.
//! - `contestants`, `clients`, `serve`, `nodes`, `foreign`: who is measured, and what answers.
//! - `process`, `credentials`: what they stand on.
//! - `load`, `figures`, `allocations`: the calls, and what they took.
//! - `report`, `page`: what is told, and held against the budgets.

mod allocations;
mod clients;
mod contestants;
mod credentials;
mod figures;
mod foreign;
mod load;
mod nodes;
mod page;
mod process;
mod report;
mod scenarios;
mod serve;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::time::Instant;

use crate::allocations::Allocations;
use crate::contestants::{Contestant, Ground, Ready};
use crate::credentials::CALLER;
use crate::figures::Round;
use crate::report::{Cell, Earlier, Report, Row};
use crate::scenarios::{Kind, SCENARIOS, Scenario};

/// Measure calls through Homing beside the bare wires: tonic, quinn, and proxies where they are installed.
///
/// Servers, nodes and proxies are processes of their own; the load is this one, and an embedded router is in it. Contestants take turns, round
/// after round, so that a machine that slows down slows all of them; figures are medians of the rounds, and ratios are
/// taken in each round. The report stands in target/bench: report.json, report.md and report.html. Exits with 0 if all gates are met, with 1
/// if one is missed, with 2 if the command line is wrong.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", version)]
struct Cli {
    /// The shorter form: less than two minutes
    #[arg(long)]
    quick: bool,
    /// The wires between nodes
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Wire::Grpc, Wire::Quic])]
    wire: Vec<Wire>,
    /// Only these scenarios, separated by commas; `--list` names them
    #[arg(long, value_delimiter = ',', value_parser = scenario)]
    scenario: Vec<&'static Scenario>,
    /// Only these contestants, separated by commas, whatever they are held against
    #[arg(long, value_delimiter = ',', value_parser = contestant)]
    contestant: Vec<Contestant>,
    /// Connections of each contestant
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,
    /// An earlier report.json: say what changed beyond the noise
    #[arg(long, value_name = "REPORT")]
    compare: Option<PathBuf>,
    /// Name the scenarios and end
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// What is called: this binary starts itself with it
    #[command(hide = true)]
    Serve { kind: String, folder: PathBuf, number: usize },
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

fn scenario(name: &str) -> Result<&'static Scenario, String> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    found.ok_or_else(|| format!("no scenario is called that: use one of {}", names.join(", ")))
}

fn contestant(name: &str) -> Result<Contestant, String> {
    let all = || SCENARIOS.iter().flat_map(|scenario| scenario.contestants);
    let found = all().find(|contestant| contestant.name() == name).copied();
    let names: BTreeSet<_> = all().map(|contestant| contestant.name()).collect();
    let names: Vec<_> = names.into_iter().collect();
    found.ok_or_else(|| format!("nobody is called that: use one of {}", names.join(", ")))
}

/// Whose allocations are counted.
const ASKED: &[Contestant] =
    &[Contestant::Tonic, Contestant::RouterGrpc, Contestant::Quinn, Contestant::RouterQuic];

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

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
        for scenario in SCENARIOS {
            let quick = if scenario.quick.is_some() { " (quick)" } else { "" };
            say!("{:<12} {}{quick}", scenario.name, scenario.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    if let Some(Part::Serve { kind, folder, number }) = &cli.part {
        runtime.block_on(serve::run(kind, folder, *number))?;
        return Ok(ExitCode::SUCCESS);
    }
    let earlier = cli.compare.as_deref().map(earlier).transpose()?;
    let node = std::env::current_exe()?.with_file_name("homing");
    let out = node.ancestors().nth(2).context("the binary stands in cargo's target directory")?.join("bench");
    let folder = tempfile::tempdir()?;
    credentials::write(folder.path())?;
    let ground = Ground {
        folder: folder.path().to_owned(),
        credentials: credentials::read(folder.path(), &credentials::node(CALLER)?)?,
        node,
        connections: cli.connections.into(),
    };
    say!("allocations of a call of 128 B, both sides together");
    let allocations = allocations::of(ASKED, &ground)?;
    allocations.iter().for_each(|each| say!("{}", page::asked(each)));
    let report = runtime.block_on(async {
        tokio::select! {
            report = run(&cli, &ground, allocations, &out) => report.map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    })?;
    let Some(report) = report else {
        say!("ended; what was measured until then stands in {}", out.display());
        return Ok(ExitCode::FAILURE);
    };
    for budget in &report.budgets {
        say!("{}", page::judged(budget).replace("**missed**", "MISSED"));
    }
    for skipped in &report.skipped {
        say!("SKIPPED: {skipped}");
    }
    if let Some(earlier) = earlier {
        let changes = report::changes(&earlier, &report.rows);
        say!("{} figures changed beyond the noise since {}", changes.len(), earlier.commit);
        changes.iter().for_each(|change| say!("  {change}"));
    }
    say!("{}", out.join("report.html").display());
    let good =
        report.budgets.iter().all(|budget| budget.met) && report.rows.iter().all(|row| row.failed == 0);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn earlier(path: &Path) -> Result<Earlier> {
    let text = std::fs::read(path).with_context(|| format!("--compare: can't read {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("--compare: {} is no report.json of a bench", path.display()))
}

async fn run(cli: &Cli, ground: &Ground, allocations: Vec<Allocations>, out: &Path) -> Result<Report> {
    let began = Instant::now();
    let machine = homing_benches::Machine::here();
    let mut report = Report {
        machine: machine.json(),
        commit: machine.commit,
        quick: cli.quick,
        seconds: 0.0,
        connections: ground.connections,
        rows: Vec::new(),
        budgets: Vec::new(),
        allocations,
        skipped: Vec::new(),
    };
    for scenario in SCENARIOS {
        let chosen = if cli.scenario.is_empty() {
            !cli.quick || scenario.quick.is_some()
        } else {
            cli.scenario.iter().any(|chosen| chosen.name == scenario.name)
        };
        if !chosen {
            continue;
        }
        let (payloads, in_flight) = match scenario.quick {
            Some(quick) if cli.quick => quick,
            _ => (scenario.payloads, scenario.in_flight),
        };
        let mut ready = Vec::new();
        for contestant in scenario.contestants {
            let wired =
                contestant.wire().is_none_or(|wire| cli.wire.iter().any(|chosen| chosen.as_str() == wire));
            let named = cli.contestant.is_empty() || cli.contestant.contains(contestant);
            if !(wired && named) {
                continue;
            }
            let started = Ready::start(*contestant, scenario, ground).await;
            match started.with_context(|| format!("{} in {}", contestant.name(), scenario.name))? {
                Some(contestant) => ready.push(contestant),
                None => report.skipped.push(format!(
                    "{} (not installed; docs/BENCHMARKS.md says how to get it)",
                    contestant.name()
                )),
            }
        }
        for payload in payloads {
            for in_flight in in_flight {
                let cell = Cell { scenario: scenario.name, payload: *payload, in_flight: *in_flight };
                say!(
                    "[{:>4.0?}] {}: {} B, {} in flight: {}",
                    began.elapsed(),
                    scenario.name,
                    payload,
                    in_flight,
                    scenario.what
                );
                let rows = measure(cli.quick, ground, scenario.kind, cell, &ready).await?;
                rows.iter().for_each(|row| say!("{}", page::told(row)));
                report.rows.extend(rows);
                report.seconds = began.elapsed().as_secs_f64();
                report.budgets = report::budgets(&report.rows);
                // Who ends the run has what was measured until then.
                page::write(&report, out)?;
            }
        }
    }
    Ok(report)
}

/// All contestants in turn, round after round; who is first changes, since who comes after a busy one finds a warmer machine.
async fn measure(quick: bool, ground: &Ground, kind: Kind, cell: Cell, all: &[Ready]) -> Result<Vec<Row>> {
    let all: Vec<_> = all.iter().filter(|ready| ready.contestant.carries(cell.payload)).collect();
    let (rounds, lasts, warm_up) = if quick { (3, 400, 100) } else { (7, 700, 150) };
    let [lasts, warm_up] = [lasts, warm_up].map(Duration::from_millis);
    let mut peaks = HashMap::new();
    if let Kind::Open(_) = kind {
        for ready in &all {
            let round = load::closed(ready, cell.payload, cell.in_flight, lasts).await?;
            peaks.insert(ready.contestant, round.calls_per_s);
        }
    }
    let mut measured: HashMap<Contestant, Vec<Round>> = HashMap::new();
    for round in 0..rounds {
        for turn in 0..all.len() {
            let ready = all[(round + turn) % all.len()];
            let measured = measured.entry(ready.contestant).or_default();
            measured.push(match kind {
                Kind::Closed => {
                    load::closed(ready, cell.payload, cell.in_flight, warm_up).await?;
                    load::closed(ready, cell.payload, cell.in_flight, lasts).await?
                }
                Kind::Open(percent) => {
                    let rate = peaks[&ready.contestant] * f64::from(percent) / 100.0;
                    load::open(ready, cell.payload, rate, warm_up).await?;
                    load::open(ready, cell.payload, rate, lasts).await?
                }
                Kind::Dial => load::dial(ready, ground, cell.payload, lasts).await?,
            });
        }
    }
    let row = |ready: &&Ready| {
        let baseline = measured.get(&ready.contestant.baseline()).map(Vec::as_slice);
        Row::of(cell, ready.contestant, &measured[&ready.contestant], baseline)
    };
    Ok(all.iter().map(row).collect())
}
