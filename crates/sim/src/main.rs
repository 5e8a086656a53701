//! `homing-sim`: runs seed after seed, and tells what must never happen if it did.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use homing_sim::{
    Bounds, Explored, Guard, Plan, Report, Total, explore, regressions, run, run_in_full, shrink,
};

/// Tells a line. Whoever has closed the other end has heard enough.
macro_rules! say {
    ($($line:tt)*) => {
        drop(writeln!(std::io::stdout(), $($line)*))
    };
}

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(5);

/// The most time for each size of the model.
const MODEL: Duration = Duration::from_secs(30 * 60);

/// Lines of a story that are told at once.
const END: usize = 25;

/// After so many runs each kind of fault must have changed something, and routers must have done all that they can.
const ENOUGH: u64 = 300;

/// The least share of calls that must meet a fault, in per cent.
const TROUBLED: f64 = 30.0;

/// Simulates clusters under faults, one for each seed, and checks what must never happen.
///
/// A seed draws the cluster, the load and the faults; the same seed is the same run. After all seeds it tells how often each
/// kind of fault began, what the calls took, and the violations. Exits with 1 if there was one.
#[derive(Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim", version)]
struct Cli {
    /// How many seeds to run, one after the other; those that are always run come first
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed, or with --story the only one
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Begin no other seed after so many minutes, or with --model no other exploration
    #[arg(long, value_parser = minutes)]
    minutes: Option<Duration>,
    /// Run the one --seed, with the fewest of its faults that still break a rule, and tell all that happened
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    story: bool,
    /// Explore the model instead: every interleaving of a small cluster
    #[arg(long, conflicts_with_all = ["seeds", "seed", "story"])]
    model: bool,
    /// With --model: leave out the two largest clusters, which take minutes
    #[arg(long, requires = "model")]
    quick: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let good = if cli.model {
        model(&cli)
    } else if cli.story {
        story(cli.seed)
    } else {
        seeds(&cli)
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "this is an edge: a person waits for so long")]
fn model(cli: &Cli) -> bool {
    let began = Instant::now();
    let left = || cli.minutes.map_or(MODEL, |most| most.saturating_sub(began.elapsed()));
    let mut good = true;
    let small = [Bounds::KEYED, Bounds::UNKEYED, Bounds::BOTH];
    let large = [Bounds::REPEATED, Bounds::ALL].into_iter().filter(|_| !cli.quick);
    for bounds in small.into_iter().chain(large) {
        let Explored { states, copies, took, complete, problems } =
            explore(bounds, None, left(), |states| say!("  {states} states"));
        let whole = if complete { "" } else { "; that is not all, and the time is over" };
        say!("{bounds}: {states} states, {copies} of a copy, in {took:.1?}{whole}");
        for problem in &problems {
            say!("  {problem}");
        }
        good &= complete && problems.is_empty();
    }
    for guard in Guard::ALL {
        let Explored { states, took, complete, problems, .. } =
            explore(guard.bounds(), Some(guard), left(), |_| ());
        let found = problems.iter().find(|problem| problem.what == guard.breaks());
        let end = match found {
            Some(problem) => format!("{}, after {} steps", problem.what, problem.steps.len()),
            None if complete => "nothing was found, so nobody would notice".to_owned(),
            None => "nothing was found until the time was over".to_owned(),
        };
        say!("without {guard:?}: {end} ({states} states, {took:.1?})");
        good &= found.is_some();
    }
    good
}

fn minutes(minutes: &str) -> Result<Duration, String> {
    let minutes: f64 = minutes.parse().map_err(|_| "give a number, such as 0.5".to_owned())?;
    let good = minutes > 0.0 && minutes <= 1e6;
    good.then(|| Duration::from_secs_f64(minutes * 60.0))
        .ok_or("give more than 0 and at most 1000000".to_owned())
}

fn story(seed: u64) -> bool {
    let plan = shrink(&Plan::draw(seed));
    say!("{plan}");
    let report = run_in_full(&plan);
    for line in report.story.lines() {
        say!("{line}");
    }
    say!("{} violations, hash {:016x}", report.violations.len(), report.story.hash());
    report.violations.is_empty()
}

#[expect(clippy::disallowed_methods, reason = "the simulation has a clock of its own; this one times it")]
fn seeds(cli: &Cli) -> bool {
    let (began, mut told) = (Instant::now(), Instant::now());
    let stop = Arc::new(AtomicBool::new(false));
    interrupted(Arc::clone(&stop));
    let mut total = Total::default();
    let drawn = (cli.seed..=cli.seed.saturating_add(cli.seeds - 1)).map(Plan::draw);
    let in_time = || cli.minutes.is_none_or(|most| began.elapsed() < most) && !stop.load(Ordering::Relaxed);
    let always = regressions().into_iter().map(|(plan, _)| plan);
    for plan in always.chain(drawn.take_while(|_| in_time())) {
        let report = run(&plan);
        total.add(&report);
        if !report.violations.is_empty() {
            tell_failure(&plan, &report);
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            say!("{} seeds, {} with a violation", total.runs, total.failed);
        }
    }
    say!("{total}\nspeed:        {:.1} seeds/s", total.runs as f64 / began.elapsed().as_secs_f64());
    if total.runs < ENOUGH {
        say!("under {ENOUGH} runs nobody can tell whether all kinds of faults were tried");
    }
    let never = total.never();
    let dull = !never.is_empty() && total.runs >= ENOUGH;
    if dull {
        say!("never:        {}", never.join(", "));
    }
    let calm = total.troubled_percent() < TROUBLED && total.runs >= ENOUGH;
    if calm {
        say!("too calm:     under {TROUBLED} % of calls met a fault");
    }
    total.failed == 0 && !dull && !calm && !stop.load(Ordering::Relaxed)
}

/// After ctrl-C no other seed begins, and what there was is told; after a second one it ends at once.
fn interrupted(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
}

/// What broke, and the end of the story with the fewest faults.
fn tell_failure(plan: &Plan, report: &Report) {
    say!("seed {}:", plan.seed);
    for violation in report.violations.iter().take(5) {
        say!("  {}: {}", violation.rule, violation.what);
    }
    let fewest = shrink(plan);
    let lines = run_in_full(&fewest).story.lines();
    let end = lines.iter().position(|line| line.contains("VIOLATED")).map_or(lines.len(), |at| at + 1);
    say!("  with {} of its {} faults:", fewest.faults.len(), plan.faults.len());
    for line in
        fewest.faults.iter().map(ToString::to_string).chain(lines[end.saturating_sub(END)..end].to_vec())
    {
        say!("    {line}");
    }
    say!("  all of it: cargo xtask sim --seed {} --story", plan.seed);
}
