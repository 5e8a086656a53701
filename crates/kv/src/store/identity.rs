use std::fmt;

use homing_types::NodeId;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::StoreError;

const IDENTITY: TableDefinition<&str, &str> = TableDefinition::new("identity");
const FORMAT: &str = "1";

/// Whose data it is. Written by the first opening, and compared by every later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name of the cluster.
    pub cluster: String,
    /// The node.
    pub node: NodeId,
}

impl Identity {
    /// Writes the identity into new data, or checks that the data is this node's.
    pub(super) fn claim(&self, txn: &WriteTransaction) -> Result<(), StoreError> {
        let mut table = txn.open_table(IDENTITY)?;
        let stored = |field| -> Result<Option<String>, StoreError> {
            Ok(table.get(field)?.map(|value| value.value().to_owned()))
        };
        let (Some(format), Some(cluster), Some(node)) =
            (stored("format")?, stored("cluster")?, stored("node")?)
        else {
            table.insert("format", FORMAT)?;
            table.insert("cluster", self.cluster.as_str())?;
            table.insert("node", self.node.as_str())?;
            return Ok(());
        };
        if format != FORMAT {
            return Err(StoreError::Format { found: format, wanted: FORMAT });
        }
        let node = NodeId::new(&node).map_err(|_| StoreError::Damaged("node id"))?;
        let found = Self { cluster, node };
        if found == *self {
            Ok(())
        } else {
            Err(StoreError::Foreign { found: Box::new(found), wanted: Box::new(self.clone()) })
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {:?}", self.node, self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    fn identity(cluster: &str, node: &str) -> Identity {
        Identity { cluster: cluster.to_owned(), node: NodeId::new(node).unwrap() }
    }

    #[test]
    fn a_folder_opens_for_the_node_that_made_it_and_for_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let open = |cluster, node| Store::open(folder.path(), &identity(cluster, node)).map(drop);
        open("blue", "n1").unwrap();
        open("blue", "n1").unwrap();
        for (cluster, node) in [("blue", "n2"), ("green", "n1")] {
            let error = open(cluster, node).unwrap_err();
            assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
            assert!(
                error.to_string().starts_with("the data belongs to node n1 of cluster \"blue\""),
                "{error}"
            );
        }
        open("blue", "n1").unwrap();
    }

    #[test]
    fn a_folder_in_use_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let _open = Store::open(folder.path(), &identity("blue", "n1")).unwrap();
        let error = Store::open(folder.path(), &identity("blue", "n1")).unwrap_err().to_string();
        assert!(error.contains("can't be opened") && !error.contains('\n'), "{error}");
    }
}
