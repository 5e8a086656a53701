use homing_types::{Epoch, Space};

use super::{Batch, Meta};
use crate::limits::MAX_TAIL;
use crate::{Accept, Entry, OpError, Position, Refusal, Standing};

impl Batch<'_> {
    /// Takes entries from the primary at a replica, and commits what the primary has committed.
    ///
    /// As in Raft's AppendEntries, the entry at `prev` must be here: then, by induction, everything before
    /// it is the same at both. Entries that are here already stay. Where an uncommitted entry of an
    /// older epoch stands in the way, it goes, with all that follow it.
    ///
    /// # Errors
    /// [`Refusal::Fenced`], [`Refusal::Gap`], [`Refusal::Diverged`], [`Refusal::TailFull`], or the store's.
    pub fn accept(&mut self, space: &Space, epoch: Epoch, accept: &Accept) -> Result<Standing, OpError> {
        let mut meta = self.admit(space, epoch)?;
        in_order(epoch, accept)?;
        self.check_prev(space, epoch, &meta, accept.prev)?;
        let new = self.first_new(space, epoch, &meta, accept)?;
        let committed = known_committed(accept);

        let entries = &accept.entries[new..];
        if let Some(first) = entries.first() {
            let tail = accept.end().seq - meta.committed.seq.max(committed.seq);
            if tail > MAX_TAIL {
                return Err(Refusal::TailFull { tail }.into());
            }
            for seq in first.position.seq..=meta.last.seq {
                self.tables.take(space, seq)?;
            }
            for entry in entries {
                self.tables.append(space, &mut meta, entry)?;
            }
            self.set_meta(space, &meta)?;
            self.sync = true;
        }
        self.commit(space, epoch, committed)?;
        Ok(self.tables.meta(space)?.standing())
    }

    /// Checks that the entry at `prev` is here.
    fn check_prev(&self, space: &Space, epoch: Epoch, meta: &Meta, prev: Position) -> Result<(), OpError> {
        if prev.seq < meta.committed.seq {
            // Its label is gone; `first_new` compares the labels that are left.
            return Ok(());
        }
        match self.tables.label(space, meta, prev.seq)? {
            Some(label) if label == prev.epoch => Ok(()),
            Some(label) => Err(self.conflict(meta, epoch, Position { epoch: label, ..prev })),
            None => Err(Refusal::Gap(meta.standing()).into()),
        }
    }

    /// The index of the first entry that is not here. Those before it are here, with the same content.
    fn first_new(&self, space: &Space, epoch: Epoch, meta: &Meta, accept: &Accept) -> Result<usize, OpError> {
        for (i, entry) in accept.entries.iter().enumerate() {
            let position = entry.position;
            if position.seq < meta.committed.seq {
                continue;
            }
            let here = match self.tables.label(space, meta, position.seq)? {
                Some(label) => Position { epoch: label, ..position },
                None => return Ok(i),
            };
            if here != position {
                let refusal = self.conflict(meta, epoch, here);
                return if matches!(refusal, OpError::Refused(Refusal::Gap(_))) {
                    Ok(i)
                } else {
                    Err(refusal)
                };
            }
            if !self.is_same(space, meta, entry)? {
                return Err(Refusal::Diverged { at: here }.into());
            }
        }
        Ok(accept.entries.len())
    }

    /// Whether the entry with this label is this entry. One label never names two, unless a primary has
    /// lost its disk and goes on in the same epoch: then silence would lose writes.
    fn is_same(&self, space: &Space, meta: &Meta, entry: &Entry) -> Result<bool, OpError> {
        Ok(match self.tables.entry(space, entry.position.seq)? {
            Some(here) => here == *entry,
            None => meta.digest == 0 || meta.digest == entry.op.digest(),
        })
    }

    /// What it means that another entry stands `here`: a leftover of an older primary may give way, but not
    /// what is committed, nor what this same primary wrote.
    fn conflict(&self, meta: &Meta, epoch: Epoch, here: Position) -> OpError {
        if here.seq <= meta.committed.seq || here.epoch >= epoch {
            Refusal::Diverged { at: here }.into()
        } else {
            Refusal::Gap(meta.standing()).into()
        }
    }
}

/// Checks that entries follow each other, and that none is newer than its sender.
fn in_order(epoch: Epoch, accept: &Accept) -> Result<(), OpError> {
    let mut before = accept.prev;
    for entry in &accept.entries {
        let position = entry.position;
        let follows = before.seq.checked_add(1) == Some(position.seq) && position.epoch >= before.epoch;
        if !follows || position.epoch > epoch {
            return Err(Refusal::Diverged { at: position }.into());
        }
        before = position;
    }
    Ok(())
}

/// What the primary has committed, as far as this message proves that the logs agree.
fn known_committed(accept: &Accept) -> Position {
    let end = accept.end();
    if accept.committed.seq <= end.seq { accept.committed } else { end }
}
