//! `homing-bench`: what a call through Homing takes beside the bare wires, in one run and between real processes.
//!
//! - `scenarios`: what is measured, as data.
//! - `contestants`, `clients`, `serve`, `nodes`, `proxies`: who is measured, and what answers.
//! - `process`, `processors`, `credentials`: what they stand on.
//! - `load`, `figures`, `counts`: the calls, and what they took.
//! - `report`, `page`: what is told, and held against the budgets.

mod clients;
mod contestants;
mod counts;
mod credentials;
mod figures;
mod load;
mod nodes;
mod page;
mod process;
mod processors;
mod proxies;
mod report;
mod scenarios;
mod serve;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use homing_benches::Machine;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::contestants::{Absent, Contestant, Ground, Ready};
use crate::credentials::CALLER;
use crate::figures::Round;
use crate::report::{Cell, Earlier, Report, Row};
use crate::scenarios::{Kind, SCENARIOS, Scenario};

/// Measure calls through Homing beside the bare wires: tonic, quinn, and proxies where they are installed.
///
/// Servers, nodes and proxies are processes of their own; the load is this one, and an embedded router is in it. It has half of the processors, and they the others. Contestants take turns, round
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
    /// These payloads in place of each scenario's own, in bytes, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = number(0..=64 << 20))]
    payload: Vec<usize>,
    /// So many calls in flight in place of each scenario's own numbers, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = number(1..=10_000))]
    in_flight: Vec<usize>,
    /// Connections of each contestant
    #[arg(long, default_value_t = 2, value_parser = number(1..=64))]
    connections: usize,
    /// Let all run on all processors: else the load has half of them, and all that it calls the others
    #[arg(long)]
    floating: bool,
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
    /// Calls, and nothing else: this binary starts itself with it
    #[command(hide = true)]
    Calls { contestant: String, folder: PathBuf, calls: usize },
    /// What is called: this binary starts itself with it, too
    #[command(hide = true)]
    Serve { kind: String, folder: PathBuf, number: usize, epoch: u64, moved: Option<SocketAddr> },
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

fn number(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Whose allocations are counted.
const COUNTED: &[Contestant] =
    &[Contestant::Tonic, Contestant::RouterGrpc, Contestant::Quinn, Contestant::RouterQuic];

#[global_allocator]
static ALLOCATOR: counts::Counting = counts::Counting;

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
    let ground = |folder: &Path| {
        Ok::<_, anyhow::Error>(Ground {
            folder: folder.to_owned(),
            credentials: credentials::read(folder, &credentials::node(CALLER)?)?,
            node: std::env::current_exe()?.with_file_name("homing"),
            connections: cli.connections,
        })
    };
    match &cli.part {
        Some(Part::Serve { kind, folder, number, epoch, moved }) => {
            Runtime::new()?.block_on(serve::run(kind, folder, *number, *epoch, *moved))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Part::Calls { contestant: name, folder, calls }) => {
            let contestant = contestant(name).map_err(anyhow::Error::msg)?;
            counts::run(contestant, &ground(folder)?, *calls, |_| ())?;
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    if chosen(&cli).all(|scenario| contestants(&cli, scenario).next().is_none()) {
        let what = "none of these contestants is in any of these scenarios, or on these wires; see --list";
        Cli::command().error(ErrorKind::InvalidValue, what).exit();
    }
    let machine = Machine::here();
    if !cli.floating {
        processors::share().context("say --floating, which leaves the processors as they are")?;
    }
    let runtime = Runtime::new()?;
    let earlier = cli.compare.as_deref().map(|path| earlier(path, &cli)).transpose()?;
    let this = std::env::current_exe()?;
    let out = this.ancestors().nth(2).context("the binary stands in cargo's target directory")?.join("bench");
    let folder = tempfile::tempdir()?;
    credentials::write(folder.path())?;
    let ground = ground(folder.path())?;
    let report = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            report = run(&cli, machine, &ground, &out) => report.map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
            _ = terminated.recv() => Ok(None),
        }
    });
    // All that it started has ended by now; what still counts allocations has not.
    runtime.shutdown_background();
    let Some(report) = report? else {
        say!("ended; what was measured until then stands in {}", out.display());
        return Ok(ExitCode::FAILURE);
    };
    for budget in &report.budgets {
        say!("{}", page::judged(budget));
    }
    for skipped in &report.skipped {
        say!("SKIPPED: {skipped}");
    }
    if let Some(earlier) = earlier {
        let (changes, compared) = earlier.changes(&report.rows);
        say!(
            "{} figures of {compared} rows changed beyond the noise since {}",
            changes.len(),
            earlier.commit
        );
        changes.iter().for_each(|change| say!("  {change}"));
        if compared < report.rows.len() {
            say!("  {} rows have no match there, or too few rounds to tell", report.rows.len() - compared);
        }
    }
    say!("{}", out.join("report.html").display());
    let missed = report.budgets.iter().any(|budget| budget.met == Some(false));
    let failed = report.rows.iter().any(|row| row.failed > 0);
    Ok(if missed || failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The scenarios that are asked for.
fn chosen(cli: &Cli) -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().filter(|scenario| {
        if cli.scenario.is_empty() {
            !cli.quick || scenario.quick.is_some()
        } else {
            cli.scenario.iter().any(|chosen| chosen.name == scenario.name)
        }
    })
}

/// Those of a scenario's contestants that are asked for.
fn contestants(cli: &Cli, scenario: &Scenario) -> impl Iterator<Item = Contestant> {
    scenario.contestants.iter().copied().filter(|contestant| {
        let wired =
            contestant.wire().is_none_or(|wire| cli.wire.iter().any(|chosen| chosen.as_str() == wire));
        wired && (cli.contestant.is_empty() || cli.contestant.contains(contestant))
    })
}

