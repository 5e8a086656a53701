//! Callers, and what they remember of what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homing_failover::Verdict;
use homing_kv::Position;
use homing_router::Call;
use homing_transport::Body;
use homing_types::{Access, IdempotencyKey};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, sleep_until};

use crate::history::{self, Op, What};
use crate::kv_call::{Request, Told, get, number_in, put, told};
use crate::names::{node_id, number_of, slot_of, space_of};
use crate::oracle::ONCE;
use crate::world::World;

/// How late a call may end: timers tell milliseconds apart.
const LATE: Duration = Duration::from_millis(10);

/// How many calls are to the one key of a space that many write, in per cent; and that key.
const SHARED: u32 = 40;
pub(crate) const SHARED_KEY: u64 = u64::MAX - 1;

/// How often a caller comes back with its key.
const TRIES: u32 = 5;

/// A write whose key and value nobody else writes.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) number: u64,
    pub(crate) space: usize,
    /// As which version it was acknowledged.
    pub(crate) acknowledged: Option<Position>,
    /// Whether it may have been executed all the same.
    pub(crate) maybe: bool,
}

/// One call as its caller makes it.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) entry: usize,
    /// Which caller's it is.
    pub(crate) number: u64,
    pub(crate) space: usize,
    pub(crate) access: Access,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) patience: Duration,
    pub(crate) request: Request,
}

/// How an answer came.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) hops: u8,
    pub(crate) by: Option<usize>,
}

/// All callers.
pub(crate) struct Load {
    pub(crate) world: Arc<World>,
    written: Mutex<Vec<Written>>,
    /// What was done to the one key of each space that many write.
    pub(crate) shared: Mutex<BTreeMap<usize, Vec<Op>>>,
    /// Calls to these keys.
    sharing: Mutex<usize>,
    calls: Mutex<u64>,
    began: Instant,
}

