//! Who is inside a connection: exchanges enter while it is open, and it ends once it is closed and empty.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The gate of one connection. Once closed, it stays closed.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Two for each pass, and [`CLOSED`].
    state: AtomicUsize,
    changed: Notify,
}

const CLOSED: usize = 1;
const PASS: usize = 2;

/// One exchange inside. Dropping it, and all its clones, leaves.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Clone for Pass {
    fn clone(&self) -> Self {
        // It is inside, whether the gate is open or not.
        self.0.state.fetch_add(PASS, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Lets an exchange in, if the gate is open.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        let enter = |state: usize| (state & CLOSED == 0).then_some(state + PASS);
        let entered = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter);
        entered.is_ok().then(|| Pass(Arc::clone(self)))
    }

    pub(crate) fn close(&self) {
        if self.state.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0 {
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state() & CLOSED == 0
    }

    /// Whether there is no exchange inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.state() < PASS
    }

    /// Ends when the gate is closed.
    pub(crate) async fn closed(&self) {
        self.wait(|state| state & CLOSED != 0).await;
    }

    /// Ends when the gate is closed and the last exchange has left.
    pub(crate) async fn left(&self) {
        self.wait(|state| state == CLOSED).await;
    }

    fn state(&self) -> usize {
        self.state.load(Ordering::Acquire)
    }

    async fn wait(&self, until: impl Fn(usize) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // What changes from here on is heard.
            changed.as_mut().enable();
            if until(self.state()) {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.0.state.fetch_sub(PASS, Ordering::AcqRel) == PASS + CLOSED {
            self.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_lets_nobody_in_and_ends_with_the_last_who_leaves() {
        let gate = Gate::new();
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        let left = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.left().await }
        });
        drop(first);
        gate.close();
        gate.closed().await;
        assert!(gate.enter().is_none());
        assert!(!gate.is_open() && !gate.is_empty());
        assert!(!left.is_finished());
        drop(second);
        left.await.unwrap();
        assert!(gate.is_empty());
    }
}
