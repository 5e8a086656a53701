use homing_types::Execution;

use super::super::desk::Claim;
use super::*;
use crate::{Identity, Key, Op, Store, Value};

#[test]
fn a_write_is_not_begun_past_its_deadline_however_late_the_node_is() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity { cluster: "test".to_owned(), node: NodeId::new("n1").unwrap() };
    let store = Store::open(folder.path(), &identity).unwrap();
    let space = Space::new("acme").unwrap();
    let now = Instant::now();
    let write = |key: &'static str, deadline| {
        let (answer, answered) = oneshot::channel();
        let (key, value) = (Key::new(key).unwrap(), Value::new("v").unwrap());
        let op = Op::Put { key, value };
        (Write { op, idempotency_key: None, claim: Claim::default(), deadline, answer }, answered)
    };
    let (late, mut told) = write("late", now);
    let (in_time, mut waits) = write("in time", now + Duration::from_secs(1_000));
    let proposing = |batch: &mut Batch<'_>| {
        Ok(propose_all(batch, &space, Epoch::new(1), vec![late, in_time], Duration::ZERO))
    };
    let Proposed::All(proposed, last) = store.write(proposing).unwrap().unwrap() else {
        panic!("there is no tail")
    };
    assert_eq!((proposed.len(), last.seq), (1, 1));
    match told.try_recv().unwrap().unwrap_err() {
        WriteFailed::Declined(declined) => assert_eq!(declined.execution, Execution::No),
        WriteFailed::Refused(refusal) => panic!("{refusal}"),
    }
    assert!(waits.try_recv().is_err(), "it was answered before it was committed");
}
