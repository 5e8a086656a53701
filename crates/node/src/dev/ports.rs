use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result};
use homing::Wire;

use crate::init::{Addresses, PlannedNode};

/// Where free ports are sought, in blocks of ten. It lies below the ports that Linux gives to outgoing connections
/// (from 32,768), one of which could take a node's port while the node is down.
const FIRST: u32 = 10_000;
const BLOCKS: u32 = 2_200;

/// How many blocks lie between two clusters whose process ids follow each other; more than a cluster has nodes.
const STRIDE: u32 = 53;

/// The ports of one node, taken for as long as this lives.
type Taken = (Vec<TcpListener>, Option<UdpSocket>);

/// Moves each node of which a port is taken to free ones.
pub(super) fn settle(nodes: &mut [PlannedNode]) -> Result<()> {
    let mut free = candidates(std::process::id());
    // All are held until the last is found, so that no two nodes get the same.
    let mut held = Vec::with_capacity(nodes.len());
    for node in nodes {
        if let Ok(taken) = take(&node.addresses, node.wire) {
            held.push(taken);
            continue;
        }
        let found = free.find_map(|addresses| Some((take(&addresses, node.wire).ok()?, addresses)));
        let (taken, addresses) =
            found.context("no free ports were found on 127.0.0.1: stop what uses them")?;
        held.push(taken);
        node.addresses = addresses;
    }
    Ok(())
}

/// Whether somebody has one of a node's ports.
pub(super) fn taken(node: &PlannedNode) -> bool {
    take(&node.addresses, node.wire).is_err()
}

/// All blocks once, from one that clusters which start at the same time don't share.
fn candidates(seed: u32) -> impl Iterator<Item = Addresses> {
    let first = seed % BLOCKS * STRIDE;
    (0..BLOCKS).filter_map(move |block| {
        let node = u16::try_from(FIRST + (first + block) % BLOCKS * 10).ok()?;
        Some(Addresses::loopback([node, node + 1, node + 2]))
    })
}

fn take(addresses: &Addresses, wire: Wire) -> io::Result<Taken> {
    let node: SocketAddr = addresses.node.parse().map_err(io::Error::other)?;
    let tcp = [node, addresses.client, addresses.admin].map(TcpListener::bind);
    let udp = (wire == Wire::Quic).then(|| UdpSocket::bind(node)).transpose()?;
    Ok((tcp.into_iter().collect::<io::Result<_>>()?, udp))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Nodes on ports that were free a moment ago.
    fn nodes(count: u16, wire: Wire) -> Vec<PlannedNode> {
        let mut nodes = PlannedNode::deal((0..count).map(Addresses::local).collect(), 1, &[wire]).unwrap();
        for (node, addresses) in nodes.iter_mut().zip(candidates(std::process::id() + 7)) {
            node.addresses = addresses;
        }
        settle(&mut nodes).unwrap();
        nodes
    }

    fn addresses(nodes: &[PlannedNode]) -> Vec<Addresses> {
        nodes.iter().map(|node| node.addresses.clone()).collect()
    }

    #[test]
    fn nodes_stay_where_their_ports_are_free() {
        let mut settled = nodes(3, Wire::Quic);
        let before = addresses(&settled);
        settle(&mut settled).unwrap();
        assert_eq!(addresses(&settled), before);
    }

    #[test]
    fn only_the_node_whose_port_is_taken_moves() {
        let mut settled = nodes(3, Wire::Grpc);
        let before = addresses(&settled);
        let _admin = TcpListener::bind(before[1].admin).unwrap();
        assert!(taken(&settled[1]));
        settle(&mut settled).unwrap();
        let after = addresses(&settled);
        assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
        assert_ne!(after[1], before[1]);
        assert!(!taken(&settled[1]));
    }

    #[test]
    fn a_taken_udp_port_matters_to_quic_alone() {
        for (wire, moves) in [(Wire::Quic, true), (Wire::Grpc, false)] {
            let mut settled = nodes(1, wire);
            let before = addresses(&settled);
            let _udp = UdpSocket::bind(&before[0].node).unwrap();
            settle(&mut settled).unwrap();
            assert_eq!(addresses(&settled) != before, moves, "{wire:?}");
        }
    }

    #[test]
    fn no_two_nodes_get_the_same_ports() {
        let one = nodes(1, Wire::Quic).remove(0);
        let mut settled = vec![one; 20];
        settle(&mut settled).unwrap();
        // What the first finds now is what the second has, and so on.
        let _taken = TcpListener::bind(settled[0].addresses.client).unwrap();
        settle(&mut settled).unwrap();
        let ports: HashSet<_> = settled
            .iter()
            .flat_map(|node| {
                let Addresses { node, client, admin } = &node.addresses;
                [node.clone(), client.to_string(), admin.to_string()]
            })
            .collect();
        assert_eq!(ports.len(), 60);
    }

    #[test]
    fn every_block_is_tried_once() {
        for seed in [0, 1, 4_194_304] {
            let blocks: HashSet<_> = candidates(seed).map(|addresses| addresses.node).collect();
            assert_eq!(blocks.len(), BLOCKS as usize);
        }
    }
}
