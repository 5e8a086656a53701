use std::sync::Arc;

use homing_types::NodeId;

use crate::{BoxFuture, Handler, Limits, Listener, Transport};

/// Makes listeners and transports of one wire for the nodes of one cluster.
pub trait Fixture: Send + Sync {
    /// Listens as `node`, which proves itself with `proof`.
    ///
    /// With `None` the address is any free one. With `Some`, it is one that an earlier listener of this
    /// fixture had: the node has restarted. If the system hasn't freed that address yet, this waits.
    ///
    /// # Panics
    /// If it can't listen.
    fn listen<'a>(
        &'a self,
        node: &'a NodeId,
        proof: Proof,
        address: Option<&'a str>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> BoxFuture<'a, Box<dyn Listener>>;

    /// The dialling side of `node`, which proves itself with `proof`.
    ///
    /// # Panics
    /// If it can't be made.
    fn transport(&self, node: &NodeId, proof: Proof, limits: Limits) -> Arc<dyn Transport>;

    /// Ends a listener as a crash would.
    fn kill(&self, listener: Box<dyn Listener>) {
        drop(listener);
    }
}

/// What a node proves itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Its own certificate: the honest one.
    Own,
    /// None at all: it presents no certificate.
    Nothing,
    /// A certificate in its name from an authority that is not the cluster's.
    OtherAuthority,
    /// Its own certificate, long expired.
    Expired,
    /// The certificate of another node of the cluster.
    OtherNode,
    /// A certificate from the cluster's authority, for a node of another cluster.
    OtherCluster,
    /// A certificate that names two nodes of the cluster.
    TwoNames,
}

impl Proof {
    /// The proofs that a listener must refuse of one who dials. ([`Proof::OtherNode`] is that node.)
    pub const REFUSED_OF_DIALLERS: [Self; 5] =
        [Self::Nothing, Self::OtherAuthority, Self::Expired, Self::OtherCluster, Self::TwoNames];

    /// The proofs that one who dials must refuse of a listener. (A TLS listener can't be without one.)
    pub const REFUSED_OF_LISTENERS: [Self; 5] =
        [Self::OtherAuthority, Self::Expired, Self::OtherNode, Self::OtherCluster, Self::TwoNames];
}
