//! Callers, and what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use homing_failover::Verdict;
use homing_kv::proto::{GetRequest, GetResponse, PutRequest, PutResponse, Version};
use homing_kv::{Key, Position};
use homing_router::{Answer, Call};
use homing_transport::Body;
use homing_types::{Access, Epoch, IdempotencyKey};
use http::HeaderMap;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, sleep_until};

use crate::history::{self, Op, What};
use crate::oracle::ONCE;
use crate::world::{World, node_id, number_of, slot_of, space_of};

/// How late a call may end: timers tell milliseconds apart.
const LATE: Duration = Duration::from_millis(10);

/// The time of a call when all is mended.
const CALM: Duration = Duration::from_secs(30);

/// How often each node asks for each space then, at most, and the time between: a suspect is dialled, or probed, when somebody
/// asks.
const ROUNDS: u32 = 8;
const BETWEEN: Duration = Duration::from_secs(1);

/// How many calls are to the one key of a space that many write, in per cent; and that key.
const SHARED: u32 = 40;
const SHARED_KEY: u64 = u64::MAX - 1;

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
    /// As which version it was acknowledged.
    pub(crate) acknowledged: Option<Version>,
}

/// One call as its caller makes it.
struct Asked {
    entry: usize,
    number: u64,
    space: usize,
    access: Access,
    key: Option<IdempotencyKey>,
    patience: Duration,
    request: (&'static str, Bytes),
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
    /// Those that met a fault.
    pub(crate) troubled: u64,
}

pub(crate) struct Load {
    world: Arc<World>,
    pub(crate) ledger: Ledger,
    /// What was done to the one key of each space that many write.
    shared: Mutex<BTreeMap<usize, Vec<Op>>>,
    /// Calls to these keys.
    sharing: Mutex<usize>,
    calls: Mutex<Calls>,
    began: Instant,
}

impl Load {
    pub(crate) fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world,
            ledger: Ledger::default(),
            shared: Mutex::default(),
            sharing: Mutex::default(),
            calls: Mutex::default(),
            began: Instant::now(),
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
                    break;
                }
                Told::Read(_) => unreachable!("a write was asked for"),
                Told::Not(_) => {}
                Told::Maybe(_) => maybe = true,
            }
            sleep(Duration::from_millis(rng.random_range(1..500))).await;
        }
        if !shared {
            self.ledger.0.lock().push(Written { number, space, acknowledged });
            self.owners_hold(space);
        } else if acknowledged.is_some() || maybe {
            let ended = acknowledged.map(|_| self.began.elapsed());
            let version = acknowledged.map(|version| (version.epoch, version.seq));
            self.remember(space, Op { began, ended, what: What::Write(number), version });
        }
    }

    async fn read(&self, rng: &mut StdRng, number: u64, space: usize, access: Access) {
        let known: Vec<Written> =
            self.ledger.all().into_iter().filter(|written| written.space == space).collect();
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
        let (entry, patience, began) = (self.entry(rng), patience(rng), self.began.elapsed());
        let (access, request) = (Access::ReadPrimary, get(SHARED_KEY));
        let (told, _) = self.call(Asked { entry, number, space, access, key: None, patience, request }).await;
        let Told::Read(found) = told else { return };
        let version = found.as_ref().map(|(_, version)| (version.epoch, version.seq));
        let what = What::Read(found.map(|(value, _)| number_in(&value)));
        self.remember(space, Op { began, ended: Some(self.began.elapsed()), what, version });
    }

    fn remember(&self, space: usize, op: Op) {
        self.shared.lock().entry(space).or_default().push(op);
    }

    /// Whether one more call may go to a key that many write: a history has a bound.
    fn may_share(&self) -> bool {
        let mut sharing = self.sharing.lock();
        *sharing += 1;
        *sharing <= history::MOST_OPS
    }

    /// Holds what callers saw of what many write against what one copy could have shown.
    pub(crate) fn histories(&self) {
        for (space, ops) in &*self.shared.lock() {
            for (checker, verdict) in [("search", history::search(ops)), ("versions", history::versions(ops))]
            {
                let why = match verdict {
                    history::Verdict::Linearizable => continue,
                    history::Verdict::Broken(why) => why,
                    history::Verdict::Undecided => "undecided".to_owned(),
                };
                self.world
                    .oracle
                    .violated("linearizable", format!("space-{space}, {checker}: {why}: {ops:?}"));
            }
        }
    }

    /// What was acknowledged is in the store of every owner, whoever these are now.
    pub(crate) fn owners_hold(&self, space: usize) {
        let of_it = |written: &Written| written.space == space && written.acknowledged.is_some();
        let acknowledged: Vec<_> = self.ledger.all().into_iter().filter(of_it).collect();
        for owner in self.world.owners(space) {
            for Written { number, acknowledged, .. } in &acknowledged {
                let Ok(key) = Key::new(key_of(*number)) else { continue };
                let shown = self.world.shows(owner, space, &key);
                let version =
                    acknowledged.map(|Version { epoch, seq }| Position { epoch: Epoch::new(epoch), seq });
                if shown.is_some_and(|shown| shown != version) {
                    let who = node_id(owner);
                    let what = format!(
                        "{who} owns space-{space}, and of write {number}, acknowledged as {version:?}, its store has {shown:?}"
                    );
                    self.world.oracle.violated("lost", what);
                }
            }
        }
    }

    fn entry(&self, rng: &mut StdRng) -> usize {
        rng.random_range(0..self.world.plan.entries)
    }

    /// Holds an answer against what was acknowledged before it was asked for.
    fn check(&self, written: &Written, told: &Told, who: &str) {
        let Told::Read(found) = told else { return };
        let name = format!("write {} to space-{}", written.number, written.space);
        match (found, &written.acknowledged) {
            (None, Some(version)) => {
                self.world.oracle.violated(
                    "lost",
                    format!("{who}: {name} was acknowledged as {version:?} and isn't there"),
                );
            }
            (Some((value, _)), _) if *value != value_of(written.number) => {
                self.world.oracle.violated("value", format!("{who}: {name} reads {value:?}"));
            }
            (Some((_, shown)), Some(version)) if shown != version => {
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
                let (access, request) = (Access::ReadPrimary, get(u64::MAX));
                let asked =
                    Asked { entry: node, number: 0, space, access, key: None, patience: CALM, request };
                let (told, Seen { hops, .. }) = self.call(asked).await;
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
                let (number, space, request) = (written.number, written.space, get(written.number));
                let ask = || {
                    let request = request.clone();
                    self.call(Asked {
                        entry: owner,
                        number,
                        space,
                        access,
                        key: None,
                        patience: CALM,
                        request,
                    })
                };
                let (mut told, _) = ask().await;
                // A node at its limit says so at once.
                for _ in 1..ROUNDS {
                    if matches!(told, Told::Not(_)) {
                        sleep(BETWEEN).await;
                        told = ask().await.0;
                    }
                }
                let who = format!("afterwards {}", node_id(owner));
                if let Told::Not(why) | Told::Maybe(why) = &told {
                    self.world.oracle.violated("liveness", format!("{who}: no answer to a {access}: {why}"));
                }
                self.check(&written, &told, &who);
            }
        }
    }

    async fn call(&self, asked: Asked) -> (Told, Seen) {
        let Asked { entry, number, space, access, key, patience, request: (path, message) } = asked;
        let (world, story) = (&self.world, &self.world.story);
        let nth = {
            let mut calls = self.calls.lock();
            calls.made += 1;
            calls.made
        };
        let Some((router, process)) = world.entry(entry) else {
            self.calls.lock().troubled += 1;
            return (Told::Not(format!("{} is down", node_id(entry))), Seen::default());
        };
        let deadline = Instant::now() + patience;
        let trace = format!("00-{nth:032x}-{nth:016x}-01");
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
        let told = tokio::select! {
            biased;
            () = world.ended(entry, process) => {
                died = true;
                Told::Maybe(format!("{} died", node_id(entry)))
            }
            () = sleep_until(deadline + LATE) => {
                world.oracle.violated("deadline", format!("call {number} at {} did not end", node_id(entry)));
                Told::Maybe("it did not end".to_owned())
            }
            answer = router.call(call, request) => match answer {
                Ok(answer) => {
                    seen = self.count(&answer);
                    self.world.oracle.taught(entry, space, answer.head.epoch, router.table().load().epoch(slot_of(space)));
                    told(answer, path).await
                }
                Err(error) if error.verdict == Verdict::Ambiguous => Told::Maybe(error.to_string()),
                Err(error) => Told::Not(error.to_string()),
            },
        };
        if died || world.network.has_met(&trace) {
            self.calls.lock().troubled += 1;
        }
        let what = told.line();
        story.tell(format_args!("call {number} at {}, {access} of space-{space}: {what}", node_id(entry)));
        (told, seen)
    }

    fn count(&self, answer: &Answer) -> Seen {
        let mut calls = self.calls.lock();
        calls.answered += 1;
        calls.attempts += u64::from(answer.attempts);
        let hops = answer.head.hops;
        self.world.oracle.answered(hops);
        Seen { hops, by: answer.head.served_by.as_ref().map(number_of) }
    }
}

/// How an answer came.
#[derive(Default)]
struct Seen {
    hops: u8,
    by: Option<usize>,
}

fn patience(rng: &mut StdRng) -> Duration {
    Duration::from_millis(rng.random_range(100..3_000))
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

/// The number in a value.
fn number_in(value: &[u8]) -> u64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|value| value.strip_prefix("value-")?.parse().ok())
        .unwrap_or(u64::MAX)
}

fn put(key: u64, number: u64) -> (&'static str, Bytes) {
    ("/homing.kv.v1.Kv/Put", framed(&PutRequest { key: key_of(key), value: value_of(number) }))
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
