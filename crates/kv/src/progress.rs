use homing_types::{Epoch, Space};

use crate::{Accept, Export, OpError, Part, Position, Refusal, Reply, Request, RequestKind, Store};

/// How far one replica has followed, as its primary knows it, in one epoch.
///
/// It only turns the primary's store and the replica's replies into the next request, so a driver
/// may lose, repeat and delay both. It tries, in this order: what follows the last entry known to be at
/// the replica; what follows the primary's committed entry; a full copy.
#[derive(Debug)]
pub struct Progress {
    space: Space,
    epoch: Epoch,
    /// The last entry of the primary's log that is known to be synced at the replica.
    accepted: Option<Position>,
    /// The last entry that is known to be committed at the replica.
    committed: Position,
    copy: Option<Copy>,
}

/// A full copy under way, and the part that was not taken yet.
#[derive(Debug)]
struct Copy {
    export: Export,
    part: Part,
}

impl Progress {
    /// Nothing is known of the replica yet.
    #[must_use]
    pub const fn new(space: Space, epoch: Epoch) -> Self {
        Self { space, epoch, accepted: None, committed: Position::ZERO, copy: None }
    }

    /// Whether the replica has synced the primary's log up to `position`.
    #[must_use]
    pub fn has_accepted(&self, position: Position) -> bool {
        self.accepted.is_some_and(|accepted| accepted.seq >= position.seq)
    }

    /// Whether the replica shows everything up to `position`, and agrees that this is the history.
    #[must_use]
    pub fn has_committed(&self, position: Position) -> bool {
        self.accepted.is_some() && self.committed.seq >= position.seq
    }

    /// The next request to the replica; `None` if it has all that the primary has.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] if this node has seen a newer primary, or the store's.
    pub fn next(&mut self, store: &Store) -> Result<Option<Request>, OpError> {
        let (own, entries) =
            store.log(&self.space, self.epoch, self.accepted.map_or(0, |accepted| accepted.seq))?;
        let kind = if let Some(copy) = &self.copy {
            RequestKind::Install(copy.part.clone())
        } else {
            if self.accepted == Some(own.last) && self.has_committed(own.committed) {
                return Ok(None);
            }
            // Entries up to the committed one are out of the log.
            let prev = self.accepted.map_or(own.committed, |accepted| accepted.max(own.committed));
            RequestKind::Accept(Accept { prev, entries, committed: own.committed })
        };
        Ok(Some(Request { space: self.space.clone(), epoch: self.epoch, kind }))
    }

    /// Learns from the reply to `request`, which [`next`](Self::next) gave.
    ///
    /// # Errors
    /// The refusals after which there is no next request that helps: [`Refusal::Fenced`],
    /// [`Refusal::TailFull`], and [`Refusal::Diverged`], also if the replica has committed what the primary
    /// doesn't hold: then this node is not fit to be primary, and must not execute. Or the store's.
    pub fn learn(&mut self, store: &Store, request: &Request, reply: &Reply) -> Result<(), OpError> {
        if let Ok(theirs) = reply
            && theirs.committed.seq > store.standing(&self.space)?.last.seq
        {
            return Err(Refusal::Diverged { at: theirs.committed }.into());
        }
        match (&request.kind, reply) {
            (RequestKind::Accept(accept), Ok(standing)) => {
                self.advance(accept.end(), standing.committed);
            }
            (RequestKind::Accept(_), Err(Refusal::Gap(_))) => {
                // What was known was wrong. If nothing was, the replica lacks what is out of the log.
                if self.accepted.take().is_none() && self.copy.is_none() {
                    self.copy_anew(store)?;
                }
            }
            (RequestKind::Install(part), Ok(standing)) => self.took(part, standing.committed)?,
            (RequestKind::Install(_), Err(Refusal::Part { .. })) => self.copy_anew(store)?,
            (_, Err(refusal)) => return Err(refusal.clone().into()),
            (RequestKind::Ask, Ok(_)) => {}
        }
        Ok(())
    }

    fn advance(&mut self, accepted: Position, committed: Position) {
        self.accepted = Some(self.accepted.map_or(accepted, |before| before.max(accepted)));
        self.committed = self.committed.max(committed);
    }

    fn copy_anew(&mut self, store: &Store) -> Result<(), OpError> {
        let mut export = store.export(&self.space)?;
        self.copy = export.next_part()?.map(|part| Copy { export, part });
        Ok(())
    }

    fn took(&mut self, part: &Part, committed: Position) -> Result<(), OpError> {
        let Some(copy) = self.copy.as_mut().filter(|copy| copy.part == *part) else { return Ok(()) };
        match copy.export.next_part()? {
            Some(next) => copy.part = next,
            None => {
                self.copy = None;
                self.advance(part.position, committed);
            }
        }
        Ok(())
    }
}
