use homing_types::{Epoch, Role, Space};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

use super::apply::version;
use super::tables::{DATA, LOG, META, Meta, decode_entry, stored_key, stored_value};
use super::{Store, StoreError};
use crate::limits::{MAX_BYTES, OVERHEAD};
use crate::{Entry, Item, Key, OpError, Page, Position, Refusal, Standing};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The keys, in the order of their bytes.
    pub items: Vec<Listed>,
    /// Whether more keys follow the last one.
    pub more: bool,
}

/// One key of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: Key,
    /// The entry that wrote it.
    pub version: Position,
    /// The length of its value in bytes.
    pub size: u64,
}

impl Store {
    /// Reads a key, as this node in this role and epoch may show it; `None` if the key isn't there.
    ///
    /// # Errors
    /// [`Refusal::Fenced`], [`Refusal::Unsettled`], or the store's.
    pub fn read(&self, space: &Space, epoch: Epoch, role: Role, key: &Key) -> Result<Option<Item>, OpError> {
        let (txn, meta) = self.view(space, epoch, role)?;
        let data = txn.open_table(DATA)?;
        let Some(row) = ReadableTable::get(&data, (space.as_str(), meta.generation, &key.bytes()[..]))?
        else {
            return Ok(None);
        };
        let row = row.value();
        Ok(Some(Item { key: key.clone(), version: version(row), value: stored_value(row.2)? }))
    }

    /// Lists keys, as this node in this role and epoch may show them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn list(&self, space: &Space, epoch: Epoch, role: Role, page: &Page) -> Result<Listing, OpError> {
        let (txn, meta) = self.view(space, epoch, role)?;
        let data = txn.open_table(DATA)?;
        let from = page.prefix.as_ref().max(page.after.as_ref());
        let rows = ReadableTable::range(&data, (space.as_str(), meta.generation, from)..)?;
        let (mut listing, mut bytes) = (Listing::default(), 0);
        for row in rows {
            let (row_key, row) = row?;
            let (row_space, generation, key) = row_key.value();
            if (row_space, generation) != (space.as_str(), meta.generation) || !key.starts_with(&page.prefix)
            {
                break;
            }
            if !page.after.is_empty() && key == page.after {
                continue;
            }
            bytes += key.len() + OVERHEAD;
            if listing.items.len() == page.limit || bytes > MAX_BYTES {
                listing.more = true;
                break;
            }
            let row = row.value();
            let listed = Listed { key: stored_key(key)?, version: version(row), size: row.2.len() as u64 };
            listing.items.push(listed);
        }
        Ok(listing)
    }

    /// What this node holds of `space`.
    ///
    /// # Errors
    /// The store's.
    pub fn standing(&self, space: &Space) -> Result<Standing, StoreError> {
        Ok(meta(&self.db.begin_read()?, space)?.standing())
    }

    /// The highest epoch that was seen for `space`.
    ///
    /// # Errors
    /// The store's.
    pub fn fence(&self, space: &Space) -> Result<Epoch, StoreError> {
        Ok(meta(&self.db.begin_read()?, space)?.fence)
    }

    /// What this node holds of `space`, and the entries after `seq` that are not committed: as many as one
    /// message takes, at least one if there is any. For the primary of `epoch`: once another one was
    /// seen, the log may be no longer its own.
    ///
    /// # Errors
    /// [`Refusal::Fenced`], or the store's.
    pub fn log(&self, space: &Space, epoch: Epoch, seq: u64) -> Result<(Standing, Vec<Entry>), OpError> {
        let (txn, meta) = self.admitted(space, epoch)?;
        let standing = meta.standing();
        let log = txn.open_table(LOG)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for row in ReadableTable::range(&log, (space.as_str(), seq + 1)..=(space.as_str(), u64::MAX))? {
            let (key, row) = row?;
            let entry = decode_entry(key.value().1, row.value())?;
            bytes += entry.op.size();
            if !entries.is_empty() && bytes > MAX_BYTES {
                break;
            }
            entries.push(entry);
        }
        Ok((standing, entries))
    }

    /// The spaces that hold back reads since this store was opened, until they are settled.
    #[must_use]
    pub fn unsettled_spaces(&self) -> Vec<Space> {
        self.unsettled().keys().cloned().collect()
    }

    /// A state of the store in which `space` may be shown.
    fn view(&self, space: &Space, epoch: Epoch, role: Role) -> Result<(ReadTransaction, Meta), OpError> {
        let (txn, meta) = self.admitted(space, epoch)?;
        // What an older primary had committed alone, it may have shown. Its successor must not show less.
        let inherited = meta.last.seq > meta.committed.seq && meta.last.epoch < epoch;
        if (role == Role::Primary && inherited) || !self.settled(space, &meta) {
            return Err(Refusal::Unsettled.into());
        }
        Ok((txn, meta))
    }

    /// A state of the store in which `epoch` isn't fenced off from `space`.
    fn admitted(&self, space: &Space, epoch: Epoch) -> Result<(ReadTransaction, Meta), OpError> {
        let txn = self.db.begin_read()?;
        let meta = meta(&txn, space)?;
        if epoch < meta.fence { Err(Refusal::Fenced { fence: meta.fence }.into()) } else { Ok((txn, meta)) }
    }
}

pub(super) fn meta(txn: &ReadTransaction, space: &Space) -> Result<Meta, StoreError> {
    let table = txn.open_table(META)?;
    let row = ReadableTable::get(&table, space.as_str())?;
    Ok(row.map(|row| Meta::from_row(row.value())).unwrap_or_default())
}
