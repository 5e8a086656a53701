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

/// Reloads what the files of a section hold, each time that differs from what is `in_use`. Files that can't be right, maybe
/// since they are half written or not valid yet, change nothing, are complained of once, and are tried again.
async fn follow<T: PartialEq>(
    section: &str,
    mut in_use: Option<T>,
    read: impl Fn() -> Result<T>,
    reload: impl Fn(&T) -> Result<(), CredentialsError>,
) {
    let mut refused = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Ok(texts) = read() else { continue };
        if in_use.as_ref() == Some(&texts) {
            continue;
        }
        match reload(&texts) {
            Ok(()) => {
                tracing::info!("{section}: the new certificates are in use");
                (in_use, refused) = (Some(texts), None);
            }
            Err(error) => {
                let now = Some((texts, error));
                if refused != now {
                    let error = now.as_ref().map(|(_, error)| tracing::field::display(error));
                    tracing::warn!(error, "{section}: the new certificates can't be used; the old ones stay");
                    refused = now;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A certificate may become valid only after it was written.
    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_tried_again_until_it_is_in_use() {
        let tries = Cell::new(0);
        let reload = |_: &u8| {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(CredentialsError::Empty { what: "certificate" }) } else { Ok(()) }
        };
        let following = follow("tls", Some(1), || Ok(2), reload);
        let _ = tokio::time::timeout(10 * INTERVAL, following).await;
        assert_eq!(tries.get(), 3);
    }
}
