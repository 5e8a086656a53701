//! Nodes whose tables are wrong: they serve every request, and learn from the first reply.

use serde_json::{Value, json};

use crate::on_each_wire;
use crate::support::{Cluster, Layout, OwnersOf, output};

/// A table with a higher epoch in which the last replica of each space is its primary now.
fn next_epoch(table: &Value) -> Value {
    let mut next = table.clone();
    for group in next["groups"].as_array_mut().unwrap() {
        let mut owners: Vec<Value> = vec![group["primary"].clone()];
        owners.extend(group["replicas"].as_array().unwrap().iter().cloned());
        owners.rotate_right(1);
        group["epoch"] = json!(group["epoch"].as_u64().unwrap() + 1);
        group["primary"] = owners.remove(0);
        group["replicas"] = owners.into();
    }
    next
}

fn apply(cluster: &Cluster, table: &Value, to: &[usize]) -> (bool, Value) {
    let file = cluster.folder.path().join("table.json");
    std::fs::write(&file, table.to_string()).unwrap();
    let to: Vec<_> = to.iter().map(|i| cluster.nodes[*i].id.clone()).collect();
    let node = &cluster.nodes[0].client;
    let file = file.to_str().unwrap();
    let applied = output(&["table", "apply", file, "--to", &to.join(","), "--node", node, "-o", "json"]);
    let document = serde_json::from_slice(&applied.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&applied.stderr)));
    (applied.status.success(), document)
}

on_each_wire!(a_node_one_epoch_behind_serves_every_request_and_learns_from_the_first_reply);
async fn a_node_one_epoch_behind_serves_every_request_and_learns_from_the_first_reply(wire: &'static str) {
    let cluster = Cluster::start(Layout::five(wire)).await;
    let old = cluster.nodes[0].admin_json("/table").await;
    let new = next_epoch(&old);
    let owners = OwnersOf::of(&new);
    // The last node is left behind.
    let (taken, _) = apply(&cluster, &new, &[0, 1, 2, 3]);
    assert!(taken);
    let kv = cluster.kv(4);
    for i in 0..100 {
        let space = format!("space-{i}");
        let first = kv.put(&space, "key", b"value").await.unwrap();
        assert_eq!(first.by, owners.primary(&space), "{space}");
        assert_eq!(first.epoch, 2);
        assert!(first.hops <= 2, "{space}: {} hops", first.hops);
        let second = kv.put(&space, "key", b"value").await.unwrap();
        let hops = u8::from(second.by != "n5");
        assert_eq!((second.by.as_str(), second.hops, second.attempts), (owners.primary(&space), hops, 1));
        let read = kv.get(&space, "key").await.unwrap();
        assert_eq!(read.value.as_deref(), Some(&b"value"[..]));
    }
    assert!(cluster.nodes[4].counter("homing_corrections_total", "").await >= 1.0);
}

on_each_wire!(a_node_that_knows_nothing_serves_every_request_and_learns_from_the_first_reply);
async fn a_node_that_knows_nothing_serves_every_request_and_learns_from_the_first_reply(wire: &'static str) {
    let edit = |number, config: &mut toml::Table| {
        if number == 5 {
            let table = toml::Table::from_iter([("source".to_owned(), "none".into())]);
            config.insert("table".to_owned(), table.into());
        }
    };
    let cluster = Cluster::start(Layout { edit, ..Layout::five(wire) }).await;
    let owners = OwnersOf::ask(&cluster.nodes[0]).await;
    let kv = cluster.kv(4);
    for i in 0..100 {
        let space = format!("space-{i}");
        let first = kv.put(&space, "key", b"value").await.unwrap();
        assert_eq!((first.by.as_str(), first.epoch), (owners.primary(&space), 1), "{space}");
        assert!(first.hops <= 2, "{space}: {} hops", first.hops);
        let second = kv.put(&space, "key", b"value").await.unwrap();
        let hops = u8::from(second.by != "n5");
        assert_eq!((second.by.as_str(), second.hops, second.attempts), (owners.primary(&space), hops, 1));
    }
}

on_each_wire!(a_wrong_owner_is_corrected_by_whoever_knows_better);
async fn a_wrong_owner_is_corrected_by_whoever_knows_better(wire: &'static str) {
    let edit = |number, config: &mut toml::Table| {
        if number == 5 {
            config.insert(
                "table".to_owned(),
                toml::Table::from_iter([("source".to_owned(), "wrong.json".into())]).into(),
            );
        }
    };
    let mut cluster = Cluster::prepare(Layout { edit, ..Layout::five(wire) });
    // n5 begins with an epoch 1 in which n4 owns everything alone; the others go on to epoch 2.
    let wrong = json!({ "groups": [{ "slots": "0-16383", "epoch": 1, "primary": "n4", "replicas": [] }] });
    std::fs::write(cluster.nodes[4].config.with_file_name("wrong.json"), wrong.to_string()).unwrap();
    cluster.start_all().await;
    let new = next_epoch(&cluster.nodes[0].admin_json("/table").await);
    let owners = OwnersOf::of(&new);
    let (taken, applied) = apply(&cluster, &new, &[0, 1, 2, 3]);
    assert!(taken, "{applied}");
    let kv = cluster.kv(4);
    for i in 0..100 {
        let space = format!("space-{i}");
        let first = kv.put(&space, "key", b"value").await.unwrap();
        assert_eq!(first.by, owners.primary(&space), "{space}");
        assert!(first.hops <= 2, "{space}: {} hops", first.hops);
        let second = kv.put(&space, "key", b"value").await.unwrap();
        assert_eq!((second.by.as_str(), second.attempts), (owners.primary(&space), 1));
        assert!(second.hops <= 1, "{space}: {} hops", second.hops);
    }
}

#[cfg(feature = "grpc")]
#[tokio::test(flavor = "multi_thread")]
async fn an_older_table_is_refused_and_a_restart_does_not_forget_a_newer_one() {
    let mut cluster = Cluster::start(Layout::five("grpc")).await;
    let old = cluster.nodes[0].admin_json("/table").await;
    let new = next_epoch(&old);
    let (taken, applied) = apply(&cluster, &new, &[0, 1, 2, 3, 4]);
    assert!(taken, "{applied}");
    let (taken, applied) = apply(&cluster, &old, &[1, 2]);
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

#[cfg(feature = "grpc")]
#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_space_lives_where_its_pin_says() {
    let cluster = Cluster::start(Layout::five("grpc")).await;
    let mut table = next_epoch(&cluster.nodes[0].admin_json("/table").await);
    let space = "pinned";
    let owners = OwnersOf::of(&table).of_space(space).to_vec();
    // The pin keeps the owners of before, who hold the data, but for who is the primary.
    table["pins"] = json!([{ "space": space, "primary": owners[1], "replicas": [owners[0], owners[2]] }]);
    assert!(apply(&cluster, &table, &[0, 1, 2, 3, 4]).0);
    let served = cluster.kv(0).put(space, "key", b"value").await.unwrap();
    assert_eq!(served.by, owners[1]);
    let route = cluster.nodes[0].admin_json(&format!("/route?space={space}")).await;
    assert_eq!(
        (route["pinned"].as_bool(), route["primary"].as_str()),
        (Some(true), Some(owners[1].as_str()))
    );
}
