//! How a crate's manifest is written: versions and lints stand in the root alone.

use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::finding::Finding;

const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Checks the text of one crate's manifest.
pub(crate) fn check(file: &Path, text: &str) -> Result<Vec<Finding>> {
    let manifest: Table = text.parse().with_context(|| file.display().to_string())?;
    let mut findings: Vec<_> = dependencies(&manifest)
        .filter(|(_, dependency)| !stands_in_root(dependency))
        .map(|(name, _)| {
            Finding::new(
                file,
                format!("the version of {name} stands here"),
                format!(
                    "move it to [workspace.dependencies] of the root and write `{name}.workspace = true`"
                ),
            )
        })
        .collect();
    if !manifest.get("lints").is_some_and(inherits) {
        findings.push(Finding::new(
            file,
            "the lints of the workspace are not inherited",
            "add `[lints]` with `workspace = true`",
        ));
    }
    Ok(findings)
}

/// Checks the manifest of a workspace beside ours, which can't inherit: what the root has a version of, it asks for in the same.
pub(crate) fn check_beside(file: &Path, text: &str, root: &str) -> Result<Vec<Finding>> {
    let manifest: Table = text.parse().with_context(|| file.display().to_string())?;
    let root: Table = root.parse().context("Cargo.toml")?;
    let ours = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let other = dependencies(&manifest).filter_map(|(name, dependency)| {
        let (theirs, ours) = (version(dependency)?, version(ours?.get(name)?)?);
        (theirs != ours).then(|| {
            Finding::new(
                file,
                format!("it asks for {name} {theirs}"),
                format!("ask for {ours}, as the root does"),
            )
        })
    });
    Ok(other.collect())
}

fn version(dependency: &Value) -> Option<&str> {
    dependency.as_str().or_else(|| dependency.get("version")?.as_str())
}

/// All dependencies, those of single platforms too.
fn dependencies(manifest: &Table) -> impl Iterator<Item = (&String, &Value)> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = platforms.filter_map(Value::as_table).chain([manifest]);
    tables
        .flat_map(|table| SECTIONS.iter().filter_map(|section| table.get(*section)?.as_table()))
        .flat_map(Table::iter)
}

/// A crate names itself by path, to test itself with more features.
fn stands_in_root(dependency: &Value) -> bool {
    inherits(dependency) || dependency.get("path").and_then(Value::as_str) == Some(".")
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::super::finding::lines;
    use super::*;

    fn findings(manifest: &str) -> Vec<String> {
        lines(check(Path::new("crates/x/Cargo.toml"), manifest).unwrap())
    }

    fn with_lints(dependencies: &str) -> String {
        format!("[lints]\nworkspace = true\n{dependencies}")
    }

    #[test]
    fn inherited_versions_pass() {
        let manifest = with_lints(
            "[dependencies]\na.workspace = true\nb = { workspace = true, features = ['c'] }\n\
             [dev-dependencies]\nx = { path = '.', features = ['contract'] }\n",
        );
        assert_eq!(findings(&manifest), [""; 0]);
    }

    #[test]
    fn a_version_outside_of_the_root_is_found() {
        for dependencies in [
            "[dependencies]\na = '1.0'",
            "[dependencies]\na = { version = '1.0' }",
            "[dependencies.a]\nversion = '1.0'",
            "[dev-dependencies]\na = '1.0'",
            "[build-dependencies]\na = '1.0'",
            "[dependencies]\na = { git = 'https://example.org/a' }",
            "[dependencies]\na = { path = '../a' }",
            "[target.'cfg(unix)'.dependencies]\na = '1.0'",
        ] {
            assert_eq!(
                findings(&with_lints(dependencies)),
                ["crates/x/Cargo.toml: the version of a stands here; move it to \
                  [workspace.dependencies] of the root and write `a.workspace = true`"],
                "{dependencies}"
            );
        }
    }

    #[test]
    fn another_version_than_the_roots_is_found_in_a_workspace_beside() {
        let root = "[workspace.dependencies]\na = '1.4'\nb = { version = '2.0', features = ['c'] }\nd = { path = 'd' }";
        let beside = |dependencies: &str| {
            let text = format!("[workspace]\n[dependencies]\n{dependencies}");
            lines(check_beside(Path::new("fuzz/Cargo.toml"), &text, root).unwrap())
        };
        let same =
            "a = { version = '1.4', features = ['x'] }\nb = '2.0'\nd = { path = '../d' }\nalone = '0.4'";
        assert_eq!(beside(same), [""; 0]);
        assert_eq!(
            beside("a = '1.5'\nb = { version = '2' }"),
            [
                "fuzz/Cargo.toml: it asks for a 1.5; ask for 1.4, as the root does",
                "fuzz/Cargo.toml: it asks for b 2; ask for 2.0, as the root does",
            ]
        );
    }

    #[test]
    fn lints_that_are_not_inherited_are_found() {
        for manifest in ["", "[lints]\nworkspace = false", "[lints.rust]\nmissing_docs = 'allow'"] {
            assert_eq!(
                findings(manifest),
                ["crates/x/Cargo.toml: the lints of the workspace are not inherited; \
                  add `[lints]` with `workspace = true`"],
                "{manifest}"
            );
        }
    }
}
