//! How many requests a node takes at a time, by how long what is ready to run must wait there.
//!
//! Past its limit a node that takes everything serves nobody: each request waits so long that its caller is gone when its turn comes.
//! What tells the limit is not how many requests are under way, which differs with each service and each machine, but the delay of a queue
//! that does not empty: its least in a while, as bursts come and go (Nichols and Jacobson, "Controlling Queue Delay", 2012). The queue is that
//! of the runtime. By it the bound on requests under way falls and rises as a congestion window does (Chiu and Jain, "Analysis of the Increase
//! and Decrease Algorithms for Congestion Avoidance", 1989), and between two changes it lets in just as many as get done.
//!
//! Of two kinds of requests, those that just came from clients are refused first: it is cheapest, and a client can go to another node. What a
//! member brought has cost that member already (Zhou et al., "Overload Control for Scaling WeChat Microservices", SoCC 2018).

use std::time::Duration;

use homing_types::Time;

/// The bounds of an [`Admission`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Requests under way at a time, at most: what the service can hold at its worst latency.
    pub max_in_flight: usize,
    /// The delay that may stand, in thousandths of the time that requests have in the mean, and 5 ms at least; over it, fewer are taken. A request
    /// is delayed by it once for each step that it makes at a node. Zero: any delay may stand.
    pub max_delay_permille: u32,
}

impl Default for AdmissionLimits {
    /// 10,000 requests, and 5 ‰ (of 10 s, 50 ms): a replicated write makes up to 200 steps, and with each so late its time is over.
    fn default() -> Self {
        Self { max_in_flight: 10_000, max_delay_permille: 5 }
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From a client, to be brought to an owner.
    Client,
    /// From a member, which chose this node for it.
    Member,
}

/// Over so long the least delay is taken, and over so many samples: one that is held up tells nothing.
const WINDOW: Duration = Duration::from_millis(100);
const SAMPLES: u32 = 3;

/// A delay of so little is no sign of anything.
const LEAST_DELAY: Duration = Duration::from_millis(5);

/// How fast the bound rises in a window without a standing delay, and how far it falls at most in one with: no farther than CUBIC's window
/// (RFC 9438), since a delay stands now and then where there is just enough room, and what is refused until the bound has risen again could have
/// been done.
const RISE: f64 = 1.1;
const FALL: f64 = 0.7;

/// A node takes as many in any case: what gets through shows when there is room again. It is few, since each waits for all others: with 32
/// at each of five nodes that answer 500 calls a second in all, a call takes a third of a second (Little, "A Proof for the Queuing
/// Formula: L = λW", 1961).
const LEAST: f64 = 8.0;

/// The share of the bound that clients' requests can have.
const OF_CLIENTS: f64 = 0.75;

/// What is seen of a node now and then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// What was ready to run began to so much later.
    pub delay: Duration,
    /// Requests under way.
    pub in_flight: usize,
    /// Requests that came in since the last sample, and the time that they have, all together and no more than [`Admission::LONGEST`] each.
    pub came: u32,
    /// See `came`.
    pub have: Duration,
}

/// The requests that a node takes at a time.
#[derive(Debug, Clone)]
pub struct Admission {
    limits: AdmissionLimits,
    /// When this window began.
    since: Option<Time>,
    samples: u32,
    least_delay: Duration,
    most_in_flight: usize,
    came: u32,
    have: Duration,
    /// The delay that stood in the last window.
    standing: Duration,
    /// The time that the last ones had which came in, in the mean.
    time: Duration,
    bound: f64,
}

impl Admission {
    /// More time than this does not count, of each request; and so much they have until some came.
    pub const LONGEST: Duration = Duration::from_secs(10);

