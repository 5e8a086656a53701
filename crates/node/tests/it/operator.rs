//! The operator's listener, and the commands that ask it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Cluster, Layout, assert_says, homing, output, said};

const WIRE: &str = if cfg!(feature = "grpc") { "grpc" } else { "quic" };

fn listen(config: &mut toml::Table, key: &str, value: impl Into<toml::Value>) {
    config["listen"].as_table_mut().unwrap().insert(key.to_owned(), value.into());
}

/// One node, once it is ready.
async fn one(edit: fn(usize, &mut toml::Table)) -> Cluster {
    let mut cluster = Cluster::prepare(Layout { nodes: 1, edit, ..Layout::five(WIRE) });
    cluster.nodes[0].start();
    cluster.nodes[0].logs("ready id=").await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_listener_is_found_where_it_was_really_bound() {
    let any_port = |_, config: &mut toml::Table| {
        let client = config["listen"]["client"].as_str().unwrap().to_owned();
        listen(config, "admin", client.replace(":7401", ":0"));
    };
    let any_address = |_, config: &mut toml::Table| {
        listen(config, "admin", "0.0.0.0:0");
        listen(config, "insecure", true);
    };
    for edit in [any_port, any_address] {
        let cluster = one(edit).await;
        let status = output(&["status", "--node", &cluster.nodes[0].client, "-o", "json"]);
        let says = String::from_utf8_lossy(&status.stderr).into_owned();
        let status: Value = serde_json::from_slice(&status.stdout).expect(&says);
        assert_eq!(status["nodes"], json!([{ "id": "n1", "zone": "a", "state": "alive" }]));
    }
}

#[test]
fn an_address_that_others_reach_needs_leave_wherever_it_is_given() {
    let cluster = Cluster::prepare(Layout { nodes: 1, ..Layout::five(WIRE) });
    let config = cluster.nodes[0].config.to_str().unwrap();
    for key in ["client", "admin"] {
        let says = said(&["node", "--config", config, &format!("--{key}"), "0.0.0.0:0"]);
        assert_says(&says, &[&format!("listen.{key}"), "0.0.0.0:0", "insecure = true"]);
        let ended = homing()
            .args(["node", "--config", config])
            .env(format!("HOMING_{}", key.to_uppercase()), "0.0.0.0:0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_says(&String::from_utf8_lossy(&ended.stderr), &["insecure = true"]);
        assert_eq!(ended.status.code(), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_gets_nothing_from_the_admin_listener() {
    let cluster = one(|_, _| {}).await;
    let admin = &cluster.nodes[0].admin;
    let ask = |head: String, body: &str| {
        let mut connection = TcpStream::connect(admin).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        write!(connection, "{head}connection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    for host in ["evil.example", "evil.example:7402", "localhost.evil.example"] {
        let answer = ask(format!("GET /table HTTP/1.1\r\nhost: {host}\r\n"), "");
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert_says(&answer, &[host, "IP address"]);
        assert!(!answer.contains("groups"), "{answer}");
    }
    let answer = ask("GET /table HTTP/1.1\r\nhost: localhost\r\n".to_owned(), "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let before = cluster.nodes[0].admin_json("/table").await;
    let table = json!({ "groups": [{ "slots": "0-16383", "epoch": 9, "primary": "n1" }] }).to_string();
    let post = |kind: &str| {
        let kind = if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
        ask(format!("POST /table?to=n1 HTTP/1.1\r\nhost: {admin}\r\n{kind}"), &table)
    };
    for kind in ["", "text/plain", "application/x-www-form-urlencoded"] {
        let answer = post(kind);
        assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
        assert_says(&answer, &["content-type", "application/json"]);
    }
    assert_eq!(cluster.nodes[0].admin_json("/table").await, before);
    let answer = post("application/json; charset=utf-8");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_no_cluster_could_live_by_is_refused() {
    let cluster = one(|_, _| {}).await;
    let file = cluster.folder.path().join("table.json");
    let apply = |group: Value| {
        std::fs::write(&file, json!({ "groups": [group] }).to_string()).unwrap();
        said(&["table", "apply", file.to_str().unwrap(), "--to", "n1", "--node", &cluster.nodes[0].client])
    };
    let before = cluster.nodes[0].admin_json("/table").await;
    let says = apply(json!({ "slots": "5", "epoch": 2, "primary": "n2" }));
    assert_says(&says, &["groups[0]: primary: n2 is no node of this cluster"]);
    let says = apply(json!({ "slots": "5", "epoch": 0xffff_0000_0000_0001_u64, "primary": "n1" }));
    assert_says(&says, &["groups[0].epoch", "reserved"]);
    assert_eq!(cluster.nodes[0].admin_json("/table").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn route_and_table_list_the_replicas_that_answer() {
    let edit = |_, config: &mut toml::Table| {
        config["table"].as_table_mut().unwrap().insert("source".to_owned(), "first.json".into());
    };
    let mut cluster = Cluster::prepare(Layout { nodes: 3, edit, ..Layout::five(WIRE) });
    let node = &mut cluster.nodes[0];
    let first = json!({ "groups": [{
        "slots": "0-16383", "epoch": 1, "primary": "n1", "replicas": ["n2"], "catching_up": ["n3"],
    }]});
    std::fs::write(node.config.with_file_name("first.json"), first.to_string()).unwrap();
    node.start();
    node.logs("ready id=").await;
    let ask = |arguments: &[&str]| -> serde_json::Map<String, Value> {
        let answer = output(&[arguments, &["acme", "--node", &node.client, "-o", "json"]].concat());
        let says = String::from_utf8_lossy(&answer.stderr);
        serde_json::from_slice(&answer.stdout).expect(&says)
    };
    let (route, table) = (ask(&["route", "--read"]), ask(&["table"]));
    let keys: Vec<_> = route.keys().map(String::as_str).collect();
    assert_eq!(keys, ["space", "key", "slot", "pinned", "epoch", "primary", "replicas", "plan"]);
    let placed: Vec<_> = route["plan"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(placed, ["node", "tier", "latency_us", "in_flight", "breaker", "suspect", "why"]);
    assert_eq!(route["replicas"], json!(["n2"]));
    assert_eq!(table["replicas"], route["replicas"]);
    assert_eq!(table["catching_up"], json!(["n3"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_goes_to_nodes_that_hang_all_at_once() {
    let cluster = Cluster::start(Layout::five(WIRE)).await;
    let mut table = cluster.nodes[0].admin_json("/table").await;
    for group in table["groups"].as_array_mut().unwrap() {
        group["epoch"] = 2.into();
    }
    let file = cluster.folder.path().join("table.json");
    std::fs::write(&file, table.to_string()).unwrap();
    let hang = |signal: &str| cluster.nodes[1..].iter().for_each(|node| node.signal(signal));
    hang("-STOP");
    // One after the other they would take longer than a command waits.
    let applied = output(&[
        "table",
        "apply",
        file.to_str().unwrap(),
        "--to",
        "n1,n2,n3,n4,n5,n5",
        "--node",
        &cluster.nodes[0].client,
        "-o",
        "json",
    ]);
    hang("-CONT");
    assert_eq!(applied.status.code(), Some(1), "{}", String::from_utf8_lossy(&applied.stderr));
    let applied: Value = serde_json::from_slice(&applied.stdout).unwrap();
    let nodes = applied["nodes"].as_array().unwrap();
    let ids: Vec<_> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["n1", "n2", "n3", "n4", "n5"]);
    assert_eq!((&nodes[0]["error"], nodes[0]["changed"].as_u64()), (&Value::Null, Some(16_384)));
    assert!(nodes[1..].iter().all(|node| node["error"].is_string()), "{applied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_any_node_of_dev_that_lives_is_asked() {
    let mut cluster = Cluster::start(Layout { nodes: 2, ..Layout::five(WIRE) }).await;
    let nodes: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| {
            json!({
                "id": node.id, "zone": "a", "pid": node.pid(),
                "node": "127.0.0.1:1", "client": node.client, "admin": node.admin,
            })
        })
        .collect();
    let folder = cluster.folder.path();
    std::fs::write(folder.join("cluster.json"), json!({ "nodes": nodes, "data": folder }).to_string())
        .unwrap();
    let status = |mut command: Command| command.args(["status", "-o", "json"]).output().unwrap();
    let ask = || {
        let mut command = homing();
        command.env("HOMING_DATA", folder).stdin(Stdio::null());
        command
    };
    cluster.nodes[0].kill();
    let answered = status(ask());
    assert_eq!(answered.status.code(), Some(0), "{}", String::from_utf8_lossy(&answered.stderr));
    let answered: Value = serde_json::from_slice(&answered.stdout).unwrap();
    assert_eq!(answered["nodes"][1]["state"], "alive");
    assert_eq!(answered["nodes"][0]["state"], "unreachable");
    cluster.nodes[1].kill();
    let says = status(ask());
    assert_eq!(says.status.code(), Some(1));
    assert_says(&String::from_utf8_lossy(&says.stderr), &["no node answers at", &cluster.nodes[0].client]);
}
