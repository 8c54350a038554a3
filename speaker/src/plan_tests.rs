//! What follows from changes of the cluster, action by action.

use api::v1beta1::L2AdvertisementSpec;
use proptest::prelude::*;
use runtime::watch::Event;

use super::*;
use crate::state::Input;
use crate::state::tests::{advertisement, complete, feed, key, node, service, slice};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A speaker after its start: it announces `web` at 10.0.0.1.
struct Speaker {
    state: State,
    announced: Announced,
}

impl Speaker {
    fn new() -> (Self, Vec<Action>) {
        let mut speaker = Self { state: complete(), announced: Announced::default() };
        let all = Dirty { all: true, services: BTreeSet::new() };
        let actions = plan(&speaker.state, &mut speaker.announced, &all);
        (speaker, changes(actions))
    }

    /// Every action.
    fn all_on(&mut self, inputs: Vec<Input>) -> Vec<Action> {
        let dirty = feed(&mut self.state, inputs);
        plan(&self.state, &mut self.announced, &dirty)
    }

    /// The actions on the wire and what is told of them.
    fn on(&mut self, inputs: Vec<Input>) -> Vec<Action> {
        changes(self.all_on(inputs))
    }

    /// How the API is to show this node's stand, and what is told about Services that nobody announces.
    fn shown(&mut self, inputs: Vec<Input>) -> (Vec<Option<Stand>>, Vec<Option<&'static str>>) {
        let (mut stands, mut silences) = (Vec::new(), Vec::new());
        for action in self.all_on(inputs) {
            if let Action::Show { stand, .. } = action {
                stands.push(stand);
            } else if let Action::Silent { now, .. } = action {
                silences.push(now.as_ref().map(Silence::reason));
            }
        }
        (stands, silences)
    }
}

fn changes(actions: Vec<Action>) -> Vec<Action> {
    let explains =
        |action: &Action| matches!(action, Action::Show { .. } | Action::Explain { .. } | Action::Silent { .. });
    actions.into_iter().filter(|action| !explains(action)).collect()
}

fn announce(text: &str) -> Action {
    Action::Announce { ip: ip(text), interfaces: Interfaces::All }
}

fn started(service: &str, text: &str) -> Action {
    Action::Started { service: key(service), ips: vec![ip(text)] }
}

fn stopped(service: &str, text: &str, reason: Reason) -> Action {
    Action::Stopped { service: key(service), ips: vec![ip(text)], reason }
}

#[test]
fn a_start_announces_what_this_node_owns() {
    assert_eq!(Speaker::new().1, [announce("10.0.0.1"), started("web", "10.0.0.1")]);
}

#[test]
fn looking_again_at_an_unchanged_service_does_nothing() {
    let (mut speaker, _) = Speaker::new();
    let mut touched = service("web", "10.0.0.1");
    touched.metadata.annotations = Some(std::iter::once(("note".to_owned(), "x".to_owned())).collect());
    assert_eq!(speaker.on(vec![Input::Service(Event::Apply(touched))]), []);
    assert_eq!(speaker.on(vec![Input::EndpointSlice(Event::Apply(slice("web", "node-c")))]), []);
    let all = Dirty { all: true, services: BTreeSet::new() };
    assert_eq!(plan(&speaker.state, &mut speaker.announced, &all), []);
}

#[test]
fn a_deleted_service_is_withdrawn() {
    let (mut speaker, _) = Speaker::new();
    let actions = speaker.on(vec![Input::Service(Event::Delete(service("web", "10.0.0.1")))]);
    let gone = Reason::ServiceDeleted;
    assert_eq!(actions, [Action::Withdraw { ip: ip("10.0.0.1") }, stopped("web", "10.0.0.1", gone)]);
}

#[test]
fn losing_the_election_withdraws_and_winning_it_back_announces_again() {
    let (mut speaker, _) = Speaker::new();
    let actions = speaker.on(vec![Input::Node(Event::Apply(node("node-b", false)))]);
    assert_eq!(actions[0], Action::Withdraw { ip: ip("10.0.0.1") });
    let actions = speaker.on(vec![Input::Node(Event::Apply(node("node-b", true)))]);
    assert_eq!(actions, [announce("10.0.0.1"), started("web", "10.0.0.1")]);
}

#[test]
fn another_address_replaces_the_old_one() {
    let (mut speaker, _) = Speaker::new();
    // node-b also owns 10.0.0.2, see the vectors of the election.
    let actions = speaker.on(vec![Input::Service(Event::Apply(service("web", "10.0.0.2")))]);
    assert_eq!(
        actions,
        [
            Action::Withdraw { ip: ip("10.0.0.1") },
            announce("10.0.0.2"),
            stopped("web", "10.0.0.1", Reason::AddressChanged),
            started("web", "10.0.0.2"),
        ]
    );
}

