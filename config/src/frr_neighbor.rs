//! Rules of a neighbor of an FRRConfiguration, and what the configuration claims about it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::frrk8s::{AddressFamily, DynamicAsn, Neighbor, NextHop, Router};

use crate::duration::{GoDuration, parse_go_duration};
use crate::family::Family;
use crate::frr_claims::{Claims, Peering, Property, Thing};
use crate::frr_object::{NO_WORD, Report, given, is_word, shown_router};
use crate::frr_prefixes::{Families, Prefixes, advertised, received};
use crate::quote::quoted;

/// What surrounds a neighbor.
pub(crate) struct Scope<'s, 'a> {
    pub(crate) router: &'a Router,
    pub(crate) vrf: &'a str,
    pub(crate) profiles: &'s BTreeSet<&'a str>,
    pub(crate) prefixes: &'s Prefixes<'a>,
    /// Place of the configuration in the order of rank.
    pub(crate) configuration: usize,
}

/// The neighbor in frr-k8s' texts.
pub(crate) fn shown_name(neighbor: &Neighbor) -> String {
    format!("{}@{}", shown_asn(neighbor), given(&neighbor.address).or(given(&neighbor.interface)).unwrap_or_default())
}

fn shown_asn(neighbor: &Neighbor) -> String {
    match (asn_of(neighbor), neighbor.dynamic_asn) {
        (Some(asn), _) => asn.to_string(),
        (None, Some(DynamicAsn::Internal)) => "internal".to_owned(),
        (None, Some(DynamicAsn::External)) => "external".to_owned(),
        (None, None) => "0".to_owned(),
    }
}

fn asn_of(neighbor: &Neighbor) -> Option<u32> {
    neighbor.asn.filter(|asn| *asn != 0)
}

/// Reports what is wrong with a neighbor and collects what is said about it.
pub(crate) fn check<'a>(
    neighbor: &'a Neighbor,
    scope: &Scope<'_, 'a>,
    field: &str,
    claims: &mut Claims<'a>,
    report: &mut Report<'_>,
) {
    let name = shown_name(neighbor);
    let around = format!("failed to process neighbor {name} for router {}", shown_router(scope.router));
    let mut fail = |below: &str, text: String, remedy: &str| {
        report.error(&format!("{field}.{below}"), format!("{around}: {text}"), remedy);
    };
    if given(&neighbor.address).is_none() && given(&neighbor.interface).is_none() {
        let text = format!("neighbor with ASN {} has no address and no interface", shown_asn(neighbor));
        fail("address", text, "");
        return;
    }
    if given(&neighbor.address).is_some() && given(&neighbor.interface).is_some() {
        fail("interface", format!("neighbor {name} has both Address and Interface specified"), "");
        return;
    }
    match (asn_of(neighbor), neighbor.dynamic_asn) {
        (None, None) => fail("asn", format!("neighbor {name} has no ASN or DynamicASN specified"), ""),
        (Some(_), Some(_)) => fail("dynamicASN", format!("neighbor {name} has both ASN and DynamicASN specified"), ""),
        (Some(_), None) | (None, Some(_)) => {}
    }
    if let Some(profile) = given(&neighbor.bfd_profile).filter(|profile| !scope.profiles.contains(profile)) {
        let text = format!("neighbor {name} referencing non existing BFDProfile {profile}");
        fail("bfdProfile", text, "the profile must be in the same object");
    }
    let (timers, faults) = Timers::of(neighbor);
    for (below, text) in faults {
        fail(below, format!("invalid timers for neighbor {name}, err: {text}"), "");
    }
    if let Some((below, text)) = connect_time_faults(neighbor) {
        fail(below, format!("invalid connect time for neighbor {name}, err: {text}"), "");
    }
    if neighbor.password.as_ref().is_some_and(|password| !password.is_empty()) && secret_name(neighbor).is_some() {
        fail("passwordSecret", format!("neighbor {name} specifies both cleartext password and secret ref"), "");
    }
    let words = [
        ("interface", "interface", given(&neighbor.interface)),
        ("sourceaddress", "source address", given(&neighbor.source_address)),
        ("password", "password", given(&neighbor.password)),
    ];
    for (below, what, text) in words {
        if text.is_some_and(|text| !is_word(text)) {
            fail(below, format!("neighbor {name} has an invalid {what}"), NO_WORD);
        }
    }
    let address = given(&neighbor.address).map(str::parse::<IpAddr>);
    let families = match &address {
        Some(Err(_)) => {
            let given = neighbor.address.as_deref().unwrap_or_default();
            let text = format!("failed to find ipfamily for {given}, IPFamilyForAddresses: Invalid address");
            let text = format!("failed to find ipfamily for neighbor {name}, err: {text} [{}]", quoted(given));
            fail("address", text, "write an IP address");
            return;
        }
        Some(Ok(address)) if !neighbor.dual_stack_address_family => Families::One(Family::of(*address)),
        Some(Ok(_)) | None => Families::Both,
    };
    if let Some(next_hop) = neighbor.to_advertise.iter().find_map(|advertise| advertise.next_hop.as_ref()) {
        for (below, text) in next_hop_faults(next_hop, families, &name) {
            fail(below, text, "");
        }
    }
    let told = neighbor.to_advertise.iter();
    let told = told.flat_map(|advertise| advertised(advertise, scope.prefixes, families, &name, scope.vrf));
    for fault in told.chain(neighbor.to_receive.iter().flat_map(received)) {
        let text = if fault.of_neighbor { format!("{around}: {}", fault.text) } else { fault.text };
        report.error(&format!("{field}.{}", fault.field), text, "");
    }
    local_asn(neighbor, scope, &name, field, report);
    if neighbor.disable_mp {
        let text = "disableMP is deprecated, is ignored and will be removed in a future release";
        report.warning(&format!("{field}.disableMP"), text, format!("neighbor {name} sets it"));
    }
    let id = match (address, given(&neighbor.interface)) {
        (Some(Ok(address)), _) => Cow::Owned(address.to_string()),
        (_, interface) => Cow::Borrowed(interface.unwrap_or_default()),
    };
    claim(neighbor, scope, Peering { vrf: scope.vrf, id }, families, &timers, field, claims);
}

