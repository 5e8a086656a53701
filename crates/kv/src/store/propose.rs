use homing_types::{Epoch, IdempotencyKey, Space};

use super::tables::{Meta, number};
use super::{Batch, StoreError};
use crate::limits::MAX_TAIL;
use crate::{Applied, Entry, Op, OpError, Position, Refusal};

/// What became of a proposed write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposal {
    /// It is a new entry of the log, not committed yet.
    Appended(Position),
    /// Its idempotency key is on an entry of the log that is not committed yet: wait for that one.
    Pending(Position),
    /// It was executed before, and this was the result.
    Done(Applied),
}

impl Batch<'_> {
    /// Proposes a write at the primary of `space`.
    ///
    /// # Errors
    /// [`Refusal::Fenced`], [`Refusal::KeyReused`], [`Refusal::TooLate`], [`Refusal::TailFull`], or the
    /// store's.
    pub fn propose(
        &mut self,
        space: &Space,
        epoch: Epoch,
        op: &Op,
        idempotency_key: Option<IdempotencyKey>,
    ) -> Result<Proposal, OpError> {
        let mut meta = self.admit(space, epoch)?;
        if let Some(key) = idempotency_key
            && let Some(known) = self.known(space, &meta, key, op.digest())?
        {
            return Ok(known);
        }
        let tail = meta.last.seq - meta.committed.seq;
        if tail >= MAX_TAIL {
            return Err(Refusal::TailFull { tail }.into());
        }
        let position = Position { epoch, seq: meta.last.seq + 1 };
        let entry = Entry { position, idempotency_key, op: op.clone() };
        self.tables.append(space, &mut meta, &entry)?;
        self.set_meta(space, &meta)?;
        self.sync = true;
        Ok(Proposal::Appended(position))
    }

    /// Whether anything is known here of a write with this idempotency key.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`], [`Refusal::TooLate`], [`Refusal::Fenced`], or the store's.
    pub fn knows(
        &mut self,
        space: &Space,
        epoch: Epoch,
        op: &Op,
        key: IdempotencyKey,
    ) -> Result<bool, OpError> {
        let meta = self.admit(space, epoch)?;
        Ok(self.known(space, &meta, key, op.digest())?.is_some())
    }

    /// What is known of a write by its idempotency key: every key that was ever executed is in the
    /// log, remembered, or below the floor.
    fn known(
        &self,
        space: &Space,
        meta: &Meta,
        key: IdempotencyKey,
        digest: u128,
    ) -> Result<Option<Proposal>, OpError> {
        let (known, of) = if let Some((seq, of)) = self.tables.pending(space, key)? {
            let epoch = self.tables.label(space, meta, seq)?.ok_or(StoreError::Damaged("log"))?;
            (Proposal::Pending(Position { epoch, seq }), of)
        } else if let Some(record) = self.tables.record(space, meta, key)? {
            (Proposal::Done(record.applied), record.digest)
        } else if number(key) < meta.floor {
            return Err(Refusal::TooLate.into());
        } else {
            return Ok(None);
        };
        if of == digest { Ok(Some(known)) } else { Err(Refusal::KeyReused.into()) }
    }
}
