//! Decisions and the order of nodes, as tables.

use config::model::{Pool, PoolEntry, PoolName};
use config::selector::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::*;
use crate::members::Barred;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn selector(pairs: &[(&str, &str)]) -> Selector {
    Selector::parse(&LabelSelector { match_labels: Some(labels(pairs)), ..LabelSelector::default() }).unwrap()
}

fn advertisement(nodes: &[&str]) -> L2Advertisement {
    L2Advertisement {
        name: "ad".to_owned(),
        nodes: set(nodes).into(),
        interfaces: None,
        service_selectors: Vec::new(),
        preferences: BTreeMap::new(),
    }
}

/// A cluster of node-a, node-b and node-c, all up, with two pools and one Service with endpoints on node-a.
struct World {
    node: &'static str,
    config: Config,
    candidates: Candidates,
    interfaces: BTreeSet<String>,
    addresses: Vec<IpAddr>,
    labels: BTreeMap<String, String>,
    shares_address: bool,
    local: bool,
    serving: Serving,
}

const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];

impl World {
    /// The Service's first address is 10.0.0.1, for which the order is node-b, node-a, node-c.
    fn new(advertisements: Vec<L2Advertisement>) -> Self {
        let cidrs = vec!["10.0.0.0/24".parse().unwrap(), "2001:db8::/120".parse().unwrap()];
        let pool = Pool {
            entries: vec![PoolEntry { text: String::new(), cidrs }],
            l2_advertisements: advertisements.into_iter().map(Into::into).collect(),
            ..Pool::default()
        };
        let mut config = Config::default();
        config.pools.insert(PoolName::from("first"), pool);
        Self {
            node: "node-b",
            config,
            candidates: Candidates { up: set(&NODES), ..Candidates::default() },
            interfaces: set(&["eth0"]),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            labels: labels(&[("app", "web")]),
            shares_address: false,
            local: false,
            serving: Serving { anywhere: true, nodes: set(&["node-a"]) },
        }
    }

    fn view<'a>(&'a self, node: &'a str) -> View<'a> {
        View { node, config: &self.config, candidates: &self.candidates, interfaces: &self.interfaces }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            addresses: &self.addresses,
            labels: &self.labels,
            shares_address: self.shares_address,
            local: self.local,
            serving: &self.serving,
        }
    }

    fn decide_as(&self, node: &str) -> Result<Announcement, Reason> {
        decide(&self.view(node), &self.subject(), &[self.subject()])
    }

    /// What every node finds.
    fn silence(&self) -> Option<Silence> {
        let found = NODES.map(|node| silence(&self.view(node), &self.subject(), &[self.subject()]));
        assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
        found.into_iter().next().flatten()
    }

    fn bar(&mut self, node: &str, bar: Bar) {
        self.candidates.up.remove(node);
        self.candidates.barred.insert(node.to_owned(), Barred { bar, awake: true });
    }

    fn decide(&self) -> Result<Announcement, Reason> {
        self.decide_as(self.node)
    }

    /// The nodes that announce.
    fn owners(&self) -> Vec<&'static str> {
        NODES.into_iter().filter(|node| self.decide_as(node).is_ok()).collect()
    }
}

#[test]
fn the_order_of_nodes_agrees_with_metallb() {
    for (nodes, ip, expected) in [
        (&["node-a", "node-b", "node-c"][..], "10.0.0.1", &["node-b", "node-a", "node-c"][..]),
        (&["node-a", "node-b", "node-c"], "10.0.0.2", &["node-b", "node-c", "node-a"]),
        (&["edge-a", "edge-b"], "10.20.30.1", &["edge-b", "edge-a"]),
        (&["iris1", "iris2"], "10.20.30.1", &["iris2", "iris1"]),
        (&["iris1", "iris2"], "10.20.30.2", &["iris1", "iris2"]),
    ] {
        assert_eq!(rank(nodes.to_vec(), &[], ip.parse().unwrap()), expected, "{ip}");
    }
    assert_eq!(place("node-b", &[], "10.0.0.1").1[..6], [0x2a, 0xca, 0xe8, 0x85, 0x81, 0xfd]);
}

