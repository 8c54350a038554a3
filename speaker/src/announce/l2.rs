//! Layer 2: one owner per address, the same on every node that looks.
//!
//! ```text
//! Services that share addresses (mostly one alone), for each of them the pool's L2Advertisements that select it
//!     nodes they allow  ^  candidates alive  ^  (traffic policy Local: nodes with a serving endpoint)
//!     order by preference, then by sha256("<node>#<first address>")      --> the first one owns all addresses
//! ```
//! A pure function of what the cluster looks like: no term, no state. The order is MetalLB's byte by byte, so speakers of both
//! kinds agree while a cluster is moved from one to the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use config::model::{Config, L2Advertisement, Pool, PoolName};
use ring::digest::{Context, SHA256, digest};

use crate::announce::endpoints::Serving;
use crate::announce::silence::Silence;
use crate::announce::{Announcement, Interfaces, Leaders, Owner, Reason};
use crate::members::{Bar, Candidates};
use crate::state::ServiceKey;

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

/// Whether this node announces the Service, and how. `group` are all Services that share an address with it, itself included.
///
/// # Errors
/// The reason why it does not, in MetalLB's order of checks.
pub fn decide(view: &View<'_>, service: &Subject<'_>, group: &[Subject<'_>]) -> Result<Announcement, Reason> {
    judge(view, service, group).0
}

/// [`decide`], and the first two nodes in the order of election. There are none where it does not come to an election in which
/// this node has a part.
pub fn judge<'a>(
    view: &View<'a>,
    service: &Subject<'_>,
    group: &[Subject<'_>],
) -> (Result<Announcement, Reason>, Leaders<'a>) {
    let mine = match allowing(view, service) {
        Ok(mine) => mine,
        Err(reason) => return (Err(reason), Leaders::default()),
    };
    let mut ranked = ranking(view, group).into_iter();
    let leaders = Leaders { owner: ranked.next(), next: ranked.next() };
    let decision = match leaders.owner {
        Some(owner) if owner == view.node && !service.may_be_served_on(owner) => Err(Reason::NotOwner(Owner::Sharing)),
        Some(owner) if owner == view.node => Ok(announcement(service.addresses, &mine, view.interfaces)),
        Some(owner) => Err(Reason::NotOwner(Owner::Node(owner.to_owned()))),
        None => Err(Reason::NotOwner(Owner::NoCandidate)),
    };
    (decision, leaders)
}

/// The advertisements that allow this node to announce the Service.
fn allowing<'a>(view: &View<'a>, service: &Subject<'_>) -> Result<Vec<&'a L2Advertisement>, Reason> {
    if service.addresses.is_empty() {
        return Err(Reason::NoIpAllocated);
    }
    let selecting = selecting(view.config, service).ok_or(Reason::IpNotAllowed)?;
    if !service.serving.anywhere {
        return Err(Reason::NotOwner(Owner::NoEndpoints));
    }
    if is_torn(service, &selecting) {
        return Err(Reason::SharedIpWithServiceSelector);
    }
    let mine: Vec<&L2Advertisement> =
        selecting.iter().filter(|advertisement| advertisement.nodes.contains(view.node)).copied().collect();
    if mine.is_empty() {
        return Err(Reason::NoMatchingAdvertisement);
    }
    Ok(mine)
}

/// Why no node announces the Service; `None` when one does, or when it has no address to announce. The same on every node.
pub fn silence(view: &View<'_>, service: &Subject<'_>, group: &[Subject<'_>]) -> Option<Silence> {
    if service.addresses.is_empty() {
        return None;
    }
    let Some((name, pool)) = pool_of(view.config, service.addresses) else {
        return Some(Silence::NoPool(service.addresses.to_vec()));
    };
    let names = |ads: &[&L2Advertisement]| ads.iter().map(|ad| ad.name.clone()).collect();
    let all: Vec<&L2Advertisement> = pool.l2_advertisements.iter().map(AsRef::as_ref).collect();
    let selecting: Vec<&L2Advertisement> = all.iter().filter(|ad| selects(ad, service.labels)).copied().collect();
    let nodes: BTreeSet<&String> = selecting.iter().flat_map(|ad| ad.nodes.iter()).collect();
    if all.is_empty() {
        Some(Silence::NoAdvertisement(name.0.clone()))
    } else if selecting.is_empty() {
        Some(Silence::NotSelected(names(&all)))
    } else if is_torn(service, &selecting) {
        Some(Silence::SharedIpWithServiceSelector(names(&selecting)))
    } else if nodes.is_empty() {
        Some(Silence::NoNode(names(&selecting)))
    } else if !service.serving.anywhere {
        Some(Silence::NoEndpoint)
    } else {
        unowned(view, service, group, nodes)
    }
}

/// Why none of the nodes that advertisements allow announces the Service.
fn unowned(
    view: &View<'_>,
    service: &Subject<'_>,
    group: &[Subject<'_>],
    allowed: BTreeSet<&String>,
) -> Option<Silence> {
    let possible: BTreeSet<&String> = allowed.into_iter().filter(|node| service.may_be_served_on(node)).collect();
    if possible.is_empty() {
        return Some(Silence::NoLocalEndpoint(service.serving.nodes.clone()));
    }
    if let Some(owner) = ranking(view, group).first()
        && view.candidates.up.contains(*owner)
    {
        return (!service.may_be_served_on(owner)).then(|| Silence::Sharing((*owner).to_owned()));
    }
    let down: BTreeSet<String> =
        possible.iter().filter(|node| view.candidates.down.contains(**node)).map(|node| (*node).clone()).collect();
    if !down.is_empty() {
        return Some(Silence::NoneUp(down));
    }
    let mut bars: BTreeMap<Bar, BTreeSet<String>> = BTreeMap::new();
    for node in possible {
        // A node that advertisements know and that is nowhere else was deleted a moment ago.
        let bar = view.candidates.barred.get(node).map_or(Bar::NoSpeaker, |barred| barred.bar);
        bars.entry(bar).or_default().insert(node.clone());
    }
    Some(Silence::AllBarred(bars.into_iter().collect()))
}

/// The nodes that could answer for the addresses of these Services, which share them: the owner first, then who would follow
/// it. All Services of an address are answered from one node, so it is one that all of them can use; where there is none,
/// those that come first decide.
pub fn ranking<'a>(view: &View<'a>, group: &[Subject<'_>]) -> Vec<&'a str> {
    let claims: Vec<(&Subject<'_>, Vec<&'a L2Advertisement>)> = group
        .iter()
        .filter(|service| service.serving.anywhere)
        .filter_map(|service| Some((service, selecting(view.config, service)?)))
        .filter(|(service, advertisements)| !is_torn(service, advertisements))
        .collect();
    let common = |side: &'a BTreeSet<String>| {
        let mut common: Vec<&'a String> = Vec::new();
        for (service, advertisements) in &claims {
            let may = |node: &&'a String| {
                advertisements.iter().any(|ad| ad.nodes.contains(*node)) && service.may_be_served_on(node)
            };
            let both: Vec<&'a String> = if common.is_empty() {
                side.iter().filter(may).collect()
            } else {
                common.iter().copied().filter(may).collect()
            };
            if !both.is_empty() {
                common = both;
            }
        }
        common
    };
    // Those that are not up come into play only when nobody else is left: an apiserver that lost sight of all nodes must not
    // silence all addresses.
    let up = common(&view.candidates.up);
    let nodes = if up.is_empty() { common(&view.candidates.down) } else { up };
    let mut advertisements: Vec<&L2Advertisement> = Vec::new();
    for advertisement in claims.iter().flat_map(|(_, advertisements)| advertisements) {
        if !advertisements.iter().any(|known| std::ptr::eq(*known, *advertisement)) {
            advertisements.push(advertisement);
        }
    }
    // The first address of the status counts, as in MetalLB; between Services that begin with different ones the lowest.
    let Some(first) = group.iter().filter_map(|service| service.addresses.first()).min() else { return Vec::new() };
    rank(nodes.into_iter().map(String::as_str).collect(), &advertisements, *first)
}

impl Subject<'_> {
    /// Whether kube-proxy on this node would hand the Service's traffic to an endpoint.
    fn may_be_served_on(&self, node: &str) -> bool {
        !self.local || self.serving.nodes.contains(node)
    }
}

