use homing_types::{Epoch, Space};

use super::tables::{DataKey, Meta, Stage};
use super::{Batch, StoreError};
use crate::{OpError, Part, Position, Refusal, Standing};

impl Batch<'_> {
    /// Takes one part of a full copy at a replica that lacks more than the primary's log holds.
    ///
    /// Parts are kept beside what reads show, under a generation of their own. The last one makes the
    /// copy visible, whole, and the old one goes. A copy that this node doesn't need is agreed to
    /// and dropped.
    ///
    /// # Errors
    /// [`Refusal::Part`] if another part is due, [`Refusal::Diverged`], [`Refusal::Fenced`], or the store's.
    pub fn install(&mut self, space: &Space, epoch: Epoch, part: &Part) -> Result<Standing, OpError> {
        let mut meta = self.admit(space, epoch)?;
        if self.holds(space, epoch, &meta, part.position)? {
            self.drop_stage(space)?;
            return Ok(meta.standing());
        }
        let mut stage = match self.tables.stage(space)? {
            _ if part.index == 0 => self.begin(space, epoch, &meta, part.position)?,
            Some(stage) if stage.epoch == epoch && stage.position == part.position => stage,
            _ => return Err(Refusal::Part { expected: 0 }.into()),
        };
        if part.index < stage.next {
            return Ok(meta.standing());
        }
        if part.index > stage.next {
            return Err(Refusal::Part { expected: stage.next }.into());
        }
        self.put_part(space, &mut stage, part)?;
        self.sync = true;
        if part.done {
            self.swap_in(space, &mut meta, &stage, part)?;
        } else {
            self.tables.set_stage(space, &stage)?;
        }
        Ok(meta.standing())
    }

    /// Whether everything up to `position` is here already.
    fn holds(&self, space: &Space, epoch: Epoch, meta: &Meta, position: Position) -> Result<bool, OpError> {
        if position.seq < meta.committed.seq {
            return Ok(true);
        }
        match self.tables.label(space, meta, position.seq)? {
            Some(label) if label == position.epoch => Ok(true),
            Some(label) if position.seq == meta.committed.seq || label >= epoch => {
                Err(Refusal::Diverged { at: Position { epoch: label, ..position } }.into())
            }
            _ => Ok(false),
        }
    }

    /// Begins a copy anew.
    fn begin(
        &mut self,
        space: &Space,
        epoch: Epoch,
        meta: &Meta,
        position: Position,
    ) -> Result<Stage, StoreError> {
        self.drop_stage(space)?;
        Ok(Stage { epoch, position, next: 0, generation: meta.generation + 1, records: 0 })
    }

    fn put_part(&mut self, space: &Space, stage: &mut Stage, part: &Part) -> Result<(), StoreError> {
        for item in &part.items {
            let row = (item.version.epoch.number(), item.version.seq, &item.value.bytes()[..]);
            self.tables.data().insert((space.as_str(), stage.generation, &item.key.bytes()[..]), row)?;
        }
        for record in &part.records {
            self.put_record(space, stage.generation, record)?;
        }
        stage.records += part.records.len() as u64;
        stage.next += 1;
        Ok(())
    }

    fn swap_in(
        &mut self,
        space: &Space,
        meta: &mut Meta,
        stage: &Stage,
        part: &Part,
    ) -> Result<(), StoreError> {
        for seq in meta.committed.seq + 1..=meta.last.seq {
            self.tables.take(space, seq)?;
        }
        self.drop_generation(space, meta.generation)?;
        self.tables.remove_stage(space)?;
        *meta = Meta {
            fence: meta.fence,
            last: stage.position,
            committed: stage.position,
            digest: 0,
            floor: part.floor.max(meta.floor),
            records: stage.records,
            generation: stage.generation,
        };
        self.set_meta(space, meta)
    }

    /// Removes a copy that was not finished.
    fn drop_stage(&mut self, space: &Space) -> Result<(), StoreError> {
        if let Some(stage) = self.tables.stage(space)? {
            self.drop_generation(space, stage.generation)?;
            self.tables.remove_stage(space)?;
        }
        Ok(())
    }

    fn drop_generation(&mut self, space: &Space, generation: u64) -> Result<(), StoreError> {
        let space = space.as_str();
        let items = (space, generation, &[][..])..(space, generation + 1, &[][..]);
        self.tables.data().retain_in::<DataKey<'_>, _>(items, |_, _| false)?;
        let records = (space, generation, 0)..(space, generation + 1, 0);
        self.tables.records().retain_in(records, |_, _| false)?;
        Ok(())
    }
}
