//! Who may come in: a bound on the requests under way, and a lower one while this node can't keep up.
//!
//! Under the lower one, who finds no place waits a little for one that gets free: requests come in bursts, and what is refused in one could have
//! been done right after it. As many wait as may be under way, each for a small part of its time.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use homing_failover::{Admission, AdmissionLimits, Origin, Sample};
use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Router;

/// How often the delay is sampled: with nothing under way, seldom.
const BUSY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(50);

/// For what part of its time a request waits for a place, and no longer than this: by then a bound that was too low has risen.
const PART: u32 = 20;
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// The requests under way at a node, and how many may be.
pub(crate) struct Door {
    limits: AdmissionLimits,
    in_flight: AtomicUsize,
    /// How many came in since the last sample, and the milliseconds that they have.
    came: AtomicU32,
    have_ms: AtomicU64,
    /// By origin, as all that follows.
    bounds: [AtomicUsize; 2],
    /// Those that wait for a place.
    waiting: [AtomicUsize; 2],
    freed: [Notify; 2],
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
            waiting: Default::default(),
            freed: Default::default(),
            refused: counter!("homing_overloaded_total"),
            delay: gauge!("homing_queue_delay_seconds"),
            bound: gauge!("homing_in_flight_limit"),
        }
    }
}

/// A place among the requests under way; dropping it frees it.
pub(crate) struct Place(Arc<Door>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        // What a member brought has cost already.
        let next = [Origin::Member, Origin::Client].into_iter().find(|origin| self.0.waiting(*origin) > 0);
        if let Some(origin) = next {
            self.0.freed[origin as usize].notify_one();
        }
    }
}

