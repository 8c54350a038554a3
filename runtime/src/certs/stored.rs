//! What the certificate Secret holds, and what to do about it. Pure.
//!
//! ```text
//!  Secret ──read()──▶ Stored ──decide(now, names)──▶ Keep | RenewLeaf | RenewAll ──fill()──▶ Secret to write
//! ```
//! The ends of validity stand in annotations, beside a fingerprint of the certificates they belong to: when somebody
//! exchanges the certificates by hand, the annotations no longer count and everything is made anew.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::authority::{CertificateAuthority, Pair};
use crate::tls::{TlsOptions, server_config};

/// Certificates are renewed when less than this is left (MetalLB behaviour: 90 days).
const RENEW_HOURS: i64 = 90 * 24;

const CA_CERT: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const LEAF_CERT: &str = "tls.crt";
const LEAF_KEY: &str = "tls.key";

const CA_NOT_AFTER: &str = "metallb.io/ca-not-after";
const LEAF_NOT_AFTER: &str = "metallb.io/certificate-not-after";
const LEAF_NAMES: &str = "metallb.io/certificate-dns-names";
const FINGERPRINT: &str = "metallb.io/certificate-fingerprint";

/// The usable part of a certificate Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The authority, when its key can sign.
    pub authority: Option<Pair>,
    /// The server's certificate, when it fits its key.
    pub leaf: Option<Leaf>,
}

/// A server's certificate and the names it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Certificate and key.
    pub pair: Pair,
    /// The names it was issued for, in their order.
    pub dns_names: Vec<String>,
}

/// What to do with the stored certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Use them.
    Keep,
    /// Let the stored authority issue a new server certificate; clients need not learn anything.
    RenewLeaf,
    /// Make a new authority and a new server certificate.
    RenewAll,
}

/// Decides what to do at `now` for a server that is reached by `dns_names`.
pub fn decide(now: Timestamp, stored: &Stored, dns_names: &[String]) -> Action {
    let fresh = |pair: &Pair| now.checked_add(RENEW_HOURS.hours()).is_ok_and(|limit| pair.not_after >= limit);
    if !stored.authority.as_ref().is_some_and(fresh) {
        return Action::RenewAll;
    }
    match &stored.leaf {
        Some(leaf) if leaf.dns_names == dns_names && fresh(&leaf.pair) => Action::Keep,
        Some(_) | None => Action::RenewLeaf,
    }
}

impl Stored {
    /// Reads a Secret; whatever is missing or unusable is left out.
    pub fn read(secret: &Secret) -> Self {
        let empty = BTreeMap::new();
        let annotations = secret.metadata.annotations.as_ref().unwrap_or(&empty);
        let text = |key: &str| {
            let bytes = &secret.data.as_ref()?.get(key)?.0;
            std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let pair = |cert: &str, key: &str, not_after: &str| {
            Some(Pair {
                cert_pem: text(cert)?,
                key_pem: text(key)?,
                not_after: annotations.get(not_after)?.parse().ok()?,
            })
        };
        let authority = pair(CA_CERT, CA_KEY, CA_NOT_AFTER);
        let leaf = pair(LEAF_CERT, LEAF_KEY, LEAF_NOT_AFTER);
        let (Some(authority), Some(leaf)) = (authority, leaf) else { return Self::default() };
        if annotations.get(FINGERPRINT) != Some(&fingerprint(&authority, &leaf)) {
            return Self::default();
        }
        let names = annotations.get(LEAF_NAMES).map(String::as_str).unwrap_or_default();
        let leaf = Leaf { pair: leaf, dns_names: names.split(',').map(str::to_owned).collect() };
        Self {
            authority: Some(authority).filter(|pair| CertificateAuthority::load(pair.clone()).is_ok()),
            leaf: Some(leaf).filter(|leaf| is_servable(&leaf.pair)),
        }
    }

    /// Puts complete certificates into a Secret and leaves everything else in it alone.
    pub fn fill(secret: &mut Secret, authority: &Pair, leaf: &Leaf) {
        let data = secret.data.get_or_insert_default();
        for (key, text) in [
            (CA_CERT, &authority.cert_pem),
            (CA_KEY, &authority.key_pem),
            (LEAF_CERT, &leaf.pair.cert_pem),
            (LEAF_KEY, &leaf.pair.key_pem),
        ] {
            data.insert(key.to_owned(), ByteString(text.clone().into_bytes()));
        }
        let annotations = secret.metadata.annotations.get_or_insert_default();
        for (key, text) in [
            (CA_NOT_AFTER, authority.not_after.to_string()),
            (LEAF_NOT_AFTER, leaf.pair.not_after.to_string()),
            (LEAF_NAMES, leaf.dns_names.join(",")),
            (FINGERPRINT, fingerprint(authority, &leaf.pair)),
        ] {
            annotations.insert(key.to_owned(), text);
        }
    }
}

fn is_servable(pair: &Pair) -> bool {
    server_config(&TlsOptions::default(), pair.cert_pem.as_bytes(), pair.key_pem.as_bytes(), false).is_ok()
}

/// SHA-256 over both certificates, in hexadecimal. The keys are not part of it.
fn fingerprint(authority: &Pair, leaf: &Pair) -> String {
    let both = format!("{}\n{}", authority.cert_pem, leaf.cert_pem);
    let digest = ring::digest::digest(&ring::digest::SHA256, both.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec![String::from("a.svc"), String::from("b.svc")]
    }

    fn filled(now: Timestamp) -> Secret {
        let authority = CertificateAuthority::generate(now).unwrap();
        let leaf = Leaf { pair: authority.issue(now, &names()).unwrap(), dns_names: names() };
        let mut secret = Secret::default();
        Stored::fill(&mut secret, authority.pair(), &leaf);
        secret
    }

    #[test]
    fn what_was_filled_in_is_read_back_and_kept() {
        let now = Timestamp::now();
        let stored = Stored::read(&filled(now));
        assert_eq!(stored.leaf.as_ref().unwrap().dns_names, names());
        assert_eq!(decide(now, &stored, &names()), Action::Keep);
    }

    #[test]
    fn renewal_begins_when_less_than_ninety_days_are_left() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let stored = Stored::read(&filled(now));
        let after = |days: i64| now + (days * 24).hours();
        let cases = [
            ("fresh", after(0), Action::Keep),
            ("exactly ninety days left", after(365 - 90), Action::Keep),
            ("a day less", after(365 - 89), Action::RenewLeaf),
            ("the server certificate ended", after(400), Action::RenewLeaf),
            ("the authority nears its end", after(3650 - 89), Action::RenewAll),
            ("the authority ended", after(4000), Action::RenewAll),
        ];
        for (name, time, expected) in cases {
            assert_eq!(decide(time, &stored, &names()), expected, "{name}");
        }
    }

