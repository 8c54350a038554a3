//! Which interfaces of the node may carry answers. Pure: links in, ports out.
//!
//! ```text
//! Link (as the kernel lists it) --exclusions, flags, address--> Port { arp?, ndp? }
//! ```
//! MetalLB behaviour: excluded by name, not administratively up, enslaved to another device (bond, bridge, VRF) and NOARP
//! interfaces are left out; ARP needs a broadcast interface, NDP needs an IPv6 link-local address. Carrier is not asked for: a
//! socket on a port without carrier hears nothing, and is there at once when the cable is plugged in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regex::RegexSet;
use serde::Deserialize;

pub use smoltcp::wire::EthernetAddress as Mac;

/// A network interface as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's interface index, unique within the network namespace.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Hardware address; `None` where it is not six bytes long.
    pub mac: Option<Mac>,
    /// Whether frames on this link are Ethernet frames.
    pub ethernet: bool,
    /// Administratively up.
    pub up: bool,
    /// The cable is plugged in and the peer is there.
    pub carrier: bool,
    /// Has a broadcast address.
    pub broadcast: bool,
    /// Address resolution is switched off.
    pub noarp: bool,
    /// Member of a bond, bridge or VRF.
    pub enslaved: bool,
    /// Has an IPv6 link-local address, so IPv6 is in use on this link.
    pub ipv6: bool,
}

/// An interface that may carry answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The kernel's interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Hardware address that answers name.
    pub mac: Mac,
    /// Answer ARP.
    pub arp: bool,
    /// Answer neighbour solicitations.
    pub ndp: bool,
    /// The cable is plugged in.
    pub carrier: bool,
}

/// The ports among `links`, by index. A link that could answer neither ARP nor NDP is no port.
pub fn ports(links: &[Link], exclusions: &Exclusions) -> BTreeMap<u32, Port> {
    links.iter().filter_map(|link| port(link, exclusions)).map(|port| (port.index, port)).collect()
}

fn port(link: &Link, exclusions: &Exclusions) -> Option<Port> {
    if exclusions.excludes(&link.name) || !link.up || link.enslaved || link.noarp || !link.ethernet {
        return None;
    }
    let mac = link.mac.filter(Mac::is_unicast)?;
    (link.broadcast || link.ipv6).then(|| Port {
        index: link.index,
        name: link.name.clone(),
        mac,
        arp: link.broadcast,
        ndp: link.ipv6,
        carrier: link.carrier,
    })
}

/// The interface names an L2Advertisement may name: everything not excluded, also what is down or enslaved at the moment.
pub fn names(links: &[Link], exclusions: &Exclusions) -> BTreeSet<String> {
    links.iter().filter(|link| !exclusions.excludes(&link.name)).map(|link| link.name.clone()).collect()
}

/// Name patterns of interfaces that never carry answers.
#[derive(Debug, Clone)]
pub struct Exclusions {
    patterns: RegexSet,
}

impl Default for Exclusions {
    fn default() -> Self {
        Self { patterns: RegexSet::empty() }
    }
}

/// The file with the exclusions is unusable.
#[derive(Debug, thiserror::Error)]
pub enum ExclusionError {
    /// Not YAML, or not the expected shape.
    #[error("not valid YAML of the form 'announcedInterfacesToExclude: [\"^docker.*\", ...]': {0}")]
    Syntax(String),
    /// An entry is not a regular expression.
    #[error("announcedInterfacesToExclude: {pattern:?} is not a valid regular expression: {reason}")]
    Pattern {
        /// The entry as written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default, rename = "announcedInterfacesToExclude")]
    patterns: Option<Vec<String>>,
}

impl Exclusions {
    /// Patterns as MetalLB's file lists them: a name is excluded when any pattern matches anywhere in it.
    ///
    /// # Errors
    /// [`ExclusionError::Pattern`] for the first entry that is no regular expression.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, ExclusionError> {
        let patterns: Vec<&str> = patterns.into_iter().collect();
        for pattern in &patterns {
            if let Err(error) = regex::Regex::new(pattern) {
                return Err(ExclusionError::Pattern { pattern: (*pattern).to_owned(), reason: last_line(&error) });
            }
        }
        let patterns = RegexSet::new(&patterns)
            .map_err(|error| ExclusionError::Pattern { pattern: patterns.join(" "), reason: last_line(&error) })?;
        Ok(Self { patterns })
    }

