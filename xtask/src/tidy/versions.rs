//! What `Cargo.lock` may hold. An advisory database can't be reached everywhere; this list can.

use anyhow::{Context, Result};
use semver::{Version, VersionReq};
use serde::Deserialize;

use super::finding::Finding;

/// When the lists below were last held against the advisories.
const CHECKED: &str = "2026-11-22";

/// Package and the versions that are sound. A pre-release is in no range.
const FLOORS: &[(&str, &str)] = &[
    ("aws-lc-sys", ">=0.39.0"),
    ("bytes", ">=1.11.1"),
    ("crossbeam-channel", ">=0.5.15"),
    ("crossbeam-epoch", ">=0.9.20"),
    // 7.0.0-rc2 is older than 6.2.
    ("dashmap", ">=6.0.0, <7.0.0"),
    ("h2", ">=0.4.18"),
    ("quinn-proto", ">=0.11.18"),
    ("ring", ">=0.17.12"),
    ("rustls", ">=0.23.0, <0.24.0"),
    ("rustls-webpki", ">=0.103.13"),
    ("slab", ">=0.4.11"),
    ("tokio", ">=1.44.2"),
];

/// Packages that nobody maintains, and what to take instead.
const UNMAINTAINED: &[(&str, &str)] = &[
    ("backoff", "backon"),
    ("bincode", "prost"),
    ("im", "the standard collections"),
    ("instant", "a time that is given"),
    ("rustls-pemfile", "rustls-pki-types"),
    ("serde_cbor", "prost"),
    ("sled", "redb"),
];

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: Version,
}

/// Checks every version in the text of a `Cargo.lock`.
pub(crate) fn check(lock: &str) -> Result<Vec<Finding>> {
    let lock: Lock = toml::from_str(lock).context("Cargo.lock")?;
    let mut findings = Vec::new();
    for locked in &lock.package {
        findings.extend(below_floor(locked)?);
        findings.extend(unmaintained(locked));
    }
    Ok(findings)
}

fn below_floor(Locked { name, version }: &Locked) -> Result<Option<Finding>> {
    let Some((_, sound)) = FLOORS.iter().find(|(floored, _)| floored == name) else { return Ok(None) };
    let finding = || {
        Finding::new(
            "Cargo.lock",
            format!("{name} {version} is not {sound} (checked {CHECKED})"),
            format!(
                "run `cargo update {name}@{version}`, or raise what `cargo tree -i {name}@{version}` shows"
            ),
        )
    };
    Ok((!VersionReq::parse(sound)?.matches(version)).then(finding))
}

fn unmaintained(Locked { name, version }: &Locked) -> Option<Finding> {
    let (_, instead) = UNMAINTAINED.iter().find(|(forbidden, _)| forbidden == name)?;
    Some(Finding::new(
        "Cargo.lock",
        format!("{name} {version} is unmaintained (checked {CHECKED})"),
        format!("take {instead}; `cargo tree -i {name}` shows who brings it"),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::finding::lines;
    use super::*;

    fn findings(packages: &[(&str, &str)]) -> Vec<String> {
        let entries = packages
            .iter()
            .map(|(name, version)| format!("[[package]]\nname = {name:?}\nversion = {version:?}\n"));
        lines(check(&format!("version = 4\n{}", entries.collect::<String>())).unwrap())
    }

    #[test]
    fn a_version_at_its_floor_passes() {
        for (name, sound) in FLOORS {
            let floor = sound.trim_start_matches(">=").split(',').next().unwrap();
            assert_eq!(findings(&[(name, floor)]), [""; 0]);
        }
    }

    #[test]
    fn a_version_below_its_floor_is_found() {
        for (name, below) in [
            ("aws-lc-sys", "0.38.9"),
            ("bytes", "1.11.0"),
            ("crossbeam-channel", "0.5.14"),
            ("crossbeam-epoch", "0.9.19"),
            ("dashmap", "5.5.3"),
            ("h2", "0.4.17"),
            ("quinn-proto", "0.11.17"),
            ("ring", "0.17.11"),
            ("rustls", "0.22.4"),
            ("rustls-webpki", "0.103.12"),
            ("slab", "0.4.10"),
            ("tokio", "1.44.1"),
        ] {
            assert_eq!(findings(&[(name, below)]).len(), 1, "{name} {below}");
        }
    }

    #[test]
    fn each_version_of_a_package_is_checked() {
        assert_eq!(
            findings(&[("h2", "0.4.20"), ("h2", "0.3.26")]),
            ["Cargo.lock: h2 0.3.26 is not >=0.4.18 (checked 2026-11-22); \
              run `cargo update h2@0.3.26`, or raise what `cargo tree -i h2@0.3.26` shows"]
        );
    }

    #[test]
    fn a_pre_release_is_found() {
        for (name, version) in
            [("rustls", "0.24.0-dev.2"), ("dashmap", "7.0.0-rc2"), ("tokio", "1.60.0-rc.1")]
        {
            assert_eq!(findings(&[(name, version)]).len(), 1, "{name} {version}");
        }
    }

    #[test]
    fn a_line_past_the_one_we_build_on_is_found() {
        for (name, version) in [("rustls", "0.24.0"), ("dashmap", "7.0.0")] {
            assert_eq!(findings(&[(name, version)]).len(), 1, "{name} {version}");
        }
    }

    #[test]
    fn what_nobody_maintains_is_found() {
        for name in ["backoff", "bincode", "im", "instant", "rustls-pemfile", "serde_cbor", "sled"] {
            assert_eq!(findings(&[(name, "1.0.0")]).len(), 1, "{name}");
        }
    }

    #[test]
    fn what_is_no_lock_file_is_an_error() {
        assert!(check("package = 3").is_err());
    }
}
