use homing::{SLOTS, SpaceKey};
use serde_json::Value;

use super::Process;

/// Who owns what, as one node says: the primary first.
pub(crate) struct OwnersOf(Vec<Vec<String>>);

impl OwnersOf {
    pub(crate) async fn ask(node: &Process) -> Self {
        Self::of(&node.admin_json("/table").await)
    }

    /// From a table as `homing table -o json` prints it.
    pub(crate) fn of(table: &Value) -> Self {
        let mut owners = vec![Vec::new(); SLOTS];
        for group in table["groups"].as_array().unwrap() {
            let replicas = group["replicas"].as_array().unwrap();
            let nodes = std::iter::once(&group["primary"]).chain(replicas);
            let nodes: Vec<_> = nodes.map(|node| node.as_str().unwrap().to_owned()).collect();
            for range in group["slots"].as_str().unwrap().split(',') {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let slots = first.parse::<usize>().unwrap()..=last.parse().unwrap();
                owners[slots].fill(nodes.clone());
            }
        }
        Self(owners)
    }

    /// The nodes that hold a space, the primary first.
    pub(crate) fn of_space(&self, space: &str) -> &[String] {
        &self.0[SpaceKey::of(space).slot().index()]
    }

    pub(crate) fn primary(&self, space: &str) -> &str {
        &self.of_space(space)[0]
    }

    /// Some spaces whose primary is this node.
    pub(crate) fn spaces_of(&self, primary: &str, count: usize) -> Vec<String> {
        let spaces = (0..).map(|i| format!("space-{i}"));
        spaces.filter(|space| self.primary(space) == primary).take(count).collect()
    }

    pub(crate) fn holds(&self, space: &str, node: &str) -> bool {
        self.of_space(space).iter().any(|owner| owner == node)
    }
}
