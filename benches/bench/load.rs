//! The calls themselves, and what they took.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::clients::Clients;
use crate::contestants::{Ground, Ready};
use crate::figures::Round;
use crate::process;

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
            let (mut took, mut failed) = (Vec::new(), 0);
            let mut asked = Instant::now();
            while asked < end {
                let answered = ask(&clients, &bytes, first + took.len()).await;
                let now = Instant::now();
                if answered {
                    took.push(now - asked)
                } else {
                    failed += 1
                }
                asked = now;
            }
            (took, failed)
        });
    }
    let ended = callers.join_all().await;
    let lasted = began.elapsed();
    let failed = ended.iter().map(|(_, failed)| failed).sum();
    let took = ended.into_iter().flat_map(|(took, _)| took).collect();
    Ok(Round::of(took, lasted, cpu(ready)? - before, failed))
}

/// So many a second, whatever became of those before; each is timed from when it was due.
pub(crate) async fn open(ready: &Ready, payload: usize, rate: f64, lasts: Duration) -> Result<Round> {
    let before = cpu(ready)?;
    let (bytes, began) = (Bytes::from(vec![b'v'; payload]), Instant::now());
    let failed = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for turn in 0.. {
        let due = Duration::from_secs_f64(turn as f64 / rate);
        if due >= lasts {
            break;
        }
        // A timer is a millisecond coarse: those that are due by then begin together, each late by what it is late.
        if began + due > Instant::now() {
            sleep_until(began + due).await;
        }
        let (clients, bytes, failed) = (Arc::clone(&ready.clients), bytes.clone(), Arc::clone(&failed));
        calls.spawn(async move {
            let answered = ask(&clients, &bytes, turn).await;
            failed.fetch_add(usize::from(!answered), Ordering::Relaxed);
            answered.then(|| began.elapsed().saturating_sub(due))
        });
    }
    let took: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    Ok(Round::of(took, began.elapsed(), cpu(ready)? - before, failed.load(Ordering::Relaxed)))
}

/// First calls of clients without a connection, one after another.
pub(crate) async fn dial(ready: &Ready, ground: &Ground, payload: usize, lasts: Duration) -> Result<Round> {
    let before = cpu(ready)?;
    let (bytes, began) = (Bytes::from(vec![b'v'; payload]), Instant::now());
    let (mut took, mut failed) = (Vec::new(), 0);
    while began.elapsed() < lasts {
        // Our node stands before its first call comes, and dials for it.
        let mut clients = None;
        if ready.contestant.wire().is_some() {
            clients = Some(ready.fresh(ground).await?);
        }
        let asked = Instant::now();
        let clients = match clients {
            Some(clients) => clients,
            None => ready.fresh(ground).await?,
        };
        let answered = ask(&clients, &bytes, 0).await;
        if answered { took.push(asked.elapsed()) } else { failed += 1 }
    }
    Ok(Round::of(took, began.elapsed(), cpu(ready)? - before, failed))
}

async fn ask(clients: &Clients, bytes: &Bytes, turn: usize) -> bool {
    timeout(PATIENCE, clients.echo(bytes, turn)).await.is_ok_and(|echoed| echoed.is_ok())
}

/// The processor time of this process and of those that it calls.
fn cpu(ready: &Ready) -> Result<Duration> {
    let mut all = process::cpu(std::process::id())?;
    for process in &ready.processes {
        all += process.cpu()?;
    }
    Ok(all)
}
