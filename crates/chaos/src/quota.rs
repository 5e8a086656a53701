//! A share of a processor, by a control group: version 1 or 2, as the machine has it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where version 1 keeps the controller of processors, and where version 2 keeps all.
const V1: &str = "/sys/fs/cgroup/cpu";
const V2: &str = "/sys/fs/cgroup";

const PREFIX: &str = "homing-chaos-";

/// Over this time the share is counted. Shorter than the kernel's 100 ms, so that a share is not a long pause.
const PERIOD: Duration = Duration::from_millis(10);

/// Processes with a share of one processor, until it is dropped.
pub(crate) struct Quota {
    group: PathBuf,
}

impl Quota {
    /// A group named after this run and `name`.
    pub(crate) fn new(run: u32, name: &str, percent: u32) -> io::Result<Self> {
        let v1 = Path::new(V1).join("cpu.cfs_quota_us").exists() || Path::new(V1).join("tasks").exists();
        let group = Path::new(if v1 { V1 } else { V2 }).join(format!("{PREFIX}{run}-{name}"));
        if !v1 {
            fs::write(Path::new(V2).join("cgroup.subtree_control"), "+cpu")?;
        }
        fs::create_dir(&group)?;
        let quota = Self { group };
        quota.set(percent)?;
        Ok(quota)
    }

    /// Gives it another share.
    pub(crate) fn set(&self, percent: u32) -> io::Result<()> {
        let period = PERIOD.as_micros();
        // The kernel takes no share under 1 ms.
        let share = (period * u128::from(percent) / 100).max(1_000);
        let period = share * 100 / u128::from(percent.max(1));
        if self.group.starts_with(V1) {
            fs::write(self.group.join("cpu.cfs_period_us"), period.to_string())?;
            fs::write(self.group.join("cpu.cfs_quota_us"), share.to_string())
        } else {
            fs::write(self.group.join("cpu.max"), format!("{share} {period}"))
        }
    }

    /// Puts a process under it, with its threads.
    pub(crate) fn hold(&self, process: u32) -> io::Result<()> {
        fs::write(self.group.join("cgroup.procs"), process.to_string())
    }

    /// How often its processes were held back so far.
    pub(crate) fn throttled(&self) -> u64 {
        let said = fs::read_to_string(self.group.join("cpu.stat")).unwrap_or_default();
        let line = said.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        line.and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Quota {
    /// A group with processes in it can't be removed: they go back to where all are.
    fn drop(&mut self) {
        let all = self.group.parent().unwrap_or(&self.group).join("cgroup.procs");
        for process in fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(&all, process);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

/// The time that a process has had of processors (`man 5 proc_pid_stat`, in ticks of 10 ms).
pub(crate) fn used(process: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    Ok(Duration::from_millis(10 * ticks.sum::<u64>()))
}

/// Removes the groups of a run, and tells whether none is left: one can't be removed before its last process has ended.
pub(crate) fn remove_all(run: u32) -> bool {
    let mut gone = true;
    for (_, group) in groups().into_iter().filter(|(of, _)| *of == run) {
        gone &= fs::remove_dir(group).is_ok();
    }
    gone
}

/// The runs that have groups.
pub(crate) fn runs() -> Vec<u32> {
    groups().into_iter().map(|(run, _)| run).collect()
}

fn groups() -> Vec<(u32, PathBuf)> {
    let entries = [V1, V2].into_iter().flat_map(|at| fs::read_dir(at).into_iter().flatten().flatten());
    let run_of = |path: PathBuf| {
        let run = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()?;
        Some((run, path))
    };
    entries.filter_map(|entry| run_of(entry.path())).collect()
}
