//! Our nodes in a process of somebody's: some own every space, one none.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use homing::routing_table::{Diff, Group};
use homing::tls::Credentials;
use homing::{
    ClientLimits, Epoch, Limits, Locality, Member, Mounts, Name, Node, NodeId, NodeOptions, Owners,
    PoolOptions, Replica, ReplicaState, RouterOptions, Service, Slot, SpaceKey, StaticAuthority, Wire,
};

use crate::clients;
use crate::contestants::{Calls, Distance};
use crate::credentials::{self, CALLER, node};

/// Nobody calls the caller.
const NOWHERE: &str = "127.0.0.1:1";

/// A node that owns every space in this epoch, as far as it knows; or knows that another does, the next owner, which listens there.
pub(crate) async fn owner(
    id: &NodeId,
    wire: Wire,
    credentials: Arc<Credentials>,
    service: Arc<dyn Service>,
    epoch: u64,
    moved: Option<SocketAddr>,
) -> Result<Node> {
    let mut members = vec![member(id.clone(), NOWHERE, wire)];
    if let Some(at) = moved {
        members.push(member(credentials::owner(1)?, &at.to_string(), wire));
    }
    let table = table(members.last().map(std::slice::from_ref).unwrap_or_default(), epoch, 0)?;
    start(id, wire, credentials, service, members, table, PoolOptions::default()).await
}

/// The node whose calls go to these owners, each of which has as many slots; or to the first, where the caller's table is stale; or to any, where the first is
/// the primary and far.
pub(crate) async fn caller(
    wire: Wire,
    credentials: Arc<Credentials>,
    service: Arc<dyn Service>,
    owners: &[SocketAddr],
    calls: Calls,
) -> Result<Node> {
    let pool = PoolOptions { connections: calls.connections, ..PoolOptions::default() };
    let members = owners.iter().enumerate();
    let members = members.map(|(number, at)| Ok(member(credentials::owner(number)?, &at.to_string(), wire)));
    let mut members = members.collect::<Result<Vec<_>>>()?;
    let table = match calls.far {
        Some(distance) => {
            if distance == Distance::Told
                && let Some(primary) = members.first_mut()
            {
                primary.locality.zone = Some(Name::new("elsewhere").map_err(|error| anyhow!("{error}"))?);
            }
            replicated(&members)?
        }
        None => {
            let known = if calls.stale { &members[..1] } else { &members };
            table(known, 1, if calls.pinned { calls.spaces } else { 0 })?
        }
    };
    start(&node(CALLER)?, wire, credentials, service, members, table, pool).await
}

fn member(id: NodeId, address: &str, wire: Wire) -> Member {
    let wire = wire.as_str().to_owned();
    Member { id, address: address.to_owned(), wire, locality: Locality::default(), weight: 1 }
}

async fn start(
    id: &NodeId,
    wire: Wire,
    credentials: Arc<Credentials>,
    service: Arc<dyn Service>,
    mut nodes: Vec<Member>,
    table: Diff,
    pool: PoolOptions,
) -> Result<Node> {
    let caller = node(CALLER)?;
    if nodes.iter().all(|member| member.id != caller) {
        nodes.push(member(caller, NOWHERE, wire));
    }
    let options = NodeOptions {
        id: id.clone(),
        nodes,
        credentials,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        wire,
        client_listen: None,
        client_tls: None,
        authority: Arc::new(StaticAuthority::new(&table)),
        table: vec![table],
        conflicts: Vec::new(),
        keep_table: None,
        info: bytes::Bytes::new(),
        limits: Limits::default(),
        client_limits: ClientLimits::default(),
        pool,
        router: RouterOptions::default(),
    };
    Ok(Node::start(options, async |_| Ok(Mounts { service, direct: Vec::new() })).await?)
}

/// All slots, owned in turn in this epoch; and so many spaces with entries of their own, of the same owners.
fn table(owners: &[Member], epoch: u64, pinned: usize) -> Result<Diff> {
    let mut pins = HashMap::<Slot, BTreeMap<SpaceKey, Owners>>::new();
    let of = |slot: Slot| {
        let owner = &owners[usize::from(slot.number()) % owners.len()];
        Owners::new(owner.id.clone(), Vec::new()).map_err(|error| anyhow!("{error}"))
    };
    for number in 0..pinned {
        let key = SpaceKey::of(&clients::name(number));
        pins.entry(key.slot()).or_default().insert(key, of(key.slot())?);
    }
    let groups = Slot::all().map(|slot| {
        let pins = pins.remove(&slot).unwrap_or_default();
        Ok((slot, Group { epoch: Epoch::new(epoch), owners: of(slot)?, pins }))
    });
    let groups = groups.collect::<Result<Vec<_>>>()?;
    Diff::new(groups).map_err(|error| anyhow!("{error}"))
}

/// All slots, with the first of these as primary and the others as replicas. That is what the caller knows; each of these executes whatever reaches it.
fn replicated(owners: &[Member]) -> Result<Diff> {
    let mut ids = owners.iter().map(|owner| owner.id.clone());
    let primary = ids.next().context("no owner")?;
    let replicas = ids.map(|node| Replica { node, state: ReplicaState::InSync }).collect();
    let owners = Owners::new(primary, replicas).map_err(|error| anyhow!("{error}"))?;
    let group = Group { epoch: Epoch::new(1), owners, pins: BTreeMap::new() };
    Diff::new(Slot::all().map(|slot| (slot, group.clone()))).map_err(|error| anyhow!("{error}"))
}
