//! Certificates that are renewed while the node runs: whoever renews them writes new files, and nobody has to restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use homing::NodeId;
use homing::tls::{ClusterName, Credentials, CredentialsError, ServerTls};

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

/// The files of `[listen]`: what clients are shown.
#[derive(Debug, Clone)]
pub(crate) struct ClientFiles {
    /// The certificate.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn load(&self, cluster: &ClusterName, id: &NodeId) -> Result<Credentials> {
        let [ca, certificate, key] = self.read()?;
        Credentials::from_pem(cluster.clone(), id.clone(), &ca, &certificate, &key, clock::since_epoch())
            .context("tls")
    }

    /// Gives `credentials` what the files hold, each time that has changed since now.
    pub(crate) fn follow(self, credentials: Arc<Credentials>) -> impl Future<Output = ()> {
        let seen = self.read().ok();
        async move {
            let reload = |[ca, certificate, key]: &[Vec<u8>; 3]| {
                credentials.reload(ca, certificate, key, clock::since_epoch())
            };
            follow("tls", seen, || self.read(), reload).await;
        }
    }

    fn read(&self) -> Result<[Vec<u8>; 3]> {
        Ok([
            read("tls.ca", &self.ca)?,
            read("tls.certificate", &self.certificate)?,
            read("tls.key", &self.key)?,
        ])
    }
}

impl ClientFiles {
    pub(crate) fn load(&self) -> Result<ServerTls> {
        let [certificate, key] = self.read()?;
        ServerTls::from_pem(&certificate, &key, clock::since_epoch()).map_err(|error| {
            let at = match &error {
                CredentialsError::Unreadable { what: "key", .. } => "listen.key",
                CredentialsError::Refused { .. } => "listen.certificate and listen.key",
                _ => "listen.certificate",
            };
            anyhow::Error::new(error).context(at)
        })
    }

    /// Gives `tls` what the files hold, each time that has changed since now.
    pub(crate) fn follow(self, tls: Arc<ServerTls>) -> impl Future<Output = ()> {
        let seen = self.read().ok();
        async move {
            let reload =
                |[certificate, key]: &[Vec<u8>; 2]| tls.reload(certificate, key, clock::since_epoch());
            follow("listen", seen, || self.read(), reload).await;
        }
    }

    fn read(&self) -> Result<[Vec<u8>; 2]> {
        Ok([read("listen.certificate", &self.certificate)?, read("listen.key", &self.key)?])
    }
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{key}: can't read {}", path.display()))
}

/// Reloads what the files of a section hold, each time that differs from what was `seen` of them. Files that can't be right, maybe since they are
/// half written, change nothing.
async fn follow<T: PartialEq>(
    section: &str,
    mut seen: Option<T>,
    read: impl Fn() -> Result<T>,
    reload: impl Fn(&T) -> Result<(), CredentialsError>,
) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Ok(texts) = read() else { continue };
        if seen.as_ref() == Some(&texts) {
            continue;
        }
        match reload(&texts) {
            Ok(()) => tracing::info!("{section}: the new certificates are in use"),
            Err(error) => {
                tracing::warn!(%error, "{section}: the new certificates can't be used; the old ones stay");
            }
        }
        seen = Some(texts);
    }
}
