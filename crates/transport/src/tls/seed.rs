//! Secrets of a node that outlive its process.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;

/// What the private key of a node is made into, so that other secrets can come from it and say nothing of it.
pub(super) struct Seed {
    bytes: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl Seed {
    pub(super) fn of(key: &PrivateKeyDer<'_>, provider: &Arc<CryptoProvider>) -> Self {
        let bytes = derive(provider, key.secret_der(), "homing seed");
        Self { bytes, provider: Arc::clone(provider) }
    }

    pub(super) fn secret(&self, purpose: &str) -> [u8; 32] {
        derive(&self.provider, &self.bytes, purpose)
    }
}

/// HKDF (RFC 5869), with the hash of the provider's first cipher suite of TLS 1.3.
fn derive(provider: &CryptoProvider, secret: &[u8], info: &str) -> [u8; 32] {
    let suite = provider.cipher_suites.iter().find_map(|suite| suite.tls13());
    let hkdf = suite.expect("the provider speaks TLS 1.3").hkdf_provider;
    let mut derived = [0; 32];
    hkdf.extract_from_secret(None, secret)
        .expand_slice(&[info.as_bytes()], &mut derived)
        .expect("32 bytes are less than 255 hashes");
    derived
}
