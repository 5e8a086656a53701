//! Five real nodes in three zones, one on each host, and what an operator sees of them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use homing::{Body, Client};
use http::Request;
use http_body_util::BodyExt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::network::{Host, Packets};

/// How many nodes, and over how many zones.
pub(crate) const NODES: usize = 5;
const ZONES: usize = 3;

/// Waits for a node are bounded by this.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many lines of a log tell why a node is not there.
const LAST: usize = 10;

/// What nodes log of their calls: each gap between two walks, and nothing else.
const LOG: &str = "info,homing_router::call=debug";

/// The hosts of the nodes, and that of the load.
pub(crate) struct Hosts {
    pub(crate) nodes: Vec<Host>,
    pub(crate) load: Host,
    /// Two more, for the bare wire.
    pub(crate) bare: [Host; 2],
}

impl Hosts {
    /// Makes them. Links between nodes can fail, and that between the two bare ones; those to the load and to who watches can't.
    pub(crate) fn make() -> Result<Self> {
        crate::network::make()?;
        let nodes: Vec<_> =
            (1..=NODES as u8).map(|i| Host::new(&format!("n{i}"), i)).collect::<Result<_>>()?;
        let (a, b) = (Host::new("a", 11)?, Host::new("b", 12)?);
        let addresses: Vec<Ipv4Addr> = nodes.iter().map(|host| host.address).collect();
        for node in &nodes {
            node.peers(addresses.iter().copied())?;
        }
        a.peers([b.address])?;
        b.peers([a.address])?;
        Ok(Self { nodes, load: Host::new("load", 100)?, bare: [a, b] })
    }

    /// So many of 1,000 packets are lost on each link that can fail, each way.
    pub(crate) fn lose(&self, of_1000: u32) -> Result<()> {
        self.nodes.iter().chain(&self.bare).try_for_each(|host| host.lose(of_1000))
    }

    /// No fault any more.
    pub(crate) fn mend(&self) -> Result<()> {
        self.nodes.iter().chain(&self.bare).try_for_each(Host::mend)
    }

    /// What the nodes' hosts have counted.
    pub(crate) fn packets(&self) -> Result<Packets> {
        let mut sum = Packets::default();
        for host in &self.nodes {
            sum += host.packets()?;
        }
        Ok(sum)
    }
}

/// A running cluster. Dropping it kills its processes.
pub(crate) struct Cluster<'a> {
    pub(crate) folder: PathBuf,
    pub(crate) nodes: Vec<Node<'a>>,
    /// What processes had counted that were killed.
    ended: Counters,
}

/// One node's process, on its host.
pub(crate) struct Node<'a> {
    pub(crate) id: String,
    pub(crate) host: &'a Host,
    binary: PathBuf,
    config: PathBuf,
    child: Option<Child>,
}

/// Who owns a space, as indices of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owners {
    pub(crate) primary: usize,
    pub(crate) replicas: Vec<usize>,
}

impl Owners {
    pub(crate) fn contain(&self, node: usize) -> bool {
        self.primary == node || self.replicas.contains(&node)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.primary).chain(self.replicas.iter().copied())
    }
}

impl<'a> Cluster<'a> {
    /// Makes the cluster's files. `edit` changes the configuration of a node, by its index.
    pub(crate) fn prepare(
        hosts: &'a Hosts,
        binary: &Path,
        folder: PathBuf,
        wire: &str,
        edit: impl Fn(usize, &mut toml::Table),
    ) -> Result<Self> {
        let made = std::process::Command::new(binary)
            .args(["init", "--nodes", &NODES.to_string(), "--zones", &ZONES.to_string(), "--transport", wire])
            .args(["--host", "10.77.0.{}", "--out"])
            .arg(&folder)
            .output()
            .with_context(|| format!("can't run {}", binary.display()))?;
        ensure!(made.status.success(), "homing init: {}", String::from_utf8_lossy(&made.stderr));
        let nodes = hosts.nodes.iter().enumerate().map(|(i, host)| {
            let id = format!("n{}", i + 1);
            let config = folder.join(format!("{id}.toml"));
            let mut file: toml::Table = toml::from_str(&fs::read_to_string(&config)?)?;
            let listen = file["listen"].as_table_mut().context("no [listen]")?;
            listen.insert("client".to_owned(), host_port(host, CLIENT).into());
            listen.insert("admin".to_owned(), host_port(host, ADMIN).into());
            listen.insert("insecure".to_owned(), true.into());
            edit(i, &mut file);
            fs::write(&config, toml::to_string(&file)?)?;
            Ok(Node { id, host, binary: binary.to_owned(), config, child: None })
        });
        let nodes = nodes.collect::<Result<_>>()?;
        Ok(Self { folder, nodes, ended: Counters::default() })
    }

