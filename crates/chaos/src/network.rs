//! Hosts on one network: each a network namespace with one end of a veth pair, all others on one bridge.
//!
//! Faults are rules of nftables at the input of a host, so that a packet is lost on its way, and not where it was sent: a local
//! sender would be told. Segmentation offloads are off: a packet is a packet, or whole trains of them would be lost at once.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::Ipv4Addr;
use std::ops::{AddAssign, Sub};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Addresses are 10.77.0.x. The suite itself has this one, which no fault touches.
const NETWORK: [u8; 3] = [10, 77, 0];
const CONTROL: u8 = 254;

/// A packet that is longer than any of a network without offloads, in bytes.
const LONG: u32 = 1_514;

/// A host, with its faults.
pub(crate) struct Host {
    name: String,
    pub(crate) address: Ipv4Addr,
    faults: Mutex<Faults>,
}

/// What happens to the packets that come to a host from others that have faults, too.
#[derive(Default)]
struct Faults {
    /// Who those are.
    peers: BTreeSet<Ipv4Addr>,
    /// How many of 1,000 packets are lost.
    lost: u32,
    /// From whom nothing comes.
    cut: BTreeSet<Ipv4Addr>,
}

/// What the rules have counted, in packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Packets {
    /// Those that came in.
    pub(crate) passed: u64,
    /// Those that were lost.
    pub(crate) lost: u64,
    /// Those that came over a link that is cut.
    pub(crate) cut: u64,
    /// Those that passed, and are longer than a packet can be.
    pub(crate) long: u64,
}

/// Makes the bridge.
pub(crate) fn make() -> Result<()> {
    // Names of namespaces are files in /run/netns, here alone.
    run("mount", &["-t", "tmpfs", "homing-chaos", "/run"])?;
    ip("link set lo up")?;
    ip("link add br0 type bridge")?;
    ip(&format!("address add {}/24 dev br0", address(CONTROL)))?;
    ip("link set br0 up")
}

const fn address(host: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, host)
}

/// A runtime whose sockets are on a host. What runs there ends with it.
pub(crate) struct OnHost(Option<Runtime>);

impl std::ops::Deref for OnHost {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for OnHost {
    /// A runtime waits for its end, which tokio allows no thread of another one. Afterwards its ports are free.
    fn drop(&mut self) {
        let runtime = self.0.take();
        let _ = std::thread::spawn(move || drop(runtime)).join();
    }
}

impl Host {
    /// Makes a host, whose address ends in `number`.
    pub(crate) fn new(name: &str, number: u8) -> Result<Self> {
        let host = Self { name: name.to_owned(), address: address(number), faults: Mutex::default() };
        let near = format!("v-{name}");
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {near} type veth peer name eth0 netns {name}"))?;
        ip(&format!("link set {near} master br0 up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} address add {}/24 dev eth0", host.address))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        run("ethtool", &[&["-K", &near], OFFLOADS].concat())?;
        run("ip", &[&["netns", "exec", name, "ethtool", "-K", "eth0"], OFFLOADS].concat())?;
        host.nft(TABLE)?;
        Ok(host)
    }

    /// A command that runs there.
    pub(crate) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// A runtime whose tasks, if they are spawned, run there.
    pub(crate) fn runtime(&self) -> Result<OnHost> {
        let path = format!("/run/netns/{}", self.name);
        let place = File::open(&path).with_context(|| format!("can't open {path}"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || {
                use std::os::fd::AsFd;
                move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("a namespace that was made here can be entered");
            })
            .build()?;
        Ok(OnHost(Some(runtime)))
    }

    /// From whom faults may come.
    pub(crate) fn peers(&self, peers: impl IntoIterator<Item = Ipv4Addr>) -> Result<()> {
        self.change(|faults| faults.peers = peers.into_iter().filter(|peer| *peer != self.address).collect())
    }

    /// From now on so many of 1,000 packets of each peer are lost on their way here.
    pub(crate) fn lose(&self, of_1000: u32) -> Result<()> {
        self.change(|faults| faults.lost = of_1000)
    }

    /// From now on nothing comes here from this peer.
    pub(crate) fn cut(&self, from: &Self) -> Result<()> {
        self.change(|faults| {
            faults.cut.insert(from.address);
        })
    }

    /// All comes here again.
    pub(crate) fn mend(&self) -> Result<()> {
        self.change(|faults| {
            faults.cut.clear();
            faults.lost = 0;
        })
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) -> Result<()> {
        let mut faults = self.faults.lock();
        change(&mut faults);
        self.nft(&faults.rules())
    }

    /// What was counted since the host was made.
    pub(crate) fn packets(&self) -> Result<Packets> {
        let said = self
            .command("nft".as_ref())
            .args(["-j", "list", "counters", "table", "inet", "chaos"])
            .output()?;
        let said: Value = serde_json::from_slice(&said.stdout).context("nft -j list counters")?;
        let mut packets = Packets::default();
        for counter in said["nftables"].as_array().into_iter().flatten().map(|item| &item["counter"]) {
            let number = counter["packets"].as_u64().unwrap_or_default();
            match counter["name"].as_str() {
                Some("passed") => packets.passed = number,
                Some("lost") => packets.lost = number,
                Some("cut") => packets.cut = number,
                Some("long") => packets.long = number,
                _ => {}
            }
        }
        Ok(packets)
    }

    fn nft(&self, rules: &str) -> Result<()> {
        use std::io::Write;
        let mut nft = self.command("nft".as_ref());
        let mut child = nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("nft has no standard input")?.write_all(rules.as_bytes())?;
        let ended = child.wait_with_output()?;
        ensure!(
            ended.status.success(),
            "nft at {}: {}\n{rules}",
            self.name,
            String::from_utf8_lossy(&ended.stderr)
        );
        Ok(())
    }
}

const OFFLOADS: &[&str] = &["tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off"];

const TABLE: &str = "
table inet chaos {
    counter passed { }
    counter lost { }
    counter cut { }
    counter long { }
    chain input { type filter hook input priority 0; policy accept; }
}";

impl Faults {
    /// All rules anew; nft takes them all or none.
    fn rules(&self) -> String {
        let rule = |from: &BTreeSet<Ipv4Addr>, does: String| {
            let from: Vec<_> = from.iter().map(ToString::to_string).collect();
            if from.is_empty() {
                return String::new();
            }
            format!("add rule inet chaos input ip saddr {{ {} }} {does}\n", from.join(", "))
        };
        let mut rules = "flush chain inet chaos input\n".to_owned();
        rules += &rule(&self.cut, "counter name cut drop".to_owned());
        if self.lost > 0 {
            rules +=
                &rule(&self.peers, format!("numgen random mod 1000 < {} counter name lost drop", self.lost));
        }
        rules += &rule(&self.peers, format!("meta length > {LONG} counter name long"));
        rules += &rule(&self.peers, "counter name passed".to_owned());
        rules
    }
}

impl Sub for Packets {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            passed: self.passed - before.passed,
            lost: self.lost - before.lost,
            cut: self.cut - before.cut,
            long: self.long - before.long,
        }
    }
}

impl AddAssign for Packets {
    fn add_assign(&mut self, other: Self) {
        let Self { passed, lost, cut, long } = other;
        self.passed += passed;
        self.lost += lost;
        self.cut += cut;
        self.long += long;
    }
}

fn ip(line: &str) -> Result<()> {
    run("ip", &line.split_whitespace().collect::<Vec<_>>())
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let ended = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let ended = ended.with_context(|| format!("can't run {program}"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
