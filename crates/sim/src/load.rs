//! Callers, and what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use homing_failover::Verdict;
use homing_kv::proto::{GetRequest, GetResponse, PutRequest, PutResponse, Version};
use homing_router::{Answer, Call};
use homing_transport::Body;
use homing_types::{Access, IdempotencyKey};
use http::HeaderMap;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, sleep_until};

use crate::world::{World, node_id, space_of};

/// How late a call may end: timers tell milliseconds apart.
const LATE: Duration = Duration::from_millis(10);

/// The time of a call when all is mended.
const CALM: Duration = Duration::from_secs(30);

/// How often each node asks for each space then, at most, and the time between: a suspect is dialled, or probed, when somebody
/// asks.
const ROUNDS: u32 = 8;
const BETWEEN: Duration = Duration::from_secs(1);

/// How often a caller comes back with its key.
const TRIES: u32 = 5;

/// All that was written, as its callers know.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Vec<Written>>);

/// A write whose key and value nobody else writes.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) number: u64,
    pub(crate) space: usize,
    /// When it was acknowledged, and as which version.
    pub(crate) acknowledged: Option<(Instant, Version)>,
    /// Whether it may have been executed though nobody said so.
    pub(crate) maybe: bool,
}

/// What a caller was told of one try.
enum Told {
    Done(Version),
    /// `None`: there is no such key.
    Read(Option<(Bytes, Version)>),
    /// It was certainly not executed.
    Not(String),
    /// Nobody can tell.
    Maybe(String),
}

impl Told {
    fn line(&self) -> String {
        match self {
            Self::Done(version) => format!("done, {}/{}", version.epoch, version.seq),
            Self::Read(found) => format!("read, {}", found.as_ref().map_or("nothing", |_| "found")),
            Self::Not(why) => format!("not executed: {why}"),
            Self::Maybe(why) => format!("maybe executed: {why}"),
        }
    }
}

/// What all callers did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Calls {
    pub(crate) made: u64,
    pub(crate) answered: u64,
    pub(crate) attempts: u64,
}

pub(crate) struct Load {
    world: Arc<World>,
    pub(crate) ledger: Ledger,
    calls: Mutex<Calls>,
    last_hops: AtomicU8,
}

