//! Who runs here: what `homing dev` says, and leaves in its folder for the other commands.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::disk;

/// A cluster that `homing dev` runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) nodes: Vec<RunningNode>,
    /// Its folder.
    pub(crate) data: PathBuf,
}

/// One node of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunningNode {
    pub(crate) id: String,
    pub(crate) zone: String,
    pub(crate) pid: u32,
    pub(crate) node: String,
    pub(crate) client: String,
    pub(crate) admin: String,
}

impl Running {
    /// One document, for scripts and for the other commands.
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// What was left in a folder, if it is there and can be read.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(file(folder)).ok()?).ok()
    }

    /// Leaves word of who runs.
    pub(crate) fn leave(&self, folder: &Path) -> Result<()> {
        let file = file(folder);
        disk::write(&file, self.json()?.as_bytes(), disk::OPEN)
            .with_context(|| format!("can't write {}", file.display()))
    }

    /// Nobody runs any more: who asks finds no address rather than a dead one.
    pub(crate) fn forget(folder: &Path) -> Result<()> {
        let file = file(folder);
        disk::remove(&file).with_context(|| format!("can't remove {}", file.display()))
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("cluster.json")
}
