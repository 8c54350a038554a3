//! What BGP peers must agree on when one node keeps sessions with both and they share a VRF.
//!
//! ```text
//! peers of one VRF, nodes grouped by the set of peers that select them
//!   same address (or interface) twice | different myASN | different routerID   --> Policy; with FRR, which cannot run
//!                                                                                  both, Error of the younger peer
//!   same address twice, no node selected by both, but one could come           --> Warning
//! ```
//! With no node known, all peers of a VRF are assumed to meet. The texts mention FRR only where FRR is the backend.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Class, Finding, ObjectId};
use crate::label_index::LabelIndex;
use crate::model::{Peer, PeerEndpoint};
use crate::resources::{Backend, NodeLabels};
use crate::selector::{Selector, can_overlap};

/// One peer, its id and its place in the order of precedence (older first).
pub(crate) struct Ranked<'a> {
    pub(crate) id: &'a ObjectId,
    pub(crate) peer: &'a Peer,
}

/// A rule, the number of the younger peer, that of the older one.
type Clashes = BTreeSet<(Rule, usize, usize)>;

/// Reports every younger peer that does not go with an older one.
pub(crate) fn check(peers: &[Ranked<'_>], nodes: &[NodeLabels], backend: Backend, findings: &mut Vec<Finding>) {
    let mut by_vrf: BTreeMap<Option<&str>, Vec<(usize, &Peer)>> = BTreeMap::new();
    for (index, ranked) in peers.iter().enumerate() {
        by_vrf.entry(ranked.peer.vrf.as_deref()).or_default().push((index, ranked.peer));
    }
    let nodes = LabelIndex::new(nodes.iter().map(|node| &node.labels));
    let mut clashes = Clashes::new();
    for members in by_vrf.values() {
        let shared = shared_endpoints(members);
        // Nearly always all agree and no two have one address: then it does not matter who meets whom.
        if differ(members, |peer| peer.my_asn) || differ(members, |peer| peer.router_id) {
            meetings(members, &nodes).iter().for_each(|meeting| disagreements(meeting, &mut clashes));
        }
        for group in shared {
            meetings(&group, &nodes).iter().for_each(|meeting| duplicates(meeting, &mut clashes));
            possible_duplicates(&group, &mut clashes);
        }
    }
    for (rule, younger, older) in clashes {
        findings.extend(finding(rule, peers.get(younger), peers.get(older), backend));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    RouterId,
    Duplicate,
    MyAsn,
    PossibleDuplicate,
}

fn differ<T: PartialEq>(members: &[(usize, &Peer)], of: impl Fn(&Peer) -> T) -> bool {
    members.windows(2).any(|pair| of(pair[0].1) != of(pair[1].1))
}

/// The peers that share their address or interface with another one, by endpoint.
fn shared_endpoints<'a>(members: &[(usize, &'a Peer)]) -> Vec<Vec<(usize, &'a Peer)>> {
    let mut by_endpoint: BTreeMap<&PeerEndpoint, Vec<(usize, &Peer)>> = BTreeMap::new();
    for (index, peer) in members {
        by_endpoint.entry(&peer.endpoint).or_default().push((*index, peer));
    }
    by_endpoint.into_values().filter(|group| group.len() > 1).collect()
}

/// The distinct sets of peers that meet on some node, each in the order of precedence.
fn meetings<'a>(members: &[(usize, &'a Peer)], nodes: &LabelIndex<'_>) -> Vec<Vec<(usize, &'a Peer)>> {
    if nodes.is_empty() {
        return vec![members.to_vec()];
    }
    // Few distinct lists of selectors are shared by many peers: match each list once.
    let mut lists: BTreeMap<&[Selector], Vec<(usize, &Peer)>> = BTreeMap::new();
    for (index, peer) in members {
        lists.entry(&peer.node_selectors).or_default().push((*index, peer));
    }
    let mut on_node: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (list, selectors) in lists.keys().enumerate() {
        for node in nodes.matching(selectors) {
            if let Some(lists) = on_node.get_mut(node) {
                lists.push(list);
            }
        }
    }
    let lists: Vec<_> = lists.into_values().collect();
    let distinct: BTreeSet<Vec<usize>> = on_node.into_iter().collect();
    let meeting = |signature: Vec<usize>| {
        let mut meeting: Vec<_> = signature.iter().filter_map(|list| lists.get(*list)).flatten().copied().collect();
        meeting.sort_unstable_by_key(|(index, _)| *index);
        meeting
    };
    distinct.into_iter().map(meeting).collect()
}

/// Compares each peer with the first one of the meeting, which settles what all must agree on.
fn disagreements(meeting: &[(usize, &Peer)], clashes: &mut Clashes) {
    let Some((first, oldest)) = meeting.first() else { return };
    for (index, peer) in meeting {
        if peer.router_id != oldest.router_id {
            clashes.insert((Rule::RouterId, *index, *first));
        }
        if peer.my_asn != oldest.my_asn {
            clashes.insert((Rule::MyAsn, *index, *first));
        }
    }
}

