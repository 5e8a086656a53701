//! Who is refused learns why, in one line for people.

mod common;

use common::{Grpc, node};
use homing_transport::contract::{Fixture, Proof};
use homing_transport::{Lane, Limits, Peer};

#[tokio::test]
async fn one_who_dials_is_told_what_is_wrong_with_its_certificate() {
    let grpc = Grpc::default();
    let listener = grpc.listen(Limits::default(), common::echo()).await;
    let peer = Peer { node: node("n2"), address: listener.address() };
    for (proof, why) in [
        (Proof::Nothing, "there is none"),
        (Proof::OtherAuthority, "it does not come from the peer's CA"),
        (Proof::Expired, "it has expired"),
        (Proof::OtherCluster, "it must name one node of the cluster"),
        (Proof::TwoNames, "it must name one node of the cluster"),
    ] {
        let transport = grpc.transport(&node("n3"), proof, Limits::default());
        let error = transport.dial(&peer, Lane::Payload).await.map(drop).expect_err("refused");
        assert_eq!(error.message, format!("{peer}: refuses our certificate: {why}"), "{proof:?}");
    }
}

#[tokio::test]
async fn one_who_dials_says_what_is_wrong_with_the_peers_certificate() {
    let grpc = Grpc::default();
    for (proof, why) in [
        (Proof::OtherAuthority, "it does not come from this CA"),
        (Proof::Expired, "it has expired"),
        (Proof::OtherNode, "other.test.example"),
        (Proof::OtherCluster, "n2.elsewhere.example"),
        (
            Proof::TwoNames,
            "the certificate names n2.test.example, other.test.example: it must have one DNS name",
        ),
    ] {
        let listener =
            Fixture::listen(&grpc, &node("n2"), proof, None, Limits::default(), common::echo()).await;
        let address = listener.address();
        let error = grpc.dial(&address, Limits::default()).await.map(drop).expect_err("refused");
        let refused = format!("n2 ({address}): its certificate is refused: ");
        assert!(error.message.starts_with(&refused) && error.message.contains(why), "{proof:?}: {error}");
    }
}