#[test]
fn exactly_one_node_owns_a_service_and_both_families_stay_together() {
    let mut world = World::new(vec![advertisement(&NODES)]);
    world.addresses.push("2001:db8::1".parse().unwrap());
    assert_eq!(world.owners(), ["node-b"]);
    let announcement = world.decide().unwrap();
    assert_eq!(announcement.addresses.len(), 2);
    assert_eq!(world.decide_as("node-a"), Err(Reason::NotOwner(Owner::Node("node-b".to_owned()))));
}

#[test]
fn every_refusal_has_its_reason() {
    type Change = fn(&mut World);
    let selecting = |pairs: &[(&str, &str)]| {
        let mut ad = advertisement(&NODES);
        ad.service_selectors = vec![selector(pairs)];
        ad
    };
    let cases: Vec<(&str, World, Change, Reason)> = vec![
        ("no address", World::new(vec![advertisement(&NODES)]), |w| w.addresses.clear(), Reason::NoIpAllocated),
        (
            "address of no pool",
            World::new(vec![advertisement(&NODES)]),
            |w| w.addresses = vec!["192.0.2.1".parse().unwrap()],
            Reason::IpNotAllowed,
        ),
        (
            "no serving endpoint",
            World::new(vec![advertisement(&NODES)]),
            |w| w.serving = Serving::default(),
            Reason::NotOwner(Owner::NoEndpoints),
        ),
        (
            "shared address under a service selector",
            World::new(vec![selecting(&[("app", "web")])]),
            |w| w.shares_address = true,
            Reason::SharedIpWithServiceSelector,
        ),
        ("no advertisement", World::new(vec![]), |_| (), Reason::NoMatchingAdvertisement),
        (
            "advertisement for other nodes",
            World::new(vec![advertisement(&["node-a"])]),
            |_| (),
            Reason::NoMatchingAdvertisement,
        ),
        (
            "advertisement for other services",
            World::new(vec![selecting(&[("app", "db")])]),
            |_| (),
            Reason::NoMatchingAdvertisement,
        ),
        (
            "nobody is a candidate",
            World::new(vec![advertisement(&NODES)]),
            |w| w.candidates.up.clear(),
            Reason::NotOwner(Owner::NoCandidate),
        ),
    ];
    for (name, mut world, change, expected) in cases {
        change(&mut world);
        assert_eq!(world.decide(), Err(expected), "{name}");
    }
}

#[test]
fn traffic_policy_local_leaves_only_nodes_with_an_endpoint() {
    let mut world = World::new(vec![advertisement(&NODES)]);
    world.local = true;
    assert_eq!(world.owners(), ["node-a"]);
    world.serving.nodes = set(&["node-a", "node-c"]);
    assert_eq!(world.owners(), ["node-a"]);
    world.serving.nodes.clear();
    assert_eq!(world.owners(), [""; 0]);
}

#[test]
fn a_node_that_left_is_replaced_by_the_next_and_takes_back_on_return() {
    let mut world = World::new(vec![advertisement(&NODES)]);
    world.candidates.up.remove("node-b");
    world.candidates.down.insert("node-b".to_owned());
    assert_eq!(world.owners(), ["node-a"]);
    world.candidates.up.insert("node-b".to_owned());
    assert_eq!(world.owners(), ["node-b"]);
}

#[test]
fn when_no_node_is_up_the_owner_stays_the_owner() {
    let mut world = World::new(vec![advertisement(&NODES)]);
    world.candidates = Candidates { down: set(&NODES), ..Candidates::default() };
    assert_eq!(world.owners(), ["node-b"]);
}

