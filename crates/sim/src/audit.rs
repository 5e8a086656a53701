//! What callers were told, held against what the nodes hold: while it runs, and when all is mended.

use std::collections::BTreeMap;
use std::time::Duration;

use homing_kv::Position;
use homing_types::{Access, IdempotencyKey};
use tokio::time::sleep;

use crate::history::{self, What};
use crate::kv_call::{Told, get, key_of, put, value_of};
use crate::load::{Asked, Load, Seen, Written};
use crate::names::node_id;
use crate::world::World;

/// The time of a call when all is mended.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often each node asks for each space then, at most, and the time between. Several rounds, since a node in suspicion is
/// probed only when somebody asks.
const ROUNDS: u32 = 8;
const BETWEEN: Duration = Duration::from_secs(1);

/// The number of all calls that nobody of the load makes.
const NOBODY: u64 = u64::MAX;

impl Load {
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

    /// What was acknowledged is in the store of every owner, whoever these are now, and what was not executed is in none. An owner
    /// that is down or unsettled is passed over.
    pub(crate) fn owners_hold(&self, space: usize) {
        let of_it: Vec<_> = self.written().into_iter().filter(|written| written.space == space).collect();
        for owner in self.world.owners(space) {
            let Some(shown) = self.world.shows(owner, space) else { continue };
            let who = format!("the store of {}", node_id(owner));
            for written in &of_it {
                let version = shown.get(&key_of(written.number)).copied();
                self.check_version(written, version, &who);
            }
        }
    }

    /// Holds what somebody read against what the writer was told before.
    pub(crate) fn check(&self, written: &Written, told: &Told, who: &str) {
        let Told::Read(found) = told else { return };
        if let Some((value, _)) = found.as_ref().filter(|(value, _)| *value != value_of(written.number)) {
            self.world.oracle.violated("value", format!("{who}: write {} reads {value:?}", written.number));
        }
        self.check_version(written, found.as_ref().map(|(_, version)| *version), who);
    }

    fn check_version(&self, written: &Written, found: Option<Position>, who: &str) {
        let Written { number, space, acknowledged, maybe } = written;
        let rule = match (acknowledged, found) {
            (Some(_), None) => "lost",
            (Some(version), Some(found)) if found != *version => "twice",
            (None, Some(_)) if !maybe => "not executed",
            _ => return,
        };
        let what = format!(
            "{who} has write {number} to space-{space} as {found:?}; acknowledged as {acknowledged:?}, maybe executed: {maybe}"
        );
        self.world.oracle.violated(rule, what);
    }

    /// After all is mended, though not all are told: who asks is corrected, and those whom it asks; so it does not take many rounds until
    /// every node goes straight to every primary.
    pub(crate) async fn learn(&self) {
        let World { plan, oracle, .. } = &*self.world;
        let mut left = self.learners();
        for round in 1..=ROUNDS {
            let mut detours = Vec::new();
            for (node, space) in left {
                let (told, Seen { hops, by }) =
                    self.call(calm(node, space, Access::ReadPrimary, get(NOBODY))).await;
                let read = matches!(told, Told::Read(_));
                let who = node_id(node);
                // Where grants don't end, who was replaced and has not heard of it may still believe that he is the one.
                if plan.grants && read && !by.is_some_and(|by| self.world.is_primary(by, space)) {
                    oracle
                        .violated("learns", format!("{by:?} answered {who} as the primary of space-{space}"));
                }
                if read && hops <= 1 {
                    continue;
                }
                if round == ROUNDS && !read {
                    oracle.violated("liveness", format!("space-{space} at {who}: {}", told.line()));
                } else if round == ROUNDS {
                    let known = self.world.known(space).join(", ");
                    let what = format!(
                        "{who} still takes {hops} hops to the primary of space-{space}; known: {known}"
                    );
                    oracle.violated("learns", what);
                }
                detours.push((node, space));
            }
            if detours.is_empty() {
                return;
            }
            left = detours;
            sleep(BETWEEN).await;
        }
    }

    /// Each node with each space of which it doesn't know the newest owners, and with one more, whatever it knows: the way there may be shut.
    fn learners(&self) -> Vec<(usize, usize)> {
        let World { plan, .. } = &*self.world;
        let all = (0..plan.nodes).flat_map(|node| (0..plan.spaces).map(move |space| (node, space)));
        all.filter(|&(node, space)| node % plan.spaces == space || !self.world.is_up_to_date(node, space))
            .collect()
    }

