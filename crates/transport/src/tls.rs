//! Who speaks: mutual TLS 1.3 between nodes, whose certificates name exactly one node of one cluster.
//!
//! A certificate's one DNS SAN `<node-id>.<cluster>` *is* the identity. Chains are checked by
//! rustls-webpki; who the peer is, is checked by [`Credentials::peer`], in both directions. Sessions are
//! never resumed, since a resumed session skips the check of the client's certificate, and there is no
//! 0-RTT, since its data can be replayed.
//!
//! Towards clients a node shows a certificate too ([`ServerTls`]), and they show none: [`Roots`] is how a client checks it.

mod clients;
mod proof;
mod seed;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use homing_types::NodeId;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub use clients::{Roots, ServerTls};
use proof::{Current, Proof};
use seed::Seed;

/// The name of a cluster: a DNS name of lower-case labels, at most 180 bytes, such as `prod.example`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClusterName(Arc<str>);

impl ClusterName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The DNS name of a node of this cluster, as its certificate bears it.
    #[must_use]
    pub fn dns_name(&self, node: &NodeId) -> String {
        format!("{node}.{self}")
    }

    fn node(&self, dns_name: &str) -> Option<NodeId> {
        let id = dns_name.strip_suffix(self.as_str())?.strip_suffix('.')?;
        NodeId::new(id).ok()
    }
}

impl FromStr for ClusterName {
    type Err = ClusterNameError;