#[test]
fn the_preferred_node_wins_whatever_the_hash_says_and_weights_add_up() {
    let mut first = advertisement(&NODES);
    first.preferences = BTreeMap::from([("node-a".to_owned(), 60), ("node-c".to_owned(), 60)]);
    let mut second = advertisement(&NODES);
    second.preferences = BTreeMap::from([("node-c".to_owned(), 50)]);
    assert_eq!(World::new(vec![first.clone(), second.clone()]).owners(), ["node-c"]);
    assert_eq!(World::new(vec![first]).owners(), ["node-a"]);
    // Preferences of an advertisement that does not select the Service do not count.
    second.service_selectors = vec![selector(&[("app", "db")])];
    assert_eq!(World::new(vec![advertisement(&NODES), second]).owners(), ["node-b"]);
}

#[test]
fn a_preference_does_not_overrule_which_nodes_are_allowed() {
    let mut preferring = advertisement(&["node-a"]);
    preferring.preferences = BTreeMap::from([("node-c".to_owned(), 100)]);
    assert_eq!(World::new(vec![preferring]).owners(), ["node-a"]);
}

#[test]
fn two_advertisements_for_two_nodes_give_exactly_one_owner() {
    let world = World::new(vec![advertisement(&["node-a"]), advertisement(&["node-c"])]);
    assert_eq!(world.owners(), ["node-a"]);
}

#[test]
fn a_shared_address_is_fine_while_no_advertisement_selects_services() {
    let mut world = World::new(vec![advertisement(&NODES)]);
    world.shares_address = true;
    assert_eq!(world.owners(), ["node-b"]);
}

#[test]
fn interfaces_of_all_advertisements_for_this_node_add_up() {
    let on = |nodes: &[&str], interfaces: &[&str]| {
        let mut ad = advertisement(nodes);
        ad.interfaces = Some(set(interfaces));
        ad
    };
    let ip: IpAddr = "10.0.0.1".parse().unwrap();
    let interfaces = |ads| World::new(ads).decide().unwrap().addresses[&ip].clone();
    let (one, two) = (on(&NODES, &["eth0"]), on(&NODES, &["eth1"]));
    assert_eq!(interfaces(vec![one.clone()]), Interfaces::named(["eth0"]));
    assert_eq!(interfaces(vec![one.clone(), two]), Interfaces::named(["eth0", "eth1"]));
    assert_eq!(interfaces(vec![one.clone(), advertisement(&NODES)]), Interfaces::All);
    assert_eq!(interfaces(vec![one, on(&["node-a"], &["eth2"])]), Interfaces::named(["eth0"]));
}

#[test]
fn named_interfaces_that_do_not_exist_leave_the_address_unreachable_without_another_owner() {
    let mut ad = advertisement(&NODES);
    ad.interfaces = Some(set(&["eth7"]));
    let world = World::new(vec![ad]);
    let announcement = world.decide().unwrap();
    assert!(announcement.addresses.is_empty());
    assert_eq!(announcement.unreachable.len(), 1);
    assert_eq!(world.owners(), ["node-b"]);
}

#[test]
fn s1_13_the_owner_follows_from_node_name_and_address_alone() {
    let mut world = World::new(vec![advertisement(&NODES)]);
    for (address, owner) in [("10.0.0.1", "node-b"), ("10.0.0.2", "node-b"), ("2001:db8::1", "node-a")] {
        world.addresses = vec![address.parse().unwrap()];
        let order = rank(NODES.to_vec(), &[], address.parse().unwrap());
        assert_eq!(world.owners(), [order[0]], "{address}");
        if address.contains('.') {
            assert_eq!(order[0], owner);
        }
    }
}

#[test]
fn s1_19_any_speaker_may_announce_under_policy_cluster_and_only_those_with_an_endpoint_under_local() {
    let mut world = World::new(vec![advertisement(&NODES)]);
    world.serving = Serving { anywhere: true, nodes: set(&["node-c"]) };
    assert_eq!(world.owners(), ["node-b"], "Cluster: the endpoint may be anywhere");
    world.local = true;
    assert_eq!(world.owners(), ["node-c"]);
    world.serving.nodes = set(&["node-a"]);
    assert_eq!(world.owners(), ["node-a"], "the address follows the endpoint");
}

