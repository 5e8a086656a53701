//! What the copies hold in the end: each acknowledged write, once, and all of them the same.
//!
//! A write has a place in the history of its space, its `seq`, and each write of a load goes to a key of its own. So a write that was applied
//! twice leaves a gap: its key bears the second place, and nothing the first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::kv::{Asked, Ended, Kv, Version};
use crate::load::{Done, Spaces};

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Found {
    /// Writes that were acknowledged.
    pub(crate) acknowledged: usize,
    /// Copies of spaces that were read.
    pub(crate) copies: usize,
    /// Acknowledged writes that a copy lacks, or holds at another place than was said.
    pub(crate) lost: usize,
    /// Writes of which a caller was told that nobody has executed them, and that are there.
    pub(crate) refused: usize,
    /// Places in histories that no key bears, or that two bear.
    pub(crate) twice: u64,
    /// Copies that hold something else than the primary.
    pub(crate) different: usize,
    /// Writes of the load in the store whose calls had ended without an answer: work for somebody who was gone.
    pub(crate) late: usize,
    /// Writes of the load in the store.
    pub(crate) executed: usize,
    /// The first few of what is wrong.
    pub(crate) examples: Vec<String>,
}

type Content = BTreeMap<Bytes, Version>;

/// How long a copy may take to come back to its space.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads all copies of all spaces: as they are, and once more after a write to each has brought them together, as any next one would.
pub(crate) async fn check(cluster: &Cluster<'_>, spaces: &Spaces, calls: &[Done]) -> Result<Found> {
    let clients: Vec<Kv> =
        cluster.nodes.iter().map(|node| Kv::new(&node.client(), 1)).collect::<Result<_>>()?;
    let (mut found, mut lost) = (Found::default(), BTreeSet::new());
    let mut of_space: BTreeMap<usize, Vec<&Done>> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.asked != Asked::Read) {
        of_space.entry(call.space).or_default().push(call);
    }
    let calls_of = |space| of_space.get(&space).map_or(&[][..], Vec::as_slice);
    for (space, name) in spaces.names.iter().enumerate() {
        for owner in spaces.owners[space].all() {
            let content = content(&clients[owner], &cluster.nodes[owner].id, name).await?;
            found.misses(name, owner, &content, calls_of(space), &mut lost);
        }
    }
    spaces.write_all(cluster, "last").await?;
    for (space, name) in spaces.names.iter().enumerate() {
        let calls = calls_of(space);
        let mut first = None;
        for owner in spaces.owners[space].all() {
            let content = content(&clients[owner], &cluster.nodes[owner].id, name).await?;
            found.copies += 1;
            found.misses(name, owner, &content, calls, &mut lost);
            match &first {
                None => first = Some(content),
                Some(first) if *first == content => {}
                Some(_) => {
                    found.different += 1;
                    found.note(format!("different: {name} at n{}", owner + 1));
                }
            }
        }
        let content = first.unwrap_or_default();
        let last = content.values().map(|(_, seq)| *seq).max().unwrap_or_default();
        let gaps = last.abs_diff(content.len() as u64);
        found.twice += gaps;
        if gaps > 0 {
            found.note(format!("twice: {name} has {} keys and {last} writes", content.len()));
        }
        found.executed += calls.iter().filter(|call| content.contains_key(call.key.as_bytes())).count();
        found.acknowledged += calls.iter().filter(|call| matches!(call.ended, Ended::Answered(_))).count();
        let late = |call: &&&Done| {
            matches!(call.ended, Ended::Expired | Ended::Ambiguous | Ended::Silent)
                && content.contains_key(call.key.as_bytes())
        };
        found.late += calls.iter().filter(late).count();
        for call in calls.iter().filter(|call| matches!(call.ended, Ended::Overloaded | Ended::Exhausted)) {
            if content.contains_key(call.key.as_bytes()) {
                found.refused += 1;
                found.note(format!("refused, and executed: {name} {}", call.key));
            }
        }
    }
    found.lost = lost.len();
    Ok(found)
}

impl Found {
    /// Notes what was acknowledged and this copy lacks.
    fn misses<'a>(
        &mut self,
        space: &str,
        owner: usize,
        content: &Content,
        calls: &[&'a Done],
        lost: &mut BTreeSet<&'a str>,
    ) {
        for call in calls {
            let Ended::Answered(answer) = &call.ended else { continue };
            let is = content.get(call.key.as_bytes()).copied();
            if is != answer.version {
                lost.insert(&call.key);
                let Done { key, .. } = call;
                self.note(format!("lost: {space} {key} at n{}: {is:?}, not {:?}", owner + 1, answer.version));
            }
        }
    }

    fn note(&mut self, example: String) {
        if self.examples.len() < 5 {
            self.examples.push(example);
        }
    }
}

/// What this node itself holds of a space.
async fn content(kv: &Kv, id: &str, space: &str) -> Result<Content> {
    let started = Instant::now();
    'anew: loop {
        let mut content = Content::new();
        let mut after = Bytes::new();
        loop {
            let page = kv.list(space, after, Duration::from_secs(5)).await;
            let page = match page {
                Ok((page, by)) if by == id => page,
                other => {
                    let said = other.map(|(_, by)| format!("{by} answered"));
                    anyhow::ensure!(
                        started.elapsed() < PATIENCE,
                        "{id} does not read its copy of {space}: {said:?}"
                    );
                    sleep(Duration::from_millis(50)).await;
                    continue 'anew;
                }
            };
            for item in &page.items {
                let version = item.version.map(|version| (version.epoch, version.seq));
                content.insert(item.key.clone(), version.unwrap_or_default());
            }
            match page.items.last() {
                Some(last) if page.more => after = last.key.clone(),
                _ => return Ok(content),
            }
        }
    }
}
