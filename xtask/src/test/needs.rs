//! What a step needs and a machine may not have, as data; and how to ask for it.

use std::env;
use std::ffi::OsString;
use std::process::{Command, Stdio};

use crate::cargo;

/// The platform whose sanitizers the steps use.
pub(crate) const SANITIZED: &str = "x86_64-unknown-linux-gnu";

/// Something that can be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A subcommand of cargo, say `clippy`.
    Subcommand(&'static str),
    /// A module of `python3`.
    PythonModule(&'static str),
    /// rustup's toolchain `nightly` for [`SANITIZED`].
    Nightly,
    /// A component of that toolchain.
    OfNightly(&'static str),
    /// A C++ compiler: `CXX`, or `c++`.
    Cxx,
    /// Network namespaces of one's own with nftables in them: root on Linux, where a container doesn't forbid it.
    Namespaces,
}

/// Subcommands that aren't part of every cargo, and what installs them.
const SUBCOMMANDS: &[(&str, &str)] = &[
    ("clippy", "rustup component add clippy"),
    ("fmt", "rustup component add rustfmt"),
    ("fuzz", "cargo install cargo-fuzz"),
];

impl Need {
    /// The need for a subcommand that isn't part of every cargo.
    pub(crate) fn of_subcommand(name: &'static str) -> Option<Self> {
        install(name).map(|_| Self::Subcommand(name))
    }

    /// That it isn't there, and how to get it.
    pub(crate) fn missing(self) -> String {
        match self {
            Self::Subcommand(name) => format!("not installed: {}", install(name).unwrap_or(name)),
            Self::PythonModule(name) => format!("no python3 with {name}: pip install {name}"),
            Self::Nightly => {
                format!("no nightly toolchain for {SANITIZED}: rustup toolchain install nightly")
            }
            Self::OfNightly(name) => {
                format!("nightly without {name}: rustup component add {name} --toolchain nightly")
            }
            Self::Cxx => "no C++ compiler: Debian: apt-get install g++".to_owned(),
            Self::Namespaces => {
                "no network namespaces: run it on Linux as root, with iproute2, nftables and ethtool: \
                                 Debian: apt-get install iproute2 nftables ethtool"
                    .to_owned()
            }
        }
    }

    /// Asks this machine.
    pub(crate) fn is_met(self) -> bool {
        match self {
            Self::Subcommand(name) => cargo::has(name),
            Self::PythonModule(name) => works("python3", &["-c", &format!("import {name}")]),
            Self::Nightly => names(&said("rustup", &["toolchain", "list"]), &format!("nightly-{SANITIZED}")),
            Self::OfNightly(name) => {
                let installed = ["component", "list", "--installed", "--toolchain", "nightly"];
                names(&said("rustup", &installed), name)
            }
            Self::Cxx => works(env::var_os("CXX").unwrap_or_else(|| "c++".into()), &["--version"]),
            Self::Namespaces => {
                let probe = "ip link set lo up && nft add table inet probe && ethtool --version";
                works("unshare", &["--net", "--mount", "--pid", "--fork", "sh", "-c", probe])
            }
        }
    }
}

fn install(subcommand: &str) -> Option<&'static str> {
    SUBCOMMANDS.iter().find(|(name, _)| *name == subcommand).map(|(_, install)| *install)
}

/// Whether the first word of a line is this name: rustup marks toolchains with `(active, default)`.
fn names(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.split_whitespace().next() == Some(name))
}

fn works(program: impl Into<OsString>, args: &[&str]) -> bool {
    let mut asked = Command::new(program.into());
    asked.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

/// What a program prints; nothing if it isn't there or fails.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stderr(Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_says_how_to_meet_it() {
        for (need, how) in [
            (Need::Subcommand("fuzz"), "not installed: cargo install cargo-fuzz"),
            (Need::PythonModule("xxhash"), "no python3 with xxhash: pip install xxhash"),
            (
                Need::Nightly,
                "no nightly toolchain for x86_64-unknown-linux-gnu: rustup toolchain install nightly",
            ),
            (
                Need::OfNightly("rust-src"),
                "nightly without rust-src: rustup component add rust-src --toolchain nightly",
            ),
            (Need::Cxx, "no C++ compiler: Debian: apt-get install g++"),
            (
                Need::Namespaces,
                "no network namespaces: run it on Linux as root, with iproute2, nftables and ethtool: \
                 Debian: apt-get install iproute2 nftables ethtool",
            ),
        ] {
            assert_eq!(need.missing(), how);
        }
    }

    #[test]
    fn only_subcommands_that_can_be_absent_are_a_need() {
        assert_eq!(Need::of_subcommand("fmt"), Some(Need::Subcommand("fmt")));
        assert_eq!(Need::of_subcommand("test"), None);
    }

    #[test]
    fn a_toolchain_is_found_by_its_whole_name() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-x86_64-unknown-linux-gnu\n";
        assert!(
            names(list, "nightly-x86_64-unknown-linux-gnu") && names(list, "stable-x86_64-unknown-linux-gnu")
        );
        let dated = "nightly-2026-05-19-x86_64-unknown-linux-gnu\nnightly-x86_64-unknown-linux-gnux32\n";
        assert!(!names(dated, "nightly-x86_64-unknown-linux-gnu") && !names("", "rust-src"));
    }

    #[test]
    fn what_is_not_there_is_not_met() {
        assert!(!works("no-such-program", &[]) && said("no-such-program", &[]).is_empty());
        assert!(!Need::PythonModule("no_such_module").is_met());
        assert!(!Need::Subcommand("no-such-subcommand").is_met());
    }
}
