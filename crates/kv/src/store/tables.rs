use homing_types::{Epoch, IdempotencyKey, Space};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::{StoreError, stored_space};
use crate::{Applied, Entry, Key, Op, Position, Record, Standing, Value};

/// Space → what is known of it as a whole.
pub(super) const META: TableDefinition<&str, MetaRow> = TableDefinition::new("meta");
/// What reads show.
pub(super) const DATA: TableDefinition<DataKey<'static>, DataRow<'static>> = TableDefinition::new("data");
/// Space, seq → an entry that is not committed.
pub(super) const LOG: TableDefinition<(&str, u64), LogRow<'static>> = TableDefinition::new("log");
/// Space, idempotency key → seq and digest of the entry in the log that carries it.
const PENDING: TableDefinition<(&str, u128), (u64, u128)> = TableDefinition::new("pending");
/// Results of writes that may be retried.
pub(super) const RECORDS: TableDefinition<RecordKey<'static>, RecordRow> = TableDefinition::new("records");
/// Space → a full copy under way.
const STAGES: TableDefinition<&str, StageRow> = TableDefinition::new("stages");

/// Fence, last (epoch, seq), committed (epoch, seq, digest), floor, number of records, generation.
type MetaRow = (u64, u64, u64, u64, u64, u128, u128, u64, u64);
/// Space, generation, key.
pub(super) type DataKey<'a> = (&'a str, u64, &'a [u8]);
/// Version (epoch, seq), value.
pub(super) type DataRow<'a> = (u64, u64, &'a [u8]);
/// Epoch, idempotency key or 0, key, value or none to delete.
pub(super) type LogRow<'a> = (u64, u128, &'a [u8], Option<&'a [u8]>);
/// Space, generation, idempotency key.
type RecordKey<'a> = (&'a str, u64, u128);
/// Digest, version (epoch, seq), found.
type RecordRow = (u128, u64, u64, bool);
/// Epoch, position (epoch, seq), next part, generation, number of records.
type StageRow = (u64, u64, u64, u32, u64, u64);

/// What is known of a space as a whole.
///
/// Items and records are kept under a `generation`, so that a full copy can be written beside them
/// and made visible by one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meta {
    /// The highest epoch seen. It never falls.
    pub(super) fence: Epoch,
    pub(super) last: Position,
    pub(super) committed: Position,
    /// The digest of the last committed entry; 0 where it came with a full copy, or there is none.
    pub(super) digest: u128,
    /// Idempotency keys below it, as numbers, are too late. It never falls.
    pub(super) floor: u128,
    pub(super) records: u64,
    pub(super) generation: u64,
}

impl Meta {
    pub(super) fn from_row(row: MetaRow) -> Self {
        Self {
            fence: Epoch::new(row.0),
            last: at(row.1, row.2),
            committed: at(row.3, row.4),
            digest: row.5,
            floor: row.6,
            records: row.7,
            generation: row.8,
        }
    }

    fn row(&self) -> MetaRow {
        let (last, committed) = (self.last, self.committed);
        (
            self.fence.number(),
            last.epoch.number(),
            last.seq,
            committed.epoch.number(),
            committed.seq,
            self.digest,
            self.floor,
            self.records,
            self.generation,
        )
    }

    pub(super) fn standing(&self) -> Standing {
        Standing { last: self.last, committed: self.committed }
    }
}

/// A full copy that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    /// The epoch of the primary that brings it.
    pub(super) epoch: Epoch,
    pub(super) position: Position,
    pub(super) next: u32,
    pub(super) generation: u64,
    pub(super) records: u64,
}

/// All tables of one write transaction.
pub(super) struct Tables<'t> {
    meta: Table<'t, &'static str, MetaRow>,
    data: Table<'t, DataKey<'static>, DataRow<'static>>,
    log: Table<'t, (&'static str, u64), LogRow<'static>>,
    pending: Table<'t, (&'static str, u128), (u64, u128)>,
    records: Table<'t, RecordKey<'static>, RecordRow>,
    stages: Table<'t, &'static str, StageRow>,
    /// Whether there is something to commit.
    changed: bool,
}

