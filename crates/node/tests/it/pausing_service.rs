//! A service beside the node that stops for a while: calls run out of time meanwhile, and take no other along.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Beside, Cluster, Layout, tell};

/// Calls that run out of time: more than the early resets that an h2 server bears by default, 20.
const EXPIRING: usize = 64;
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_run_out_of_time_while_their_service_pauses_take_no_other_along() {
    let service = Beside::start(|_| false).await;
    let mut cluster = Cluster::prepare(Layout { nodes: 1, zones: 1, ..Layout::five("grpc") });
    cluster.nodes[0]
        .edit(|config| drop(config.insert("service".to_owned(), service.address.as_str().into())));
    cluster.start_all().await;
    let kv = cluster.kv(0);
    kv.put("patient", "key", b"value").await.unwrap();
    let connections = service.connections();

    service.pause();
    let patient = tokio::spawn({
        let kv = kv.clone();
        async move { kv.put("patient", "key", b"value").await }
    });
    let mut expiring = JoinSet::new();
    for i in 0..EXPIRING {
        let kv = kv.clone().with_timeout(SHORT);
        expiring.spawn(async move { kv.get(&format!("space-{i}"), "key").await.unwrap_err() });
    }
    expiring.join_all().await;
    // What was given up is not under way at the node either.
    let started = Instant::now();
    while cluster.nodes[0].counter("homing_in_flight", "").await > 1.0 {
        assert!(started.elapsed() < Duration::from_secs(10), "calls outlive their deadline");
    }
    assert!(!patient.is_finished(), "the service has not paused");

    service.resume();
    let patient = patient.await.unwrap();
    tell(&format!("{} connections; the call that waited: {patient:?}", service.connections()));
    assert!(patient.is_ok(), "a call with time left was lost: {patient:?}");
    assert_eq!(service.connections(), connections, "the connection to the service was lost");
}
