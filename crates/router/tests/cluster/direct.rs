//! Direct messages: for one node alone, past routing and apart from payload.

use std::time::Duration;

use bytes::Bytes;
use homing_router::{DirectError, GROUP_PATH, RouterOptions};
use homing_routing_table::Diff;
use homing_transport::{Head, Kind, Lane, Sent};
use homing_types::{Access, Outcome};

use crate::support::{Behaviour, Cluster, ECHO_PATH, Fault, Setup, call, group, node_id, slot, within};

const TIMEOUT: Duration = Duration::from_secs(1);

async fn tell(
    cluster: &Cluster,
    from: &str,
    to: &str,
    path: &'static str,
    message: &'static [u8],
) -> Result<Bytes, DirectError> {
    let peers = cluster.node(from).router.peers();
    within("a direct message", peers.direct(&node_id(to), path, Bytes::from_static(message), TIMEOUT)).await
}

#[tokio::test(start_paused = true)]
async fn a_direct_message_reaches_the_node_it_names() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    let answer = tell(&cluster, "a1", "c1", ECHO_PATH, b"hi").await.unwrap();
    assert_eq!(answer, "c1 got hi from a1");
    let crossings = cluster.faults.crossings();
    assert_eq!(crossings.len(), 1);
    assert_eq!((crossings[0].lane, &crossings[0].kind), (Lane::Control, &Kind::Direct(node_id("c1"))));
}

#[tokio::test(start_paused = true)]
async fn a_direct_message_for_somebody_else_is_refused() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    let reply = cluster.says("a1", "b1", Head::of(Kind::Direct(node_id("c1")))).await;
    assert_eq!(reply.head.outcome, Some(Outcome::Refused));
    assert_eq!(reply.head.reason, "this is b1, not c1");
}

#[tokio::test(start_paused = true)]
async fn a_direct_message_without_an_answer_says_why_and_whether_it_arrived() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.faults.set("a1", "c1", Fault::Cut);
    for (to, path, message, sent, reason) in [
        ("b1", "/nowhere", &b"hi"[..], Sent::NotSent, "b1 has nothing at /nowhere"),
        ("ghost", ECHO_PATH, b"hi", Sent::NotSent, "ghost is no node of this cluster"),
        ("c1", ECHO_PATH, b"hi", Sent::NotSent, "no route"),
        ("b1", ECHO_PATH, b"fail", Sent::MaybeSent, "failed on purpose"),
    ] {
        let error = tell(&cluster, "a1", to, path, message).await.unwrap_err();
        assert_eq!(error.sent, sent, "{error}");
        assert!(error.message.contains(reason), "{error}");
    }
    cluster.faults.set("a1", "b1", Fault::LoseReplies);
    assert_eq!(tell(&cluster, "a1", "b1", ECHO_PATH, b"hi").await.unwrap_err().sent, Sent::MaybeSent);
    assert_eq!(cluster.faults.crossed("a1", "c1"), 0, "it is never tried elsewhere");
}

#[tokio::test(start_paused = true)]
async fn a_pull_brings_the_group_of_a_slot_or_nothing() {
    let cluster = Cluster::knowing(["a1", "b1"], group(5, &["b1"]));
    let ask = |slot: u16| {
        let peers = cluster.node("a1").router.peers();
        async move { peers.direct(&node_id("b1"), GROUP_PATH, slot.to_be_bytes().to_vec().into(), TIMEOUT).await }
    };
    let found = ask(slot().number()).await.unwrap();
    assert_eq!(Diff::decode(found).unwrap(), Diff::one(slot(), group(5, &["b1"])).unwrap());
    assert_eq!(ask((slot().number() + 1) % 16_384).await.unwrap(), "");
    let error = ask(16_384).await.unwrap_err();
    assert!(error.message.contains("a slot below 16384"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn direct_messages_pass_where_payload_is_full() {
    let mut options = RouterOptions::default();
    options.admission.max_in_flight = 1;
    let cluster = Cluster::with(["a1", "b1"], Setup { options, ..Setup::default() });
    cluster.all_learn(group(5, &["b1"]));
    cluster.node("b1").service.always(Behaviour::hang());
    let answered = async {
        cluster.until("b1 is full", |log| log.executed.len() == 1).await;
        tell(&cluster, "a1", "b1", ECHO_PATH, b"hi").await
    };
    tokio::select! {
        _ = cluster.call("a1", call(Access::Write)) => panic!("the service hangs"),
        answer = answered => assert_eq!(answer.unwrap(), "b1 got hi from a1"),
    }
}
