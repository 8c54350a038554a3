//! Pools: what is in force, what they hand out, who may use them.

mod common;

use std::net::IpAddr;

use common::{bgp, compiled, created, l2, labelled, namespace, node, object, pool, texts};
use config::{Class, Community, Compiled, Family, Pool};
use serde_json::{Value, json};

fn only(compiled: &Compiled) -> &Pool {
    assert_eq!(compiled.findings, []);
    compiled.config.pools.values().next().expect("one pool")
}

fn with(name: &str, spec: Value) -> Value {
    object("IPAddressPool", name, spec)
}

fn names(compiled: &Compiled) -> Vec<&str> {
    compiled.config.pools.keys().map(|name| name.0.as_str()).collect()
}

#[test]
fn addresses_come_in_declared_order_lowest_first() {
    let compiled = compiled(&[pool("p", &["10.0.0.254-10.0.1.1", "fc00::1-fc00::3", "10.0.0.8/31"])]);
    let pool = only(&compiled);
    let list = |family| pool.addresses(family).map(|address| address.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(list(Family::V4), "10.0.0.254 10.0.0.255 10.0.1.0 10.0.1.1 10.0.0.8 10.0.0.9");
    assert_eq!(list(Family::V6), "fc00::1 fc00::2 fc00::3");
}

#[test]
fn a_huge_prefix_is_walked_lazily() {
    let compiled = compiled(&[pool("p", &["fc00::/8", "0.0.0.0/0"])]);
    let pool = only(&compiled);
    let second: Vec<IpAddr> = pool.addresses(Family::V6).take(2).collect();
    assert_eq!(second, ["fc00::".parse::<IpAddr>().unwrap(), "fc00::1".parse().unwrap()]);
    assert_eq!(pool.capacity(Family::V6), i64::MAX.unsigned_abs());
    assert_eq!(pool.capacity(Family::V4), 1 << 32);
}

#[test]
fn capacity_counts_what_can_be_handed_out() {
    let cases = [
        (json!({"addresses": ["10.0.0.0/24"]}), 256),
        (json!({"addresses": ["10.0.0.0/24", "10.0.2.0/25"]}), 384),
        (json!({"addresses": ["10.0.0.0/24", "10.0.2.0/25"], "avoidBuggyIPs": true}), 381),
        (json!({"addresses": ["10.0.0.0/22"], "avoidBuggyIPs": true}), 1016),
        (json!({"addresses": ["10.0.0.0/32"], "avoidBuggyIPs": true}), 0),
        (json!({"addresses": ["10.0.0.1-10.0.0.3"], "avoidBuggyIPs": true}), 3),
    ];
    for (spec, count) in cases {
        let compiled = compiled(&[with("p", spec.clone())]);
        let pool = only(&compiled);
        assert_eq!(pool.capacity(Family::V4), count, "{spec}");
        assert_eq!(pool.addresses(Family::V4).count() as u64, count, "{spec}");
        assert!(pool.addresses(Family::V4).all(|address| pool.contains(address)), "{spec}");
    }
}

#[test]
fn buggy_addresses_are_only_avoided_when_asked_for_and_never_in_ipv6() {
    let ask = |avoid: bool, address: &str| {
        let compiled =
            compiled(&[with("p", json!({"addresses": ["10.0.0.0/23", "fc00::/120"], "avoidBuggyIPs": avoid}))]);
        only(&compiled).contains(address.parse().unwrap())
    };
    assert!(ask(false, "10.0.0.255") && ask(false, "10.0.1.0"));
    assert!(!ask(true, "10.0.0.255") && !ask(true, "10.0.1.0") && ask(true, "10.0.0.1"));
    assert!(ask(true, "fc00::ff") && ask(true, "fc00::"));
}

#[test]
fn a_pool_of_several_addresses_must_hold_them_all() {
    let compiled = compiled(&[pool("a", &["10.0.0.0/24", "fc00::/120"]), pool("b", &["10.1.0.0/24"])]);
    let config = &compiled.config;
    let ask = |addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        config.pool_holding(&addresses)
    };
    assert_eq!(ask(&["10.0.0.7", "fc00::7"]), config.pools.get(&"a".into()));
    assert_eq!(ask(&["10.1.0.7"]), config.pools.get(&"b".into()));
    assert_eq!((ask(&["10.1.0.7", "fc00::7"]), ask(&["10.9.0.1"]), ask(&[])), (None, None, None));
}

