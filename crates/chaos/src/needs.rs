//! What the suite needs of a machine.

use std::process::{Command, Stdio};

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
    // Each of the others is there now, so that its refusal is the kernel's.
    if missing.is_empty()
        && !works(&["unshare", "--net", "--mount", "--pid", "--fork", "nft", "add table inet probe"])
    {
        missing.push("namespaces and nftables: this kernel or container refuses `unshare --net --mount --pid` or `nft add table`".to_owned());
    }
    missing
}

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