#[test]
fn a_shared_address_stays_until_its_last_service_goes() {
    let (mut speaker, _) = Speaker::new();
    let second = || service("web2", "10.0.0.1");
    let slices = Input::EndpointSlice(Event::Apply(slice("web2", "node-c")));
    let actions = speaker.on(vec![slices, Input::Service(Event::Apply(second()))]);
    assert_eq!(actions, [started("web2", "10.0.0.1")]);
    let gone = || Reason::ServiceDeleted;
    let actions = speaker.on(vec![Input::Service(Event::Delete(service("web", "10.0.0.1")))]);
    assert_eq!(actions, [stopped("web", "10.0.0.1", gone())]);
    let actions = speaker.on(vec![Input::Service(Event::Delete(second()))]);
    assert_eq!(actions, [Action::Withdraw { ip: ip("10.0.0.1") }, stopped("web2", "10.0.0.1", gone())]);
}

#[test]
fn other_interfaces_change_where_is_answered_but_not_who_is_told() {
    let (mut speaker, _) = Speaker::new();
    let spec = L2AdvertisementSpec { interfaces: vec!["eth0".to_owned()], ..Default::default() };
    let actions = speaker.on(vec![Input::L2Advertisement(Event::Apply(advertisement(spec)))]);
    assert_eq!(actions, [Action::Announce { ip: ip("10.0.0.1"), interfaces: Interfaces::named(["eth0"]) }]);
}