impl<'t> Tables<'t> {
    pub(super) fn open(txn: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            meta: txn.open_table(META)?,
            data: txn.open_table(DATA)?,
            log: txn.open_table(LOG)?,
            pending: txn.open_table(PENDING)?,
            records: txn.open_table(RECORDS)?,
            stages: txn.open_table(STAGES)?,
            changed: false,
        })
    }

    /// Whether anything was written, or may have been.
    pub(super) const fn changed(&self) -> bool {
        self.changed
    }

    /// What reads show, for whoever changes it.
    pub(super) const fn data(&mut self) -> &mut Table<'t, DataKey<'static>, DataRow<'static>> {
        self.changed = true;
        &mut self.data
    }

    /// What is remembered of writes, for whoever changes it.
    pub(super) const fn records(&mut self) -> &mut Table<'t, RecordKey<'static>, RecordRow> {
        self.changed = true;
        &mut self.records
    }

    pub(super) fn meta(&self, space: &Space) -> Result<Meta, StoreError> {
        Ok(self.meta.get(space.as_str())?.map(|row| Meta::from_row(row.value())).unwrap_or_default())
    }

    pub(super) fn set_meta(&mut self, space: &Space, meta: &Meta) -> Result<(), StoreError> {
        self.changed = true;
        self.meta.insert(space.as_str(), meta.row())?;
        Ok(())
    }

    /// Every space with entries that are not committed.
    pub(super) fn tails(&self) -> Result<Vec<(Space, Standing)>, StoreError> {
        let mut tails = Vec::new();
        let mut row = self.log.first()?;
        while let Some((key, _)) = row {
            let space = stored_space(key.value().0)?;
            tails.push((space.clone(), self.meta(&space)?.standing()));
            row = self.log.range((space.as_str(), u64::MAX)..)?.next().transpose()?;
        }
        Ok(tails)
    }

    /// The epoch of the entry at `seq`, where it can be told: committed entries but the last are gone.
    pub(super) fn label(&self, space: &Space, meta: &Meta, seq: u64) -> Result<Option<Epoch>, StoreError> {
        if seq == meta.committed.seq {
            return Ok(Some(meta.committed.epoch));
        }
        Ok(self.log.get((space.as_str(), seq))?.map(|row| Epoch::new(row.value().0)))
    }

    pub(super) fn entry(&self, space: &Space, seq: u64) -> Result<Option<Entry>, StoreError> {
        self.log.get((space.as_str(), seq))?.map(|row| decode_entry(seq, row.value())).transpose()
    }

    /// Appends one entry to the log.
    pub(super) fn append(&mut self, space: &Space, meta: &mut Meta, entry: &Entry) -> Result<(), StoreError> {
        self.changed = true;
        let Entry { position, idempotency_key, op } = entry;
        let row = (
            position.epoch.number(),
            idempotency_key.map_or(0, number),
            &op.key().bytes()[..],
            op.value().map(|value| &value.bytes()[..]),
        );
        self.log.insert((space.as_str(), position.seq), row)?;
        if let Some(key) = idempotency_key {
            self.pending.insert((space.as_str(), number(*key)), (position.seq, op.digest()))?;
        }
        meta.last = *position;
        Ok(())
    }

    /// Takes one entry out of the log.
    pub(super) fn take(&mut self, space: &Space, seq: u64) -> Result<Option<Entry>, StoreError> {
        self.changed = true;
        let row = self.log.remove((space.as_str(), seq))?;
        let Some(entry) = row.map(|row| decode_entry(seq, row.value())).transpose()? else {
            return Ok(None);
        };
        if let Some(key) = entry.idempotency_key {
            self.pending.remove((space.as_str(), number(key)))?;
        }
        Ok(Some(entry))
    }

    /// Seq and digest of the entry in the log that carries `key`.
    pub(super) fn pending(
        &self,
        space: &Space,
        key: IdempotencyKey,
    ) -> Result<Option<(u64, u128)>, StoreError> {
        Ok(self.pending.get((space.as_str(), number(key)))?.map(|row| row.value()))
    }

    /// What is remembered of the write that carried `key`.
    pub(super) fn record(
        &self,
        space: &Space,
        meta: &Meta,
        key: IdempotencyKey,
    ) -> Result<Option<Record>, StoreError> {
        let row = self.records.get((space.as_str(), meta.generation, number(key)))?;
        Ok(row.map(|row| record(key, row.value())))
    }

    pub(super) fn stage(&self, space: &Space) -> Result<Option<Stage>, StoreError> {
        Ok(self.stages.get(space.as_str())?.map(|row| {
            let (epoch, position_epoch, seq, next, generation, records) = row.value();
            let position = at(position_epoch, seq);
            Stage { epoch: Epoch::new(epoch), position, next, generation, records }
        }))
    }

    pub(super) fn set_stage(&mut self, space: &Space, stage: &Stage) -> Result<(), StoreError> {
        self.changed = true;
        let Stage { epoch, position, next, generation, records } = *stage;
        let row = (epoch.number(), position.epoch.number(), position.seq, next, generation, records);
        self.stages.insert(space.as_str(), row)?;
        Ok(())
    }

    pub(super) fn remove_stage(&mut self, space: &Space) -> Result<(), StoreError> {
        self.changed = true;
        self.stages.remove(space.as_str())?;
        Ok(())
    }
}

pub(super) fn at(epoch: u64, seq: u64) -> Position {
    Position { epoch: Epoch::new(epoch), seq }
}

/// An idempotency key as a number that sorts as the key does. It is never 0: the version bits are set.
pub(super) fn number(key: IdempotencyKey) -> u128 {
    u128::from_be_bytes(key.to_bytes())
}

fn idempotency_key(number: u128) -> Result<IdempotencyKey, StoreError> {
    IdempotencyKey::from_bytes(number.to_be_bytes()).map_err(|_| StoreError::Damaged("idempotency key"))
}

pub(super) fn decode_entry(seq: u64, row: LogRow<'_>) -> Result<Entry, StoreError> {
    let (epoch, carried, key, value) = row;
    let key = stored_key(key)?;
    let op = match value {
        Some(value) => Op::Put { key, value: stored_value(value)? },
        None => Op::Delete { key },
    };
    let idempotency_key = if carried == 0 { None } else { Some(idempotency_key(carried)?) };
    Ok(Entry { position: at(epoch, seq), idempotency_key, op })
}

pub(super) fn decode_record(key: u128, row: RecordRow) -> Result<Record, StoreError> {
    Ok(record(idempotency_key(key)?, row))
}

fn record(key: IdempotencyKey, row: RecordRow) -> Record {
    let (digest, epoch, seq, found) = row;
    Record { key, digest, applied: Applied { version: at(epoch, seq), found } }
}

pub(super) fn stored_key(key: &[u8]) -> Result<Key, StoreError> {
    Key::new(key.to_vec()).map_err(|_| StoreError::Damaged("key"))
}

pub(super) fn stored_value(value: &[u8]) -> Result<Value, StoreError> {
    Value::new(value.to_vec()).map_err(|_| StoreError::Damaged("value"))
}
