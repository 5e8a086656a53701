//! A process beside this one: it ends with its standard input, so that none outlives a run, however that ends.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::credentials::{CLUSTER, owner};

/// How long one may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Drop for Process {
    /// It ends as it likes, and its own processes with it; else it is killed.
    #[expect(clippy::disallowed_methods, reason = "it is looked at again until it has ended")]
    fn drop(&mut self) {
        self.stdin = None;
        let Some(id) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32)) else {
            return;
        };
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        for _ in 0..50 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.start_kill();
    }
}

impl Process {
    /// Starts a command.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let what = command.as_std().get_program().display().to_string();
        let spawned = command.stdin(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| format!("can't start {what}"))?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin })
    }

    /// This binary, as one that serves an echo of this kind, as the `number`th owner.
    pub(crate) async fn serve(kind: &str, folder: &Path, number: usize) -> Result<(Self, SocketAddr)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", kind]).arg(folder).arg(number.to_string()).stdout(Stdio::piped());
        let mut process = Self::start(&mut command)?;
        let at = process.said(|line| Some(line.to_owned())).await?;
        let at = at.parse().with_context(|| format!("{kind} does not say where it listens: {at}"))?;
        Ok((process, at))
    }

    /// Our node, with a service beside it.
    pub(crate) async fn node(
        binary: &Path,
        folder: &Path,
        service: SocketAddr,
    ) -> Result<(Self, SocketAddr)> {
        let built = "cargo build --release --package homing-node";
        ensure!(binary.exists(), "{} is missing: {built}", binary.display());
        let config = folder.join("node.toml");
        let data = folder.join("node");
        let path = |name: String| toml::Value::from(folder.join(name).display().to_string());
        let id = owner(0)?;
        let (ca, certificate, key) =
            (path("ca.pem".into()), path(format!("{id}.pem")), path(format!("{id}.key")));
        let data = toml::Value::from(data.display().to_string());
        let any = "127.0.0.1:0";
        let text = format!(
            "cluster = '{CLUSTER}'\nid = '{id}'\ndata = {data}\nservice = '{service}'\n\
             [listen]\nnode = '{any}'\nclient = '{any}'\nadmin = '{any}'\ncertificate = {certificate}\nkey = {key}\n\
             [tls]\nca = {ca}\ncertificate = {certificate}\nkey = {key}\n\
             [[nodes]]\nid = '{id}'\naddress = '127.0.0.1:1'\n"
        );
        fs::write(&config, text)?;
        let mut command = Command::new(binary);
        command.args(["node", "--stop-with-stdin", "--log-format", "json", "--config"]).arg(&config);
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::start(&mut command)?;
        let at = process
            .said(|line| {
                let said: serde_json::Value = serde_json::from_str(line).ok()?;
                let fields = &said["fields"];
                (fields["message"] == "ready").then(|| fields["client"].as_str().map(str::to_owned))?
            })
            .await?;
        Ok((process, at.parse().with_context(|| format!("no address: {at}"))?))
    }

    /// Waits until it says, on standard output or error, what is asked for. What it says later is thrown away.
    async fn said(&mut self, what: impl Fn(&str) -> Option<String>) -> Result<String> {
        let output: Box<dyn tokio::io::AsyncRead + Send + Unpin> =
            match (self.child.stderr.take(), self.child.stdout.take()) {
                (Some(stderr), _) => Box::new(stderr),
                (None, Some(stdout)) => Box::new(stdout),
                (None, None) => anyhow::bail!("nothing is heard of it"),
            };
        let mut lines = BufReader::new(output).lines();
        let mut heard = Vec::new();
        let finding = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(found) = what(&line) {
                    return Ok(Some(found));
                }
                heard.push(line);
            }
            Ok::<_, anyhow::Error>(None)
        };
        let found = timeout(PATIENCE, finding).await;
        let found = found.with_context(|| format!("not ready after {PATIENCE:?}"))??;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        found.with_context(|| format!("it ended: {}", heard.join("\n")))
    }

    /// The time that it has had of processors, its own and the system's on its behalf, and so its own processes.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let id = self.child.id().context("it has ended")?;
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        children.map(cpu).sum::<Result<Duration>>().and_then(|of_children| Ok(of_children + cpu(id)?))
    }
}

/// The processor time of a process and its threads.
pub(crate) fn cpu(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    ensure!(fields.len() > 12, "/proc/{process}/stat has {} fields", fields.len());
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}
