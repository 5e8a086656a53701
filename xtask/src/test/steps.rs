//! The steps of `cargo xtask test`, as data.

use super::needs::{Need, SANITIZED};

/// One step.
pub(crate) struct Step {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) work: Work,
    /// Whether `--fast` leaves it out.
    pub(crate) slow: bool,
}

/// What a step does.
pub(crate) enum Work {
    /// Run this cargo command; success is its exit status.
    Cargo(&'static [&'static str]),
    /// Run the tests that these arguments choose, at least one: by nextest if it is there, else by
    /// `cargo test`.
    Tests(&'static [&'static str]),
    /// Run `cargo xtask tidy`.
    Tidy,
    /// Break each rule once, and see that a test notices.
    Twins,
    /// Run a command that needs something which may be absent, or an environment of its own.
    Command(Command),
}

/// A command line, and what it needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Without any of these the step is skipped, aloud. What the others rest on comes first.
    pub(crate) needs: &'static [Need],
    /// Environment variables, beside those that are there.
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// The program and its arguments.
    pub(crate) line: &'static [&'static str],
    /// Whether it is a `cargo test`, which must find at least one test. Nothing may follow a `--` then.
    pub(crate) is_test: bool,
}

impl Work {
    /// What must be there. A subcommand says so by itself.
    pub(crate) fn needs(&self) -> Vec<Need> {
        match self {
            Self::Cargo([subcommand, ..]) => Need::of_subcommand(subcommand).into_iter().collect(),
            Self::Cargo([]) | Self::Tests(_) | Self::Tidy | Self::Twins => Vec::new(),
            Self::Command(command) => command.needs.to_vec(),
        }
    }
}

/// All steps in order: what is quick and fails often comes first.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "format", work: Work::Cargo(&["fmt", "--all", "--", "--check"]), slow: false },
    Step {
        name: "clippy",
        work: Work::Cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        slow: false,
    },
    Step { name: "clippy, grpc alone", work: Work::Cargo(&clippy_alone("grpc")), slow: true },
    Step { name: "clippy, quic alone", work: Work::Cargo(&clippy_alone("quic")), slow: true },
    Step {
        name: "clippy, core of kv",
        work: Work::Cargo(&[
            "clippy",
            "--package",
            "homing-kv",
            "--no-default-features",
            "--",
            "-D",
            "warnings",
        ]),
        slow: true,
    },
    Step { name: "tidy", work: Work::Tidy, slow: false },
    Step { name: "tests", work: Work::Tests(&["--workspace"]), slow: false },
    Step {
        name: "space keys in Python",
        work: Work::Command(Command {
            needs: &[Need::PythonModule("xxhash")],
            env: &[],
            line: &["python3", "examples/space_key.py", "--check", "docs/space-keys.json"],
            is_test: false,
        }),
        slow: false,
    },
    Step { name: "simulation", work: Work::Cargo(&["xtask", "sim", "--seeds", "300"]), slow: false },
    Step { name: "model", work: Work::Cargo(&["xtask", "sim", "--model", "--quick"]), slow: false },
    Step { name: "tests in docs", work: Work::Cargo(&["test", "--workspace", "--doc"]), slow: false },
    // The contract suite has run with the tests of each transport; here the whole is put together.
    Step { name: "cluster, grpc alone", work: Work::Tests(&cluster_alone("grpc")), slow: true },
    Step { name: "cluster, quic alone", work: Work::Tests(&cluster_alone("quic")), slow: true },
    // The binary is called as the library is, so their docs can't be made at once; the library's stay.
    Step {
        name: "docs of the binary",
        work: Work::Cargo(&["doc", "--package", "homing-node", "--no-deps"]),
        slow: true,
    },
    Step {
        name: "docs",
        work: Work::Cargo(&["doc", "--workspace", "--exclude", "homing-node", "--no-deps"]),
        slow: true,
    },
    Step { name: "known-bad twins", work: Work::Twins, slow: true },
    Step { name: "chaos, the quick form", work: Work::Command(CHAOS), slow: true },
    Step { name: "publication under loom", work: Work::Command(LOOM), slow: true },
    Step { name: "table under AddressSanitizer", work: Work::Command(ADDRESS_SANITIZER), slow: true },
    Step { name: "table under ThreadSanitizer", work: Work::Command(THREAD_SANITIZER), slow: true },
    Step {
        name: "fuzz, operations on the table",
        work: Work::Command(Command { line: &fuzz("table"), ..FUZZ }),
        slow: true,
    },
    Step {
        name: "fuzz, hostile bytes",
        work: Work::Command(Command { line: &fuzz("wire"), ..FUZZ }),
        slow: true,
    },
];

