//! BGP advertisements: parsed, resolved to nodes, checked against every pool they select.
//!
//! ```text
//! BGPAdvertisement --checks--> BgpAdvertisement --per pool: aggregation fits? local preference agrees?--> tied to the pool
//! ```
//! An error about one pool unties the advertisement from that pool and leaves its other pools alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::v1beta1;

use crate::attachment::{Checks, Surroundings};
use crate::communities::{CommunityError, parse_community};
use crate::family::Family;
use crate::finding::{Class, Finding, Kind, ObjectId};
use crate::hygiene::duplicate_name;
use crate::local_preferences::Told;
use crate::model::{BgpAdvertisement, Community};
use crate::pools::{ActivePool, widest};
use crate::quote::quoted;
use crate::source::Source;

/// An advertisement in force, the object it comes from and the numbers of the pools it is tied to.
pub(crate) struct Attachment<'a> {
    pub(crate) id: &'a ObjectId,
    pub(crate) advertisement: Arc<BgpAdvertisement>,
    pub(crate) pools: Vec<usize>,
}

/// Checks advertisements in the order of precedence and keeps the good ones.
pub(crate) fn compile<'a>(
    sources: &'a [Source<'_, v1beta1::BGPAdvertisement>],
    aliases: &BTreeMap<String, Community>,
    around: &mut Surroundings<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<Attachment<'a>> {
    let mut attachments = Vec::new();
    let mut told: Vec<Told<'_>> = Vec::new();
    told.resize_with(around.pools.len(), Told::default);
    for (index, source) in sources.iter().enumerate() {
        // Objects of one name are neighbours in the order of precedence.
        if index.checked_sub(1).and_then(|before| sources.get(before)).is_some_and(|before| same(before, source)) {
            let text =
                format!("duplicate definition of bgpadvertisements. advertisement {index} and {} are equal", index + 1);
            findings.push(Finding::new(Class::Error, &source.id, "spec.bgpAdvertisements", text));
            continue;
        }
        let Some((advertisement, mut selected)) = parse(source, aliases, around, findings) else { continue };
        let advertisement = Arc::new(advertisement);
        selected.retain(|number| {
            let (Some(active), Some(told)) = (around.pools.get(*number), told.get_mut(*number)) else { return false };
            let narrow = aggregation_error(source, active, &advertisement);
            let clash = || {
                let families = active.narrowest.map(|length| length.is_some());
                let (owner, other) = told.add(&source.id, &advertisement, families).err()?;
                Some(local_pref_clash(source, advertisement.local_pref, owner, other))
            };
            let finding = narrow.or_else(clash);
            let fits = finding.is_none();
            findings.extend(finding.map(|finding| finding.with(&active.id)));
            fits
        });
        attachments.push(Attachment { id: &source.id, advertisement, pools: selected });
    }
    attachments
}

/// The same object twice, or the same advertisement twice in one AddressPool.
fn same(a: &Source<'_, v1beta1::BGPAdvertisement>, b: &Source<'_, v1beta1::BGPAdvertisement>) -> bool {
    a.id == b.id && (a.id.kind == Kind::BGPAdvertisement || a.object.spec == b.object.spec)
}

fn parse(
    source: &Source<'_, v1beta1::BGPAdvertisement>,
    aliases: &BTreeMap<String, Community>,
    around: &mut Surroundings<'_>,
    findings: &mut Vec<Finding>,
) -> Option<(BgpAdvertisement, Vec<usize>)> {
    let (name, spec) = (source.name(), &source.object.spec);
    let mut checks = Checks::new(&source.id, findings);
    let nodes = checks.with_alias(&spec.node_selectors, &spec.node_selector);
    checks.no_error("spec.ipAddressPools", duplicate_name("ipAddressPools", &spec.ip_address_pools));
    checks.no_error("spec.communities", duplicate_name("community", &spec.communities));
    checks.no_error("spec.peers", duplicate_name("peers", &spec.peers));
    checks.no_duplicate_selectors("ipAddressPoolSelectors", &spec.ip_address_pool_selectors);
    checks.no_duplicate_selectors("nodeSelectors", &nodes);
    checks.no_duplicate_selectors("serviceSelectors", &spec.service_selectors);
    let lengths = [
        ("aggregationLength", spec.aggregation_length, Family::V4),
        ("aggregationLengthV6", spec.aggregation_length_v6, Family::V6),
    ];
    for (field, length, family) in lengths {
        if !spec.service_selectors.is_empty() && length != i32::from(family.bits()) {
            let text = format!("serviceSelectors and {field} are mutually exclusive, both cannot be set in {name}");
            checks.error(format!("spec.{field}"), text);
        }
    }
    let [v4, v6] = lengths.map(|(field, length, family)| aggregation_length(field, length, family, &mut checks));
    let communities = parse_communities(&spec.communities, aliases, &mut checks);
    let node_selectors = checks.node_selectors(&nodes);
    let service_selectors = checks.service_selectors(&spec.service_selectors);
    let pool_selectors = checks.pool_selectors(&spec.ip_address_pool_selectors);
    if checks.failed() {
        return None;
    }
    if !checks.is_legacy() {
        around.warn_of_unknown_pools(&source.id, &spec.ip_address_pools, findings);
        around.warn_of_unknown_peers(&source.id, &spec.peers, findings);
    }
    let advertisement = BgpAdvertisement {
        name: name.to_owned(),
        nodes: around.matching_nodes(&node_selectors),
        aggregation_length: v4,
        aggregation_length_v6: v6,
        local_pref: spec.local_pref.unwrap_or(0),
        communities,
        peers: spec.peers.iter().cloned().collect(),
        service_selectors,
    };
    Some((advertisement, around.selected(&spec.ip_address_pools, &pool_selectors)))
}

