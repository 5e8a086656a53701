use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::children::{Children, signal_child};
use super::folder::Folder;
use super::report;
use super::signals::Signals;

/// Starts a command that finds the cluster in its environment.
pub(super) fn start(program: &str, arguments: &[String], client: SocketAddr, data: &Path) -> Result<Child> {
    Command::new(program)
        .args(arguments)
        .env("HOMING_NODE", client.to_string())
        .env("HOMING_DATA", data)
        .spawn()
        .with_context(|| format!("can't run {program}"))
}

/// Waits for the command, and ends as it did.
///
/// A signal to stop is handed on, and the command decides; a second one kills it. The ctrl-C of a terminal went to
/// the command already.
pub(super) async fn run(
    mut command: Child,
    folder: &Folder,
    children: &mut Children,
    signals: &mut Signals,
) -> Result<ExitCode> {
    let mut told = false;
    loop {
        tokio::select! {
            status = command.wait() => return Ok(code(status?)),
            (id, status) = children.next_end() => report::ended(&id, status, folder),
            signal = signals.next() => {
                if signal == Signal::INT && io::stdin().is_terminal() {
                    continue;
                }
                signal_child(&command, if told { Signal::KILL } else { signal });
                told = true;
            }
        }
    }
}

/// As shells tell it: 128 and the signal, for a command that was ended by one.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
