//! Who may come in: a bound on the requests under way, and a lower one while this node can't keep up.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use homing_failover::{Admission, AdmissionLimits, Origin, Sample};
use metrics::{Counter, Gauge, counter, gauge};
use tokio::time::{Instant, sleep_until};

use crate::Router;

/// How often the delay is sampled: with nothing under way, seldom.
const BUSY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(50);

/// The requests under way at a node, and how many may be.
pub(crate) struct Door {
    limits: AdmissionLimits,
    in_flight: AtomicUsize,
    /// How many came in since the last sample, and the milliseconds that they have.
    came: AtomicU32,
    have_ms: AtomicU64,
    /// By origin.
    bounds: [AtomicUsize; 2],
    refused: Counter,
    delay: Gauge,
    bound: Gauge,
}

impl Door {
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            in_flight: AtomicUsize::new(0),
            came: AtomicU32::new(0),
            have_ms: AtomicU64::new(0),
            bounds: [limits.max_in_flight; 2].map(AtomicUsize::new),
            refused: counter!("homing_overloaded_total"),
            delay: gauge!("homing_queue_delay_seconds"),
            bound: gauge!("homing_in_flight_limit"),
        }
    }
}

/// A place among the requests under way; dropping it frees it.
pub(crate) struct Place(Arc<Router>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.door.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Router {
    /// The requests under way at this node.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.door.in_flight.load(Ordering::Relaxed)
    }

    /// Whether a client's request would find a place now: one that would not is refused before anything is spent on it.
    ///
    /// # Errors
    /// Why it would find none. It is counted as refused.
    pub fn has_room(&self) -> Result<(), String> {
        let origin = Origin::Client;
        if self.in_flight() < self.door.bound(origin) { Ok(()) } else { Err(self.refuse(origin)) }
    }

    /// A place among the requests under way for one that has so much time, or why there is none; who gets none is counted.
    pub(crate) fn admit(self: &Arc<Self>, origin: Origin, has: Duration) -> Result<Place, String> {
        let place = self.place(origin).ok_or_else(|| self.refuse(origin))?;
        let has = has.min(Admission::LONGEST);
        self.door.have_ms.fetch_add(has.as_millis() as u64, Ordering::Relaxed);
        self.door.came.fetch_add(1, Ordering::Relaxed);
        Ok(place)
    }

    fn refuse(&self, origin: Origin) -> String {
        self.door.refused.increment(1);
        let bound = self.door.bound(origin);
        if bound < self.door.limits.max_in_flight {
            format!("{} can't keep up, and takes {bound} requests for now (max_delay_permille)", self.me)
        } else {
            format!("{bound} requests are under way at {} (max_in_flight)", self.me)
        }
    }

    /// A place among the requests under way, if there is one.
    pub(crate) fn place(self: &Arc<Self>, origin: Origin) -> Option<Place> {
        if self.door.in_flight.fetch_add(1, Ordering::Relaxed) < self.door.bound(origin) {
            Some(Place(Arc::clone(self)))
        } else {
            self.door.in_flight.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }

    /// Samples by how much this runtime is late, for as long as the router is there, and takes fewer requests while it can't keep up.
    /// A node runs this once, where its requests run; under virtual time there is no delay to find.
    pub async fn watch_delay(router: Weak<Self>) {
        let Some(limits) = router.upgrade().map(|router| router.door.limits) else { return };
        let mut admission = Admission::new(limits);
        let mut period = BUSY;
        loop {
            let due = Instant::now() + period;
            sleep_until(due).await;
            let Some(router) = router.upgrade() else { return };
            let (came, have) = router.door.came_in();
            let sample = Sample { delay: due.elapsed(), in_flight: router.in_flight(), came, have };
            admission.sample(sample, router.now());
            router.door.obey(&admission);
            period = if router.in_flight() > 0 { BUSY } else { IDLE };
        }
    }
}

impl Door {
    fn bound(&self, origin: Origin) -> usize {
        self.bounds[origin as usize].load(Ordering::Relaxed)
    }

    /// How many came in since this was asked last, and the time that they have, all together.
    fn came_in(&self) -> (u32, Duration) {
        let have = Duration::from_millis(self.have_ms.swap(0, Ordering::Relaxed));
        (self.came.swap(0, Ordering::Relaxed), have)
    }

    fn obey(&self, admission: &Admission) {
        for origin in [Origin::Client, Origin::Member] {
            self.bounds[origin as usize].store(admission.bound(origin), Ordering::Relaxed);
        }
        self.delay.set(admission.standing().as_secs_f64());
        self.bound.set(admission.bound(Origin::Member) as f64);
    }
}