#[test]
fn s2_22_the_interface_list_limits_where_is_answered_and_not_who_is_elected() {
    let mut ad = advertisement(&NODES);
    ad.interfaces = Some(set(&["eth1"]));
    let mut world = World::new(vec![ad]);
    world.interfaces = set(&["eth0"]);
    assert!(world.decide_as("node-b").unwrap().addresses.is_empty());
    assert_eq!(world.decide_as("node-a"), Err(Reason::NotOwner(Owner::Node("node-b".to_owned()))));
    assert_eq!(world.silence(), None, "only the owner knows what it lacks");
}

#[test]
fn r18_every_silence_names_its_cause() {
    type Change = fn(&mut World);
    let everywhere = || World::new(vec![advertisement(&NODES)]);
    let selecting = |pairs: &[(&str, &str)]| {
        let mut ad = advertisement(&NODES);
        ad.service_selectors = vec![selector(pairs)];
        World::new(vec![ad])
    };
    let bar_all = |bar: Bar| {
        let mut world = everywhere();
        NODES.iter().for_each(|node| world.bar(node, bar));
        world
    };
    let cases: Vec<(World, Change, &str, &str)> = vec![
        (everywhere(), |w| w.addresses = vec!["192.0.2.1".parse().unwrap()], "ipNotAllowed", "192.0.2.1"),
        (World::new(vec![]), |_| (), "noAdvertisement", "pool \"first\""),
        (selecting(&[("app", "db")]), |_| (), "noAdvertisementForService", "(ad)"),
        (selecting(&[("app", "web")]), |w| w.shares_address = true, "sharedIPWithServiceSelector", "in ad"),
        (World::new(vec![advertisement(&[])]), |_| (), "noAdvertisementForNodes", "ad select no node"),
        (everywhere(), |w| w.serving = Serving::default(), "noEndpoint", "none of its endpoints"),
        (
            World::new(vec![advertisement(&["node-c"])]),
            |w| w.local = true,
            "noLocalEndpoint",
            "no L2Advertisement selects: node-a",
        ),
        (bar_all(Bar::Excluded), |_| (), "nodesExcluded", "node-a, node-b, node-c: excluded by the label"),
        (bar_all(Bar::NetworkUnavailable), |_| (), "networkUnavailable", "NetworkUnavailable"),
        (bar_all(Bar::NoSpeaker), |_| (), "noSpeaker", "no speaker runs there"),
        (bar_all(Bar::Excluded), |w| w.bar("node-b", Bar::NoSpeaker), "noNodeAllowed", "node-b: no speaker runs there"),
        (
            everywhere(),
            |w| w.candidates = Candidates { down: set(&NODES), ..Candidates::default() },
            "noSpeakerUp",
            "node-a, node-b, node-c",
        ),
    ];
    for (mut world, change, reason, words) in cases {
        assert!(world.decide_as("node-b").is_ok() || reason != "ipNotAllowed", "the rest is in order: {reason}");
        change(&mut world);
        let silence = world.silence().unwrap_or_else(|| panic!("{reason}: somebody announces"));
        assert_eq!(silence.reason(), reason);
        let text = silence.to_string();
        assert!(text.contains(words), "{reason}: {text}");
    }
    let mut world = everywhere();
    assert_eq!(world.silence(), None);
    world.addresses.clear();
    assert_eq!(world.silence(), None, "the controller tells why there is no address");
}

