//! The order of work: MetalLB's order of evaluation, which is also the order of the findings.

use std::collections::{BTreeMap, BTreeSet};

use crate::attachment::{ActivePools, Surroundings};
use crate::bgp_advertisements::{self, Attachment};
use crate::family::Family;
use crate::finding::{Class, Compiled, Finding, Kind, ObjectId};
use crate::model::{BfdProfile, Config, Peer, PoolName};
use crate::peer_pairs::{self, Ranked};
use crate::peers::{self, References};
use crate::resources::Resources;
use crate::source::{Source, Stored, ranked, sort};
use crate::{address_pools, bfd, communities, l2_advertisements, pools};

/// Judges everything that is stored. Never fails; the order of the input does not matter.
pub fn compile(resources: &Resources) -> Compiled {
    let mut found = Found::default();
    let legacy: Vec<_> =
        resources.address_pools.iter().map(|stored| address_pools::expand(stored, &mut found.pools)).collect();
    let peer_sources = ranked(&resources.peers);
    let pool_sources = with_legacy(&resources.pools, legacy.iter().map(|old| (old.stored, &old.pool)));
    let l2_sources = with_legacy(
        &resources.l2_advertisements,
        legacy.iter().filter_map(|old| old.l2.as_ref().map(|l2| (old.stored, l2))),
    );
    let bgp_sources = with_legacy(
        &resources.bgp_advertisements,
        legacy.iter().flat_map(|old| old.bgp.iter().map(|bgp| (old.stored, bgp))),
    );

    let bfd_profiles = bfd::compile(&ranked(&resources.bfd_profiles), &mut found.bfd);
    let references = References { bfd_profiles: &bfd_profiles, secrets: resources.secrets.as_deref() };
    let peers = peers::compile(&peer_sources, &references, &mut found.peers);
    let in_force: Vec<_> = peer_sources
        .iter()
        .filter_map(|source| Some(Ranked { id: &source.id, peer: peers.get(source.name())? }))
        .collect();
    peer_pairs::check(&in_force, &resources.nodes, resources.backend, &mut found.pairs);
    let aliases = communities::compile(&ranked(&resources.communities), &mut found.communities);
    let mut active = pools::compile(&pool_sources, &resources.namespaces, &mut found.pools);
    let around = Surroundings {
        pools: &active,
        stored_pools: pool_sources.iter().map(Source::name).collect(),
        stored_peers: peer_sources.iter().map(Source::name).collect(),
        nodes: &resources.nodes,
    };
    let l2 = l2_advertisements::compile(&l2_sources, &around, &mut found.l2);
    let mut bgp = bgp_advertisements::compile(&bgp_sources, &aliases, &around, &mut found.bgp);
    untie_echo(&active, &mut bgp, &peers, &bfd_profiles, &mut found.cross);

    for (advertisement, selected) in l2 {
        for name in &selected {
            active.entry(name.clone()).and_modify(|pool| pool.pool.l2_advertisements.push(advertisement.clone()));
        }
    }
    for Attachment { advertisement, pools, .. } in bgp {
        for name in &pools {
            active.entry(name.clone()).and_modify(|pool| pool.pool.bgp_advertisements.push(advertisement.clone()));
        }
    }
    let (mut pools, mut held) = (BTreeMap::new(), BTreeMap::new());
    for (name, mut active) in active {
        active.pool.l2_advertisements.sort_by(|a, b| a.name.cmp(&b.name));
        active.pool.bgp_advertisements.sort_by(|a, b| a.name.cmp(&b.name));
        if active.held { &mut held } else { &mut pools }.insert(name, active.pool);
    }
    Compiled { config: Config { pools, held, peers, bfd_profiles }, findings: found.in_order() }
}

/// The objects of a kind together with those that AddressPools stand for, by rank.
fn with_legacy<'a, T: Stored + 'a>(
    objects: &'a [T],
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
    attachments: &mut [Attachment],
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
        let Some(peer) = with_echo.values().find(|peer| wanted.is_empty() || wanted.contains(&peer.name)) else {
            continue;
        };
        let has_v6 = |name: &PoolName| {
            active.get(name).is_some_and(|pool| pool.pool.cidrs().any(|cidr| Family::of_net(cidr) == Family::V6))
        };
        let (bad, good): (BTreeSet<PoolName>, BTreeSet<PoolName>) =
            std::mem::take(&mut attachment.pools).into_iter().partition(has_v6);
        attachment.pools = good;
        for name in bad {
            let text = format!(
                "pool {name} has bgpadvertisement {} which references peer {} which has bfd echo enabled, which is not \
                 possible",
                attachment.advertisement.name, peer.name
            );
            let peer_id = ObjectId { kind: Kind::BGPPeer, name: peer.name.clone(), ..attachment.id.clone() };
            let profile = peer.bfd_profile.clone().unwrap_or_default();
            let profile_id = ObjectId { kind: Kind::BFDProfile, name: profile, ..attachment.id.clone() };
            let mut finding = Finding::new(Class::Error, &attachment.id, "spec.peers", text);
            finding = finding.with(&peer_id).with(&profile_id);
            findings.push(match active.get(&name) {
                Some(pool) => finding.with(&pool.id),
                None => finding,
            });
        }
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
