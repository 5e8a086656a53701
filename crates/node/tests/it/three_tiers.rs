//! Three tiers of routers before a service that fails everything: they don't multiply what it is asked.

use std::time::Duration;

use crate::on_each_wire;
use crate::support::{Offered, Tiers, tell};

const CALLS: u64 = 1_500;
const AT_A_TIME: usize = 150;
const DEADLINE: Duration = Duration::from_secs(2);

/// The share of calls that routers may add, whatever they are given besides.
const SHARE: f64 = 0.2;

#[tokio::test(flavor = "multi_thread")]
async fn three_tiers_ask_a_service_that_fails_everything_hardly_more_often_than_one() {
    let offered = offer(1, "grpc").await;
    let [first, second, last] = &offered.tiers[..] else { panic!("{offered}") };
    assert!(last.retries > 0.0, "nothing was tried again");
    // What the last tier says is the service's answer to those before it: it is for nobody there to try again.
    assert_eq!((first.retries, second.retries), (0.0, 0.0), "{offered}");
    holds(&offered, 1);
}

on_each_wire!(tiers_whose_nodes_bring_calls_to_each_other_add_no_more);
async fn tiers_whose_nodes_bring_calls_to_each_other_add_no_more(wire: &'static str) {
    holds(&offer(2, wire).await, 2 * 3);
}

/// Through so many nodes of each tier.
async fn offer(nodes: usize, wire: &'static str) -> Offered {
    let tiers = Tiers::start(nodes, wire).await;
    let offered = tiers.offer(CALLS, AT_A_TIME, DEADLINE).await;
    tell(&format!("{nodes} a tier, {wire}: {offered}"));
    assert_eq!(
        tiers.service.connections(),
        nodes as u64,
        "a stream that was dropped took its connection along"
    );
    let odd = &offered.odd;
    assert!(odd.is_empty(), "{} calls did not end in a node's error, the first: {}", odd.len(), odd[0]);
    assert!(offered.requests >= CALLS, "the service was not asked by every call");
    offered
}

/// Apart from what `routers` may add whatever they are asked, a fifth.
fn holds(offered: &Offered, routers: usize) {
    let allowed = (1.0 + SHARE) * offered.calls as f64 + offered.floor(routers);
    assert!(offered.requests as f64 <= allowed, "{offered}, allowed {allowed:.0}");
}
