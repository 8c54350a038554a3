//! Decisions and the order of nodes, as tables.

use config::model::{Pool, PoolEntry, PoolName};
use config::selector::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::*;

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
            candidates: Candidates { up: set(&NODES), down: BTreeSet::new() },
            interfaces: set(&["eth0"]),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            labels: labels(&[("app", "web")]),
            shares_address: false,
            local: false,
            serving: Serving { anywhere: true, nodes: set(&["node-a"]) },
        }
    }

    fn decide_as(&self, node: &str) -> Result<Announcement, Reason> {
        let view = View { node, config: &self.config, candidates: &self.candidates, interfaces: &self.interfaces };
        let subject = Subject {
            addresses: &self.addresses,
            labels: &self.labels,
            shares_address: self.shares_address,
            local: self.local,
            serving: &self.serving,
        };
        decide(&view, &subject)
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
fn owner_and_runner_up_are_the_first_two_of_the_order() {
    let names: Vec<String> = (0..20).map(|node| format!("node-{node}")).collect();
    for count in 0..names.len() {
        let nodes: Vec<&str> = names.iter().take(count).map(String::as_str).collect();
        for ip in ["10.0.0.1", "10.0.0.2", "2001:db8::1"] {
            let ip = ip.parse().unwrap();
            let order = rank(nodes.clone(), &[], ip);
            let expected = Leaders { owner: order.first().copied(), next: order.get(1).copied() };
            assert_eq!(leaders(nodes.clone(), &[], ip), expected, "{count} nodes, {ip}");
        }
    }
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
    world.candidates = Candidates { up: BTreeSet::new(), down: set(&NODES) };
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