impl Load {
    pub(crate) fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world,
            ledger: Ledger::default(),
            calls: Mutex::default(),
            last_hops: AtomicU8::new(0),
        })
    }

    pub(crate) fn calls(&self) -> Calls {
        *self.calls.lock()
    }

    /// One caller: what it does is drawn from its number.
    pub(crate) async fn caller(self: Arc<Self>, number: u64) {
        let plan = &self.world.plan;
        let mut rng = StdRng::seed_from_u64(plan.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        sleep(plan.time.mul_f64(rng.random_range(0.0..1.0))).await;
        let space = rng.random_range(0..plan.spaces);
        match rng.random_range(0..100) {
            0..35 => self.read(&mut rng, number, space, Access::Read).await,
            35..50 => self.read(&mut rng, number, space, Access::ReadPrimary).await,
            50..80 => self.write(&mut rng, number, space, true).await,
            _ => self.write(&mut rng, number, space, false).await,
        }
    }

    async fn write(&self, rng: &mut StdRng, number: u64, space: usize, keyed: bool) {
        let key = keyed.then(|| IdempotencyKey::new(number + 1, [0; 10]));
        let mut written = Written { number, space, acknowledged: None, maybe: false };
        for _ in 0..if keyed { TRIES } else { 1 } {
            let patience = Duration::from_millis(rng.random_range(100..3_000));
            let entry = rng.random_range(0..self.world.plan.nodes);
            match self.call(entry, number, space, Access::Write, key, patience, put(number)).await {
                Told::Done(version) => {
                    written.acknowledged = Some((Instant::now(), version));
                    break;
                }
                Told::Read(_) => unreachable!("a write was asked for"),
                Told::Not(_) => {}
                Told::Maybe(_) => written.maybe = true,
            }
            sleep(Duration::from_millis(rng.random_range(1..500))).await;
        }
        self.ledger.0.lock().push(written);
    }

    async fn read(&self, rng: &mut StdRng, number: u64, space: usize, access: Access) {
        let known: Vec<Written> =
            self.ledger.all().into_iter().filter(|written| written.space == space).collect();
        if known.is_empty() {
            return;
        }
        let written = known[rng.random_range(0..known.len())].clone();
        let patience = Duration::from_millis(rng.random_range(100..3_000));
        let entry = rng.random_range(0..self.world.plan.nodes);
        let told = self.call(entry, number, space, access, None, patience, get(written.number)).await;
        self.check(&written, &told, &format!("a {access} at {}", node_id(entry)));
    }

    /// Holds an answer against what was acknowledged before it was asked for.
    fn check(&self, written: &Written, told: &Told, who: &str) {
        let Told::Read(found) = told else { return };
        let name = format!("write {} to space-{}", written.number, written.space);
        match (found, &written.acknowledged) {
            (None, Some((_, version))) => {
                self.world.oracle.violated(
                    "lost",
                    format!("{who}: {name} was acknowledged as {version:?} and isn't there"),
                );
            }
            (Some((value, _)), _) if *value != value_of(written.number) => {
                self.world.oracle.violated("value", format!("{who}: {name} reads {value:?}"));
            }
            (Some((_, shown)), Some((_, version))) if shown != version => {
                let what =
                    format!("{who}: {name} was acknowledged as {version:?} and is {shown:?}: executed twice");
                self.world.oracle.violated("twice", what);
            }
            _ => {}
        }
    }

    /// After all is mended, though not all are told: who asks is corrected, and those whom it asks; so it does not take many rounds until
    /// every node goes straight to every primary.
    pub(crate) async fn learn(&self) {
        let World { plan, oracle, .. } = &*self.world;
        for round in 1..=ROUNDS {
            let mut detours = 0;
            for (node, space) in
                (0..plan.nodes).flat_map(|node| (0..plan.spaces).map(move |space| (node, space)))
            {
                let told = self.call(node, 0, space, Access::ReadPrimary, None, CALM, get(u64::MAX)).await;
                let hops = self.last_hops.load(Ordering::Relaxed);
                if round == ROUNDS && !matches!(told, Told::Read(_)) {
                    oracle
                        .violated("liveness", format!("space-{space} at {}: {}", node_id(node), told.line()));
                } else if round == ROUNDS && hops > 1 {
                    let known = self.world.known(space).join(", ");
                    let who = node_id(node);
                    let what = format!(
                        "{who} still takes {hops} hops to the primary of space-{space}; known: {known}"
                    );
                    oracle.violated("learns", what);
                }
                detours += u32::from(hops > 1 || !matches!(told, Told::Read(_)));
            }
            if detours == 0 {
                return;
            }
            sleep(BETWEEN).await;
        }
    }

    /// After all is mended: what was acknowledged must be at every owner, once, and every call must be answered.
    pub(crate) async fn audit(&self) {
        for written in self.ledger.all() {
            let owners = self.world.owners(written.space);
            for (i, owner) in owners.into_iter().enumerate() {
                let access = if i == 0 { Access::ReadPrimary } else { Access::Read };
                let number = u64::MAX - written.number;
                let told =
                    self.call(owner, number, written.space, access, None, CALM, get(written.number)).await;
                let who = format!("afterwards {}", node_id(owner));
                if let Told::Not(why) | Told::Maybe(why) = &told {
                    self.world.oracle.violated("liveness", format!("{who}: no answer to a {access}: {why}"));
                }
                self.check(&written, &told, &who);
            }
        }
    }

    fn count(&self, answer: &Answer) {
        let mut calls = self.calls.lock();
        calls.answered += 1;
        calls.attempts += u64::from(answer.attempts);
        self.last_hops.store(answer.head.hops, Ordering::Relaxed);
        self.world.oracle.answered(answer.head.hops);
    }

    #[expect(clippy::too_many_arguments, reason = "a call is all of this")]
    async fn call(
        &self,
        entry: usize,
        number: u64,
        space: usize,
        access: Access,
        idempotency_key: Option<IdempotencyKey>,
        patience: Duration,
        (path, message): (&'static str, Bytes),
    ) -> Told {
        let (world, story) = (&self.world, &self.world.story);
        let Some((router, process)) = world.entry(entry) else {
            return Told::Not(format!("{} is down", node_id(entry)));
        };
        let deadline = Instant::now() + patience;
        let call = Call {
            space: space_of(space),
            access,
            deadline: Some(deadline),
            reply_by: None,
            idempotency_key,
            max_age: None,
            retry: false,
            traceparent: None,
        };
        let request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::from(message))
            .unwrap_or_default();
        self.calls.lock().made += 1;
        let told = tokio::select! {
            biased;
            () = world.ended(entry, process) => Told::Maybe(format!("{} died", node_id(entry))),
            () = sleep_until(deadline + LATE) => {
                world.oracle.violated("deadline", format!("call {number} at {} did not end", node_id(entry)));
                Told::Maybe("it did not end".to_owned())
            }
            answer = router.call(call, request) => match answer {
                Ok(answer) => {
                    self.count(&answer);
                    told(answer, path).await
                }
                Err(error) if error.verdict == Verdict::Ambiguous => Told::Maybe(error.to_string()),
                Err(error) => Told::Not(error.to_string()),
            },
        };
        let what = told.line();
        story.tell(format_args!("call {number} at {}, {access} of space-{space}: {what}", node_id(entry)));
        told
    }
}

