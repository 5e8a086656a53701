use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How long a case waits for anything: long enough for a busy machine, and then it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `future`.
///
/// # Panics
/// If it lasts longer than [`PATIENCE`], with the name of what was waited for.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Something that is watched as it changes.
#[derive(Clone)]
pub(super) struct Watched<T>(Arc<watch::Sender<T>>);

impl<T: Clone> Watched<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(watch::Sender::new(value)))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut T)) {
        self.0.send_modify(change);
    }

    pub(super) fn now(&self) -> T {
        self.0.borrow().clone()
    }

    /// Waits until `condition` holds.
    pub(super) async fn until(&self, what: &str, condition: impl FnMut(&T) -> bool) {
        let mut receiver = self.0.subscribe();
        within(what, receiver.wait_for(condition)).await.expect("the sender is here");
    }
}

/// Something that happens once.
#[derive(Clone)]
pub(super) struct Flag(Watched<bool>);

impl Flag {
    pub(super) fn new() -> Self {
        Self(Watched::new(false))
    }

    pub(super) fn raise(&self) {
        self.0.change(|raised| *raised = true);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.now()
    }

    /// Waits until it has happened.
    pub(super) async fn raised(&self, what: &str) {
        self.0.until(what, |raised| *raised).await;
    }

    /// Raises the flag when it is dropped.
    pub(super) fn on_drop(&self) -> RaiseOnDrop {
        RaiseOnDrop(self.clone())
    }
}

/// Raises a [`Flag`] when it is dropped.
pub(super) struct RaiseOnDrop(Flag);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}
