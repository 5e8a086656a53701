use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// What a figure was measured on. A figure without it says little.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The model of the processor.
    pub cpu: String,
    /// How many cores the process may use.
    pub cores: usize,
    /// The release of the kernel.
    pub kernel: String,
    /// The commit that was measured, and whether there were changes on top of it.
    pub commit: String,
}

impl Machine {
    /// This machine, with the commit that is checked out.
    #[must_use]
    pub fn here() -> Self {
        Self {
            cpu: cpu().unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |release| format!("Linux {}", release.trim())),
            commit: commit().unwrap_or_else(unknown),
        }
    }

    /// For a report.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "cpu": self.cpu, "cores": self.cores, "kernel": self.kernel })
    }
}

fn unknown() -> String {
    "unknown".into()
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let model = info.lines().find(|line| line.starts_with("model name"))?;
    Some(model.split_once(':')?.1.trim().to_owned())
}

fn commit() -> Option<String> {
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit} and changes") })
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where reports are written: `bench` in cargo's target directory. Only a benchmark is told where that is: pass
/// `env!("CARGO_TARGET_TMPDIR")`.
///
/// # Panics
/// If the directory can't be made.
#[must_use]
pub fn output_dir(target_tmp: &str) -> PathBuf {
    let target = Path::new(target_tmp).parent().expect("cargo's directory stands in its target directory");
    let dir = target.join("bench");
    fs::create_dir_all(&dir).expect("the target directory can be written");
    dir
}
