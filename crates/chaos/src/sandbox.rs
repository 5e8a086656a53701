//! Namespaces of its own for the whole run, so that nothing has to be removed: the kernel removes them with their last
//! process, however that ended.
//!
//! The program starts itself once more, as the first process of new network, mount and process namespaces. The hosts of the
//! network are made in there. When the one outside ends, by ctrl-C, by a crash or by kill -9, the kernel ends the one inside,
//! and with the first process of its namespace all others, and the namespaces with them. Only the folder on the disk and control groups stay
//! then; who comes next removes those whose process is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::quota;

/// How often, and how far apart, it is looked whether all those inside have ended.
const ENDING_STEPS: u32 = 100;
const ENDING_STEP: Duration = Duration::from_millis(20);

/// Tells the one inside its folder.
const FOLDER: &str = "HOMING_CHAOS_FOLDER";

/// The folder of the one inside; `None` outside.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Runs this program again in namespaces of its own, and ends as that does. `at` is where its folder is made.
pub(crate) async fn run(at: &Path) -> Result<ExitCode> {
    let id = std::process::id();
    fs::create_dir_all(at)?;
    remove_left(at);
    let folder = at.join(format!("run-{id}"));
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let mut inside = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(FOLDER, &folder)
        .kill_on_drop(true)
        .spawn()
        .context("can't start `setpriv --pdeathsig KILL unshare …`")?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let code = tokio::select! {
        status = inside.wait() => {
            // What its cases left there is to be read: their nodes' logs.
            let _ = fs::remove_dir(&folder);
            quota::remove_all(id);
            let code = status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Ok(ExitCode::from(code));
        }
        _ = interrupted.recv() => 130,
        _ = terminated.recv() => 143,
    };
    inside.kill().await?;
    remove(&folder, id);
    // The kernel ends those inside in its own time.
    for _ in 0..ENDING_STEPS {
        if quota::remove_all(id) {
            break;
        }
        sleep(ENDING_STEP).await;
    }
    Ok(ExitCode::from(code))
}

/// Removes what runs before have left: logs of cases that failed, and all of one that was killed with -9.
fn remove_left(at: &Path) {
    let Ok(entries) = fs::read_dir(at) else { return };
    let ended = |id: &u32| !Path::new(&format!("/proc/{id}")).exists();
    for entry in entries.flatten() {
        if let Some(id) = outer_id(&entry.path()).filter(ended) {
            remove(&entry.path(), id);
        }
    }
    for id in quota::runs().into_iter().filter(ended) {
        quota::remove_all(id);
    }
}

fn remove(folder: &Path, id: u32) {
    let _ = fs::remove_dir_all(folder);
    quota::remove_all(id);
}

/// The process id that the one inside is known by outside.
pub(crate) fn outer_id(folder: &Path) -> Option<u32> {
    folder.file_name()?.to_str()?.strip_prefix("run-")?.parse().ok()
}
