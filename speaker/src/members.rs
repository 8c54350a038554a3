//! Which nodes may announce at the moment. Pure.
//!
//! ```text
//! Nodes [, speaker pods] --candidates--> what the API says --judged_by--> Candidates { up, down }
//!                                                              ▲
//!                        membership: heard ─▶ up   lost ─▶ down   never heard ─▶ as the API says
//! ```
//! The API says who may announce: the nodes that have a speaker pod, are not excluded and have a network. Which of them live,
//! the speakers find out among themselves (crate `membership`), because the API is slow in both directions. Where no datagram
//! can pass, the API's word remains: the node's Ready condition and, where its pods' labels are known, the speaker pod's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use api::names;
use api::slim;
use membership::shell::View;
use membership::{Loss, NodeName};

/// The nodes that may announce.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Alive, as far as can be told.
    pub up: BTreeSet<String>,
    /// Allowed, but not known to be alive: used for a Service when nobody in `up` may announce it.
    pub down: BTreeSet<String>,
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

impl Candidates {
    /// What becomes of the API's word when membership has its say: who is heard is up, who is lost is down, and of whom it
    /// knows nothing, that stays as it is. `pardoned` are losses that no longer count, see [`pardon`].
    #[must_use]
    pub fn judged_by(&self, view: &View, pardoned: &BTreeSet<String>) -> Self {
        let mut judged = Self::default();
        let said = self.up.iter().map(|name| (name, true)).chain(self.down.iter().map(|name| (name, false)));
        for (name, said_up) in said {
            let up =
                view.alive.contains(name.as_str()) || (said_up && (pardoned.contains(name) || !is_lost(view, name)));
            let side = if up { &mut judged.up } else { &mut judged.down };
            side.insert(name.clone());
        }
        judged
    }
}

impl Candidates {
    /// The nodes that were up before and no longer are, if that is all that changed. Such a change concerns no election in which
    /// none of them was among the first two: those who are down count only where nobody is up, and who just went down was up.
    pub fn losses_since(&self, before: &Self) -> Option<BTreeSet<String>> {
        let gone: BTreeSet<String> = before.up.difference(&self.up).cloned().collect();
        let only_losses = self.up.is_subset(&before.up)
            && before.down.is_subset(&self.down)
            && self.down.difference(&before.down).all(|name| gone.contains(name));
        only_losses.then_some(gone)
    }
}

/// Whether the member was heard once and is known to be gone. One that we merely know nothing of any more is not.
fn is_lost(view: &View, name: &str) -> bool {
    match view.lost.get(name) {
        Some(Loss::Left | Loss::ProbeMissed | Loss::Suspected) => true,
        Some(Loss::Paused | Loss::Removed) | None => false,
    }
}

/// Brings `pardoned` up to date: lost members that the API began to call up after the loss. Then it is another process, and if
/// we do not hear it, no datagram passes (another key, a packet filter): it would count us as the API does, and so must we
/// count it, or both would answer.
pub fn pardon(pardoned: &mut BTreeSet<String>, view: &View, before: &Candidates, now: &Candidates) {
    pardoned.retain(|name| is_lost(view, name));
    pardoned.extend(now.up.difference(&before.up).filter(|name| is_lost(view, name)).cloned());
}