impl Load {
    pub(crate) fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world,
            written: Mutex::default(),
            shared: Mutex::default(),
            sharing: Mutex::default(),
            calls: Mutex::default(),
            began: Instant::now(),
        })
    }

    /// All that was written to keys of their own, as the callers know.
    pub(crate) fn written(&self) -> Vec<Written> {
        self.written.lock().clone()
    }

    /// One caller: what it does is drawn from its number.
    pub(crate) async fn caller(self: Arc<Self>, number: u64) {
        let plan = &self.world.plan;
        let mut rng = StdRng::seed_from_u64(plan.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        sleep(plan.calls_begin_within.mul_f64(rng.random_range(0.0..1.0))).await;
        let space = rng.random_range(0..plan.spaces);
        let shared = rng.random_range(0..100) < SHARED && self.may_share();
        match rng.random_range(0..100) {
            0..50 if shared => self.read_shared(&mut rng, number, space).await,
            0..35 => self.read(&mut rng, number, space, Access::Read).await,
            35..50 => self.read(&mut rng, number, space, Access::ReadPrimary).await,
            50..80 => self.write(&mut rng, number, space, true, shared).await,
            _ => self.write(&mut rng, number, space, false, shared).await,
        }
    }

    async fn write(&self, rng: &mut StdRng, number: u64, space: usize, keyed: bool, shared: bool) {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let minted_at = self.entry(rng);
        let key = keyed.then(|| IdempotencyKey::new(self.world.clock(minted_at), random));
        let began = self.began.elapsed();
        let (mut acknowledged, mut maybe) = (None, false);
        for _ in 0..if keyed { TRIES } else { 1 } {
            let request = if shared { put(SHARED_KEY, number) } else { put(number, number) };
            let (entry, patience) = (self.entry(rng), patience(rng));
            let asked = Asked { entry, number, space, access: Access::Write, key, patience, request };
            match self.call(asked).await.0 {
                Told::Done(version) => {
                    acknowledged = Some(version);
                    self.world.counts.lock().acknowledged += 1;
                    break;
                }
                Told::Read(_) => unreachable!("a write was asked for"),
                Told::Not(_) => {}
                Told::Maybe(_) => maybe = true,
            }
            sleep(Duration::from_millis(rng.random_range(1..500))).await;
        }
        if !shared {
            self.written.lock().push(Written { number, space, acknowledged, maybe });
            self.owners_hold(space);
        } else if acknowledged.is_some() || maybe {
            let ended = acknowledged.map(|_| self.began.elapsed());
            self.remember(space, Op { began, ended, what: What::Write(number), version: acknowledged });
        }
    }

    async fn read(&self, rng: &mut StdRng, number: u64, space: usize, access: Access) {
        let known: Vec<Written> =
            self.written().into_iter().filter(|written| written.space == space).collect();
        if known.is_empty() {
            return;
        }
        let written = known[rng.random_range(0..known.len())].clone();
        let (entry, patience) = (self.entry(rng), patience(rng));
        let request = get(written.number);
        let (told, seen) =
            self.call(Asked { entry, number, space, access, key: None, patience, request }).await;
        // A replica that is told late that it left the in-sync set may answer with what it had.
        let owns = seen.by.is_some_and(|by| self.world.owners(space).contains(&by));
        if owns || access == Access::ReadPrimary {
            self.check(&written, &told, &format!("a {access} at {}", node_id(entry)));
        }
    }

    /// Reads what many write: at the primary, since a replica may show a write before its caller is answered, and another
    /// replica not yet.
    async fn read_shared(&self, rng: &mut StdRng, number: u64, space: usize) {
        let (entry, patience) = (self.entry(rng), patience(rng));
        self.see_shared(entry, number, space, patience).await;
    }

    /// Reads what many write, and remembers it.
    pub(crate) async fn see_shared(
        &self,
        entry: usize,
        number: u64,
        space: usize,
        patience: Duration,
    ) -> Told {
        let began = self.began.elapsed();
        let (access, request) = (Access::ReadPrimary, get(SHARED_KEY));
        let (told, _) = self.call(Asked { entry, number, space, access, key: None, patience, request }).await;
        if let Told::Read(found) = &told {
            let version = found.as_ref().map(|(_, version)| *version);
            let what = What::Read(found.as_ref().map(|(value, _)| number_in(value)));
            self.remember(space, Op { began, ended: Some(self.began.elapsed()), what, version });
        }
        told
    }

    fn remember(&self, space: usize, op: Op) {
        self.shared.lock().entry(space).or_default().push(op);
    }

    /// Whether one more call may go to a key that many write: a history has a bound, and each space's ends with one more read.
    fn may_share(&self) -> bool {
        let mut sharing = self.sharing.lock();
        *sharing += 1;
        *sharing < history::MOST_OPS
    }

    fn entry(&self, rng: &mut StdRng) -> usize {
        rng.random_range(0..self.world.plan.entry_nodes)
    }

    pub(crate) async fn call(&self, asked: Asked) -> (Told, Seen) {
        let Asked { entry, number, space, access, key, patience, request: (path, message) } = asked;
        let world = &self.world;
        let nth = {
            let mut calls = self.calls.lock();
            *calls += 1;
            *calls
        };
        let deadline = Instant::now() + patience;
        let trace = format!("00-{nth:032x}-{nth:016x}-01");
        let Some((router, incarnation)) = world.entry(entry) else {
            return (Told::Not(format!("{} is down", node_id(entry))), Seen::default());
        };
        world.counts.lock().calls += 1;
        let call = Call {
            space: space_of(space),
            access,
            deadline: Some(deadline),
            reply_by: None,
            idempotency_key: key,
            max_age: None,
            retry: false,
            traceparent: Some(trace.clone()),
        };
        let mut request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::from(message))
            .unwrap_or_default();
        if access == Access::Write && key.is_none() {
            request.headers_mut().insert(ONCE, number.into());
        }
        let mut seen = Seen::default();
        let mut died = false;
        let entered = AtomicBool::new(false);
        let calling = async {
            // It comes in when the node moves, and then its caller may be gone.
            world.network.until_it_moves(entry, &trace).await;
            entered.store(true, Ordering::Relaxed);
            router.call(call, request).await
        };
        let mut told = tokio::select! {
            biased;
            () = world.ended(entry, incarnation) => {
                died = true;
                Told::Maybe(format!("{} died", node_id(entry)))
            }
            () = sleep_until(deadline + LATE) => {
                if entered.load(Ordering::Relaxed) {
                    world.oracle.violated("deadline", format!("call {number} at {} did not end", node_id(entry)));
                }
                Told::Maybe("it did not end".to_owned())
            }
            answer = calling => match answer {
                Ok(answer) => {
                    let (hops, epoch) = (answer.head.hops, answer.head.epoch);
                    seen = Seen { hops, by: answer.head.served_by.as_ref().map(number_of) };
                    {
                        let mut counts = world.counts.lock();
                        counts.answered += 1;
                        counts.attempts += u64::from(answer.attempts);
                        *counts.hops.entry(hops).or_default() += 1;
                    }
                    world.oracle.taught(entry, space, epoch, router.table().load().epoch(slot_of(space)));
                    told(answer, path).await
                }
                Err(error) => {
                    world.counts.lock().attempts += u64::from(error.attempts);
                    if error.verdict == Verdict::Ambiguous {
                        Told::Maybe(error.to_string())
                    } else {
                        Told::Not(error.to_string())
                    }
                }
            },
        };
        if let Told::Not(why) = &told
            && world.network.has_repeated(&trace)
        {
            told = Told::Maybe(why.clone());
        }
        if died || world.network.has_met(&trace) {
            world.counts.lock().troubled += 1;
        }
        let what = told.line();
        world
            .story
            .tell(format_args!("call {number} at {}, {access} of space-{space}: {what}", node_id(entry)));
        (told, seen)
    }
}

fn patience(rng: &mut StdRng) -> Duration {
    Duration::from_millis(rng.random_range(100..3_000))
}
