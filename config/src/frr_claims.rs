//! What configurations say about things that exist once per node, and where they disagree.
//!
//! ```text
//!  thing                      claims, oldest object first                     on node n2
//!  ASN of the default VRF     a: 64500 {n1,n2}   b: 64500 {n2}   c: 64501 {n2,n3}   a holds it, b agrees, c conflicts with a
//! ```
//! A thing on which all agree, which is nearly every one, costs nothing more than that insight. Claims with one value and
//! one set of nodes share their fate.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Class, Finding};
use crate::frr_nodes::NodeSets;
use crate::frrk8s::Configuration;
use crate::quote::quoted;

/// A neighbor of a router on a node: its VRF and its address in canonical form, or its interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peering<'a> {
    pub(crate) vrf: &'a str,
    pub(crate) id: Cow<'a, str>,
}

impl Peering<'_> {
    /// The identity in frr-k8s' texts.
    fn shown(&self) -> String {
        if self.vrf.is_empty() { self.id.clone().into_owned() } else { format!("{}-{}", self.id, self.vrf) }
    }
}

/// A thing that can be one way only on a node. The order is that of the errors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing<'a> {
    /// A BFD profile, by name.
    BfdProfile(&'a str),
    /// The ASN of a VRF's router.
    Asn(&'a str),
    /// The router id of a VRF's router.
    RouterId(&'a str),
    /// A property of a neighbor.
    Neighbor(Peering<'a>, Property),
    /// The next hop told to a neighbor; the text is the family.
    NextHop(Peering<'a>, &'static str),
    /// The local preference of a prefix towards a neighbor.
    LocalPref(Peering<'a>, &'a str),
    /// Whether VNIs are announced in a VRF.
    AdvertiseVnis(&'a str),
    /// Whether SVIs are announced in a VRF.
    AdvertiseSvi(&'a str),
    /// The number of a VRF's layer 3 network.
    L3Vni(&'a str),
    /// Whether a VRF's router is for a layer 3 network or for neighbors.
    Purpose(&'a str),
    /// The route distinguisher of a network of a VRF.
    RouteDistinguisher(&'a str, u32, Layer),
    /// Whether a network has route targets of its own to import.
    ImportTargets(&'a str, u32, Layer),
    /// Whether a network has route targets of its own to export.
    ExportTargets(&'a str, u32, Layer),
    /// What a network number is used for.
    Vni(u32),
}

/// Which kind of network a VNI is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    Two,
    Three,
}

impl Layer {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Two => "l2vni",
            Self::Three => "l3vni",
        }
    }
}

/// Properties of a neighbor on which configurations must agree, in the order of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Property {
    Asn,
    Port,
    SourceAddress,
    HasPassword,
    Password,
    BfdProfile,
    EbgpMultiHop,
    Family,
    HoldTime,
    KeepaliveTime,
    ConnectTime,
    LocalAsn,
}

impl Property {
    fn text(self) -> &'static str {
        match self {
            Self::Asn => "multiple asns",
            Self::Port => "multiple ports",
            Self::SourceAddress => "multiple source addresses",
            Self::HasPassword | Self::Password => "multiple passwords",
            Self::BfdProfile => "multiple bfd profiles",
            Self::EbgpMultiHop => "conflicting ebgp-multihop",
            Self::Family => "conflicting advertiseDualStack",
            Self::HoldTime => "multiple hold times",
            Self::KeepaliveTime => "multiple keepalive times",
            Self::ConnectTime => "multiple connect times",
            Self::LocalAsn => "multiple localASNs",
        }
    }
}

impl Thing<'_> {
    /// frr-k8s' text for a conflict: `first` was there, `second` of the object named `object` came.
    fn text(&self, first: &str, second: &str, object: &str) -> String {
        let evpn =
            |vrf: &str, text: &str| format!("could not merge EVPN configuration for vrf {}, err: {text}", quoted(vrf));
        let network = |vrf: &str, vni: u32, layer: Layer, text: &str| {
            evpn(vrf, &format!("could not merge {} {vni}, err: {text}", layer.as_str()))
        };
        match self {
            Self::BfdProfile(name) => {
                format!("duplicate bfd profile name {name} with different values for config {object}")
            }
            Self::Asn(vrf) => format!("different asns ({first} != {second}) specified for same vrf: {vrf}"),
            Self::RouterId(vrf) => format!("different router ids ({first} != {second}) specified for same vrf: {vrf}"),
            Self::Neighbor(peering, property) => format!("{} specified for {}", property.text(), peering.shown()),
            Self::NextHop(peering, family) => format!(
                "could not merge outgoing for neighbor {} vrf {}, err: {family} next hop: multiple next hops ({first} != \
                 {second}) specified",
                peering.id, peering.vrf
            ),
            Self::LocalPref(_, prefix) => {
                format!("multiple local prefs ({first} != {second}) specified for prefix {prefix}")
            }
            Self::AdvertiseVnis(vrf) => {
                evpn(vrf, &format!("different advertiseVNIs ({} != {})", quoted(first), quoted(second)))
            }
            Self::AdvertiseSvi(vrf) => evpn(vrf, &format!("different advertiseSVI ({first} != {second})")),
            Self::L3Vni(vrf) => evpn(vrf, &format!("different l3vni numbers ({first} != {second})")),
            Self::Purpose(vrf) => format!(
                "invalid EVPN configuration for vrf {}: l3vni can only be configured on routers with no neighbors",
                quoted(vrf)
            ),
            Self::RouteDistinguisher(vrf, vni, layer) => {
                network(vrf, *vni, *layer, &format!("different RD values ({first} != {second})"))
            }
            Self::ImportTargets(vrf, vni, layer) => network(
                vrf,
                *vni,
                *layer,
                "conflicting import route targets: mixing implicit and explicit route targets",
            ),
            Self::ExportTargets(vrf, vni, layer) => network(
                vrf,
                *vni,
                *layer,
                "conflicting export route targets: mixing implicit and explicit route targets",
            ),
            Self::Vni(vni) => format!("duplicate VNI {vni}: configured as {first} and as {second}"),
        }
    }

    /// Whether the values may be shown to whoever reads the finding, and say more than the text.
    fn shows_values(&self) -> bool {
        !matches!(
            self,
            Self::BfdProfile(_)
                | Self::Neighbor(_, Property::HasPassword | Property::Password)
                | Self::Purpose(_)
                | Self::ImportTargets(..)
                | Self::ExportTargets(..)
        )
    }
}

/// What a configuration says a thing is.
#[derive(Debug)]
struct Claim<'a> {
    configuration: usize,
    value: Cow<'a, str>,
    field: String,
}

/// All that the configurations of one namespace say.
#[derive(Debug, Default)]
pub(crate) struct Claims<'a> {
    things: BTreeMap<Thing<'a>, Vec<Claim<'a>>>,
    evpn: BTreeMap<&'a str, Evpn>,
}

/// Who needs, and who has, a neighbor with the EVPN family in a VRF.
#[derive(Debug, Default)]
struct Evpn {
    needing: BTreeMap<usize, String>,
    having: BTreeSet<usize>,
}

impl<'a> Claims<'a> {
    /// Notes that a configuration says a thing is so. Configurations must come by rank.
    pub(crate) fn add(&mut self, configuration: usize, thing: Thing<'a>, value: impl Into<Cow<'a, str>>, field: &str) {
        let claim = Claim { configuration, value: value.into(), field: field.to_owned() };
        self.things.entry(thing).or_default().push(claim);
    }

    /// Notes that a configuration announces EVPN routes in a VRF.
    pub(crate) fn needs_evpn_neighbor(&mut self, configuration: usize, vrf: &'a str, field: &str) {
        self.evpn.entry(vrf).or_default().needing.insert(configuration, field.to_owned());
    }

    /// Notes that a configuration has a neighbor in a VRF that takes EVPN routes.
    pub(crate) fn has_evpn_neighbor(&mut self, configuration: usize, vrf: &'a str) {
        self.evpn.entry(vrf).or_default().having.insert(configuration);
    }

    /// Reports every configuration that disagrees with an older one, or with itself.
    pub(crate) fn compare(self, all: &[Configuration<'_>], sets: &NodeSets<'_>, findings: &mut Vec<Finding>) {
        for (thing, claims) in &self.things {
            if claims.iter().any(|claim| claim.value != claims[0].value) {
                disagreements(thing, claims, all, sets, findings);
            }
        }
        for (vrf, evpn) in &self.evpn {
            evpn.check(vrf, all, sets, findings);
        }
    }
}

/// Two claims that differ, and the node where they meet; none when one object made both.
type Clash<'c, 'a> = (&'c Claim<'a>, Option<usize>);

fn disagreements(
    thing: &Thing<'_>,
    claims: &[Claim<'_>],
    all: &[Configuration<'_>],
    sets: &NodeSets<'_>,
    findings: &mut Vec<Finding>,
) {
    let mut holders: Vec<Option<&Claim<'_>>> = vec![None; sets.count()];
    let mut fates: BTreeMap<(usize, &str), Option<Clash<'_, '_>>> = BTreeMap::new();
    // One report per object and thing: whoever clashes with itself need not hear of others.
    let mut reported = BTreeSet::new();
    let mut first = &claims[0];
    for claim in claims {
        if first.configuration != claim.configuration {
            first = claim;
        }
        let set = sets.set(claim.configuration);
        let own = (first.value != claim.value).then_some((first, None));
        let clash = own.or_else(|| {
            *fates.entry((set, &claim.value)).or_insert_with(|| {
                let mut clash = None;
                for node in sets.nodes(set) {
                    let holder = *holders[*node].get_or_insert(claim);
                    if clash.is_none() && holder.value != claim.value {
                        clash = Some((holder, Some(*node)));
                    }
                }
                clash
            })
        });
        let Some((other, node)) = clash else { continue };
        if reported.insert(claim.configuration) {
            findings.push(report(thing, claim, other, node.map(|node| sets.name(node)), all));
        }
    }
}

fn report(
    thing: &Thing<'_>,
    claim: &Claim<'_>,
    other: &Claim<'_>,
    node: Option<&str>,
    all: &[Configuration<'_>],
) -> Finding {
    let (id, other_id) = (&all[claim.configuration].id, &all[other.configuration].id);
    let text = thing.text(&other.value, &claim.value, &id.name);
    let finding = Finding::new(Class::Error, id, claim.field.clone(), text);
    let word = |value: &str| if value.is_empty() { "none".to_owned() } else { value.to_owned() };
    let shown = match (thing.shows_values(), other_id == id) {
        (true, true) => format!("it says {} and {}", word(&other.value), word(&claim.value)),
        (false, true) => "it says two different things".to_owned(),
        (true, false) => format!("{other_id} says {}, this one {}", word(&other.value), word(&claim.value)),
        (false, false) => format!("{other_id} says something else"),
    };
    let finding = if other_id == id { finding } else { finding.with(other_id) };
    finding.detail(match node.filter(|name| !name.is_empty()) {
        Some(name) => format!("resource is invalid for node {name}: {shown}"),
        None => shown,
    })
}

impl Evpn {
    fn check(&self, vrf: &str, all: &[Configuration<'_>], sets: &NodeSets<'_>, findings: &mut Vec<Finding>) {
        if self.needing.keys().all(|configuration| self.having.contains(configuration)) {
            return;
        }
        let mut has = vec![false; sets.count()];
        let having: BTreeSet<usize> = self.having.iter().map(|configuration| sets.set(*configuration)).collect();
        for node in having.into_iter().flat_map(|set| sets.nodes(set)) {
            has[*node] = true;
        }
        let mut lacking: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        for (configuration, field) in self.needing.iter().filter(|(needing, _)| !self.having.contains(needing)) {
            let set = sets.set(*configuration);
            let lacks = lacking.entry(set).or_insert_with(|| sets.nodes(set).iter().copied().find(|node| !has[*node]));
            let Some(node) = *lacks else { continue };
            let text = format!(
                "invalid EVPN configuration for vrf {}: advertiseVNIs=All, advertiseSVI and l2vnis require at least one \
                 neighbor with evpn address family",
                quoted(vrf)
            );
            let finding = Finding::new(Class::Error, &all[*configuration].id, field.clone(), text);
            findings.push(match sets.name(node) {
                "" => finding,
                name => finding.detail(format!("resource is invalid for node {name}")),
            });
        }
    }
}
