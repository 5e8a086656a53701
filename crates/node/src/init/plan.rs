use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use homing::tls::ClusterName;
use homing::{NodeId, Wire};

use crate::config::{ConfigFile, FailoverFile, LimitsFile, ListenFile, NodeFile, TableFile, TlsFile};

/// The ports of a node for its peers, clients and operator.
const PORTS: [u16; 3] = [7_400, 7_401, 7_402];

/// How far apart the ports of nodes on one host are.
const STEP: u16 = 10;

/// A cluster as it will be, from which every node's configuration follows.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) cluster: ClusterName,
    /// Replicas of each space.
    pub(crate) replicas: usize,
    /// Where the nodes' tables come from: `placement`, or `none` where every node goes on with what it kept.
    pub(crate) source: &'static str,
    /// What holds the nodes' data folders, relative to the configurations.
    pub(crate) data: &'static str,
    pub(crate) nodes: Vec<PlannedNode>,
}

/// One node of a [`Plan`].
#[derive(Debug, Clone)]
pub(crate) struct PlannedNode {
    pub(crate) id: NodeId,
    pub(crate) zone: String,
    pub(crate) wire: Wire,
    pub(crate) addresses: Addresses,
}

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// For its peers: `host:port`.
    pub(crate) node: String,
    /// For clients.
    pub(crate) client: SocketAddr,
    /// For the operator.
    pub(crate) admin: SocketAddr,
}

impl Plan {
    /// What one of the nodes is told, with paths relative to its configuration.
    pub(crate) fn config(&self, node: &PlannedNode) -> ConfigFile {
        let id = &node.id;
        ConfigFile {
            cluster: self.cluster.to_string(),
            id: id.to_string(),
            data: Path::new(self.data).join(id.as_str()),
            service: "kv".to_owned(),
            service_dedupes: false,
            listen: node.addresses.listen(),
            tls: TlsFile {
                ca: PathBuf::from("ca.pem"),
                certificate: PathBuf::from(format!("{id}.pem")),
                key: PathBuf::from(format!("{id}.key")),
            },
            table: TableFile { source: self.source.to_owned(), replicas: self.replicas },
            limits: LimitsFile::default(),
            failover: FailoverFile::default(),
            nodes: self.nodes.iter().map(PlannedNode::file).collect(),
        }
    }

    /// The text of a node's configuration.
    pub(crate) fn toml(&self, node: &PlannedNode) -> Result<String> {
        let (id, cluster) = (&node.id, &self.cluster);
        let file = toml::to_string(&self.config(node))?;
        Ok(format!(
            "# Node {id} of the cluster {cluster}. Beside this file it needs ca.pem, {id}.pem and {id}.key.\n\
             # Check it: homing check-config {id}.toml\n\
             # Start it: homing node --config {id}.toml\n\
             # `nodes` and `table` must be alike on every node.\n\n\
             {file}"
        ))
    }
}

impl PlannedNode {
    /// Nodes n1, n2, … at these addresses, to which zones a, b, … and wires are dealt in turn.
    pub(crate) fn deal(addresses: Vec<Addresses>, zones: u16, wires: &[Wire]) -> Result<Vec<Self>> {
        let wires = wires.iter().copied().cycle();
        let zones = (0..zones).cycle().map(zone);
        let nodes = addresses.into_iter().zip(zones).zip(wires).enumerate();
        nodes
            .map(|(i, ((addresses, zone), wire))| {
                let id = NodeId::new(&format!("n{}", i + 1))?;
                Ok(Self { id, zone, wire, addresses })
            })
            .collect()
    }

    fn file(&self) -> NodeFile {
        NodeFile {
            id: self.id.to_string(),
            address: self.addresses.node.clone(),
            transport: Some(self.wire.as_str().to_owned()),
            region: None,
            zone: Some(self.zone.clone()),
            rack: None,
            weight: 1,
        }
    }
}

impl Addresses {
    /// Those of the node with this index, where all nodes share this host.
    pub(crate) fn local(index: u16) -> Self {
        Self::loopback(PORTS.map(|port| port + STEP * index))
    }

    /// Those with these ports on this host, which nobody reaches from elsewhere.
    pub(crate) fn loopback([node, client, admin]: [u16; 3]) -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { node: at(node).to_string(), client: at(client), admin: at(admin) }
    }

    /// Those of a node that has a host to itself: peers reach it from elsewhere; clients and operator, who come
    /// without TLS, don't.
    pub(crate) fn on_host(host: &str) -> Self {
        Self { node: format!("{host}:{}", PORTS[0]), ..Self::loopback(PORTS) }
    }

    /// A name can't be listened on; then the node takes every address of its host.
    fn listen(&self) -> ListenFile {
        let name = self.node.parse::<SocketAddr>().is_err();
        ListenFile {
            node: name.then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORTS[0])).to_string()),
            client: self.client.to_string(),
            admin: self.admin.to_string(),
            certificate: None,
            key: None,
            insecure: false,
        }
    }
}

/// a, b, … z, aa, ab, …
fn zone(mut index: u16) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'a' + (index % 26) as u8));
        if index < 26 {
            return letters.iter().rev().collect();
        }
        index = index / 26 - 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn zones_and_wires_are_dealt_in_turn() {
        let addresses = (0..5).map(Addresses::local).collect();
        let nodes = PlannedNode::deal(addresses, 3, &[Wire::Quic, Wire::Grpc]).unwrap();
        let dealt: Vec<_> =
            nodes.iter().map(|node| (node.id.as_str(), node.zone.as_str(), node.wire.as_str())).collect();
        assert_eq!(
            dealt,
            [
                ("n1", "a", "quic"),
                ("n2", "b", "grpc"),
                ("n3", "c", "quic"),
                ("n4", "a", "grpc"),
                ("n5", "b", "quic")
            ]
        );
    }

    #[test]
    fn no_two_zones_share_a_name() {
        let names: HashSet<_> = (0..4_096).map(zone).collect();
        assert_eq!(names.len(), 4_096);
        assert_eq!([0, 25, 26, 27, 701, 702].map(zone), ["a", "z", "aa", "ab", "zz", "aaa"]);
    }

    #[test]
    fn nodes_on_one_host_are_ten_ports_apart() {
        let n5 = Addresses::local(4);
        assert_eq!(n5.node, "127.0.0.1:7440");
        assert_eq!(n5.client.to_string(), "127.0.0.1:7441");
        assert_eq!(n5.admin.to_string(), "127.0.0.1:7442");
    }
}
