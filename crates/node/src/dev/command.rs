//! The command that uses the cluster, and the process between it and `homing dev`.
//!
//! `homing dev` may be killed and can't take its command with it then. So the command is the child of a process of its
//! own, which looks whether `homing dev` is still there. Both have the standard streams of `homing dev`.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpid, getppid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};

use super::children::{Children, signal_child};
use super::folder::Folder;
use super::report;
use crate::cli::AttendArgs;
use crate::signals::Signals;

/// How often the process between looks whether `homing dev` is still there: a parent that ends leaves its children to
/// another one, and says nothing.
const POLL: Duration = Duration::from_millis(100);

/// How long a command may take to end whose `homing dev` was killed.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Tells the process between to kill the command. Were it killed itself, the command would go on.
const KILL_IT: Signal = Signal::USR1;

/// Starts a command that finds the cluster in its environment.
pub(super) fn start(command: &[String], client: SocketAddr, data: &Path) -> Result<Child> {
    Command::new(std::env::current_exe().context("can't find the program of this process")?)
        .args(["attend", "--parent", &getpid().as_raw_nonzero().to_string(), "--"])
        .args(command)
        .env("HOMING_NODE", client.to_string())
        .env("HOMING_DATA", data)
        .spawn()
        .context("can't start the process that runs the command")
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
                if !from_terminal(signal) {
                    signal_child(&command, if told { KILL_IT } else { signal });
                    told = true;
                }
            }
        }
    }
}

/// `homing attend`, the process between: runs the command until it ends, or until `homing dev` is gone.
///
/// It hands on what it is told and counts nothing: a ctrl-C may come twice, from the terminal and from `homing dev`.
pub(crate) async fn attend(args: AttendArgs) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let mut kill = unix::signal(SignalKind::user_defined1()).context("can't listen for signals")?;
    let program = &args.command[0];
    let mut command = Command::new(program)
        .args(&args.command[1..])
        .spawn()
        .with_context(|| format!("can't run {program}"))?;
    loop {
        tokio::select! {
            status = command.wait() => return Ok(code(status?)),
            signal = signals.next() => {
                if !from_terminal(signal) {
                    signal_child(&command, signal);
                }
            }
            _ = kill.recv() => signal_child(&command, Signal::KILL),
            () = gone(args.parent) => break,
        }
    }
    signal_child(&command, Signal::TERM);
    if tokio::time::timeout(ENDS_WITHIN, command.wait()).await.is_err() {
        signal_child(&command, Signal::KILL);
    }
    Ok(code(command.wait().await?))
}

/// Ends when the process that started this one has.
async fn gone(parent: i32) {
    while getppid().map(Pid::as_raw_nonzero).is_some_and(|pid| pid.get() == parent) {
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a terminal sent this signal to its whole process group, so that it needn't be handed on.
fn from_terminal(signal: Signal) -> bool {
    signal == Signal::INT && io::stdin().is_terminal()
}

/// As shells tell it: 128 and the signal, for a command that was ended by one.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The code of a command that was told to stop before it ran.
pub(super) fn not_run(signal: Signal) -> ExitCode {
    code(ExitStatus::from_raw(signal.as_raw()))
}
