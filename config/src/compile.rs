//! The order of work: MetalLB's order of evaluation, which is also the order of the findings.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::attachment::Surroundings;
use crate::bgp_advertisements::{self, Attachment};
use crate::finding::{Class, Compiled, Finding, Kind, ObjectId};
use crate::model::{BfdProfile, Config, Peer, Pool, PoolName};
use crate::peer_pairs::{self, Ranked};
use crate::peers::{self, References};
use crate::pools::{ActivePool, ActivePools};
use crate::resources::Resources;
use crate::selector::Selector;
use crate::source::{Source, Stored, ranked, sort};
use crate::{address_pools, bfd, communities, l2_advertisements, pools};

/// Judges everything that is stored. Never fails; the order of the input does not matter.
pub fn compile(resources: &Resources) -> Compiled {
    let mut found = Found::default();
    let legacy: Vec<_> =
        resources.address_pools.iter().map(|stored| address_pools::expand(stored, &mut found.pools)).collect();
    let view = Viewpoint::of(resources);
    let mut peer_sources = ranked(&resources.peers);
    let stored_peers = resources.peers.iter().filter_map(|peer| peer.metadata.name.as_deref()).collect();
    peer_sources.retain(|source| view.sees(&source.object.spec.node_selectors, &[]));
    let pool_sources = with_legacy(&resources.pools, legacy.iter().map(|old| (old.stored, &old.pool)));
    let l2_sources = with_legacy(
        &resources.l2_advertisements,
        legacy.iter().filter_map(|old| old.l2.as_ref().map(|l2| (old.stored, l2))),
    );
    let mut bgp_sources = with_legacy(
        &resources.bgp_advertisements,
        legacy.iter().flat_map(|old| old.bgp.iter().map(|bgp| (old.stored, bgp))),
    );
    bgp_sources.retain(|source| view.sees(&source.object.spec.node_selectors, &source.object.spec.node_selector));

    let bfd_profiles = bfd::compile(&ranked(&resources.bfd_profiles), &mut found.bfd);
    let references = References::new(&bfd_profiles, resources.secrets.as_deref());
    let mut peers = peers::compile(&peer_sources, &references, &mut found.peers);
    let in_force: Vec<_> = peer_sources
        .iter()
        .filter_map(|source| Some(Ranked { id: &source.id, peer: peers.get(source.name())? }))
        .collect();
    peer_pairs::check(&in_force, &resources.nodes, resources.backend, &mut found.pairs);
    for clash in found.pairs.iter().filter(|finding| finding.class == Class::Error) {
        peers.remove(&clash.object.name);
    }
    let aliases = communities::compile(&ranked(&resources.communities), &mut found.communities);
    let active = pools::compile(&pool_sources, &resources.namespaces, &mut found.pools);
    let stored_pools = pool_sources.iter().map(Source::name).collect();
    let mut around = Surroundings::new(&active, stored_pools, stored_peers, &resources.nodes);
    let l2 = l2_advertisements::compile(&l2_sources, &mut around, &mut found.l2);
    let mut bgp = bgp_advertisements::compile(&bgp_sources, &aliases, &mut around, &mut found.bgp);
    untie_echo(&active, &mut bgp, &peers, &bfd_profiles, &mut found.cross);
    let (pools, held) = tie(active, l2, bgp);
    Compiled { config: Config { pools, held, peers, bfd_profiles }, findings: found.in_order() }
}

/// What one speaker sees of peers and BGP advertisements.
struct Viewpoint<'a> {
    /// Labels of its node; an unknown node has none. `None`: everything is seen.
    labels: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Viewpoint<'a> {
    fn of(resources: &'a Resources) -> Self {
        static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
        let labels_of = |name: &String| {
            let node = resources.nodes.iter().find(|node| node.name == *name);
            node.map_or(&NO_LABELS, |node| &node.labels)
        };
        Self { labels: resources.viewpoint.as_ref().map(labels_of) }
    }

    /// Whether any selector matches; one that does not parse is seen by all, who then report it.
    fn sees(&self, selectors: &[LabelSelector], alias: &[LabelSelector]) -> bool {
        let Some(labels) = self.labels else { return true };
        let mut all = selectors.iter().chain(alias);
        let none = selectors.is_empty() && alias.is_empty();
        none || all.any(|selector| Selector::parse(selector).map_or(true, |selector| selector.matches(labels)))
    }
}

