//! What BGP peers must agree on when one node keeps sessions with both and they share a VRF.
//!
//! ```text
//! peers of one VRF, nodes grouped by the set of peers that select them
//!   same address (or interface) twice | different myASN | different routerID   --> Policy
//! ```
//! With no node known, all peers of a VRF are assumed to meet. The texts mention FRR only where FRR is the backend.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Class, Finding, ObjectId};
use crate::model::{Peer, PeerEndpoint};
use crate::resources::{Backend, NodeLabels};
use crate::selector::{Selector, any_matches};

/// One peer, its id and its place in the order of precedence (older first).
pub(crate) struct Ranked<'a> {
    pub(crate) id: &'a ObjectId,
    pub(crate) peer: &'a Peer,
}

/// Reports every younger peer that does not go with an older one.
pub(crate) fn check(peers: &[Ranked<'_>], nodes: &[NodeLabels], backend: Backend, findings: &mut Vec<Finding>) {
    let mut by_vrf: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (index, ranked) in peers.iter().enumerate() {
        by_vrf.entry(ranked.peer.vrf.as_deref()).or_default().push(index);
    }
    let mut clashes: BTreeSet<(Rule, usize, usize)> = BTreeSet::new();
    for members in by_vrf.values() {
        for meeting in meetings(peers, members, nodes) {
            clashes_of(peers, &meeting, &mut clashes);
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
}

/// The distinct sets of peers that meet on some node, each in the order of precedence.
fn meetings(peers: &[Ranked<'_>], members: &[usize], nodes: &[NodeLabels]) -> BTreeSet<Vec<usize>> {
    if nodes.is_empty() {
        return BTreeSet::from([members.to_vec()]);
    }
    // Few distinct lists of selectors are shared by many peers: match each list once per node.
    let mut lists: BTreeMap<&[Selector], Vec<usize>> = BTreeMap::new();
    for index in members {
        if let Some(ranked) = peers.get(*index) {
            lists.entry(&ranked.peer.node_selectors).or_default().push(*index);
        }
    }
    let signatures: BTreeSet<Vec<bool>> =
        nodes.iter().map(|node| lists.keys().map(|selectors| any_matches(selectors, &node.labels)).collect()).collect();
    let meeting = |signature: Vec<bool>| {
        let selected = lists.values().zip(signature).filter(|(_, matches)| *matches);
        let mut meeting: Vec<usize> = selected.flat_map(|(list, _)| list).copied().collect();
        meeting.sort_unstable();
        meeting
    };
    signatures.into_iter().map(meeting).collect()
}

/// Compares each peer with the first one of the meeting, which settles what all must agree on, and with the first one
/// that has its address: linear in the number of peers.
fn clashes_of(peers: &[Ranked<'_>], meeting: &[usize], clashes: &mut BTreeSet<(Rule, usize, usize)>) {
    let mut by_endpoint: BTreeMap<String, usize> = BTreeMap::new();
    let Some((first, first_peer)) = meeting.first().and_then(|index| Some((*index, peers.get(*index)?.peer))) else {
        return;
    };
    for index in meeting {
        let Some(Ranked { peer, .. }) = peers.get(*index) else { continue };
        if peer.router_id != first_peer.router_id {
            clashes.insert((Rule::RouterId, *index, first));
        }
        if peer.my_asn != first_peer.my_asn {
            clashes.insert((Rule::MyAsn, *index, first));
        }
        let older = *by_endpoint.entry(endpoint(peer)).or_insert(*index);
        if older != *index {
            clashes.insert((Rule::Duplicate, *index, older));
        }
    }
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
    let router_id = |peer: &Peer| peer.router_id.map(|id| id.to_string()).unwrap_or_default();
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
        Rule::Duplicate => (
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
    let remedy =
        format!("{} and {} meet on a node: change one, or keep them apart with nodeSelectors", younger.id, older.id);
    Some(Finding::new(Class::Policy, younger.id, field, text).with(older.id).detail(remedy))
}
