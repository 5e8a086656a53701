use serde_json::{Value, json};

use super::{Cluster, output};

/// A table with a higher epoch in which the last replica of each space is its primary now.
pub(crate) fn next_epoch(table: &Value) -> Value {
    let mut next = table.clone();
    for group in next["groups"].as_array_mut().unwrap() {
        let mut owners = owners(group);
        owners.rotate_right(1);
        group["epoch"] = json!(group["epoch"].as_u64().unwrap() + 1);
        group["primary"] = owners.remove(0);
        group["replicas"] = owners.into();
    }
    next
}

/// The owners of a table's group, the primary first.
pub(crate) fn owners(group: &Value) -> Vec<Value> {
    let mut owners = vec![group["primary"].clone()];
    owners.extend(group["replicas"].as_array().unwrap().iter().cloned());
    owners
}

impl Cluster {
    /// Gives a table to some nodes, as an operator does: whether they all took it, and what became of it at each.
    pub(crate) fn apply(&self, table: &Value, to: &[usize]) -> (bool, Value) {
        self.apply_by(0, table, to)
    }

    /// Gives a table to some nodes by way of another.
    pub(crate) fn apply_by(&self, node: usize, table: &Value, to: &[usize]) -> (bool, Value) {
        let file = self.folder.path().join("table.json");
        std::fs::write(&file, table.to_string()).unwrap();
        let to: Vec<_> = to.iter().map(|i| self.nodes[*i].id.clone()).collect();
        let node = &self.nodes[node].client;
        let file = file.to_str().unwrap();
        let applied = output(&["table", "apply", file, "--to", &to.join(","), "--node", node, "-o", "json"]);
        let document = serde_json::from_slice(&applied.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&applied.stderr)));
        (applied.status.success(), document)
    }
}
