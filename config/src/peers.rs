//! BGP peers, each by itself; [`crate::peer_pairs`] compares them.
//!
//! Checks run in MetalLB's order and all of them are reported. A peer with an error is not in force; the others are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::v1beta2::{BGPPeer, BGPPeerSpec, DynamicAsn};

use crate::duration::parse_go_duration;
use crate::finding::{Class, Finding};
use crate::hygiene::{duplicate_selector, parse_all};
use crate::model::{BfdProfile, Peer, PeerAsn, PeerEndpoint};
use crate::peer_timers;
use crate::quote::quoted;
use crate::resources::SecretFacts;
use crate::source::Source;

/// What a peer may refer to.
pub(crate) struct References<'a> {
    pub(crate) bfd_profiles: &'a BTreeMap<String, BfdProfile>,
    /// By name. `None`: unknown, do not check.
    secrets: Option<BTreeMap<&'a str, &'a SecretFacts>>,
}

impl<'a> References<'a> {
    pub(crate) fn new(bfd_profiles: &'a BTreeMap<String, BfdProfile>, secrets: Option<&'a [SecretFacts]>) -> Self {
        let by_name =
            |secrets: &'a [SecretFacts]| secrets.iter().map(|secret| (secret.name.as_str(), secret)).collect();
        Self { bfd_profiles, secrets: secrets.map(by_name) }
    }
}