    /// After all is mended and told: a write to each space is acknowledged, each owner holds what it must, and says so itself.
    pub(crate) async fn audit(&self) {
        for space in 0..self.world.plan.spaces {
            self.one_more_write(space).await;
            self.owners_hold(space);
            for owner in self.world.owners(space) {
                if self.world.shows(owner, space).is_none() {
                    let what = format!("{} doesn't know what it holds of space-{space}", node_id(owner));
                    self.world.oracle.violated("liveness", what);
                }
            }
            let primary = self.world.owners(space)[0];
            let last = self.see_shared(primary, NOBODY, space, PATIENCE).await;
            self.is_read("the last of what many write", space, &last);
            self.count_writes(space);
        }
        // The stores have all of them; that each owner serves what it has, one of each space shows.
        let last: BTreeMap<_, _> =
            self.written().into_iter().map(|written| (written.space, written)).collect();
        for written in last.values() {
            for (i, owner) in self.world.owners(written.space).into_iter().enumerate() {
                let access = if i == 0 { Access::ReadPrimary } else { Access::Read };
                let asked = calm(owner, written.space, access, get(written.number));
                let (told, seen) = self.insist(asked, |seen| seen.by == Some(owner)).await;
                let who = format!("afterwards {}", node_id(owner));
                self.is_read(&who, written.space, &told);
                if matches!(told, Told::Read(_)) && seen.by != Some(owner) {
                    let what = format!("{who} owns space-{}, and {:?} answers", written.space, seen.by);
                    self.world.oracle.violated("liveness", what);
                }
                self.check(written, &told, &who);
            }
        }
    }

    /// Spaces can be written again.
    async fn one_more_write(&self, space: usize) {
        let entry = space % self.world.plan.nodes;
        let number = NOBODY - 2 - space as u64;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        // By the clock of the one who executes it: only a key that is too far ahead is refused.
        let key = IdempotencyKey::new(self.world.clock(self.world.owners(space)[0]), random);
        let asked = Asked { key: Some(key), ..calm(entry, space, Access::Write, put(number, number)) };
        let (told, _) = self.insist(asked, |_| true).await;
        if !matches!(told, Told::Done(_)) {
            let what = format!("space-{space} can't be written at {}: {}", node_id(entry), told.line());
            self.world.oracle.violated("liveness", what);
        }
    }

    /// Each write has one place in the history of its space, and no place is empty: so there are no more of them than writes.
    fn count_writes(&self, space: usize) {
        let Some(last) = self.world.committed(self.world.owners(space)[0], space) else { return };
        let mut may = 1;
        may += self
            .written()
            .iter()
            .filter(|written| written.space == space && (written.acknowledged.is_some() || written.maybe))
            .count() as u64;
        let shared = self.shared.lock();
        may += shared.get(&space).into_iter().flatten().filter(|op| matches!(op.what, What::Write(_))).count()
            as u64;
        if last.seq > may {
            let what = format!("space-{space} has {} entries, of at most {may} writes", last.seq);
            self.world.oracle.violated("twice", what);
        }
    }

    /// Asks again a few times: a node at its limit says so at once, and one whose breaker is open sends others to ask until it closes.
    async fn insist(&self, asked: Asked, will_do: impl Fn(&Seen) -> bool) -> (Told, Seen) {
        for _ in 1..ROUNDS {
            let (told, seen) = self.call(asked.clone()).await;
            if !matches!(told, Told::Not(_)) && will_do(&seen) {
                return (told, seen);
            }
            sleep(BETWEEN).await;
        }
        self.call(asked).await
    }

    fn is_read(&self, who: &str, space: usize, told: &Told) {
        if let Told::Not(why) | Told::Maybe(why) = told {
            self.world.oracle.violated("liveness", format!("{who}: no answer of space-{space}: {why}"));
        }
    }
}

/// A call when all is mended.
const fn calm(entry: usize, space: usize, access: Access, request: crate::kv_call::Request) -> Asked {
    Asked { entry, number: NOBODY, space, access, key: None, patience: PATIENCE, request }
}
