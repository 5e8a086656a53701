use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Kv;

/// A steady load of reads through some nodes, of spaces whose `key` is `value`.
pub(crate) struct Reads {
    stop: Arc<AtomicBool>,
    passed: Arc<AtomicUsize>,
    readers: JoinSet<Vec<String>>,
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
                let mut failures = Vec::new();
                for i in (reader * 31)..usize::MAX {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match kv.get(&spaces[i % spaces.len()], "key").await {
                        Ok(served) if served.value.as_deref() == Some(b"value") => {}
                        other => failures.push(format!("{other:?}")),
                    }
                    passed.fetch_add(1, Ordering::Relaxed);
                }
                failures
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

    pub(crate) async fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(ended) = self.readers.join_next().await {
            failures.extend(ended.unwrap());
        }
        failures
    }
}
