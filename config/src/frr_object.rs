//! Rules of one FRRConfiguration, and what it claims.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use api::frrk8s::{AdvertiseVnis, EvpnConfig, Router};

use crate::finding::{Class, Finding, ObjectId};
use crate::frr_claims::{Claims, Layer, Thing};
use crate::frr_neighbor;
use crate::frr_prefixes::Prefixes;
use crate::frrk8s::Configuration;
use crate::quote::quoted;

/// Reports what is wrong with one configuration and collects what it claims. `index` is its place in the order of rank.
pub(crate) fn check<'a>(
    source: &Configuration<'a>,
    index: usize,
    claims: &mut Claims<'a>,
    findings: &mut Vec<Finding>,
) {
    let Some(bgp) = &source.object.spec.bgp else { return };
    let mut report = Report { id: &source.id, findings };
    let mut profiles = BTreeSet::new();
    for (at, profile) in bgp.bfd_profiles.iter().enumerate() {
        let field = format!("spec.bgp.bfdProfiles[{at}].name");
        if !is_word(&profile.name) {
            report.error(&field, format!("invalid bfd profile name {}", quoted(&profile.name)), NO_WORD);
        } else if profiles.insert(profile.name.as_str()) {
            claims.add(index, Thing::BfdProfile(&profile.name), format!("{profile:?}"), &field);
        } else {
            let text = format!("duplicate bfd profile name {} in config {}", profile.name, source.id.name);
            report.error(&field, text, "");
        }
    }
    let mut by_vrf: BTreeMap<&str, Vec<&Router>> = BTreeMap::new();
    for router in &bgp.routers {
        by_vrf.entry(vrf_of(router)).or_default().push(router);
    }
    for (at, router) in bgp.routers.iter().enumerate() {
        let field = format!("spec.bgp.routers[{at}]");
        let importable = header(router, &field, &by_vrf, &mut report);
        claim_router(router, &field, index, claims, &mut report);
        let vrf = vrf_of(router);
        let scope =
            frr_neighbor::Scope { router, vrf, profiles: &profiles, prefixes: &importable, configuration: index };
        for (at, neighbor) in router.neighbors.iter().enumerate() {
            let field = format!("{field}.neighbors[{at}]");
            frr_neighbor::check(neighbor, &scope, &field, claims, &mut report);
        }
    }
}

/// The router's VRF; empty for the default one.
pub(crate) fn vrf_of(router: &Router) -> &str {
    router.vrf.as_deref().unwrap_or_default()
}

/// The router in frr-k8s' texts.
pub(crate) fn shown_router(router: &Router) -> String {
    format!("{}-{}", router.asn, vrf_of(router))
}

/// Checks what stands in the router itself and gives the prefixes its neighbors may be told.
fn header<'a>(
    router: &'a Router,
    field: &str,
    by_vrf: &BTreeMap<&str, Vec<&'a Router>>,
    report: &mut Report<'_>,
) -> Prefixes<'a> {
    if router.asn == 0 {
        report.error(&format!("{field}.asn"), "invalid ASN 0 for router".to_owned(), "write 1 to 4294967295");
    }
    if let Some(vrf) = given(&router.vrf).filter(|vrf| !is_word(vrf)) {
        report.error(&format!("{field}.vrf"), format!("invalid vrf {}", quoted(vrf)), NO_WORD);
    }
    for (at, prefix) in router.prefixes.iter().enumerate().filter(|(_, prefix)| Prefixes::parse(prefix).is_none()) {
        let remedy = "write a CIDR such as 192.0.2.0/24";
        report.error(&format!("{field}.prefixes[{at}]"), format!("unknown ipfamily for {prefix}"), remedy);
    }
    let mut prefixes = Prefixes::default();
    prefixes.extend(&router.prefixes);
    for (at, import) in router.imports.iter().enumerate() {
        let field = format!("{field}.imports[{at}].vrf");
        let name = import.vrf.as_deref().unwrap_or_default();
        let vrf = if name == "default" { "" } else { name };
        match by_vrf.get(vrf) {
            Some(routers) => routers.iter().for_each(|router| prefixes.extend(&router.prefixes)),
            None if vrf.is_empty() => report.error(
                &field,
                "vrf  not found in prefixes in router".to_owned(),
                "the object must also hold a router without vrf",
            ),
            None => report.error(
                &field,
                format!("router {} imports vrf {vrf} which is not defined", shown_router(router)),
                "the object must also hold a router with that vrf",
            ),
        }
    }
    prefixes
}

