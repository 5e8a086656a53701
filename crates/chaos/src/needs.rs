//! What the suite needs of a machine.

use std::process::{Command, Stdio};

use crate::quota::Quota;

/// What is missing here, each with how to get it.
pub(crate) fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !cfg!(target_os = "linux") {
        return vec!["Linux: network namespaces are its own".to_owned()];
    }
    if !rustix::process::geteuid().is_root() {
        return vec![
            "root, for network namespaces of its own: run it as root, or in a container of its own"
                .to_owned(),
        ];
    }
    for (program, package) in PROGRAMS {
        if !works(&[program, "--version"]) && !works(&[program, "-V"]) {
            missing.push(format!("{program}: Debian: apt-get install {package}"));
        }
    }
    if !missing.is_empty() {
        return missing;
    }
    // Each of the programs is there now, so that its refusal is the kernel's.
    for (what, line) in KERNEL {
        if !works(&["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", line]) {
            missing
                .push(format!("{what}: this kernel or container refuses `{line}` in namespaces of its own"));
        }
    }
    missing
}

/// Why there is no share of a processor to be had here; some cases need it. `run` names this run.
pub(crate) fn no_quota(run: u32) -> Option<String> {
    let probe = Quota::new(run, "probe", 50);
    probe.err().map(|error| format!("control groups with shares of a processor: {error}"))
}

/// What the kernel must do.
const KERNEL: &[(&str, &str)] = &[
    ("namespaces", "true"),
    ("veth pairs", "ip link add one type veth peer name other"),
    (
        "nftables with numgen",
        "nft 'add table inet t; add chain inet t c; add rule inet t c numgen random mod 100 < 1 counter drop'",
    ),
];

const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ethtool", "ethtool"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
];

fn works(line: &[&str]) -> bool {
    let mut asked = Command::new(line[0]);
    asked.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}
