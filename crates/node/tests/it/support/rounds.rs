use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use homing::Access;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use super::{Beside, Cluster, Kv, Latencies, Layout, new_key};

/// Five nodes before a service that fails one of many spaces, always: `space-0`.
pub(crate) struct OneFails {
    pub(crate) cluster: Cluster,
    pub(crate) service: Beside,
    deadline: Duration,
}

/// What is asked of each space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Read,
    Write,
    KeyedWrite,
}

impl Asked {
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Write, Self::KeyedWrite];
}

/// How the calls of some rounds went.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// How long those took that were answered.
    pub(crate) well: Vec<Duration>,
    /// Answered calls that took more than one attempt.
    pub(crate) detours: Vec<String>,
    pub(crate) failures: Vec<Failure>,
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) space: usize,
    pub(crate) asked: Asked,
    /// What a node said; `None` if nobody said anything long after the deadline.
    pub(crate) status: Option<Status>,
}

impl OneFails {
    pub(crate) async fn start(wire: &'static str, deadline: Duration) -> Self {
        let service = Beside::start(|space| space == name(0)).await;
        let dedupes =
            |_, config: &mut toml::Table| drop(config.insert("service_dedupes".to_owned(), true.into()));
        let mut cluster = Cluster::prepare(Layout { edit: dedupes, ..Layout::five(wire) });
        for node in &cluster.nodes {
            node.edit(|config| drop(config.insert("service".to_owned(), service.address.as_str().into())));
        }
        cluster.start_all().await;
        Self { cluster, service, deadline }
    }

    /// Asks everything of each of these spaces once, through one node after the other, so many at a time. A call that waits
    /// for its deadline keeps nobody else waiting.
    pub(crate) async fn round(&self, spaces: Range<usize>, at_a_time: usize, rounds: &mut Rounds) {
        let nodes = self.cluster.nodes.len();
        let clients: Vec<_> = (0..nodes).map(|i| self.cluster.kv(i).with_timeout(self.deadline)).collect();
        let places = Arc::new(Semaphore::new(at_a_time));
        let all = Arc::new(Mutex::new(std::mem::take(rounds)));
        let mut running = JoinSet::new();
        for (i, space) in spaces.enumerate() {
            for (j, asked) in Asked::ALL.into_iter().enumerate() {
                // The failing space has a place of its own: what is measured is not how its callers wait.
                let place = if space == 0 { None } else { Arc::clone(&places).acquire_owned().await.ok() };
                let (kv, all, hangs) =
                    (clients[(i + j) % nodes].clone(), Arc::clone(&all), self.deadline + HANGS);
                running.spawn(async move {
                    let began = Instant::now();
                    let went = tokio::time::timeout(hangs, ask(&kv, space, asked)).await;
                    let took = began.elapsed();
                    drop(place);
                    let mut all = all.lock().await;
                    match went {
                        Ok(Ok(1)) => all.well.push(took),
                        Ok(Ok(attempts)) => {
                            all.well.push(took);
                            all.detours.push(format!("{asked:?} of {}: {attempts} attempts", name(space)));
                        }
                        Ok(Err(status)) => all.failures.push(Failure { space, asked, status: Some(status) }),
                        Err(_) => all.failures.push(Failure { space, asked, status: None }),
                    }
                });
            }
        }
        running.join_all().await;
        *rounds = std::mem::take(&mut *all.lock().await);
    }
}

impl Rounds {
    pub(crate) fn latencies(&self) -> Latencies {
        self.well.iter().copied().collect()
    }
}

/// How long after its deadline a call hangs.
const HANGS: Duration = Duration::from_secs(20);

/// The attempts it took.
async fn ask(kv: &Kv, space: usize, asked: Asked) -> Result<u32, Status> {
    let space = name(space);
    match asked {
        Asked::Read => kv.get_with(&space, "key", Access::Read).await.map(|served| served.attempts),
        Asked::Write => kv.put(&space, "key", b"value").await.map(|served| served.attempts),
        Asked::KeyedWrite => {
            kv.put_with_key(&space, "key", b"value", new_key()).await.map(|served| served.attempts)
        }
    }
}

fn name(space: usize) -> String {
    format!("space-{space}")
}
