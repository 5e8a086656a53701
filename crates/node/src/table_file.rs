//! The table on disk, so that a node that restarts knows at least what it knew: it must never act on an older epoch.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use homing::routing_table::{Diff, RoutingTable, decode_diff, encode_diff};

/// How often a table that changed is written, where nobody waits for it.
const INTERVAL: Duration = Duration::from_millis(500);

/// The file of a node's table.
#[derive(Debug, Clone)]
pub(crate) struct TableFile {
    path: PathBuf,
}

impl TableFile {
    pub(crate) fn new(data: &Path) -> Self {
        Self { path: data.join("table") }
    }

    /// The table as it was last written; `None` if it never was.
    pub(crate) fn read(&self) -> Result<Option<Diff>> {
        match std::fs::read(&self.path) {
            Ok(bytes) => decode_diff(&bytes).map(Some).with_context(|| {
                format!(
                    "{} is damaged: restore it from a backup, or remove it if no newer table was ever applied",
                    self.path.display()
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {}", self.path.display())),
        }
    }

    /// Writes the whole table, synced: the old file or the new one is there after a crash, never half of one.
    pub(crate) fn write(&self, table: &RoutingTable) -> io::Result<()> {
        let whole = Diff::new(table.snapshot().groups()).map_err(io::Error::other)?;
        let next = self.path.with_extension("new");
        let mut file = File::create(&next)?;
        file.write_all(&encode_diff(&whole))?;
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Writes the table whenever it has changed, for ever.
    pub(crate) async fn follow(self, table: Arc<RoutingTable>) {
        let mut written = table.load().version();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let version = table.load().version();
            if version != written {
                let (file, table) = (self.clone(), Arc::clone(&table));
                let result = tokio::task::spawn_blocking(move || file.write(&table)).await;
                match result {
                    Ok(Ok(())) => written = version,
                    Ok(Err(error)) => tracing::error!(%error, "the table can't be written"),
                    Err(error) => tracing::error!(%error, "writing the table failed"),
                }
            }
        }
    }
}
