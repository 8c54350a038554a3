//! The statements of users' documents that concern configuration, one test per row.

mod common;

use api::v1beta1::MetalLB;
use common::{bgp, compiled, created, l2, labelled, namespace, node, object, peer, pool, texts};
use config::{Class, Community, Compiled, Family, ObjectId, PeerAsn, Pool, compile, metallb};
use serde_json::{Value, json};

fn good(documents: &[Value]) -> Compiled {
    let compiled = compiled(documents);
    assert_eq!(compiled.findings, []);
    compiled
}

fn of<'a>(compiled: &'a Compiled, name: &str) -> &'a Pool {
    &compiled.config.pools[&name.into()]
}

fn legacy(name: &str, spec: Value) -> Value {
    object("AddressPool", name, spec)
}

fn nodes() -> Vec<Value> {
    ["NodeA", "NodeB", "NodeC"].map(|name| node(name, json!({"kubernetes.io/hostname": name}))).to_vec()
}

fn host(name: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/hostname": name}})
}

fn policies(documents: &[Value]) -> Vec<String> {
    texts(&compiled(documents), Class::Policy)
}

#[test]
fn s1_5_an_address_pool_takes_cidrs_ranges_and_single_addresses() {
    let addresses = json!(["10.0.0.0/28", "10.0.1.5-10.0.1.5", "10.0.2.1-10.0.2.9"]);
    let compiled = compiled(&[legacy("doc-example", json!({"protocol": "layer2", "addresses": addresses}))]);
    assert_eq!(texts(&compiled, Class::Error), Vec::<String>::new());
    let pool = of(&compiled, "doc-example");
    assert_eq!((pool.capacity(Family::V4), pool.auto_assign, pool.l2_advertisements.len()), (16 + 1 + 9, true, 1));
    assert!(
        texts(
            &common::compiled(&[legacy("", json!({"protocol": "layer2", "addresses": ["10.0.0.0/28"]}))]),
            Class::Error
        )[0]
        .contains("missing pool name")
    );
}

#[test]
fn s1_8_every_rule_of_the_webhook_refuses() {
    let second = json!({"peerAddress": "192.0.2.2"});
    let with = |more: Value| {
        let mut spec = second.clone();
        for (key, value) in more.as_object().expect("an object") {
            spec[key] = value.clone();
        }
        policies(&[created(peer("a", json!({})), 1), created(peer("b", spec), 2)])
    };
    let overlap = compiled(&[pool("a", &["10.0.0.0/24"]), pool("b", &["10.0.0.9-10.0.0.20"])]);
    assert!(overlap.findings[0].to_string().contains("overlaps with already defined CIDR"));
    assert!(overlap.findings[0].to_string().contains("belongs to pool \"a\""));
    assert!(with(json!({"peerAddress": "192.0.2.1"}))[0].contains("192.0.2.1 already exists"));
    assert!(with(json!({"myASN": 64999}))[0].contains("must have the same myAsn"));
    assert!(with(json!({"routerID": "1.1.1.1"}))[0].contains("must all have the same RouterID"));
    assert!(with(json!({"keepaliveTime": "5s"}))[0].contains("Missing to configure HoldTime"));
    assert!(with(json!({"holdTime": "9s", "keepaliveTime": "9s"}))[0].contains("must be lower than holdTime"));
    let layer2 = legacy("a", json!({"protocol": "layer2", "addresses": ["10.0.0.0/24"], "bgpAdvertisements": [{}]}));
    assert_eq!(policies(&[layer2]), ["bgpadvertisement config not valid for protocol layer2"]);
    let twice = compiled(&[
        pool("a", &["10.0.0.0/24"]),
        legacy("a", json!({"protocol": "layer2", "addresses": ["10.9.0.0/24"]})),
    ]);
    assert_eq!(texts(&twice, Class::Error), ["duplicate definition of pool \"a\""]);
}

#[test]
fn s1_27_communities_are_pairs_of_16_bits() {
    let ask = |community: &str| compiled(&[pool("p", &["10.0.0.0/24"]), bgp("a", json!({"communities": [community]}))]);
    let good = ask("65535:65282");
    assert!(of(&good, "p").bgp_advertisements[0].communities.contains(&Community::Standard(65535, 65282)));
    for bad in ["65536:1", "1:65536", "NO_EXPORT", "1:2:3", "-1:1", ":", "1:"] {
        assert_eq!(texts(&ask(bad), Class::Error).len(), 1, "{bad}");
    }
}

