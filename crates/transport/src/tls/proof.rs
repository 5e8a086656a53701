//! What a node proves itself with now, and checks others by. It is replaced as a whole; handshakes to come use the new
//! one, and connections that stand go on.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore, SignatureScheme};

use super::CredentialsError;

/// A certificate with its key, and who is believed.
pub(super) struct Proof {
    /// `None` only for a stranger of the contract suite.
    pub(super) own: Option<Arc<CertifiedKey>>,
    dials: Arc<dyn ServerCertVerifier>,
    pub(super) listens: Arc<dyn ClientCertVerifier>,
}

impl Proof {
    pub(super) fn new(
        roots: RootCertStore,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, CredentialsError> {
        let roots = Arc::new(roots);
        let no_ca = |error: rustls::server::VerifierBuilderError| CredentialsError::Unreadable {
            what: "CA",
            why: error.to_string(),
        };
        let dials = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let listens = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let own = CertifiedKey::from_der(chain, key, provider).map_err(CredentialsError::refused)?;
        Ok(Self {
            own: Some(Arc::new(own)),
            dials: dials.build().map_err(no_ca)?,
            listens: listens.build().map_err(no_ca)?,
        })
    }

    /// The same without a certificate of its own.
    #[cfg(feature = "contract")]
    pub(super) fn without_certificate(&self) -> Self {
        Self { own: None, dials: Arc::clone(&self.dials), listens: Arc::clone(&self.listens) }
    }
}

/// The proof of now, as rustls asks for it at each handshake: a whole [`Proof`], or a certificate with its key alone.
pub(super) struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    pub(super) fn new(proof: T) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(proof))))
    }

    pub(super) fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.read())
    }

    pub(super) fn replace(&self, proof: Arc<T>) {
        *self.0.write() = proof;
    }
}

impl<T> fmt::Debug for Current<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current<Proof> {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.now().own.clone()
    }
}

impl ResolvesServerCert for Current<CertifiedKey> {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl ResolvesClientCert for Current<Proof> {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.now().own.clone()
    }

    fn has_certs(&self) -> bool {
        self.now().own.is_some()
    }
}

impl ServerCertVerifier for Current<Proof> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.now().dials.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.now().dials.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.now().dials.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().dials.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Current<Proof> {
    /// No hints: a node has one certificate, whatever its peer would like to see.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.now().listens.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.now().listens.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.now().listens.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().listens.supported_verify_schemes()
    }
}
