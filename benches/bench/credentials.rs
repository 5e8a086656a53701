//! One certificate authority a run, and a certificate for each side.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use homing::NodeId;
use homing::ca::{CertificateAuthority, Validity};
use homing::tls::{ClusterName, Credentials};

/// Who calls.
pub(crate) const CALLER: &str = "caller";

/// How many are called at most.
pub(crate) const OWNERS: usize = 21;

/// Who is called.
pub(crate) fn owner(number: usize) -> Result<NodeId> {
    node(&format!("owner-{number}"))
}

/// The cluster whose certificates they are.
pub(crate) const CLUSTER: &str = "bench.local";

pub(crate) fn node(id: &str) -> Result<NodeId> {
    Ok(NodeId::new(id)?)
}

/// Writes the certificates of all into a folder.
pub(crate) fn write(folder: &Path) -> Result<()> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let now = std::time::UNIX_EPOCH + homing_benches::since_epoch();
    let validity = Validity { from: now - DAY, until: now + DAY };
    let ca = CertificateAuthority::create(CLUSTER.parse()?, validity)?;
    fs::write(folder.join("ca.pem"), ca.certificate_pem())?;
    for id in (0..OWNERS).map(owner).chain([node(CALLER)]) {
        let id = id?;
        let issued = ca.issue(&id, validity)?;
        fs::write(folder.join(format!("{id}.pem")), &issued.certificate_pem)?;
        fs::write(folder.join(format!("{id}.key")), &issued.key_pem)?;
    }
    Ok(())
}

/// What one of them proves itself with.
pub(crate) fn read(folder: &Path, id: &NodeId) -> Result<Arc<Credentials>> {
    let read = |name: String| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("can't read {}", path.display()))
    };
    let (ca, certificate, key) =
        (read("ca.pem".into())?, read(format!("{id}.pem"))?, read(format!("{id}.key"))?);
    let cluster: ClusterName = CLUSTER.parse()?;
    let now = homing_benches::since_epoch();
    Ok(Arc::new(Credentials::from_pem(cluster, id.clone(), &ca, &certificate, &key, now)?))
}
