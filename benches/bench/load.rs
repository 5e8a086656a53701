//! The calls themselves, and what they took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use homing::SpaceKey;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::clients::{self, Clients};
use crate::contestants::{Ground, Ready};
use crate::figures::{Calls, Round};
use crate::process;
use crate::scenarios::Touch;

/// A call that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many at a time, each followed by the next as soon as it has ended.
pub(crate) async fn closed(
    ready: &Ready,
    payload: usize,
    in_flight: usize,
    lasts: Duration,
) -> Result<Round> {
    let before = cpu(ready)?;
    let (bytes, began) = (Bytes::from(vec![b'v'; payload]), Instant::now());
    let end = began + lasts;
    let mut callers = JoinSet::new();
    for first in 0..in_flight {
        let (clients, bytes) = (Arc::clone(&ready.clients), bytes.clone());
        callers.spawn(async move {
            let mut calls = Calls::default();
            let mut asked = Instant::now();
            // Each begins elsewhere, so that they do not all go to one space after another.
            let mut turn = first;
            while asked < end {
                let ended = ask(&clients, &bytes, turn).await;
                let now = Instant::now();
                calls.add(now - asked, ended);
                asked = now;
                turn += in_flight;
            }
            calls
        });
    }
    let calls = callers.join_all().await.into_iter().fold(Calls::default(), Calls::join);
    let lasted = began.elapsed();
    Ok(Round::of(calls, lasted, cpu(ready)? - before))
}

/// So many a second, whatever became of those before; each is timed from when it was due.
pub(crate) async fn open(ready: &Ready, payload: usize, rate: f64, lasts: Duration) -> Result<Round> {
    ensure!(rate > 0.0, "no call was answered in the closed loop before, so there is no peak");
    let before = cpu(ready)?;
    let (bytes, began) = (Bytes::from(vec![b'v'; payload]), Instant::now());
    let mut under_way = JoinSet::new();
    for turn in 0.. {
        let due = Duration::from_secs_f64(turn as f64 / rate);
        if due >= lasts {
            break;
        }
        // A timer is a millisecond coarse: those that are due by then begin together, each late by what it is late.
        if began + due > Instant::now() {
            sleep_until(began + due).await;
        }
        let (clients, bytes) = (Arc::clone(&ready.clients), bytes.clone());
        under_way.spawn(async move {
            let ended = ask(&clients, &bytes, turn).await;
            (began.elapsed().saturating_sub(due), ended)
        });
    }
    let mut calls = Calls::default();
    for (took, ended) in under_way.join_all().await {
        calls.add(took, ended);
    }
    Ok(Round::of(calls, began.elapsed(), cpu(ready)? - before))
}

/// Calls that stream so many bytes, one after another; two at least.
pub(crate) async fn stream(ready: &Ready, bytes: usize, lasts: Duration) -> Result<Round> {
    ready.clients.stream(bytes).await?;
    let (before, began) = (cpu(ready)?, Instant::now());
    let mut calls = Calls::default();
    while began.elapsed() < lasts || calls.took.len() + calls.failed < 2 {
        let asked = Instant::now();
        let ended = ready.clients.stream(bytes).await;
        calls.add(asked.elapsed(), ended);
    }
    Ok(Round::of(calls, began.elapsed(), cpu(ready)? - before))
}

/// First calls of clients without a connection, one after another. Our node stands before its first call comes, and dials for it; the others
/// connect for it.
pub(crate) async fn dial(ready: &Ready, ground: &Ground, payload: usize, lasts: Duration) -> Result<Round> {
    let (bytes, began) = (Bytes::from(vec![b'v'; payload]), Instant::now());
    let mut calls = Calls::default();
    while began.elapsed() < lasts {
        let mut clients = None;
        if ready.contestant.wire().is_some() {
            clients = Some(ready.fresh(ground).await?);
        }
        let asked = Instant::now();
        let clients = match clients {
            Some(clients) => clients,
            None => ready.fresh(ground).await?,
        };
        let ended = ask(&clients, &bytes, 0).await;
        calls.add(asked.elapsed(), ended);
    }
    Ok(Round::of_each(calls))
}

/// How many spaces have moved that are called, and how many others are called first, so that connections stand.
const MOVED: usize = 500;
const KNOWN: usize = 20;

/// Calls for spaces whose owner has changed, one after another, each in a slot of its own.
pub(crate) async fn stale(ready: &Ready, ground: &Ground, payload: usize, touch: Touch) -> Result<Round> {
    let bytes = Bytes::from(vec![b'v'; payload]);
    let clients = ready.fresh(ground).await?;
    let mut by_slot = BTreeMap::new();
    for number in 0..2 * (KNOWN + MOVED) {
        by_slot.entry(SpaceKey::of(&clients::name(number)).slot()).or_insert(number);
    }
    let mut spaces = by_slot.into_values();
    for space in spaces.by_ref().take(KNOWN) {
        ask(&clients, &bytes, space).await?;
    }
    let mut round = Calls::default();
    for space in spaces.take(MOVED) {
        let asked = Instant::now();
        let ended = ask(&clients, &bytes, space).await;
        match touch {
            Touch::First => round.add(asked.elapsed(), ended),
            Touch::Next => {
                ended?;
                let asked = Instant::now();
                let ended = ask(&clients, &bytes, space).await;
                round.add(asked.elapsed(), ended);
            }
        }
    }
    Ok(Round::of_each(round))
}

async fn ask(clients: &Clients, bytes: &Bytes, turn: usize) -> Result<()> {
    match timeout(PATIENCE, clients.echo(bytes, turn)).await {
        Ok(ended) => ended,
        Err(_) => anyhow::bail!("no answer within {PATIENCE:?}"),
    }
}

/// The processor time of this process and of those that it calls.
fn cpu(ready: &Ready) -> Result<Duration> {
    let mut all = process::cpu(std::process::id())?;
    for process in &ready.processes {
        all += process.cpu()?;
    }
    Ok(all)
}