    /// One that nothing has delayed yet.
    #[must_use]
    pub const fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            since: None,
            samples: 0,
            least_delay: Duration::MAX,
            most_in_flight: 0,
            came: 0,
            have: Duration::ZERO,
            standing: Duration::ZERO,
            time: Self::LONGEST,
            bound: limits.max_in_flight as f64,
        }
    }

    /// The delay that may stand now.
    #[must_use]
    pub fn max_delay(&self) -> Duration {
        match self.limits.max_delay_permille {
            0 => Duration::MAX,
            permille => (self.time * permille / 1_000).max(LEAST_DELAY),
        }
    }

    /// Takes one sample; at the end of a window the bound changes.
    pub fn sample(&mut self, sample: Sample, now: Time) {
        let since = *self.since.get_or_insert(now);
        self.samples += 1;
        self.least_delay = self.least_delay.min(sample.delay);
        self.most_in_flight = self.most_in_flight.max(sample.in_flight);
        self.came += sample.came;
        self.have += sample.have;
        if now.since(since) < WINDOW || self.samples < SAMPLES {
            return;
        }
        self.time = self.have.checked_div(self.came).unwrap_or(self.time);
        let max_delay = self.max_delay();
        let Self { limits, least_delay, most_in_flight, bound, .. } = self;
        self.standing = *least_delay;
        // Where so few are under way, it is not they who delay anything.
        *bound = if *least_delay <= max_delay || (*most_in_flight as f64) < LEAST {
            *bound * RISE
        } else {
            // As much as the delay is too long, or less: what was let in has gone before long.
            let share = max_delay.as_secs_f64() / least_delay.as_secs_f64();
            bound.min(*most_in_flight as f64) * share.max(FALL)
        };
        *bound = bound.max(LEAST).min(limits.max_in_flight as f64);
        (self.since, self.samples) = (Some(now), 0);
        (self.least_delay, self.most_in_flight) = (Duration::MAX, 0);
        (self.came, self.have) = (0, Duration::ZERO);
    }

    /// With so many under way, one more of this origin is refused.
    #[must_use]
    pub fn bound(&self, origin: Origin) -> usize {
        match origin {
            // Nothing stands in the way of a node that is well.
            Origin::Client if self.bound < self.limits.max_in_flight as f64 => {
                (self.bound * OF_CLIENTS) as usize
            }
            Origin::Client | Origin::Member => self.bound as usize,
        }
    }

    /// The delay that stood in the last window.
    #[must_use]
    pub const fn standing(&self) -> Duration {
        self.standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits { max_in_flight: 1_000, max_delay_permille: 5 };

    /// A node on which each request under way delays all others by this much, and which gets as many as it takes.
    struct Node {
        admission: Admission,
        now: Time,
        in_flight: usize,
        /// The time that its requests have.
        have: Duration,
    }

    impl Node {
        fn new() -> Self {
            let admission = Admission::new(LIMITS);
            Self { admission, now: Time::ZERO, in_flight: 0, have: SECOND }
        }

        /// For so long, as many are under way as are let in, of `offered`; returns the delay of the last window.
        fn run(&mut self, offered: usize, each: Duration, lasts: Duration) -> Duration {
            let end = self.now + lasts;
            while self.now < end {
                // A sample comes as late as all else.
                self.now = self.now + Duration::from_millis(10) + each * self.in_flight as u32;
                // Those that are too many end before long, and no others come in.
                let room = offered.min(self.admission.bound(Origin::Member));
                self.in_flight = if room < self.in_flight { room.max(self.in_flight * 9 / 10) } else { room };
                let (delay, in_flight) = (each * self.in_flight as u32, self.in_flight);
                self.admission.sample(Sample { delay, in_flight, came: 2, have: 2 * self.have }, self.now);
            }
            self.admission.standing()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
    /// 50 of these are what may stand.
    const EACH: Duration = Duration::from_micros(100);

    #[test]
    fn a_node_that_keeps_up_takes_as_many_as_it_may() {
        let mut node = Node::new();
        node.run(40, EACH, 10 * SECOND);
        assert_eq!(node.admission.bound(Origin::Member), 1_000);
        assert_eq!(node.admission.bound(Origin::Client), 1_000);
    }

    #[test]
    fn what_is_too_much_is_refused_within_two_seconds_and_the_delay_stays_near_what_may_stand() {
        let mut node = Node::new();
        node.run(40, EACH, SECOND);
        node.run(1_000, EACH, 2 * SECOND);
        for _ in 0..100 {
            let delay = node.run(1_000, EACH, SECOND / 10);
            assert!(delay < 2 * LEAST_DELAY, "{delay:?}");
            assert!((35..=100).contains(&node.in_flight), "{} under way", node.in_flight);
        }
        let [clients, members] = [Origin::Client, Origin::Member].map(|origin| node.admission.bound(origin));
        assert!(clients < members, "{clients} of clients and {members} of members");
    }

    #[test]
    fn it_is_forgotten_a_few_seconds_after_its_end() {
        let mut node = Node::new();
        node.run(1_000, EACH, 5 * SECOND);
        node.run(10, EACH, 5 * SECOND);
        assert_eq!(node.admission.bound(Origin::Client), 1_000);
    }

    /// What would be too late for some is in time for others.
    #[test]
    fn who_has_more_time_may_wait_longer() {
        let mut node = Node::new();
        node.have = 6 * SECOND;
        node.run(250, EACH, 10 * SECOND);
        assert_eq!(node.admission.max_delay(), Duration::from_millis(30));
        assert_eq!(node.admission.bound(Origin::Client), 1_000);
        node.have = SECOND;
        node.run(250, EACH, SECOND);
        assert!(node.admission.bound(Origin::Member) < 100);
    }

    #[test]
    fn a_pause_is_no_overload() {
        let mut admission = Admission::new(LIMITS);
        for i in 0..1_000_u32 {
            let delay = if i % 10 == 0 { Duration::from_secs(3) } else { Duration::ZERO };
            let sample = Sample { delay, in_flight: 500, ..Sample::default() };
            admission.sample(sample, Time::from_origin(i * Duration::from_millis(20)));
        }
        assert_eq!(admission.bound(Origin::Client), 1_000);
    }

    #[test]
    fn some_always_come_in_and_without_a_bound_on_the_delay_all() {
        let mut node = Node::new();
        node.run(1_000, SECOND / 1_000, 60 * SECOND);
        assert_eq!(node.admission.bound(Origin::Member), 8);
        assert_eq!(node.admission.bound(Origin::Client), 6);
        let limits = AdmissionLimits { max_delay_permille: 0, ..LIMITS };
        let mut node = Node { admission: Admission::new(limits), ..Node::new() };
        node.run(1_000, SECOND / 1_000, 60 * SECOND);
        assert_eq!(node.admission.bound(Origin::Client), 1_000);
    }
}
