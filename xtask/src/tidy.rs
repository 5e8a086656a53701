//! The rules that no compiler knows, each a pure function from what was read to what it found.

mod docs;
mod finding;
mod house;
mod imports;
mod manifests;
mod reach;
mod versions;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::{Package, Workspace};
use finding::Finding;

/// Checks everything and prints what it found, one line each. True if that is nothing.
///
/// # Errors
/// Something couldn't be read, so that its rules were not checked.
pub(crate) fn run() -> Result<bool> {
    let workspace = Workspace::read()?;
    let findings = check(&workspace)?;
    let mut out = io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    writeln!(out, "xtask tidy: {} crates, {} findings", workspace.packages.len(), findings.len())?;
    Ok(findings.is_empty())
}

fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let Workspace { root, packages } = workspace;
    let mut findings = imports::check(packages, house::HOUSE);
    for package in packages {
        findings.extend(reach::check(package, house::HOUSE)?);
        findings.extend(manifests::check(&package.manifest, &read(root, &package.manifest)?)?);
        findings.extend(check_docs(root, package)?);
    }
    let beside = Path::new("fuzz/Cargo.toml");
    findings.extend(manifests::check_beside(
        beside,
        &read(root, beside)?,
        &read(root, Path::new("Cargo.toml"))?,
    )?);
    findings.extend(versions::check(&read(root, Path::new("Cargo.lock"))?)?);
    findings.extend(docs::check_papers(|paper| fs::read_to_string(root.join(paper)).ok()));
    if let Ok(map) = read(root, Path::new(docs::MAP)) {
        findings.extend(docs::check_map(&map, packages.iter().map(Package::folder)));
    }
    for source in rust_files(root, Path::new(""))? {
        findings.extend(docs::check_length(&source, &read(root, &source)?));
    }
    Ok(findings)
}

fn check_docs(root: &Path, package: &Package) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for target in &package.targets {
        if target.is_library() || target.is_binary() {
            let text = read(root, &target.source)?;
            findings.extend(docs::check_crate(&target.source, &text, target.is_library()));
        }
    }
    Ok(findings)
}

fn read(root: &Path, file: &Path) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| file.display().to_string())
}

/// All Rust files written by hand, below `folder`, relative to `root`.
fn rust_files(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(folder)).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            files.extend(path.extension().is_some_and(|end| end == "rs").then_some(path));
        } else if !is_skipped(&entry.file_name().to_string_lossy()) {
            files.extend(rust_files(root, &path)?);
        }
    }
    files.sort();
    Ok(files)
}

fn is_skipped(folder: &str) -> bool {
    folder == "target" || folder == "generated" || folder.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_written_by_hand_are_found_and_no_others() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = rust_files(&root, Path::new("")).unwrap();
        for ours in ["xtask/src/main.rs", "xtask/src/tidy/house.rs", "crates/types/src/lib.rs"] {
            assert!(files.iter().any(|file| file == Path::new(ours)), "{ours}");
        }
        for folder in ["target", "generated", ".git"] {
            assert!(!files.iter().any(|file| file.iter().any(|part| part == folder)), "{folder}");
        }
    }
}
