use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use homing::{Access, MemberState, NodeId, Planned, ReplicaState, Space};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Admin;
use crate::table_doc::{OwnersDoc, TableDoc};

/// How long a member may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a member may take to take a table.
pub(crate) const APPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is wrong with a request, in one line.
pub(super) type Wrong = (StatusCode, String);

type Asking = State<Arc<Admin>>;

pub(super) async fn live() -> &'static str {
    "live\n"
}

pub(super) async fn ready(State(admin): Asking) -> (StatusCode, &'static str) {
    if admin.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    }
}

pub(super) async fn metrics(State(admin): Asking) -> String {
    let table = admin.node.table();
    let counters = table.counters();
    metrics::gauge!("homing_in_flight").set(admin.node.in_flight() as f64);
    metrics::gauge!("homing_table_version").set(table.load().version() as f64);
    metrics::counter!("homing_table_regressions_total").absolute(counters.regressions);
    metrics::counter!("homing_table_conflicts_total").absolute(counters.conflicts);
    admin.metrics.render()
}

pub(super) async fn config(State(admin): Asking) -> Json<Value> {
    Json(json!(admin.config))
}

/// What `homing status` shows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) table_version: u64,
    pub(crate) digest: String,
    pub(crate) nodes: Vec<NodeStatus>,
}

/// One node of a [`Status`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) id: String,
    pub(crate) zone: Option<String>,
    pub(crate) state: String,
}

pub(super) async fn status(State(admin): Asking) -> Json<Status> {
    let states = admin.node.states(PING_TIMEOUT).await;
    let table = admin.node.table().snapshot();
    let members = admin.node.members();
    let zone = |id: &NodeId| {
        let member = members.iter().find(|member| member.id == *id);
        member.and_then(|member| member.locality.zone.as_ref()).map(ToString::to_string)
    };
    let nodes = states.iter().map(|(id, state): &(NodeId, MemberState)| NodeStatus {
        id: id.to_string(),
        zone: zone(id),
        state: state.as_str().to_owned(),
    });
    Json(Status {
        table_version: table.version(),
        digest: table.digest().to_string(),
        nodes: nodes.collect(),
    })
}

/// A question about one space.
#[derive(Debug, Deserialize)]
pub(super) struct SpaceQuery {
    space: Option<String>,
    access: Option<String>,
}

impl SpaceQuery {
    fn space(&self) -> Result<Space, Wrong> {
        let name = self.space.as_deref().unwrap_or_default();
        Space::new(name).map_err(|error| wrong(format!("space: {error}")))
    }

    fn access(&self) -> Result<Access, Wrong> {
        let access = self.access.as_deref().map(str::parse).transpose();
        Ok(access.map_err(|error| wrong(format!("access: {error}")))?.unwrap_or_default())
    }
}

/// What `homing route` shows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) space: String,
    pub(crate) key: String,
    pub(crate) slot: u16,
    pub(crate) pinned: bool,
    pub(crate) epoch: u64,
    pub(crate) primary: Option<String>,
    /// Those in sync.
    pub(crate) replicas: Vec<String>,
    pub(crate) plan: Vec<Placed>,
}

/// One candidate of a [`Route`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) node: String,
    pub(crate) tier: String,
    /// How long an answer takes there on average, in microseconds; null while that isn't known.
    pub(crate) latency_us: Option<u64>,
    /// Attempts of this node under way there.
    pub(crate) in_flight: u32,
    /// `closed`, `open` or `half-open`.
    pub(crate) breaker: String,
    /// Whether the last contact failed.
    pub(crate) suspect: bool,
    pub(crate) why: String,
}

