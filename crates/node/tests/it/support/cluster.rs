use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use homing::{Body, Client};
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Kv, Relay};

/// The binary under test.
pub(crate) fn homing() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homing"));
    for name in ["HOMING_NODE", "HOMING_CA", "HOMING_OUTPUT", "HOMING_DATA", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// Runs the binary to its end, which must come soon.
pub(crate) fn output(arguments: &[&str]) -> Output {
    let mut command = homing();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id();
    let (ended, end) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
    let output = end.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| {
        let _ = Command::new("kill").arg("-9").arg(pid.to_string()).status();
        panic!("homing {arguments:?} did not end")
    });
    waiting.join().unwrap().unwrap();
    output
}

/// A cluster to start.
pub(crate) struct Layout {
    pub(crate) nodes: usize,
    pub(crate) zones: usize,
    /// The wire of each node, dealt out in turn.
    pub(crate) wires: Vec<&'static str>,
    /// Changes the configuration of a node (by its number, from 1).
    pub(crate) edit: fn(usize, &mut toml::Table),
}

impl Layout {
    /// Five nodes in three zones on one wire.
    pub(crate) fn five(wire: &'static str) -> Self {
        Self { nodes: 5, zones: 3, wires: vec![wire], edit: |_, _| {} }
    }
}

/// A running cluster. Dropping it kills its processes.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    pub(crate) nodes: Vec<Process>,
}

/// One node's process.
pub(crate) struct Process {
    pub(crate) id: String,
    pub(crate) config: PathBuf,
    pub(crate) client: String,
    pub(crate) admin: String,
    child: Option<Child>,
}

impl Cluster {
    /// Starts all nodes and waits until each answers a real read.
    pub(crate) async fn start(layout: Layout) -> Self {
        let mut cluster = Self::prepare(layout);
        cluster.start_all().await;
        cluster
    }

    /// Starts all nodes and waits until each answers a real read.
    pub(crate) async fn start_all(&mut self) {
        for node in &mut self.nodes {
            node.start();
        }
        for node in &self.nodes {
            node.answers().await;
        }
        // Who was asked for before it was up stands at the back of plans until it was reached again.
        for node in &self.nodes {
            node.reaches_all().await;
        }
    }

    /// Makes certificates and configurations, and starts nothing.
    pub(crate) fn prepare(layout: Layout) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("cluster");
        let made = output(&[
            "init",
            "--nodes",
            &layout.nodes.to_string(),
            "--zones",
            &layout.zones.to_string(),
            "--host",
            &own_hosts(),
            "--out",
            out.to_str().unwrap(),
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let nodes = (1..=layout.nodes).map(|number| Process::prepare(&out, number, &layout)).collect();
        Self { folder, nodes }
    }

    /// Puts a relay before a node, for these of the others: they find it there. Their processes must not run yet.
    pub(crate) async fn relay(&self, to: usize, entries: &[usize]) -> Relay {
        let node = &self.nodes[entries[0]].file()["nodes"][to];
        let field = |key| node[key].as_str().unwrap();
        let address: SocketAddrV4 = field("address").parse().unwrap();
        let [a, b, c, host] = address.ip().octets();
        // A cluster has ten addresses, and its nodes the first of them.
        let listen = SocketAddrV4::new(Ipv4Addr::new(a, b, c, host + 5), address.port());
        let relay = Relay::start(field("transport"), listen.into(), address.into()).await;
        for entry in entries {
            self.nodes[*entry].edit(|config| {
                config["nodes"][to]["address"] = listen.to_string().into();
            });
        }
        relay
    }

    /// A client of one node, by its index.
    pub(crate) fn kv(&self, index: usize) -> Kv {
        Kv::new(&self.nodes[index].client)
    }

    /// The index of a node by its id.
    pub(crate) fn index(&self, id: &str) -> usize {
        self.nodes.iter().position(|node| node.id == id).unwrap()
    }
}

impl Process {
    fn prepare(out: &Path, number: usize, layout: &Layout) -> Self {
        let config = out.join(format!("n{number}.toml"));
        let mut file: toml::Table = toml::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
        for (i, node) in file["nodes"].as_array_mut().unwrap().iter_mut().enumerate() {
            let wire = layout.wires[i % layout.wires.len()];
            node.as_table_mut().unwrap().insert("transport".to_owned(), wire.into());
        }
        // `init` lets clients and the operator in on 127.0.0.1 alone; here each node has a loopback address of its own.
        let address = file["nodes"][number - 1]["address"].as_str().unwrap();
        let host = address.rsplit_once(':').unwrap().0.to_owned();
        let listen = file["listen"].as_table_mut().unwrap();
        listen.insert("client".to_owned(), format!("{host}:7401").into());
        listen.insert("admin".to_owned(), format!("{host}:7402").into());
        // On a busy machine hedges and second attempts are a matter of luck: who wants them says so.
        let failover = file["failover"].as_table_mut().unwrap();
        failover.insert("hedge_percent".to_owned(), 0.into());
        failover.insert("attempt_timeout_ms".to_owned(), 10_000.into());
        // And what other tests take of the machine says nothing of what these nodes can do.
        file["limits"].as_table_mut().unwrap().insert("max_delay_permille".to_owned(), 0.into());
        (layout.edit)(number, &mut file);
        std::fs::write(&config, toml::to_string(&file).unwrap()).unwrap();
        let listen = |key| file["listen"][key].as_str().unwrap().to_owned();
        Self {
            id: file["id"].as_str().unwrap().to_owned(),
            client: listen("client"),
            admin: listen("admin"),
            config,
            child: None,
        }
    }

