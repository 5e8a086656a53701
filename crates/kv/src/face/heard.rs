//! When this node last heard from the primary of a space: so old its answers as a replica may be.
//!
//! Every acknowledged write is shown by every in-sync copy, so a replica that has just heard from its primary, under the
//! epoch that it knows itself, shows all that was acknowledged until then. One that was replaced and cut off hears nothing,
//! and its answers grow older.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use homing_types::{Epoch, Grant, Space};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::follow::ask;

/// The most spaces that are remembered. When there are more, all are forgotten, and asked about anew when somebody needs
/// to know.
const MAX_SPACES: usize = 65_536;

#[derive(Default)]
pub(super) struct Heard(Mutex<HashMap<Space, (Epoch, Instant)>>);

impl Heard {
    /// The primary of this epoch was there at `at`.
    pub(super) fn note(&self, space: &Space, epoch: Epoch, at: Instant) {
        let mut heard = self.lock();
        if heard.len() >= MAX_SPACES && !heard.contains_key(space) {
            heard.clear();
        }
        let last = heard.entry(space.clone()).or_insert((epoch, at));
        *last = (*last).max((epoch, at));
    }

    /// How long ago that was; `None` if it isn't known, or was another epoch's.
    pub(super) fn age(&self, space: &Space, epoch: Epoch) -> Option<Duration> {
        self.lock().get(space).filter(|(of, _)| *of == epoch).map(|(_, at)| at.elapsed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Space, (Epoch, Instant)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Hears from the primary, unless it did within `max_age`.
///
/// # Errors
/// A line for people: the primary does not answer, or is none any more.
pub(super) async fn hear(
    shared: &Shared,
    grant: &Grant,
    max_age: Duration,
    deadline: Instant,
) -> Result<(), String> {
    if shared.heard.age(&grant.space, grant.epoch).is_some_and(|age| age <= max_age) {
        return Ok(());
    }
    let owners = shared.peers.owners(grant.space.key()).filter(|(epoch, _)| *epoch == grant.epoch);
    let Some((_, owners)) = owners else { return Err("the space has other owners now".to_owned()) };
    let asked = Instant::now();
    match timeout_at(deadline, ask(shared, owners.primary(), &grant.space, grant.epoch)).await {
        Ok(Ok(_)) => {
            shared.heard.note(&grant.space, grant.epoch, asked);
            Ok(())
        }
        Ok(Err(why)) => Err(format!("the primary can't say whether this is new enough: {why}")),
        Err(_late) => Err("the primary did not say in time whether this is new enough".to_owned()),
    }
}
