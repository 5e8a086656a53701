use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Kv, Latencies};

/// A steady load of reads through some nodes, one at a time through each, of spaces whose `key` is `value`.
pub(crate) struct Reads {
    stop: Arc<AtomicBool>,
    passed: Arc<AtomicUsize>,
    readers: JoinSet<Done>,
}

/// How the reads went.
#[derive(Default)]
pub(crate) struct Done {
    /// What was said of those that failed.
    pub(crate) failures: Vec<String>,
    reads: Vec<Read>,
}

struct Read {
    began: Instant,
    took: Duration,
}

impl Reads {
    pub(crate) fn start(entries: Vec<Kv>, spaces: Vec<String>) -> Self {
        let spaces = Arc::new(spaces);
        let stop = Arc::new(AtomicBool::new(false));
        let passed = Arc::new(AtomicUsize::new(0));
        let mut readers = JoinSet::new();
        for (reader, kv) in entries.into_iter().enumerate() {
            let (stop, passed, spaces) = (Arc::clone(&stop), Arc::clone(&passed), Arc::clone(&spaces));
            readers.spawn(async move {
                let mut done = Done::default();
                for i in (reader * 31)..usize::MAX {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let began = Instant::now();
                    match kv.get(&spaces[i % spaces.len()], "key").await {
                        Ok(served) if served.value.as_deref() == Some(b"value") => {}
                        other => done.failures.push(format!("{other:?}")),
                    }
                    done.reads.push(Read { began, took: began.elapsed() });
                    passed.fetch_add(1, Ordering::Relaxed);
                }
                done
            });
        }
        Self { stop, passed, readers }
    }

    /// Waits until this many more reads have passed.
    pub(crate) async fn passed(&self, more: usize) {
        let wanted = self.passed.load(Ordering::Relaxed) + more;
        let started = Instant::now();
        while self.passed.load(Ordering::Relaxed) < wanted {
            assert!(started.elapsed() < Duration::from_secs(60), "the reads hang");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What has failed by the end.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.done().await.failures
    }

    pub(crate) async fn done(mut self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        while let Some(ended) = self.readers.join_next().await {
            let Done { failures, reads } = ended.unwrap();
            all.failures.extend(failures);
            all.reads.extend(reads);
        }
        all
    }
}

impl Done {
    /// Of the reads that ended after `from`, and began before `to`.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Latencies {
        let touched = |read: &&Read| read.began + read.took > from && read.began < to;
        self.reads.iter().filter(touched).map(|read| read.took).collect()
    }
}
