//! The `homing` binary: run a node, run a local cluster, or ask one.
//!
//! **Never knows** the algorithms: `homing` the library runs the node, `homing-kv` is its default service, and this
//! is the command line, the configuration and the admin listener around them.

mod admin;
mod ask;
mod certificates;
mod cli;
mod clock;
mod commands;
mod config;
mod dev;
mod disk;
mod entry;
mod init;
mod logs;
mod output;
mod run;
mod running;
mod signals;
mod start_table;
mod table_doc;
mod table_file;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::from(error).context("can't start the runtime")),
    };
    let ended = runtime.block_on(dispatch(cli));
    // Whatever still runs in the background has had its time.
    runtime.shutdown_background();
    match ended {
        Ok(code) => match output::lost() {
            Some(why) => failed(&anyhow::anyhow!("can't write the answer: {why}")),
            None => code,
        },
        Err(error) => failed(&error),
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let asked = cli.asked;
    match cli.command {
        Command::Dev(args) => return dev::run(args, asked.output).await,
        Command::Attend(args) => return dev::attend(args).await,
        Command::Init(args) => init::run(&args)?,
        Command::Node(args) => return run::run(args).await,
        Command::CheckConfig(args) => run::check(&args)?,
        Command::Kv(args) => return commands::kv::run(args, &asked).await,
        Command::Status => commands::status::run(&asked).await?,
        Command::Table(args) => return commands::table::run(args, &asked).await,
        Command::Route(args) => commands::route::run(args, &asked).await?,
        Command::Completions { shell } => cli::completions(shell),
    }
    Ok(ExitCode::SUCCESS)
}

/// One line, whatever went wrong: the outermost context first.
fn failed(error: &anyhow::Error) -> ExitCode {
    output::complain(&format!("{error:#}"));
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// A command line that asks for what can't be, where only all of it shows that.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);
