//! A table that the operator applies: only a newer one is taken, as a whole, and for good.

use serde_json::json;

use crate::support::{Cluster, Layout, OwnersOf, next_epoch};

const WIRE: &str = if cfg!(feature = "grpc") { "grpc" } else { "quic" };

#[tokio::test(flavor = "multi_thread")]
async fn an_older_table_is_refused_and_a_restart_does_not_forget_a_newer_one() {
    let mut cluster = Cluster::start(Layout::five(WIRE)).await;
    let old = cluster.nodes[0].admin_json("/table").await;
    let new = next_epoch(&old);
    let (taken, applied) = cluster.apply(&new, &[0, 1, 2, 3, 4]);
    assert!(taken, "{applied}");
    let (taken, applied) = cluster.apply(&old, &[1, 2]);
    assert!(!taken);
    for node in applied["nodes"].as_array().unwrap() {
        assert_eq!((node["changed"].as_u64(), node["older"].as_u64()), (Some(0), Some(16_384)), "{node}");
    }
    cluster.nodes[1].kill();
    cluster.nodes[1].start();
    cluster.nodes[1].answers().await;
    let table = cluster.nodes[1].admin_json("/table").await;
    assert_eq!(table["groups"], new["groups"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_space_lives_where_its_pin_says() {
    let cluster = Cluster::start(Layout::five(WIRE)).await;
    let mut table = next_epoch(&cluster.nodes[0].admin_json("/table").await);
    let space = "pinned";
    let owners = OwnersOf::of(&table).of_space(space).to_vec();
    // The pin keeps the owners of before, who hold the data, but for who is the primary.
    table["pins"] = json!([{ "space": space, "primary": owners[1], "replicas": [owners[0], owners[2]] }]);
    assert!(cluster.apply(&table, &[0, 1, 2, 3, 4]).0);
    let served = cluster.kv(0).put(space, "key", b"value").await.unwrap();
    assert_eq!(served.by, owners[1]);
    let route = cluster.nodes[0].admin_json(&format!("/route?space={space}")).await;
    assert_eq!(
        (route["pinned"].as_bool(), route["primary"].as_str()),
        (Some(true), Some(owners[1].as_str()))
    );
}
