use homing_types::{Epoch, Space};

use super::{Meta, Store, StoreError, Tables};
use crate::{OpError, Position, Refusal, Request, RequestKind, Standing};

/// Operations in one transaction of a [`Store`].
///
/// Each names the epoch in which the asker acts. An epoch below the highest that was seen for the space
/// is refused; a higher one becomes the *fence*, on disk before the batch is done, and whatever
/// the operation itself comes to.
pub struct Batch<'t> {
    store: &'t Store,
    pub(super) tables: Tables<'t>,
    pub(super) sync: bool,
    settled: Vec<Space>,
}

/// What the end of a batch takes.
pub(super) struct Effects {
    /// Whether there is something to commit.
    pub(super) changed: bool,
    /// Whether it must be synced.
    pub(super) sync: bool,
    /// The spaces that it settled.
    pub(super) settled: Vec<Space>,
}

impl<'t> Batch<'t> {
    pub(super) const fn new(store: &'t Store, tables: Tables<'t>) -> Self {
        Self { store, tables, sync: false, settled: Vec::new() }
    }

    pub(super) fn into_effects(self) -> Effects {
        Effects { changed: self.tables.changed(), sync: self.sync, settled: self.settled }
    }

    /// Begins to act as the primary of `space`: says what this node holds, and takes nothing more from
    /// older primaries.
    ///
    /// # Errors
    /// [`Refusal::Fenced`], or the store's.
    pub fn lead(&mut self, space: &Space, epoch: Epoch) -> Result<Standing, OpError> {
        Ok(self.admit(space, epoch)?.standing())
    }

    /// Does what another node asks.
    ///
    /// # Errors
    /// The [`Refusal`] that is the answer, or the store's.
    pub fn handle(&mut self, request: &Request) -> Result<Standing, OpError> {
        let Request { space, epoch, kind } = request;
        match kind {
            RequestKind::Accept(accept) => self.accept(space, *epoch, accept),
            RequestKind::Install(part) => self.install(space, *epoch, part),
            RequestKind::Ask => self.tell(space, *epoch),
        }
    }

    /// Ends the unsettled state of a copy, on the word of a settled one that has committed up to
    /// `committed` *after* this store was opened.
    ///
    /// # Errors
    /// [`Refusal::Gap`] if this copy lacks that entry, [`Refusal::Fenced`], or the store's.
    pub fn settle(&mut self, space: &Space, epoch: Epoch, committed: Position) -> Result<Standing, OpError> {
        self.commit(space, epoch, committed)?;
        self.settled.push(space.clone());
        Ok(self.tables.meta(space)?.standing())
    }

    /// Says what is committed, if this copy knows.
    fn tell(&self, space: &Space, epoch: Epoch) -> Result<Standing, OpError> {
        let meta = self.tables.meta(space)?;
        if epoch < meta.fence {
            return Err(Refusal::Fenced { fence: meta.fence }.into());
        }
        if !self.store.settled(space, &meta) {
            return Err(Refusal::Unsettled.into());
        }
        Ok(meta.standing())
    }

    /// Refuses an epoch below the fence, and makes a higher one the fence.
    pub(super) fn admit(&mut self, space: &Space, epoch: Epoch) -> Result<Meta, OpError> {
        let mut meta = self.tables.meta(space)?;
        if epoch < meta.fence {
            return Err(Refusal::Fenced { fence: meta.fence }.into());
        }
        if epoch > meta.fence {
            meta.fence = epoch;
            self.set_meta(space, &meta)?;
            self.sync = true;
        }
        Ok(meta)
    }

    pub(super) fn set_meta(&mut self, space: &Space, meta: &Meta) -> Result<(), StoreError> {
        self.tables.set_meta(space, meta)
    }
}
