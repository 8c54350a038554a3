//! The rules and texts of FRRConfiguration.

use std::sync::Arc;

use api::frrk8s::FRRConfiguration;
use config::frrk8s::{self, change};
use config::{Class, Finding, NodeLabels};
use serde_json::{Value, json};

fn check(configurations: &[FRRConfiguration], nodes: &[NodeLabels]) -> Vec<Finding> {
    let shared: Vec<_> = configurations.iter().cloned().map(Arc::new).collect();
    frrk8s::check(&shared, nodes)
}

fn configuration(name: &str, spec: Value) -> FRRConfiguration {
    let document = json!({"apiVersion": "frrk8s.metallb.io/v1beta1", "kind": "FRRConfiguration",
        "metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec});
    serde_json::from_value(document).expect("an FRRConfiguration")
}

/// A configuration with these routers for every node.
fn routers(name: &str, routers: Value) -> FRRConfiguration {
    configuration(name, json!({"bgp": {"routers": routers}}))
}

/// A configuration with one router of AS 64500 that has one good external neighbor, changed by `more`.
fn with_neighbor(name: &str, more: Value) -> FRRConfiguration {
    routers(
        name,
        json!([{"asn": 64500, "prefixes": ["192.0.2.0/24", "fc00:f853::/64"], "neighbors": [neighbor(more)]}]),
    )
}

fn neighbor(more: Value) -> Value {
    let mut neighbor = json!({"asn": 64501, "address": "198.51.100.1"});
    for (key, value) in more.as_object().expect("an object") {
        neighbor[key] = value.clone();
    }
    neighbor
}

fn on(mut configuration: FRRConfiguration, label: &str, value: &str) -> FRRConfiguration {
    configuration.spec.node_selector =
        serde_json::from_value(json!({"matchLabels": {label: value}})).expect("a selector");
    configuration
}

fn node(name: &str) -> NodeLabels {
    let labels = [("host", name), ("any", "yes")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    NodeLabels { name: name.to_owned(), labels: labels.into_iter().collect() }
}

fn nodes() -> Vec<NodeLabels> {
    vec![node("n1"), node("n2")]
}

fn texts(findings: &[Finding], class: Class) -> Vec<&str> {
    findings.iter().filter(|finding| finding.class == class).map(|finding| finding.text.as_str()).collect()
}

#[test]
fn every_rule_of_one_object_has_its_text() {
    let wrap = |text: &str| format!("failed to process neighbor 64501@198.51.100.1 for router 64500-: {text}");
    let timers = |text: &str| wrap(&format!("invalid timers for neighbor 64501@198.51.100.1, err: {text}"));
    let preference =
        |text: &str| wrap(&format!("failed to process local pref for neighbor 64501@198.51.100.1, err: {text}"));
    let told = |prefixes: Value, more: Value| {
        let mut advertise = json!({"allowed": {"prefixes": prefixes}});
        for (key, value) in more.as_object().expect("an object") {
            advertise[key] = value.clone();
        }
        with_neighbor("a", json!({"toAdvertise": advertise}))
    };
    let heard = |selector: Value| with_neighbor("a", json!({"toReceive": {"allowed": {"prefixes": [selector]}}}));
    let both = json!(["192.0.2.0/24"]);
    let table: Vec<(FRRConfiguration, &str, String)> = vec![
        (
            configuration("a", json!({"nodeSelector": {"matchExpressions": [{"key": "x", "operator": "Maybe"}]}})),
            "spec.nodeSelector",
            "resource contains an invalid NodeSelector".into(),
        ),
        (
            configuration("a", json!({"bgp": {"bfdProfiles": [{"name": "fast"}, {"name": "fast"}]}})),
            "spec.bgp.bfdProfiles[1].name",
            "duplicate bfd profile name fast in config a".into(),
        ),
        (
            configuration("a", json!({"bgp": {"bfdProfiles": [{"name": "so fast"}]}})),
            "spec.bgp.bfdProfiles[0].name",
            "invalid bfd profile name \"so fast\"".into(),
        ),
        (routers("a", json!([{"asn": 0}])), "spec.bgp.routers[0].asn", "invalid ASN 0 for router".into()),
        (
            routers("a", json!([{"asn": 64500, "id": "fc00::1"}])),
            "spec.bgp.routers[0].id",
            "invalid router ID \"fc00::1\"".into(),
        ),
        (
            routers("a", json!([{"asn": 64500, "vrf": "a\nrouter bgp 1"}])),
            "spec.bgp.routers[0].vrf",
            "invalid vrf \"a\\nrouter bgp 1\"".into(),
        ),
        (
            routers("a", json!([{"asn": 64500, "prefixes": ["192.0.2.0"]}])),
            "spec.bgp.routers[0].prefixes[0]",
            "unknown ipfamily for 192.0.2.0".into(),
        ),
        (
            routers("a", json!([{"asn": 64500, "imports": [{"vrf": "red"}]}])),
            "spec.bgp.routers[0].imports[0].vrf",
            "router 64500- imports vrf red which is not defined".into(),
        ),
        (
            routers("a", json!([{"asn": 64500, "vrf": "red", "imports": [{"vrf": "default"}]}])),
            "spec.bgp.routers[0].imports[0].vrf",
            "vrf  not found in prefixes in router".into(),
        ),
        (
            routers("a", json!([{"asn": 64500, "neighbors": [{"asn": 64501}]}])),
            "spec.bgp.routers[0].neighbors[0].address",
            "failed to process neighbor 64501@ for router 64500-: neighbor with ASN 64501 has no address and no interface"
                .into(),
        ),
        (
            with_neighbor("a", json!({"interface": "eth0"})),
            "spec.bgp.routers[0].neighbors[0].interface",
            wrap("neighbor 64501@198.51.100.1 has both Address and Interface specified"),
        ),
        (
            with_neighbor("a", json!({"asn": null})),
            "spec.bgp.routers[0].neighbors[0].asn",
            "failed to process neighbor 0@198.51.100.1 for router 64500-: neighbor 0@198.51.100.1 has no ASN or DynamicASN \
             specified"
                .into(),
        ),
        (
            with_neighbor("a", json!({"dynamicASN": "external"})),
            "spec.bgp.routers[0].neighbors[0].dynamicASN",
            wrap("neighbor 64501@198.51.100.1 has both ASN and DynamicASN specified"),
        ),
        (
            with_neighbor("a", json!({"bfdProfile": "fast"})),
            "spec.bgp.routers[0].neighbors[0].bfdProfile",
            wrap("neighbor 64501@198.51.100.1 referencing non existing BFDProfile fast"),
        ),
        (
            with_neighbor("a", json!({"address": "peer.example"})),
            "spec.bgp.routers[0].neighbors[0].address",
            "failed to process neighbor 64501@peer.example for router 64500-: failed to find ipfamily for neighbor \
             64501@peer.example, err: failed to find ipfamily for peer.example, IPFamilyForAddresses: Invalid address \
             [\"peer.example\"]"
                .into(),
        ),
        (
            with_neighbor("a", json!({"holdTime": "90s"})),
            "spec.bgp.routers[0].neighbors[0].keepaliveTime",
            timers("one of KeepaliveTime/HoldTime specified, both must be set or none"),
        ),
        (
            with_neighbor("a", json!({"holdTime": "2s", "keepaliveTime": "1s"})),
            "spec.bgp.routers[0].neighbors[0].holdTime",
            timers("invalid hold time \"2s\": must be 0 or >=3s"),
        ),
        (
            with_neighbor("a", json!({"holdTime": "20h", "keepaliveTime": "1s"})),
            "spec.bgp.routers[0].neighbors[0].holdTime",
            timers("invalid hold time \"20h0m0s\": must be 0 or >=3s, at most 65535s"),
        ),
        (
            with_neighbor("a", json!({"holdTime": "30s", "keepaliveTime": "90s"})),
            "spec.bgp.routers[0].neighbors[0].keepaliveTime",
            timers("invalid keepaliveTime \"1m30s\", must be lower than holdTime \"30s\""),
        ),
        (
            with_neighbor("a", json!({"holdTime": "30", "keepaliveTime": "9s"})),
            "spec.bgp.routers[0].neighbors[0].holdTime",
            timers("time: invalid duration \"30\": write a number with a unit, such as 90s or 1m30s"),
        ),
        (
            with_neighbor("a", json!({"connectTime": "70000s"})),
            "spec.bgp.routers[0].neighbors[0].connectTime",
            wrap(
                "invalid connect time for neighbor 64501@198.51.100.1, err: connect time should be between 1 seconds to 65535",
            ),
        ),
        (
            with_neighbor("a", json!({"connectTime": "1500ms"})),
            "spec.bgp.routers[0].neighbors[0].connectTime",
            wrap(
                "invalid connect time for neighbor 64501@198.51.100.1, err: connect time should contain a whole number of \
                 seconds",
            ),
        ),
        (
            with_neighbor("a", json!({"password": "secret", "passwordSecret": {"name": "s"}})),
            "spec.bgp.routers[0].neighbors[0].passwordSecret",
            wrap("neighbor 64501@198.51.100.1 specifies both cleartext password and secret ref"),
        ),
        (
            with_neighbor("a", json!({"password": "x\nrouter bgp 1"})),
            "spec.bgp.routers[0].neighbors[0].password",
            wrap("neighbor 64501@198.51.100.1 has an invalid password"),
        ),
        (
            with_neighbor("a", json!({"sourceaddress": "eth 0"})),
            "spec.bgp.routers[0].neighbors[0].sourceaddress",
            wrap("neighbor 64501@198.51.100.1 has an invalid source address"),
        ),
        (
            routers("a", json!([{"asn": 64500, "neighbors": [{"asn": 64501, "interface": "eth 0"}]}])),
            "spec.bgp.routers[0].neighbors[0].interface",
            "failed to process neighbor 64501@eth 0 for router 64500-: neighbor 64501@eth 0 has an invalid interface".into(),
        ),
        (
            with_neighbor("a", json!({"asn": 64500, "localASN": 64999})),
            "spec.bgp.routers[0].neighbors[0].localASN",
            "neighbor 64500@198.51.100.1: localASN is not supported for iBGP sessions (neighbor ASN 64500 equals router ASN)"
                .into(),
        ),
        (
            with_neighbor("a", json!({"asn": null, "dynamicASN": "internal", "localASN": 64999})),
            "spec.bgp.routers[0].neighbors[0].localASN",
            "neighbor internal@198.51.100.1: localASN is not supported for iBGP sessions (dynamicASN is internal)".into(),
        ),
        (
            with_neighbor("a", json!({"localASN": 64500})),
            "spec.bgp.routers[0].neighbors[0].localASN",
            "neighbor 64501@198.51.100.1: localASN 64500 equals router ASN".into(),
        ),
        (
            told(json!([]), json!({"nextHop": {"ipv4": "fc00::1"}})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.nextHop.ipv4",
            wrap("invalid ipv4 next hop \"fc00::1\" for neighbor 64501@198.51.100.1"),
        ),
        (
            told(json!([]), json!({"nextHop": {"ipv6": "::ffff:192.0.2.1"}})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.nextHop.ipv6",
            wrap("invalid ipv6 next hop \"::ffff:192.0.2.1\" for neighbor 64501@198.51.100.1"),
        ),
        (
            told(json!([]), json!({"nextHop": {"ipv6": "fc00::1"}})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.nextHop.ipv6",
            wrap("ipv6 next hop \"fc00::1\" set for neighbor 64501@198.51.100.1 without an ipv6 address family"),
        ),
        (
            with_neighbor(
                "a",
                json!({"address": "fc00::2", "toAdvertise": {"nextHop": {"ipv4": "192.0.2.1"}}}),
            ),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.nextHop.ipv4",
            "failed to process neighbor 64501@fc00::2 for router 64500-: ipv4 next hop \"192.0.2.1\" set for neighbor \
             64501@fc00::2 without an ipv4 address family"
                .into(),
        ),
        (
            told(json!(["203.0.113.0/24"]), json!({})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.allowed.prefixes[0]",
            "trying to advertise non configured prefix 203.0.113.0/24 to neighbor 64501@198.51.100.1, vrf ".into(),
        ),
        (
            told(json!(["192.0.2.0/24", "fc00:f853::/64"]), json!({})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.allowed.prefixes",
            wrap(
                "invalid allowed prefixes [192.0.2.0/24 fc00:f853::/64] for neighbor 64501@198.51.100.1, err: prefix \
                 fc00:f853::/64 is not compatible with the ipfamily ipv4",
            ),
        ),
        (
            told(json!([]), json!({"withLocalPref": [{"localPref": 100, "prefixes": both}]})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.withLocalPref[0]",
            preference("localPref 100 associated to non existing prefix 192.0.2.0/24"),
        ),
        (
            told(json!([]), json!({"withCommunity": [{"community": "1:2", "prefixes": both}]})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.withCommunity[0]",
            preference(
                "prefix 192.0.2.0/24 is advertised for community 1:2 but it's not in the advertisement list of the neighbor",
            ),
        ),
        (
            told(both.clone(), json!({"withLocalPref": [{"localPref": 1, "prefixes": ["192.0.2.0/24", "192.0.2.0/24"]}]})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.withLocalPref[0]",
            wrap("prefix 192.0.2.0/24 is already defined for local preference 1"),
        ),
        (
            told(both.clone(), json!({"withCommunity": [{"community": "1:2", "prefixes": ["192.0.2.0/24", "192.0.2.0/24"]}]})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.withCommunity[0]",
            wrap("prefix 192.0.2.0/24 is already defined for community 1:2"),
        ),
        (
            told(both.clone(), json!({"withLocalPref": [{"localPref": 1, "prefixes": both}, {"localPref": 1, "prefixes": both}]})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.withLocalPref[1]",
            wrap("local preference 1 is already defined"),
        ),
        (
            told(both.clone(), json!({"withCommunity": [{"community": "1:2", "prefixes": both}, {"community": "1:2", "prefixes": both}]})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.withCommunity[1]",
            wrap("community 1:2 is already defined"),
        ),
        (
            told(both.clone(), json!({"withLocalPref": [{"localPref": 1, "prefixes": both}, {"localPref": 2, "prefixes": both}]})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.withLocalPref[1]",
            wrap("prefix [192.0.2.0/24] is configured with both local preference 1 and 2"),
        ),
        (
            told(both.clone(), json!({"withCommunity": [{"community": "no-export", "prefixes": both}]})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.withCommunity[0]",
            wrap("invalid community no-export, err: invalid community format: no-export"),
        ),
        (
            told(both.clone(), json!({"withCommunity": [{"community": "1:x", "prefixes": both}]})),
            "spec.bgp.routers[0].neighbors[0].toAdvertise.withCommunity[0]",
            wrap(
                "invalid community 1:x, err: invalid community value: invalid section \"x\" of community \"1:x\", err: \
                 \"strconv.ParseUint: parsing \\\"x\\\": invalid syntax\"",
            ),
        ),
        (
            heard(json!({"prefix": "here"})),
            "spec.bgp.routers[0].neighbors[0].toReceive.allowed.prefixes[0]",
            wrap("failed to parse prefix here: invalid CIDR address: here"),
        ),
        (
            heard(json!({"prefix": "192.0.2.0/24", "le": 26, "ge": 28})),
            "spec.bgp.routers[0].neighbors[0].toReceive.allowed.prefixes[0]",
            wrap("invalid selector lengths: ge 28 is bigger than le 26"),
        ),
        (
            heard(json!({"prefix": "192.0.2.0/24", "le": 20})),
            "spec.bgp.routers[0].neighbors[0].toReceive.allowed.prefixes[0]",
            wrap("invalid selector lengths: cidr mask 24 is bigger than le 20"),
        ),
        (
            heard(json!({"prefix": "192.0.2.0/24", "ge": 20})),
            "spec.bgp.routers[0].neighbors[0].toReceive.allowed.prefixes[0]",
            wrap("invalid selector lengths: cidr mask 24 is bigger than ge 20"),
        ),
        (
            heard(json!({"prefix": "192.0.2.0/24", "le": 64})),
            "spec.bgp.routers[0].neighbors[0].toReceive.allowed.prefixes[0]",
            wrap("invalid selector lengths: 64 is bigger than 32, the longest prefix of that family"),
        ),
        (
            routers("a", json!([{"asn": 64500, "evpn": {"advertiseVNIs": "All"}}])),
            "spec.bgp.routers[0].evpn",
            "invalid EVPN configuration for vrf \"\": advertiseVNIs=All, advertiseSVI and l2vnis require at least one \
             neighbor with evpn address family"
                .into(),
        ),
    ];
    for (configuration, field, text) in table {
        let findings = check(std::slice::from_ref(&configuration), &nodes());
        assert_eq!(texts(&findings, Class::Error), [text.as_str()], "{configuration:?}");
        assert_eq!(findings[0].field, field);
    }
}

#[test]
fn prefixes_of_the_wrong_family_are_named_in_both_lists() {
    let fails = |more: Value, part: &str| {
        let mut advertise = json!({"allowed": {"mode": "all"}});
        for (key, value) in more.as_object().expect("an object") {
            advertise[key] = value.clone();
        }
        let findings = check(&[with_neighbor("a", json!({"toAdvertise": advertise}))], &nodes());
        let got = texts(&findings, Class::Error);
        assert!(got.iter().any(|text| text.contains(part)), "{got:?}");
    };
    let wrong = json!(["fc00:f853::/64"]);
    fails(
        json!({"withLocalPref": [{"localPref": 7, "prefixes": wrong}]}),
        "invalid prefixes [fc00:f853::/64] for localpref 7 for neighbor 64501@198.51.100.1, err: prefix fc00:f853::/64 is \
         not compatible with the ipfamily ipv4",
    );
    fails(
        json!({"withCommunity": [{"community": "1:2", "prefixes": wrong}]}),
        "invalid prefixes [fc00:f853::/64] for community 1:2 for neighbor 64501@198.51.100.1, err: prefix fc00:f853::/64 is \
         not compatible with the ipfamily ipv4",
    );
}

/// Two configurations for the same nodes that cannot both be.
fn conflicts() -> Vec<(FRRConfiguration, FRRConfiguration, String)> {
    let router = |name: &str, more: Value| {
        let mut router = json!({"asn": 64500});
        for (key, value) in more.as_object().expect("an object") {
            router[key] = value.clone();
        }
        routers(name, json!([router]))
    };
    let red = |name: &str, evpn: Value| {
        router(name, json!({"vrf": "red", "evpn": evpn, "neighbors": [neighbor(json!({"addressFamilies": ["evpn"]}))]}))
    };
    let merge = |text: &str| format!("could not merge EVPN configuration for vrf \"red\", err: {text}");
    let layer_3 = |vni: u32| json!({"l3vni": {"vni": vni, "advertisePrefixes": ["unicast"]}});
    let told = |name: &str, more: Value| {
        let mut advertise = json!({"allowed": {"mode": "all"}});
        for (key, value) in more.as_object().expect("an object") {
            advertise[key] = value.clone();
        }
        with_neighbor(name, json!({"toAdvertise": advertise}))
    };
    let preferred = |name: &str, value: u32| {
        told(name, json!({"withLocalPref": [{"localPref": value, "prefixes": ["192.0.2.0/24"]}]}))
    };
    let property = |more: Value, text: &str| {
        (with_neighbor("a", json!({})), with_neighbor("b", more), format!("{text} specified for 198.51.100.1"))
    };
    let with_profile = |name: &str, profile: &str| {
        configuration(
            name,
            json!({"bgp": {"bfdProfiles": [{"name": profile}],
                "routers": [{"asn": 64500, "neighbors": [neighbor(json!({"bfdProfile": profile}))]}]}}),
        )
    };
    vec![
        (
            configuration("a", json!({"bgp": {"bfdProfiles": [{"name": "fast"}]}})),
            configuration("b", json!({"bgp": {"bfdProfiles": [{"name": "fast", "detectMultiplier": 5}]}})),
            "duplicate bfd profile name fast with different values for config b".into(),
        ),
        (
            routers("a", json!([{"asn": 64500, "vrf": "red"}])),
            routers("b", json!([{"asn": 64501, "vrf": "red"}])),
            "different asns (64500 != 64501) specified for same vrf: red".into(),
        ),
        (
            router("a", json!({"id": "192.0.2.1"})),
            router("b", json!({"id": "192.0.2.2"})),
            "different router ids (192.0.2.1 != 192.0.2.2) specified for same vrf: ".into(),
        ),
        property(json!({"asn": 64502}), "multiple asns"),
        property(json!({"port": 1790}), "multiple ports"),
        property(json!({"sourceaddress": "192.0.2.9"}), "multiple source addresses"),
        property(json!({"password": "x"}), "multiple passwords"),
        property(json!({"passwordSecret": {"name": "s"}}), "multiple passwords"),
        (with_profile("a", "fast"), with_profile("b", "slow"), "multiple bfd profiles specified for 198.51.100.1".into()),
        property(json!({"ebgpMultiHop": true}), "conflicting ebgp-multihop"),
        property(json!({"dualStackAddressFamily": true}), "conflicting advertiseDualStack"),
        property(json!({"holdTime": "90s", "keepaliveTime": "60s"}), "multiple hold times"),
        property(json!({"holdTime": "180s", "keepaliveTime": "30s"}), "multiple keepalive times"),
        property(json!({"connectTime": "10s"}), "multiple connect times"),
        property(json!({"localASN": 64999}), "multiple localASNs"),
        (
            told("a", json!({"nextHop": {"ipv4": "192.0.2.1"}})),
            told("b", json!({"nextHop": {"ipv4": "192.0.2.2"}})),
            "could not merge outgoing for neighbor 198.51.100.1 vrf , err: ipv4 next hop: multiple next hops (192.0.2.1 != \
             192.0.2.2) specified"
                .into(),
        ),
        (
            preferred("a", 100),
            preferred("b", 200),
            "multiple local prefs (100 != 200) specified for prefix 192.0.2.0/24".into(),
        ),
        (
            red("a", json!({"advertiseVNIs": "All"})),
            red("b", json!({})),
            merge("different advertiseVNIs (\"All\" != \"Disabled\")"),
        ),
        (
            red("a", json!({"advertiseSVI": true})),
            red("b", json!({"advertiseSVI": false})),
            merge("different advertiseSVI (true != false)"),
        ),
        (
            red("a", json!({"l2vnis": [{"vni": 7, "rd": "1:2"}]})),
            red("b", json!({"l2vnis": [{"vni": 7, "rd": "1:3"}]})),
            merge("could not merge l2vni 7, err: different RD values (1:2 != 1:3)"),
        ),
        (
            red("a", json!({"l2vnis": [{"vni": 7, "importRTs": ["1:2"]}]})),
            red("b", json!({"l2vnis": [{"vni": 7}]})),
            merge(
                "could not merge l2vni 7, err: conflicting import route targets: mixing implicit and explicit route targets",
            ),
        ),
        (
            red("a", json!({"l2vnis": [{"vni": 7, "exportRTs": ["1:2"]}]})),
            red("b", json!({"l2vnis": [{"vni": 7}]})),
            merge(
                "could not merge l2vni 7, err: conflicting export route targets: mixing implicit and explicit route targets",
            ),
        ),
        (
            router("a", json!({"vrf": "red", "evpn": layer_3(7)})),
            router("b", json!({"vrf": "red", "evpn": layer_3(8)})),
            merge("different l3vni numbers (7 != 8)"),
        ),
        (
            router("a", json!({"vrf": "red", "evpn": layer_3(7)})),
            router("b", json!({"vrf": "red", "neighbors": [neighbor(json!({}))]})),
            "invalid EVPN configuration for vrf \"red\": l3vni can only be configured on routers with no neighbors".into(),
        ),
        (
            router("a", json!({"vrf": "blue", "evpn": layer_3(7)})),
            red("b", json!({"l2vnis": [{"vni": 7}]})),
            "duplicate VNI 7: configured as l3vni in vrf \"blue\" and as l2vni in vrf \"red\"".into(),
        ),
    ]
}

#[test]
fn every_conflict_names_both_objects_and_a_node_they_share() {
    for (a, b, text) in conflicts() {
        let findings = check(&[a.clone(), b.clone()], &nodes());
        assert_eq!(texts(&findings, Class::Error), [text.as_str()]);
        let finding = &findings[0];
        assert_eq!((finding.object.name.as_str(), finding.others[0].name.as_str()), ("b", "a"), "{finding}");
        assert!(finding.to_string().contains("; resource is invalid for node n1: FRRConfiguration a "), "{finding}");
        assert_eq!(check(&[b.clone(), a.clone()], &nodes()), findings, "the order of the input does not matter");
        // On different nodes both are in force.
        let apart = [on(a.clone(), "host", "n1"), on(b.clone(), "host", "n2")];
        assert_eq!(check(&apart, &nodes()), [], "{text}");
        let shared = check(&[on(a.clone(), "any", "yes"), on(b.clone(), "host", "n2")], &nodes());
        assert!(shared[0].to_string().contains("resource is invalid for node n2"), "{}", shared[0]);
        // Without any node known, they are assumed to share one.
        let unknown = check(&apart, &[]);
        assert_eq!(texts(&unknown, Class::Error), [text.as_str()]);
        assert!(!unknown[0].to_string().contains("resource is invalid"), "{}", unknown[0]);
        // Another daemon reads another namespace.
        let mut foreign = a;
        foreign.metadata.namespace = Some("elsewhere".to_owned());
        assert_eq!(check(&[foreign, b], &nodes()), []);
    }
}

#[test]
fn the_older_object_stays_and_the_younger_is_reported() {
    let created = |mut configuration: FRRConfiguration, hour: u32| {
        let time = serde_json::from_value(json!(format!("2026-01-01T{hour:02}:00:00Z"))).expect("a time");
        configuration.metadata.creation_timestamp = Some(time);
        configuration
    };
    let a = created(routers("a", json!([{"asn": 64500}])), 2);
    let b = created(routers("b", json!([{"asn": 64501}])), 1);
    let findings = check(&[a, b], &nodes());
    assert_eq!(texts(&findings, Class::Error), ["different asns (64501 != 64500) specified for same vrf: "]);
    assert_eq!(findings[0].object.name, "a");
}

#[test]
fn one_object_can_contradict_itself() {
    let both = routers("a", json!([{"asn": 64500}, {"asn": 64501}]));
    let findings = check(&[both], &nodes());
    assert_eq!(texts(&findings, Class::Error), ["different asns (64500 != 64501) specified for same vrf: "]);
    assert_eq!(findings[0].detail, "it says 64500 and 64501");
    assert!(findings[0].others.is_empty());
}

#[test]
fn what_adds_to_others_is_no_conflict() {
    let a = with_neighbor("a", json!({"port": 179, "holdTime": "3m", "keepaliveTime": "1m", "connectTime": "60s"}));
    let b =
        with_neighbor("b", json!({"toReceive": {"allowed": {"mode": "all"}}, "addressFamilies": ["unicast", "evpn"]}));
    let c = routers("c", json!([{"asn": 64500, "evpn": {"advertiseVNIs": "All"}}]));
    let d = routers(
        "d",
        json!([{"asn": 64501, "vrf": "red", "imports": [{"vrf": "default"}]},
        {"asn": 64500, "prefixes": ["203.0.113.0/24"]}]),
    );
    assert_eq!(check(&[a, b, c, d], &nodes()), []);
}

#[test]
fn addresses_are_one_neighbor_however_they_are_written() {
    let a = with_neighbor("a", json!({"address": "fc00::1"}));
    let b = with_neighbor("b", json!({"address": "fc00:0::1", "port": 1790}));
    assert_eq!(texts(&check(&[a, b], &nodes()), Class::Error), ["multiple ports specified for fc00::1"]);
}

#[test]
fn passwords_are_never_shown() {
    let a = with_neighbor("a", json!({"password": "hunter2"}));
    let b = with_neighbor("b", json!({"password": "hunter3"}));
    let bad = with_neighbor("c", json!({"address": "198.51.100.9", "password": "hunter4 x"}));
    let findings = check(&[a, b, bad], &nodes());
    assert_eq!(findings.len(), 2);
    assert!(findings.iter().all(|finding| !format!("{finding:?}").contains("hunter")), "{findings:?}");
}

#[test]
fn an_evpn_neighbor_of_another_object_counts_on_the_nodes_they_share() {
    let needing = routers("a", json!([{"asn": 64500, "evpn": {"advertiseSVI": true}}]));
    let having = on(with_neighbor("b", json!({"addressFamilies": ["evpn"]})), "host", "n1");
    let findings = check(&[needing, having], &nodes());
    assert_eq!(findings.len(), 1);
    assert!(findings[0].to_string().ends_with("resource is invalid for node n2"), "{}", findings[0]);
}

#[test]
fn selectors_with_expressions_find_their_nodes() {
    let select = |name: &str, asn: u32, expression: Value| {
        let mut configuration = routers(name, json!([{"asn": asn}]));
        configuration.spec.node_selector =
            serde_json::from_value(json!({"matchExpressions": [expression]})).expect("a selector");
        configuration
    };
    let a = select("a", 64500, json!({"key": "host", "operator": "In", "values": ["n1", "n2", "n1"]}));
    let b = select("b", 64501, json!({"key": "host", "operator": "NotIn", "values": ["n1"]}));
    let c = select("c", 64502, json!({"key": "rack", "operator": "Exists"}));
    let findings = check(&[a, b, c], &nodes());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].detail.starts_with("resource is invalid for node n2: "), "{}", findings[0]);
}

#[test]
fn deprecated_and_delayed_settings_only_warn() {
    let old = with_neighbor("a", json!({"disableMP": true}));
    let new = with_neighbor("a", json!({"enableGracefulRestart": true}));
    let findings = check(std::slice::from_ref(&old), &nodes());
    assert_eq!(
        texts(&findings, Class::Warning),
        ["disableMP is deprecated, is ignored and will be removed in a future release"]
    );
    assert_eq!(findings.len(), 1);
    let findings = change(&old, &new);
    assert_eq!(
        texts(&findings, Class::Warning),
        ["Graceful restart configuration changed, it will be available on the next restart"]
    );
    assert_eq!(findings.len(), 1);
    assert_eq!(change(&new, &new), []);
    assert_eq!(change(&new, &with_neighbor("a", json!({"address": "198.51.100.2"}))), []);
}

#[test]
fn a_thousand_configurations_for_a_thousand_nodes_take_no_time() {
    let nodes: Vec<_> = (0..1000).map(|index| node(&format!("n{index:04}"))).collect();
    let mut all: Vec<_> = (0..1000)
        .map(|index| {
            let id = format!("10.0.{}.{}", index / 250, index % 250 + 1);
            let name = format!("n{index:04}");
            on(routers(&name, json!([{"asn": 64500, "id": id, "neighbors": [neighbor(json!({}))]}])), "host", &name)
        })
        .collect();
    all.extend((0..1000).map(|index| with_neighbor(&format!("x{index:04}"), json!({}))));
    let started = std::time::Instant::now();
    assert_eq!(check(&all, &nodes), []);
    let quiet = started.elapsed();
    all.push(with_neighbor("zzz", json!({"port": 1790})));
    let started = std::time::Instant::now();
    assert_eq!(check(&all, &nodes).len(), 1);
    let loud = started.elapsed();
    // Unoptimised, on a busy machine: quadratic work would take minutes.
    assert!(quiet.as_secs() < 5 && loud.as_secs() < 5, "{quiet:?} {loud:?}");
}
