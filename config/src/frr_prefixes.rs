//! Prefixes of routers, and filters made of them.

use std::collections::{BTreeMap, BTreeSet};

use api::frrk8s::{Advertise, AllowMode, Receive};
use ipnet::IpNet;

use crate::communities::parse_community;
use crate::family::Family;

/// The families of routes a session carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    One(Family),
    Both,
}

impl Families {
    /// The word in frr-k8s' texts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::One(Family::V4) => "ipv4",
            Self::One(Family::V6) => "ipv6",
            Self::Both => "dual",
        }
    }

    pub(crate) fn has(self, family: Family) -> bool {
        self == Self::Both || self == Self::One(family)
    }
}

/// Prefixes as they were written, with their families. Two ways to write one prefix are two prefixes, as in frr-k8s.
#[derive(Debug, Default)]
pub(crate) struct Prefixes<'a> {
    families: BTreeMap<&'a str, Family>,
}

impl<'a> Prefixes<'a> {
    pub(crate) fn parse(text: &str) -> Option<IpNet> {
        text.parse().ok()
    }

    /// Adds those that can be read.
    pub(crate) fn extend(&mut self, prefixes: &'a [String]) {
        for prefix in prefixes {
            if let Some(net) = Self::parse(prefix) {
                self.families.insert(prefix, Family::of_net(&net));
            }
        }
    }

    fn contains(&self, prefix: &str) -> bool {
        self.families.contains_key(prefix)
    }
}

/// What is wrong with a filter: the path below it, the text, and whether frr-k8s calls it a failure of the neighbor.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) field: String,
    pub(crate) text: String,
    pub(crate) of_neighbor: bool,
}

impl Fault {
    fn new(field: impl Into<String>, text: String) -> Self {
        Self { field: field.into(), text, of_neighbor: true }
    }
}

/// Checks what a neighbor shall be told. `name` is the neighbor's, `own` are the prefixes of its router and its imports.
pub(crate) fn advertised(
    advertise: &Advertise,
    own: &Prefixes<'_>,
    families: Families,
    name: &str,
    vrf: &str,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let allowed = advertise.allowed.as_ref();
    let told: BTreeSet<&str> = match allowed.filter(|allowed| allowed.mode == AllowMode::Filtered) {
        Some(allowed) => {
            for (at, prefix) in allowed.prefixes.iter().enumerate().filter(|(_, prefix)| !own.contains(prefix)) {
                let text = format!("trying to advertise non configured prefix {prefix} to neighbor {name}, vrf {vrf}");
                let field = format!("toAdvertise.allowed.prefixes[{at}]");
                faults.push(Fault { of_neighbor: false, ..Fault::new(field, text) });
            }
            if let Some(text) = wrong_family(&allowed.prefixes, families) {
                let list = allowed.prefixes.join(" ");
                let text = format!("invalid allowed prefixes [{list}] for neighbor {name}, err: {text}");
                faults.push(Fault::new("toAdvertise.allowed.prefixes", text));
            }
            allowed.prefixes.iter().map(String::as_str).collect()
        }
        None if allowed.is_none() => BTreeSet::new(),
        None => own.families.iter().filter(|(_, family)| families.has(**family)).map(|(prefix, _)| *prefix).collect(),
    };
    local_preferences(advertise, &told, families, name, &mut faults);
    communities(advertise, &told, families, name, &mut faults);
    faults
}

fn local_preferences(
    advertise: &Advertise,
    told: &BTreeSet<&str>,
    families: Families,
    name: &str,
    faults: &mut Vec<Fault>,
) {
    let (mut values, mut owners) = (BTreeSet::new(), BTreeMap::new());
    for (at, entry) in advertise.with_local_pref.iter().enumerate() {
        let (field, value) = (format!("toAdvertise.withLocalPref[{at}]"), entry.local_pref.unwrap_or_default());
        let mut fault = |text: String| faults.push(Fault::new(field.clone(), text));
        if !values.insert(value) {
            fault(format!("local preference {value} is already defined"));
        }
        if let Some(text) = wrong_family(&entry.prefixes, families) {
            let list = entry.prefixes.join(" ");
            fault(format!("invalid prefixes [{list}] for localpref {value} for neighbor {name}, err: {text}"));
        }
        let mut seen = BTreeSet::new();
        for prefix in &entry.prefixes {
            if !seen.insert(prefix) {
                fault(format!("prefix {prefix} is already defined for local preference {value}"));
            } else if !told.contains(prefix.as_str()) {
                let text = format!("localPref {value} associated to non existing prefix {prefix}");
                fault(format!("failed to process local pref for neighbor {name}, err: {text}"));
            } else if let Some(other) = owners.insert(prefix, value).filter(|other| *other != value) {
                fault(format!("prefix [{prefix}] is configured with both local preference {other} and {value}"));
            }
        }
    }
}