fn local_asn(neighbor: &Neighbor, scope: &Scope<'_, '_>, name: &str, field: &str, report: &mut Report<'_>) {
    let Some(local) = neighbor.local_asn.filter(|asn| *asn != 0) else { return };
    let (own, field) = (scope.router.asn, format!("{field}.localASN"));
    let text = if asn_of(neighbor) == Some(own) {
        format!("localASN is not supported for iBGP sessions (neighbor ASN {own} equals router ASN)")
    } else if neighbor.dynamic_asn == Some(DynamicAsn::Internal) {
        "localASN is not supported for iBGP sessions (dynamicASN is internal)".to_owned()
    } else if local == own {
        format!("localASN {local} equals router ASN")
    } else {
        return;
    };
    report.error(&field, format!("neighbor {name}: {text}"), "");
}

fn secret_name(neighbor: &Neighbor) -> Option<&str> {
    neighbor.password_secret.as_ref().and_then(|secret| given(&secret.name))
}

fn next_hop_faults(next_hop: &NextHop, families: Families, name: &str) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let v4 = |text: &str| text.parse::<Ipv4Addr>().is_ok();
    let v6 = |text: &str| text.parse::<Ipv6Addr>().is_ok_and(|address| address.to_ipv4_mapped().is_none());
    let hops = [
        ("ipv4", &next_hop.ipv4, Family::V4, v4 as fn(&str) -> bool),
        ("ipv6", &next_hop.ipv6, Family::V6, v6 as fn(&str) -> bool),
    ];
    for (word, hop, family, is_valid) in hops {
        let Some(hop) = given(hop) else { continue };
        let field = if family == Family::V4 { "toAdvertise.nextHop.ipv4" } else { "toAdvertise.nextHop.ipv6" };
        if !is_valid(hop) {
            faults.push((field, format!("invalid {word} next hop {} for neighbor {name}", quoted(hop))));
        } else if !families.has(family) {
            let text = format!("set for neighbor {name} without an {word} address family");
            faults.push((field, format!("{word} next hop {} {text}", quoted(hop))));
        }
    }
    faults
}

/// Timers in whole seconds, with FRR's defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Timers {
    hold: i64,
    keepalive: i64,
    connect: i64,
}

/// The largest time BGP's OPEN and FRR's timers can hold, in seconds.
const LONGEST: i64 = 65_535;

impl Timers {
    fn of(neighbor: &Neighbor) -> (Self, Vec<(&'static str, String)>) {
        let mut faults = Vec::new();
        let mut read = |field: &'static str, text: &Option<String>| -> Option<GoDuration> {
            let read = given(text).map(parse_go_duration)?;
            read.map_err(|error| faults.push((field, error.to_string()))).ok()
        };
        let hold = read("holdTime", &neighbor.hold_time);
        let keepalive = read("keepaliveTime", &neighbor.keepalive_time);
        if given(&neighbor.hold_time).is_some() != given(&neighbor.keepalive_time).is_some() {
            let text = "one of KeepaliveTime/HoldTime specified, both must be set or none".to_owned();
            let missing = if hold.is_none() { "holdTime" } else { "keepaliveTime" };
            faults.push((missing, text));
        }
        if let Some(hold) = hold {
            let seconds = hold.whole_seconds();
            if !(seconds == 0 || (3..=LONGEST).contains(&seconds)) {
                let text = format!("invalid hold time {}: must be 0 or >=3s", quoted(&hold.to_string()));
                faults.push(("holdTime", if seconds > LONGEST { format!("{text}, at most {LONGEST}s") } else { text }));
            }
        }
        if let (Some(hold), Some(keepalive)) = (hold, keepalive)
            && (keepalive > hold || keepalive < GoDuration::default())
        {
            let (k, h) = (quoted(&keepalive.to_string()), quoted(&hold.to_string()));
            faults.push(("keepaliveTime", format!("invalid keepaliveTime {k}, must be lower than holdTime {h}")));
        }
        let connect = given(&neighbor.connect_time).and_then(|text| parse_go_duration(text).ok());
        let seconds = |time: Option<GoDuration>, default| time.map_or(default, GoDuration::whole_seconds);
        (Self { hold: seconds(hold, 180), keepalive: seconds(keepalive, 60), connect: seconds(connect, 60) }, faults)
    }
}