/// One that waits for a place.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Router {
    /// The requests under way at this node.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.door.in_flight.load(Ordering::Relaxed)
    }

    /// Whether a client's request would find a place, now or soon: one that would not is refused before anything is spent on it.
    ///
    /// # Errors
    /// Why it would find none. It is counted as refused.
    pub fn has_room(&self) -> Result<(), String> {
        let origin = Origin::Client;
        let room = self.in_flight() < self.door.bound(origin) || self.door.lets_wait(origin);
        if room { Ok(()) } else { Err(self.refuse(origin)) }
    }

    /// A place among the requests under way for one that has so much time, or why there is none; who gets none is counted.
    /// It waits for one for a part of the time `within` which its answer must begin.
    pub(crate) async fn admit(
        &self,
        origin: Origin,
        has: Duration,
        within: Duration,
    ) -> Result<Place, String> {
        let place = self.door.admit(origin, within).await.ok_or_else(|| self.refuse(origin))?;
        self.door.came_in_with(has);
        Ok(place)
    }

    /// The same, unless it would have to wait.
    pub(crate) fn admit_now(&self, origin: Origin, has: Duration) -> Option<Place> {
        let place = self.door.admit_now(origin);
        if place.is_some() {
            self.door.came_in_with(has);
        }
        place
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
    pub(crate) fn place(&self, origin: Origin) -> Option<Place> {
        self.door.place(origin)
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
    /// Nobody overtakes those that wait, unless there is room for all.
    fn admit_now(self: &Arc<Self>, origin: Origin) -> Option<Place> {
        if self.waiting(origin) == 0 || self.is_open(origin) { self.place(origin) } else { None }
    }

    async fn admit(self: &Arc<Self>, origin: Origin, within: Duration) -> Option<Place> {
        match self.admit_now(origin) {
            Some(place) => Some(place),
            None => self.wait(origin, within).await,
        }
    }

    fn place(self: &Arc<Self>, origin: Origin) -> Option<Place> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < self.bound(origin) {
            Some(Place(Arc::clone(self)))
        } else {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }

    async fn wait(self: &Arc<Self>, origin: Origin, within: Duration) -> Option<Place> {
        if !self.lets_wait(origin) {
            return None;
        }
        let waiting = &self.waiting[origin as usize];
        waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(waiting);
        let place = async {
            loop {
                // Word that a place was freed waits here if it comes before this.
                self.freed[origin as usize].notified().await;
                if let Some(place) = self.place(origin) {
                    return place;
                }
            }
        };
        timeout((within / PART).min(LONGEST_WAIT), place).await.ok()
    }

    fn waiting(&self, origin: Origin) -> usize {
        self.waiting[origin as usize].load(Ordering::Relaxed)
    }

    /// Whether it is worth waiting for a place: the bound is one that may rise, and not as many wait already.
    fn lets_wait(&self, origin: Origin) -> bool {
        !self.is_open(origin) && self.waiting(origin) < self.bound(origin)
    }

    /// Whether this node keeps up: as many come in as ever may.
    fn is_open(&self, origin: Origin) -> bool {
        self.bound(origin) >= self.limits.max_in_flight
    }

    fn bound(&self, origin: Origin) -> usize {
        self.bounds[origin as usize].load(Ordering::Relaxed)
    }

    fn came_in_with(&self, has: Duration) {
        self.came.fetch_add(1, Ordering::Relaxed);
        self.have_ms.fetch_add(has.min(Admission::LONGEST).as_millis() as u64, Ordering::Relaxed);
    }

    /// How many came in since this was asked last, and the time that they have, all together.
    fn came_in(&self) -> (u32, Duration) {
        let have = Duration::from_millis(self.have_ms.swap(0, Ordering::Relaxed));
        (self.came.swap(0, Ordering::Relaxed), have)
    }

    fn obey(&self, admission: &Admission) {
        for origin in [Origin::Client, Origin::Member] {
            let bound = admission.bound(origin);
            self.bounds[origin as usize].store(bound, Ordering::Relaxed);
            // There may be more room than places get free.
            if self.in_flight.load(Ordering::Relaxed) < bound {
                self.freed[origin as usize].notify_waiters();
            }
        }
        self.delay.set(admission.standing().as_secs_f64());
        self.bound.set(admission.bound(Origin::Member) as f64);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One that takes so many, of members and of clients.
    fn door(bound: usize) -> Arc<Door> {
        let door = Door::new(AdmissionLimits { max_in_flight: 10, ..AdmissionLimits::default() });
        door.bounds.iter().for_each(|each| each.store(bound, Ordering::Relaxed));
        Arc::new(door)
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_a_part_of_its_time_and_members_go_first() {
        let door = door(2);
        let taken = [door.place(Origin::Client).unwrap(), door.place(Origin::Client).unwrap()];
        let began = Instant::now();
        assert!(door.admit(Origin::Client, SECOND).await.is_none());
        assert_eq!(began.elapsed(), SECOND / PART);
        assert!(door.admit(Origin::Client, 100 * SECOND).await.is_none());
        assert_eq!(began.elapsed(), SECOND / PART + LONGEST_WAIT);

        let mut client = Box::pin(door.admit(Origin::Client, SECOND));
        let mut member = Box::pin(door.admit(Origin::Member, SECOND));
        assert!(client.as_mut().now_or_never().is_none() && member.as_mut().now_or_never().is_none());
        let [first, second] = taken;
        drop(first);
        assert!(client.as_mut().now_or_never().is_none());
        let member = member.now_or_never().flatten().unwrap();
        assert!(door.place(Origin::Client).is_none());
        let later = Box::pin(door.admit(Origin::Client, SECOND));
        drop(second);
        assert!(later.now_or_never().is_none(), "nobody overtakes those that wait");
        assert!(client.now_or_never().flatten().is_some());
        drop(member);
        assert_eq!(door.in_flight.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_wait_as_may_be_under_way_and_none_at_the_bound_that_stands() {
        let door = door(2);
        let _taken = [door.place(Origin::Client).unwrap(), door.place(Origin::Client).unwrap()];
        let mut waits = [(); 3].map(|()| Box::pin(door.admit(Origin::Client, SECOND)));
        let polled = waits.each_mut().map(|wait| wait.as_mut().now_or_never().map(|place| place.is_some()));
        assert_eq!(polled, [None, None, Some(false)]);
        drop(waits);
        assert_eq!(door.waiting(Origin::Client), 0);

        door.bounds.iter().for_each(|each| each.store(10, Ordering::Relaxed));
        let _all: Vec<_> = (0..8).map(|_| door.place(Origin::Client).unwrap()).collect();
        assert!(door.admit(Origin::Client, SECOND).now_or_never().unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_comes_in_when_the_bound_rises() {
        let door = door(1);
        let _taken = door.place(Origin::Client).unwrap();
        let mut wait = Box::pin(door.admit(Origin::Client, SECOND));
        assert!(wait.as_mut().now_or_never().is_none());
        door.obey(&Admission::new(door.limits));
        assert!(
            door.admit(Origin::Client, SECOND).now_or_never().flatten().is_some(),
            "there is room for all"
        );
        assert!(wait.now_or_never().flatten().is_some());
    }
}
