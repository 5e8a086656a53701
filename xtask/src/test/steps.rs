//! The steps of `cargo xtask test`, as data.

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
}

/// Parts of Rust that can be absent, and what installs them.
pub(crate) const COMPONENTS: &[(&str, &str)] =
    &[("clippy", "rustup component add clippy"), ("fmt", "rustup component add rustfmt")];

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
];

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
