//! A process beside this one: it ends with its standard input, so that none outlives a run, however that ends.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use homing::NodeId;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::credentials::{CLUSTER, owner};
use crate::processors;

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
        let spawned = processors::beside(|| command.stdin(Stdio::piped()).spawn())?;
        let mut child = spawned.with_context(|| format!("can't start {what}"))?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin })
    }

    /// Whether it has not ended.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// This binary, as one that serves an echo of this kind, as the `number`th owner. In this epoch it owns all spaces, or the next
    /// owner does, which listens at `moved`.
    pub(crate) async fn serve(
        kind: &str,
        folder: &Path,
        number: usize,
        epoch: u64,
        moved: Option<SocketAddr>,
    ) -> Result<(Self, SocketAddr)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", kind]).arg(folder).args([number.to_string(), epoch.to_string()]);
        command.args(moved.map(|at| at.to_string())).stdout(Stdio::piped());
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
        let id = owner(0)?;
        let data = folder.join("node");
        let own = format!("service = '{service}'\n");
        let of_clients = format!("{}\n", proof(folder, &id));
        let nodes = format!("[[nodes]]\nid = '{id}'\naddress = '127.0.0.1:1'\n");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let text = config(folder, &id, &data, &own, any, &of_clients, &nodes);
        Self::configured(binary, &folder.join("node.toml"), text).await
    }

    /// So many of our nodes with the reference service, over this wire, and where their clients come in.
    pub(crate) async fn cluster(
        binary: &Path,
        folder: &Path,
        wire: &str,
        nodes: usize,
    ) -> Result<(Vec<Self>, Vec<SocketAddr>)> {
        // Each must know where the others listen before it starts, so ports are chosen that are free now.
        let free = |_| Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?);
        let listen = (0..nodes).map(free).collect::<Result<Vec<_>>>()?;
        let mut all = String::new();
        for (number, at) in listen.iter().enumerate() {
            let id = owner(number)?;
            all += &format!(
                "[[nodes]]\nid = '{id}'\naddress = '{at}'\ntransport = '{wire}'\nzone = 'z{number}'\n"
            );
        }
        let (mut processes, mut clients) = (Vec::new(), Vec::new());
        for (number, at) in listen.iter().enumerate() {
            let id = owner(number)?;
            let name = format!("kv-{wire}-{id}");
            let text = config(folder, &id, &folder.join(&name), "", *at, "", &all);
            let (process, at) = Self::configured(binary, &folder.join(format!("{name}.toml")), text).await?;
            processes.push(process);
            clients.push(at);
        }
        Ok((processes, clients))
    }

    /// Our node with this configuration, and where its clients come in.
    async fn configured(binary: &Path, config: &Path, text: String) -> Result<(Self, SocketAddr)> {
        let built = "cargo build --release --package homing-node";
        ensure!(binary.exists(), "{} is missing: {built}", binary.display());
        fs::write(config, text)?;
        let mut command = Command::new(binary);
        command.args(["node", "--stop-with-stdin", "--log-format", "json", "--config"]).arg(config);
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
        self.all()?.into_iter().map(cpu).sum()
    }

    /// Its memory, and that of its own processes, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        self.all()?.into_iter().map(memory).sum()
    }

    /// It, and its own processes.
    fn all(&self) -> Result<Vec<u32>> {
        let id = self.child.id().context("a process has ended that is called")?;
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.context("this kernel does not tell the processes of a process")?;
        Ok(children.split_whitespace().filter_map(|child| child.parse().ok()).chain([id]).collect())
    }
}

/// A certificate and its key, as a configuration names them.
fn proof(folder: &Path, id: &NodeId) -> String {
    let path = |kind: &str| toml::Value::from(folder.join(format!("{id}.{kind}")).display().to_string());
    format!("certificate = {}\nkey = {}", path("pem"), path("key"))
}

/// The configuration of a node. `own`: what stands before all tables; `of_clients`: what its client listener has besides.
fn config(
    folder: &Path,
    id: &NodeId,
    data: &Path,
    own: &str,
    listen: SocketAddr,
    of_clients: &str,
    nodes: &str,
) -> String {
    let text = |path: &Path| toml::Value::from(path.display().to_string());
    let any = "127.0.0.1:0";
    format!(
        "cluster = '{CLUSTER}'\nid = '{id}'\ndata = {}\n{own}\
         [listen]\nnode = '{listen}'\nclient = '{any}'\nadmin = '{any}'\n{of_clients}\
         [tls]\nca = {}\n{}\n{nodes}",
        text(data),
        text(&folder.join("ca.pem")),
        proof(folder, id)
    )
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

/// The memory that a process has at hand, in bytes.
pub(crate) fn memory(process: u32) -> Result<u64> {
    let pages = fs::read_to_string(format!("/proc/{process}/statm"))?;
    let resident = pages.split_whitespace().nth(1).context("/proc/…/statm has no second field")?;
    Ok(resident.parse::<u64>()? * rustix::param::page_size() as u64)
}
