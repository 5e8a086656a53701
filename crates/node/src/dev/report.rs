use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use anyhow::Result;
use homing::NodeId;

use super::folder::Folder;
use crate::cli::Output;
use crate::init::{Plan, PlannedNode};
use crate::output;
use crate::running::{Running, RunningNode};

/// The nodes of a plan, which run as these processes.
pub(super) fn running(plan: &Plan, pids: impl Iterator<Item = u32>, data: &Path) -> Running {
    let node = |(node, pid): (&PlannedNode, u32)| RunningNode {
        id: node.id.to_string(),
        zone: node.zone.clone(),
        pid,
        node: node.addresses.node.clone(),
        client: node.addresses.client.to_string(),
        admin: node.addresses.admin.to_string(),
    };
    Running { nodes: plan.nodes.iter().zip(pids).map(node).collect(), data: data.to_owned() }
}

/// What is printed: a line a node, or one document.
pub(super) fn lines(running: &Running, output: Output) -> Result<Vec<String>> {
    match output {
        Output::Json => Ok(vec![running.json()?]),
        Output::Table => Ok(aligned(&running.nodes)),
    }
}

fn aligned(nodes: &[RunningNode]) -> Vec<String> {
    let width = |text: fn(&RunningNode) -> usize| nodes.iter().map(text).max().unwrap_or_default();
    let id = width(|node| node.id.len());
    let zone = width(|node| node.zone.len());
    let pid = width(|node| node.pid.to_string().len());
    let client = width(|node| node.client.len());
    let line = |node: &RunningNode| {
        format!(
            "{:id$}  zone {:zone$}  pid {:pid$}  client {:client$}  admin {}",
            node.id, node.zone, node.pid, node.client, node.admin
        )
    };
    nodes.iter().map(line).collect()
}

/// Tells that a node ended while the cluster goes on.
pub(super) fn ended(node: &NodeId, status: ExitStatus, folder: &Folder) {
    let config = folder.config(node);
    let how = how(status);
    output::complain(&format!("{node} ended: {how}; restart it: homing node --config {}", config.display()));
}

/// How a process ended.
pub(super) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "for an unknown reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use homing::Wire;
    use serde_json::{Value, json};

    use super::*;
    use crate::init::Addresses;

    fn plan() -> Plan {
        let addresses = (0..10).map(Addresses::local).collect();
        let nodes = PlannedNode::deal(addresses, 2, &[Wire::Quic]).unwrap();
        Plan { cluster: "dev.example".parse().unwrap(), replicas: 2, source: "placement", data: "", nodes }
    }

    #[test]
    fn a_line_a_node_with_its_words_below_each_other() {
        let plan = plan();
        let lines = lines(&running(&plan, 98.., Path::new("/data")), Output::Table).unwrap();
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[0], "n1   zone a  pid  98  client 127.0.0.1:7401  admin 127.0.0.1:7402");
        assert_eq!(lines[9], "n10  zone b  pid 107  client 127.0.0.1:7491  admin 127.0.0.1:7492");
    }

    #[test]
    fn json_is_one_document_with_the_keys_that_scripts_read() {
        let plan = plan();
        let lines = lines(&running(&plan, 98..100, Path::new("/data")), Output::Json).unwrap();
        assert_eq!(lines.len(), 1);
        let document: Value = serde_json::from_str(&lines[0]).unwrap();
        let node = |id: &str, zone: &str, pid: u32, port: u16| {
            let at = |port: u16| format!("127.0.0.1:{port}");
            json!({
                "id": id, "zone": zone, "pid": pid,
                "node": at(port), "client": at(port + 1), "admin": at(port + 2),
            })
        };
        assert_eq!(
            document,
            json!({"nodes": [node("n1", "a", 98, 7400), node("n2", "b", 99, 7410)], "data": "/data"})
        );
    }

    #[test]
    fn an_end_is_told_by_status_or_signal() {
        assert_eq!(how(ExitStatus::from_raw(9)), "signal 9");
        assert_eq!(how(ExitStatus::from_raw(1 << 8)), "exit status 1");
    }
}
