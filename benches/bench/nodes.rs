//! Our nodes in a process of somebody's: one owns every space, the other none.

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

use crate::credentials::{CALLER, OWNER, node};

/// Nobody calls the caller.
const NOWHERE: &str = "127.0.0.1:1";

/// The node that owns every space.
pub(crate) async fn owner(
    wire: Wire,
    credentials: Arc<Credentials>,
    service: Arc<dyn Service>,
) -> Result<Node> {
    start(OWNER, wire, credentials, service, NOWHERE, PoolOptions::default()).await
}

/// The node whose calls all go to the owner, over so many connections.
pub(crate) async fn caller(
    wire: Wire,
    credentials: Arc<Credentials>,
    service: Arc<dyn Service>,
    owner: SocketAddr,
    connections: usize,
) -> Result<Node> {
    let pool = PoolOptions { connections, ..PoolOptions::default() };
    start(CALLER, wire, credentials, service, &owner.to_string(), pool).await
}

async fn start(
    id: &str,
    wire: Wire,
    credentials: Arc<Credentials>,
    service: Arc<dyn Service>,
    owner: &str,
    pool: PoolOptions,
) -> Result<Node> {
    let member = |id: &str, address: &str| {
        Ok::<_, anyhow::Error>(Member {
            id: node(id)?,
            address: address.to_owned(),
            wire: wire.as_str().to_owned(),
            locality: Locality::default(),
            weight: 1,
        })
    };
    let table = table(&node(OWNER)?)?;
    let options = NodeOptions {
        id: node(id)?,
        nodes: vec![member(OWNER, owner)?, member(CALLER, NOWHERE)?],
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

fn table(owner: &NodeId) -> Result<Diff> {
    let group = || {
        let owners = Owners::new(owner.clone(), Vec::new()).map_err(|error| anyhow!("{error}"))?;
        Ok::<_, anyhow::Error>(Group { epoch: Epoch::new(1), owners, pins: BTreeMap::new() })
    };
    let groups = Slot::all().map(|slot| Ok((slot, group()?))).collect::<Result<Vec<_>>>()?;
    Diff::new(groups).map_err(|error| anyhow!("{error}"))
}