impl Ledger {
    pub(crate) fn all(&self) -> Vec<Written> {
        self.0.lock().clone()
    }
}

fn key_of(number: u64) -> Bytes {
    format!("key-{number}").into()
}

fn value_of(number: u64) -> Bytes {
    format!("value-{number}").into()
}

fn put(number: u64) -> (&'static str, Bytes) {
    ("/homing.kv.v1.Kv/Put", framed(&PutRequest { key: key_of(number), value: value_of(number) }))
}

fn get(number: u64) -> (&'static str, Bytes) {
    ("/homing.kv.v1.Kv/Get", framed(&GetRequest { key: key_of(number) }))
}

/// gRPC's frame around a message: not compressed, and its length.
fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

/// What the service said. An error of its own says that nothing was executed.
async fn told(answer: Answer, path: &str) -> Told {
    let (head, body) = answer.response.into_parts();
    let Ok(body) = body.collect().await else { return Told::Maybe("the answer broke off".to_owned()) };
    let trailers = body.trailers().cloned().unwrap_or_default();
    let said = |name: &str| said(&head.headers, &trailers, name);
    match said("grpc-status").as_deref() {
        Some("0") => {}
        status => return Told::Not(format!("status {status:?}: {:?}", said("grpc-message"))),
    }
    let message = body.to_bytes().slice(5..);
    if path.ends_with("Put") {
        match PutResponse::decode(message) {
            Ok(PutResponse { version: Some(version) }) => Told::Done(version),
            other => Told::Maybe(format!("{other:?}")),
        }
    } else {
        match GetResponse::decode(message) {
            Ok(GetResponse { found: false, .. }) => Told::Read(None),
            Ok(GetResponse { value, version: Some(version), .. }) => Told::Read(Some((value, version))),
            other => Told::Maybe(format!("{other:?}")),
        }
    }
}

fn said(headers: &HeaderMap, trailers: &HeaderMap, name: &str) -> Option<String> {
    let value = trailers.get(name).or_else(|| headers.get(name))?;
    value.to_str().ok().map(ToOwned::to_owned)
}