fn pool_of<'a>(config: &'a Config, addresses: &[IpAddr]) -> Option<(&'a PoolName, &'a Pool)> {
    let found = config.pool_holding(addresses)?;
    config.pools.iter().chain(&config.held).find(|(_, pool)| std::ptr::eq(*pool, found))
}

/// The advertisements that select the Service; `None` when no single pool holds its addresses.
fn selecting<'a>(config: &'a Config, service: &Subject<'_>) -> Option<Vec<&'a L2Advertisement>> {
    let pool = config.pool_holding(service.addresses)?;
    Some(pool.l2_advertisements.iter().map(AsRef::as_ref).filter(|ad| selects(ad, service.labels)).collect())
}

/// Whether Services with the same address could be for different advertisements (MetalLB's rule).
fn is_torn(service: &Subject<'_>, selecting: &[&L2Advertisement]) -> bool {
    service.shares_address && selecting.iter().any(|advertisement| !advertisement.service_selectors.is_empty())
}

fn selects(advertisement: &L2Advertisement, labels: &BTreeMap<String, String>) -> bool {
    let selectors = &advertisement.service_selectors;
    selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
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

/// Orders nodes: the owner first, then those that would follow it.
pub fn rank<'a>(nodes: Vec<&'a str>, advertisements: &[&L2Advertisement], ip: IpAddr) -> Vec<&'a str> {
    let text = ip.to_string();
    let mut ranked: Vec<Place<'a>> = nodes.into_iter().map(|node| place(node, advertisements, &text)).collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, _, node)| node).collect()
}

/// The node that tells what concerns a Service but no node in particular: the first in the order of nodes for its name, so
/// that the work is spread. `None` without nodes.
pub fn teller<'a>(nodes: impl Iterator<Item = &'a str>, service: &ServiceKey) -> Option<&'a str> {
    nodes.min_by_key(|node| digest(&SHA256, format!("{node}#{service}").as_bytes()).as_ref().to_vec())
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
