//! Who is inside a connection: exchanges enter while it is open, and it ends once it is closed and empty.

use std::sync::Arc;

use tokio::sync::watch;

/// The gate of one connection. Once closed, it stays closed.
#[derive(Debug)]
pub(crate) struct Gate(watch::Sender<Inside>);

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
        Arc::new(Self(watch::Sender::new(Inside { open: true, exchanges: 0 })))
    }

    /// Lets an exchange in, if the gate is open.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        let mut entered = false;
        self.0.send_if_modified(|inside| {
            entered = inside.open;
            inside.exchanges += usize::from(entered);
            // Nobody waits for the gate to fill.
            false
        });
        entered.then(|| Pass(Arc::clone(self)))
    }

    pub(crate) fn close(&self) {
        self.0.send_if_modified(|inside| std::mem::replace(&mut inside.open, false));
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.borrow().open
    }

    /// Whether there is no exchange inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().exchanges == 0
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
        let _ = self.0.subscribe().wait_for(|inside| until(inside)).await;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.0.send_if_modified(|inside| {
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
