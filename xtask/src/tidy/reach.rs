//! What a build really links, to any depth.
//!
//! `cargo metadata` adds up the features that all crates of the workspace and their tests ask for;
//! `cargo tree` resolves one crate with one set of features, as cargo builds it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::finding::Finding;
use super::house::{Build, Features, Room, room};
use crate::cargo;
use crate::workspace::Package;

/// Checks each feature set of a crate that has rules.
pub(crate) fn check(package: &Package, house: &[Room]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for build in room(house, &package.name).map_or(&[][..], |room| room.builds) {
        let tree = cargo::output(&tree_args(&package.name, build.features))?;
        findings.extend(check_tree(package, build, &tree)?);
    }
    Ok(findings)
}

fn tree_args(package: &str, features: Features) -> Vec<&str> {
    let mut args =
        vec!["tree", "--package", package, "--edges", "normal", "--prefix", "depth", "--format", "{p}"];
    match features {
        Features::All => args.push("--all-features"),
        Features::Only(names) => args.extend(["--no-default-features", "--features", names]),
    }
    args
}

fn check_tree(package: &Package, build: &Build, tree: &str) -> Result<Vec<Finding>> {
    let features = match build.features {
        Features::All => "all features".to_owned(),
        Features::Only("") => "no features".to_owned(),
        Features::Only(names) => format!("only {names}"),
    };
    let broken = forbidden(&package.name, build.never, tree)?;
    let findings = broken.into_iter().map(|path| {
        Finding::new(
            &package.manifest,
            format!("with {features} this must not be reached: {}", path.join(" -> ")),
            "drop that dependency or the feature that brings it",
        )
    });
    Ok(findings.collect())
}

/// The first path to each package that must not be reached.
fn forbidden<'t>(root: &str, never: &[&str], tree: &'t str) -> Result<Vec<Vec<&'t str>>> {
    let mut path = Vec::new();
    let mut broken = BTreeMap::new();
    for line in tree.lines() {
        let (depth, name) = parse(line).with_context(|| format!("cargo tree says {line:?}"))?;
        path.truncate(depth);
        path.push(name);
        if never.contains(&name) {
            broken.entry(name).or_insert_with(|| path.clone());
        }
    }
    // Without this, output that isn't understood would pass as a clean tree.
    ensure!(path.first() == Some(&root), "cargo tree of {root} begins with {:?}", path.first());
    Ok(broken.into_values().collect())
}

/// A line is a depth, a name, a version and what else cargo has to say: `3tokio v1.54.0 (*)`.
fn parse(line: &str) -> Option<(usize, &str)> {
    let (node, _) = line.split_once(' ')?;
    let digits = node.find(|letter: char| !letter.is_ascii_digit())?;
    Some((node[..digits].parse().ok()?, &node[digits..]))
}

#[cfg(test)]
mod tests {
    use super::super::finding::lines;
    use super::super::house::HOUSE;
    use super::*;
    use std::collections::BTreeMap;

    fn findings(name: &str, build: usize, tree: &str) -> Vec<String> {
        let package = Package {
            name: name.to_owned(),
            manifest: format!("crates/{name}/Cargo.toml").into(),
            targets: Vec::new(),
            dependencies: Vec::new(),
            features: BTreeMap::new(),
        };
        lines(check_tree(&package, &room(HOUSE, name).unwrap().builds[build], tree).unwrap())
    }

    #[test]
    fn a_clean_tree_has_no_finding() {
        let tree = "0homing-types v0.1.0 (/w/crates/types)\n1uuid v1.29.3\n1xxhash-rust v0.8.19";
        assert_eq!(findings("homing-types", 0, tree), [""; 0]);
    }

    #[test]
    fn what_is_reached_through_others_is_found_with_its_path() {
        let tree = "0homing-types v0.1.0 (/w/crates/types)\n1serde v1.0.2\n2serde_core v1.0.2\n\
                    1uuid v1.29.3\n2rand v0.10.0\n3getrandom v0.4.0\n1uuid v1.29.3 (*)";
        assert_eq!(
            findings("homing-types", 0, tree),
            [
                "crates/homing-types/Cargo.toml: with all features this must not be reached: \
                 homing-types -> uuid -> rand -> getrandom; drop that dependency or the feature that brings it",
                "crates/homing-types/Cargo.toml: with all features this must not be reached: \
                 homing-types -> uuid -> rand; drop that dependency or the feature that brings it",
            ]
        );
    }

    /// The crate, which of its builds, and the package that must be refused there.
    const REFUSED: &[(&str, usize, &str)] = &[
        ("homing-types", 0, "tokio"),
        ("homing-routing-table", 0, "mio"),
        ("homing-failover", 0, "rand"),
        ("homing-placement", 0, "socket2"),
        ("homing-transport", 0, "hyper"),
        ("homing-transport", 0, "tonic"),
        ("homing-transport", 0, "quinn"),
        ("homing-transport-grpc", 0, "homing-transport-quic"),
        ("homing-transport-grpc", 0, "homing-failover"),
        ("homing-transport-quic", 0, "homing-transport-grpc"),
        ("homing-transport-quic", 0, "homing-routing-table"),
        ("homing-router", 0, "homing-transport-grpc"),
        ("homing-router", 0, "homing-transport-quic"),
        ("homing-router", 0, "tonic"),
        ("homing-router", 0, "quinn"),
        ("homing-control", 0, "homing-kv"),
        ("homing-kv", 0, "tokio"),
        ("homing-kv", 0, "tonic"),
        ("homing-kv", 1, "quinn"),
        ("homing", 0, "homing-kv"),
        ("homing", 1, "quinn"),
        ("homing", 2, "homing-transport-grpc"),
        ("homing-node", 0, "ring"),
        ("homing-node", 1, "ring"),
        ("homing-node", 1, "quinn"),
        ("homing-node", 2, "ring"),
        ("homing-node", 2, "homing-transport-grpc"),
        ("homing-sim", 0, "quinn"),
    ];

    #[test]
    fn the_house_refuses_trees_that_break_its_rules() {
        for (name, build, package) in REFUSED {
            let tree = format!("0{name} v0.1.0 (/w)\n1between v1.0.0\n2{package} v1.0.0");
            assert_eq!(findings(name, *build, &tree).len(), 1, "{name} reaches {package}");
        }
    }

    #[test]
    fn the_builds_with_one_wire_switch_on_that_wire_alone() {
        let args = tree_args("homing-node", Features::Only("grpc")).join(" ");
        assert!(args.ends_with("--no-default-features --features grpc"), "{args}");
        assert!(tree_args("homing-node", Features::All).contains(&"--all-features"));
    }

    #[test]
    fn output_that_is_not_a_tree_of_the_crate_is_an_error_and_not_a_clean_tree() {
        for tree in ["", "homing-types v0.1.0", "0other v0.1.0"] {
            assert!(forbidden("homing-types", &["tokio"], tree).is_err(), "{tree:?}");
        }
    }
}
