use homing_types::{Epoch, Space, Twin};
use redb::ReadableTable;

use super::tables::{DataRow, Meta, at, number};
use super::{Batch, StoreError};
use crate::limits::MAX_RECORDS;
use crate::{Applied, Entry, OpError, Position, Record, Refusal};

impl Batch<'_> {
    /// Commits the entries up to `position`: applies them to what reads show, remembers the results of
    /// those that carry an idempotency key, and takes them out of the log. The results come in the order
    /// of the entries; what was committed before has none.
    ///
    /// This alone is not synced: the entries are in the log, and will be committed again.
    ///
    /// # Errors
    /// [`Refusal::Gap`] if the entry is not here, [`Refusal::Diverged`] if another one was committed in
    /// its place, [`Refusal::Fenced`], or the store's.
    pub fn commit(
        &mut self,
        space: &Space,
        epoch: Epoch,
        position: Position,
    ) -> Result<Vec<Applied>, OpError> {
        let mut meta = self.admit(space, epoch)?;
        if position.seq < meta.committed.seq {
            return Ok(Vec::new());
        }
        if self.tables.label(space, &meta, position.seq)? != Some(position.epoch) {
            return Err(if position.seq == meta.committed.seq {
                Refusal::Diverged { at: meta.committed }.into()
            } else {
                Refusal::Gap(meta.standing()).into()
            });
        }
        let mut results = Vec::new();
        for seq in meta.committed.seq + 1..=position.seq {
            let entry = self.tables.take(space, seq)?.ok_or(StoreError::Damaged("log"))?;
            results.push(self.apply(space, &mut meta, &entry)?);
        }
        if !results.is_empty() {
            self.set_meta(space, &meta)?;
        }
        Ok(results)
    }

    /// Applies one entry. Everything here follows from the log alone, so that all copies agree.
    fn apply(&mut self, space: &Space, meta: &mut Meta, entry: &Entry) -> Result<Applied, StoreError> {
        let version = entry.position;
        let row_key = (space.as_str(), meta.generation, &entry.op.key().bytes()[..]);
        let found = match entry.op.value() {
            Some(value) => {
                let row = (version.epoch.number(), version.seq, &value.bytes()[..]);
                self.tables.data().insert(row_key, row)?.is_some()
            }
            None => self.tables.data().remove(row_key)?.is_some(),
        };
        let applied = Applied { version, found };
        let digest = entry.op.digest();
        if let Some(key) = entry.idempotency_key
            && !Twin::DedupeOutsideTransaction.is_on()
        {
            self.remember(space, meta, &Record { key, digest, applied })?;
        }
        meta.committed = version;
        meta.digest = digest;
        Ok(applied)
    }

    /// Remembers a result. The oldest key makes room for it, and the floor rises past that key.
    fn remember(&mut self, space: &Space, meta: &mut Meta, record: &Record) -> Result<(), StoreError> {
        if number(record.key) < meta.floor {
            // Entries before it in the log have raised the floor since it was proposed.
            return Ok(());
        }
        self.put_record(space, meta.generation, record)?;
        meta.records += 1;
        if meta.records > MAX_RECORDS {
            let (first, end) =
                ((space.as_str(), meta.generation, 0), (space.as_str(), meta.generation, u128::MAX));
            let oldest =
                self.tables.records().range(first..=end)?.next().transpose()?.map(|(key, _)| key.value().2);
            let oldest = oldest.ok_or(StoreError::Damaged("record"))?;
            self.tables.records().remove((space.as_str(), meta.generation, oldest))?;
            meta.records -= 1;
            meta.floor = oldest + 1;
        }
        Ok(())
    }

    pub(super) fn put_record(
        &mut self,
        space: &Space,
        generation: u64,
        record: &Record,
    ) -> Result<(), StoreError> {
        let Applied { version, found } = record.applied;
        let row = (record.digest, version.epoch.number(), version.seq, found);
        self.tables.records().insert((space.as_str(), generation, number(record.key)), row)?;
        Ok(())
    }
}

/// The version of a row of data.
pub(super) fn version(row: DataRow<'_>) -> Position {
    at(row.0, row.1)
}
