//! A copy that holds nothing of a space: either nobody has written there yet, or this node has lost its disk.
//!
//! An in-sync copy has committed every acknowledged write, so the word of any other one that knows what it has committed is enough.
//! What it has not committed nobody was told of: with that alone there is nothing to show.

use futures_util::future::select_ok;
use homing_types::Grant;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::follow::ask;
use crate::Position;

/// Finds out that nothing of the space was ever acknowledged.
///
/// # Errors
/// A line for people: another owner has committed something, or none of them can say.
pub(super) async fn confirm(shared: &Shared, grant: &Grant, deadline: Instant) -> Result<(), String> {
    let Some((_, owners)) = shared.peers.owners(grant.space.key()) else { return Ok(()) };
    let in_sync = std::iter::once(owners.primary()).chain(owners.in_sync());
    let others = in_sync.filter(|owner| **owner != shared.me);
    let asked: Vec<_> = others.map(|owner| Box::pin(ask(shared, owner, &grant.space, grant.epoch))).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let nothing = || format!("{} holds nothing of the space {:?}", shared.me, grant.space);
    match timeout_at(deadline, select_ok(asked)).await {
        Ok(Ok((theirs, _))) if theirs.committed == Position::ZERO => Ok(()),
        Ok(Ok(_)) => Err(format!("{}, but another owner does: its data was lost", nothing())),
        Ok(Err(why)) => Err(format!("{}, and no other owner can say whether it should: {why}", nothing())),
        Err(_late) => Err(format!("{}, and no other owner said in time whether it should", nothing())),
    }
}