fn connect_time_faults(neighbor: &Neighbor) -> Option<(&'static str, String)> {
    let time = match given(&neighbor.connect_time).map(parse_go_duration)? {
        Ok(time) => time,
        Err(error) => return Some(("connectTime", error.to_string())),
    };
    let text = if !(1..=LONGEST).contains(&time.whole_seconds()) {
        "connect time should be between 1 seconds to 65535"
    } else if time.nanoseconds() % 1_000_000_000 != 0 {
        "connect time should contain a whole number of seconds"
    } else {
        return None;
    };
    Some(("connectTime", text.to_owned()))
}

fn claim<'a>(
    neighbor: &'a Neighbor,
    scope: &Scope<'_, 'a>,
    peering: Peering<'a>,
    families: Families,
    timers: &Timers,
    field: &str,
    claims: &mut Claims<'a>,
) {
    let index = scope.configuration;
    let mut says = |property: Property, below: &str, value: Cow<'a, str>| {
        claims.add(index, Thing::Neighbor(peering.clone(), property), value, &format!("{field}.{below}"));
    };
    let text = |text: &'a Option<String>| Cow::Borrowed(text.as_deref().unwrap_or_default());
    let number = |number: Option<u32>, default: u32| match number.unwrap_or(default) {
        0 => Cow::Borrowed(""),
        number => Cow::Owned(number.to_string()),
    };
    let flag = |flag: bool| Cow::Borrowed(if flag { "true" } else { "false" });
    says(Property::Asn, "asn", shown_asn(neighbor).into());
    says(Property::Port, "port", number(neighbor.port.map(u32::from), 179));
    says(Property::SourceAddress, "sourceaddress", text(&neighbor.source_address));
    let (password, secret) = (given(&neighbor.password), secret_name(neighbor));
    says(Property::HasPassword, "password", flag(password.is_some() || secret.is_some()));
    if let Some(password) = password {
        // The content of a Secret is not known here; two plain passwords can be compared.
        says(Property::Password, "password", password.into());
    }
    if let Some(profile) = given(&neighbor.bfd_profile) {
        says(Property::BfdProfile, "bfdProfile", profile.into());
    }
    says(Property::EbgpMultiHop, "ebgpMultiHop", flag(neighbor.ebgp_multi_hop));
    says(Property::Family, "dualStackAddressFamily", families.as_str().into());
    says(Property::HoldTime, "holdTime", timers.hold.to_string().into());
    says(Property::KeepaliveTime, "keepaliveTime", timers.keepalive.to_string().into());
    says(Property::ConnectTime, "connectTime", timers.connect.to_string().into());
    says(Property::LocalAsn, "localASN", number(neighbor.local_asn, 0));
    if let Some(advertise) = &neighbor.to_advertise {
        let hops = advertise.next_hop.iter().flat_map(|hops| [("ipv4", &hops.ipv4), ("ipv6", &hops.ipv6)]);
        for (family, hop) in hops.filter_map(|(family, hop)| Some((family, given(hop)?))) {
            let field = format!("{field}.toAdvertise.nextHop.{family}");
            claims.add(index, Thing::NextHop(peering.clone(), family), hop, &field);
        }
        let mut preferences = BTreeMap::new();
        for (at, entry) in advertise.with_local_pref.iter().enumerate() {
            let value = entry.local_pref.unwrap_or_default();
            for prefix in &entry.prefixes {
                // A second value within one neighbor is reported where its filters are judged.
                preferences.entry(prefix.as_str()).or_insert((at, value));
            }
        }
        for (prefix, (at, value)) in preferences {
            let field = format!("{field}.toAdvertise.withLocalPref[{at}]");
            claims.add(index, Thing::LocalPref(peering.clone(), prefix), value.to_string(), &field);
        }
    }
    if neighbor.address_families.contains(&AddressFamily::Evpn) {
        claims.has_evpn_neighbor(index, scope.vrf);
    }
}
