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
        (speaker, actions)
    }

    fn on(&mut self, inputs: Vec<Input>) -> Vec<Action> {
        let dirty = feed(&mut self.state, inputs);
        plan(&self.state, &mut self.announced, &dirty)
    }
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
                Action::MissingInterfaces { .. } => {}
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
