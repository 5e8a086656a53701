//! SIGTERM drains; a second one doesn't wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::on_each_wire;
use crate::support::{Cluster, Layout, OwnersOf};

/// A write of which half the body is sent: a request that runs until the other half comes. It goes to the space's
/// primary, so that it runs there and nowhere else.
struct HalfSent {
    connection: TcpStream,
}

const VALUE: &[u8] = b"half sent";

impl HalfSent {
    fn start(client: &str, space: &str) -> Self {
        let mut connection = TcpStream::connect(client).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let message = Self::message();
        let head = format!(
            "POST /homing.kv.v1.Kv/Put HTTP/1.1\r\nhost: {client}\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
             homing-space: {space}\r\ncontent-length: {}\r\n\r\n",
            message.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(&message[..3]).unwrap();
        Self { connection }
    }

    /// A gRPC message of a `PutRequest`: key "key", the value above.
    fn message() -> Vec<u8> {
        let mut put = vec![0x0a, 3];
        put.extend(b"key");
        put.extend([0x12, u8::try_from(VALUE.len()).unwrap()]);
        put.extend(VALUE);
        let mut message = vec![0];
        message.extend(u32::try_from(put.len()).unwrap().to_be_bytes());
        message.extend(put);
        message
    }

    fn finish(mut self) -> String {
        self.connection.write_all(&Self::message()[3..]).unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = self.connection.read(&mut piece) {
            answer.extend(&piece[..read]);
            if answer.windows(5).any(|end| end == b"0\r\n\r\n") {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Waits until this many requests run at a node.
async fn running(cluster: &Cluster, index: usize, requests: f64) {
    for _ in 0..1_000 {
        if cluster.nodes[index].counter("homing_in_flight", "").await >= requests {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the request does not run");
}

on_each_wire!(a_stopping_node_finishes_what_runs);
async fn a_stopping_node_finishes_what_runs(wire: &'static str) {
    let mut cluster = Cluster::start(Layout::five(wire)).await;
    let space = "stopping";
    let primary = cluster.index(OwnersOf::ask(&cluster.nodes[0]).await.primary(space));
    let half = HalfSent::start(&cluster.nodes[primary].client, space);
    running(&cluster, primary, 1.0).await;
    cluster.nodes[primary].signal("-TERM");
    // Only now does the rest show that a node that stops waits for it.
    cluster.nodes[primary].logs("stopping").await;
    let answering = tokio::task::spawn_blocking(move || half.finish());
    let answer = answering.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("homing-role: primary"), "{answer}");
    assert_eq!(cluster.nodes[primary].ended().await.code(), Some(0), "{}", cluster.nodes[primary].log());
    // The others go on, and what was acknowledged is there.
    let served = cluster.kv((primary + 1) % 5).get(space, "key").await.unwrap();
    assert_eq!(served.value.as_deref(), Some(VALUE));
}

on_each_wire!(clients_and_peers_share_one_time_to_drain);
async fn clients_and_peers_share_one_time_to_drain(wire: &'static str) {
    const DRAIN: Duration = Duration::from_secs(4);
    let edit = |_, config: &mut toml::Table| {
        config["limits"].as_table_mut().unwrap().insert("drain_ms".to_owned(), 4_000.into());
    };
    let mut cluster = Cluster::start(Layout { edit, ..Layout::five(wire) }).await;
    let space = "stopping";
    let primary = cluster.index(OwnersOf::ask(&cluster.nodes[0]).await.primary(space));
    // Neither ever ends, and one comes by way of another node.
    let direct = HalfSent::start(&cluster.nodes[primary].client, space);
    let forwarded = HalfSent::start(&cluster.nodes[(primary + 1) % 5].client, space);
    running(&cluster, primary, 2.0).await;
    cluster.nodes[primary].signal("-TERM");
    cluster.nodes[primary].logs("stopping").await;
    let started = tokio::time::Instant::now();
    assert_eq!(cluster.nodes[primary].ended().await.code(), Some(0));
    assert!(started.elapsed() < DRAIN * 2 - Duration::from_secs(1), "{:?}", started.elapsed());
    drop((direct, forwarded));
}

on_each_wire!(a_node_told_twice_stops_at_once);
async fn a_node_told_twice_stops_at_once(wire: &'static str) {
    let mut cluster = Cluster::start(Layout::five(wire)).await;
    let space = "stopping";
    let primary = cluster.index(OwnersOf::ask(&cluster.nodes[0]).await.primary(space));
    let half = HalfSent::start(&cluster.nodes[primary].client, space);
    running(&cluster, primary, 1.0).await;
    cluster.nodes[primary].signal("-TERM");
    cluster.nodes[primary].logs("stopping").await;
    cluster.nodes[primary].signal("-TERM");
    assert_eq!(cluster.nodes[primary].ended().await.code(), Some(1));
    drop(half);
}