#[test]
fn s1_28_peers_of_one_node_share_asn_and_router_id() {
    let b = |more: Value| peer("b", more);
    let a = || peer("a", json!({"routerID": "9.9.9.9"}));
    let found = policies(&[a(), b(json!({"peerAddress": "192.0.2.2", "myASN": 1, "routerID": "8.8.8.8"}))]);
    assert_eq!(found.len(), 2);
    let found = compiled(&[a(), b(json!({"peerAddress": "192.0.2.2"}))]);
    assert_eq!(
        found.findings[0].to_string(),
        "peer (unset) has RouterID different from 9.9.9.9, peers selecting the same node must all have the same RouterID; \
         set spec.routerID of BGPPeer b and BGPPeer a to one value, or of none: they meet on a node"
    );
    let apart = |name: &str, more: Value| {
        let mut spec = json!({"nodeSelectors": [host(name)]});
        for (key, value) in more.as_object().expect("an object") {
            spec[key] = value.clone();
        }
        spec
    };
    let documents = [
        peer("a", apart("NodeA", json!({"routerID": "9.9.9.9"}))),
        peer("b", apart("NodeB", json!({"peerAddress": "192.0.2.2", "myASN": 1}))),
    ];
    assert_eq!(policies(&[&nodes()[..], &documents[..]].concat()), Vec::<String>::new());
}

#[test]
fn s1_50_every_field_of_an_address_pool_counts() {
    let spec = json!({"protocol": "bgp", "autoAssign": false, "addresses": ["10.0.0.0/24", "fc00::/120"],
        "bgpAdvertisements": [{"aggregationLength": 30, "aggregationLengthV6": 124, "communities": ["65535:65282"], "localPref": 50}]});
    let compiled = compiled(&[legacy("p", spec)]);
    let pool = of(&compiled, "p");
    let advertisement = &pool.bgp_advertisements[0];
    assert!(!pool.auto_assign && pool.l2_advertisements.is_empty());
    assert_eq!((advertisement.aggregation_length, advertisement.aggregation_length_v6), (30, 124));
    assert_eq!((advertisement.local_pref, advertisement.communities.len()), (50, 1));
}

#[test]
fn s1_51_defaults_of_an_address_pool_are_those_documented() {
    let compiled = compiled(&[legacy("doc-example", json!({"protocol": "bgp", "addresses": ["4.4.4.100-4.4.4.200"]}))]);
    let pool = of(&compiled, "doc-example");
    let advertisement = &pool.bgp_advertisements[0];
    assert!(pool.auto_assign);
    assert_eq!(
        (advertisement.aggregation_length, advertisement.aggregation_length_v6, advertisement.local_pref),
        (32, 128, 0)
    );
}

#[test]
fn s1_52_pools_may_be_reserved_and_of_both_families() {
    let compiled = good(&[
        pool("cidrs", &["192.168.100.0/24", "192.168.200.0/24", "192.168.255.1-192.168.255.5"]),
        object("IPAddressPool", "reserved", json!({"addresses": ["10.0.100.0/28"], "autoAssign": false})),
        pool("mixed", &["10.2.2.0/24", "2002:2:2::1-2002:2:2::100"]),
    ]);
    assert!(!of(&compiled, "reserved").auto_assign);
    assert_eq!(of(&compiled, "mixed").capacity(Family::V6), 0x100);
    assert_eq!(of(&compiled, "cidrs").capacity(Family::V4), 517);
}

#[test]
fn s1_53_without_settings_each_address_is_announced_by_itself() {
    let compiled = good(&[pool("p", &["203.0.113.200/30", "fc00:f853:ccd:e799::/124"]), bgp("basic", json!({}))]);
    let advertisement = &of(&compiled, "p").bgp_advertisements[0];
    assert_eq!((advertisement.aggregation_length, advertisement.aggregation_length_v6), (32, 128));
    assert!(advertisement.communities.is_empty() && advertisement.local_pref == 0);
}

#[test]
fn s1_54_one_address_pool_carries_two_advertisements() {
    let advertisements = json!([
        {"communities": ["65535:65282"], "aggregationLength": 32, "localPref": 100},
        {"communities": ["8000:800"], "aggregationLength": 30, "aggregationLengthV6": 124}]);
    let spec = json!({"protocol": "bgp", "addresses": ["203.0.113.200/30", "fc00:f853:ccd:e799::/124"], "bgpAdvertisements": advertisements});
    let compiled = compiled(&[legacy("doc-example-bgp-adv", spec)]);
    assert_eq!(texts(&compiled, Class::Error), Vec::<String>::new());
    assert_eq!(of(&compiled, "doc-example-bgp-adv").bgp_advertisements.len(), 2);
}