    fn file(&self) -> toml::Table {
        toml::from_str(&std::fs::read_to_string(&self.config).unwrap()).unwrap()
    }

    /// Changes the configuration. A process that runs already doesn't see it.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut toml::Table)) {
        let mut file = self.file();
        edit(&mut file);
        std::fs::write(&self.config, toml::to_string(&file).unwrap()).unwrap();
    }

    /// Starts the process. It ends with this one, however this one ends.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.id);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = homing()
            .arg("node")
            .arg("--config")
            .arg(&self.config)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn log_path(&self) -> PathBuf {
        self.config.with_extension("log")
    }

    /// What the process has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Waits until the process has logged this.
    pub(crate) async fn logs(&self, text: &str) {
        self.logs_again(text, 1).await;
    }

    /// Waits until its processes have logged this so many times.
    pub(crate) async fn logs_again(&self, text: &str, times: usize) {
        let started = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{} does not log {text:?}: {}",
                self.id,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        // Its standard input stays open until it has ended: it must end by what it was told.
        let stdin = child.stdin.take();
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
        let status = tokio::time::timeout(Duration::from_secs(30), ended).await;
        drop(stdin);
        status.unwrap_or_else(|_| panic!("{} did not end within 30 s", self.id)).unwrap()
    }

    /// Waits until a real read through this node is answered.
    pub(crate) async fn answers(&self) {
        let kv = Kv::new(&self.client);
        let started = Instant::now();
        loop {
            match kv.get("probe", "probe").await {
                Ok(_) => return,
                Err(error) if started.elapsed() > Duration::from_secs(60) => {
                    panic!("{} does not answer: {error}\n{}", self.id, self.log());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until this node reaches every other.
    async fn reaches_all(&self) {
        self.reaches_those(|_| true).await;
    }

    /// Waits until this node reaches another.
    pub(crate) async fn reaches(&self, id: &str) {
        self.reaches_those(|other| other == id).await;
    }

    async fn reaches_those(&self, wanted: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let status = self.admin_json("/status").await;
            let reached = |node: &Value| node["state"] == "alive" || !wanted(node["id"].as_str().unwrap());
            if status["nodes"].as_array().unwrap().iter().all(reached) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{} does not reach all: {status}", self.id);
        }
    }

    /// What the admin listener answers.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = Client::new(&self.admin).unwrap().send(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// What the admin listener answers, as JSON.
    pub(crate) async fn admin_json(&self, path: &str) -> Value {
        serde_json::from_str(&self.admin(path).await).unwrap()
    }

    /// The sum of a counter over the labels that contain `label`.
    pub(crate) async fn counter(&self, name: &str, label: &str) -> f64 {
        let metrics = self.admin("/metrics").await;
        let is_it = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(label);
        let lines = metrics.lines().filter(is_it);
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Loopback addresses that no other test uses: a network of this process (nextest gives each test one) and a count
/// within it.
fn own_hosts() -> String {
    static CLUSTERS: AtomicU8 = AtomicU8::new(0);
    static NETWORK: LazyLock<Network> = LazyLock::new(Network::claim);
    let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    let [a, b, c, _] = NETWORK.address.octets();
    format!("{a}.{b}.{c}.{}{{}}", cluster % 24 + 1)
}

/// A network of 256 addresses, for as long as this process lives.
struct Network {
    address: Ipv4Addr,
    /// Who has this listener has the network.
    _claim: TcpListener,
}

impl Network {
    fn claim() -> Self {
        let candidates = (std::process::id()..).map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            // 127.0.x.y is left to people.
            Ipv4Addr::new(127, high | 1, low, 254)
        });
        let mut claims =
            candidates.filter_map(|address| Some((address, TcpListener::bind((address, 7_399)).ok()?)));
        let (address, claim) = claims.next().unwrap();
        Self { address, _claim: claim }
    }
}