fn earlier(path: &Path, cli: &Cli) -> Result<Earlier> {
    let text = std::fs::read(path).with_context(|| format!("--compare: can't read {}", path.display()))?;
    let earlier: Earlier = serde_json::from_slice(&text)
        .with_context(|| format!("--compare: {} is no report.json of a bench", path.display()))?;
    if let Some(why) = earlier.unlike(cli.connections, processors::floating()) {
        bail!("--compare: nothing can be held against {}: {why}", path.display());
    }
    Ok(earlier)
}

async fn run(cli: &Cli, machine: Machine, ground: &Ground, out: &Path) -> Result<Report> {
    let began = Instant::now();
    let asked = |contestant: &Contestant| chosen(cli).any(|s| contestants(cli, s).any(|c| c == *contestant));
    let counted: Vec<_> = COUNTED.iter().copied().filter(asked).collect();
    say!("a call of 128 B, both sides together");
    let counting = tokio::task::spawn_blocking({
        let ground = ground.clone();
        move || counts::of(&counted, &ground)
    });
    let mut counts = counting.await??;
    let mut skipped = Vec::new();
    say!("{}", processors::told());
    if !cli.quick
        && let Err(why) = counts::instructions(&mut counts, ground).await
    {
        skipped.push(format!("instructions of a call ({why})"));
    }
    counts.iter().for_each(|each| say!("{}", page::counted(each)));
    let mut report = Report {
        machine: machine.json(),
        commit: machine.commit,
        quick: cli.quick,
        seconds: 0.0,
        connections: ground.connections,
        floating: processors::floating(),
        rows: Vec::new(),
        budgets: Vec::new(),
        counts,
        skipped,
    };
    for scenario in chosen(cli) {
        let (payloads, in_flight) = match scenario.quick {
            Some(quick) if cli.quick => quick,
            _ => (scenario.payloads, scenario.in_flight),
        };
        let mut all = Vec::new();
        for contestant in contestants(cli, scenario) {
            let started = Ready::start(contestant, scenario, ground).await;
            match started.with_context(|| format!("{} in {}", contestant.name(), scenario.name))? {
                Ok(ready) => all.push(ready),
                Err(Absent(why)) => {
                    report.skipped.push(format!("{} in {} ({why})", contestant.name(), scenario.name));
                }
            }
        }
        let payloads = if cli.payload.is_empty() { payloads } else { &cli.payload };
        let in_flight = if cli.in_flight.is_empty() { in_flight } else { &cli.in_flight };
        for payload in payloads {
            for in_flight in in_flight {
                let cell = Cell { scenario: scenario.name, payload: *payload, in_flight: *in_flight };
                let so_far = began.elapsed();
                let Scenario { name, what, .. } = scenario;
                say!("[{so_far:>4.0?}] {name}: {payload} B, {in_flight} in flight: {what}");
                let rows = measure(cli.quick, ground, scenario.kind, cell, &all).await;
                let rows = rows.with_context(|| format!("{name}, {payload} B, {in_flight} in flight"))?;
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

/// All contestants in turn, round after round, each time in another order: who comes after a busy one finds a warmer machine.
async fn measure(quick: bool, ground: &Ground, kind: Kind, cell: Cell, all: &[Ready]) -> Result<Vec<Row>> {
    let mut all: Vec<_> = all.iter().filter(|ready| ready.contestant.carries(cell.payload)).collect();
    let (rounds, lasts, warm_up) = if quick { (3, 400, 100) } else { (7, 700, 150) };
    let [lasts, warm_up] = [lasts, warm_up].map(Duration::from_millis);
    let mut offered = HashMap::new();
    if let Kind::Open(percent) = kind {
        for ready in &all {
            load::closed(ready, cell.payload, cell.in_flight, warm_up).await?;
            let peak = load::closed(ready, cell.payload, cell.in_flight, lasts).await?.calls_per_s;
            let rate = peak * f64::from(percent) / 100.0;
            let least = offered.entry(ready.contestant.baseline()).or_insert(rate);
            *least = rate.min(*least);
        }
    }
    let mut measured: HashMap<Contestant, Vec<Round>> = HashMap::new();
    let mut order = homing_benches::Rng::new(0);
    for _ in 0..rounds {
        order.shuffle(&mut all);
        for ready in &all {
            let round = match kind {
                Kind::Closed => {
                    load::closed(ready, cell.payload, cell.in_flight, warm_up).await?;
                    load::closed(ready, cell.payload, cell.in_flight, lasts).await?
                }
                Kind::Open(_) => {
                    let rate = offered[&ready.contestant.baseline()];
                    load::open(ready, cell.payload, rate, warm_up).await?;
                    load::open(ready, cell.payload, rate, lasts).await?
                }
                Kind::Stream => load::stream(ready, cell.payload, lasts).await?,
                Kind::Dial => load::dial(ready, ground, cell.payload, lasts).await?,
                Kind::Stale(touch) => load::stale(ready, ground, cell.payload, touch).await?,
            };
            measured.entry(ready.contestant).or_default().push(round);
        }
    }
    all.sort_by_key(|ready| ready.contestant);
    let row = |ready: &&Ready| {
        let Ready { contestant, .. } = *ready;
        let baseline = measured.get(&contestant.baseline()).map(Vec::as_slice);
        let row = Row::of(cell, *contestant, measured[contestant].clone(), baseline);
        let offered_per_s = offered.get(&contestant.baseline()).copied();
        Ok(Row { offered_per_s, memory_mb: ready.memory_mb()?, ..row })
    };
    all.iter().map(row).collect()
}