/// A smoke run, of any toolchain: without a sanitizer, which only nightly has.
const FUZZ: Command =
    Command { needs: &[Need::Subcommand("fuzz"), Need::Cxx], env: &[], line: &[], is_test: false };

/// Long inputs from the start: so short a run would else try one or two operations only.
const fn fuzz(target: &'static str) -> [&'static str; 12] {
    [
        "cargo",
        "fuzz",
        "run",
        "--sanitizer=none",
        "--target-dir=target/fuzz",
        target,
        "--",
        "-max_total_time=20",
        "-max_len=400",
        "-len_control=0",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
}

/// Real nodes on a real network.
const CHAOS: Command = Command {
    needs: &[Need::Namespaces],
    env: &[],
    line: &["cargo", "xtask", "chaos", "--quick", "--require"],
    is_test: false,
};

/// Every interleaving of readers and a writer; crossbeam-epoch's own atomics are loom's, too.
const LOOM: Command = Command {
    needs: &[],
    env: &[("RUSTFLAGS", "--cfg crossbeam_loom")],
    line: &[
        "cargo",
        "test",
        "--release",
        "--package",
        "homing-routing-table",
        "--lib",
        "--target-dir",
        "target/loom",
        "publish",
    ],
    is_test: true,
};

/// Finds memory used after it was freed, and memory that nobody frees: what reclamation can do wrong.
///
/// `crossbeam_sanitize` lets crossbeam-epoch hand over garbage in batches of 4, not of 64, so that what is freed too early
/// is freed soon.
const ADDRESS_SANITIZER: Command = Command {
    needs: &[Need::Nightly],
    env: &[("RUSTFLAGS", "-Zsanitizer=address --cfg crossbeam_sanitize")],
    line: &[
        "rustup",
        "run",
        "nightly",
        "cargo",
        "test",
        "--package",
        "homing-routing-table",
        "--test",
        "it",
        "--target",
        SANITIZED,
        "--target-dir",
        "target/sanitizer/address",
        "readers",
    ],
    is_test: true,
};

/// Finds data races: what publication can do wrong, say a pointer that is stored without `Release`.
///
/// The standard library is built along, or its own synchronisation isn't seen and every lock looks like a race. Fences aren't
/// understood either; crossbeam-epoch (as of 0.9.21) sees that it is built for this sanitizer and does with other orderings
/// what it else does with fences, so that there is no list of suppressions.
const THREAD_SANITIZER: Command = Command {
    needs: &[Need::Nightly, Need::OfNightly("rust-src")],
    env: &[("RUSTFLAGS", "-Zsanitizer=thread --cfg crossbeam_sanitize")],
    line: &[
        "rustup",
        "run",
        "nightly",
        "cargo",
        "test",
        "-Zbuild-std",
        "--package",
        "homing-routing-table",
        "--test",
        "it",
        "--target",
        SANITIZED,
        "--target-dir",
        "target/sanitizer/thread",
        "readers",
    ],
    is_test: true,
};

const fn clippy_alone(wire: &'static str) -> [&'static str; 9] {
    [
        "clippy",
        "--package",
        "homing-node",
        "--no-default-features",
        "--features",
        wire,
        "--",
        "-D",
        "warnings",
    ]
}

const fn cluster_alone(wire: &'static str) -> [&'static str; 6] {
    ["--package", "homing-node", "--no-default-features", "--features", wire, "cluster"]
}
