//! Making certificates. Pure but for randomness: the clock is an argument.

use std::fmt;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// How long an authority lasts (MetalLB behaviour: 10 years).
const AUTHORITY_DAYS: i64 = 3650;
/// How long a server certificate lasts (MetalLB behaviour: 1 year).
const LEAF_DAYS: i64 = 365;

/// Subject of every authority, DER: organization, then common name, as UTF8String. A leaf names its issuer by these bytes, so
/// an authority that is called otherwise, or the same in another encoding, cannot be ours to sign with.
pub(crate) const SUBJECT: &[u8] = b"\x31\x10\x30\x0e\x06\x03\x55\x04\x0a\x0c\x07metallb\
    \x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04cert";

/// Why a certificate cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The library refused, for example a name that cannot stand in a certificate.
    #[error("cannot make a certificate: {0}")]
    Make(String),
    /// A stored authority's key cannot be used.
    #[error("cannot use the stored key of the certificate authority: {0}")]
    Key(String),
    /// What was just made cannot be read back.
    #[error("a certificate that was just made cannot be read; report this as a bug")]
    Unreadable,
}

/// A certificate with its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key, PKCS#8.
    pub key_pem: String,
    /// When it ends, in whole seconds.
    pub not_after: Timestamp,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// A certificate authority that signs server certificates.
pub struct CertificateAuthority {
    pair: Pair,
    key: KeyPair,
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("pair", &self.pair).finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// A new authority that is valid from an hour before `now` for ten years.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate(now: Timestamp) -> Result<Self, CertificateError> {
        let key = KeyPair::generate().map_err(make)?;
        let mut params = authority_params();
        let not_after = set_validity(&mut params, now, AUTHORITY_DAYS, Timestamp::MAX);
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Self { pair: pair(&certificate, &key, not_after), key })
    }

    /// An authority that was generated before.
    ///
    /// # Errors
    /// The key is not one of ours.
    pub fn load(pair: Pair) -> Result<Self, CertificateError> {
        let key = KeyPair::from_pem(&pair.key_pem).map_err(|error| CertificateError::Key(error.to_string()))?;
        Ok(Self { pair, key })
    }

    /// The authority's own certificate and key.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// A server certificate for these names, valid from an hour before `now` for a year, but no longer than the authority.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn issue(&self, now: Timestamp, dns_names: &[String]) -> Result<Pair, CertificateError> {
        let key = KeyPair::generate().map_err(make)?;
        let mut params = leaf_params(dns_names)?;
        let not_after = set_validity(&mut params, now, LEAF_DAYS, self.pair.not_after);
        // The issuer is described by the same fields every authority of ours has, and by its key.
        let issuer = Issuer::new(authority_params(), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(make)?;
        Ok(pair(&certificate, &key, not_after))
    }
}

/// A certificate that no authority signed, for servers whose clients do not check (metrics). Valid for ten years.
///
/// # Errors
/// A name cannot stand in a certificate.
pub fn self_signed(now: Timestamp, dns_names: &[String]) -> Result<Pair, CertificateError> {
    let key = KeyPair::generate().map_err(make)?;
    let mut params = leaf_params(dns_names)?;
    let not_after = set_validity(&mut params, now, AUTHORITY_DAYS, Timestamp::MAX);
    let certificate = params.self_signed(&key).map_err(make)?;
    Ok(pair(&certificate, &key, not_after))
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "metallb");
    params.distinguished_name.push(DnType::CommonName, "cert");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn leaf_params(dns_names: &[String]) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(dns_names).map_err(make)?;
    params.distinguished_name = DistinguishedName::new();
    // A common name has at most 64 characters (RFC 5280 appendix A.1); clients look at the alternative names anyway.
    if let Some(name) = dns_names.first().filter(|name| name.len() <= 64) {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Sets the validity and returns its end, `latest` at most. It begins an hour early because clocks differ.
fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64, latest: Timestamp) -> Timestamp {
    let at = |seconds: i64| {
        let epoch = date_time_ymd(1970, 1, 1);
        epoch + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    let end = now.checked_add((days * 24).hours()).unwrap_or(Timestamp::MAX).min(latest);
    params.not_before = at(now.as_second() - 3600);
    params.not_after = at(end.as_second());
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}

fn pair(certificate: &Certificate, key: &KeyPair, not_after: Timestamp) -> Pair {
    Pair { cert_pem: certificate.pem(), key_pem: key.serialize_pem(), not_after }
}

fn make(error: rcgen::Error) -> CertificateError {
    CertificateError::Make(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    const NAME: &str = "metallb-webhook-service.metallb-system.svc";

    fn names() -> Vec<String> {
        vec![String::from(NAME)]
    }

    /// What a client that trusts only `authority` says about `leaf` at `time`.
    fn verified(authority: &Pair, leaf: &Pair, name: &str, time: Timestamp) -> Result<(), String> {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(&authority.cert_pem)).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.as_second()).unwrap()));
        verifier
            .verify_server_cert(&der(&leaf.cert_pem), &[], &ServerName::try_from(name.to_owned()).unwrap(), &[], time)
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_client_that_trusts_the_authority_accepts_its_certificates() {
        let now = Timestamp::now();
        let authority = CertificateAuthority::generate(now).unwrap();
        let leaf = authority.issue(now, &names()).unwrap();
        assert_eq!(verified(authority.pair(), &leaf, NAME, now), Ok(()));
        assert_eq!(verified(authority.pair(), &leaf, NAME, now - 59.minutes()), Ok(()), "clocks may differ by an hour");
        assert_eq!(verified(authority.pair(), &leaf, NAME, leaf.not_after - 1.second()), Ok(()));
    }

    #[test]
    fn a_client_refuses_foreign_expired_and_misnamed_certificates() {
        let now = Timestamp::now();
        let authority = CertificateAuthority::generate(now).unwrap();
        let leaf = authority.issue(now, &names()).unwrap();
        let stranger = CertificateAuthority::generate(now).unwrap();
        assert!(verified(stranger.pair(), &leaf, NAME, now).is_err());
        assert!(verified(authority.pair(), &leaf, "example.org", now).is_err());
        assert!(verified(authority.pair(), &leaf, NAME, leaf.not_after + 1.hour()).is_err());
    }

    #[test]
    fn a_loaded_authority_signs_what_the_first_clients_still_trust() {
        let now = Timestamp::now();
        let first = CertificateAuthority::generate(now).unwrap();
        let loaded = CertificateAuthority::load(first.pair().clone()).unwrap();
        let leaf = loaded.issue(now, &names()).unwrap();
        assert_eq!(verified(first.pair(), &leaf, NAME, now), Ok(()));
    }

    #[test]
    fn every_authority_has_the_same_subject() {
        let authority = CertificateAuthority::generate(Timestamp::now()).unwrap();
        let der = CertificateDer::from_pem_slice(authority.pair().cert_pem.as_bytes()).unwrap();
        assert_eq!(crate::certs::x509::fields(&der).unwrap().subject, SUBJECT);
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let authority = CertificateAuthority::generate(Timestamp::now()).unwrap();
        let text = format!("{authority:?}");
        assert!(!text.contains("PRIVATE") && text.contains("not_after"), "{text}");
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_certificate_is_an_error() {
        let authority = CertificateAuthority::generate(Timestamp::now()).unwrap();
        assert!(authority.issue(Timestamp::now(), &[String::from("bücher")]).is_err());
        assert!(matches!(
            CertificateAuthority::load(Pair { key_pem: String::from("x"), ..authority.pair().clone() }),
            Err(CertificateError::Key(_))
        ));
    }
}
