//! How a node learns who owns what: from the groups that travel with requests and replies, and by pulling one.

use std::sync::Arc;

use bytes::Bytes;
use homing_routing_table::{Diff, Pull};
use homing_transport::{Lane, ReplyHead};
use homing_types::{Epoch, NodeId, Outcome, Slot, Twin};

use crate::router::{Pulled, Router};

/// The path that members pull a group from: two bytes of slot in, the group as a diff of one out, or nothing if there is none.
pub const GROUP_PATH: &str = "/homing.v1.Table/Group";

/// The largest group that travels with a request or a reply, in bytes; a larger one is pulled.
const MAX_CARRIED_GROUP: usize = 8 << 10;

/// With more pins, a group is larger in any case.
const MAX_CARRIED_PINS: usize = MAX_CARRIED_GROUP / 20;

impl Router {
    /// Applies an encoded group: a diff of one. What is older than what is known, or can't be right, changes nothing.
    ///
    /// # Errors
    /// A line that says why it can't be a group of `slot`.
    pub(crate) fn learn(&self, slot: Slot, encoded: &[u8]) -> Result<Epoch, String> {
        self.apply_group(slot, &Diff::decode(encoded).map_err(|error| error.to_string())?)
    }

    /// Applies a group, whatever its epoch: the table counts one that is older, and one of the same epoch may differ.
    fn apply_group(&self, slot: Slot, diff: &Diff) -> Result<Epoch, String> {
        let mut epochs = diff.epochs();
        let epoch = match (epochs.next(), epochs.next()) {
            (Some((found, epoch)), None) if found == slot => epoch,
            (Some((found, _)), None) => {
                return Err(format!("the group of slot {found} came for slot {slot}"));
            }
            _ => return Err(format!("{} groups came for slot {slot}", diff.len())),
        };
        let applied = self.apply(diff).map_err(|error| error.to_string())?;
        if !applied.changed.is_empty() {
            self.counters.corrections.increment(1);
            tracing::debug!(%slot, %epoch, "learned a group");
        }
        if !applied.conflicts.is_empty() {
            tracing::warn!(%slot, %epoch, "two groups came with one epoch: the slot's writes stop until it is minted anew");
        }
        Ok(epoch)
    }

    /// Asks the authority for a group, once for all who need it at the same time.
    pub(crate) async fn look_up_once(self: &Arc<Self>, slot: Slot) {
        let flight = self.lookups.join(slot, || {
            let router = Arc::clone(self);
            async move { router.look_up(slot).await }
        });
        flight.await;
    }

    /// Asks the authority for a group, and learns it unless this node knows a newer one.
    async fn look_up(&self, slot: Slot) {
        let lookup = self.authority.lookup(slot);
        let Ok(Some(diff)) = tokio::time::timeout(self.options.pull_timeout, lookup).await else { return };
        if diff.epochs().all(|(_, epoch)| epoch < self.epoch(slot)) {
            return;
        }
        if let Err(problem) = self.apply_group(slot, &diff) {
            tracing::warn!(%slot, problem, "the authority's group can't be applied");
        }
    }

    /// The epoch this node has for a slot.
    pub(crate) fn epoch(&self, slot: Slot) -> Epoch {
        self.table.load().epoch(slot)
    }

    /// The encoded group of a slot, if this node has one and it is small enough to travel along.
    pub(crate) fn carried_group(&self, slot: Slot) -> Bytes {
        if self.table.load().pins_of(slot) > MAX_CARRIED_PINS {
            return Bytes::new();
        }
        let encoded = self.encoded_group(slot);
        if encoded.len() <= MAX_CARRIED_GROUP { encoded } else { Bytes::new() }
    }

    /// A group as a diff of one, encoded; nothing if this node has none.
    fn encoded_group(&self, slot: Slot) -> Bytes {
        let diff = self.table.snapshot().diff([slot]);
        if diff.is_empty() { Bytes::new() } else { diff.into_bytes().into() }
    }

    /// Learns from a reply of `from`, before anything else is decided. Returns the pull to wait for, if that peer is no owner and names a newer epoch than
    /// it brings; an answer needn't wait for what only helps the next call.
    pub(crate) fn learn_from_reply(
        self: &Arc<Self>,
        from: &NodeId,
        slot: Slot,
        reply: &ReplyHead,
    ) -> Option<impl Future<Output = Option<Pulled>> + use<>> {
        if !reply.correction.is_empty()
            && !Twin::CorrectionNotApplied.is_on()
            && let Err(problem) = self.learn(slot, &reply.correction)
        {
            tracing::warn!(%from, %slot, problem, "a correction can't be applied");
        }
        let pull = (reply.epoch > self.epoch(slot)).then(|| self.pull(from.clone(), slot))?;
        (reply.outcome == Some(Outcome::NotOwner)).then_some(pull)
    }

    /// Pulls the group whose epoch `claimed` a member has just named.
    ///
    /// A pull that was under way already may bring an answer from before that. One that is asked for afterwards can't,
    /// so there is a second one before a claim is called false.
    pub(crate) async fn catch_up(self: &Arc<Self>, from: &NodeId, slot: Slot, claimed: Epoch) -> Pull {
        let mut pulled = self.pull(from.clone(), slot).await;
        if matches!(pulled, Some(Ok(epoch)) if epoch < claimed) {
            pulled = self.pull(from.clone(), slot).await;
        }
        match pulled {
            Some(Ok(epoch)) => Pull::Answered(epoch),
            Some(Err(_)) | None => Pull::Failed,
        }
    }

    /// Pulls one group from a member, once for all who need it at the same time.
    pub(crate) fn pull(
        self: &Arc<Self>,
        from: NodeId,
        slot: Slot,
    ) -> impl Future<Output = Option<Pulled>> + use<> {
        self.pulls.join((from.clone(), slot), || {
            let router = Arc::clone(self);
            async move { router.pull_now(&from, slot).await }
        })
    }

    async fn pull_now(self: Arc<Self>, from: &NodeId, slot: Slot) -> Pulled {
        self.counters.pulls.increment(1);
        let message = Bytes::copy_from_slice(&slot.number().to_be_bytes());
        let timeout = self.options.pull_timeout;
        let answer = self
            .direct(from, Lane::Control, GROUP_PATH, message, timeout)
            .await
            .map_err(|error| error.message)?;
        if answer.is_empty() { Ok(Epoch::ZERO) } else { self.learn(slot, &answer) }
    }

    /// Answers a pull.
    pub(crate) fn answer_pull(&self, message: &[u8]) -> Result<Bytes, String> {
        let slot = <[u8; 2]>::try_from(message).ok().and_then(|bytes| Slot::new(u16::from_be_bytes(bytes)));
        let slot = slot.ok_or("a pull is two bytes: a slot below 16384, big-endian")?;
        Ok(self.encoded_group(slot))
    }
}
