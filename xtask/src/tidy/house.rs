//! The house as data: what each crate may import and what it must never reach.
//!
//! `docs/ARCHITECTURE.md` says why. A rule for a crate that doesn't exist yet waits for it; a crate without
//! a rule is a finding.

/// The rules of one crate.
pub(crate) struct Room {
    /// Its package name.
    pub(crate) name: &'static str,
    /// Which of our crates its manifest may name.
    pub(crate) imports: &'static [&'static str],
    /// Feature sets, each with what it must never reach.
    pub(crate) builds: &'static [Build],
}

/// A crate built with some of its features, and what must not be linked into that.
pub(crate) struct Build {
    /// What is switched on.
    pub(crate) features: Features,
    /// Packages that are neither a dependency nor one of a dependency, to any depth.
    pub(crate) never: &'static [&'static str],
}

/// A choice of features.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Features {
    /// Every feature, and so the default ones too.
    All,
    /// These alone, without the default ones; separated by commas.
    Only(&'static str),
}

/// What would let a pure crate do I/O, read a clock of its own or draw its own randomness.
const IMPURE: &[&str] = &[
    "getrandom",
    "h2",
    "hyper",
    "mio",
    "quinn",
    "quinn-proto",
    "rand",
    "rustls",
    "socket2",
    "tokio",
    "tonic",
];

const GRPC: &str = "homing-transport-grpc";
const QUIC: &str = "homing-transport-quic";

/// Every crate of the workspace, from the bottom up.
pub(crate) const HOUSE: &[Room] = &[
    Room { name: "homing-types", imports: &[], builds: &[Build { features: Features::All, never: IMPURE }] },
    Room {
        name: "homing-routing-table",
        imports: &["homing-types"],
        builds: &[Build { features: Features::All, never: IMPURE }],
    },
    Room {
        name: "homing-failover",
        imports: &["homing-types"],
        builds: &[Build { features: Features::All, never: IMPURE }],
    },
    Room {
        name: "homing-placement",
        imports: &["homing-types", "homing-routing-table"],
        builds: &[Build { features: Features::All, never: IMPURE }],
    },
    Room {
        name: "homing-transport",
        imports: &["homing-types"],
        builds: &[Build {
            features: Features::All,
            never: &["h2", "hyper", "quinn", "quinn-proto", "tonic"],
        }],
    },
    Room {
        name: GRPC,
        imports: &["homing-transport", "homing-types"],
        builds: &[Build {
            features: Features::All,
            never: &[
                QUIC,
                "homing-failover",
                "homing-routing-table",
                "hyper",
                "quinn",
                "quinn-proto",
                "tonic",
            ],
        }],
    },
    Room {
        name: QUIC,
        imports: &["homing-transport", "homing-types"],
        builds: &[Build {
            features: Features::All,
            never: &[GRPC, "homing-failover", "homing-routing-table", "h2", "hyper", "tonic"],
        }],
    },
    Room {
        name: "homing-router",
        imports: &["homing-types", "homing-routing-table", "homing-failover", "homing-transport"],
        builds: &[Build { features: Features::All, never: &[GRPC, QUIC, "quinn", "quinn-proto", "tonic"] }],
    },
    Room {
        name: "homing-control",
        imports: &["homing-types", "homing-routing-table", "homing-placement", "homing-router"],
        builds: &[Build {
            features: Features::All,
            never: &[GRPC, QUIC, "homing-kv", "quinn", "quinn-proto", "tonic"],
        }],
    },
    Room {
        name: "homing-kv",
        imports: &["homing-types", "homing-transport", "homing-router"],
        builds: &[
            // The core is synchronous, so that the simulation runs it as it is.
            Build {
                features: Features::Only(""),
                never: &["homing-router", "homing-transport", "hyper", "mio", "rand", "tokio", "tonic"],
            },
            Build { features: Features::All, never: &[GRPC, QUIC, "quinn", "quinn-proto"] },
        ],
    },
    Room {
        name: "homing",
        imports: &[
            "homing-types",
            "homing-routing-table",
            "homing-failover",
            "homing-placement",
            "homing-transport",
            GRPC,
            QUIC,
            "homing-router",
            "homing-control",
        ],
        builds: &[
            Build { features: Features::All, never: &["homing-kv", "ring"] },
            Build { features: Features::Only("grpc"), never: &[QUIC, "quinn", "quinn-proto"] },
            Build { features: Features::Only("quic"), never: &[GRPC] },
        ],
    },
    Room {
        name: "homing-node",
        imports: &["homing", "homing-kv"],
        // A process with two crypto providers panics when one of them is asked for by default.
        builds: &[
            Build { features: Features::All, never: &["ring"] },
            Build { features: Features::Only("grpc"), never: &[QUIC, "quinn", "quinn-proto", "ring"] },
            Build { features: Features::Only("quic"), never: &[GRPC, "ring"] },
        ],
    },
    Room {
        name: "homing-sim",
        imports: &[
            "homing-types",
            "homing-routing-table",
            "homing-failover",
            "homing-placement",
            "homing-transport",
            "homing-router",
            "homing-control",
            "homing-kv",
        ],
        builds: &[Build {
            features: Features::All,
            never: &[GRPC, QUIC, "h2", "hyper", "quinn", "quinn-proto"],
        }],
    },
    Room {
        name: "homing-benches",
        imports: &[
            "homing",
            "homing-types",
            "homing-routing-table",
            "homing-failover",
            "homing-placement",
            "homing-transport",
            GRPC,
            QUIC,
            "homing-router",
            "homing-control",
            "homing-kv",
        ],
        builds: &[],
    },
    Room {
        name: "homing-chaos",
        imports: &["homing", "homing-kv", "homing-benches"],
        builds: &[Build { features: Features::All, never: &["ring"] }],
    },
    Room { name: "xtask", imports: &[], builds: &[] },
];

/// Who may switch on more of tonic than [`TONIC_FOR_ALL`]: the benchmarks, which measure bare tonic beside us. Our own gRPC
/// wire stands on h2.
pub(crate) const TONIC_OWNERS: &[&str] = &["homing-benches"];

/// What generated code needs: no channel, no server, no transport.
pub(crate) const TONIC_FOR_ALL: &[&str] = &["codegen"];

/// The rules of a crate.
pub(crate) fn room<'a>(house: &'a [Room], name: &str) -> Option<&'a Room> {
    house.iter().find(|room| room.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_ours_in_a_rule_has_a_room() {
        for each in HOUSE {
            let never = each.builds.iter().flat_map(|build| build.never);
            for name in each.imports.iter().chain(never).filter(|name| name.starts_with("homing")) {
                assert!(room(HOUSE, name).is_some(), "{} names {name}", each.name);
            }
        }
    }

    #[test]
    fn arrows_only_go_down() {
        for (index, each) in HOUSE.iter().enumerate().filter(|(_, each)| each.name != "homing-benches") {
            for import in each.imports {
                let below = HOUSE[..index].iter().any(|lower| lower.name == *import);
                assert!(below, "{} imports {import}, which stands above it", each.name);
            }
        }
    }
}
