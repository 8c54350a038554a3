//! What to do next about certificates. Pure: the clock is an argument.
//!
//! ```text
//!        the leaf of the Secret is good                          it is not (gone, garbage, expired, other names)
//!   ┌──────────────────┴───────────────────────┐                   ┌──────────────┴──────────────┐
//!   the bundle lacks the authority of          otherwise           we serve a good one:          nothing is good:
//!   what we serve: adopt it                        │               write back what we remember   new leaf at once, by a
//!                                                  ▼                                             new authority if need be
//!   180 days before its end an authority gets a successor beside it; registrations trust both
//!    90 days before the end of leaf or authority a new leaf, once all registrations have trusted its authority for a minute
//!   an authority leaves the bundle when it has expired, and never before
//! ```
//! Bundles only grow until something expires, so every step alone leaves a state in which each call succeeds, however far
//! another replica lags behind; replicas need not agree on who acts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::authority::{CertificateAuthority, CertificateError};
use super::registrations::Registration;
use super::stored::{Authority, Leaf, Signer, Stored};

/// A leaf, or an authority under it, with less than this left is replaced (MetalLB behaviour: 90 days).
const RENEW: SignedDuration = SignedDuration::from_hours(90 * 24);
/// An authority with less than this left gets a successor.
const SUCCEED: SignedDuration = SignedDuration::from_hours(180 * 24);
/// How long registrations must have trusted an authority before a leaf of it is used: every apiserver learns of a changed
/// registration through a watch of its own.
pub(crate) const SETTLE: SignedDuration = SignedDuration::from_secs(60);
/// More authorities than this are never kept. Nothing but losing the Secret again and again gets that far.
const MOST: usize = 16;

/// What is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) now: Timestamp,
    /// Names that clients connect to.
    pub(crate) dns_names: &'a [String],
    /// What the Secret holds.
    pub(crate) stored: &'a Stored,
    /// What the Secret held when this replica took its leaf from there; that leaf is served.
    pub(crate) held: Option<&'a Stored>,
    /// The registrations that exist.
    pub(crate) registrations: &'a [Registration],
    /// Authorities that all registrations trust, and since when this replica has seen it.
    pub(crate) trusted: &'a Trusted,
}

/// Authorities and since when they are trusted.
pub(crate) type Trusted = BTreeMap<Vec<u8>, Timestamp>;

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Write the Secret.
    Store(Change),
    /// Serve the leaf of the Secret.
    Serve,
    /// Make the registrations trust the bundle.
    Trust,
    /// Nothing; look again after this time at the latest.
    Keep { again: Option<Duration> },
}

/// What changes in the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing is good: a new leaf, by a new authority if the stored one cannot sign.
    Begin,
    /// What we serve is good and the Secret does not know it: it was deleted or garbled, or is from another time.
    Adopt,
    /// A new authority that signs from now on.
    AddAuthority,
    /// A new leaf by the authority in use.
    IssueLeaf,
    /// What has expired goes.
    Tidy,
}

impl Change {
    /// For the log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Begin => "a new server certificate, because there was no usable one",
            Self::Adopt => "the certificate that is being served is kept",
            Self::AddAuthority => "a new certificate authority beside the one that is missing or near its end",
            Self::IssueLeaf => "a new server certificate by the newest authority",
            Self::Tidy => "expired authorities are gone",
        }
    }
}

/// Decides the next step.
pub(crate) fn decide(view: &View<'_>) -> Action {
    let View { now, dns_names, stored, held, registrations, .. } = *view;
    let good = |leaf: &Leaf, authorities: &[Authority]| leaf.is_good(authorities, dns_names, now);
    let held = held.filter(|held| held.leaf.as_ref().is_some_and(|leaf| good(leaf, &held.authorities)));
    let Some(leaf) = stored.leaf.as_ref().filter(|leaf| good(leaf, &stored.authorities)) else {
        return Action::Store(if held.is_some() { Change::Adopt } else { Change::Begin });
    };
    let served = held.and_then(|held| held.leaf.as_ref());
    if served.is_some_and(|served| !good(served, &stored.authorities)) {
        return Action::Store(Change::Adopt);
    }
    let lasts = |signer: &&Signer| signer.authority.not_after >= later(now, SUCCEED);
    let Some(signer) = usable(stored, now).filter(lasts) else { return Action::Store(Change::AddAuthority) };
    let mut again = None;
    if !leaf.is_good(&stored.authorities, dns_names, later(now, RENEW)) {
        let wait = settling(view, &signer.authority);
        if wait.is_zero() {
            return Action::Store(Change::IssueLeaf);
        }
        again = Some(wait.unsigned_abs());
    }
    if !stored.is_tidy || wanted(view, stored.authorities.clone()).len() != stored.authorities.len() {
        return Action::Store(Change::Tidy);
    }
    if served != Some(leaf) {
        // Whoever serves nothing good yet has nothing to lose.
        let issuers = stored.authorities.iter().filter(|authority| good(leaf, std::slice::from_ref(*authority)));
        let wait = issuers.map(|issuer| settling(view, issuer)).min().filter(|_| served.is_some());
        match wait.unwrap_or_default() {
            SignedDuration::ZERO => return Action::Serve,
            wait => again = Some(wait.unsigned_abs()),
        }
    }
    let bundle = stored.ders();
    match registrations.iter().all(|registration| registration.is_in_order(&bundle)) {
        false => Action::Trust,
        true => Action::Keep { again },
    }
}

