use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};
use homing::NodeId;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};

use super::folder::Folder;
use super::log::Log;
use crate::config::DRAIN_MS;
use crate::init::{Plan, PlannedNode};
use crate::output;
use crate::signals::Signals;

/// How long nodes may take to stop; longer than they drain, since `homing dev` writes their configurations itself.
pub(super) const STOP_WITHIN: Duration = Duration::from_millis(DRAIN_MS + 5_000);

/// The nodes of the cluster, as processes.
pub(super) struct Children(Vec<Node>);

struct Node {
    id: NodeId,
    pid: u32,
    child: Child,
    ended: bool,
    /// Held open for as long as this process lives: its end stops the node, even if we are killed.
    _stdin: Option<ChildStdin>,
}

impl Children {
    /// Starts every node.
    pub(super) fn start(plan: &Plan, folder: &Folder, logs: &mut [Log]) -> Result<Self> {
        let program = std::env::current_exe().context("can't find the program of this process")?;
        let start = |(node, log): (&PlannedNode, &mut Log)| -> io::Result<Node> {
            let mut child = command(&program, &folder.config(&node.id), log)?.spawn()?;
            Ok(Node {
                id: node.id.clone(),
                pid: child.id().unwrap_or_default(),
                _stdin: child.stdin.take(),
                child,
                ended: false,
            })
        };
        let nodes = plan.nodes.iter().zip(logs).map(start).collect::<io::Result<_>>();
        Ok(Self(nodes.context("can't start the nodes")?))
    }

    /// The process ids, in the order of the plan.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|node| node.pid)
    }

    /// The next node that ends, and how. Waits for ever if none runs.
    pub(super) async fn next_end(&mut self) -> (NodeId, ExitStatus) {
        let mut running: Vec<_> = self.0.iter_mut().filter(|node| !node.ended).collect();
        poll_fn(|cx| {
            for node in &mut running {
                if let Poll::Ready(status) = pin!(node.child.wait()).poll(cx) {
                    node.ended = true;
                    // The status is lost if whoever started us had SIGCHLD ignored.
                    return Poll::Ready((node.id.clone(), status.unwrap_or_default()));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Lets every node finish its running requests, within bounds.
    pub(super) async fn stop(&mut self, signals: &mut Signals) {
        for node in &self.0 {
            node.signal(Signal::TERM);
        }
        tokio::select! {
            () = self.all_end() => return,
            _ = signals.next() => {}
            () = tokio::time::sleep(STOP_WITHIN) => {
                output::complain(&format!("{} did not stop within {STOP_WITHIN:?}: killed", self.running()));
            }
        }
        self.kill().await;
    }

    /// Ends every node at once.
    pub(super) async fn kill(&mut self) {
        for node in &self.0 {
            node.signal(Signal::KILL);
        }
        self.all_end().await;
    }

    async fn all_end(&mut self) {
        while self.0.iter().any(|node| !node.ended) {
            self.next_end().await;
        }
    }

    fn running(&self) -> String {
        let ids: Vec<_> = self.0.iter().filter(|node| !node.ended).map(|node| node.id.as_str()).collect();
        ids.join(", ")
    }
}

impl Node {
    fn signal(&self, signal: Signal) {
        if !self.ended {
            signal_child(&self.child, signal);
        }
    }
}

/// Sends a signal to a child, unless it has ended: then its pid may be another's by now.
pub(super) fn signal_child(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        // That it ended just now is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

fn command(program: &Path, config: &Path, log: &mut Log) -> io::Result<Command> {
    let mut command = Command::new(program);
    command
        .args(["node", "--stop-with-stdin", "--config"])
        .arg(config)
        // What overrides one node's configuration must not override all of them.
        .env_remove("HOMING_CLIENT")
        .env_remove("HOMING_ADMIN")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log.begin()?)
        // The ctrl-C of a terminal goes to its whole process group; nodes are stopped by us.
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}
