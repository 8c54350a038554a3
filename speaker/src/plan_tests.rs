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
            prop_assert_eq!(plan(&speaker.state, &mut speaker.announced, &again), []);
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
                Action::Tell { .. } | Action::Hush { .. } | Action::MissingInterfaces { .. } => {}
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

#[test]
fn temporary_measurement() {
    use std::time::Instant;
    let (mut speaker, _) = Speaker::new();
    let names: Vec<String> =
        (0..10).map(|n| format!("node-{n}")).chain(["node-a", "node-b", "node-c"].map(str::to_owned)).collect();
    let mut inputs: Vec<Input> = names.iter().map(|n| Input::Node(Event::Apply(node(n, true)))).collect();
    let mut pool = api::v1beta1::IPAddressPool::new(
        "big",
        api::v1beta1::IPAddressPoolSpec { addresses: vec!["10.1.0.0/16".to_owned()], ..Default::default() },
    );
    pool.metadata.uid = Some("x".into());
    inputs.push(Input::Pool(Event::Apply(Ok(pool))));
    for i in 0..5000u32 {
        let name = format!("s{i}");
        inputs.push(Input::Service(Event::Apply(service(&name, &format!("10.1.{}.{}", i / 256, i % 256)))));
        inputs.push(Input::EndpointSlice(Event::Apply(slice(&name, "node-a"))));
    }
    speaker.on(inputs);
    let alive: Vec<&str> = names.iter().map(String::as_str).collect();
    let t = Instant::now();
    let n = speaker.on(vec![members(&alive, &[])]).len();
    eprintln!("first {n} {:?}", t.elapsed());
    for dead in ["node-3", "node-a"] {
        let rest: Vec<&str> = alive.iter().copied().filter(|x| *x != dead).collect();
        let t = Instant::now();
        let n = speaker.on(vec![members(&rest, &[(dead, Loss::Suspected)])]).len();
        eprintln!("dead {n} {:?}", t.elapsed());
        let t = Instant::now();
        let n = speaker.on(vec![members(&alive, &[])]).len();
        eprintln!("back {n} {:?}", t.elapsed());
    }
}
