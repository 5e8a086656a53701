//! One case on one wire: a new cluster, what it is put through, and what is asked of it in the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::cluster::{Cluster, Counters, Hosts};
use crate::copies;
use crate::figures::Figures;
use crate::kv::{Asked, Ended};
use crate::load::{Done, Entry, Load, Offer, Spaces};
use crate::network::{OnHost, Packets};
use crate::report::{CaseReport, Check, Must};

/// How many spaces a cluster has: enough that each node is primary, replica and stranger of some.
const SPACES: usize = 60;

/// The size of a value, in bytes.
pub(crate) const VALUE: usize = 128;

/// What all cases share.
pub(crate) struct Arena {
    pub(crate) hosts: Hosts,
    pub(crate) load: OnHost,
    /// One for each host of the bare wire.
    pub(crate) bare: [OnHost; 2],
    pub(crate) binary: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) quick: bool,
    /// This run's process, as the machine knows it.
    pub(crate) run: u32,
}

impl Arena {
    /// One of two, by how long this run may be.
    pub(crate) const fn or_quick<T: Copy>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// A case under way.
pub(crate) struct Stage<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) cluster: Cluster<'a>,
    pub(crate) spaces: Arc<Spaces>,
    report: CaseReport,
    began: Instant,
    packets: Packets,
    counters: Counters,
    /// For how long there was a load, in milliseconds.
    loaded: Arc<AtomicU64>,
}

/// Changes nothing in a configuration.
pub(crate) const fn as_it_is(_: usize, _: &mut toml::Table) {}

impl<'a> Stage<'a> {
    /// Starts a cluster and fills it.
    pub(crate) async fn open(
        arena: &'a Arena,
        case: &str,
        wire: &'static str,
        edit: impl Fn(usize, &mut toml::Table),
    ) -> Result<Self> {
        arena.hosts.mend()?;
        let folder = arena.folder.join(format!("{case}-{wire}"));
        let mut cluster = Cluster::prepare(&arena.hosts, &arena.binary, folder, wire, edit)?;
        cluster.start().await?;
        let spaces = Arc::new(Spaces::fill(&cluster, SPACES, VALUE).await?);
        let (packets, counters) = (arena.hosts.packets()?, cluster.counters().await?);
        let report = CaseReport::new(case, wire);
        Ok(Self {
            arena,
            cluster,
            spaces,
            report,
            began: Instant::now(),
            packets,
            counters,
            loaded: Arc::default(),
        })
    }

    /// An offer that suits most cases: 200 calls a second, most of them reads, in all spaces.
    pub(crate) fn offer(&self, lasts: Duration) -> Offer {
        Offer {
            rate: 200.0,
            lasts,
            deadline: Duration::from_secs(10),
            reads: 70,
            unkeyed: 5,
            entry: Entry::Strangers,
            spaces: self.spaces.those(|_| true),
            connections: 1,
        }
    }

    pub(crate) fn load(&self, offer: Offer) -> Result<Load> {
        Load::start(&self.arena.load, &self.cluster, &self.spaces, offer, &self.loaded)
    }

    /// What the nodes' hosts have counted since this case began.
    pub(crate) fn packets(&self) -> Result<Packets> {
        Ok(self.arena.hosts.packets()? - self.packets)
    }

    /// Notes figures of a class of calls, and gives them back.
    pub(crate) fn class(&mut self, name: &str, figures: Figures) -> Figures {
        self.report.classes.push((name.to_owned(), figures.clone()));
        figures
    }

    /// Notes what shows that a fault was there. A fault that never fired is a failure.
    pub(crate) fn fired(&mut self, what: &str, times: f64) {
        self.report.fired.push((what.to_owned(), times));
        self.check(format!("{what}, so that it was there"), times, Must::AtLeast(1.0));
    }

    pub(crate) fn check(&mut self, what: impl Into<String>, value: f64, must: Must) {
        self.report.checks.push(Check::new(what, value, must));
    }

    /// A check that is a matter of speed.
    pub(crate) fn check_speed(&mut self, what: impl Into<String>, value: f64, must: Must) {
        self.report.checks.push(Check::of_speed(what, value, must));
    }

