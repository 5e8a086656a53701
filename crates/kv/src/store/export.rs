use std::fmt;

use std::ops::Bound;

use homing_types::Space;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

use super::apply::version;
use super::read::meta;
use super::tables::{DATA, DataKey, Meta, RECORDS, decode_record, number, stored_key, stored_value};
use super::{Store, StoreError};
use crate::limits::{MAX_BYTES, OVERHEAD};
use crate::{Item, Key, Part};

/// A full copy of a space as it was when the export began, in parts.
///
/// It holds one snapshot of the store, which keeps the pages of that time on disk: drop it soon.
pub struct Export {
    txn: ReadTransaction,
    space: Space,
    meta: Meta,
    next: u32,
    after_key: Option<Key>,
    after_record: Option<u128>,
    done: bool,
}

impl Store {
    /// Begins a full copy of what is committed of `space`.
    ///
    /// # Errors
    /// The store's.
    pub fn export(&self, space: &Space) -> Result<Export, StoreError> {
        let txn = self.db.begin_read()?;
        let meta = meta(&txn, space)?;
        let space = space.clone();
        Ok(Export { txn, space, meta, next: 0, after_key: None, after_record: None, done: false })
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("space", &self.space).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Export {
    /// The next part, of at most [`MAX_BYTES`] or one item; `None` after the last.
    ///
    /// # Errors
    /// The store's.
    pub fn next_part(&mut self) -> Result<Option<Part>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let mut part = Part {
            position: self.meta.committed,
            index: self.next,
            items: Vec::new(),
            records: Vec::new(),
            floor: self.meta.floor,
            done: false,
        };
        let mut room = Room(MAX_BYTES);
        self.done = self.fill_items(&mut part, &mut room)? && self.fill_records(&mut part, &mut room)?;
        part.done = self.done;
        self.next += 1;
        Ok(Some(part))
    }

    /// Adds items until the part is full; whether all are in.
    fn fill_items(&mut self, part: &mut Part, room: &mut Room) -> Result<bool, StoreError> {
        let (space, generation) = (self.space.as_str(), self.meta.generation);
        let table = self.txn.open_table(DATA)?;
        let after = self.after_key.as_ref().map(|key| &key.bytes()[..]);
        let start = match after {
            Some(after) => Bound::Excluded((space, generation, after)),
            None => Bound::Included((space, generation, &[][..])),
        };
        let end = Bound::Excluded((space, generation + 1, &[][..]));
        for row in ReadableTable::range::<DataKey<'_>>(&table, (start, end))? {
            let (key, row) = row?;
            let (key, row) = (key.value().2, row.value());
            if !room.take(key.len() + row.2.len(), part) {
                self.after_key = part.items.last().map(|item| item.key.clone()).or(self.after_key.take());
                return Ok(false);
            }
            part.items.push(Item {
                key: stored_key(key)?,
                version: version(row),
                value: stored_value(row.2)?,
            });
        }
        self.after_key = part.items.last().map(|item| item.key.clone()).or(self.after_key.take());
        Ok(true)
    }

    /// Adds records until the part is full; whether all are in.
    fn fill_records(&mut self, part: &mut Part, room: &mut Room) -> Result<bool, StoreError> {
        let (space, generation) = (self.space.as_str(), self.meta.generation);
        let table = self.txn.open_table(RECORDS)?;
        let first = self.after_record.map_or(0, |key| key.saturating_add(1));
        for row in ReadableTable::range(&table, (space, generation, first)..=(space, generation, u128::MAX))?
        {
            let (key, row) = row?;
            if !room.take(0, part) {
                return Ok(false);
            }
            let record = decode_record(key.value().2, row.value())?;
            self.after_record = Some(number(record.key));
            part.records.push(record);
        }
        Ok(true)
    }
}

/// What a part can still take, in bytes.
struct Room(usize);

impl Room {
    /// Takes room for something of this size. An empty part has room for anything.
    fn take(&mut self, size: usize, part: &Part) -> bool {
        let fits = self.0.checked_sub(size + OVERHEAD);
        let empty = part.items.is_empty() && part.records.is_empty();
        self.0 = fits.unwrap_or(0);
        fits.is_some() || empty
    }
}
