//! What the certificate Secret holds. Pure.
//!
//! ```text
//!  ca.crt   the authority in use, then those before it that are still trusted      ca.key   key of the first one
//!  tls.crt  the server's certificate                                               tls.key  its key
//! ```
//! The keys are MetalLB's. Whatever is missing or unusable is left out when read: what somebody else put there (MetalLB's own
//! rotation, a backup, an editor) counts as far as it works.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::authority::{Pair, SUBJECT};
use super::x509::{Fields, accepts, fields, read_pem};
use crate::tls::{TlsOptions, server_config};

const CA_CERT: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const LEAF_CERT: &str = "tls.crt";
const LEAF_KEY: &str = "tls.key";

/// Version 0.1.0 replaces everything unless it finds these; both run side by side during an update.
const CA_NOT_AFTER: &str = "metallb.io/ca-not-after";
const LEAF_NOT_AFTER: &str = "metallb.io/certificate-not-after";
const LEAF_NAMES: &str = "metallb.io/certificate-dns-names";
const FINGERPRINT: &str = "metallb.io/certificate-fingerprint";

/// The usable part of a certificate Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The authorities of the bundle.
    pub(crate) authorities: Vec<Authority>,
    /// The one of them whose key is stored and that we can sign with.
    pub(crate) signer: Option<Signer>,
    /// The server's certificate, when it fits its key.
    pub(crate) leaf: Option<Leaf>,
    /// Whether the bundle holds nothing but these authorities, each once.
    pub(crate) is_tidy: bool,
}

/// An authority that clients are told to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// The authority in use.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Signer {
    pub(crate) authority: Authority,
    pub(crate) key_pem: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("not_after", &self.authority.not_after).finish_non_exhaustive()
    }
}

/// A server's certificate.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) not_after: Timestamp,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authority {
    pub(crate) fn new(der: CertificateDer<'static>) -> Option<Self> {
        let read = fields(&der)?;
        let (not_before, not_after) = (read.not_before, read.not_after);
        Some(Self { der, not_before, not_after })
    }

    /// Whether both are called the same: all authorities of ours are, and those of MetalLB's own rotation.
    pub(crate) fn is_namesake(&self, other: &Self) -> bool {
        let subject = |authority: &Self| fields(&authority.der).map(|it| it.subject.to_vec());
        subject(self) == subject(other)
    }

    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

impl Signer {
    /// From a pair that was just made.
    pub(crate) fn new(pair: &Pair) -> Option<Self> {
        let authority = Authority::new(CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).ok()?)?;
        Some(Self { authority, key_pem: pair.key_pem.clone() })
    }

    /// As a pair that can sign.
    pub(crate) fn pair(&self) -> Pair {
        let authority = std::slice::from_ref(&self.authority);
        Pair { cert_pem: bundle(authority), key_pem: self.key_pem.clone(), not_after: self.authority.not_after }
    }
}

impl Leaf {
    /// `None` when certificate and key cannot be served together.
    pub(crate) fn new(cert_pem: &str, key_pem: &str) -> Option<Self> {
        let chain = read_pem(cert_pem.as_bytes())?;
        server_config(&TlsOptions::default(), cert_pem.as_bytes(), key_pem.as_bytes(), false).ok()?;
        let not_after = fields(chain.first()?)?.not_after;
        Some(Self { cert_pem: cert_pem.to_owned(), key_pem: key_pem.to_owned(), chain, not_after })
    }

    /// Whether a client that trusts these authorities accepts it for every name.
    pub(crate) fn is_good<'a>(
        &self,
        authorities: impl IntoIterator<Item = &'a Authority>,
        dns_names: &[String],
        now: Timestamp,
    ) -> bool {
        let ders: Vec<_> = authorities.into_iter().map(|authority| authority.der.clone()).collect();
        dns_names.iter().all(|name| accepts(&ders, &self.chain, name, now).is_ok())
    }
}