    /// A node can't serve. All is read all the same, and what has no copy there is written; what has one can't be written without it,
    /// as the authority of these clusters never promotes. Gives back the figures of the reads.
    pub(crate) fn judge_without(&mut self, victim: usize, calls: &[Done]) -> Figures {
        let there = |call: &&Done| self.spaces.owners[call.space].contain(victim);
        let writes = || calls.iter().filter(is_keyed_write);
        let elsewhere = Figures::of(writes().filter(|call| !there(call)));
        let with_copy = Figures::of(writes().filter(there));
        let reads = self.class("reads", Figures::of(calls.iter().filter(is_read)));
        self.all_answered("reads", &reads);
        let elsewhere = self.class("writes without a copy there", elsewhere);
        self.all_answered("writes without a copy there", &elsewhere);
        self.class("writes with a copy there", with_copy);
        reads
    }

    /// All is well again: what is due from then on must be answered.
    pub(crate) fn judge_after(&mut self, name: &str, from: Duration, calls: &[Done]) {
        let after = self.class(name, Figures::of(calls.iter().filter(|call| call.due > from)));
        self.all_answered(name, &after);
    }

    /// All calls of a class must be answered.
    pub(crate) fn all_answered(&mut self, what: &str, figures: &Figures) {
        self.check(format!("{what}: answered, in %"), figures.success(), Must::AtLeast(100.0));
    }

    pub(crate) fn note(&mut self, note: String) {
        self.report.notes.push(note);
    }

    /// Ends all faults, looks into all copies, and tells how it went. What can't be found out any more is a failure, and takes nothing
    /// from what was seen before.
    pub(crate) async fn close(mut self, calls: &[Done]) -> CaseReport {
        self.report.seconds = self.began.elapsed().as_secs_f64();
        let answered = calls.iter().filter(|call| matches!(call.ended, Ended::Answered(_))).count();
        self.report.goodput = answered as f64 / self.loaded.load(Ordering::Relaxed).max(1) as f64 * 1e3;
        let odd: Vec<_> = calls.iter().filter_map(odd).collect();
        self.check("calls without an end, or with a wrong answer", odd.len() as f64, Must::AtMost(0.0));
        self.report.notes.extend(odd.into_iter().take(3));
        if let Err(error) = self.look_into(calls).await {
            self.report.break_off(&error);
        }
        for node in &self.cluster.nodes {
            self.report.gaps.read(&node.log());
        }
        let folder = self.cluster.folder.clone();
        drop(self.cluster);
        // What the nodes have logged tells why a figure was missed.
        if self.report.missed().next().is_none() {
            let _ = std::fs::remove_dir_all(folder);
        }
        self.report
    }

    async fn look_into(&mut self, calls: &[Done]) -> Result<()> {
        // First: what can't be asked must not leave its faults to the next case.
        self.arena.hosts.mend()?;
        let long = self.packets()?.long;
        self.check("packets longer than the network's", long as f64, Must::AtMost(0.0));
        let counters = self.cluster.counters().await?;
        let more = |name: &str, label: &str| counters.sum(name, label) - self.counters.sum(name, label);
        self.report.retries = more("homing_retries_total", "");
        self.report.hedges = more("homing_hedges_total", "");
        self.report.hedges_won = more("homing_hedges_won_total", "");
        self.report.relays = more("homing_relays_total", "");
        self.report.corrections = more("homing_corrections_total", "");
        self.report.breakers_opened = more("homing_breaker_changes_total", "to=\"open\"");
        self.report.connections_replaced = more("homing_connections_replaced_total", "");
        let found = copies::check(&self.cluster, &self.spaces, calls).await?;
        self.check("acknowledged writes lost", found.lost as f64, Must::AtMost(0.0));
        self.check("writes applied twice", found.twice as f64, Must::AtMost(0.0));
        self.check("writes executed that were refused", found.refused as f64, Must::AtMost(0.0));
        self.check("copies unlike their primary's", found.different as f64, Must::AtMost(0.0));
        self.report.copies = Some(found);
        Ok(())
    }
}

/// What no fault excuses.
fn odd(call: &Done) -> Option<String> {
    let Done { due, took, asked, key, .. } = call;
    match &call.ended {
        Ended::Silent => Some(format!("{asked:?} {key}, due at {due:.1?}, did not end within {took:.1?}")),
        Ended::Wrong(what) => Some(format!("{asked:?} {key}, due at {due:.1?}: {what}")),
        _ => None,
    }
}

/// Those calls that read.
pub(crate) fn is_read(call: &&Done) -> bool {
    call.asked == Asked::Read
}

/// Those calls that write and may be sent again.
pub(crate) fn is_keyed_write(call: &&Done) -> bool {
    call.asked == Asked::Write
}
