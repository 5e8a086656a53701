//! The table on disk, so that a node that restarts knows at least what it knew: it must never act on an older epoch, nor write where
//! it has seen two contents under one.
//!
//! ```text
//! check      8 bytes: xxh3 of all that follows
//! conflicts  2 bytes: how many; 2 bytes each: slots
//! table      the rest: a diff
//! ```
//!
//! Numbers are big-endian.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use homing::Slot;
use homing::routing_table::{Diff, RoutingTable, Snapshot};
use xxhash_rust::xxh3::xxh3_64;

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
    pub(crate) fn read(&self) -> Result<Option<Kept>> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Kept::decode(&bytes).map(Some).with_context(|| {
                format!(
                    "{} can't be used: restore it from a backup, or remove it if no newer table was ever applied",
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
        disk::write(&self.path, &Kept::of(&snapshot).encode(), disk::OPEN)?;
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

/// What a node keeps of its table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    pub(crate) table: Diff,
    /// The slots of which two contents came with one epoch.
    pub(crate) conflicts: Vec<Slot>,
}

impl Kept {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self { table: snapshot.to_diff(), conflicts: snapshot.conflicts().collect() }
    }

    fn encode(&self) -> Vec<u8> {
        // There are 16,384 slots.
        let count = self.conflicts.len() as u16;
        let numbers = std::iter::once(count).chain(self.conflicts.iter().map(|slot| slot.number()));
        let mut rest: Vec<u8> = numbers.flat_map(u16::to_be_bytes).collect();
        rest.extend(self.table.as_bytes());
        [&xxh3_64(&rest).to_be_bytes(), rest.as_slice()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let Some((check, rest)) = bytes.split_first_chunk() else { bail!("it is too short") };
        ensure!(u64::from_be_bytes(*check) == xxh3_64(rest), "it is damaged, or of another version");
        let Some((count, rest)) = rest.split_first_chunk() else { bail!("it is too short") };
        let marks = rest.split_at_checked(2 * usize::from(u16::from_be_bytes(*count)));
        let Some((marks, table)) = marks else { bail!("it is too short") };
        let slots = marks.as_chunks().0.iter().map(|slot| Slot::new(u16::from_be_bytes(*slot)));
        let conflicts = slots.collect::<Option<_>>().context("it names a slot that does not exist")?;
        Ok(Self { table: Diff::decode(table)?, conflicts })
    }
}

#[cfg(test)]
mod tests {
    use homing::routing_table::Group;
    use homing::{Epoch, Owners};

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
                        let group = kept.table.iter().find(|(at, _)| at.number() == slot).unwrap().1;
                        assert_eq!(group.epoch, Epoch::new(epoch));
                    }
                });
            }
        });
        let kept = file.read().unwrap().unwrap();
        assert_eq!(kept, Kept::of(&table.snapshot()));
    }

    #[test]
    fn a_version_that_was_written_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = TableFile::new(folder.path());
        let table = RoutingTable::new();
        file.write(&table).unwrap();
        assert!(file.read().unwrap().unwrap().table.is_empty());
        std::fs::remove_file(file.path()).unwrap();
        file.write(&table).unwrap();
        assert!(file.read().unwrap().is_none());
        apply(&table, 0, 1);
        file.write(&table).unwrap();
        assert_eq!(file.read().unwrap().unwrap().table.len(), 1);
    }

    /// Else the two primaries of a slot in conflict would write again after a restart.
    #[test]
    fn a_conflict_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = TableFile::new(folder.path());
        let table = RoutingTable::new();
        apply(&table, 3, 7);
        let other = Owners::new("n2".parse().unwrap(), Vec::new()).unwrap();
        let slot = Slot::new(3).unwrap();
        table.apply(&Diff::one(slot, Group::new(Epoch::new(7), other)).unwrap()).unwrap();
        file.write(&table).unwrap();
        assert_eq!(file.read().unwrap().unwrap().conflicts, [slot]);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = TableFile::new(folder.path());
        let table = RoutingTable::new();
        apply(&table, 0, 1);
        file.write(&table).unwrap();
        let whole = std::fs::read(file.path()).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(file.path(), &bytes).unwrap();
            assert!(file.read().is_err(), "byte {at}");
            std::fs::write(file.path(), &whole[..at]).unwrap();
            assert!(file.read().is_err(), "cut at {at}");
        }
    }
}
