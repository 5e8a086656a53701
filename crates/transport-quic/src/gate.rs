//! Who is inside a connection: exchanges enter while it is open, and it ends once it is closed and empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// The gate of one connection. Once closed, it stays closed.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: watch::Sender<Inside>,
    /// The same as `inside.open`, for those who ask before each request.
    open: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Inside {
    open: bool,
    exchanges: usize,
}

/// One exchange inside. Dropping it leaves.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        let inside = watch::Sender::new(Inside { open: true, exchanges: 0 });
        Arc::new(Self { inside, open: AtomicBool::new(true) })
    }

    /// Lets an exchange in, if the gate is open.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        let mut entered = false;
        self.inside.send_if_modified(|inside| {
            entered = inside.open;
            inside.exchanges += usize::from(entered);
            // Nobody waits for the gate to fill.
            false
        });
        entered.then(|| Pass(Arc::clone(self)))
    }

    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::Release);
        self.inside.send_if_modified(|inside| std::mem::replace(&mut inside.open, false));
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whether there is no exchange inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.inside.borrow().exchanges == 0
    }

    /// Ends when the gate is closed.
    pub(crate) async fn closed(&self) {
        self.wait(|inside| !inside.open).await;
    }

    /// Ends when the gate is closed and the last exchange has left.
    pub(crate) async fn left(&self) {
        self.wait(|inside| !inside.open && inside.exchanges == 0).await;
    }

    async fn wait(&self, until: impl Fn(&Inside) -> bool) {
        // The sender is in `self`, so it can't be gone.
        let _ = self.inside.subscribe().wait_for(|inside| until(inside)).await;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.inside.send_if_modified(|inside| {
            inside.exchanges -= 1;
            !inside.open && inside.exchanges == 0
        });
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
