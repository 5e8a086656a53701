//! Wrong input: one clear line or status each, no trace of a panic, nothing changed.

use homing::{Body, Client};
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tonic::Code;

use crate::on_each_wire;
use crate::support::{Cluster, Layout, OwnersOf, assert_says, homing, said, usage};

/// Runs a node with a changed configuration and returns the one line it says.
fn refused(edit: impl FnOnce(&Cluster, &mut toml::Table)) -> String {
    let cluster = Cluster::prepare(Layout::five(if cfg!(feature = "grpc") { "grpc" } else { "quic" }));
    let config = &cluster.nodes[0].config;
    let mut file: toml::Table = toml::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
    edit(&cluster, &mut file);
    std::fs::write(config, toml::to_string(&file).unwrap()).unwrap();
    said(&["node", "--config", config.to_str().unwrap()])
}

#[test]
fn a_wrong_configuration_is_named_with_its_remedy() {
    let says = refused(|_, file| drop(file.insert("colour".to_owned(), "blue".into())));
    assert_says(&says, &["unknown field `colour`", "n1.toml"]);
    let says = refused(|_, file| {
        file["listen"].as_table_mut().unwrap().insert("client".to_owned(), "localhost".into());
    });
    assert_says(&says, &["listen.client", "\"localhost\" is no address", "127.0.0.1"]);
    let says = refused(|_, file| {
        let nodes = file["nodes"].as_array_mut().unwrap();
        nodes[1].as_table_mut().unwrap().insert("id".to_owned(), "n1".into());
    });
    assert_says(&says, &["n1 stands twice"]);
    let says = refused(|_, file| {
        file["listen"].as_table_mut().unwrap().insert("client".to_owned(), "0.0.0.0:7401".into());
    });
    assert_says(&says, &["listen.client", "insecure = true"]);
}

#[test]
fn a_limit_that_would_overflow_is_named() {
    for (key, value, most) in [
        ("max_message", i64::MAX, "4294967295"),
        ("max_header_block", i64::MAX, "16777216"),
        ("max_connections", i64::MAX, "1000000"),
        ("max_client_connections", i64::MAX, "1000000"),
        ("max_in_flight", i64::MAX, "10000000"),
        ("max_delay_permille", 1_001, "1000"),
        ("connections_per_peer", i64::MAX, "1024"),
        ("deadline_ms", i64::MAX, "86400000"),
        ("drain_ms", i64::MAX, "86400000"),
        ("max_client_connections", 0, "1 to 1000000"),
    ] {
        let says = refused(|_, file| {
            file["limits"].as_table_mut().unwrap().insert(key.to_owned(), value.into());
        });
        assert_says(&says, &[&format!("limits.{key}"), &value.to_string(), most]);
    }
}