fn claim_router<'a>(router: &'a Router, field: &str, index: usize, claims: &mut Claims<'a>, report: &mut Report<'_>) {
    let vrf = vrf_of(router);
    claims.add(index, Thing::Asn(vrf), router.asn.to_string(), &format!("{field}.asn"));
    if let Some(id) = given(&router.id) {
        let field = format!("{field}.id");
        if id.parse::<Ipv4Addr>().is_ok() {
            claims.add(index, Thing::RouterId(vrf), id, &field);
        } else {
            report.error(&field, format!("invalid router ID {}", quoted(id)), "write it as an IPv4 address");
        }
    }
    if !router.neighbors.is_empty() {
        claims.add(index, Thing::Purpose(vrf), "neighbors", &format!("{field}.neighbors"));
    }
    if let Some(evpn) = &router.evpn {
        claim_evpn(evpn, vrf, &format!("{field}.evpn"), index, claims);
    }
}

fn claim_evpn<'a>(evpn: &'a EvpnConfig, vrf: &'a str, field: &str, index: usize, claims: &mut Claims<'a>) {
    let (all, svi) = (evpn.advertise_vnis == Some(AdvertiseVnis::All), evpn.advertise_svi == Some(true));
    let shown = if all { "All" } else { "Disabled" };
    claims.add(index, Thing::AdvertiseVnis(vrf), shown, &format!("{field}.advertiseVNIs"));
    claims.add(index, Thing::AdvertiseSvi(vrf), if svi { "true" } else { "false" }, &format!("{field}.advertiseSVI"));
    if all || svi || !evpn.l2_vnis.is_empty() {
        claims.needs_evpn_neighbor(index, vrf, field);
    }
    for (at, network) in evpn.l2_vnis.iter().enumerate() {
        let network = Network {
            layer: Layer::Two,
            vni: network.vni,
            rd: &network.rd,
            import: &network.import_rts,
            export: &network.export_rts,
        };
        network.claim(vrf, &format!("{field}.l2vnis[{at}]"), index, claims);
    }
    if let Some(network) = &evpn.l3_vni {
        let field = format!("{field}.l3vni");
        claims.add(index, Thing::L3Vni(vrf), network.vni.to_string(), &format!("{field}.vni"));
        claims.add(index, Thing::Purpose(vrf), "l3vni", &field);
        let network = Network {
            layer: Layer::Three,
            vni: network.vni,
            rd: &network.rd,
            import: &network.import_rts,
            export: &network.export_rts,
        };
        network.claim(vrf, &field, index, claims);
    }
}

/// What networks of both layers have in common.
struct Network<'a> {
    layer: Layer,
    vni: u32,
    rd: &'a Option<String>,
    import: &'a [String],
    export: &'a [String],
}

impl<'a> Network<'a> {
    fn claim(&self, vrf: &'a str, field: &str, index: usize, claims: &mut Claims<'a>) {
        let (vni, layer) = (self.vni, self.layer);
        let usage = format!("{} in vrf {}", layer.as_str(), quoted(vrf));
        claims.add(index, Thing::Vni(vni), usage, &format!("{field}.vni"));
        if let Some(rd) = given(self.rd) {
            claims.add(index, Thing::RouteDistinguisher(vrf, vni, layer), rd, &format!("{field}.rd"));
        }
        let explicit = |targets: &[String]| Cow::Borrowed(if targets.is_empty() { "implicit" } else { "explicit" });
        let (import, export) = (explicit(self.import), explicit(self.export));
        claims.add(index, Thing::ImportTargets(vrf, vni, layer), import, &format!("{field}.importRTs"));
        claims.add(index, Thing::ExportTargets(vrf, vni, layer), export, &format!("{field}.exportRTs"));
    }
}

/// A text that is there; empty counts as absent, as everywhere in the API.
pub(crate) fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// Whether FRR reads a text as one word of a line: anything else would become other configuration.
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

/// The remedy for what is no word.
pub(crate) const NO_WORD: &str = "it must be one word, without spaces and control characters";

/// Where findings about one object go.
pub(crate) struct Report<'r> {
    pub(crate) id: &'r ObjectId,
    pub(crate) findings: &'r mut Vec<Finding>,
}

impl Report<'_> {
    pub(crate) fn error(&mut self, field: &str, text: String, remedy: &str) {
        self.findings.push(Finding::new(Class::Error, self.id, field, text).detail(remedy));
    }

    pub(crate) fn warning(&mut self, field: &str, text: &str, remedy: String) {
        self.findings.push(Finding::new(Class::Warning, self.id, field, text).detail(remedy));
    }
}
