//! Certificates that are renewed while the node runs: whoever renews them writes new files, and nobody has to restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use homing::NodeId;
use homing::tls::{ClusterName, Credentials};

use crate::clock;

/// How often the files are read again.
const INTERVAL: Duration = Duration::from_secs(2);

/// The files of `[tls]`.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// The cluster's CA: one certificate or, while it is replaced, several.
    pub(crate) ca: PathBuf,
    /// This node's certificate.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// What the files hold.
#[derive(PartialEq, Eq)]
struct Texts {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    pub(crate) fn load(&self, cluster: &ClusterName, id: &NodeId) -> Result<Credentials> {
        let Texts { ca, certificate, key } = self.read()?;
        Credentials::from_pem(cluster.clone(), id.clone(), &ca, &certificate, &key, clock::since_epoch())
            .context("tls")
    }

    /// Gives `credentials` what the files hold, each time that has changed. Files that can't be right, maybe since they are
    /// half written, change nothing.
    pub(crate) async fn follow(self, credentials: Arc<Credentials>) {
        let mut seen = self.read().ok();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Ok(texts) = self.read() else { continue };
            if seen.as_ref() == Some(&texts) {
                continue;
            }
            match credentials.reload(&texts.ca, &texts.certificate, &texts.key, clock::since_epoch()) {
                Ok(()) => tracing::info!("tls: the new certificates are in use"),
                Err(error) => {
                    tracing::warn!(%error, "tls: the new certificates can't be used; the old ones stay")
                }
            }
            seen = Some(texts);
        }
    }

    fn read(&self) -> Result<Texts> {
        let read = |key: &str, path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("tls.{key}: can't read {}", path.display()))
        };
        Ok(Texts {
            ca: read("ca", &self.ca)?,
            certificate: read("certificate", &self.certificate)?,
            key: read("key", &self.key)?,
        })
    }
}