#[test]
fn odd_but_valid_spellings_are_read() {
    let compiled = compiled(&[pool(
        "p",
        &["10.0.0.9/24", " 10.1.0.1 -10.1.0.1", "::ffff:10.2.0.0/120", "::ffff:10.3.0.1-10.3.0.2"],
    )]);
    let cidrs: Vec<String> = only(&compiled).cidrs().map(ToString::to_string).collect();
    assert_eq!(cidrs, ["10.0.0.0/24", "10.1.0.1/32", "10.2.0.0/24", "10.3.0.1/32", "10.3.0.2/32"]);
}

#[test]
fn of_two_overlapping_pools_the_older_stays_in_force_whatever_its_name() {
    let compiled = compiled(&[
        created(pool("a", &["10.0.0.0/24"]), 9),
        created(pool("z", &["10.0.0.9/32"]), 3),
        pool("free", &["10.7.0.0/24"]),
    ]);
    assert_eq!(names(&compiled), ["free", "z"]);
    assert_eq!(
        compiled.findings[0].to_string(),
        "CIDR \"10.0.0.0/24\" in pool \"a\" overlaps with already defined CIDR \"10.0.0.9/32\"; that CIDR belongs to pool \
         \"z\": change one of the two"
    );
}

#[test]
fn a_pool_with_a_bad_entry_goes_on_holding_the_addresses_of_its_good_ones() {
    let compiled = compiled(&[pool("a", &["10.0.0.0/24", "nonsense"]), pool("b", &["10.1.0.0/24"])]);
    assert_eq!(names(&compiled), ["b"]);
    let held: Vec<_> = compiled.config.held.keys().map(ToString::to_string).collect();
    assert_eq!(held, ["a"]);
    let config = &compiled.config;
    let ask = |ip: &str| config.pool_holding(&[ip.parse().expect("an address")]);
    assert_eq!(ask("10.0.0.7"), config.held.get(&"a".into()));
    assert_eq!(ask("10.1.0.7"), config.pools.get(&"b".into()));
    assert_eq!(ask("10.2.0.7"), None);
}

#[test]
fn overlap_with_a_pool_that_is_not_in_force_is_refused_but_works() {
    let compiled =
        compiled(&[pool("a", &["10.0.0.0/24"]), pool("b", &["10.0.0.128-10.0.1.9"]), pool("c", &["10.0.1.0/29"])]);
    assert_eq!(names(&compiled), ["a", "c"]);
    assert_eq!(texts(&compiled, Class::Error).len(), 1);
    assert_eq!(
        texts(&compiled, Class::Policy),
        ["CIDR \"10.0.1.0/29\" in pool \"c\" overlaps with already defined CIDR \"10.0.1.0/29\""]
    );
}

#[test]
fn namespaces_of_an_allocation_are_resolved() {
    let spec = json!({"addresses": ["10.0.0.0/24"], "autoAssign": false, "serviceAllocation": {"priority": 7,
        "namespaces": ["x"], "namespaceSelectors": [{"matchLabels": {"team": "a"}}],
        "serviceSelectors": [{"matchLabels": {"app": "w"}}]}});
    let namespaces = [namespace("n1", json!({"team": "a"})), namespace("n2", json!({"team": "b"}))];
    let compiled = compiled(&[&namespaces[..], &[with("p", spec)]].concat());
    let pool = only(&compiled);
    assert!(!pool.auto_assign);
    let allocation = pool.service_allocation.as_ref().expect("an allocation");
    assert_eq!(allocation.namespaces.iter().collect::<Vec<_>>(), ["n1", "x"]);
    assert_eq!(
        (allocation.priority, allocation.restricts_namespaces, allocation.service_selectors.len()),
        (7, true, 1)
    );
}

#[test]
fn a_namespace_selector_without_a_match_leaves_the_pool_to_nobody_and_an_empty_rule_to_everybody() {
    let ask = |allocation: Value| {
        let compiled = compiled(&[with("p", json!({"addresses": ["10.0.0.0/24"], "serviceAllocation": allocation}))]);
        let allocation = only(&compiled).service_allocation.clone().expect("an allocation");
        (allocation.restricts_namespaces, allocation.namespaces.len())
    };
    assert_eq!(ask(json!({"namespaceSelectors": [{"matchLabels": {"a": "b"}}]})), (true, 0));
    assert_eq!(ask(json!({})), (false, 0));
}

