//! Certificates are renewed, and their CA replaced, under a running cluster.

use std::path::Path;
use std::time::{Duration, SystemTime};

use homing::ca::{CertificateAuthority, Validity};

use crate::on_each_wire;
use crate::support::{Cluster, Layout, Process, Reads};

on_each_wire!(a_ca_is_replaced_without_a_failed_request);
async fn a_ca_is_replaced_without_a_failed_request(wire: &'static str) {
    let mut cluster = Cluster::start(Layout { nodes: 3, ..Layout::five(wire) }).await;
    let folder = cluster.nodes[0].config.parent().unwrap().to_owned();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let old = std::fs::read_to_string(folder.join("ca.pem")).unwrap();
    let new = CertificateAuthority::create("homing.local".parse().unwrap(), now_for_a_day()).unwrap();
    cluster.kv(0).put("acme", "key", b"value").await.unwrap();
    let load = Reads::start((0..3).map(|i| cluster.kv(i)).collect(), vec!["acme".to_owned()]);

    // First all believe both, then all prove themselves with the new one, then the old one goes.
    write("ca.pem", &format!("{old}{}", new.certificate_pem()));
    all_have_reloaded(&cluster, 1).await;
    renew(&folder, &cluster.nodes, &new);
    all_have_reloaded(&cluster, 2).await;
    write("ca.pem", new.certificate_pem());
    all_have_reloaded(&cluster, 3).await;
    write("n2.pem", "half a fi");
    cluster.nodes[1].logs("the new certificates can't be used").await;

    load.passed(500).await;
    let failures = load.stop().await;
    assert!(failures.is_empty(), "{} reads failed, the first: {}", failures.len(), failures[0]);
    // Every connection of n1 is new, on both ends.
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.nodes[0].answers().await;
    for i in 0..3 {
        assert_eq!(cluster.kv(i).get("acme", "key").await.unwrap().value, Some(b"value".to_vec()));
    }
}

fn renew(folder: &Path, nodes: &[Process], ca: &CertificateAuthority) {
    for node in nodes {
        let issued = ca.issue(&node.id.parse().unwrap(), now_for_a_day()).unwrap();
        std::fs::write(folder.join(format!("{}.pem", node.id)), issued.certificate_pem).unwrap();
        std::fs::write(folder.join(format!("{}.key", node.id)), issued.key_pem).unwrap();
    }
}

fn now_for_a_day() -> Validity {
    let day = Duration::from_secs(24 * 60 * 60);
    #[allow(clippy::disallowed_methods, reason = "certificates are valid by the wall clock")]
    let now = SystemTime::now();
    Validity { from: now - day, until: now + day }
}

async fn all_have_reloaded(cluster: &Cluster, times: usize) {
    for node in &cluster.nodes {
        node.logs_again("the new certificates are in use", times).await;
    }
}
