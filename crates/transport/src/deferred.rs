//! Sending together what is handed over at about the same time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Counts what is handed to one connection so that it is sent.
#[derive(Debug, Clone, Default)]
pub struct Handed(Arc<AtomicUsize>);

impl Handed {
    /// One more is handed over.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn number(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The task of a connection, which under load lets those run first that may have more to send.
///
/// Such a task is woken by the first request that is handed to it, and tokio runs it next: each request would leave in a packet and a system call of
/// its own, however many are about to follow. Run behind the others, it finds them all. With one request at a time there is nothing to
/// gather, and each turn costs; so it is tried now and then, and kept up for as long as enough comes together (as network cards moderate their interrupts).
#[derive(Debug)]
pub struct Deferred<T> {
    task: T,
    handed: Handed,
    defers: bool,
    /// Whether the others have had their turn.
    yielded: bool,
    /// How many turns are left until this is looked at again, and how many had been handed over when it was before.
    turns: usize,
    before: usize,
}

/// How many turns a trial takes: enough to tell, and few enough to cost a lone caller next to nothing.
const TRIAL: usize = 8;

/// How many turns come between two trials.
const PAUSE: usize = 128;

impl<T> Deferred<T> {
    /// A task that is woken for what is counted as handed over, among other things.
    pub const fn new(task: T, handed: Handed) -> Self {
        Self { task, handed, defers: false, yielded: false, turns: PAUSE, before: 0 }
    }

    /// A lone caller hands one request over for two turns: one that sends it, and one that takes the reply.
    fn look(&mut self) {
        self.turns -= 1;
        if self.turns == 0 {
            let handed = self.handed.number();
            self.defers = !self.defers || handed.wrapping_sub(self.before) >= TRIAL;
            self.turns = if self.defers { TRIAL } else { PAUSE };
            self.before = handed;
        }
    }
}

impl<T: Future + Unpin> Future for Deferred<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.yielded {
            self.look();
            if self.defers {
                self.yielded = true;
                // Whoever wakes itself goes to the end of the queue.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        self.yielded = false;
        Pin::new(&mut self.task).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::{Waker, ready};

    use tokio::sync::oneshot;

    use super::*;

    /// How often the task runs when it is polled so often, with so many handed over in all when it has run so often.
    fn runs(polls: usize, in_all: fn(usize) -> usize) -> usize {
        let (handed, runs) = (Handed::default(), AtomicUsize::new(0));
        let task = poll_fn(|_| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            (in_all(run)..in_all(run + 1)).for_each(|_| handed.add());
            Poll::<()>::Pending
        });
        let mut task = Deferred::new(task, handed.clone());
        for _ in 0..polls {
            let _ = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
        }
        drop(task);
        runs.into_inner()
    }

    #[test]
    fn a_task_with_one_request_at_a_time_runs_nearly_always_when_it_is_woken() {
        for in_all in [(|_| 0) as fn(usize) -> usize, |runs| runs / 2] {
            assert!(runs(10_000, in_all) > 9_400);
        }
    }

    #[test]
    fn where_more_comes_together_the_others_go_first() {
        for in_all in [(|runs| runs) as fn(usize) -> usize, |runs| runs * 2] {
            assert!((4_900..5_200).contains(&runs(10_000, in_all)));
        }
    }

    /// tokio runs what was woken last next, where it has several threads.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_others_are_about_to_hand_over_is_found_in_one_turn() {
        const CALLERS: usize = 20;
        const CALLS: usize = 500;
        let (handed, runs) = (Handed::default(), Arc::new(AtomicUsize::new(0)));
        let (send, mut sent) = tokio::sync::mpsc::unbounded_channel::<oneshot::Sender<()>>();
        let connection = poll_fn({
            let runs = Arc::clone(&runs);
            move |cx| {
                runs.fetch_add(1, Ordering::Relaxed);
                while let Some(call) = ready!(sent.poll_recv(cx)) {
                    call.send(()).unwrap();
                }
                Poll::Ready(())
            }
        });
        let connection = tokio::spawn(Deferred::new(connection, handed.clone()));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (handed, send) = (handed.clone(), send.clone());
                tokio::spawn(async move {
                    for _ in 0..CALLS {
                        let (call, answered) = oneshot::channel();
                        handed.add();
                        send.send(call).unwrap();
                        answered.await.unwrap();
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        drop(send);
        connection.await.unwrap();
        let each = CALLERS * CALLS / runs.load(Ordering::Relaxed);
        assert!(each > CALLERS / 2, "{each} a turn");
    }
}