/// Whether somebody who was silent is heard again: it may have answered for our addresses meanwhile, as we for its own.
pub fn is_healed(before: &View, now: &View) -> bool {
    let silent = |why: &Loss| matches!(why, Loss::ProbeMissed | Loss::Suspected);
    before.lost.iter().any(|(name, why)| silent(why) && now.alive.contains(name))
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
            let Some(speaking) = speaker.filter(|_| !excluded && !node.network_unavailable) else { continue };
            let side = if speaking && node.ready { &mut candidates.up } else { &mut candidates.down };
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

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    fn view(alive: &[&str], lost: &[(&str, Loss)]) -> View {
        View {
            alive: alive.iter().map(|text| name(text)).collect(),
            lost: lost.iter().map(|(text, why)| (name(text), *why)).collect(),
            pauses: 0,
        }
    }

    fn api(up: &[&str], down: &[&str]) -> Candidates {
        Candidates { up: set(up), down: set(down) }
    }

    fn judged(said: &Candidates, view: &View) -> Candidates {
        said.judged_by(view, &BTreeSet::new())
    }

    #[test]
    fn who_is_heard_is_up_although_the_api_does_not_know_it_yet() {
        assert_eq!(judged(&api(&["a"], &["b"]), &view(&["a", "b"], &[])), api(&["a", "b"], &[]));
    }

    #[test]
    fn who_is_lost_is_down_although_the_api_does_not_know_it_yet() {
        for why in [Loss::Left, Loss::ProbeMissed, Loss::Suspected] {
            assert_eq!(judged(&api(&["a", "b"], &[]), &view(&["a"], &[("b", why)])), api(&["a"], &["b"]), "{why:?}");
        }
    }

    #[test]
    fn the_survivor_of_two_takes_over_although_it_hears_nobody() {
        assert_eq!(judged(&api(&["a", "b"], &[]), &view(&["a"], &[("b", Loss::Suspected)])).up, set(&["a"]));
    }

    #[test]
    fn of_whom_nothing_is_known_the_api_speaks() {
        let said = api(&["a", "b", "c"], &["d", "e"]);
        let lost = [("b", Loss::Paused), ("d", Loss::Removed)];
        assert_eq!(judged(&said, &view(&["a"], &lost)), said);
    }

    #[test]
    fn who_may_not_announce_does_not_by_being_alive() {
        assert_eq!(judged(&api(&["a"], &[]), &view(&["a", "drained"], &[])), api(&["a"], &[]));
    }

    #[test]
    fn a_loss_counts_no_longer_once_the_api_has_seen_a_new_process() {
        let lost = view(&["a"], &[("b", Loss::Left)]);
        let mut pardoned = BTreeSet::new();
        pardon(&mut pardoned, &lost, &api(&["a", "b"], &[]), &api(&["a", "b"], &[]));
        assert_eq!(pardoned, set(&[]), "the API only has not noticed yet");
        pardon(&mut pardoned, &lost, &api(&["a", "b"], &[]), &api(&["a"], &["b"]));
        pardon(&mut pardoned, &lost, &api(&["a"], &["b"]), &api(&["a", "b"], &[]));
        assert_eq!(api(&["a", "b"], &[]).judged_by(&lost, &pardoned).up, set(&["a", "b"]));
        assert_eq!(api(&["a"], &["b"]).judged_by(&lost, &pardoned).up, set(&["a"]), "the API's word is all it has");
        pardon(&mut pardoned, &view(&["a", "b"], &[]), &api(&["a", "b"], &[]), &api(&["a", "b"], &[]));
        assert_eq!(pardoned, set(&[]), "it was heard");
    }

    #[test]
    fn losses_are_told_from_all_other_changes() {
        let before = api(&["a", "b", "c"], &["d"]);
        assert_eq!(before.losses_since(&before), Some(set(&[])));
        assert_eq!(api(&["a"], &["b", "d"]).losses_since(&before), Some(set(&["b", "c"])));
        for (name, after) in [
            ("one comes up", api(&["a", "b", "c", "d"], &[])),
            ("one joins", api(&["a", "b", "c", "e"], &["d"])),
            ("the last resort goes", api(&["a", "b"], &["c"])),
            ("another last resort", api(&["a", "b", "c"], &["d", "e"])),
        ] {
            assert_eq!(after.losses_since(&before), None, "{name}");
        }
    }

    #[test]
    fn only_the_return_of_who_was_silent_is_a_healing() {
        for (why, healed) in
            [(Loss::ProbeMissed, true), (Loss::Suspected, true), (Loss::Left, false), (Loss::Paused, false)]
        {
            assert_eq!(is_healed(&view(&["a"], &[("b", why)]), &view(&["a", "b"], &[])), healed, "{why:?}");
        }
        assert!(!is_healed(&view(&["a"], &[("b", Loss::Suspected)]), &view(&["a", "c"], &[("b", Loss::Suspected)])));
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