pub(super) async fn route(
    State(admin): Asking,
    Query(query): Query<SpaceQuery>,
) -> Result<Json<Route>, Wrong> {
    let space = query.space()?;
    let route = admin.node.route(&space, query.access()?);
    let plan = route.plan.into_iter().map(|Planned { candidate, standing, why }| Placed {
        node: candidate.node.to_string(),
        tier: candidate.tier.to_string(),
        latency_us: standing.latency.map(|latency| latency.as_micros().try_into().unwrap_or(u64::MAX)),
        in_flight: standing.in_flight,
        breaker: standing.circuit.as_str().to_owned(),
        suspect: standing.suspect,
        why: why.into_owned(),
    });
    // As `homing table` lists them: one that is being filled answers nobody.
    let in_sync = route.replicas.into_iter().filter(|(_, state)| *state == ReplicaState::InSync);
    Ok(Json(Route {
        space: space.to_string(),
        key: route.key.to_string(),
        slot: route.slot.number(),
        pinned: route.pinned,
        epoch: route.epoch.number(),
        primary: route.primary.map(|node| node.to_string()),
        replicas: in_sync.map(|(node, _)| node.to_string()).collect(),
        plan: plan.collect(),
    }))
}

/// What `homing table SPACE` shows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SpaceTable {
    pub(crate) space: String,
    pub(crate) key: String,
    pub(crate) slot: u16,
    pub(crate) pinned: bool,
    pub(crate) epoch: u64,
    pub(crate) conflict: bool,
    #[serde(flatten)]
    pub(crate) owners: Option<OwnersDoc>,
}

pub(super) async fn table(
    State(admin): Asking,
    Query(query): Query<SpaceQuery>,
) -> Result<Json<Value>, Wrong> {
    let table = admin.node.table().snapshot();
    if query.space.is_none() {
        return Ok(Json(json!(TableDoc::of(&table))));
    }
    let space = query.space()?;
    let key = space.key();
    let known = table.lookup(key);
    Ok(Json(json!(SpaceTable {
        space: space.to_string(),
        key: key.to_string(),
        slot: key.slot().number(),
        pinned: known.as_ref().is_some_and(homing::routing_table::Lookup::is_pinned),
        epoch: table.epoch(key.slot()).number(),
        conflict: table.conflict(key.slot()),
        owners: known.map(|known| OwnersDoc::of(&known.owners())),
    })))
}

/// To which nodes a table goes.
#[derive(Debug, Deserialize)]
pub(super) struct To {
    to: String,
}

/// What `homing table apply` shows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AppliedAt {
    pub(crate) nodes: Vec<NodeApplied>,
}

/// What became of a table at one node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NodeApplied {
    pub(crate) id: String,
    /// Groups that are new.
    pub(crate) changed: u32,
    /// Groups that were known.
    pub(crate) same: u32,
    /// Groups older than what the node knows: refused.
    pub(crate) older: u32,
    /// Groups that contradict a known one with the same epoch.
    pub(crate) conflicts: u32,
    /// What went wrong. Unless it says "applied", the node took nothing.
    pub(crate) error: Option<String>,
}

pub(super) async fn apply(
    State(admin): Asking,
    Query(to): Query<To>,
    body: Bytes,
) -> Result<Json<AppliedAt>, Wrong> {
    let doc: TableDoc =
        serde_json::from_slice(&body).map_err(|error| wrong(format!("the table: {error}")))?;
    let members = admin.node.members();
    let is_node = |id: &NodeId| members.iter().any(|member| member.id == *id);
    let diff = doc.to_diff_among(is_node).map_err(|error| wrong(format!("the table: {error:#}")))?;
    let mut targets = Vec::new();
    for id in to.to.split(',') {
        let id: NodeId = id.parse().map_err(|error| wrong(format!("--to: {error}")))?;
        if !is_node(&id) {
            return Err(wrong(format!("--to: {id} is no node of this cluster")));
        }
        if !targets.contains(&id) {
            targets.push(id);
        }
    }
    // All at once: who asks waits for the slowest, not for the sum.
    let applying = targets.into_iter().map(async |id| {
        let applied = admin.node.apply_at(&id, &diff, APPLY_TIMEOUT).await;
        let id = id.to_string();
        match applied {
            Ok(it) => NodeApplied {
                id,
                changed: it.changed,
                same: it.same,
                older: it.older,
                conflicts: it.conflicts,
                error: None,
            },
            Err(error) => NodeApplied { id, error: Some(error.to_string()), ..NodeApplied::default() },
        }
    });
    let nodes = futures_util::future::join_all(applying).await;
    Ok(Json(AppliedAt { nodes }))
}

fn wrong(line: String) -> Wrong {
    (StatusCode::BAD_REQUEST, line)
}