fn communities(advertise: &Advertise, told: &BTreeSet<&str>, families: Families, name: &str, faults: &mut Vec<Fault>) {
    let mut values = BTreeSet::new();
    for (at, entry) in advertise.with_community.iter().enumerate() {
        let value = entry.community.as_deref().unwrap_or_default();
        let field = format!("toAdvertise.withCommunity[{at}]");
        let mut fault = |text: String| faults.push(Fault::new(field.clone(), text));
        match parse_community(value) {
            Err(error) => fault(format!("invalid community {value}, err: {error}")),
            Ok(community) if !values.insert(community) => fault(format!("community {value} is already defined")),
            Ok(_) => {}
        }
        if let Some(text) = wrong_family(&entry.prefixes, families) {
            let list = entry.prefixes.join(" ");
            fault(format!("invalid prefixes [{list}] for community {value} for neighbor {name}, err: {text}"));
        }
        let mut seen = BTreeSet::new();
        for prefix in &entry.prefixes {
            if !seen.insert(prefix) {
                fault(format!("prefix {prefix} is already defined for community {value}"));
            } else if !told.contains(prefix.as_str()) {
                let text = format!(
                    "prefix {prefix} is advertised for community {value} but it's not in the advertisement list of the \
                     neighbor"
                );
                fault(format!("failed to process local pref for neighbor {name}, err: {text}"));
            }
        }
    }
}

/// The first prefix that the session does not carry. Those that cannot be read are reported elsewhere.
fn wrong_family(prefixes: &[String], families: Families) -> Option<String> {
    let bad = |prefix: &&String| Prefixes::parse(prefix).is_some_and(|net| !families.has(Family::of_net(&net)));
    let prefix = prefixes.iter().find(bad)?;
    Some(format!("prefix {prefix} is not compatible with the ipfamily {}", families.as_str()))
}

/// Checks what is accepted from a neighbor.
pub(crate) fn received(receive: &Receive) -> Vec<Fault> {
    let mut faults = Vec::new();
    let filtered = receive.allowed.iter().filter(|allowed| allowed.mode == AllowMode::Filtered);
    for (at, selector) in filtered.flat_map(|allowed| &allowed.prefixes).enumerate() {
        let text = selector.prefix.as_deref().unwrap_or_default();
        let mut fault = |text: String| faults.push(Fault::new(format!("toReceive.allowed.prefixes[{at}]"), text));
        let Some(net) = Prefixes::parse(text) else {
            fault(format!("failed to parse prefix {text}: invalid CIDR address: {text}"));
            continue;
        };
        let mut lengths = |text: String| fault(format!("invalid selector lengths: {text}"));
        let (mask, longest) = (u32::from(net.prefix_len()), u32::from(net.max_prefix_len()));
        let (le, ge) = (selector.le.filter(|le| *le > 0), selector.ge.filter(|ge| *ge > 0));
        if let (Some(le), Some(ge)) = (le, ge)
            && ge > le
        {
            lengths(format!("ge {ge} is bigger than le {le}"));
        } else if let Some(le) = le.filter(|le| mask > *le) {
            lengths(format!("cidr mask {mask} is bigger than le {le}"));
        } else if let Some(ge) = ge.filter(|ge| mask > *ge) {
            lengths(format!("cidr mask {mask} is bigger than ge {ge}"));
        } else if let Some(beyond) = le.or(ge).filter(|length| *length > longest) {
            lengths(format!("{beyond} is bigger than {longest}, the longest prefix of that family"));
        }
    }
    faults
}
