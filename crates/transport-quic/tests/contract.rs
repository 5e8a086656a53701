//! The contract that every transport keeps, over QUIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_transport::contract::{Certificates, Fixture, PATIENCE, Proof};
use homing_transport::{BoxFuture, Handler, Limits, Listener, Transport};
use homing_transport_quic::{QuicError, QuicListener, QuicTransport};
use homing_types::NodeId;

struct QuicFixture(Certificates);

impl QuicFixture {
    fn new() -> Self {
        Self(Certificates::new())
    }
}

impl Fixture for QuicFixture {
    fn listen<'a>(
        &'a self,
        node: &'a NodeId,
        proof: Proof,
        address: Option<&'a str>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> BoxFuture<'a, Box<dyn Listener>> {
        let address: SocketAddr = address.unwrap_or("127.0.0.1:0").parse().expect("an address");
        let credentials = self.0.credentials(node, proof);
        let bind = move || {
            QuicListener::bind(address, Arc::clone(&credentials), limits.clone(), Arc::clone(&handler))
        };
        Box::pin(async move {
            let bound = tokio::time::timeout(PATIENCE, async {
                loop {
                    match bind() {
                        Err(QuicError::Bind { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                        bound => return bound,
                    }
                }
            });
            Box::new(bound.await.expect("the address is freed").expect("a listener")) as Box<dyn Listener>
        })
    }

    fn transport(&self, node: &NodeId, proof: Proof, limits: Limits) -> Arc<dyn Transport> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let credentials = self.0.credentials(node, proof);
        let transport = QuicTransport::new(any, credentials, limits);
        Arc::new(transport.expect("a transport"))
    }
}

homing_transport::contract_suite!(QuicFixture::new());