/// 1 to 32 or 128. MetalLB prints the number as a quoted character; we print the number.
fn aggregation_length(field: &str, length: i32, family: Family, checks: &mut Checks<'_>) -> u8 {
    match u8::try_from(length) {
        Ok(length) if (1..=family.bits()).contains(&length) => length,
        Ok(_) | Err(_) => {
            let text = format!("invalid aggregation length {} for {family}", quoted(&length.to_string()));
            let finding = Finding::new(Class::Error, checks.id(), format!("spec.{field}"), text);
            checks.push(finding.detail(format!("it must be 1 to {}", family.bits())));
            family.bits()
        }
    }
}

fn parse_communities(
    texts: &[String],
    aliases: &BTreeMap<String, Community>,
    checks: &mut Checks<'_>,
) -> BTreeSet<Community> {
    let mut communities = BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        let parsed = aliases.get(text).copied().map_or_else(|| parse_community(text), Ok);
        match parsed {
            Ok(community) => {
                communities.insert(community);
            }
            Err(error) => {
                let message = format!("{error}\ninvalid community {} in BGP advertisement", quoted(text));
                let finding = Finding::new(Class::Error, checks.id(), format!("spec.communities[{index}]"), message);
                checks.push(match error {
                    // Only what could be the name of an alias.
                    CommunityError::Format(text) if !text.contains(':') => finding.transient(),
                    CommunityError::Format(_) | CommunityError::Section { .. } | CommunityError::Marker(_) => finding,
                });
            }
        }
    }
    communities
}

/// An aggregate must lie inside the pool: no shorter than the widest CIDR of each entry.
fn aggregation_error(
    source: &Source<'_, v1beta1::BGPAdvertisement>,
    active: &ActivePool<'_>,
    advertisement: &BgpAdvertisement,
) -> Option<Finding> {
    let lengths = [advertisement.aggregation_length, advertisement.aggregation_length_v6];
    if active.narrowest.iter().zip(lengths).all(|(narrowest, length)| narrowest.is_none_or(|most| most <= length)) {
        return None;
    }
    active.pool.entries.iter().find_map(|entry| {
        let (family, widest) = widest(entry)?;
        let (length, field) = match family {
            Family::V4 => (advertisement.aggregation_length, "spec.aggregationLength"),
            Family::V6 => (advertisement.aggregation_length_v6, "spec.aggregationLengthV6"),
        };
        // MetalLB always prints the IPv4 length, also for IPv6 entries; the right one is of more use.
        let text = || {
            format!(
                "invalid aggregation length {length}: prefix {widest} in this pool is more specific than the aggregation \
                 length for addresses {}",
                entry.text
            )
        };
        let remedy = || {
            let (name, pool) = (source.name(), &active.id.name);
            format!("advertisement {name} selects pool {pool}: raise {field} to {widest} or more")
        };
        (length < widest).then(|| Finding::new(Class::Error, &source.id, field, text()).detail(remedy()))
    })
}

/// Two advertisements that would send the same prefix to the same peer from the same node must agree on LOCAL_PREF.
fn local_pref_clash(
    source: &Source<'_, v1beta1::BGPAdvertisement>,
    mine: u32,
    owner: &ObjectId,
    other: u32,
) -> Finding {
    let text = format!(
        "invalid local preference {mine}: local preferernce {other} was already set for the same type of BGP update. Check \
         existing BGP advertisements with common pools and aggregation lengths"
    );
    let remedy = format!("{owner} set it");
    Finding::new(Class::Error, &source.id, "spec.localPref", text).with(owner).detail(remedy)
}