    fn from_str(text: &str) -> Result<Self, ClusterNameError> {
        let labels = text.split('.').all(|label| NodeId::new(label).is_ok());
        if labels && text.len() <= 180 {
            Ok(Self(text.into()))
        } else {
            Err(ClusterNameError { name: text.chars().take(80).collect() })
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`ClusterName`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name:?} is no cluster name: use a DNS name in lower case, like prod.example, of at most 180 bytes")]
pub struct ClusterNameError {
    name: String,
}

/// What a node proves itself with and checks others by.
///
/// They can be [reloaded](Self::reload): configurations that were made before follow.
pub struct Credentials {
    cluster: ClusterName,
    node: NodeId,
    current: Arc<Current<Proof>>,
    provider: Arc<CryptoProvider>,
    /// What all secrets of this node come from: a reload leaves them as they are.
    seed: Seed,
}

impl Credentials {
    /// Reads PEM texts (RFC 7468) and checks them: the certificate must be `node`'s of `cluster`, be valid
    /// at `now`, come from the CA and fit the key.
    ///
    /// # Errors
    /// [`CredentialsError`] names the text at fault and what would be right.
    pub fn from_pem(
        cluster: ClusterName,
        node: NodeId,
        ca: &[u8],
        certificate: &[u8],
        key: &[u8],
        now: Duration,
    ) -> Result<Self, CredentialsError> {
        let credentials = Self::unchecked(cluster, node, ca, certificate, key)?;
        credentials.check(now)?;
        Ok(credentials)
    }

    /// Reads the texts alone.
    pub(crate) fn unchecked(
        cluster: ClusterName,
        node: NodeId,
        ca: &[u8],
        certificate: &[u8],
        key: &[u8],
    ) -> Result<Self, CredentialsError> {
        let provider = provider();
        let roots = roots(ca)?;
        let chain = certificates(certificate, "certificate")?;
        let key = private_key(key)?;
        let seed = Seed::of(&key, &provider);
        let current = Current::new(Proof::new(roots, chain, key, &provider)?);
        Ok(Self { cluster, node, current, provider, seed })
    }

    /// A secret of this node for this use alone, from the private key that it started with: after a restart it is the same (HKDF, RFC 5869).
    #[must_use]
    pub fn secret(&self, purpose: &str) -> [u8; 32] {
        self.seed.secret(purpose)
    }

    /// Replaces certificate, key and CA by these texts, which are checked as [`from_pem`](Self::from_pem) checks them.
    /// Handshakes to come use them; connections that stand go on, so no request is dropped.
    ///
    /// # Errors
    /// [`CredentialsError`], and nothing has changed.
    pub fn reload(
        &self,
        ca: &[u8],
        certificate: &[u8],
        key: &[u8],
        now: Duration,
    ) -> Result<(), CredentialsError> {
        let new = Self::from_pem(self.cluster.clone(), self.node.clone(), ca, certificate, key, now)?;
        self.current.replace(new.current.now());
        Ok(())
    }

    /// Credentials without a certificate, for a stranger of the contract suite.
    #[cfg(feature = "contract")]
    pub(crate) fn without_certificate(self) -> Self {
        Self { current: Current::new(self.current.now().without_certificate()), ..self }
    }

    /// The node they are for.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// The cluster they are for.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The TLS configuration of one who dials.
    ///
    /// # Errors
    /// [`CredentialsError`] if rustls refuses certificate and key.
    pub fn client_config(&self, alpn: &[u8]) -> Result<ClientConfig, CredentialsError> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CredentialsError::refused)?
            // Not that dangerous: it asks rustls-webpki, as of now.
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Current<Proof>>::clone(&self.current))
            .with_client_cert_resolver(Arc::<Current<Proof>>::clone(&self.current));
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    /// The TLS configuration of one who listens.
    ///
    /// # Errors
    /// [`CredentialsError`] if rustls refuses certificate and key.
    pub fn server_config(&self, alpn: &[u8]) -> Result<ServerConfig, CredentialsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CredentialsError::refused)?
            .with_client_cert_verifier(Arc::<Current<Proof>>::clone(&self.current))
            .with_cert_resolver(Arc::<Current<Proof>>::clone(&self.current));
        never_resume(&mut config);
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    /// The name to dial a peer by.
    ///
    /// # Errors
    /// [`CredentialsError`] if id and cluster are too long together for a DNS name.
    pub fn server_name(&self, peer: &NodeId) -> Result<ServerName<'static>, CredentialsError> {
        ServerName::try_from(self.cluster.dns_name(peer)).map_err(|error| CredentialsError::Refused {
            why: format!("{}: {error}", self.cluster.dns_name(peer)),
        })
    }

    /// Who a peer is, from the chain it presented, which TLS has verified already.
    ///
    /// # Errors
    /// [`CredentialsError::NotOneNode`] if the certificate names no node of this cluster, or more than one name.
    pub fn peer(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<NodeId, CredentialsError> {
        let leaf = chain.and_then(<[_]>::first).ok_or_else(|| CredentialsError::NotOneNode {
            found: "no certificate".to_owned(),
            cluster: self.cluster.clone(),
        })?;
        node_of(leaf, &self.cluster)
    }

    fn check(&self, now: Duration) -> Result<(), CredentialsError> {
        let proof = self.current.now();
        let Some((leaf, intermediates)) = proof.own.as_ref().and_then(|own| own.cert.split_first()) else {
            return Err(CredentialsError::Empty { what: "certificate" });
        };
        proof
            .listens
            .verify_client_cert(leaf, intermediates, UnixTime::since_unix_epoch(now))
            .map_err(|error| CredentialsError::NotValid { node: self.node.clone(), why: explain(&error) })?;
        let named = node_of(leaf, &self.cluster)?;
        if named != self.node {
            return Err(CredentialsError::OtherNode { wanted: self.node.clone(), found: named });
        }
        Ok(())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}.{})", self.node, self.cluster)
    }
}

/// The one node that a certificate names.
fn node_of(leaf: &CertificateDer<'_>, cluster: &ClusterName) -> Result<NodeId, CredentialsError> {
    let names = subject_alternative_names(leaf)?;
    let node = match names.as_slice() {
        [name] => cluster.node(name),
        _ => None,
    };
    node.ok_or_else(|| CredentialsError::NotOneNode {
        found: if names.is_empty() { "no DNS name".to_owned() } else { names.join(", ") },
        cluster: cluster.clone(),
    })
}

