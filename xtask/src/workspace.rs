use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo;

/// The workspace as its manifests declare it, before any feature is resolved.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    /// The folder of the root manifest, absolute.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Our crates.
    pub(crate) packages: Vec<Package>,
}

/// One of our crates. Paths are relative to the root.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    #[serde(rename = "manifest_path")]
    pub(crate) manifest: PathBuf,
    pub(crate) targets: Vec<Target>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
}

/// A library, binary, test, … of a crate.
#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
    #[serde(rename = "src_path")]
    pub(crate) source: PathBuf,
}

/// A dependency as declared, with what it inherits from the root already merged in.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) rename: Option<String>,
    /// `None` for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    pub(crate) uses_default_features: bool,
    pub(crate) features: Vec<String>,
}

impl Workspace {
    /// Asks cargo for the workspace around the current folder.
    pub(crate) fn read() -> Result<Self> {
        Self::parse(&cargo::output(&["metadata", "--no-deps", "--format-version", "1"])?)
    }

    /// Reads the document that `cargo metadata --no-deps` prints.
    pub(crate) fn parse(metadata: &str) -> Result<Self> {
        let mut workspace: Self = serde_json::from_str(metadata).context("cargo metadata")?;
        for package in &mut workspace.packages {
            let sources = package.targets.iter_mut().map(|target| &mut target.source);
            for path in sources.chain([&mut package.manifest]) {
                if let Ok(relative) = path.strip_prefix(&workspace.root) {
                    *path = relative.to_path_buf();
                }
            }
        }
        Ok(workspace)
    }
}

impl Package {
    /// Its folder, say `crates/types`.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest.parent().unwrap_or(Path::new(""))
    }
}

impl Target {
    /// Whether other crates can import it.
    pub(crate) fn is_library(&self) -> bool {
        self.kind.iter().any(|kind| kind == "lib" || kind == "proc-macro")
    }

    /// Whether it is a program of its own.
    pub(crate) fn is_binary(&self) -> bool {
        self.kind.iter().any(|kind| kind == "bin")
    }
}

impl Dependency {
    /// Whether only tests, examples and benchmarks see it.
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }

    /// What the manifest calls it.
    pub(crate) fn key(&self) -> &str {
        self.rename.as_ref().unwrap_or(&self.name)
    }
}
