//! A copy that holds nothing of a space: either nobody has written there yet, or this node has lost its disk.
//!
//! An in-sync copy holds every acknowledged write, so the word of any other one is enough.

use futures_util::future::select_ok;
use homing_types::{Grant, NodeId};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::follow::send;
use crate::{Position, Request, RequestKind};

/// What another owner says.
enum Word {
    Nothing,
    Something,
}

/// Finds out that nobody holds anything of the space.
///
/// # Errors
/// A line for people: another owner holds something, or none of them can say.
pub(super) async fn confirm(shared: &Shared, grant: &Grant, deadline: Instant) -> Result<(), String> {
    let Some((_, owners)) = shared.peers.owners(grant.space.key()) else { return Ok(()) };
    let in_sync = std::iter::once(owners.primary()).chain(owners.in_sync());
    let others = in_sync.filter(|owner| **owner != shared.me);
    let asked: Vec<_> = others.map(|owner| Box::pin(ask(shared, grant, owner))).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let nothing = || format!("{} holds nothing of the space {:?}", shared.me, grant.space);
    match timeout_at(deadline, select_ok(asked)).await {
        Ok(Ok((Word::Nothing, _))) => Ok(()),
        Ok(Ok((Word::Something, _))) => {
            Err(format!("{}, but another owner does: its data was lost", nothing()))
        }
        Ok(Err(why)) => Err(format!("{}, and no other owner can say whether it should: {why}", nothing())),
        Err(_late) => Err(format!("{}, and no other owner said in time whether it should", nothing())),
    }
}

async fn ask(shared: &Shared, grant: &Grant, owner: &NodeId) -> Result<Word, String> {
    let request = Request { space: grant.space.clone(), epoch: grant.epoch, kind: RequestKind::Ask };
    match send(shared, owner, &request).await {
        Ok(Ok(standing)) if standing.last == Position::ZERO => Ok(Word::Nothing),
        Ok(Ok(_)) => Ok(Word::Something),
        Ok(Err(refusal)) => Err(format!("{owner}: {refusal}")),
        Err(why) => Err(format!("{owner}: {why}")),
    }
}
