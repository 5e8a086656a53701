//! The table on disk, so that a node that restarts knows at least what it knew: it must never act on an older epoch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use homing::routing_table::{Diff, RoutingTable};

use crate::disk;

/// How often a table that changed is written, where nobody waits for it.
const INTERVAL: Duration = Duration::from_millis(500);

/// The file of a node's table.
#[derive(Debug, Clone)]
pub(crate) struct TableFile {
    path: PathBuf,
    /// The version that was written last. Held while one is written: of two writers, none may undo the other.
    written: Arc<Mutex<Option<u64>>>,
}

impl TableFile {
    pub(crate) fn new(data: &Path) -> Self {
        Self { path: data.join("table"), written: Arc::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The table as it was last written; `None` if it never was.
    pub(crate) fn read(&self) -> Result<Option<Diff>> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Diff::decode(bytes).map(Some).with_context(|| {
                format!(
                    "{} is damaged: restore it from a backup, or remove it if no newer table was ever applied",
                    self.path.display()
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {}", self.path.display())),
        }
    }

    /// Writes the whole table, synced, unless this or a later version of it was written already.
    pub(crate) fn write(&self, table: &RoutingTable) -> io::Result<()> {
        // Who panicked here wrote a whole file or none.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = table.snapshot();
        if written.is_some_and(|written| written >= snapshot.version()) {
            return Ok(());
        }
        disk::write(&self.path, snapshot.to_diff().as_bytes(), disk::OPEN)?;
        *written = Some(snapshot.version());
        Ok(())
    }

    /// Writes the table whenever it has changed, for ever.
    pub(crate) async fn follow(self, table: Arc<RoutingTable>) {
        let mut seen = None;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let version = table.load().version();
            if seen != Some(version) {
                let (file, table) = (self.clone(), Arc::clone(&table));
                let result = tokio::task::spawn_blocking(move || file.write(&table)).await;
                match result {
                    Ok(Ok(())) => seen = Some(version),
                    Ok(Err(error)) => tracing::error!(%error, "the table can't be written"),
                    Err(error) => tracing::error!(%error, "writing the table failed"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use homing::routing_table::Group;
    use homing::{Epoch, Owners, Slot};

    use super::*;

    fn group(epoch: u64) -> Group {
        Group::new(Epoch::new(epoch), Owners::new("n1".parse().unwrap(), Vec::new()).unwrap())
    }

    fn apply(table: &RoutingTable, slot: u16, epoch: u64) {
        table.apply(&Diff::one(Slot::new(slot).unwrap(), group(epoch)).unwrap()).unwrap();
    }

    #[test]
    fn writers_at_once_leave_the_latest_table() {
        let folder = tempfile::tempdir().unwrap();
        let file = TableFile::new(folder.path());
        let table = RoutingTable::new();
        std::thread::scope(|scope| {
            for slot in 0..8 {
                let (file, table) = (&file, &table);
                scope.spawn(move || {
                    for epoch in 1..=10 {
                        apply(table, slot, epoch);
                        // Whoever says that it was kept is right: what was applied is in the file from here on.
                        file.write(table).unwrap();
                        let kept = file.read().unwrap().unwrap();
                        let group = kept.iter().find(|(at, _)| at.number() == slot).unwrap().1;
                        assert_eq!(group.epoch, Epoch::new(epoch));
                    }
                });
            }
        });
        let kept = file.read().unwrap().unwrap();
        assert_eq!(kept, table.snapshot().to_diff());
    }

    #[test]
    fn a_version_that_was_written_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = TableFile::new(folder.path());
        let table = RoutingTable::new();
        file.write(&table).unwrap();
        assert!(file.read().unwrap().unwrap().is_empty());
        std::fs::remove_file(file.path()).unwrap();
        file.write(&table).unwrap();
        assert!(file.read().unwrap().is_none());
        apply(&table, 0, 1);
        file.write(&table).unwrap();
        assert_eq!(file.read().unwrap().unwrap().len(), 1);
    }
}
