//! Layer 2: one owner per Service, the same on every node that looks.
//!
//! ```text
//! pool's L2Advertisements that select the Service
//!     nodes they allow  ^  candidates alive  ^  (traffic policy Local: nodes with a serving endpoint)
//!     order by preference, then by sha256("<node>#<first address>")      --> the first one owns all addresses
//! ```
//! A pure function of what the cluster looks like: no term, no state. The order is MetalLB's byte by byte, so speakers of both
//! kinds agree while a cluster is moved from one to the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use config::model::{Config, L2Advertisement};
use ring::digest::{Context, SHA256};

use crate::announce::endpoints::Serving;
use crate::announce::{Announcement, Interfaces, Leaders, Owner, Reason};
use crate::members::Candidates;

/// What a decision looks at, apart from the Service.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// This node.
    pub node: &'a str,
    /// What is configured.
    pub config: &'a Config,
    /// The nodes that may announce.
    pub candidates: &'a Candidates,
    /// The interfaces of this node that an advertisement may name.
    pub interfaces: &'a BTreeSet<String>,
}

/// A Service as far as a decision needs it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its addresses in the order of its status; the first one counts in the election.
    pub addresses: &'a [IpAddr],
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// It carries a sharing key: other Services may have the same address.
    pub shares_address: bool,
    /// External traffic policy Local: only nodes with an endpoint may announce.
    pub local: bool,
    /// Where it can be served.
    pub serving: &'a Serving,
}

/// Whether this node announces the Service, and how.
///
/// # Errors
/// The reason why it does not, in MetalLB's order of checks.
pub fn decide(view: &View<'_>, service: &Subject<'_>) -> Result<Announcement, Reason> {
    judge(view, service).0
}

/// [`decide`], and the first two nodes in the order of election. There are none where it does not come to an election in which
/// this node has a part.
pub fn judge<'a>(view: &View<'a>, service: &Subject<'_>) -> (Result<Announcement, Reason>, Leaders<'a>) {
    match elect(view, service) {
        Err(reason) => (Err(reason), Leaders::default()),
        Ok((leaders, mine)) => {
            let decision = match leaders.owner {
                Some(owner) if owner == view.node => Ok(announcement(service.addresses, &mine, view.interfaces)),
                Some(owner) => Err(Reason::NotOwner(Owner::Node(owner.to_owned()))),
                None => Err(Reason::NotOwner(Owner::NoCandidate)),
            };
            (decision, leaders)
        }
    }
}

/// The winners of the election, and the advertisements that allow this node.
fn elect<'a>(view: &View<'a>, service: &Subject<'_>) -> Result<(Leaders<'a>, Vec<&'a L2Advertisement>), Reason> {
    let first = service.addresses.first().ok_or(Reason::NoIpAllocated)?;
    let pool = view.config.pool_holding(service.addresses);
    let advertisements = &pool.ok_or(Reason::IpNotAllowed)?.l2_advertisements;
    if !service.serving.anywhere {
        return Err(Reason::NotOwner(Owner::NoEndpoints));
    }
    let selecting: Vec<&L2Advertisement> = advertisements
        .iter()
        .map(AsRef::as_ref)
        .filter(|advertisement| selects(advertisement, service.labels))
        .collect();
    if service.shares_address && selecting.iter().any(|advertisement| !advertisement.service_selectors.is_empty()) {
        return Err(Reason::SharedIpWithServiceSelector);
    }
    let mine: Vec<&L2Advertisement> =
        selecting.iter().filter(|advertisement| advertisement.nodes.contains(view.node)).copied().collect();
    if mine.is_empty() {
        return Err(Reason::NoMatchingAdvertisement);
    }
    Ok((leaders(eligible(view.candidates, &selecting, service), &selecting, *first), mine))
}

fn selects(advertisement: &L2Advertisement, labels: &BTreeMap<String, String>) -> bool {
    let selectors = &advertisement.service_selectors;
    selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
}

/// The candidates that may announce this Service. Those that are not up come into play only when nobody else is left: an
/// apiserver that lost sight of all nodes must not silence all addresses.
fn eligible<'a>(
    candidates: &'a Candidates,
    advertisements: &[&L2Advertisement],
    service: &Subject<'_>,
) -> Vec<&'a str> {
    let may = |name: &&String| {
        advertisements.iter().any(|advertisement| advertisement.nodes.contains(*name))
            && (!service.local || service.serving.nodes.contains(*name))
    };
    let up: Vec<&str> = candidates.up.iter().filter(may).map(String::as_str).collect();
    if up.is_empty() { candidates.down.iter().filter(may).map(String::as_str).collect() } else { up }
}

/// Where a node stands in the order of election; the lowest place wins.
type Place<'a> = (Reverse<i64>, [u8; 32], &'a str);

fn place<'a>(node: &'a str, advertisements: &[&L2Advertisement], ip: &str) -> Place<'a> {
    let preference: i64 = advertisements.iter().filter_map(|ad| ad.preferences.get(node)).sum();
    let mut context = Context::new(&SHA256);
    [node, "#", ip].into_iter().for_each(|part| context.update(part.as_bytes()));
    let mut hash = [0; 32];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    (Reverse(preference), hash, node)
}

/// The first two of these nodes. Thousands of addresses are looked at when a node dies, so nothing is sorted.
fn leaders<'a>(nodes: Vec<&'a str>, advertisements: &[&L2Advertisement], ip: IpAddr) -> Leaders<'a> {
    let text = ip.to_string();
    let mut best: [Option<Place<'a>>; 2] = [None, None];
    for node in nodes {
        let found = place(node, advertisements, &text);
        let [first, second] = &mut best;
        if first.is_none_or(|first| found < first) {
            *second = first.replace(found);
        } else if second.is_none_or(|second| found < second) {
            *second = Some(found);
        }
    }
    let [owner, next] = best.map(|place| place.map(|(_, _, node)| node));
    Leaders { owner, next }
}

/// Orders nodes: the owner first, then those that would follow it.
pub fn rank<'a>(nodes: Vec<&'a str>, advertisements: &[&L2Advertisement], ip: IpAddr) -> Vec<&'a str> {
    let text = ip.to_string();
    let mut ranked: Vec<Place<'a>> = nodes.into_iter().map(|node| place(node, advertisements, &text)).collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, _, node)| node).collect()
}

fn announcement(addresses: &[IpAddr], mine: &[&L2Advertisement], existing: &BTreeSet<String>) -> Announcement {
    let interfaces = mine
        .iter()
        .map(|advertisement| advertisement.interfaces.clone().map_or(Interfaces::All, Interfaces::Named))
        .reduce(|all, more| all.union(&more))
        .unwrap_or(Interfaces::All);
    let reachable = match &interfaces {
        Interfaces::All => true,
        Interfaces::Named(names) => names.iter().any(|name| existing.contains(name)),
    };
    if reachable {
        let addresses = addresses.iter().map(|ip| (*ip, interfaces.clone())).collect();
        Announcement { addresses, unreachable: BTreeSet::new() }
    } else {
        Announcement { addresses: BTreeMap::new(), unreachable: addresses.iter().copied().collect() }
    }
}

#[cfg(test)]
#[path = "l2_tests.rs"]
mod tests;
