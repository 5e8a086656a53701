//! A node that hangs: no command hangs with it.

use std::net::TcpListener;

use crate::support::{assert_says, said};

#[test]
fn a_call_to_a_node_that_hangs_ends_after_its_timeout() {
    // Its system accepts; nobody ever reads.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hangs.local_addr().unwrap().to_string();
    for call in [["get", "acme", "key"].as_slice(), &["put", "acme", "key", "value"], &["list", "acme"]] {
        let says = said(&[["kv", "--timeout-ms", "100", "--node", &address].as_slice(), call].concat());
        assert_says(&says, &[&address, "did not answer within 1.1s", "--node"]);
    }
}
