//! A certificate authority of our own: what `homing init`, `homing dev` and tests make certificates with.

use std::time::SystemTime;

use homing_types::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use thiserror::Error;

use crate::tls::ClusterName;

/// A CA that signs the certificates of one cluster's nodes (ECDSA on P-256).
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    cluster: ClusterName,
    certificate_pem: String,
    key_pem: String,
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before this time.
    pub from: SystemTime,
    /// Not after this time.
    pub until: SystemTime,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key (PKCS #8).
    pub key_pem: String,
}

impl CertificateAuthority {
    /// Makes a new CA for a cluster.
    ///
    /// # Errors
    /// [`CaError`] if the system gives no randomness.
    pub fn create(cluster: ClusterName, validity: Validity) -> Result<Self, CaError> {
        let key = KeyPair::generate()?;
        let key_pem = key.serialize_pem();
        let mut params = params(Vec::new(), &format!("Homing CA of {cluster}"), validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = CertifiedIssuer::self_signed(params, &key)?.pem();
        Self::load(cluster, certificate_pem, key_pem)
    }

    /// Takes up a CA that was made earlier.
    ///
    /// # Errors
    /// [`CaError`] if certificate or key can't be read.
    pub fn load(cluster: ClusterName, certificate_pem: String, key_pem: String) -> Result<Self, CaError> {
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, KeyPair::from_pem(&key_pem)?)?;
        Ok(Self { issuer, cluster, certificate_pem, key_pem })
    }

    /// The CA's certificate, which every node trusts.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key. Nodes don't need it; whoever has it can become any node.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Makes a certificate for a node.
    ///
    /// # Errors
    /// [`CaError`] if id and cluster form no DNS name or the system gives no randomness.
    pub fn issue(&self, node: &NodeId, validity: Validity) -> Result<Issued, CaError> {
        self.issue_for_names(vec![self.cluster.dns_name(node)], validity)
    }

    /// Makes a certificate with any DNS names, for tests of what must be refused.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_for_names(&self, names: Vec<String>, validity: Validity) -> Result<Issued, CaError> {
        let key = KeyPair::generate()?;
        let common_name = names.first().cloned().unwrap_or_default();
        let mut params = params(names, &common_name, validity)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn params(
    names: Vec<String>,
    common_name: &str,
    validity: Validity,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// Why a certificate can't be made.
#[derive(Debug, Error)]
#[error("can't make the certificate: {0}")]
pub struct CaError(#[from] rcgen::Error);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls::Credentials;

    fn validity() -> Validity {
        let at = |years: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(years * 31_556_952);
        Validity { from: at(50), until: at(150) }
    }

    #[test]
    fn an_authority_goes_on_after_it_was_written_down() {
        let cluster: ClusterName = "prod.example".parse().unwrap();
        let first = CertificateAuthority::create(cluster.clone(), validity()).unwrap();
        let (certificate, key) = (first.certificate_pem().to_owned(), first.key_pem().to_owned());
        let again = CertificateAuthority::load(cluster.clone(), certificate, key).unwrap();
        let n1 = NodeId::new("n1").unwrap();
        for ca in [&first, &again] {
            let issued = ca.issue(&n1, validity()).unwrap();
            let credentials = Credentials::from_pem(
                cluster.clone(),
                n1.clone(),
                first.certificate_pem().as_bytes(),
                issued.certificate_pem.as_bytes(),
                issued.key_pem.as_bytes(),
                Duration::from_secs(56 * 31_556_952),
            );
            assert_eq!(credentials.unwrap().node(), &n1);
        }
    }

    #[test]
    fn an_authority_needs_its_own_key() {
        let cluster: ClusterName = "prod.example".parse().unwrap();
        let ca = CertificateAuthority::create(cluster.clone(), validity()).unwrap();
        for key in ["", ca.certificate_pem()] {
            let loaded =
                CertificateAuthority::load(cluster.clone(), ca.certificate_pem().to_owned(), key.to_owned());
            assert!(loaded.is_err(), "{key}");
        }
    }
}