#[test]
fn r18_a_service_is_silent_exactly_when_no_node_announces_it() {
    for bits in 0..64u32 {
        let mut world = World::new(vec![advertisement(&["node-a", "node-b"])]);
        world.local = bits & 1 != 0;
        world.serving.nodes = set(if bits & 2 != 0 { &["node-b"] } else { &["node-c"] });
        world.serving.anywhere = bits & 4 != 0;
        if bits & 8 != 0 {
            world.bar("node-a", Bar::Excluded);
        }
        if bits & 16 != 0 {
            world.bar("node-b", Bar::NetworkUnavailable);
        }
        world.shares_address = bits & 32 != 0;
        assert_eq!(world.silence().is_some(), world.owners().is_empty(), "{bits:b}: {:?}", world.silence());
    }
}

/// A second Service beside that of the world; who announces which.
fn shared(world: &World, second: &Subject<'_>) -> Vec<(&'static str, bool, bool)> {
    let group = [world.subject(), *second];
    let announces = |node: &str, service: &Subject<'_>| decide(&world.view(node), service, &group).is_ok();
    NODES
        .into_iter()
        .map(|node| (node, announces(node, &group[0]), announces(node, &group[1])))
        .filter(|(_, first, second)| *first || *second)
        .collect()
}

#[test]
fn r19_services_with_one_address_are_on_one_node_whatever_their_policies() {
    let mut world = World::new(vec![advertisement(&NODES)]);
    world.shares_address = true;
    let on = |nodes: &[&str]| Serving { anywhere: true, nodes: set(nodes) };
    for (mine, theirs, expected) in [
        // Cluster and Local: the node that both can use, though the order of nodes begins with node-b.
        ((false, on(&["node-b"])), (true, on(&["node-c"])), vec![("node-c", true, true)]),
        ((true, on(&["node-a", "node-c"])), (true, on(&["node-b", "node-c"])), vec![("node-c", true, true)]),
        // No node for both: the first decides, the other says so.
        ((true, on(&["node-a"])), (true, on(&["node-c"])), vec![("node-a", true, false)]),
        // One without endpoints has no say.
        ((false, on(&["node-a"])), (true, Serving::default()), vec![("node-b", true, false)]),
    ] {
        (world.local, world.serving) = mine;
        let second = Subject { local: theirs.0, serving: &theirs.1, ..world.subject() };
        assert_eq!(shared(&world, &second), expected);
    }
    world.local = true;
    world.serving = on(&["node-a"]);
    let elsewhere = on(&["node-c"]);
    let second = Subject { serving: &elsewhere, ..world.subject() };
    let group = [world.subject(), second];
    assert_eq!(silence(&world.view("node-b"), &second, &group), Some(Silence::Sharing("node-a".to_owned())));
    assert_eq!(decide(&world.view("node-a"), &second, &group), Err(Reason::NotOwner(Owner::Sharing)));
}

#[test]
fn r19_services_that_share_only_one_of_their_addresses_are_on_one_node() {
    let mut world = World::new(vec![advertisement(&NODES)]);
    world.shares_address = true;
    // For the first address alone node-b would be elected, for the second one it may be another.
    world.addresses = vec!["10.0.0.1".parse().unwrap(), "2001:db8::7".parse().unwrap()];
    let only_v6: Vec<IpAddr> = vec!["2001:db8::7".parse().unwrap()];
    let second = Subject { addresses: &only_v6, ..world.subject() };
    assert_eq!(shared(&world, &second), [("node-b", true, true)]);
}

#[test]
fn one_speaker_tells_about_a_service_and_the_work_is_spread() {
    let key = |name: &str| ServiceKey { namespace: "default".to_owned(), name: name.to_owned() };
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for number in 0..300 {
        let service = key(&format!("web-{number}"));
        let first = teller(NODES.into_iter(), &service).unwrap();
        assert_eq!(teller(NODES.into_iter().rev(), &service), Some(first));
        *told.entry(first).or_default() += 1;
    }
    assert!(told.len() == 3 && told.values().all(|count| *count > 60), "{told:?}");
    assert_eq!(teller([].into_iter(), &key("web")), None);
}
