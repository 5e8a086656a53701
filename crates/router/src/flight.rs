//! One flight at a time for a key: whoever asks while it is under way shares its result.
//!
//! It keeps a burst from becoming a stampede (Go's `singleflight`): a thousand requests that find one
//! connection gone, or one entry stale, cause one dial or one pull.

use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;

/// Flights that are under way, by key.
pub(crate) struct Flights<K: Eq + Hash, V: Clone> {
    under_way: Arc<DashMap<K, Flight<V>>>,
}

/// Ends with the result, or with `None` if the flight panicked.
pub(crate) type Flight<V> = Shared<BoxFuture<'static, Option<V>>>;

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self { under_way: Arc::new(DashMap::new()) }
    }

    /// Joins the flight for `key`, or starts it. It runs as a task of its own, so it goes on for the others
    /// when whoever started it gives up.
    pub(crate) fn join<F>(&self, key: K, start: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut task = None;
        let entry = self.under_way.entry(key.clone());
        let flight = entry.or_insert_with(|| {
            let landing = Landing { under_way: Arc::clone(&self.under_way), key };
            let (landed, result) = oneshot::channel();
            let flying = start();
            task = Some(async move {
                let value = flying.await;
                // Whoever comes from here on wants a newer result than this one.
                drop(landing);
                let _ = landed.send(value);
            });
            result.map(Result::ok).boxed().shared()
        });
        let flight = flight.value().clone();
        // Not under the map's lock: a runtime that shuts down drops the task at once, and with it the landing.
        if let Some(task) = task {
            tokio::spawn(task);
        }
        flight
    }

    #[cfg(test)]
    fn is_under_way(&self, key: &K) -> bool {
        self.under_way.contains_key(key)
    }
}

/// Takes a flight off the list, also when it panics.
struct Landing<K: Eq + Hash, V: Clone> {
    under_way: Arc<DashMap<K, Flight<V>>>,
    key: K,
}

impl<K: Eq + Hash, V: Clone> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.under_way.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_burst_shares_one_flight_and_a_later_one_starts_anew() {
        let flights = Flights::new();
        let started = AtomicUsize::new(0);
        let gate = Arc::new(Semaphore::new(0));
        let join = || {
            flights.join("key", || {
                let number = started.fetch_add(1, Ordering::Relaxed);
                let gate = Arc::clone(&gate);
                async move {
                    let _permit = gate.acquire().await;
                    number
                }
            })
        };
        let burst: Vec<_> = (0..1_000).map(|_| join()).collect();
        assert!(flights.is_under_way(&"key"));
        gate.add_permits(1);
        for flight in burst {
            assert_eq!(flight.await, Some(0));
        }
        assert_eq!(join().await, Some(1));
        assert!(!flights.is_under_way(&"key"));
    }

    #[tokio::test]
    async fn a_flight_that_panics_frees_its_key() {
        let flights: Flights<u8, ()> = Flights::new();
        assert_eq!(flights.join(1, || async { panic!("on purpose") }).await, None);
        assert_eq!(flights.join(1, || async {}).await, Some(()));
    }
}