#[test]
fn advertisements_select_pools_by_name_or_label_and_all_without_either() {
    let pools = [labelled(pool("east", &["10.0.0.0/24"]), json!({"zone": "east"})), pool("west", &["10.1.0.0/24"])];
    let advertisements = [
        l2("all", json!({})),
        l2(
            "label",
            json!({"ipAddressPoolSelectors": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["east"]}]}]}),
        ),
        l2(
            "both",
            json!({"ipAddressPools": ["east", "west"], "ipAddressPoolSelectors": [{"matchLabels": {"zone": "east"}}]}),
        ),
        bgp("bgp", json!({"ipAddressPools": ["west"]})),
    ];
    let compiled = compiled(&[&pools[..], &advertisements[..]].concat());
    let of = |pool: &str| {
        let pool = &compiled.config.pools[&pool.into()];
        let l2 = pool.l2_advertisements.iter().map(|advertisement| advertisement.name.as_str());
        l2.chain(pool.bgp_advertisements.iter().map(|advertisement| advertisement.name.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(of("east"), ["all", "both", "label"]);
    assert_eq!(of("west"), ["all", "both", "bgp"]);
}

#[test]
fn nodes_interfaces_and_preferences_are_resolved() {
    let nodes =
        ["n1", "n2", "n3"].map(|name| node(name, json!({"host": name, "rack": if name == "n3" { "b" } else { "a" }})));
    let advertisement = l2(
        "a",
        json!({
        "nodeSelectors": [{"matchLabels": {"host": "n1"}}], "nodeSelector": [{"matchLabels": {"host": "n2"}}],
        "interfaces": ["eth1", "eth0", "eth1"], "serviceSelectors": [{"matchLabels": {"app": "w"}}],
        "preferredNodeSelectors": [
            {"weight": 10, "preference": {"matchLabels": {"rack": "a"}}},
            {"weight": 5, "preference": {"matchLabels": {"host": "n1"}}},
            {"weight": 90, "preference": {"matchLabels": {"host": "n3"}}},
        ]}),
    );
    let compiled = compiled(&[&nodes[..], &[pool("p", &["10.0.0.0/24"]), advertisement]].concat());
    assert_eq!(
        texts(&compiled, Class::Warning),
        ["L2Advertisement a: spec.nodeSelector is deprecated, use spec.nodeSelectors"]
    );
    let advertisement = &compiled.config.pools[&"p".into()].l2_advertisements[0];
    assert_eq!(advertisement.nodes.iter().collect::<Vec<_>>(), ["n1", "n2"]);
    assert_eq!(advertisement.interfaces.iter().flatten().collect::<Vec<_>>(), ["eth0", "eth1"]);
    let scores: Vec<_> = advertisement.preferences.iter().map(|(node, score)| (node.as_str(), *score)).collect();
    assert_eq!(scores, [("n1", 15), ("n2", 10)]);
}

#[test]
fn an_advertisement_that_does_not_fit_one_pool_keeps_the_others() {
    let compiled = compiled(&[
        pool("narrow", &["1.1.1.0/28"]),
        pool("wide", &["10.0.0.0/16"]),
        bgp("a", json!({"aggregationLength": 26})),
    ]);
    assert_eq!(texts(&compiled, Class::Error).len(), 1);
    assert!(compiled.config.pools[&"narrow".into()].bgp_advertisements.is_empty());
    assert_eq!(compiled.config.pools[&"wide".into()].bgp_advertisements[0].aggregation_length, 26);
}

#[test]
fn a_range_fits_when_its_widest_piece_does() {
    let advertisement = || bgp("a", json!({"aggregationLength": 26}));
    assert_eq!(compiled(&[pool("p", &["10.0.0.1-10.0.0.127"]), advertisement()]).findings, []);
    assert_eq!(compiled(&[pool("p", &["10.0.0.1-10.0.0.63"]), advertisement()]).findings.len(), 1);
}

#[test]
fn different_local_preferences_are_fine_when_the_advertisements_never_meet() {
    let nodes = ["n1", "n2"].map(|name| node(name, json!({"host": name})));
    let at = |host: &str| json!([{"matchLabels": {"host": host}}]);
    let apart = [
        (json!({"localPref": 1, "peers": ["x"]}), json!({"localPref": 2, "peers": ["y"]})),
        (json!({"localPref": 1, "nodeSelectors": at("n1")}), json!({"localPref": 2, "nodeSelectors": at("n2")})),
        (json!({"localPref": 1, "aggregationLength": 24}), json!({"localPref": 2})),
        (json!({"localPref": 1, "serviceSelectors": [{}]}), json!({"localPref": 2})),
    ];
    for (a, b) in apart {
        let compiled =
            compiled(&[&nodes[..], &[pool("p", &["10.0.0.0/24"]), bgp("a", a.clone()), bgp("b", b)]].concat());
        assert_eq!(texts(&compiled, Class::Error), Vec::<String>::new(), "{a}");
    }
    let compiled = compiled(
        &[
            &nodes[..],
            &[
                pool("p", &["10.0.0.0/24", "fc00::/120"]),
                bgp("a", json!({"localPref": 1, "aggregationLength": 24})),
                bgp("b", json!({"localPref": 2})),
            ],
        ]
        .concat(),
    );
    assert_eq!(texts(&compiled, Class::Error).len(), 1, "the IPv6 prefixes meet");
}

#[test]
fn communities_are_resolved_through_aliases() {
    let compiled = compiled(&[
        pool("p", &["10.0.0.0/24"]),
        common::community("c", &[("no-advertise", "65535:65282"), ("same-value", "65535:65282")]),
        bgp("a", json!({"communities": ["no-advertise", "large:1:2:4294967295", "8000:800", "same-value"]})),
    ]);
    let communities = &only(&compiled).bgp_advertisements[0].communities;
    let wanted = [Community::Standard(8000, 800), Community::Standard(65535, 65282), Community::Large(1, 2, u32::MAX)];
    assert_eq!(communities.iter().copied().collect::<Vec<_>>(), wanted);
    assert_eq!(wanted[2].to_string(), "1:2:4294967295");
}

#[test]
fn an_address_pool_is_a_pool_with_its_advertisements() {
    let legacy = |name: &str, spec: Value| object("AddressPool", name, spec);
    let compiled = compiled(&[
        legacy("layer2", json!({"protocol": "layer2", "addresses": ["10.0.0.0/24"], "autoAssign": false})),
        legacy("plain", json!({"protocol": "bgp", "addresses": ["10.1.0.0/24"]})),
        legacy(
            "bgp",
            json!({"protocol": "bgp", "addresses": ["10.2.0.0/24"], "bgpAdvertisements": [
            {"communities": ["65535:65282"], "localPref": 100}, {"aggregationLength": 30, "communities": ["8000:800"]}]}),
        ),
    ]);
    assert_eq!(texts(&compiled, Class::Error), Vec::<String>::new());
    assert_eq!(texts(&compiled, Class::Warning).len(), 3);
    let of = |name: &str| &compiled.config.pools[&name.into()];
    assert!(!of("layer2").auto_assign);
    assert_eq!((of("layer2").l2_advertisements.len(), of("layer2").bgp_advertisements.len()), (1, 0));
    assert_eq!((of("plain").l2_advertisements.len(), of("plain").bgp_advertisements.len()), (0, 1));
    let lengths: Vec<_> = of("bgp").bgp_advertisements.iter().map(|a| (a.aggregation_length, a.local_pref)).collect();
    assert_eq!(lengths.len(), 2);
    assert!(lengths.contains(&(32, 100)) && lengths.contains(&(30, 0)));
}

#[test]
fn unknown_pools_and_peers_are_only_warned_of() {
    let compiled = compiled(&[
        bgp("a", json!({"ipAddressPools": ["x"], "peers": ["y"]})),
        l2("b", json!({"ipAddressPools": ["z"]})),
    ]);
    assert_eq!(
        texts(&compiled, Class::Warning),
        [
            "L2Advertisement b selects pool \"z\", which does not exist",
            "BGPAdvertisement a selects pool \"x\", which does not exist",
            "BGPAdvertisement a names BGPPeer \"y\", which does not exist",
        ]
    );
}
