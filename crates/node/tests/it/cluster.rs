//! A cluster that stands: any node takes any request.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::on_each_wire;
use crate::support::{Cluster, Layout, OwnersOf, every};

const SPACES: usize = 2_000;

on_each_wire!(any_node_takes_any_request);
async fn any_node_takes_any_request(wire: &'static str) {
    let cluster = Cluster::start(Layout::five(wire)).await;
    write_and_read_everywhere(&cluster).await;
}

#[cfg(all(feature = "grpc", feature = "quic"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_may_mix_its_wires() {
    let cluster = Cluster::start(Layout { wires: vec!["grpc", "quic"], ..Layout::five("quic") }).await;
    write_and_read_everywhere(&cluster).await;
    for node in &cluster.nodes {
        for wire in ["grpc", "quic"] {
            let sent = node.counter("homing_requests_sent_total", &format!("wire=\"{wire}\"")).await;
            assert!(sent > 100.0, "{} sent {sent} requests over {wire}", node.id);
        }
    }
}

/// Writes each space through a random node and reads it through every node.
async fn write_and_read_everywhere(cluster: &Cluster) {
    let owners = Arc::new(OwnersOf::ask(&cluster.nodes[0]).await);
    let nodes: Arc<Vec<_>> =
        Arc::new((0..cluster.nodes.len()).map(|i| (cluster.nodes[i].id.clone(), cluster.kv(i))).collect());
    let mut random = StdRng::seed_from_u64(7);
    let entries: Vec<usize> = (0..SPACES).map(|_| random.random_range(0..nodes.len())).collect();

    every(entries.into_iter().enumerate(), |(i, entry)| {
        let (owners, nodes) = (Arc::clone(&owners), Arc::clone(&nodes));
        async move {
            let space = format!("space-{i}");
            let (id, kv) = &nodes[entry];
            let served = kv.put(&space, "key", space.as_bytes()).await.unwrap();
            let primary = owners.primary(&space);
            let hops = u8::from(id != primary);
            assert_eq!((served.by.as_str(), served.role.as_str()), (primary, "primary"), "{space}");
            assert_eq!((served.hops, served.attempts, served.epoch), (hops, 1, 1), "{space} through {id}");
        }
    })
    .await;

    every((0..SPACES).flat_map(|i| (0..nodes.len()).map(move |entry| (i, entry))), |(i, entry)| {
        let (owners, nodes) = (Arc::clone(&owners), Arc::clone(&nodes));
        async move {
            let space = format!("space-{i}");
            let (id, kv) = &nodes[entry];
            let served = kv.get(&space, "key").await.unwrap();
            assert_eq!(served.value.as_deref(), Some(space.as_bytes()), "{space} through {id}");
            assert!(owners.holds(&space, &served.by), "{} serves {space}", served.by);
            let hops = u8::from(!owners.holds(&space, id));
            assert_eq!((served.hops, served.attempts), (hops, 1), "{space} through {id}");
        }
    })
    .await;
}
