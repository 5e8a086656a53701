//! Our nodes in a process of somebody's: some own every space, one none.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use homing::routing_table::{Diff, Group};
use homing::tls::Credentials;
use homing::{
    ClientLimits, Epoch, Limits, Locality, Member, Mounts, Node, NodeId, NodeOptions, Owners, PoolOptions,
    RouterOptions, Service, Slot, StaticAuthority, Wire,
};

use crate::credentials::{self, CALLER, node};

/// Nobody calls the caller.
const NOWHERE: &str = "127.0.0.1:1";

/// A node that owns every space, as far as it knows.
pub(crate) async fn owner(
    id: &NodeId,
    wire: Wire,
    credentials: Arc<Credentials>,
    service: Arc<dyn Service>,
) -> Result<Node> {
    let owners = vec![member(id.clone(), NOWHERE, wire)];
    start(id, wire, credentials, service, owners, PoolOptions::default()).await
}

/// The node whose calls go to these owners, each of which has as many slots, over so many connections each.
pub(crate) async fn caller(
    wire: Wire,
    credentials: Arc<Credentials>,
    service: Arc<dyn Service>,
    owners: &[SocketAddr],
    connections: usize,
) -> Result<Node> {
    let pool = PoolOptions { connections, ..PoolOptions::default() };
    let members = owners.iter().enumerate();
    let members = members.map(|(number, at)| Ok(member(credentials::owner(number)?, &at.to_string(), wire)));
    let members = members.collect::<Result<_>>()?;
    start(&node(CALLER)?, wire, credentials, service, members, pool).await
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
    owners: Vec<Member>,
    pool: PoolOptions,
) -> Result<Node> {
    let table = table(&owners)?;
    let mut nodes = owners;
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

fn table(owners: &[Member]) -> Result<Diff> {
    let group = |slot: Slot| {
        let owner = &owners[usize::from(slot.number()) % owners.len()];
        let owners = Owners::new(owner.id.clone(), Vec::new()).map_err(|error| anyhow!("{error}"))?;
        Ok::<_, anyhow::Error>(Group { epoch: Epoch::new(1), owners, pins: BTreeMap::new() })
    };
    let groups = Slot::all().map(|slot| Ok((slot, group(slot)?))).collect::<Result<Vec<_>>>()?;
    Diff::new(groups).map_err(|error| anyhow!("{error}"))
}