    /// Parses the content of MetalLB's exclusion file.
    ///
    /// # Errors
    /// [`ExclusionError`], naming the entry at fault.
    pub fn parse(yaml: &str) -> Result<Self, ExclusionError> {
        if yaml.trim().is_empty() {
            return Ok(Self::default());
        }
        let file: Option<File> =
            serde_saphyr::from_str(yaml).map_err(|error| ExclusionError::Syntax(first_line(&error)))?;
        let patterns = file.unwrap_or_default().patterns.unwrap_or_default();
        Self::new(patterns.iter().map(String::as_str))
    }

    /// Whether `name` is excluded.
    pub fn excludes(&self, name: &str) -> bool {
        self.patterns.is_match(name)
    }
}

fn first_line(error: &impl fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().trim().to_owned()
}

/// Regular expression errors draw a picture first; the last line says what is wrong.
fn last_line(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = "announcedInterfacesToExclude: [\"^docker.*\", \"^cbr.*\", \"^dummy.*\", \"^virbr.*\", \"^lxcbr.*\", \
        \"^veth.*\", \"^lo$\", \"^cali.*\", \"^tunl.*\", \"^flannel.*\", \"^kube-ipvs.*\", \"^cni.*\", \"^nodelocaldns.*\", \
        \"^lxc.*\"]\n";

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            ethernet: true,
            up: true,
            carrier: true,
            broadcast: true,
            noarp: false,
            enslaved: false,
            ipv6: true,
        }
    }

    fn selected(link: Link) -> Option<Port> {
        ports(&[link], &Exclusions::parse(SHIPPED).unwrap()).into_values().next()
    }

    #[test]
    fn an_ordinary_interface_answers_arp_and_ndp() {
        let port = selected(link(2, "eth0")).unwrap();
        assert!(port.arp && port.ndp);
    }

    #[test]
    fn down_enslaved_noarp_foreign_and_excluded_interfaces_stay_silent() {
        for (name, change) in [
            ("down", (|l| l.up = false) as fn(&mut Link)),
            ("enslaved", |l| l.enslaved = true),
            ("noarp", |l| l.noarp = true),
            ("not ethernet", |l| l.ethernet = false),
            ("no hardware address", |l| l.mac = None),
            ("multicast hardware address", |l| l.mac = Some(Mac([1, 0, 0, 0, 0, 1]))),
            ("excluded", |l| l.name = "veth1234".to_owned()),
        ] {
            let mut changed = link(2, "eth0");
            change(&mut changed);
            assert_eq!(selected(changed), None, "{name}");
        }
    }

    #[test]
    fn no_carrier_keeps_the_port() {
        let mut unplugged = link(2, "eth0");
        unplugged.carrier = false;
        assert!(!selected(unplugged).unwrap().carrier);
    }

    #[test]
    fn without_a_link_local_address_only_arp_is_answered() {
        let mut v4 = link(2, "eth0");
        v4.ipv6 = false;
        let port = selected(v4.clone()).unwrap();
        assert!(port.arp && !port.ndp);
        v4.broadcast = false;
        assert_eq!(selected(v4), None);
    }

    #[test]
    fn advertisements_may_name_interfaces_that_are_down_but_not_excluded_ones() {
        let mut down = link(3, "eth1");
        down.up = false;
        let exclusions = Exclusions::parse(SHIPPED).unwrap();
        let names = names(&[link(1, "lo"), link(2, "eth0"), down], &exclusions);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["eth0", "eth1"]);
    }

    #[test]
    fn an_empty_file_or_list_excludes_nothing() {
        for yaml in ["", "\n", "announcedInterfacesToExclude: []", "announcedInterfacesToExclude:", "{}"] {
            assert!(!Exclusions::parse(yaml).unwrap().excludes("lo"), "{yaml:?}");
        }
    }

    #[test]
    fn patterns_match_anywhere_in_the_name() {
        let exclusions = Exclusions::parse("announcedInterfacesToExclude: ['th1']").unwrap();
        assert!(exclusions.excludes("eth1"));
        assert!(!exclusions.excludes("eth0"));
    }

    #[test]
    fn a_broken_pattern_is_named_in_one_line() {
        let text = Exclusions::parse("announcedInterfacesToExclude: ['eth0', '(x']").unwrap_err().to_string();
        assert_eq!(text, "announcedInterfacesToExclude: \"(x\" is not a valid regular expression: unclosed group");
        let text = Exclusions::parse("announcedInterfacesToExclude: {").unwrap_err().to_string();
        assert!(text.starts_with("not valid YAML of the form"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
