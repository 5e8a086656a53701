//! `homing dev`: a local cluster of real processes.

use homing::routing_table::{Diff, Group, encode_diff};
use homing::{Epoch, Owners, Replica, ReplicaState, SLOTS, Slot};
use serde_json::Value;

use crate::support::output;

const HOMING: &str = env!("CARGO_BIN_EXE_homing");

#[test]
fn data_that_another_version_placed_is_picked_up_as_it_was_placed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let flags = ["dev", "--nodes", "2", "--replicas", "1", "--data", data, "--"];
    let first = output(&[flags.as_slice(), &["true"]].concat());
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));

    let replica = Replica { node: "n1".parse().unwrap(), state: ReplicaState::InSync };
    let owners = Owners::new("n2".parse().unwrap(), vec![replica]).unwrap();
    let slots = (0..SLOTS).filter_map(|slot| Slot::new(u16::try_from(slot).unwrap()));
    let placed = Diff::new(slots.map(|slot| (slot, Group::new(Epoch::new(1), owners.clone())))).unwrap();
    for node in ["n1", "n2"] {
        std::fs::write(dir.path().join(node).join("table"), encode_diff(&placed)).unwrap();
    }
    let second = output(&[flags.as_slice(), &[HOMING, "table", "-o", "json"]].concat());
    assert_eq!(second.status.code(), Some(0), "{}", String::from_utf8_lossy(&second.stderr));
    let table: Value = serde_json::from_slice(&second.stdout).unwrap();
    let groups = table["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{table}");
    assert_eq!((&groups[0]["slots"], &groups[0]["primary"]), (&"0-16383".into(), &"n2".into()));
}