#[test]
fn interfaces_that_do_not_exist_silence_the_address_and_are_told_once_until_they_appear() {
    let (mut speaker, _) = Speaker::new();
    let spec = L2AdvertisementSpec { interfaces: vec!["eth7".to_owned()], ..Default::default() };
    let actions = speaker.on(vec![Input::L2Advertisement(Event::Apply(advertisement(spec)))]);
    assert_eq!(
        actions,
        [
            Action::Withdraw { ip: ip("10.0.0.1") },
            stopped("web", "10.0.0.1", Reason::NoInterface),
            Action::MissingInterfaces { service: key("web"), ip: ip("10.0.0.1") },
        ]
    );
    let names = |list: &[&str]| Input::Interfaces(list.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(speaker.on(vec![names(&["eth0", "eth1"])]), []);
    let actions = speaker.on(vec![names(&["eth0", "eth7"])]);
    let named = Action::Announce { ip: ip("10.0.0.1"), interfaces: Interfaces::named(["eth7"]) };
    assert_eq!(actions, [named, started("web", "10.0.0.1")]);
}

fn ours(interfaces: &[&str]) -> Option<Stand> {
    Some(Stand::Ours(interfaces.iter().map(|name| (*name).to_owned()).collect()))
}

/// The three nodes, of which only node-b is alive: it tells whatever there is to tell.
fn alone() -> Speaker {
    let (mut speaker, _) = Speaker::new();
    speaker.on(["node-a", "node-c"].map(|name| Input::Node(Event::Apply(node(name, false)))).to_vec());
    speaker
}

#[test]
fn i14_the_api_shows_each_change_of_what_this_node_announces_once() {
    let mut speaker = alone();
    let named = |interfaces: &[&str]| {
        let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
        vec![Input::L2Advertisement(Event::Apply(advertisement(L2AdvertisementSpec {
            interfaces,
            ..Default::default()
        })))]
    };
    assert_eq!(speaker.shown(named(&["eth0"])), (vec![ours(&["eth0"])], vec![]));
    assert_eq!(
        speaker.shown(named(&["eth0", "eth7"])),
        (vec![], vec![]),
        "eth7 does not exist, nothing changes on the wire"
    );
    assert_eq!(speaker.shown(named(&[])), (vec![ours(&[])], vec![]));
    let silent = (vec![Some(Stand::Nobody)], vec![Some("noInterface")]);
    assert_eq!(speaker.shown(named(&["eth7"])), silent);
    assert_eq!(speaker.shown(named(&[])), (vec![ours(&[])], vec![None]));
    let gone = vec![Input::Service(Event::Delete(service("web", "10.0.0.1")))];
    assert_eq!(speaker.shown(gone), (vec![None], vec![]));
}

#[test]
fn r18_a_service_that_loses_its_last_announcer_is_told_of_and_taken_back_when_it_has_one() {
    let mut speaker = alone();
    let gone = || vec![Input::EndpointSlice(Event::Delete(slice("web", "node-a")))];
    assert_eq!(speaker.shown(gone()), (vec![Some(Stand::Nobody)], vec![Some("noEndpoint")]));
    assert_eq!(speaker.shown(gone()), (vec![], vec![]));
    let back = vec![Input::EndpointSlice(Event::Apply(slice("web", "node-a")))];
    assert_eq!(speaker.shown(back), (vec![ours(&[])], vec![None]));
    let pending = vec![Input::Service(Event::Apply(service("new", "")))];
    assert_eq!(
        speaker.shown(pending),
        (vec![Some(Stand::Nobody)], vec![]),
        "the controller tells why it has no address"
    );
    let foreign = vec![Input::Service(Event::Apply(service("new", "192.0.2.1")))];
    assert_eq!(speaker.shown(foreign), (vec![], vec![Some("ipNotAllowed")]));
    let gone = vec![Input::Service(Event::Delete(service("new", "192.0.2.1")))];
    assert_eq!(speaker.shown(gone), (vec![None], vec![None]));
}

#[test]
fn every_reason_is_noted_once_also_of_a_service_that_was_never_announced() {
    let (mut speaker, _) = Speaker::new();
    let explained = |actions: Vec<Action>| -> Vec<Reason> {
        let reason = |action| if let Action::Explain { reason, .. } = action { Some(reason) } else { None };
        actions.into_iter().filter_map(reason).collect()
    };
    let new = || vec![Input::Service(Event::Apply(service("new", "192.0.2.1")))];
    assert_eq!(explained(speaker.all_on(new())), [Reason::IpNotAllowed]);
    let slices = Input::EndpointSlice(Event::Apply(slice("new", "node-c")));
    assert_eq!(explained(speaker.all_on(vec![slices])), [], "the reason is the same");
    let pending = vec![Input::Service(Event::Apply(service("new", "")))];
    assert_eq!(explained(speaker.all_on(pending)), [Reason::NoIpAllocated]);
}

#[test]
fn r19_a_change_of_one_service_is_a_decision_about_all_that_share_its_address() {
    let (mut speaker, _) = Speaker::new();
    let mut local = service("web2", "10.0.0.1");
    local.spec.external_traffic_policy = Some("Local".to_owned());
    // Only node-c can serve the second one, so the address goes there, although node-b comes first in the order.
    let actions = speaker.on(vec![
        Input::EndpointSlice(Event::Apply(slice("web2", "node-c"))),
        Input::Service(Event::Apply(local.clone())),
    ]);
    assert_eq!(actions[0], Action::Withdraw { ip: ip("10.0.0.1") });
    let actions = speaker.on(vec![Input::EndpointSlice(Event::Apply(slice("web2", "node-b")))]);
    assert_eq!(actions, [announce("10.0.0.1"), started("web", "10.0.0.1"), started("web2", "10.0.0.1")]);
    let actions = speaker
        .on(vec![Input::EndpointSlice(Event::Delete(slice("web2", "node-b"))), Input::Service(Event::Delete(local))]);
    assert_eq!(actions.len(), 1, "the other one stays: {actions:?}");
}

proptest! {
    /// Whatever happens, doing the actions one after another gives exactly what is decided in the end.
    #[test]
    fn the_actions_add_up_to_the_decisions(steps in prop::collection::vec((0u8..5, 0u8..4, 1u8..4), 1..40)) {
        let (mut speaker, first) = Speaker::new();
        let mut wire: BTreeMap<IpAddr, Interfaces> = BTreeMap::new();
        let mut told: BTreeSet<(ServiceKey, IpAddr)> = BTreeSet::new();
        let mut all = vec![first];
        for (kind, which, value) in steps {
            let name = format!("s{which}");
            let input = match kind {
                0 => Input::Service(Event::Apply(service(&name, &format!("10.0.0.{value}")))),
                1 => Input::Service(Event::Delete(service(&name, ""))),
                2 => Input::EndpointSlice(Event::Apply(slice(&name, "node-a"))),
                3 => Input::EndpointSlice(Event::Delete(slice(&name, "node-a"))),
                _ => Input::Node(Event::Apply(node("node-b", value == 1))),
            };
            all.push(speaker.on(vec![input]));
        }
        for action in all.into_iter().flatten() {
            match action {
                Action::Announce { ip, interfaces } => drop(wire.insert(ip, interfaces)),
                Action::Withdraw { ip } => prop_assert!(wire.remove(&ip).is_some()),
                Action::Started { service, ips } => {
                    for ip in ips {
                        prop_assert!(told.insert((service.clone(), ip)));
                    }
                }
                Action::Stopped { service, ips, .. } => {
                    for ip in ips {
                        prop_assert!(told.remove(&(service.clone(), ip)));
                    }
                }
                Action::MissingInterfaces { .. }
                | Action::Show { .. }
                | Action::Explain { .. }
                | Action::Silent { .. } => {}
            }
        }
        let mut decided = BTreeSet::new();
        for service in speaker.state.services() {
            if let Ok(announcement) = speaker.state.decide(service) {
                decided.extend(announcement.addresses.into_keys().map(|ip| (service.clone(), ip)));
            }
        }
        let on_wire: BTreeSet<IpAddr> = decided.iter().map(|(_, ip)| *ip).collect();
        prop_assert_eq!(wire.keys().copied().collect::<BTreeSet<_>>(), on_wire);
        prop_assert_eq!(told, decided);
    }
}
