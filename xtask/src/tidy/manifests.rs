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
