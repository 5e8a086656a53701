use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use homing::NodeId;
use homing::ca::{CertificateAuthority, Validity};
use homing::tls::ClusterName;

use super::{Plan, PlannedNode};
use crate::clock;
use crate::disk::{self, OPEN, SECRET};

const DAY: Duration = Duration::from_secs(86_400);

/// Takes up the CA that was written to a folder; `None` if there is none.
pub(crate) fn read_ca(folder: &Path, cluster: &ClusterName) -> Result<Option<CertificateAuthority>> {
    let Some(certificate) = read(&folder.join("ca.pem"))? else { return Ok(None) };
    let Some(key) = read(&folder.join("ca.key"))? else { return Ok(None) };
    let ca = CertificateAuthority::load(cluster.clone(), certificate, key)
        .with_context(|| format!("the CA in {} can't be used", folder.display()))?;
    Ok(Some(ca))
}

/// Writes a CA to a folder.
pub(crate) fn write_ca(folder: &Path, ca: &CertificateAuthority) -> Result<()> {
    write_with(&folder.join("ca.key"), ca.key_pem(), SECRET)?;
    write_with(&folder.join("ca.pem"), ca.certificate_pem(), OPEN)
}

/// Makes a certificate for a node and writes it to a folder, with its key.
pub(crate) fn write_certificate(
    folder: &Path,
    ca: &CertificateAuthority,
    node: &NodeId,
    days: u32,
) -> Result<()> {
    let issued = ca.issue(node, validity(days))?;
    write_with(&folder.join(format!("{node}.key")), &issued.key_pem, SECRET)?;
    write_with(&folder.join(format!("{node}.pem")), &issued.certificate_pem, OPEN)
}

/// Writes a node's configuration to a folder.
pub(crate) fn write_config(folder: &Path, plan: &Plan, node: &PlannedNode) -> Result<()> {
    write_with(&folder.join(format!("{}.toml", node.id)), &plan.toml(node)?, OPEN)
}

fn write_with(path: &Path, text: &str, mode: u32) -> Result<()> {
    disk::write(path, text.as_bytes(), mode).with_context(|| format!("can't write {}", path.display()))
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// From a day ago, since the clocks of hosts differ, for so many days from now.
pub(crate) fn validity(days: u32) -> Validity {
    let now = clock::now();
    Validity { from: now - DAY, until: now + DAY * days }
}