#[test]
fn s1_55_every_field_of_a_peer_counts() {
    let spec = json!({"myASN": 65535, "peerASN": 1, "sourceAddress": "10.1.1.1", "peerPort": 16384, "holdTime": "5m30s",
        "keepaliveTime": "1m", "routerID": "1.1.1.1", "password": "secret", "bfdProfile": "f", "ebgpMultiHop": true,
        "nodeSelectors": [{"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}]});
    let compiled = good(&[peer("q", spec), object("BFDProfile", "f", json!({}))]);
    let peer = &compiled.config.peers["q"];
    assert_eq!((peer.my_asn, peer.peer_asn, peer.port), (65535, PeerAsn::Number(1), 16384));
    assert_eq!((peer.hold_time_seconds, peer.keepalive_seconds, peer.ebgp_multi_hop), (Some(330), Some(60), true));
    assert!(peer.source_address.is_some() && peer.router_id.is_some() && peer.node_selectors.len() == 1);
}

#[test]
fn s1_56_a_minimal_peer_is_enough() {
    let compiled = good(&[peer("doc-example-peer", json!({"peerAddress": "10.0.0.1", "routerID": "10.10.10.10"}))]);
    assert_eq!(compiled.config.peers["doc-example-peer"].port, 179);
}

#[test]
fn s1_57_a_peer_is_bound_to_nodes_by_host_name() {
    let selectors = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["NodeA", "NodeB"]}]}]);
    let documents = [&nodes()[..], &[peer("q", json!({"nodeSelectors": selectors}))]].concat();
    let seen = |name: &str| {
        let mut resources = common::resources(&documents);
        resources.viewpoint = Some(name.to_owned());
        compile(&resources).config.peers.len()
    };
    assert_eq!((seen("NodeA"), seen("NodeB"), seen("NodeC")), (1, 1, 0));
}

#[test]
fn s2_1_one_pool_is_announced_over_layer_2_and_bgp_at_once() {
    let compiled = good(&[pool("p", &["10.0.0.0/24"]), l2("l", json!({})), bgp("b", json!({}))]);
    assert_eq!((of(&compiled, "p").l2_advertisements.len(), of(&compiled, "p").bgp_advertisements.len()), (1, 1));
}

#[test]
fn s2_2_objects_of_another_namespace_are_refused_with_the_right_one() {
    let id = ObjectId { kind: config::Kind::MetalLB, namespace: "default".to_owned(), name: "metallb".to_owned() };
    let found = metallb::only_one(&id, "metallb-system", &[]);
    assert_eq!(
        found[0].to_string(),
        "resource must be created in metallb-system namespace; the operator looks at that namespace only, MetalLB metallb is in \
         \"default\""
    );
}

#[test]
fn s2_3_ipv4_addresses_are_merged_into_one_prefix() {
    let compiled = good(&[pool("p", &["10.0.1.0/24"]), bgp("b", json!({"aggregationLength": 24}))]);
    assert_eq!(of(&compiled, "p").bgp_advertisements[0].aggregation_length, 24);
    for bad in [0, -1, 33] {
        let found = compiled_with_length("aggregationLength", bad);
        assert_eq!(found, [format!("invalid aggregation length \"{bad}\" for IPv4")]);
    }
}

fn compiled_with_length(field: &str, length: i32) -> Vec<String> {
    texts(&compiled(&[pool("p", &["10.0.1.0/24"]), bgp("b", json!({field: length}))]), Class::Error)
}

#[test]
fn s2_4_ipv6_addresses_are_merged_into_one_prefix() {
    let compiled = good(&[pool("p", &["fc00::/124"]), bgp("b", json!({"aggregationLengthV6": 124}))]);
    assert_eq!(of(&compiled, "p").bgp_advertisements[0].aggregation_length_v6, 124);
    assert_eq!(compiled_with_length("aggregationLengthV6", 129), ["invalid aggregation length \"129\" for IPv6"]);
}

#[test]
fn s2_5_communities_are_numbers_or_aliases_and_an_unknown_alias_is_an_error() {
    let names = json!(["65535:65281", "65535:65282", "65535:65283", "ours", "large:1:2:3"]);
    let documents = [pool("p", &["10.0.0.0/24"]), bgp("b", json!({"communities": names}))];
    let missing = compiled(&documents);
    assert_eq!(
        config::configuration_errors(&missing.findings),
        ["invalid community format: ours\ninvalid community \"ours\" in BGP advertisement"]
    );
    let compiled = good(&[&documents[..], &[common::community("c", &[("ours", "64500:10")])]].concat());
    assert_eq!(of(&compiled, "p").bgp_advertisements[0].communities.len(), 5);
}

