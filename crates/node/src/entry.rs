//! The node that is asked: where it is, and by what it is known to be that node.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use homing::tls::Roots;
use homing::{Client, ClientError};

use crate::Usage;

const TLS: &str = "https://";

/// The client listener of a node.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As people write it: `host:port`, with `https://` before it if it has TLS.
    address: String,
    roots: Option<Roots>,
}

impl Entry {
    /// One without TLS.
    pub(crate) fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), roots: None }
    }

    /// One that was named, and the file of the CA that vouches for it. Without TLS there is nothing to vouch for.
    pub(crate) fn named(address: &str, ca: Option<&Path>) -> Result<Self> {
        if !address.starts_with(TLS) {
            return Ok(Self::plain(address));
        }
        let Some(ca) = ca else {
            bail!(Usage(format!(
                "--node {address}: it has TLS, and nothing says whom to believe: name the file of its CA with --ca FILE"
            )));
        };
        let pem = std::fs::read(ca).with_context(|| format!("--ca: can't read {}", ca.display()))?;
        let roots = Roots::from_pem(&pem).with_context(|| format!("--ca: {}", ca.display()))?;
        Ok(Self { address: address.to_owned(), roots: Some(roots) })
    }

    pub(crate) fn client(&self) -> Result<Client, ClientError> {
        match &self.roots {
            Some(roots) => Client::with_tls(&self.address, roots),
            None => Client::new(&self.address),
        }
    }

    /// The error, and what may help: a listener that has TLS hangs up on who speaks none.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let lost = matches!(find(&error), Some(ClientError::Lost { .. }));
        if lost && self.roots.is_none() {
            anyhow!("{error:#}; if it has TLS, name it with --node https://{}", self.address)
        } else {
            error
        }
    }

    /// Where it is, however it is spoken to.
    pub(crate) fn host_and_port(&self) -> &str {
        host_and_port(&self.address)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

fn find(error: &anyhow::Error) -> Option<&ClientError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// Whether this could be the address of a node, with TLS or without.
pub(crate) fn check(address: &str) -> Result<(), ClientError> {
    Client::new(host_and_port(address)).map(drop)
}

fn host_and_port(address: &str) -> &str {
    address.strip_prefix(TLS).map_or(address, |plain| plain.strip_suffix('/').unwrap_or(plain))
}