/// The pools in force and the held ones, each with its advertisements.
fn tie(
    mut active: ActivePools<'_>,
    mut l2: Vec<l2_advertisements::Attachment>,
    mut bgp: Vec<Attachment<'_>>,
) -> (BTreeMap<PoolName, Pool>, BTreeMap<PoolName, Pool>) {
    // Stable, so advertisements of one name, which only an AddressPool can have, keep their order.
    l2.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    bgp.sort_by(|a, b| a.advertisement.name.cmp(&b.advertisement.name));
    for (advertisement, selected) in l2 {
        for number in selected {
            if let Some(active) = active.get_mut(number) {
                active.pool.l2_advertisements.push(Arc::clone(&advertisement));
            }
        }
    }
    for Attachment { advertisement, pools, .. } in bgp {
        for number in pools {
            if let Some(active) = active.get_mut(number) {
                active.pool.bgp_advertisements.push(Arc::clone(&advertisement));
            }
        }
    }
    let named = |active: ActivePool<'_>| (PoolName(active.id.name), active.pool);
    let (held, in_force): (Vec<_>, Vec<_>) = active.into_iter().partition(|active| active.held);
    (in_force.into_iter().map(named).collect(), held.into_iter().map(named).collect())
}

/// The objects of a kind together with those that AddressPools stand for, by rank.
fn with_legacy<'a, T: Stored + 'a>(
    objects: &'a [Arc<T>],
    legacy: impl Iterator<Item = (&'a api::v1beta1::AddressPool, &'a T)>,
) -> Vec<Source<'a, T>> {
    let mut sources = ranked(objects);
    sources.extend(legacy.map(|(stored, object)| Source::new(stored, object)));
    sort(&mut sources);
    sources
}

/// BFD echo packets do not exist for IPv6: unties advertisements that would need them.
fn untie_echo(
    active: &ActivePools<'_>,
    attachments: &mut [Attachment<'_>],
    peers: &BTreeMap<String, Peer>,
    profiles: &BTreeMap<String, BfdProfile>,
    findings: &mut Vec<Finding>,
) {
    let echo =
        |peer: &&Peer| peer.bfd_profile.as_ref().and_then(|name| profiles.get(name)).is_some_and(|p| p.echo_mode);
    let with_echo: BTreeMap<&str, &Peer> = peers.values().filter(echo).map(|peer| (peer.name.as_str(), peer)).collect();
    if with_echo.is_empty() {
        return;
    }
    for attachment in attachments {
        let wanted = &attachment.advertisement.peers;
        let of_wanted = || wanted.iter().find_map(|name| with_echo.get(name.as_str()));
        let peer = if wanted.is_empty() { with_echo.values().next() } else { of_wanted() };
        let Some(peer) = peer else { continue };
        let (id, advertisement) = (attachment.id, &attachment.advertisement.name);
        attachment.pools.retain(|number| {
            let Some(pool) = active.get(*number) else { return false };
            let [_, v6] = pool.narrowest;
            if v6.is_none() {
                return true;
            }
            let text = format!(
                "pool {} has bgpadvertisement {advertisement} which references peer {} which has bfd echo enabled, which is \
                 not possible",
                pool.id.name, peer.name
            );
            let peer_id = ObjectId { kind: Kind::BGPPeer, name: peer.name.clone(), ..id.clone() };
            let profile = peer.bfd_profile.clone().unwrap_or_default();
            let profile_id = ObjectId { kind: Kind::BFDProfile, name: profile, ..id.clone() };
            let finding = Finding::new(Class::Error, id, "spec.peers", text);
            findings.push(finding.with(&peer_id).with(&profile_id).with(&pool.id));
            false
        });
    }
}

/// Findings by step; within a step by object name, then in the order they were made.
#[derive(Default)]
struct Found {
    pairs: Vec<Finding>,
    bfd: Vec<Finding>,
    peers: Vec<Finding>,
    communities: Vec<Finding>,
    pools: Vec<Finding>,
    l2: Vec<Finding>,
    bgp: Vec<Finding>,
    cross: Vec<Finding>,
}

impl Found {
    fn in_order(self) -> Vec<Finding> {
        let steps = [self.pairs, self.bfd, self.peers, self.communities, self.pools, self.l2, self.bgp, self.cross];
        let by_name = |mut step: Vec<Finding>| {
            step.sort_by(|a, b| a.object.name.cmp(&b.object.name).then(a.object.cmp(&b.object)));
            step
        };
        steps.into_iter().flat_map(by_name).collect()
    }
}