/// All subject alternative names. One that is no DNS name counts too: it makes more than one identity.
fn subject_alternative_names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, CredentialsError> {
    let unreadable = |why: String| CredentialsError::Unreadable { what: "certificate", why };
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| unreadable(error.to_string()))?;
    let extension = certificate.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
    let names = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    Ok(names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            other => other.to_string(),
        })
        .collect())
}

fn roots(ca: &[u8]) -> Result<RootCertStore, CredentialsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "CA")? {
        roots
            .add(certificate)
            .map_err(|error| CredentialsError::Unreadable { what: "CA", why: error.to_string() })?;
    }
    Ok(roots)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| CredentialsError::Unreadable { what: "key", why: error.to_string() })
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CredentialsError::Unreadable { what, why: error.to_string() })?;
    if certificates.is_empty() { Err(CredentialsError::Empty { what }) } else { Ok(certificates) }
}

/// The one crypto provider, which is passed explicitly: a process with two has no default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Every session begins with a whole handshake, so with the certificates of now.
fn never_resume(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
}

/// Whether a TLS alert (RFC 8446, section 6) says who somebody is, or isn't: those about certificates and their
/// signatures.
#[must_use]
pub const fn is_about_certificates(alert: u8) -> bool {
    const DECRYPT_ERROR: u8 = 51;
    const CERTIFICATE_REQUIRED: u8 = 116;
    matches!(alert, 41..=49 | DECRYPT_ERROR | CERTIFICATE_REQUIRED)
}

/// What TLS has against a certificate, ours or the peer's, for people: rustls' errors are exact but long, and
/// the peer's alerts are names from RFC 8446, section 6.
#[must_use]
pub fn explain(error: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as E};
    match error {
        rustls::Error::AlertReceived(Alert::CertificateRequired) => "there is none".to_owned(),
        rustls::Error::AlertReceived(Alert::CertificateExpired) => "it has expired".to_owned(),
        rustls::Error::AlertReceived(Alert::UnknownCA | Alert::DecryptError) => {
            "it does not come from the peer's CA".to_owned()
        }
        rustls::Error::InvalidCertificate(E::Expired | E::ExpiredContext { .. }) => {
            "it has expired".to_owned()
        }
        rustls::Error::InvalidCertificate(E::NotValidYet | E::NotValidYetContext { .. }) => {
            "it is not valid yet".to_owned()
        }
        rustls::Error::InvalidCertificate(E::UnknownIssuer | E::BadSignature) => {
            "it does not come from this CA".to_owned()
        }
        rustls::Error::InvalidCertificate(other) => other.to_string(),
        other => other.to_string(),
    }
}

/// Why certificates can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// The text is no PEM, or what it holds can't be read.
    #[error("the {what} can't be read as PEM: {why}")]
    Unreadable {
        /// Which text.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The text holds no certificate.
    #[error("the {what} holds no certificate: it must be PEM with BEGIN CERTIFICATE")]
    Empty {
        /// Which text.
        what: &'static str,
    },
    /// The chain doesn't verify.
    #[error("the certificate of {node} is not valid: {why}; make a new one with the cluster's CA")]
    NotValid {
        /// Whose certificate.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// The certificate for clients has expired, or is not valid yet.
    #[error("the certificate can't be shown to clients: {why}; renew it")]
    NotNow {
        /// Why.
        why: &'static str,
    },
    /// The certificate doesn't name exactly one node of the cluster.
    #[error("the certificate names {found}: it must have one DNS name, <node-id>.{cluster}")]
    NotOneNode {
        /// What it names.
        found: String,
        /// The cluster.
        cluster: ClusterName,
    },
    /// The certificate is another node's.
    #[error("the certificate is {found}'s, not {wanted}'s")]
    OtherNode {
        /// Whose it must be.
        wanted: NodeId,
        /// Whose it is.
        found: NodeId,
    },
    /// rustls refuses them.
    #[error("certificate and key can't be used: {why}")]
    Refused {
        /// Why.
        why: String,
    },
}

impl CredentialsError {
    fn refused(error: rustls::Error) -> Self {
        let why = match error {
            rustls::Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
            other => other.to_string(),
        };
        Self::Refused { why }
    }
}

#[cfg(test)]
mod tests;
