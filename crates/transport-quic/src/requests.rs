//! The requests of one connection that are under way.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::Duration;

use homing_transport::BoxFuture;
use homing_types::NodeId;
use tokio::task::{JoinError, JoinSet, coop};
use tokio::time::Instant;

/// The requests of one connection. Each begins in the connection's own task, and goes on in one of its own if it has to wait: one that is answered at once
/// costs no task, and no other thread is woken to look for it.
///
/// While it begins, those behind it wait. So once one has taken long, the next get tasks from the start, which other threads may take.
pub(crate) struct Requests {
    from: NodeId,
    tasks: JoinSet<()>,
    /// How many more get tasks from the start.
    apart: usize,
}

/// How long a request may take to begin, unless others are to wait for it too long.
const QUICK: Duration = Duration::from_micros(100);

/// How many get tasks from the start after one that took longer.
const APART: usize = 256;

/// Up to so many tasks, those that have ended are let go of at the next request: to be woken for each costs more than they do.
const FEW: usize = 64;

impl Requests {
    pub(crate) fn new(from: NodeId) -> Self {
        Self { from, tasks: JoinSet::new(), apart: 0 }
    }

    /// Begins to answer one more.
    pub(crate) async fn begin(&mut self, mut request: BoxFuture<'static, ()>) {
        while let Some(ended) = self.tasks.try_join_next() {
            self.look_at(ended);
        }
        if self.apart > 0 {
            self.apart -= 1;
            self.tasks.spawn(request);
            return;
        }
        // However many come one after another, other tasks have their turn.
        coop::consume_budget().await;
        let began = Instant::now();
        let begun = poll_fn(|cx| Poll::Ready(catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(cx)))));
        match begun.await {
            Ok(Poll::Ready(())) => {}
            Ok(Poll::Pending) => drop(self.tasks.spawn(request)),
            Err(panic) => self.panicked(&*panic),
        }
        if began.elapsed() > QUICK {
            self.apart = APART;
        }
    }

    /// Lets go of those that end, while there are more than a few tasks. It never returns, and may be dropped at any time.
    pub(crate) async fn let_go(&mut self) {
        while self.tasks.len() > FEW {
            if let Some(ended) = self.tasks.join_next().await {
                self.look_at(ended);
            }
        }
        std::future::pending().await
    }

    /// Ends them all.
    pub(crate) async fn shutdown(mut self) {
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            self.look_at(ended);
        }
    }

    fn look_at(&self, ended: Result<(), JoinError>) {
        if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
            self.panicked(&*panic);
        }
    }

    fn panicked(&self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let error = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
        tracing::error!(from = %self.from, error, "a handler panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    fn requests() -> (Requests, Arc<AtomicUsize>) {
        (Requests::new(NodeId::new("a").unwrap()), Arc::default())
    }

    fn count(ended: &Arc<AtomicUsize>) -> impl Future<Output = ()> + use<> {
        let ended = Arc::clone(ended);
        async move {
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_at_once_needs_no_task_and_what_waits_gets_one() {
        let (mut requests, ended) = requests();
        let go = Arc::new(Notify::new());
        for _ in 0..1_000 {
            requests.begin(Box::pin(count(&ended))).await;
        }
        assert_eq!((ended.load(Ordering::Relaxed), requests.tasks.len()), (1_000, 0));
        let (waits, counts) = (Arc::clone(&go), count(&ended));
        requests
            .begin(Box::pin(async move {
                waits.notified().await;
                counts.await;
            }))
            .await;
        assert_eq!((ended.load(Ordering::Relaxed), requests.tasks.len()), (1_000, 1));
        go.notify_one();
        requests.tasks.join_next().await.unwrap().unwrap();
        assert_eq!(ended.load(Ordering::Relaxed), 1_001);
    }

    #[tokio::test]
    async fn behind_one_that_takes_long_the_next_have_tasks_of_their_own() {
        let (mut requests, ended) = requests();
        let began = Instant::now();
        requests.begin(Box::pin(async move { while began.elapsed() <= 2 * QUICK {} })).await;
        for _ in 0..APART {
            requests.begin(Box::pin(count(&ended))).await;
        }
        assert_eq!(ended.load(Ordering::Relaxed), 0, "one of them ran before others could take it");
        requests.begin(Box::pin(count(&ended))).await;
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        while requests.tasks.join_next().await.is_some() {}
        assert_eq!(ended.load(Ordering::Relaxed), 1 + APART);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_ends_alone() {
        let (mut requests, ended) = requests();
        requests.begin(Box::pin(async { panic!("on purpose") })).await;
        requests
            .begin(Box::pin(async {
                tokio::task::yield_now().await;
                panic!("on purpose, later");
            }))
            .await;
        requests.begin(Box::pin(count(&ended))).await;
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        assert!(requests.tasks.join_next().await.unwrap().unwrap_err().is_panic());
    }

    #[tokio::test]
    async fn of_many_that_have_ended_only_a_few_are_kept() {
        let (mut requests, _) = requests();
        for _ in 0..3 * FEW {
            requests.begin(Box::pin(tokio::task::yield_now())).await;
        }
        let let_go = async {
            while requests.tasks.len() > FEW {
                let _ = tokio::time::timeout(Duration::ZERO, requests.let_go()).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), let_go).await.expect("they have ended");
    }
}
