//! What the manifests declare: which of our crates, and how much of tonic.

use super::finding::Finding;
use super::house::{Room, TONIC_FOR_ALL, TONIC_OWNERS, room};
use crate::workspace::{Dependency, Package};

/// Checks every crate against its room.
pub(crate) fn check(packages: &[Package], house: &[Room]) -> Vec<Finding> {
    let ours = |dependency: &Dependency| packages.iter().any(|package| package.name == dependency.name);
    let mut findings = Vec::new();
    for package in packages {
        match room(house, &package.name) {
            Some(room) => findings.extend(check_imports(package, room, ours)),
            None => findings.push(Finding::new(
                &package.manifest,
                format!("{} has no rule of what it may import", package.name),
                "give it a Room in xtask/src/tidy/house.rs",
            )),
        }
        if !TONIC_OWNERS.contains(&package.name.as_str()) {
            findings.extend(check_tonic(package));
        }
    }
    findings
}

/// Tests are held to the same imports; but a crate may import itself there, with more features.
fn check_imports(package: &Package, room: &Room, ours: impl Fn(&Dependency) -> bool) -> Vec<Finding> {
    let allowed = |dependency: &Dependency| {
        room.imports.contains(&dependency.name.as_str())
            || (dependency.is_dev() && dependency.name == package.name)
    };
    let broken = package.dependencies.iter().filter(|dependency| ours(dependency) && !allowed(dependency));
    broken
        .map(|dependency| {
            Finding::new(
                &package.manifest,
                format!("{} must not import {}", package.name, dependency.name),
                format!("it may import {}: move the code to where both are known", either(room.imports)),
            )
        })
        .collect()
}

fn either(names: &[&str]) -> String {
    if names.is_empty() { "none of our crates".to_owned() } else { format!("only {}", names.join(", ")) }
}

/// Cargo adds up what all crates ask of tonic, so one that asks for too much gives it to all.
/// Tests may dial and serve as a stranger would.
fn check_tonic(package: &Package) -> Vec<Finding> {
    let mut asked = Vec::new();
    for tonic in package.dependencies.iter().filter(|each| each.name == "tonic" && !each.is_dev()) {
        asked.extend(tonic.uses_default_features.then_some("default"));
        asked.extend(tonic.features.iter().map(String::as_str));
        let wanted = package.features.values().flatten().filter_map(|wanted| wanted.split_once('/'));
        asked.extend(
            wanted.filter(|(of, _)| of.trim_end_matches('?') == tonic.key()).map(|(_, feature)| feature),
        );
    }
    asked.retain(|feature| !TONIC_FOR_ALL.contains(feature));
    let finding = |feature| {
        Finding::new(
            &package.manifest,
            format!("{} switches on `{feature}` of tonic", package.name),
            "ask for `codegen` alone: what carries requests is homing-transport-grpc",
        )
    };
    asked.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::lines;
    use super::*;
    use crate::workspace::Workspace;
    use serde_json::{Value, json};

    const SMALL_HOUSE: &[Room] = &[
        Room { name: "low", imports: &[], builds: &[] },
        Room { name: "high", imports: &["low"], builds: &[] },
        Room { name: "homing-benches", imports: &[], builds: &[] },
        Room { name: "not-built-yet", imports: &[], builds: &[] },
    ];

    fn findings(packages: Value) -> Vec<String> {
        let metadata = json!({ "workspace_root": "/w", "packages": packages }).to_string();
        lines(check(&Workspace::parse(&metadata).unwrap().packages, SMALL_HOUSE))
    }

    fn package(name: &str, dependencies: Value) -> Value {
        json!({ "name": name, "manifest_path": format!("/w/{name}/Cargo.toml"), "targets": [],
                "dependencies": dependencies, "features": {} })
    }

    fn dependency(name: &str, kind: Option<&str>, features: &[&str]) -> Value {
        json!({ "name": name, "kind": kind, "rename": null, "uses_default_features": false, "features": features })
    }

    #[test]
    fn a_house_in_order_has_no_finding() {
        let low = package("low", json!([dependency("serde", None, &[])]));
        let high =
            package("high", json!([dependency("low", None, &[]), dependency("tonic", None, &["codegen"])]));
        assert_eq!(findings(json!([low, high])), [""; 0]);
    }

    #[test]
    fn an_import_of_what_stands_above_is_found() {
        let low = package("low", json!([dependency("high", None, &[])]));
        let high = package("high", json!([]));
        assert_eq!(
            findings(json!([low, high])),
            ["low/Cargo.toml: low must not import high; it may import none of our crates: \
              move the code to where both are known"]
        );
    }

    #[test]
    fn tests_and_build_scripts_are_held_to_the_same_imports() {
        for kind in ["dev", "build"] {
            let low = package("low", json!([dependency("high", Some(kind), &[])]));
            assert_eq!(findings(json!([low, package("high", json!([]))])).len(), 1, "{kind}");
        }
    }

    #[test]
    fn a_crate_may_import_itself_for_its_tests_only() {
        let own = |kind| json!([package("low", json!([dependency("low", kind, &["contract"])]))]);
        assert_eq!(findings(own(Some("dev"))), [""; 0]);
        assert_eq!(findings(own(None)).len(), 1);
    }

    #[test]
    fn a_crate_without_a_rule_is_found() {
        assert_eq!(
            findings(json!([package("shed", json!([]))])),
            ["shed/Cargo.toml: shed has no rule of what it may import; \
              give it a Room in xtask/src/tidy/house.rs"]
        );
    }

    #[test]
    fn tonics_channel_is_found_outside_of_its_owner() {
        let tonic = || json!([dependency("tonic", None, &["codegen", "channel"])]);
        assert_eq!(
            findings(json!([package("high", tonic())])),
            ["high/Cargo.toml: high switches on `channel` of tonic; \
              ask for `codegen` alone: what carries requests is homing-transport-grpc"]
        );
        assert_eq!(findings(json!([package("homing-benches", tonic())])), [""; 0]);
    }

    #[test]
    fn tonics_default_features_are_found() {
        let mut tonic = dependency("tonic", None, &[]);
        tonic["uses_default_features"] = true.into();
        assert_eq!(findings(json!([package("high", json!([tonic]))])).len(), 1);
    }

    #[test]
    fn tonics_server_is_found_behind_a_feature_of_the_crate() {
        for wanted in ["tonic/server", "tonic?/server", "wire/server"] {
            let mut tonic = dependency("tonic", None, &[]);
            if wanted.starts_with("wire") {
                tonic["rename"] = "wire".into();
            }
            let mut high = package("high", json!([tonic]));
            high["features"] = json!({ "face": [wanted, "serde/server"] });
            assert_eq!(findings(json!([high])).len(), 1, "{wanted}");
        }
    }
}
