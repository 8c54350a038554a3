//! What a client sees in certificates. Pure: the clock is an argument.
//!
//! ```text
//!  Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version, serial, algorithm, issuer, validity, subject, key, ... }, ... }
//! ```
//! Whether a certificate is good is never computed here from its fields: [`accepts`] asks the library that clients use. Only
//! the ends of validity and the public key are read, to know when to renew and which key belongs to which authority.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

/// The parts of a certificate that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields<'a> {
    /// First moment of validity.
    pub(crate) not_before: Timestamp,
    /// Last moment of validity.
    pub(crate) not_after: Timestamp,
    /// Whom it is about, DER.
    pub(crate) subject: &'a [u8],
    /// SubjectPublicKeyInfo, DER.
    pub(crate) public_key: &'a [u8],
}

/// Reads a DER certificate (RFC 5280 section 4.1); `None` when it is none.
pub(crate) fn fields(der: &[u8]) -> Option<Fields<'_>> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (certificate, _) = expect(SEQUENCE, der)?;
    let (mut rest, _) = expect(SEQUENCE, certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.rest;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.rest;
    }
    let (validity, rest) = expect(SEQUENCE, rest)?;
    let (begin, end) = (element(validity)?, element(element(validity)?.rest)?);
    let subject = element(rest)?;
    let key = element(subject.rest)?;
    let public_key = subject.rest.get(..subject.rest.len() - key.rest.len())?;
    Some(Fields { not_before: time(&begin)?, not_after: time(&end)?, subject: subject.content, public_key })
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

/// The first element of `input` (X.690 section 8.1).
fn element(input: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // Long form; four octets are more than any certificate needs.
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Element { tag, content, rest })
}

fn expect(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    element(input).filter(|found| found.tag == tag).map(|found| (found.content, found.rest))
}

/// UTCTime or GeneralizedTime in the forms that RFC 5280 section 4.1.2.5 allows.
fn time(element: &Element<'_>) -> Option<Timestamp> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest): (i16, &str) = match (element.tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i16 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        (GENERALIZED_TIME, 14) => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let civil = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// All certificates of a PEM text; `None` when there is none or one of them is broken.
pub(crate) fn read_pem(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

/// Whether the apiserver, trusting `authorities`, accepts the server certificate `chain` for `name` at `now`.
///
/// # Errors
/// The reason it does not, in the words of the library.
pub(crate) fn accepts(
    authorities: &[CertificateDer<'_>],
    chain: &[CertificateDer<'_>],
    name: &str,
    now: Timestamp,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        // Unlike this library, the apiserver also looks at the validity of what it trusts.
        let valid = fields(authority).is_some_and(|it| it.not_before <= now && now <= it.not_after);
        if valid {
            // One that cannot be used trusts nothing.
            let _ = roots.add(authority.clone().into_owned());
        }
    }
    if roots.is_empty() {
        return Err(String::from("no authority is trusted that is valid now"));
    }
    let (leaf, intermediates) = chain.split_first().ok_or("there is no certificate")?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
    let verifier = verifier.build().map_err(|error| error.to_string())?;
    let server = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default()));
    let verified = verifier.verify_server_cert(leaf, intermediates, &server, &[], time);
    verified.map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use proptest::prelude::*;

    use super::*;
    use crate::certs::CertificateAuthority;

    fn der(pem: &str) -> Vec<CertificateDer<'static>> {
        read_pem(pem.as_bytes()).unwrap()
    }

    #[test]
    fn validity_and_key_are_read() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let authority = CertificateAuthority::generate(now).unwrap();
        let pair = authority.issue(now, &[String::from("a.svc")]).unwrap();
        let certificate = der(&pair.cert_pem);
        let read = fields(&certificate[0]).unwrap();
        assert_eq!((read.not_before, read.not_after), (now - 1.hour(), now + (365 * 24).hours()));
        let key = rcgen::KeyPair::from_pem(&pair.key_pem).unwrap();
        assert_eq!(read.public_key, rcgen::PublicKeyData::subject_public_key_info(&key));
    }

    #[test]
    fn years_are_read_in_both_forms() {
        let read = |tag, text: &str| time(&Element { tag, content: text.as_bytes(), rest: &[] });
        assert_eq!(read(0x17, "500101000000Z"), "1950-01-01T00:00:00Z".parse().ok());
        assert_eq!(read(0x17, "491231235959Z"), "2049-12-31T23:59:59Z".parse().ok());
        assert_eq!(read(0x18, "20500101000000Z"), "2050-01-01T00:00:00Z".parse().ok());
        for text in ["", "Z", "500101000000", "501301000000Z", "5001010000+0Z", "20500101000000Z"] {
            assert_eq!(read(0x17, text), None, "{text}");
        }
    }

    #[test]
    fn a_client_accepts_by_any_of_the_authorities_it_trusts() {
        let now = Timestamp::now();
        let (one, two) = (CertificateAuthority::generate(now).unwrap(), CertificateAuthority::generate(now).unwrap());
        let leaf = der(&one.issue(now, &[String::from("a.svc")]).unwrap().cert_pem);
        let (one, two) = (der(&one.pair().cert_pem), der(&two.pair().cert_pem));
        let both = [two[0].clone(), one[0].clone()];
        assert_eq!(accepts(&both, &leaf, "a.svc", now), Ok(()));
        assert!(accepts(&two, &leaf, "a.svc", now).is_err());
        assert!(accepts(&both, &leaf, "b.svc", now).is_err());
        assert!(accepts(&both, &leaf, "a.svc", now - 2.hours()).is_err());
        assert!(accepts(&both, &leaf, "a.svc", now + (366 * 24).hours()).is_err());
        assert!(accepts(&both, &[], "a.svc", now).is_err() && accepts(&[], &leaf, "a.svc", now).is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..2000, flip in 0usize..2000) {
            let _ = fields(&bytes);
            let authority = CertificateAuthority::generate(Timestamp::from_second(1_800_000_000).unwrap()).unwrap();
            let mut real = der(&authority.pair().cert_pem)[0].to_vec();
            let place = flip % real.len();
            real[place] ^= 0x5a;
            let _ = fields(&real);
            real.truncate(cut % (real.len() + 1));
            let _ = fields(&real);
        }
    }
}
