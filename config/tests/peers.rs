//! BGP peers: each rule and text, and what is left in force.

mod common;

use common::{compiled, node, object, peer, texts};
use config::{Backend, Class, Compiled, PeerAsn, PeerEndpoint, SecretFacts, compile};
use serde_json::{Value, json};

#[test]
fn peers_are_refused_in_metallbs_words() {
    let twice = json!([{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]);
    let bad = json!([{"matchExpressions": [{"key": "a", "operator": "Near"}]}]);
    let cases: &[(Value, &str)] = &[
        (json!({"myASN": 0}), "missing local ASN"),
        (json!({"peerASN": 0}), "missing peer ASN and dynamicASN"),
        (json!({"dynamicASN": "internal"}), "both peer ASN and dynamicASN specified"),
        (json!({"peerASN": 64500, "ebgpMultiHop": true}), "invalid ebgp-multihop parameter set for an ibgp peer"),
        (json!({"peerAddress": ""}), "peer has no Address or Interface specified"),
        (json!({"interface": "eth0"}), "peer has both Address and Interface specified"),
        (json!({"holdTime": "2s"}), "invalid BGPPeer timers: invalid hold time \"2s\": must be 0 or >=3s"),
        (json!({"holdTime": "-9s"}), "invalid BGPPeer timers: invalid hold time \"-9s\": must be 0 or >=3s"),
        (json!({"holdTime": "20h"}), "invalid BGPPeer timers: invalid hold time \"20h0m0s\": must be 0 or >=3s"),
        (
            json!({"holdTime": "9s", "keepaliveTime": "90s"}),
            "invalid BGPPeer timers: invalid keepaliveTime \"1m30s\", must be lower than holdTime \"9s\"",
        ),
        (json!({"holdTime": "9s", "keepaliveTime": "-1s"}), "invalid BGPPeer timers: invalid keepaliveTime \"-1s\""),
        (
            json!({"holdTime": "9"}),
            "invalid BGPPeer timers: time: invalid duration \"9\": write a number with a unit, such as 90s or 1m30s",
        ),
        (json!({"peerAddress": "1.1.1"}), "invalid BGPPeer address \"1.1.1\""),
        (json!({"routerID": "x"}), "invalid router ID \"x\""),
        (json!({"sourceAddress": "1.2"}), "invalid source IP \"1.2\""),
        (json!({"nodeSelectors": twice}), "duplicate definition of nodeSelectors \"a=b\""),
        (
            json!({"nodeSelectors": bad}),
            "\"Near\" is not a valid label selector operator\nfailed to convert peer q node selector",
        ),
        (
            json!({"password": "x", "passwordSecret": {"name": "s"}}),
            "can not have both password and secret ref set in peer config \"metallb-system\"/\"q\"",
        ),
        (json!({"connectTime": "0s"}), "connect time should be between 1 seconds to 65535"),
        (json!({"connectTime": "1500ms"}), "connect time should contain a whole number of seconds"),
        (json!({"vrf": "red blue"}), "invalid vrf \"red blue\""),
        (json!({"peerAddress": null, "interface": "eth0/1"}), "invalid interface \"eth0/1\""),
    ];
    for (change, text) in cases {
        let compiled = compiled(&[peer("q", change.clone())]);
        assert_eq!(texts(&compiled, Class::Error), [format!("parsing peer q {text}")], "{change}");
        assert!(compiled.config.peers.is_empty(), "{change}");
    }
}

#[test]
fn keepalive_needs_a_longer_hold_time_but_stored_peers_keep_working() {
    let cases = [
        (
            json!({"keepaliveTime": "10s"}),
            Some("Missing to configure HoldTime when changing KeepaliveTime to 10s"),
            (Some(30), Some(10)),
        ),
        (
            json!({"holdTime": "9s", "keepaliveTime": "9s"}),
            Some("invalid keepaliveTime \"9s\", must be lower than holdTime \"9s\""),
            (Some(9), Some(9)),
        ),
        (json!({"holdTime": "9s", "keepaliveTime": "3s"}), None, (Some(9), Some(3))),
        (json!({"holdTime": "0s", "keepaliveTime": "0s"}), None, (Some(0), Some(0))),
        (json!({"holdTime": "3s"}), None, (Some(3), Some(1))),
        (json!({"holdTime": "5m30s"}), None, (Some(330), Some(110))),
        (json!({}), None, (None, None)),
    ];
    for (change, text, timers) in cases {
        let compiled = compiled(&[peer("q", change.clone())]);
        assert_eq!(texts(&compiled, Class::Error), Vec::<String>::new(), "{change}");
        let wanted: Vec<_> = text.iter().map(|text| format!("parsing peer q invalid BGPPeer timers: {text}")).collect();
        assert_eq!(texts(&compiled, Class::Policy), wanted, "{change}");
        let peer = &compiled.config.peers["q"];
        assert_eq!((peer.hold_time_seconds, peer.keepalive_seconds), timers, "{change}");
    }
}

#[test]
fn a_full_peer_keeps_every_value() {
    let more = json!({"peerASN": null, "dynamicASN": "external", "peerAddress": null, "interface": "eth1", "peerPort": 1179,
        "sourceAddress": "fc00::9", "routerID": "1.2.3.4", "ebgpMultiHop": true, "vrf": "red", "localASN": 7,
        "connectTime": "5s", "enableGracefulRestart": true, "dualStackAddressFamily": true, "bfdProfile": "f"});
    let compiled = compiled(&[peer("q", more), object("BFDProfile", "f", json!({"detectMultiplier": 3}))]);
    assert_eq!(compiled.findings, []);
    let peer = &compiled.config.peers["q"];
    assert_eq!((peer.my_asn, peer.peer_asn, peer.port), (64500, PeerAsn::External, 1179));
    assert_eq!(peer.endpoint, PeerEndpoint::Interface("eth1".to_owned()));
    assert_eq!((peer.local_asn, peer.connect_time_seconds, peer.vrf.as_deref()), (Some(7), Some(5), Some("red")));
    assert!(peer.ebgp_multi_hop && peer.graceful_restart && peer.dual_stack_address_family);
    assert_eq!(peer.bfd_profile.as_deref(), Some("f"));
    assert_eq!(compiled.config.bfd_profiles["f"].detect_multiplier, Some(3));
}

#[test]
fn a_missing_reference_disables_the_peer_and_another_object_can_mend_it() {
    let compiled = compiled(&[
        peer("peer1", json!({"bfdProfile": "my-bfd-profile"})),
        peer("good", json!({"peerAddress": "192.0.2.7"})),
    ]);
    assert_eq!(texts(&compiled, Class::Error), ["peer peer1 referencing non existing bfd profile my-bfd-profile"]);
    assert!(compiled.findings[0].transient);
    assert_eq!(compiled.config.peers.keys().collect::<Vec<_>>(), ["good"]);
}

#[test]
fn password_secrets_are_checked_where_they_can_be_seen() {
    let secret = |type_: &str, has_password| SecretFacts {
        name: "bgp-password".to_owned(),
        type_: type_.to_owned(),
        has_password,
    };
    let basic = "kubernetes.io/basic-auth";
    let cases: [(Option<Vec<SecretFacts>>, Option<&str>); 5] = [
        (None, None),
        (Some(vec![secret(basic, true)]), None),
        (
            Some(vec![]),
            Some(
                "parsing peer peer1 secret ref not found for peer config \"metallb-system\"/\"peer1\"\nfailed to parse peer peer1 password secret",
            ),
        ),
        (
            Some(vec![secret("Opaque", true)]),
            Some(
                "parsing peer peer1 secret type mismatch on \"metallb-system\"/\"bgp-password\", type \"kubernetes.io/basic-auth\" is expected \nfailed to parse peer peer1 password secret",
            ),
        ),
        (
            Some(vec![secret(basic, false)]),
            Some(
                "parsing peer peer1 password not specified in the secret \"metallb-system\"/\"bgp-password\"\nfailed to parse peer peer1 password secret",
            ),
        ),
    ];
    for (secrets, text) in cases {
        let mut resources = common::resources(&[peer("peer1", json!({"passwordSecret": {"name": "bgp-password"}}))]);
        resources.secrets = secrets;
        let compiled = compile(&resources);
        assert_eq!(texts(&compiled, Class::Error), text.into_iter().collect::<Vec<_>>());
        assert_eq!(compiled.config.peers.is_empty(), text.is_some());
    }
}

fn pairs(backend: Backend, documents: &[Value]) -> Compiled {
    let mut resources = common::resources(documents);
    resources.backend = backend;
    compile(&resources)
}

#[test]
fn peers_that_meet_on_a_node_must_agree_in_every_backend() {
    let cases = [
        (
            json!({}),
            "peer 192.0.2.1 already exists, FRR mode doesn't support duplicate BGPPeers selecting the same node",
            "peer 192.0.2.1 already exists, duplicate BGPPeers selecting the same node are not supported",
        ),
        (
            json!({"peerAddress": "192.0.2.2", "myASN": 64999}),
            "peer 192.0.2.2 has myAsn different from 192.0.2.1, in FRR mode peers selecting the same node must have the same myAsn within the same VRF",
            "peer 192.0.2.2 has myAsn different from 192.0.2.1, peers selecting the same node must have the same myAsn within the same VRF",
        ),
        (
            json!({"peerAddress": "192.0.2.2", "routerID": "9.9.9.9"}),
            "peer 9.9.9.9 has RouterID different from (unset), in FRR mode peers selecting the same node must all have the same RouterID",
            "peer 9.9.9.9 has RouterID different from (unset), peers selecting the same node must all have the same RouterID",
        ),
    ];
    for (change, frr, native) in cases {
        let documents = [peer("a", json!({})), peer("b", change)];
        let found = pairs(Backend::Native, &documents);
        assert_eq!(texts(&found, Class::Policy), [native]);
        assert_eq!(found.config.peers.len(), 2, "both stay in force");
        assert!(found.findings[0].to_string().contains("BGPPeer b and BGPPeer a"));
        assert_eq!(texts(&pairs(Backend::FrrK8s, &documents), Class::Error), [frr]);
    }
}

#[test]
fn peers_in_different_vrfs_or_on_different_nodes_need_not_agree() {
    let select = |node: &str| json!([{"matchLabels": {"kubernetes.io/hostname": node}}]);
    let nodes = ["n1", "n2"].map(|name| node(name, json!({"kubernetes.io/hostname": name})));
    let other_vrf = [peer("a", json!({})), peer("b", json!({"vrf": "red", "myASN": 1, "routerID": "1.1.1.1"}))];
    assert_eq!(pairs(Backend::Frr, &other_vrf).findings, []);
    let apart = [
        peer("a", json!({"nodeSelectors": select("n1")})),
        peer("b", json!({"nodeSelectors": select("n2"), "myASN": 1})),
    ];
    assert_eq!(pairs(Backend::Frr, &[&nodes[..], &apart[..]].concat()).findings, []);
    // With no node known they are assumed to meet.
    assert_eq!(pairs(Backend::Frr, &apart).findings.len(), 2);
    let meeting = [peer("a", json!({"nodeSelectors": select("n1")})), peer("b", json!({}))];
    assert_eq!(pairs(Backend::Frr, &[&nodes[..], &meeting[..]].concat()).findings.len(), 1);
}

#[test]
fn the_older_of_two_peers_is_not_the_one_that_is_blamed() {
    let documents = [common::created(peer("z", json!({})), 1), common::created(peer("a", json!({})), 2)];
    let found = compiled(&documents);
    assert_eq!((found.findings[0].object.name.as_str(), found.findings[0].others[0].name.as_str()), ("a", "z"));
}
