use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use anyhow::Result;
use homing::NodeId;
use serde::Serialize;

use super::folder::Folder;
use crate::cli::Output;
use crate::init::{Plan, PlannedNode};
use crate::output;

/// Who runs, and where.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    nodes: Vec<NodeReport<'a>>,
    data: &'a Path,
}

#[derive(Debug, Serialize)]
struct NodeReport<'a> {
    id: &'a str,
    zone: &'a str,
    pid: u32,
    node: &'a str,
    client: String,
    admin: String,
}

impl<'a> Report<'a> {
    /// A report of a plan whose nodes run as these processes.
    pub(super) fn new(plan: &'a Plan, pids: impl Iterator<Item = u32>, data: &'a Path) -> Self {
        let node = |(node, pid): (&'a PlannedNode, u32)| NodeReport {
            id: node.id.as_str(),
            zone: &node.zone,
            pid,
            node: &node.addresses.node,
            client: node.addresses.client.to_string(),
            admin: node.addresses.admin.to_string(),
        };
        Self { nodes: plan.nodes.iter().zip(pids).map(node).collect(), data }
    }

    /// One document, for scripts and for the other commands.
    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// What is printed: a line a node, or the one document.
    pub(super) fn lines(&self, output: Output) -> Result<Vec<String>> {
        match output {
            Output::Json => Ok(vec![self.json()?]),
            Output::Table => Ok(self.aligned()),
        }
    }

    fn aligned(&self) -> Vec<String> {
        let width =
            |text: fn(&NodeReport<'_>) -> usize| self.nodes.iter().map(text).max().unwrap_or_default();
        let id = width(|node| node.id.len());
        let zone = width(|node| node.zone.len());
        let pid = width(|node| node.pid.to_string().len());
        let client = width(|node| node.client.len());
        let line = |node: &NodeReport<'_>| {
            format!(
                "{:id$}  zone {:zone$}  pid {:pid$}  client {:client$}  admin {}",
                node.id, node.zone, node.pid, node.client, node.admin
            )
        };
        self.nodes.iter().map(line).collect()
    }
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
        let lines = Report::new(&plan, 98.., Path::new("/data")).lines(Output::Table).unwrap();
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[0], "n1   zone a  pid  98  client 127.0.0.1:7401  admin 127.0.0.1:7402");
        assert_eq!(lines[9], "n10  zone b  pid 107  client 127.0.0.1:7491  admin 127.0.0.1:7492");
    }

    #[test]
    fn json_is_one_document_with_the_keys_that_scripts_read() {
        let plan = plan();
        let lines = Report::new(&plan, 98..100, Path::new("/data")).lines(Output::Json).unwrap();
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