/// All valid peers by name.
pub(crate) fn compile(
    sources: &[Source<'_, BGPPeer>],
    references: &References<'_>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Peer> {
    let mut peers = BTreeMap::new();
    for source in sources {
        let name = source.name();
        if peers.contains_key(name) {
            let text = format!("peer {name} already exists");
            findings.push(Finding::new(Class::Error, &source.id, "metadata.name", text));
            continue;
        }
        let mut checks = Checks { source, findings, failed: false };
        if let Some(peer) = checks.parse(references) {
            peers.insert(name.to_owned(), peer);
        }
    }
    peers
}

/// Text of an optional field; empty counts as absent.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

struct Checks<'a, 'f> {
    source: &'a Source<'a, BGPPeer>,
    findings: &'f mut Vec<Finding>,
    failed: bool,
}

impl<'a> Checks<'a, '_> {
    fn parse(&mut self, references: &References<'_>) -> Option<Peer> {
        let spec = &self.source.object.spec;
        let peer_asn = self.asns(spec);
        let endpoint = self.endpoint(spec);
        let timers = self.timers(spec);
        let endpoint = endpoint.and_then(|endpoint| self.endpoint_value(endpoint));
        let router_id = self.address("spec.routerID", "router ID", given(&spec.router_id));
        let source_address = self.address("spec.sourceAddress", "source IP", given(&spec.source_address));
        if let Some(text) = duplicate_selector("nodeSelectors", &spec.node_selectors) {
            self.error("spec.nodeSelectors", text);
        }
        let node_selectors = parse_all(&spec.node_selectors).unwrap_or_else(|(_, error)| {
            let text = format!("{error}\nfailed to convert peer {} node selector", self.name());
            self.error("spec.nodeSelectors", text);
            Vec::new()
        });
        self.password(spec, references);
        let connect_time_seconds = self.connect_time(spec);
        self.vrf(spec);
        self.bfd_profile(spec, references);
        if spec.disable_mp {
            let text = "disable mp is deprecated and has no effect since it's the default behavior now";
            self.findings.push(Finding::new(Class::Warning, &self.source.id, "spec.disableMP", text));
        }
        if self.failed {
            return None;
        }
        Some(Peer {
            name: self.name().to_owned(),
            my_asn: spec.my_asn,
            peer_asn: peer_asn?,
            endpoint: endpoint?,
            port: if spec.peer_port == 0 { 179 } else { spec.peer_port },
            source_address,
            hold_time_seconds: timers.hold,
            keepalive_seconds: timers.keepalive,
            router_id,
            node_selectors,
            bfd_profile: given(&spec.bfd_profile).map(str::to_owned),
            ebgp_multi_hop: spec.ebgp_multi_hop,
            vrf: given(&spec.vrf).map(str::to_owned),
            local_asn: spec.local_asn,
            connect_time_seconds,
            graceful_restart: spec.enable_graceful_restart,
            dual_stack_address_family: spec.dual_stack_address_family,
            disable_mp: spec.disable_mp,
        })
    }

    fn name(&self) -> &'a str {
        self.source.name()
    }

    /// An error in MetalLB's frame for peers, which has no colon.
    fn error(&mut self, field: &str, text: impl std::fmt::Display) {
        let finding = self.finding(Class::Error, field, text);
        self.push(finding);
    }

    fn finding(&self, class: Class, field: &str, text: impl std::fmt::Display) -> Finding {
        Finding::new(class, &self.source.id, field, format!("parsing peer {} {text}", self.name()))
    }

    fn push(&mut self, finding: Finding) {
        self.failed |= finding.class == Class::Error;
        self.findings.push(finding);
    }

    fn asns(&mut self, spec: &BGPPeerSpec) -> Option<PeerAsn> {
        if spec.my_asn == 0 {
            self.error("spec.myASN", "missing local ASN");
        }
        let number = spec.peer_asn.filter(|asn| *asn != 0);
        let asn = match (number, spec.dynamic_asn) {
            (None, None) => {
                self.error("spec.peerASN", "missing peer ASN and dynamicASN");
                None
            }
            (Some(_), Some(_)) => {
                self.error("spec.dynamicASN", "both peer ASN and dynamicASN specified");
                None
            }
            (Some(number), None) => Some(PeerAsn::Number(number)),
            (None, Some(DynamicAsn::Internal)) => Some(PeerAsn::Internal),
            (None, Some(DynamicAsn::External)) => Some(PeerAsn::External),
        };
        if number == Some(spec.my_asn) && spec.ebgp_multi_hop {
            self.error("spec.ebgpMultiHop", "invalid ebgp-multihop parameter set for an ibgp peer");
        }
        asn
    }

    fn endpoint(&mut self, spec: &'a BGPPeerSpec) -> Option<Endpoint<'a>> {
        match (given(&spec.peer_address), given(&spec.interface)) {
            (None, None) => {
                self.error("spec.peerAddress", "peer has no Address or Interface specified");
                None
            }
            (Some(_), Some(_)) => {
                self.error("spec.interface", "peer has both Address and Interface specified");
                None
            }
            (Some(address), None) => Some(Endpoint::Address(address)),
            (None, Some(interface)) => Some(Endpoint::Interface(interface)),
        }
    }

    fn endpoint_value(&mut self, endpoint: Endpoint<'_>) -> Option<PeerEndpoint> {
        match endpoint {
            Endpoint::Address(text) => {
                self.address("spec.peerAddress", "BGPPeer address", Some(text)).map(PeerEndpoint::Address)
            }
            Endpoint::Interface(name) if is_device_name(name) => Some(PeerEndpoint::Interface(name.to_owned())),
            Endpoint::Interface(name) => {
                self.bad_device("spec.interface", "interface", name);
                None
            }
        }
    }

    fn address(&mut self, field: &str, what: &str, text: Option<&str>) -> Option<IpAddr> {
        let text = text?;
        let address = text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        if address.is_none() {
            self.error(field, format!("invalid {what} {}", quoted(text)));
        }
        address
    }

    fn timers(&mut self, spec: &BGPPeerSpec) -> peer_timers::Timers {
        let (timers, fault) = peer_timers::resolve(spec.hold_time.as_deref(), spec.keepalive_time.as_deref());
        if let Some(fault) = fault {
            let text = format!("invalid BGPPeer timers: {}", fault.text);
            let finding = self.finding(fault.class, fault.field, text).detail(fault.remedy);
            self.push(finding);
        }
        timers
    }

    fn connect_time(&mut self, spec: &BGPPeerSpec) -> Option<u32> {
        let duration = match parse_go_duration(spec.connect_time.as_deref()?) {
            Ok(duration) => duration,
            Err(error) => {
                self.error("spec.connectTime", error);
                return None;
            }
        };
        let seconds = u32::try_from(duration.whole_seconds()).ok().filter(|seconds| (1..=65_535).contains(seconds));
        if seconds.is_none() {
            self.error("spec.connectTime", "connect time should be between 1 seconds to 65535");
        } else if seconds.map(crate::duration::GoDuration::from_seconds) != Some(duration) {
            self.error("spec.connectTime", "connect time should contain a whole number of seconds");
        }
        seconds
    }

    fn vrf(&mut self, spec: &BGPPeerSpec) {
        if let Some(vrf) = given(&spec.vrf).filter(|vrf| !is_device_name(vrf)) {
            self.bad_device("spec.vrf", "vrf", vrf);
        }
    }

    fn bad_device(&mut self, field: &str, what: &str, name: &str) {
        let finding = self.finding(Class::Error, field, format!("invalid {what} {}", quoted(name)));
        self.push(finding.detail("a device name has 1 to 15 characters and no space, slash or colon"));
    }

    fn password(&mut self, spec: &BGPPeerSpec, references: &References<'_>) {
        let secret = spec.password_secret.as_ref().and_then(|secret| given(&secret.name));
        let Some(secret) = secret else { return };
        let namespace = quoted(&self.source.id.namespace);
        let reference = format!("{namespace}/{}", quoted(self.name()));
        if given(&spec.password).is_some() {
            self.error(
                "spec.passwordSecret",
                format!("can not have both password and secret ref set in peer config {reference}"),
            );
            return;
        }
        let Some(secrets) = &references.secrets else { return };
        let text = match secrets.get(secret) {
            None => format!("secret ref not found for peer config {reference}"),
            Some(known) if known.type_ != "kubernetes.io/basic-auth" => {
                // The blank at the end is part of MetalLB's text.
                let secret = quoted(secret);
                format!("secret type mismatch on {namespace}/{secret}, type \"kubernetes.io/basic-auth\" is expected ")
            }
            Some(known) if !known.has_password => {
                format!("password not specified in the secret {namespace}/{}", quoted(secret))
            }
            Some(_) => return,
        };
        let text = format!("{text}\nfailed to parse peer {} password secret", self.name());
        let finding = self.finding(Class::Error, "spec.passwordSecret", text);
        self.push(finding.transient());
    }

    fn bfd_profile(&mut self, spec: &BGPPeerSpec, references: &References<'_>) {
        let Some(profile) = given(&spec.bfd_profile) else { return };
        if references.bfd_profiles.contains_key(profile) {
            return;
        }
        let text = format!("peer {} referencing non existing bfd profile {profile}", self.name());
        self.push(Finding::new(Class::Error, &self.source.id, "spec.bfdProfile", text).transient());
    }
}

#[derive(Clone, Copy)]
enum Endpoint<'a> {
    Address(&'a str),
    Interface(&'a str),
}

/// What Linux allows as the name of a network device.
fn is_device_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'))
}
