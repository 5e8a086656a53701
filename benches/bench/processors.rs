//! Which processors the load has, and which all that it starts.
//!
//! Between machines nobody takes turns with its peer on one processor. Where both may run anywhere, how they do decides more than what is measured.

use std::sync::OnceLock;

use anyhow::Result;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

struct Shares {
    load: CpuSet,
    others: CpuSet,
}

static SHARES: OnceLock<Shares> = OnceLock::new();

/// Leaves half of the processors, the larger one, to what is started from now on, unless there is but one. It must be called before there are threads.
///
/// # Errors
/// Where the system doesn't say which there are: it tells of 1,024 at most.
pub(crate) fn share() -> Result<()> {
    let all = sched_getaffinity(None)?;
    let half = all.count() as usize / 2;
    let (mut load, mut others) = (CpuSet::new(), CpuSet::new());
    for processor in (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor)) {
        let share = if (load.count() as usize) < half { &mut load } else { &mut others };
        share.set(processor);
    }
    if half > 0 {
        sched_setaffinity(None, &load)?;
        let _ = SHARES.set(Shares { load, others });
    }
    Ok(())
}

/// Starts what is not the load: it inherits the processors of the thread that starts it.
pub(crate) fn beside<T>(start: impl FnOnce() -> T) -> Result<T> {
    let Some(Shares { load, others }) = SHARES.get() else { return Ok(start()) };
    sched_setaffinity(None, others)?;
    let started = start();
    sched_setaffinity(None, load)?;
    Ok(started)
}

/// How many processors one has that is started.
pub(crate) fn of_others() -> Result<usize> {
    Ok(beside(std::thread::available_parallelism)??.get())
}

/// Whether all run on all of them.
pub(crate) fn floating() -> bool {
    SHARES.get().is_none()
}

/// How they are shared out, in plain words.
pub(crate) fn told() -> String {
    let names = |set: &CpuSet| {
        let set: Vec<_> =
            (0..CpuSet::MAX_CPU).filter(|one| set.is_set(*one)).map(|one| one.to_string()).collect();
        set.join(", ")
    };
    match SHARES.get() {
        Some(Shares { load, others }) => {
            format!("processors {} for the load, {} for all else", names(load), names(others))
        }
        None => "all on all processors".to_owned(),
    }
}
