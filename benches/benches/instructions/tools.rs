//! Whether the tools are there: gungraun fails where they are not, and a benchmark that can't run here should not.

use std::process::Command;

/// What is missing, and how to get it.
pub(crate) fn missing() -> Option<String> {
    if version("valgrind").is_none() {
        return Some("valgrind is missing; install it with the system's package manager".into());
    }
    let wanted = library_version();
    let install = format!("cargo install gungraun-runner --version ={wanted}");
    // Gungraun itself looks at this variable when it is compiled.
    let runner = option_env!("GUNGRAUN_RUNNER").unwrap_or("gungraun-runner");
    match version(runner) {
        None => Some(format!("gungraun-runner is missing; {install}")),
        Some(found) if !found.ends_with(&wanted) => {
            Some(format!("{found} is not the version of the library; {install}"))
        }
        Some(_) => None,
    }
}

fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The version of gungraun that this was built with, from the lock file.
fn library_version() -> String {
    let mut lines = include_str!("../../../Cargo.lock").lines();
    let found = lines.by_ref().any(|line| line == "name = \"gungraun\"");
    let version = lines.next().and_then(|line| line.split('"').nth(1)).filter(|_| found);
    version.unwrap_or("unknown").to_owned()
}