    /// Starts all nodes and waits until each reaches all others.
    pub(crate) async fn start(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.start()?;
        }
        for node in &mut self.nodes {
            node.reaches_all().await?;
        }
        Ok(())
    }

    /// Who owns these spaces.
    pub(crate) async fn owners(&self, spaces: &[String]) -> Result<Vec<Owners>> {
        let mut owners = Vec::with_capacity(spaces.len());
        for space in spaces {
            let said = self.nodes[0].admin_json(&format!("/table?space={space}")).await?;
            let index = |id: &Value| self.nodes.iter().position(|node| Some(node.id.as_str()) == id.as_str());
            let primary = index(&said["primary"]).with_context(|| format!("no primary: {said}"))?;
            let replicas = said["replicas"].as_array().into_iter().flatten().filter_map(index).collect();
            owners.push(Owners { primary, replicas });
        }
        Ok(owners)
    }

    /// What the first node knows of a space's owners.
    pub(crate) async fn table(&self, space: &str) -> Result<Value> {
        self.nodes[0].admin_json(&format!("/table?space={space}")).await
    }

    /// Gives the slots of spaces, as [`Self::table`] tells them, other owners or another epoch, at all nodes but one.
    pub(crate) async fn apply(&self, spaces: &[Value], but: Option<usize>) -> Result<()> {
        // Two spaces may share a slot.
        let mut groups = BTreeMap::new();
        for space in spaces {
            let slot = space["slot"].to_string();
            let group = serde_json::json!({
                "slots": slot,
                "epoch": space["epoch"],
                "primary": space["primary"],
                "replicas": space["replicas"],
            });
            groups.insert(slot, group);
        }
        let groups: Vec<_> = groups.into_values().collect();
        let file = self.folder.join("table.json");
        fs::write(&file, serde_json::json!({ "groups": groups }).to_string())?;
        let node = &self.nodes[0];
        let mut command = tokio::process::Command::new(&node.binary);
        command.args(["table", "apply"]).arg(&file);
        for (_, node) in self.nodes.iter().enumerate().filter(|(index, _)| Some(*index) != but) {
            command.args(["--to", &node.id]);
        }
        let applied = command.args(["--node", &node.client()]).output().await?;
        ensure!(applied.status.success(), "homing table apply: {}", String::from_utf8_lossy(&applied.stderr));
        Ok(())
    }

    /// All counters of all nodes, added up, with those of processes that were killed.
    pub(crate) async fn counters(&self) -> Result<Counters> {
        let mut sum = self.ended.clone();
        for node in &self.nodes {
            let since = Instant::now();
            while !node.add_counters(&mut sum).await {
                ensure!(since.elapsed() < PATIENCE, "{} doesn't tell its counters", node.id);
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(sum)
    }

    /// kill -9, when that is so: a last look at what it has counted takes a moment.
    pub(crate) async fn kill_when(&mut self, node: usize, ready: impl AsyncFnOnce()) -> Result<()> {
        self.nodes[node].add_counters(&mut self.ended).await;
        ready().await;
        self.nodes[node].kill()
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self, node: usize) -> Result<()> {
        self.kill_when(node, async || ()).await
    }
}

/// What [`Cluster::table`] told of a space, so many epochs later.
pub(crate) fn later(space: &Value, epochs: u64) -> Result<Value> {
    let mut space = space.clone();
    space["epoch"] = (space["epoch"].as_u64().context("no epoch")? + epochs).into();
    Ok(space)
}

/// A node that a configuration may name, and that never runs.
pub(crate) const NOBODY: &str = "nobody";

const CLIENT: u16 = 7_401;
const ADMIN: u16 = 7_402;

fn host_port(host: &Host, port: u16) -> String {
    format!("{}:{port}", host.address)
}

impl Node<'_> {
    /// Where its clients come in.
    pub(crate) fn client(&self) -> String {
        host_port(self.host, CLIENT)
    }

    /// Changes the configuration. A process that runs already doesn't see it.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut toml::Table)) -> Result<()> {
        let mut file: toml::Table = toml::from_str(&fs::read_to_string(&self.config)?)?;
        edit(&mut file);
        fs::write(&self.config, toml::to_string(&file)?)?;
        Ok(())
    }

    /// Starts the process. It ends with this one, however this one ends.
    pub(crate) fn start(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut command = self.host.command(&self.binary);
        command.args(["node", "--stop-with-stdin", "--log-format", "json", "--config"]).arg(&self.config);
        command.env("RUST_LOG", LOG).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.config.with_extension("log")
    }

    /// What its processes have logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.as_ref().map(Child::id).with_context(|| format!("{} does not run", self.id))
    }

    /// Adds what it has counted, if it answers.
    async fn add_counters(&self, sum: &mut Counters) -> bool {
        let said = timeout(Duration::from_secs(2), self.admin("/metrics")).await;
        if let Ok(Ok(said)) = &said {
            sum.add(said);
        }
        matches!(said, Ok(Ok(_)))
    }

    fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.id))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let process = Pid::from_raw(self.pid()? as i32).context("no process has the id 0")?;
        kill_process(process, signal).with_context(|| format!("can't signal {}", self.id))
    }

    /// Whether the process answers its operator within this time.
    pub(crate) async fn moves(&self, within: Duration) -> bool {
        timeout(within, self.admin("/live")).await.is_ok_and(|said| said.is_ok())
    }

    /// Lets a process go on that was to stand still, and tells whether it did.
    pub(crate) async fn go_on(&self) -> Result<bool> {
        let stood_still = !self.moves(Duration::from_secs(1)).await;
        self.signal(Signal::CONT)?;
        Ok(stood_still)
    }

    /// Waits until the process answers its operator.
    pub(crate) async fn lives(&mut self) -> Result<()> {
        let started = Instant::now();
        while self.admin("/live").await.is_err() {
            let ended = self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || started.elapsed() >= PATIENCE {
                let log = self.log();
                let last: Vec<_> = log.lines().rev().take(LAST).collect();
                let what = if ended { "has ended" } else { "does not answer its operator" };
                bail!("{} {what}. What it logged last, the newest first:\n{}", self.id, last.join("\n"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until this node reaches every other.
    pub(crate) async fn reaches_all(&mut self) -> Result<()> {
        self.lives().await?;
        let started = Instant::now();
        loop {
            let status = self.admin_json("/status").await?;
            let nodes = status["nodes"].as_array().context("no nodes")?;
            if nodes.iter().all(|node| node["state"] == "alive" || node["id"] == NOBODY) {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "{} does not reach all: {status}", self.id);
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn admin(&self, path: &str) -> Result<String> {
        let request = Request::get(path).body(Body::empty())?;
        let response = Client::new(&host_port(self.host, ADMIN))?.send(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let said = String::from_utf8(body.to_vec())?;
        if !status.is_success() {
            bail!("{} {path}: {status}: {said}", self.id);
        }
        Ok(said)
    }

    async fn admin_json(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.admin(path).await?)?)
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The counters of nodes, by name and labels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters(BTreeMap<String, f64>);

impl Counters {
    fn add(&mut self, said: &str) {
        for line in said.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, number)) =
                line.rsplit_once(' ').and_then(|(name, n)| Some((name, n.parse::<f64>().ok()?)))
            {
                *self.0.entry(name.to_owned()).or_default() += number;
            }
        }
    }

    /// The sum over all labels that contain this.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let all = self.0.iter().filter(|(key, _)| key.split('{').next() == Some(name) && key.contains(label));
        all.map(|(_, number)| number).sum()
    }
}