/// How long to wait until a leaf of this authority may be used; zero where no registration has to be waited for.
fn settling(view: &View<'_>, authority: &Authority) -> SignedDuration {
    if view.registrations.is_empty() {
        return SignedDuration::ZERO;
    }
    match view.trusted.get(authority.der.as_ref()) {
        Some(since) => (SETTLE - view.now.duration_since(*since)).clamp(SignedDuration::ZERO, SETTLE),
        None => SETTLE,
    }
}

/// The authority in use, as far as it can be used now.
fn usable(stored: &Stored, now: Timestamp) -> Option<&Signer> {
    stored.signer.as_ref().filter(|signer| signer.authority.is_valid(now))
}

/// Those of `authorities` that have not expired: the signer first, because earlier versions of this program take the first
/// one for it, then those that are in use, then the youngest.
fn wanted(view: &View<'_>, mut authorities: Vec<Authority>) -> Vec<Authority> {
    let View { now, stored, held, .. } = *view;
    let signer = stored.signer.as_ref().map(|signer| &signer.authority);
    let used = |authority: &Authority| {
        let leaves = stored.leaf.iter().chain(held.and_then(|held| held.leaf.as_ref()));
        leaves.into_iter().any(|leaf| leaf.is_good([authority], view.dns_names, now))
    };
    authorities.retain(|authority| authority.not_after >= now);
    authorities.sort_by_cached_key(|authority| {
        (Some(authority) != signer, !used(authority), std::cmp::Reverse(authority.not_before), authority.der.to_vec())
    });
    authorities.dedup();
    authorities.truncate(MOST);
    authorities
}

/// What the Secret shall hold after a change.
///
/// # Errors
/// A certificate cannot be made.
pub(crate) fn changed(view: &View<'_>, change: Change) -> Result<Stored, CertificateError> {
    let View { now, dns_names, held, .. } = *view;
    let mut next = view.stored.clone();
    if let (Change::Adopt, Some(held)) = (change, held) {
        if !next.leaf.as_ref().is_some_and(|leaf| leaf.is_good(&next.authorities, dns_names, now)) {
            next.leaf.clone_from(&held.leaf);
        }
        if usable(&next, now).is_none() {
            next.signer.clone_from(&held.signer);
        }
        next.authorities.extend(held.authorities.iter().cloned());
    }
    let needs_signer = matches!(change, Change::Begin | Change::Adopt) && usable(&next, now).is_none();
    if needs_signer || change == Change::AddAuthority {
        let made = CertificateAuthority::generate(now)?;
        let signer = Signer::new(made.pair()).ok_or(CertificateError::Unreadable)?;
        // Where the Secret was lost before we read it, another replica may still serve what only the registrations know.
        let registered = view.registrations.iter().flat_map(Registration::authorities).filter_map(Authority::new);
        let registered: Vec<_> = registered.filter(|authority| authority.is_namesake(&signer.authority)).collect();
        next.authorities.extend(registered);
        next.authorities.push(signer.authority.clone());
        next.signer = Some(signer);
    }
    if let (Change::Begin | Change::IssueLeaf, Some(signer)) = (change, &next.signer) {
        let pair = CertificateAuthority::load(signer.pair())?.issue(now, dns_names)?;
        next.leaf = Some(Leaf::new(&pair.cert_pem, &pair.key_pem).ok_or(CertificateError::Unreadable)?);
    }
    let authorities = std::mem::take(&mut next.authorities);
    next.authorities = wanted(&View { stored: &next, ..*view }, authorities);
    next.is_tidy = true;
    Ok(next)
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
