//! A node's table outlives it, and no edit of its configuration moves an owner under an epoch that was kept.

use serde_json::Value;

use crate::support::{Cluster, Layout, Process, assert_says, said};

const WIRE: &str = if cfg!(feature = "grpc") { "grpc" } else { "quic" };

/// Changes `[table]` in a node's configuration.
fn set(node: &Process, key: &str, value: impl Into<toml::Value>) {
    node.edit(|config| {
        config["table"].as_table_mut().unwrap().insert(key.to_owned(), value.into());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_would_move_owners_is_refused_until_the_operator_decides() {
    let mut cluster = Cluster::prepare(Layout { nodes: 3, ..Layout::five(WIRE) });
    let node = &mut cluster.nodes[0];
    let config = node.config.to_str().unwrap().to_owned();
    node.start();
    node.logs("ready id=").await;
    let table = node.admin_json("/table").await;
    node.kill();

    set(node, "replicas", 1);
    for refused in [["node", "--config", &config].as_slice(), &["check-config", &config]] {
        let says = said(refused);
        assert_says(
            &says,
            &["under the same epoch 1", "restore nodes and table.replicas", "table.source = \"none\""],
        );
    }

    let mut other = table.clone();
    other["groups"][0]["replicas"] = Value::Array(Vec::new());
    let file = node.config.with_file_name("other.json");
    std::fs::write(&file, other.to_string()).unwrap();
    set(node, "source", "other.json");
    assert_says(&said(&["check-config", &config]), &["table.source", "other.json", "a higher epoch"]);

    // What either message says does help.
    set(node, "source", "none");
    node.start();
    node.logs_again("ready id=", 2).await;
    assert_eq!(node.admin_json("/table").await["groups"], table["groups"]);
    node.kill();
    other["groups"][0]["epoch"] = 2.into();
    std::fs::write(&file, other.to_string()).unwrap();
    set(node, "source", "other.json");
    node.start();
    node.logs_again("ready id=", 3).await;
    let now = node.admin_json("/table").await;
    let by_epoch = |table: &Value, epoch: u64| {
        let groups = table["groups"].as_array().unwrap().iter();
        groups.filter(|group| group["epoch"] == epoch).cloned().collect::<Vec<_>>()
    };
    assert_eq!(by_epoch(&now, 2), [other["groups"][0].clone()]);
    assert_eq!(by_epoch(&now, 1), table["groups"].as_array().unwrap()[1..]);
}