/// A bundle of these authorities, PEM.
pub(crate) fn bundle(authorities: &[Authority]) -> String {
    const LINE: usize = 64;
    let mut text = String::new();
    for authority in authorities {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let base64 = serde_json::to_value(ByteString(authority.der.to_vec())).unwrap_or_default();
        for line in base64.as_str().unwrap_or_default().as_bytes().chunks(LINE) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

impl Stored {
    /// Reads a Secret.
    pub fn read(secret: &Secret) -> Self {
        let text = |key: &str| {
            let bytes = &secret.data.as_ref()?.get(key)?.0;
            std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())
        };
        let blocks: Vec<_> = CertificateDer::pem_slice_iter(text(CA_CERT).unwrap_or_default().as_bytes()).collect();
        let count = blocks.len();
        let mut authorities: Vec<Authority> = Vec::new();
        for authority in blocks.into_iter().flatten().filter_map(Authority::new) {
            if !authorities.contains(&authority) {
                authorities.push(authority);
            }
        }
        let signer = text(CA_KEY).and_then(|key_pem| {
            let key = KeyPair::from_pem(key_pem).ok()?.subject_public_key_info();
            let ours = |it: Fields<'_>| it.public_key == key && it.subject == SUBJECT;
            let its = |authority: &&Authority| fields(&authority.der).is_some_and(ours);
            Some(Signer { authority: authorities.iter().find(its)?.clone(), key_pem: key_pem.to_owned() })
        });
        let leaf = text(LEAF_CERT).zip(text(LEAF_KEY)).and_then(|(cert, key)| Leaf::new(cert, key));
        Self { is_tidy: authorities.len() == count, authorities, signer, leaf }
    }

    /// Puts it into a Secret and leaves everything else there alone.
    pub fn fill(&self, secret: &mut Secret, dns_names: &[String]) {
        let authorities = bundle(&self.authorities);
        let data = secret.data.get_or_insert_default();
        let mut put = |key: &str, text: &str| data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
        put(CA_CERT, &authorities);
        let (Some(signer), Some(leaf)) = (&self.signer, &self.leaf) else { return };
        put(CA_KEY, &signer.key_pem);
        put(LEAF_CERT, &leaf.cert_pem);
        put(LEAF_KEY, &leaf.key_pem);
        let both = format!("{authorities}\n{}", leaf.cert_pem);
        let digest = ring::digest::digest(&ring::digest::SHA256, both.as_bytes());
        let fingerprint = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.extend(
            [
                (CA_NOT_AFTER, signer.authority.not_after.to_string()),
                (LEAF_NOT_AFTER, leaf.not_after.to_string()),
                (LEAF_NAMES, dns_names.join(",")),
                (FINGERPRINT, fingerprint),
            ]
            .map(|(key, text)| (key.to_owned(), text)),
        );
    }

    pub(crate) fn ders(&self) -> Vec<CertificateDer<'static>> {
        self.authorities.iter().map(|authority| authority.der.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::certs::CertificateAuthority;

    fn names() -> Vec<String> {
        vec![String::from("a.svc"), String::from("b.svc")]
    }

    fn filled(now: Timestamp) -> Secret {
        let (first, second) =
            (CertificateAuthority::generate(now).unwrap(), CertificateAuthority::generate(now).unwrap());
        let signers = [&first, &second].map(|authority| Signer::new(authority.pair()).unwrap());
        let pair = first.issue(now, &names()).unwrap();
        let stored = Stored {
            authorities: signers.iter().map(|signer| signer.authority.clone()).collect(),
            signer: Some(signers[0].clone()),
            leaf: Leaf::new(&pair.cert_pem, &pair.key_pem),
            is_tidy: true,
        };
        let mut secret = Secret::default();
        stored.fill(&mut secret, &names());
        assert_eq!(Stored::read(&secret), stored);
        secret
    }

    fn put(secret: &mut Secret, key: &str, text: &[u8]) {
        secret.data.get_or_insert_default().insert(String::from(key), ByteString(text.to_vec()));
    }

    #[test]
    fn what_was_filled_in_is_read_back() {
        let now = Timestamp::now();
        let stored = Stored::read(&filled(now));
        assert_eq!(stored.authorities.len(), 2);
        assert_eq!(stored.signer.as_ref().unwrap().authority, stored.authorities[0]);
        assert!(stored.leaf.unwrap().is_good(&stored.authorities, &names(), now));
    }

    #[test]
    fn a_bundle_is_pem_as_others_write_it() {
        let pair = CertificateAuthority::generate(Timestamp::now()).unwrap().pair().clone();
        let written = bundle(&[Signer::new(&pair).unwrap().authority]);
        assert_eq!(written, pair.cert_pem.replace("\r\n", "\n"));
    }

    #[test]
    fn garbage_is_left_out_and_the_rest_counts() {
        let now = Timestamp::now();
        assert_eq!(Stored::read(&Secret::default()).authorities, []);
        let mut edited = filled(now);
        put(&mut edited, LEAF_CERT, b"mine");
        assert!(Stored::read(&edited).leaf.is_none() && Stored::read(&edited).signer.is_some());
        let mut foreign_key = filled(now);
        let other = filled(now).data.unwrap().remove(LEAF_KEY).unwrap();
        put(&mut foreign_key, LEAF_KEY, &other.0);
        assert!(Stored::read(&foreign_key).leaf.is_none());
        let mut half = filled(now);
        put(&mut half, CA_KEY, b"junk");
        assert!(Stored::read(&half).signer.is_none() && Stored::read(&half).leaf.is_some());
        let mut binary = filled(now);
        put(&mut binary, CA_CERT, &[0xff, 0xfe]);
        assert!(Stored::read(&binary).authorities.is_empty() && Stored::read(&binary).signer.is_none());
        let mut more = filled(now);
        let text = String::from_utf8(more.data.as_ref().unwrap()[CA_CERT].0.clone()).unwrap();
        put(
            &mut more,
            CA_CERT,
            format!("{text}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").as_bytes(),
        );
        assert!(!Stored::read(&more).is_tidy && Stored::read(&more).authorities.len() == 2);
        put(&mut more, CA_CERT, format!("{text}{text}").as_bytes());
        assert!(!Stored::read(&more).is_tidy && Stored::read(&more).authorities.len() == 2);
    }

    #[test]
    fn other_keys_and_labels_of_the_secret_stay() {
        let mut secret = Secret::default();
        put(&mut secret, "note", b"mine");
        secret.metadata.labels = Some(BTreeMap::from([(String::from("a"), String::from("b"))]));
        Stored::read(&filled(Timestamp::now())).fill(&mut secret, &names());
        assert_eq!(secret.data.unwrap()["note"].0, b"mine");
        assert_eq!(secret.metadata.labels.unwrap()["a"], "b");
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let text = format!("{:?}", Stored::read(&filled(Timestamp::now())));
        assert!(!text.contains("PRIVATE") && text.contains("not_after"), "{text}");
    }
}
