//! TLS towards clients: the node shows a certificate, and the client shows none.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::proof::Current;
use super::{CredentialsError, certificates, never_resume, private_key, provider, roots};

/// Clients may be older than the nodes, so 1.2 will do.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What a node shows to clients.
///
/// It can be [reloaded](Self::reload): configurations that were made before follow.
pub struct ServerTls {
    current: Arc<Current<CertifiedKey>>,
    provider: Arc<CryptoProvider>,
}

impl ServerTls {
    /// Reads PEM texts (RFC 7468): a certificate with those between it and its CA, and its key. Which names it bears is
    /// between the operator and the clients.
    ///
    /// # Errors
    /// [`CredentialsError`] if a text can't be read, they don't belong together, or the certificate is not valid at `now`.
    pub fn from_pem(certificate: &[u8], key: &[u8], now: Duration) -> Result<Self, CredentialsError> {
        let provider = provider();
        let chain = certificates(certificate, "certificate")?;
        if let Some(leaf) = chain.first() {
            check_time(leaf, now)?;
        }
        let shown = CertifiedKey::from_der(chain, private_key(key)?, &provider);
        let current = Current::new(shown.map_err(CredentialsError::refused)?);
        Ok(Self { current, provider })
    }

    /// Replaces certificate and key by these texts, which are checked as [`from_pem`](Self::from_pem) checks them.
    /// Handshakes to come show them; connections that stand go on.
    ///
    /// # Errors
    /// [`CredentialsError`], and nothing has changed.
    pub fn reload(&self, certificate: &[u8], key: &[u8], now: Duration) -> Result<(), CredentialsError> {
        let new = Self::from_pem(certificate, key, now)?;
        self.current.replace(new.current.now());
        Ok(())
    }

    /// The TLS configuration of the client listener, which speaks these protocols, the one it likes best first.
    ///
    /// # Errors
    /// [`CredentialsError`] if rustls refuses it.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<ServerConfig, CredentialsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(VERSIONS)
            .map_err(CredentialsError::refused)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current<CertifiedKey>>::clone(&self.current));
        never_resume(&mut config);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// The CAs by which a client checks who it talks to.
#[derive(Clone)]
pub struct Roots {
    roots: Arc<RootCertStore>,
}

impl Roots {
    /// Reads a PEM text (RFC 7468) of one certificate or several.
    ///
    /// # Errors
    /// [`CredentialsError`] if there is none, or one can't be read.
    pub fn from_pem(ca: &[u8]) -> Result<Self, CredentialsError> {
        Ok(Self { roots: Arc::new(roots(ca)?) })
    }

    /// The TLS configuration of a client that speaks this protocol.
    ///
    /// # Errors
    /// [`CredentialsError`] if rustls refuses it.
    pub fn client_config(&self, alpn: &[u8]) -> Result<ClientConfig, CredentialsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(CredentialsError::refused)?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.roots.len())
    }
}

/// Nobody who checks a certificate takes one that is out of its time.
fn check_time(leaf: &CertificateDer<'_>, now: Duration) -> Result<(), CredentialsError> {
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|error| CredentialsError::Unreadable { what: "certificate", why: error.to_string() })?;
    let validity = certificate.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > validity.not_after.timestamp() {
        return Err(CredentialsError::NotNow { why: "it has expired" });
    }
    if now < validity.not_before.timestamp() {
        return Err(CredentialsError::NotNow { why: "it is not valid yet" });
    }
    Ok(())
}
