//! AddressPool, the kind of early operators: each stands for a pool and the advertisements it carries.
//!
//! ```text
//! AddressPool { protocol: layer2 } --> IPAddressPool + L2Advertisement
//! AddressPool { protocol: bgp }    --> IPAddressPool + one BGPAdvertisement per spec.bgpAdvertisements, or a default one
//! ```
//! Findings still name the AddressPool, which is what its owner can edit.

use api::v1beta1::{
    AddressPool, AddressPoolProtocol, BGPAdvertisement, BGPAdvertisementSpec, IPAddressPool, IPAddressPoolSpec,
    L2Advertisement, L2AdvertisementSpec, LegacyBgpAdvertisement,
};

use crate::finding::{Class, Finding};
use crate::source::Stored;

/// What one AddressPool stands for.
pub(crate) struct Expanded<'a> {
    pub(crate) stored: &'a AddressPool,
    pub(crate) pool: IPAddressPool,
    pub(crate) l2: Option<L2Advertisement>,
    pub(crate) bgp: Vec<BGPAdvertisement>,
}

/// Expands one object and reports what only this kind can get wrong.
pub(crate) fn expand<'a>(stored: &'a AddressPool, findings: &mut Vec<Finding>) -> Expanded<'a> {
    let (id, spec) = (stored.id(), &stored.spec);
    let remedy = "AddressPool is deprecated, use IPAddressPool with L2Advertisement or BGPAdvertisement";
    findings.push(Finding::new(Class::Warning, &id, "", format!("{id}: {remedy}")));
    let pools = vec![id.name.clone()];
    let (l2, bgp) = match spec.protocol {
        AddressPoolProtocol::Layer2 => {
            if !spec.bgp_advertisements.is_empty() {
                let text = "bgpadvertisement config not valid for protocol layer2";
                let finding = Finding::new(Class::Policy, &id, "spec.bgpAdvertisements", text);
                findings.push(finding.detail("remove spec.bgpAdvertisements or set spec.protocol to bgp"));
            }
            let spec = L2AdvertisementSpec { ip_address_pools: pools, ..L2AdvertisementSpec::default() };
            (
                Some(L2Advertisement { metadata: stored.metadata.clone(), spec, ..L2Advertisement::default() }),
                Vec::new(),
            )
        }
        AddressPoolProtocol::Bgp => {
            let default = [LegacyBgpAdvertisement::default()];
            let advertisements =
                if spec.bgp_advertisements.is_empty() { &default[..] } else { &spec.bgp_advertisements[..] };
            let expand = |legacy: &LegacyBgpAdvertisement| BGPAdvertisement {
                metadata: stored.metadata.clone(),
                spec: BGPAdvertisementSpec {
                    aggregation_length: legacy.aggregation_length,
                    aggregation_length_v6: legacy.aggregation_length_v6,
                    local_pref: legacy.local_pref,
                    communities: legacy.communities.clone(),
                    ip_address_pools: pools.clone(),
                    ..BGPAdvertisementSpec::default()
                },
                ..BGPAdvertisement::default()
            };
            (None, advertisements.iter().map(expand).collect())
        }
    };
    let pool = IPAddressPoolSpec {
        addresses: spec.addresses.clone(),
        auto_assign: spec.auto_assign,
        ..IPAddressPoolSpec::default()
    };
    let pool = IPAddressPool { metadata: stored.metadata.clone(), spec: pool, ..IPAddressPool::default() };
    Expanded { stored, pool, l2, bgp }
}
