//! Which nodes may announce, and where their speakers are, as the API says. Pure.
//!
//! ```text
//! Nodes [, speaker pods] --candidates--> Candidates { up, down, barred } --> electorate
//!          speaker pods  --peers-------> name, address           --> membership
//! ```
//! Up is here a node that is Ready and, where the speaker knows how its pods are labelled, has a Ready speaker pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use api::names;
use api::slim;
use membership::NodeName;

/// The nodes that may announce.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Alive, as far as can be told.
    pub up: BTreeSet<String>,
    /// Allowed, but not known to be alive: used for a Service when nobody in `up` may announce it.
    pub down: BTreeSet<String>,
    /// May not announce, and why.
    pub barred: BTreeMap<String, Barred>,
}

/// A node that may not announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barred {
    /// Why.
    pub bar: Bar,
    /// A speaker is alive there and can still tell what it sees.
    pub awake: bool,
}

/// Why a node may not announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bar {
    /// It is excluded from load balancing by its label.
    Excluded,
    /// Its network is not set up.
    NetworkUnavailable,
    /// No speaker runs there.
    NoSpeaker,
}

impl Candidates {
    /// The nodes on which a speaker is alive, whether it may announce or not.
    pub fn speakers(&self) -> impl Iterator<Item = &str> {
        let barred = self.barred.iter().filter_map(|(name, barred)| barred.awake.then_some(name));
        self.up.iter().chain(barred).map(String::as_str)
    }
}

/// How liveness is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// A speaker runs on every node (MetalLB: memberlist disabled).
    EveryNode,
    /// Speakers run where their pods are.
    SpeakerPods,
}

/// What counts of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its kubelet reports that it can run pods.
    pub ready: bool,
    /// Its network is not set up.
    pub network_unavailable: bool,
}

impl From<slim::Node> for NodeFacts {
    fn from(node: slim::Node) -> Self {
        let is = |kind: &str| node.status.conditions.iter().any(|found| found.type_ == kind && found.status == "True");
        Self {
            ready: is("Ready"),
            network_unavailable: is("NetworkUnavailable"),
            labels: node.metadata.labels.unwrap_or_default(),
        }
    }
}

/// What counts of a speaker pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Where it runs.
    pub node: String,
    /// It is ready.
    pub ready: bool,
    /// It is on its way out or over.
    pub ending: bool,
    /// It is over: its processes are gone.
    pub over: bool,
    /// Its addresses, the first one first. In the node's network they are the node's.
    pub addresses: Vec<IpAddr>,
}

impl From<slim::Pod> for PodFacts {
    fn from(pod: slim::Pod) -> Self {
        let over = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let listed = pod.status.pod_ips.iter().map(|address| address.ip.as_str());
        let addresses = pod.status.pod_ip.as_deref().into_iter().chain(listed).filter_map(|text| text.parse().ok());
        Self {
            ready: pod.is_ready(),
            ending: over || pod.metadata.deletion_timestamp.is_some(),
            over,
            addresses: addresses.collect(),
            node: pod.spec.node_name.unwrap_or_default(),
        }
    }
}

/// Where the speakers hear one another: the pods' addresses of the family of `bind`, with its port. A pod on its way out
/// counts until it is over, unless its node has another one: it may still say farewell.
pub fn peers<'a>(pods: impl Iterator<Item = &'a PodFacts>, bind: SocketAddr) -> BTreeMap<NodeName, SocketAddr> {
    let mut found: BTreeMap<NodeName, (bool, SocketAddr)> = BTreeMap::new();
    for pod in pods.filter(|pod| !pod.over) {
        let Some(ip) = pod.addresses.iter().find(|ip| ip.is_ipv4() == bind.is_ipv4()) else { continue };
        // A pod that was put nowhere yet has no member.
        let Ok(name) = NodeName::new(&pod.node) else { continue };
        let offer = (pod.ending, SocketAddr::new(*ip, bind.port()));
        found.entry(name).and_modify(|known| *known = offer.min(*known)).or_insert(offer);
    }
    found.into_iter().map(|(name, (_, addr))| (name, addr)).collect()
}