#[test]
fn wrong_usage_is_told_from_what_fails() {
    for (arguments, says) in [
        (["kv", "get", "", "key"].as_slice(), "the space"),
        (&["kv", "put", "acme", "key", "value", "--idempotency-key", "7"], "no UUIDv7"),
        (&["kv", "get", "acme", "key", "--timeout-ms", "18446744073709551615"], "--timeout-ms"),
        (&["route", ""], "the space"),
        (&["table", ""], "the space"),
        (&["table", "apply", "table.json", "--to", "N1"], "--to"),
        (&["status", "--node", "here"], "\"here\" is no address"),
        (&["dev", "--transport", "tcp"], "\"tcp\" is no transport"),
        (&["dev", "--nodes", "33"], "1..=32"),
        (&["init", "--out", "new", "--transport", "tcp"], "\"tcp\" is no transport"),
        (&["init", "--out", "new", "--cluster", "Prod"], "--cluster"),
        (&["init", "--out", "new", "--nodes", "257"], "1..=256"),
        (&["init", "--out", "new", "--host", "10.0.0.1"], "gives every node one address"),
        (&["init", "--out", "new", "--host", "10.0.0.{}:7400"], "is no host"),
    ] {
        let said = usage(arguments);
        assert!(said.contains(says), "{arguments:?}: {says:?} is missing: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = homing().args(["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_says(&String::from_utf8_lossy(&ended.stderr), &["can't write the answer", "No space left"]);
    // A reader that has seen enough is no failure.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = homing().args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn a_wrong_certificate_is_named_with_its_remedy() {
    let tls = |file: &mut toml::Table, key: &str, value: String| {
        file["tls"].as_table_mut().unwrap().insert(key.to_owned(), value.into());
    };
    let says = refused(|_, file| tls(file, "certificate", "nowhere.pem".to_owned()));
    assert_says(&says, &["tls.certificate", "nowhere.pem"]);
    let says = refused(|_, file| {
        tls(file, "certificate", "n2.pem".to_owned());
        tls(file, "key", "n2.key".to_owned());
    });
    assert_says(&says, &["the certificate is n2's, not n1's"]);
    let says = refused(|cluster, file| {
        let other = Cluster::prepare(Layout::five("grpc"));
        let ca = std::fs::read(other.nodes[0].config.with_file_name("ca.pem")).unwrap();
        let foreign = cluster.nodes[0].config.with_file_name("foreign.pem");
        std::fs::write(&foreign, ca).unwrap();
        tls(file, "ca", foreign.to_str().unwrap().to_owned());
    });
    assert_says(&says, &["certificate of n1 is not valid", "does not come from this CA"]);
    let says = refused(|cluster, file| {
        let (certificate, key) = expired(cluster);
        tls(file, "certificate", certificate);
        tls(file, "key", key);
    });
    assert_says(&says, &["certificate of n1 is not valid", "it has expired"]);
}

/// A certificate of n1 that was valid until yesterday.
fn expired(cluster: &Cluster) -> (String, String) {
    use std::time::{Duration, SystemTime};

    use homing::ca::{CertificateAuthority, Validity};

    let folder = cluster.nodes[0].config.parent().unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let ca =
        CertificateAuthority::load("homing.local".parse().unwrap(), read("ca.pem"), read("ca.key")).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    #[allow(clippy::disallowed_methods, reason = "certificates are valid by the wall clock")]
    let now = SystemTime::now();
    let issued =
        ca.issue(&"n1".parse().unwrap(), Validity { from: now - 2 * day, until: now - day }).unwrap();
    std::fs::write(folder.join("old.pem"), issued.certificate_pem).unwrap();
    std::fs::write(folder.join("old.key"), issued.key_pem).unwrap();
    ("old.pem".to_owned(), "old.key".to_owned())
}

on_each_wire!(a_port_in_use_and_a_foreign_data_folder_are_named);
async fn a_port_in_use_and_a_foreign_data_folder_are_named(wire: &'static str) {
    let mut cluster = Cluster::start(Layout::five(wire)).await;
    let says = said(&["node", "--config", cluster.nodes[0].config.to_str().unwrap()]);
    assert_says(&says, &["7402", "can't listen"]);
    for node in &mut cluster.nodes {
        node.kill();
    }

    let other = Cluster::prepare(Layout::five(wire));
    let config = &other.nodes[0].config;
    let mut file: toml::Table = toml::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
    let data = cluster.nodes[1].config.with_file_name("data").join("n2");
    file.insert("data".to_owned(), data.to_str().unwrap().into());
    std::fs::write(config, toml::to_string(&file).unwrap()).unwrap();
    let says = said(&["node", "--config", config.to_str().unwrap()]);
    assert_says(&says, &["data", "belongs to node n2"]);
}

on_each_wire!(a_wrong_request_gets_one_clear_status_and_changes_nothing);
async fn a_wrong_request_gets_one_clear_status_and_changes_nothing(wire: &'static str) {
    let cluster = Cluster::start(Layout::five(wire)).await;
    let kv = cluster.kv(0);
    let before = cluster.nodes[0].admin_json("/table").await;
    let long = "x".repeat(256);
    for (space, says) in [("", "is empty"), (long.as_str(), "has 256 bytes")] {
        let error = kv.put(space, "key", b"value").await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_says(error.message(), &["homing-space", says, "1 to 255 bytes"]);
    }
    let error = kv.put("acme", "key", &vec![0; homing_kv::MAX_VALUE + 1]).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_says(error.message(), &["value", "1048577", "1,048,576"]);
    let error = kv.put("acme", &"k".repeat(1_025), b"").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_says(error.message(), &["key", "1025", "1,024"]);
    assert_eq!(kv.get("acme", "key").await.unwrap().value, None);
    assert_eq!(cluster.nodes[0].admin_json("/table").await, before);
    for node in &cluster.nodes {
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}

on_each_wire!(a_client_cannot_speak_as_a_member);
async fn a_client_cannot_speak_as_a_member(wire: &'static str) {
    let cluster = Cluster::start(Layout::five(wire)).await;
    let before = cluster.nodes[0].admin_json("/table").await;
    let space = "acme";
    let owners = OwnersOf::ask(&cluster.nodes[0]).await;
    cluster.kv(0).put(space, "key", b"value").await.unwrap();
    for node in &cluster.nodes {
        // A Get of "key", as a stranger who claims the highest epoch, a forward without hops, and a direct message.
        let message = vec![0, 0, 0, 0, 5, 0x0a, 3, b'k', b'e', b'y'];
        let request = Request::post("/homing.kv.v1.Kv/Get")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("homing-space", space)
            .header("homing-access", "read")
            .header("homing-epoch", u64::MAX.to_string())
            .header("homing-hops", "0")
            .header("homing-relay", "true")
            .header("homing-attempt", "7")
            .header("homing-direct", "n1")
            .header("homing-group-bin", "AAAA")
            .body(Body::from(message))
            .unwrap();
        let response = Client::new(&node.client).unwrap().send(request).await.unwrap();
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers["homing-epoch"], "1");
        assert_eq!(parts.headers["homing-attempts"], "1");
        assert!(owners.holds(space, parts.headers["homing-served-by"].to_str().unwrap()));
        let body = body.collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        let after: Value = node.admin_json("/table").await;
        assert_eq!(after["groups"], before["groups"]);
    }
}

on_each_wire!(an_unknown_node_is_named);
async fn an_unknown_node_is_named(wire: &'static str) {
    let cluster = Cluster::start(Layout::five(wire)).await;
    let table = cluster.folder.path().join("table.json");
    std::fs::write(&table, cluster.nodes[0].admin("/table").await).unwrap();
    let table = table.to_str().unwrap();
    let says = said(&["table", "apply", table, "--to", "n9", "--node", &cluster.nodes[0].client]);
    assert_says(&says, &["n9 is no node of this cluster"]);
    let says = said(&["status", "--node", "127.0.0.1:1"]);
    assert_says(&says, &["no node answers at 127.0.0.1:1"]);
}
