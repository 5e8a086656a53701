use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use homing::NodeId;
use homing::ca::CertificateAuthority;
use homing::tls::Credentials;

use crate::clock;
use crate::config::ConfigFile;
use crate::init::{self, CA_DAYS, Plan, PlannedNode};
use crate::running::Running;
use crate::table_file::TableFile;

/// For how many days a certificate is made.
const DAYS: u32 = 365;

/// A certificate that ends sooner is made anew, so that none ends while the cluster runs.
const LEFT: Duration = Duration::from_secs(30 * 86_400);

/// The folder of a cluster, locked for as long as this lives.
pub(super) struct Folder {
    /// As it was named, for messages.
    path: PathBuf,
    absolute: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = || -> io::Result<(PathBuf, File)> {
            fs::create_dir_all(path)?;
            let lock = OpenOptions::new().create(true).append(true).open(path.join("lock"))?;
            Ok((path.canonicalize()?, lock))
        };
        let (absolute, lock) = open().with_context(|| format!("--data: can't use {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), absolute, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "--data: another `homing dev` runs in {}: stop it first, or choose another folder",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("--data: can't lock {}", path.display()))
            }
        }
    }

    pub(super) fn absolute(&self) -> &Path {
        &self.absolute
    }

    /// A node's configuration, as it was named.
    pub(super) fn config(&self, node: &NodeId) -> PathBuf {
        self.path.join(format!("{node}.toml"))
    }

    /// A node's log, as it was named.
    pub(super) fn log(&self, node: &NodeId) -> PathBuf {
        self.path.join(node.as_str()).join("log.txt")
    }

    /// Refuses a plan by which the spaces of an earlier start would have other owners: a static table moves no data.
    pub(super) fn fits(&self, plan: &Plan) -> Result<()> {
        let Some(first) = plan.nodes.first() else { return Ok(()) };
        let earlier = self.path.join("n1.toml");
        if !earlier.exists() {
            return Ok(());
        }
        let (earlier, planned) = (ConfigFile::read(&earlier)?, plan.config(first));
        ensure!(
            earlier.cluster == planned.cluster,
            "--data: {} holds the cluster {}, which `homing dev` did not make: choose another folder",
            self.path.display(),
            earlier.cluster
        );
        ensure!(
            same_owners(&earlier, &planned),
            "--data: {} holds a cluster of {}, and its data can't move to other nodes: start it like that, or choose another folder",
            self.path.display(),
            flags(&earlier)
        );
        Ok(())
    }

    /// Where the nodes' tables come from: once one of them kept a table, that is the cluster's, whatever this version
    /// would place; a node that kept none learns it.
    pub(super) fn table_source(&self, plan: &Plan) -> &'static str {
        let kept = |node: &PlannedNode| TableFile::new(&self.path.join(node.id.as_str())).path().exists();
        if plan.nodes.iter().any(kept) { "none" } else { "placement" }
    }

    /// Sees to it that there is a CA, and that each node has a certificate of it that is valid for some time.
    pub(super) fn certify(&self, plan: &Plan) -> Result<()> {
        let ca = match init::read_ca(&self.path, &plan.cluster)? {
            Some(ca) => ca,
            None => {
                let ca = CertificateAuthority::create(plan.cluster.clone(), init::validity(DAYS + CA_DAYS))?;
                init::write_ca(&self.path, &ca)?;
                ca
            }
        };
        for node in &plan.nodes {
            if !self.is_certified(plan, &ca, &node.id) {
                init::write_certificate(&self.path, &ca, &node.id, DAYS)?;
            }
        }
        Ok(())
    }

    fn is_certified(&self, plan: &Plan, ca: &CertificateAuthority, node: &NodeId) -> bool {
        let read = |end: &str| fs::read(self.path.join(format!("{node}.{end}"))).unwrap_or_default();
        let soon = clock::since_epoch() + LEFT;
        let ca = ca.certificate_pem().as_bytes();
        Credentials::from_pem(plan.cluster.clone(), node.clone(), ca, &read("pem"), &read("key"), soon)
            .is_ok()
    }

    /// Writes every node's configuration.
    pub(super) fn configure(&self, plan: &Plan) -> Result<()> {
        plan.nodes.iter().try_for_each(|node| init::write_config(&self.path, plan, node))
    }

    /// Leaves word for the other commands of who runs.
    pub(super) fn remember(&self, running: &Running) -> Result<()> {
        running.leave(&self.path)
    }

    /// Nobody runs any more.
    pub(super) fn forget_running(&self) -> Result<()> {
        Running::forget(&self.path)
    }
}