#[test]
fn s2_6_local_preference_is_any_32_bit_number() {
    let compiled = good(&[pool("p", &["10.0.0.0/24"]), bgp("b", json!({"localPref": u32::MAX}))]);
    assert_eq!(of(&compiled, "p").bgp_advertisements[0].local_pref, u32::MAX);
}

#[test]
fn s2_7_pools_are_chosen_by_name_by_label_or_all() {
    let pools = [
        pool("a", &["10.0.0.0/24"]),
        labelled(pool("b", &["10.1.0.0/24"]), json!({"zone": "east"})),
        pool("c", &["10.2.0.0/24"]),
    ];
    let chosen = |spec: Value| {
        let compiled = good(&[&pools[..], &[bgp("adv", spec)]].concat());
        let has = |name: &&str| !of(&compiled, name).bgp_advertisements.is_empty();
        ["a", "b", "c"].into_iter().filter(has).collect::<String>()
    };
    let east = json!([{"matchLabels": {"zone": "east"}}]);
    assert_eq!(chosen(json!({})), "abc");
    assert_eq!(chosen(json!({"ipAddressPools": ["a"]})), "a");
    assert_eq!(chosen(json!({"ipAddressPoolSelectors": east})), "b");
    assert_eq!(chosen(json!({"ipAddressPools": ["a"], "ipAddressPoolSelectors": east})), "ab");
}

fn announcing(selectors: Value) -> Vec<String> {
    let compiled = compiled(&[&nodes()[..], &[pool("p", &["10.0.0.0/24"]), bgp("b", selectors)]].concat());
    of(&compiled, "p").bgp_advertisements[0].nodes.iter().cloned().collect()
}

#[test]
fn s2_8_node_selectors_are_alternatives_and_conditions_in_one_all_hold() {
    assert_eq!(announcing(json!({})), ["NodeA", "NodeB", "NodeC"]);
    assert_eq!(announcing(json!({"nodeSelectors": [host("NodeA"), host("NodeC")]})), ["NodeA", "NodeC"]);
    let both = json!({"matchLabels": {"kubernetes.io/hostname": "NodeA", "rack": "1"}});
    assert_eq!(announcing(json!({"nodeSelectors": [both]})), Vec::<String>::new());
}

#[test]
fn s2_9_an_unknown_peer_is_warned_of() {
    let found = compiled(&[bgp("b", json!({"peers": ["nobody"]}))]);
    assert_eq!(texts(&found, Class::Warning), ["BGPAdvertisement b names BGPPeer \"nobody\", which does not exist"]);
}

#[test]
fn s2_10_the_default_advertisement_sets_no_attributes() {
    let compiled = good(&[
        pool("p", &["203.0.113.200/30", "fc00:f853:ccd:e799::/124"]),
        bgp("basic", json!({"ipAddressPools": ["p"]})),
    ]);
    let advertisement = &of(&compiled, "p").bgp_advertisements[0];
    assert_eq!((advertisement.local_pref, advertisement.communities.len()), (0, 0));
}

#[test]
fn s2_11_the_dual_stack_example_is_admitted_by_the_default_backend() {
    good(&[
        pool("doc-example-bgp-basic", &["203.0.113.200/30", "fc00:f853:ccd:e799::/124"]),
        bgp("bgpadvertisement-basic", json!({"ipAddressPools": ["doc-example-bgp-basic"]})),
    ]);
}

#[test]
fn s2_12_two_advertisements_on_one_pool() {
    let name = "doc-example-bgp-adv";
    let pool = || pool(name, &["203.0.113.200/30", "fc00:f853:ccd:e799::/124"]);
    let first =
        json!({"ipAddressPools": [name], "communities": ["65535:65282"], "aggregationLength": 32, "localPref": 100});
    let second = json!({"ipAddressPools": [name], "communities": ["8000:800"], "aggregationLength": 30, "aggregationLengthV6": 124});
    let compiled = good(&[&nodes()[..], &[pool(), bgp("adv-1", first.clone()), bgp("adv-2", second)]].concat());
    assert_eq!(of(&compiled, name).bgp_advertisements.len(), 2);
    let same = json!({"ipAddressPools": [name], "localPref": 200});
    let clash = common::compiled(&[&nodes()[..], &[pool(), bgp("adv-1", first), bgp("adv-2", same)]].concat());
    assert!(
        texts(&clash, Class::Error)[0]
            .starts_with("invalid local preference 200: local preferernce 100 was already set")
    );
}

