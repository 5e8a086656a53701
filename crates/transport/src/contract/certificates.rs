use std::sync::Arc;
use std::time::{Duration, SystemTime};

use homing_types::NodeId;

use super::Proof;
use crate::ca::{CertificateAuthority, Issued, Validity};
use crate::tls::{ClusterName, Credentials};

/// The certificates of a test cluster, honest and wrong: what the fixture of a TLS wire is made from.
pub struct Certificates {
    cluster: ClusterName,
    authority: CertificateAuthority,
    foreign: CertificateAuthority,
}

impl Certificates {
    /// A new authority, and a foreign one.
    #[must_use]
    pub fn new() -> Self {
        let cluster: ClusterName = "test.example".parse().expect("a cluster name");
        let authority =
            || CertificateAuthority::create(cluster.clone(), valid()).expect("an authority can be made");
        Self { authority: authority(), foreign: authority(), cluster }
    }

    /// What `node` has if it proves itself with `proof`. It trusts the cluster's authority in any case.
    #[must_use]
    pub fn credentials(&self, node: &NodeId, proof: Proof) -> Arc<Credentials> {
        let own = self.cluster.dns_name(node);
        let other = self.cluster.dns_name(&NodeId::new("other").expect("a node id"));
        let issue = |names: &[&str], validity| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            self.authority.issue_for_names(names, validity)
        };
        let issued = match proof {
            Proof::Own | Proof::Nothing => issue(&[&own], valid()),
            Proof::OtherAuthority => self.foreign.issue(node, valid()),
            Proof::Expired => issue(&[&own], expired()),
            Proof::OtherNode => issue(&[&other], valid()),
            Proof::OtherCluster => issue(&[&format!("{node}.elsewhere.example")], valid()),
            Proof::TwoNames => issue(&[&own, &other], valid()),
        };
        let credentials = self.unchecked(node, &issued.expect("a certificate can be made"));
        Arc::new(if proof == Proof::Nothing { credentials.without_certificate() } else { credentials })
    }

    fn unchecked(&self, node: &NodeId, issued: &Issued) -> Credentials {
        Credentials::unchecked(
            self.cluster.clone(),
            node.clone(),
            self.authority.certificate_pem().as_bytes(),
            issued.certificate_pem.as_bytes(),
            issued.key_pem.as_bytes(),
        )
        .expect("what was just made can be read")
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

/// From 2020 to 2120.
fn valid() -> Validity {
    years(50, 150)
}

/// Through 2020.
fn expired() -> Validity {
    years(50, 51)
}

/// From one year after 1970 to another.
fn years(from: u64, until: u64) -> Validity {
    const YEAR: u64 = 31_556_952;
    let at = |years| SystemTime::UNIX_EPOCH + Duration::from_secs(years * YEAR);
    Validity { from: at(from), until: at(until) }
}