/// Whether placement gives every space the same owners: it sees no more than this.
fn same_owners(one: &ConfigFile, other: &ConfigFile) -> bool {
    let seen = |config: &ConfigFile| -> Vec<_> {
        config.nodes.iter().map(|node| (node.id.clone(), node.zone.clone(), node.weight)).collect()
    };
    one.table.replicas == other.table.replicas && seen(one) == seen(other)
}

fn flags(config: &ConfigFile) -> String {
    let zones: HashSet<_> = config.nodes.iter().map(|node| node.zone.as_deref()).collect();
    format!("--nodes {} --zones {} --replicas {}", config.nodes.len(), zones.len(), config.table.replicas)
}

#[cfg(test)]
mod tests {
    use homing::Wire;

    use super::*;
    use crate::dev::CLUSTER;
    use crate::init::Addresses;

    fn plan(nodes: u16, zones: u16, replicas: usize, wire: Wire) -> Plan {
        let nodes = PlannedNode::deal((0..nodes).map(Addresses::local).collect(), zones, &[wire]).unwrap();
        Plan { cluster: CLUSTER.parse().unwrap(), replicas, source: "placement", data: "", nodes }
    }

    fn refused(folder: &Folder, plan: &Plan) -> String {
        folder.fits(plan).unwrap_err().to_string()
    }

    #[test]
    fn one_folder_is_one_clusters() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        let error = Folder::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("another `homing dev` runs in"), "{error}");
        drop(first);
        assert!(Folder::open(dir.path()).is_ok());
    }

    #[test]
    fn what_would_change_the_owners_of_existing_data_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let first = plan(5, 3, 2, Wire::Quic);
        folder.fits(&first).unwrap();
        folder.configure(&first).unwrap();
        folder.fits(&first).unwrap();
        folder.fits(&plan(5, 3, 2, Wire::Grpc)).unwrap();
        for other in [plan(4, 3, 2, Wire::Quic), plan(5, 2, 2, Wire::Quic), plan(5, 3, 1, Wire::Quic)] {
            let error = refused(&folder, &other);
            assert!(error.contains("--nodes 5 --zones 3 --replicas 2"), "{error}");
        }
        let foreign = Plan { cluster: "prod.example".parse().unwrap(), ..first };
        assert!(refused(&folder, &foreign).contains("dev.homing.local"));
    }

    #[test]
    fn certificates_are_kept_while_they_are_good_and_made_anew_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let plan = plan(3, 3, 2, Wire::Quic);
        let certificates = || {
            folder.certify(&plan).unwrap();
            ["n1.pem", "n2.pem", "n3.pem"].map(|name| fs::read_to_string(dir.path().join(name)).unwrap())
        };
        let first = certificates();
        assert_eq!(certificates(), first);

        let ca = init::read_ca(dir.path(), &plan.cluster).unwrap().unwrap();
        init::write_certificate(dir.path(), &ca, &plan.nodes[0].id, 29).unwrap();
        fs::remove_file(dir.path().join("n2.key")).unwrap();
        let nearly_ended = fs::read_to_string(dir.path().join("n1.pem")).unwrap();
        let second = certificates();
        assert_ne!(second[0], nearly_ended);
        assert_ne!(second[1], first[1]);
        assert_eq!(second[2], first[2]);

        fs::remove_file(dir.path().join("ca.key")).unwrap();
        assert!(certificates().iter().zip(&second).all(|(new, old)| new != old));
        assert_eq!(certificates(), certificates());
    }
}