#[test]
fn s2_13_a_labelled_pool_may_be_on_request_only() {
    let spec = json!({"addresses": ["172.31.249.87/32"], "autoAssign": false});
    let compiled = good(&[labelled(object("IPAddressPool", "east", spec), json!({"zone": "east"}))]);
    assert!(!of(&compiled, "east").auto_assign);
}

#[test]
fn s2_14_communities_stay_texts() {
    let compiled = good(&[pool("p", &["10.0.0.0/24"]), bgp("b", json!({"communities": ["64500:10", "8000:800"]}))]);
    assert!(of(&compiled, "p").bgp_advertisements[0].communities.contains(&Community::Standard(64500, 10)));
}

#[test]
fn s2_15_the_singular_node_selector_works_with_a_warning() {
    let selector = json!({"nodeSelector": [host("NodeA")]});
    assert_eq!(announcing(selector.clone()), ["NodeA"]);
    let found = compiled(&[&nodes()[..], &[bgp("b", selector)]].concat());
    assert_eq!(
        texts(&found, Class::Warning),
        ["BGPAdvertisement b: spec.nodeSelector is deprecated, use spec.nodeSelectors"]
    );
}

#[test]
fn s2_16_two_host_names_mean_either() {
    assert_eq!(announcing(json!({"nodeSelectors": [host("NodeA"), host("NodeB")]})), ["NodeA", "NodeB"]);
}

#[test]
fn s2_17_ipv6_ranges_are_written_with_a_hyphen() {
    let compiled = good(&[pool("p", &["4.4.4.100-4.4.4.200", "2001:100:4::200-2001:100:4::400"])]);
    assert_eq!((of(&compiled, "p").capacity(Family::V4), of(&compiled, "p").capacity(Family::V6)), (101, 0x201));
}

#[test]
fn s2_18_an_l2_advertisement_takes_pools_nodes_and_interfaces() {
    let spec = json!({"ipAddressPools": ["p"], "ipAddressPoolSelectors": [{"matchLabels": {"a": "b"}}],
        "nodeSelectors": [host("NodeA")], "interfaces": ["eth0"]});
    let compiled = good(&[&nodes()[..], &[pool("p", &["10.0.0.0/24"]), l2("l", spec)]].concat());
    let advertisement = &of(&compiled, "p").l2_advertisements[0];
    assert_eq!((advertisement.nodes.len(), advertisement.interfaces.iter().flatten().count()), (1, 1));
}

#[test]
fn s2_19_a_reserved_pool_is_announced_too() {
    let spec = json!({"addresses": ["4.4.4.0/24"], "autoAssign": false});
    let compiled = good(&[object("IPAddressPool", "p", spec), l2("l", json!({"ipAddressPools": ["p"]}))]);
    assert_eq!(of(&compiled, "p").l2_advertisements.len(), 1);
}

#[test]
fn s2_20_pools_are_selected_by_expressions() {
    let east = json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["east"]}]}]);
    let pool = labelled(pool("p", &["172.31.249.87/32"]), json!({"zone": "east"}));
    let compiled = good(&[pool, l2("l", json!({"ipAddressPoolSelectors": east})), namespace("n", json!({}))]);
    assert_eq!((of(&compiled, "p").l2_advertisements.len(), of(&compiled, "p").capacity(Family::V4)), (1, 1));
}

#[test]
fn there_is_one_metallb() {
    let id = |namespace: &str, name: &str| ObjectId {
        kind: config::Kind::MetalLB,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let ours = id("metallb-system", "metallb");
    assert_eq!(metallb::only_one(&ours, "metallb-system", std::slice::from_ref(&ours)), []);
    let second = metallb::only_one(&id("metallb-system", "other"), "metallb-system", &[ours]);
    assert_eq!(
        second[0].to_string(),
        "there is a MetalLB already: \"metallb\" in namespace \"metallb-system\"; there is one MetalLB per cluster: change that \
         one, or delete it first"
    );
    let resource: MetalLB = serde_json::from_value(json!({"apiVersion": "metallb.io/v1beta1", "kind": "MetalLB",
        "metadata": {"name": "other"}, "spec": {}}))
    .expect("a MetalLB");
    assert_eq!(metallb::check(&resource, None)[0].text, "MetalLB resource must be named metallb, got \"other\"");
}