/// All of one endpoint: every one but the first is too many.
fn duplicates(meeting: &[(usize, &Peer)], clashes: &mut Clashes) {
    let Some((first, _)) = meeting.first() else { return };
    clashes.extend(meeting.iter().skip(1).map(|(index, _)| (Rule::Duplicate, *index, *first)));
}

/// Peers of one endpoint that meet nowhere today, and could meet on a node with the right labels: at most one per peer.
fn possible_duplicates(group: &[(usize, &Peer)], clashes: &mut Clashes) {
    let mut by_value: BTreeMap<Option<&str>, Vec<(usize, &Peer)>> = BTreeMap::new();
    let key = common_key(group);
    for (index, peer) in group {
        let tickets: BTreeSet<Option<&str>> = match key {
            Some(key) => peer.node_selectors.iter().flat_map(|selector| selector.wants(key)).map(Some).collect(),
            None => BTreeSet::from([None]),
        };
        let known: BTreeMap<usize, &Peer> =
            tickets.iter().filter_map(|ticket| by_value.get(ticket)).flatten().copied().collect();
        let clashes_already = clashes.iter().any(|(rule, younger, _)| *rule == Rule::Duplicate && younger == index);
        let may_meet = |(_, older): &(usize, &Peer)| can_overlap(&older.node_selectors, &peer.node_selectors);
        if let Some((older, _)) = known.into_iter().find(may_meet).filter(|_| !clashes_already) {
            clashes.insert((Rule::PossibleDuplicate, *index, older));
        }
        for ticket in tickets {
            by_value.entry(ticket).or_default().push((*index, peer));
        }
    }
}

/// A label that every selector of every peer asks for, such as the host name: only peers that ask for one value of it can
/// meet.
fn common_key<'a>(group: &[(usize, &'a Peer)]) -> Option<&'a str> {
    let (_, first) = group.first()?;
    let mut keys = first.node_selectors.first()?.wanted().map(|(key, _)| key);
    let asks = |peer: &Peer, key: &str| {
        let selectors = &peer.node_selectors;
        !selectors.is_empty() && selectors.iter().all(|selector| selector.wanted().any(|(wanted, _)| wanted == key))
    };
    keys.find(|key| group.iter().all(|(_, peer)| asks(peer, key)))
}

fn endpoint(peer: &Peer) -> String {
    match &peer.endpoint {
        PeerEndpoint::Address(address) => address.to_string(),
        PeerEndpoint::Interface(name) => name.clone(),
    }
}

fn finding(rule: Rule, younger: Option<&Ranked<'_>>, older: Option<&Ranked<'_>>, backend: Backend) -> Option<Finding> {
    let (younger, older) = (younger?, older?);
    let (peer, other) = (younger.peer, older.peer);
    let router_id = |peer: &Peer| peer.router_id.map_or_else(|| "(unset)".to_owned(), |id| id.to_string());
    let frr = if backend.is_frr() { "in FRR mode " } else { "" };
    let (field, text) = match rule {
        Rule::RouterId => (
            "spec.routerID",
            format!(
                "peer {} has RouterID different from {}, {frr}peers selecting the same node must all have the same RouterID",
                router_id(peer),
                router_id(other)
            ),
        ),
        Rule::Duplicate | Rule::PossibleDuplicate => (
            "spec.peerAddress",
            format!(
                "peer {} already exists, {}",
                peer.vrf.as_ref().map_or_else(|| endpoint(peer), |vrf| format!("{}-{vrf}", endpoint(peer))),
                if backend.is_frr() {
                    "FRR mode doesn't support duplicate BGPPeers selecting the same node"
                } else {
                    "duplicate BGPPeers selecting the same node are not supported"
                }
            ),
        ),
        Rule::MyAsn => (
            "spec.myASN",
            format!(
                "peer {} has myAsn different from {}, {frr}peers selecting the same node must have the same myAsn within \
                 the same VRF",
                endpoint(peer),
                endpoint(other)
            ),
        ),
    };
    let (a, b) = (younger.id, older.id);
    if rule == Rule::PossibleDuplicate {
        let text = format!(
            "{a} and {b} have the same {}: no node is selected by both now, but their nodeSelectors allow one",
            if matches!(peer.endpoint, PeerEndpoint::Address(_)) { "peerAddress" } else { "interface" }
        );
        return Some(Finding::new(Class::Warning, a, "spec.nodeSelectors", text).with(b));
    }
    let remedy = match rule {
        Rule::RouterId => format!("set spec.routerID of {a} and {b} to one value, or of none: they meet on a node"),
        Rule::Duplicate | Rule::MyAsn | Rule::PossibleDuplicate => {
            format!("{a} and {b} meet on a node: change one, or keep them apart with nodeSelectors")
        }
    };
    let class = if backend.is_frr() { Class::Error } else { Class::Policy };
    Some(Finding::new(class, younger.id, field, text).with(older.id).detail(remedy))
}
