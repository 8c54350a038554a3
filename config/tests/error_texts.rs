//! Every error text of the product, word for word: users and their tests grep for them.

mod common;

use common::{bgp, community, compiled, l2, object, peer, pool, texts};
use config::Class;
use serde_json::{Value, json};

struct Case {
    name: &'static str,
    documents: Vec<Value>,
    class: Class,
    text: &'static str,
}

fn error(name: &'static str, documents: Vec<Value>, text: &'static str) -> Case {
    Case { name, documents, class: Class::Error, text }
}

fn check(cases: &[Case]) {
    for case in cases {
        let compiled = compiled(&case.documents);
        let found = texts(&compiled, case.class);
        assert_eq!(found, [case.text], "{}: {:#?}", case.name, compiled.findings);
    }
}

fn bad_entry(text: &str) -> Vec<Value> {
    vec![pool("p", &[text])]
}

#[test]
fn pools_are_refused_in_metallbs_words() {
    let allocation = |value: Value| {
        vec![object("IPAddressPool", "p", json!({"addresses": ["10.0.0.0/24"], "serviceAllocation": value}))]
    };
    let twice = json!([{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]);
    let unknown_operator = json!([{"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}]);
    check(&[
        error("no address", vec![pool("p", &[])], "parsing address pool p: pool has no prefixes defined"),
        error("no name", vec![pool("", &["10.0.0.0/24"])], "parsing address pool : missing pool name"),
        error(
            "bare address",
            bad_entry("10.0.0.1"),
            "parsing address pool p: invalid CIDR \"10.0.0.1\" in pool \"p\": invalid CIDR \"10.0.0.1\"",
        ),
        error(
            "long mask",
            bad_entry("10.0.0.1/33"),
            "parsing address pool p: invalid CIDR \"10.0.0.1/33\" in pool \"p\": invalid CIDR \"10.0.0.1/33\"",
        ),
        error(
            "bad start",
            bad_entry("10.0.0-10.0.0.9"),
            "parsing address pool p: invalid CIDR \"10.0.0-10.0.0.9\" in pool \"p\": invalid IP range \"10.0.0-10.0.0.9\": invalid start IP \"10.0.0\"",
        ),
        error(
            "bad end",
            bad_entry("10.0.0.1 - x"),
            "parsing address pool p: invalid CIDR \"10.0.0.1 - x\" in pool \"p\": invalid IP range \"10.0.0.1 - x\": invalid end IP \"x\"",
        ),
        error(
            "backwards",
            bad_entry("10.0.0.9-10.0.0.1"),
            "parsing address pool p: invalid CIDR \"10.0.0.9-10.0.0.1\" in pool \"p\": invalid IP range \"10.0.0.9-10.0.0.1\": start IP \"10.0.0.9\" is after the end IP \"10.0.0.1\"",
        ),
        error(
            "two families",
            bad_entry("10.0.0.1-fc00::1"),
            "parsing address pool p: invalid CIDR \"10.0.0.1-fc00::1\" in pool \"p\": invalid IP range \"10.0.0.1-fc00::1\": start IP \"10.0.0.1\" and end IP \"fc00::1\" are of different IP families",
        ),
        error(
            "namespace twice",
            allocation(json!({"namespaces": ["a", "a"]})),
            "parsing address pool p: duplicate definition in namespaces field",
        ),
        error(
            "namespace selector twice",
            allocation(json!({"namespaceSelectors": twice})),
            "parsing address pool p: duplicate definition of namespaceSelectors \"a=b\"",
        ),
        error(
            "service selector twice",
            allocation(json!({"serviceSelectors": twice})),
            "parsing address pool p: duplicate definition of serviceSelectors \"a=b\"",
        ),
        error(
            "bad namespace selector",
            allocation(json!({"namespaceSelectors": unknown_operator})),
            "parsing address pool p: \"Near\" is not a valid label selector operator\ninvalid namespace label selector a near (b) in ip pool p",
        ),
        error(
            "bad service selector",
            allocation(json!({"serviceSelectors": unknown_operator})),
            "parsing address pool p: \"Near\" is not a valid label selector operator\ninvalid service label selector a near (b) in ip pool p",
        ),
        error(
            "overlap",
            vec![pool("a", &["10.0.0.0/16"]), pool("b", &["10.0.5.0/24"])],
            "CIDR \"10.0.5.0/24\" in pool \"b\" overlaps with already defined CIDR \"10.0.0.0/16\"",
        ),
        error(
            "overlap the other way",
            vec![pool("a", &["10.0.5.0/24"]), pool("b", &["10.0.0.0/16"])],
            "CIDR \"10.0.0.0/16\" in pool \"b\" overlaps with already defined CIDR \"10.0.5.0/24\"",
        ),
        error(
            "overlap of ranges",
            vec![pool("a", &["10.0.0.1-10.0.0.9"]), pool("b", &["10.0.0.9-10.0.0.12"])],
            "CIDR \"10.0.0.9/32\" in pool \"b\" overlaps with already defined CIDR \"10.0.0.8/31\"",
        ),
        error(
            "overlap in itself",
            vec![pool("a", &["fc00::/64", "fc00::1/128"])],
            "CIDR \"fc00::1/128\" in pool \"a\" overlaps with already defined CIDR \"fc00::/64\"",
        ),
        error(
            "name of an AddressPool",
            vec![
                pool("a", &["10.0.0.0/24"]),
                object("AddressPool", "a", json!({"protocol": "layer2", "addresses": ["10.1.0.0/24"]})),
            ],
            "duplicate definition of pool \"a\"",
        ),
        Case {
            name: "legacy",
            class: Class::Policy,
            documents: vec![object(
                "AddressPool",
                "a",
                json!({"protocol": "layer2", "addresses": ["10.1.0.0/24"], "bgpAdvertisements": [{}]}),
            )],
            text: "bgpadvertisement config not valid for protocol layer2",
        },
    ]);
}

#[test]
fn advertisements_are_refused_in_metallbs_words() {
    let twice = json!([{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]);
    let bad = json!([{"matchExpressions": [{"key": "a", "operator": "In"}]}]);
    let no_values = "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty";
    let with_pool = |advertisement: Value| vec![pool("p", &["1.1.1.0/28"]), advertisement];
    let dual = || pool("p", &["1.1.1.0/28", "fc00::/120"]);
    check(&[
        error("L2 pool twice", with_pool(l2("a", json!({"ipAddressPools": ["p", "p"]}))), "duplicate definition of ipAddressPools \"p\""),
        error("L2 pool selector twice", with_pool(l2("a", json!({"ipAddressPoolSelectors": twice}))), "duplicate definition of ipAddressPoolSelectors \"a=b\""),
        error("L2 node selector twice", with_pool(l2("a", json!({"nodeSelectors": twice}))), "duplicate definition of nodeSelectors \"a=b\""),
        error("L2 service selector twice", with_pool(l2("a", json!({"serviceSelectors": twice}))), "duplicate definition of serviceSelectors \"a=b\""),
        error("value twice", with_pool(l2("a", json!({"nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "b"]}]}]}))), "duplicate definition of match expression value in label selector \"a in (b,b)\""),
        error("expression twice", with_pool(l2("a", json!({"nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "a", "operator": "Exists"}]}]}))), "duplicate definition of match expressions \"a\""),
        error("L2 bad pool selector", with_pool(l2("a", json!({"ipAddressPoolSelectors": bad}))), Box::leak(format!("{no_values}\ninvalid label selector a in ()").into_boxed_str())),
        error("L2 bad node selector", with_pool(l2("a", json!({"nodeSelectors": bad}))), Box::leak(format!("{no_values}\nfailed to parse node selector for a").into_boxed_str())),
        error("L2 bad service selector", with_pool(l2("a", json!({"serviceSelectors": bad}))), Box::leak(format!("invalid service selector a in (): {no_values}\nfailed to parse service selector for a").into_boxed_str())),
        error("L2 bad preference", with_pool(l2("a", json!({"preferredNodeSelectors": [{"weight": 1, "preference": bad[0]}]}))), Box::leak(format!("{no_values}\ninvalid preferred node selector a in ()\nfailed to parse preferred node selectors for a").into_boxed_str())),
        error("BGP community twice", with_pool(bgp("a", json!({"communities": ["1:2", "1:2"]}))), "duplicate definition of community \"1:2\""),
        error("BGP peer twice", with_pool(bgp("a", json!({"peers": ["x", "x"]}))), "duplicate definition of peers \"x\""),
        error("selectors and aggregation", with_pool(bgp("a", json!({"aggregationLength": 30, "serviceSelectors": [{}]}))), "serviceSelectors and aggregationLength are mutually exclusive, both cannot be set in a"),
        error("selectors and aggregation v6", with_pool(bgp("a", json!({"aggregationLengthV6": 120, "serviceSelectors": [{}]}))), "serviceSelectors and aggregationLengthV6 are mutually exclusive, both cannot be set in a"),
        error("length v4", with_pool(bgp("a", json!({"aggregationLength": 34}))), "invalid aggregation length \"34\" for IPv4"),
        error("length v6", with_pool(bgp("a", json!({"aggregationLengthV6": 0}))), "invalid aggregation length \"0\" for IPv6"),
        error("too wide", with_pool(bgp("a", json!({"aggregationLength": 26}))), "invalid aggregation length 26: prefix 28 in this pool is more specific than the aggregation length for addresses 1.1.1.0/28"),
        error("too wide v6", vec![dual(), bgp("a", json!({"aggregationLengthV6": 64}))], "invalid aggregation length 64: prefix 120 in this pool is more specific than the aggregation length for addresses fc00::/120"),
        error("local preference", vec![pool("p", &["1.1.1.0/28"]), common::node("n", json!({})), bgp("a", json!({"localPref": 100})), bgp("b", json!({"localPref": 200}))], "invalid local preference 200: local preferernce 100 was already set for the same type of BGP update. Check existing BGP advertisements with common pools and aggregation lengths"),
        error("same advertisement twice", vec![pool("p", &["1.1.1.0/28"]), bgp("a", json!({})), bgp("a", json!({}))], "duplicate definition of bgpadvertisements. advertisement 1 and 2 are equal"),
        error("unknown alias", with_pool(bgp("a", json!({"communities": ["my-valid-alias"]}))), "invalid community format: my-valid-alias\ninvalid community \"my-valid-alias\" in BGP advertisement"),
        error("bad community", with_pool(bgp("a", json!({"communities": ["99999999:1"]}))), "invalid community value: invalid section \"99999999\" of community \"99999999:1\", err: \"strconv.ParseUint: parsing \\\"99999999\\\": value out of range\"\ninvalid community \"99999999:1\" in BGP advertisement"),
        error("alias marker", vec![community("c", &[("x", "lar:123:9999:123")])], "parsing community \"x\": invalid community value: invalid marker for large community, expected community to be of format large:<uint32>:<uint32>:<uint32> but got \"lar:123:9999:123\" instead"),
        error("alias format", vec![community("c", &[("x", "1")])], "parsing community \"x\": invalid community format: 1"),
        error("alias sign", vec![community("c", &[("x", "+1:2")])], "parsing community \"x\": invalid community value: invalid section \"+1\" of community \"+1:2\", err: \"strconv.ParseUint: parsing \\\"+1\\\": invalid syntax\""),
        error("alias twice in one", vec![community("c", &[("x", "1:1"), ("x", "1:2")])], "duplicate definition of community \"x\""),
        error("alias twice in two", vec![community("c", &[("x", "1:1")]), community("d", &[("x", "1:1")])], "duplicate definition of community \"x\""),
        error("echo and IPv6", vec![dual(), bgp("a", json!({})), object("BFDProfile", "f", json!({"echoMode": true})), peer("q", json!({"bfdProfile": "f"}))], "pool p has bgpadvertisement a which references peer q which has bfd echo enabled, which is not possible"),
    ]);
}

#[test]
fn bfd_profiles_are_refused_in_metallbs_words() {
    let profile = |spec: Value| vec![object("BFDProfile", "f", spec)];
    check(&[
        error("name", vec![object("BFDProfile", "", json!({}))], "parsing bfd profile #1: missing bfd profile name"),
        error(
            "multiplier",
            profile(json!({"detectMultiplier": 1})),
            "parsing bfd profile #1: invalid value 1, must be in 2-255 range\ninvalid detect multiplier value",
        ),
        error(
            "receive",
            profile(json!({"receiveInterval": 9})),
            "parsing bfd profile #1: invalid value 9, must be in 10-60000 range\ninvalid receive interval value",
        ),
        error(
            "transmit",
            profile(json!({"transmitInterval": 60001})),
            "parsing bfd profile #1: invalid value 60001, must be in 10-60000 range\ninvalid transmit interval value",
        ),
        error(
            "ttl",
            profile(json!({"minimumTtl": 255})),
            "parsing bfd profile #1: invalid value 255, must be in 1-254 range\ninvalid minimum ttl value",
        ),
        error(
            "echo",
            profile(json!({"echoInterval": 1})),
            "parsing bfd profile #1: invalid value 1, must be in 10-60000 range\ninvalid echo interval value",
        ),
        error(
            "twice",
            vec![object("BFDProfile", "f", json!({})), object("BFDProfile", "f", json!({}))],
            "found duplicate bfd profile name f",
        ),
    ]);
}
