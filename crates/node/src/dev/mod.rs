//! `homing dev`: a local cluster of real processes, with mutual TLS.
//!
//! The nodes are children of this process, in one folder that is picked up by the next start: `ca.pem` and `ca.key`;
//! `n1.toml`, `n1.pem` and `n1.key` of each node; `n1/` with its data and its log; `cluster.json`, which says who runs,
//! as long as somebody does; `lock`, since one folder is one cluster's.

mod children;
mod command;
mod folder;
mod log;
mod ports;
mod progress;
mod report;
mod wait;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::{Result, bail};
use homing::WIRES;

use self::children::Children;
pub(crate) use self::command::attend;
use self::folder::Folder;
use self::log::Log;
use self::progress::Progress;
use self::wait::NotAnswering;
use crate::cli::{DevArgs, Output};
use crate::init::{Addresses, Plan, PlannedNode};
use crate::output;
use crate::signals::Signals;

/// The cluster's name, the same for all: their CAs keep them apart.
const CLUSTER: &str = "dev.homing.local";

/// How often ports are chosen before giving up. Between the choice and the start, another process may take one.
const ROUNDS: u32 = 4;

/// A cluster that answered.
struct Cluster {
    plan: Plan,
    children: Children,
}

/// Runs a cluster until it is told to stop, or until a command that uses it has ended.
pub(crate) async fn run(args: DevArgs, output: Output) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let folder = Folder::open(&args.data)?;
    let mut cluster = tokio::select! {
        cluster = start(&args, &folder) => cluster?,
        // What was started so far is killed: nobody was served yet.
        signal = signals.next() => {
            let without_command = args.command.is_empty();
            return Ok(if without_command { ExitCode::SUCCESS } else { command::not_run(signal) });
        }
    };
    let ended = serve(&args, output, &folder, &mut cluster, &mut signals).await;
    cluster.children.stop(&mut signals).await;
    folder.forget_running()?;
    ended
}

async fn start(args: &DevArgs, folder: &Folder) -> Result<Cluster> {
    let mut plan = plan(args)?;
    folder.fits(&plan)?;
    plan.source = folder.table_source(&plan);
    folder.forget_running()?;
    let progress = Progress::start();
    let mut logs = Vec::new();
    for node in &plan.nodes {
        logs.push(Log::open(&folder.log(&node.id), &progress).await?);
    }
    progress.tell("making certificates".to_owned());
    folder.certify(&plan)?;
    let mut rounds = 0;
    loop {
        ports::settle(&mut plan.nodes)?;
        folder.configure(&plan)?;
        let mut children = Children::start(&plan, folder, &mut logs)?;
        let Err(problem) = wait::until_all_answer(&plan.nodes, &mut children, &progress).await else {
            return Ok(Cluster { plan, children });
        };
        children.kill().await;
        rounds += 1;
        match problem {
            NotAnswering::Ended { index, .. } if rounds < ROUNDS && ports::taken(&plan.nodes[index]) => {}
            problem => bail!(problem.explain(&plan.nodes, &logs)),
        }
    }
}

fn plan(args: &DevArgs) -> Result<Plan> {
    let wires = if args.transport.is_empty() { &WIRES[..1] } else { &args.transport };
    Ok(Plan {
        cluster: CLUSTER.parse()?,
        replicas: args.replicas.into(),
        source: "placement",
        data: "",
        nodes: PlannedNode::deal((0..args.nodes).map(Addresses::local).collect(), args.zones, wires)?,
    })
}

/// Tells who runs, and lets them, until something says that it is enough.
async fn serve(
    args: &DevArgs,
    output: Output,
    folder: &Folder,
    cluster: &mut Cluster,
    signals: &mut Signals,
) -> Result<ExitCode> {
    let running = report::running(&cluster.plan, cluster.children.pids(), folder.absolute());
    folder.remember(&running)?;
    let lines = report::lines(&running, output)?;
    if !args.command.is_empty() {
        // Standard output is the command's.
        lines.iter().for_each(|line| output::note(line));
        let client = cluster.plan.nodes[0].addresses.client;
        let command = command::start(&args.command, client, folder.absolute())?;
        return command::run(command, folder, &mut cluster.children, signals).await;
    }
    lines.iter().for_each(|line| output::say(line));
    if io::stderr().is_terminal() {
        output::note("ctrl-C stops it");
    }
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(ExitCode::SUCCESS),
            (id, status) = cluster.children.next_end() => report::ended(&id, status, folder),
        }
    }
}