    #[test]
    fn other_names_need_another_server_certificate() {
        let now = Timestamp::now();
        let stored = Stored::read(&filled(now));
        assert_eq!(decide(now, &stored, &names()[..1]), Action::RenewLeaf);
    }

    #[test]
    fn an_empty_or_foreign_secret_is_replaced_as_a_whole() {
        let now = Timestamp::now();
        let mut foreign = filled(now);
        foreign.metadata.annotations = None;
        let mut edited = filled(now);
        edited.data.as_mut().unwrap().insert(String::from(LEAF_CERT), ByteString(b"mine".to_vec()));
        let mut half = filled(now);
        half.data.as_mut().unwrap().remove(CA_KEY);
        let mut binary = filled(now);
        binary.data.as_mut().unwrap().insert(String::from(CA_CERT), ByteString(vec![0xff, 0xfe]));
        for secret in [Secret::default(), foreign, edited, half, binary] {
            let stored = Stored::read(&secret);
            assert_eq!(stored, Stored::default());
            assert_eq!(decide(now, &stored, &names()), Action::RenewAll);
        }
    }

    #[test]
    fn a_key_that_does_not_fit_is_not_used() {
        let now = Timestamp::now();
        let mut secret = filled(now);
        let other = filled(now).data.unwrap().remove(LEAF_KEY).unwrap();
        secret.data.as_mut().unwrap().insert(String::from(LEAF_KEY), other);
        assert_eq!(decide(now, &Stored::read(&secret), &names()), Action::RenewLeaf);
        secret.data.as_mut().unwrap().insert(String::from(CA_KEY), ByteString(b"junk".to_vec()));
        assert_eq!(decide(now, &Stored::read(&secret), &names()), Action::RenewAll);
    }

    #[test]
    fn other_keys_and_annotations_of_the_secret_stay() {
        let now = Timestamp::now();
        let mut secret = Secret::default();
        secret.data.get_or_insert_default().insert(String::from("note"), ByteString(b"mine".to_vec()));
        secret.metadata.labels = Some(BTreeMap::from([(String::from("a"), String::from("b"))]));
        let authority = CertificateAuthority::generate(now).unwrap();
        let leaf = Leaf { pair: authority.issue(now, &names()).unwrap(), dns_names: names() };
        Stored::fill(&mut secret, authority.pair(), &leaf);
        assert_eq!(secret.data.unwrap()["note"].0, b"mine");
        assert_eq!(secret.metadata.labels.unwrap()["a"], "b");
    }
}
