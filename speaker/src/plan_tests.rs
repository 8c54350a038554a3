//! What follows from changes of the cluster, action by action.

use api::v1beta1::L2AdvertisementSpec;
use membership::Loss;
use proptest::prelude::*;
use runtime::watch::Event;

use super::*;
use crate::announce::l2::rank;
use crate::state::Input;
use crate::state::tests::{advertisement, complete, feed, key, members, node, service, slice};

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
        let all = Dirty { all: true, ..Dirty::default() };
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
    let plain = |action| match action {
        // Whether it is the first is a matter of tests of its own.
        Action::Announce { ip, interfaces, .. } => Action::Announce { ip, interfaces, first: false },
        other @ (Action::Withdraw { .. }
        | Action::Tell { .. }
        | Action::Hush { .. }
        | Action::Stopped { .. }
        | Action::Started { .. }
        | Action::MissingInterfaces { .. }
        | Action::Show { .. }
        | Action::Explain { .. }
        | Action::Silent { .. }) => other,
    };
    actions.into_iter().filter(|action| !explains(action)).map(plain).collect()
}

fn announce(text: &str) -> Action {
    Action::Announce { ip: ip(text), interfaces: Interfaces::All, first: false }
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
    let all = Dirty { all: true, ..Dirty::default() };
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
    assert_eq!(
        actions,
        [Action::Announce { ip: ip("10.0.0.1"), interfaces: Interfaces::named(["eth0"]), first: false }]
    );
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
    let named = Action::Announce { ip: ip("10.0.0.1"), interfaces: Interfaces::named(["eth7"]), first: false };
    assert_eq!(actions, [named, started("web", "10.0.0.1")]);
}

/// Which of the addresses announced by these actions were asked for first.
fn firsts(actions: &[Action]) -> Vec<bool> {
    let first = |action: &Action| match action {
        Action::Announce { first, .. } => Some(*first),
        Action::Withdraw { .. }
        | Action::Tell { .. }
        | Action::Hush { .. }
        | Action::Stopped { .. }
        | Action::Started { .. }
        | Action::MissingInterfaces { .. }
        | Action::Show { .. }
        | Action::Explain { .. }
        | Action::Silent { .. } => None,
    };
    actions.iter().filter_map(first).collect()
}

#[test]
fn only_a_new_address_that_nobody_was_elected_for_is_announced_for_the_first_time() {
    let (mut speaker, _) = Speaker::new();
    speaker.on(vec![members(&["node-a", "node-b"], &[("node-c", Loss::Left)])]);
    let (mine, other) = (led_by("node-b", "node-c"), led_by("node-a", "node-b"));
    let created = |name: &str, ip: &str| {
        let slice = Input::EndpointSlice(Event::Apply(slice(name, "node-c")));
        vec![Input::Service(Event::Apply(service(name, ip))), slice]
    };
    assert_eq!(firsts(&speaker.all_on(created("mine", &mine))), [true]);
    assert!(firsts(&speaker.all_on(created("other", &other))).is_empty());
    // Another node announced it until now.
    let dead = members(&["node-b"], &[("node-a", Loss::ProbeMissed), ("node-c", Loss::Left)]);
    assert_eq!(firsts(&speaker.all_on(vec![dead])), [false]);
    // It was this node's own before.
    speaker.on(vec![Input::EndpointSlice(Event::Delete(slice("mine", "node-c")))]);
    assert_eq!(firsts(&speaker.all_on(vec![Input::EndpointSlice(Event::Apply(slice("mine", "node-c")))])), [false]);
}

/// An address for which these nodes lead the election, this node being node-b.
fn led_by(first: &str, second: &str) -> String {
    let mut candidates = (1..250u8).map(|last| format!("10.0.0.{last}"));
    let found = candidates.find(|text| {
        let order = rank(vec!["node-a", "node-b", "node-c"], &[], ip(text));
        (order[0], order[1]) == (first, second)
    });
    found.unwrap()
}

#[test]
fn an_owner_is_watched_by_who_stands_behind_it_and_replaced_when_it_dies() {
    let (mut speaker, _) = Speaker::new();
    let all = ["node-a", "node-b", "node-c"];
    let (behind, third) = (led_by("node-a", "node-b"), led_by("node-c", "node-a"));
    speaker.on(vec![
        members(&all, &[]),
        Input::Service(Event::Apply(service("behind", &behind))),
        Input::EndpointSlice(Event::Apply(slice("behind", "node-c"))),
        Input::Service(Event::Apply(service("third", &third))),
        Input::EndpointSlice(Event::Apply(slice("third", "node-c"))),
    ]);
    assert_eq!(speaker.announced.watched().collect::<Vec<_>>(), ["node-a"]);
    let dead = [("node-a", Loss::ProbeMissed)];
    assert_eq!(speaker.on(vec![members(&all[1..], &dead)]), [announce(&behind), started("behind", &behind)]);
    assert_eq!(speaker.announced.watched().collect::<Vec<_>>(), ["node-c"], "it stands behind node-c now");
    let dead = [("node-a", Loss::Suspected), ("node-c", Loss::Suspected)];
    assert_eq!(speaker.on(vec![members(&["node-b"], &dead)]), [announce(&third), started("third", &third)]);
    assert_eq!(speaker.announced.watched().count(), 0);
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
    /// A shortcut must not change what comes out.
    #[test]
    fn looking_only_where_a_dead_member_matters_finds_all_there_is_to_find(
        services in prop::collection::vec((1u8..250, 0u8..4), 1..30),
        steps in prop::collection::vec((0u8..8, any::<bool>()), 1..12),
    ) {
        let (mut speaker, _) = Speaker::new();
        let mut inputs = Vec::new();
        for (index, (last, endpoint)) in services.iter().enumerate() {
            let name = format!("s{index}");
            let mut local = service(&name, &format!("10.0.0.{last}"));
            if *endpoint < 3 {
                local.spec.external_traffic_policy = Some("Local".to_owned());
            }
            inputs.push(Input::Service(Event::Apply(local)));
            let node = ["node-a", "node-b", "node-c", "node-a"][usize::from(*endpoint)];
            inputs.push(Input::EndpointSlice(Event::Apply(slice(&name, node))));
        }
        speaker.on(inputs);
        for (mask, ready) in steps {
            let all = ["node-a", "node-b", "node-c"];
            let (alive, gone): (Vec<_>, Vec<_>) =
                all.into_iter().enumerate().partition(|(index, _)| mask >> index & 1 == 1);
            let alive: Vec<&str> = alive.into_iter().map(|(_, name)| name).collect();
            let lost: Vec<_> = gone.into_iter().map(|(_, name)| (name, Loss::Suspected)).collect();
            speaker.on(vec![members(&alive, &lost), Input::Node(Event::Apply(node("node-c", ready)))]);
            let again = Dirty { all: true, ..Dirty::default() };
            let watched: BTreeSet<String> = speaker.announced.watched().map(str::to_owned).collect();
            // What is told of a Service that nobody announces may pass to another node; that is looked for afterwards.
            prop_assert_eq!(changes(plan(&speaker.state, &mut speaker.announced, &again)), []);
            let now: BTreeSet<String> = speaker.announced.watched().map(str::to_owned).collect();
            prop_assert_eq!(watched, now);
        }
    }
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
                Action::Announce { ip, interfaces, .. } => drop(wire.insert(ip, interfaces)),
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
                Action::Tell { .. }
                | Action::Hush { .. }
                | Action::MissingInterfaces { .. }
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