impl Members {
    /// The candidates among the nodes. Nodes whose network is unavailable or that are excluded from load balancing are none,
    /// unless `ignore_exclusion` says to overlook the exclusion.
    pub fn candidates<'a>(
        self,
        nodes: impl Iterator<Item = (&'a String, &'a NodeFacts)>,
        pods: impl Iterator<Item = &'a PodFacts>,
        ignore_exclusion: bool,
    ) -> Candidates {
        let mut speakers: BTreeMap<&str, bool> = BTreeMap::new();
        for pod in pods.filter(|pod| !pod.ending) {
            *speakers.entry(&pod.node).or_default() |= pod.ready;
        }
        let mut candidates = Candidates::default();
        for (name, node) in nodes {
            let excluded = node.labels.contains_key(names::LABEL_EXCLUDE_BALANCERS) && !ignore_exclusion;
            let speaker = match self {
                Self::EveryNode => Some(true),
                Self::SpeakerPods => speakers.get(name.as_str()).copied(),
            };
            let awake = speaker == Some(true) && node.ready;
            let bar = match speaker {
                _ if excluded => Some(Bar::Excluded),
                _ if node.network_unavailable => Some(Bar::NetworkUnavailable),
                None => Some(Bar::NoSpeaker),
                Some(_) => None,
            };
            if let Some(bar) = bar {
                candidates.barred.insert(name.clone(), Barred { bar, awake });
                continue;
            }
            let side = if awake { &mut candidates.up } else { &mut candidates.down };
            side.insert(name.clone());
        }
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: bool) -> NodeFacts {
        NodeFacts { ready, ..NodeFacts::default() }
    }

    fn pod(node: &str, ready: bool) -> PodFacts {
        PodFacts { node: node.to_owned(), ready, ..PodFacts::default() }
    }

    fn named(nodes: &[(&str, NodeFacts)]) -> BTreeMap<String, NodeFacts> {
        nodes.iter().map(|(name, facts)| ((*name).to_owned(), facts.clone())).collect()
    }

    fn candidates(members: Members, nodes: &[(&str, NodeFacts)], pods: &[PodFacts]) -> (Vec<String>, Vec<String>) {
        let found = members.candidates(named(nodes).iter(), pods.iter(), false);
        (found.up.into_iter().collect(), found.down.into_iter().collect())
    }

    fn both(up: &[&str], down: &[&str]) -> (Vec<String>, Vec<String>) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        (owned(up), owned(down))
    }

    #[test]
    fn ready_nodes_are_up_and_others_are_the_last_resort() {
        let nodes = [("a", node(true)), ("b", node(false))];
        assert_eq!(candidates(Members::EveryNode, &nodes, &[]), both(&["a"], &["b"]));
    }

    #[test]
    fn with_speaker_pods_only_nodes_that_have_one_count() {
        let nodes = [("a", node(true)), ("b", node(true)), ("c", node(true)), ("d", node(false))];
        let mut ending = pod("b", true);
        ending.ending = true;
        let pods = [pod("a", true), ending, pod("c", false), pod("d", true), pod("gone", true)];
        assert_eq!(candidates(Members::SpeakerPods, &nodes, &pods), both(&["a"], &["c", "d"]));
    }

    #[test]
    fn the_new_pod_counts_while_the_old_one_ends() {
        let mut old = pod("a", true);
        old.ending = true;
        assert_eq!(candidates(Members::SpeakerPods, &[("a", node(true))], &[old, pod("a", true)]), both(&["a"], &[]));
    }

    #[test]
    fn excluded_nodes_and_nodes_without_network_never_announce() {
        let mut excluded = node(true);
        excluded.labels.insert(names::LABEL_EXCLUDE_BALANCERS.to_owned(), String::new());
        let mut cut = node(true);
        cut.network_unavailable = true;
        let nodes = [("a", excluded), ("b", cut), ("c", node(true))];
        assert_eq!(candidates(Members::EveryNode, &nodes, &[]), both(&["c"], &[]));
        let overlooked = Members::EveryNode.candidates(named(&nodes).iter(), [].iter(), true);
        assert_eq!(overlooked.up.into_iter().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_barred_node_says_why_and_whether_its_speaker_can_still_tell() {
        let mut excluded = node(true);
        excluded.labels.insert(names::LABEL_EXCLUDE_BALANCERS.to_owned(), String::new());
        let mut cut = node(false);
        cut.network_unavailable = true;
        let nodes = named(&[("a", excluded), ("b", cut), ("c", node(true)), ("d", node(true))]);
        let pods = [pod("a", true), pod("b", true), pod("d", true)];
        let found = Members::SpeakerPods.candidates(nodes.iter(), pods.iter(), false);
        let barred: Vec<_> = found.barred.iter().map(|(name, at)| (name.as_str(), at.bar, at.awake)).collect();
        let expected =
            [("a", Bar::Excluded, true), ("b", Bar::NetworkUnavailable, false), ("c", Bar::NoSpeaker, false)];
        assert_eq!(barred, expected);
        assert_eq!(found.speakers().collect::<Vec<_>>(), ["d", "a"]);
    }

    #[test]
    fn conditions_and_phases_are_read_from_the_objects() {
        let condition =
            |kind: &str, status: &str| slim::NodeCondition { type_: kind.to_owned(), status: status.to_owned() };
        let mut object = slim::Node::default();
        object.status.conditions = vec![condition("Ready", "True"), condition("NetworkUnavailable", "True")];
        let facts = NodeFacts::from(object);
        assert!(facts.ready && facts.network_unavailable);
        let mut object = slim::Pod::default();
        object.status.phase = Some("Failed".to_owned());
        object.status.pod_ip = Some("192.0.2.1".to_owned());
        object.status.pod_ips =
            vec![slim::PodIp { ip: "192.0.2.1".to_owned() }, slim::PodIp { ip: "2001:db8::1".to_owned() }];
        let facts = PodFacts::from(object);
        assert!(facts.ending && facts.over);
        assert_eq!(facts.addresses.last().map(IpAddr::is_ipv6), Some(true));
    }

    #[test]
    fn peers_are_the_pods_addresses_of_our_family() {
        let at = |node: &str, ending: bool, addresses: &[&str]| PodFacts {
            ending,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..pod(node, true)
        };
        let mut over = at("d", true, &["192.0.2.4"]);
        over.over = true;
        let pods = [
            at("a", false, &["192.0.2.1", "2001:db8::1"]),
            at("b", true, &["192.0.2.2"]),
            at("c", false, &["192.0.2.33"]),
            at("c", true, &["192.0.2.3"]),
            over,
            at("", false, &["192.0.2.5"]),
        ];
        let found = |bind: &str| {
            let found = peers(pods.iter(), bind.parse().unwrap());
            found.into_iter().map(|(name, addr)| format!("{name}={addr}")).collect::<Vec<_>>()
        };
        assert_eq!(found("192.0.2.9:7946"), ["a=192.0.2.1:7946", "b=192.0.2.2:7946", "c=192.0.2.33:7946"]);
        assert_eq!(found("[2001:db8::9]:7947"), ["a=[2001:db8::1]:7947"]);
    }
}
