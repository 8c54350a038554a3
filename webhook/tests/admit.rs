//! What is admitted and what is not, as tables of rules.

mod common;

use common::{create, delete, document, peer, pool, update};
use proptest::prelude::*;
use serde_json::{Value, json};
use webhook::admit::Verdict;

fn denied(verdict: &Verdict) -> &str {
    verdict.denied.as_deref().unwrap_or("(allowed)")
}

#[test]
fn every_kind_must_be_created_in_the_own_namespace() {
    let documents = [
        pool("x", &["10.0.0.0/24"]),
        document("AddressPool", "x", json!({"protocol": "layer2", "addresses": ["10.0.0.0/24"]})),
        document("L2Advertisement", "x", json!({})),
        document("BGPAdvertisement", "x", json!({})),
        // The namespace counts before anything else that is wrong.
        peer("x", json!({"peerAddress": "1.1.1", "disableMP": true})),
        document("BFDProfile", "x", json!({})),
        document("Community", "x", json!({"communities": []})),
        document("MetalLB", "metallb", json!({})),
    ];
    for mut document in documents {
        document["metadata"]["namespace"] = json!("default");
        let name = format!("{} {}", document["kind"].as_str().unwrap(), document["metadata"]["name"].as_str().unwrap());
        let text = format!("resource must be created in metallb-system namespace; {name} is in default");
        assert_eq!(denied(&create(&[], &document)), text);
        // What is stored elsewhere may be edited and deleted: it has no effect.
        let verdict = update(&[document.clone()], &document);
        assert!(verdict.is_allowed() && verdict.warnings[0].ends_with("it is not in the namespace metallb-system"));
        assert_eq!(delete(&[], &document), Verdict::allow());
    }
}

#[test]
fn bad_objects_are_refused_on_create_and_on_update() {
    let good = |kind: &str| match kind {
        "IPAddressPool" => pool("x", &["10.9.0.0/24"]),
        "BGPPeer" => peer("x", json!({"peerAddress": "192.0.2.9"})),
        "Community" => document(kind, "x", json!({"communities": []})),
        "AddressPool" => document(kind, "x", json!({"protocol": "bgp", "addresses": ["10.9.0.0/24"]})),
        "MetalLB" => document(kind, "metallb", json!({})),
        _ => document(kind, "x", json!({})),
    };
    let stored = [
        pool("a", &["10.0.0.0/24"]),
        pool("narrow", &["1.1.1.0/28"]),
        peer("p", json!({})),
        document("Community", "c", json!({"communities": [{"name": "n", "value": "1:1"}]})),
    ];
    let aliases =
        |name: &str, value: &str| document("Community", "x", json!({"communities": [{"name": name, "value": value}]}));
    let cases: Vec<(Value, &str)> = vec![
        (pool("x", &[]), "parsing address pool x: pool has no prefixes defined"),
        (pool("x", &["10.0.0.9-10.0.0.1"]), "start IP \"10.0.0.9\" is after the end IP \"10.0.0.1\""),
        (
            pool("x", &["10.0.0.7-10.0.0.9"]),
            "CIDR \"10.0.0.7/32\" in pool \"x\" overlaps with already defined CIDR \"10.0.0.0/24\"; that CIDR belongs to pool \"a\"",
        ),
        (
            pool("x", &["10.0.0.0/8"]),
            "CIDR \"10.0.0.0/8\" in pool \"x\" overlaps with already defined CIDR \"10.0.0.0/24\"",
        ),
        (
            document("AddressPool", "x", json!({"protocol": "bgp", "addresses": ["10.0.0.0/25"]})),
            "overlaps with already defined CIDR",
        ),
        (
            document("BGPAdvertisement", "x", json!({"aggregationLength": 26})),
            "invalid aggregation length 26: prefix 28 in this pool is more specific than the aggregation length for addresses 1.1.1.0/28",
        ),
        (
            document("BGPAdvertisement", "x", json!({"communities": ["1:99999999"]})),
            "invalid community value: invalid section",
        ),
        (
            document("L2Advertisement", "x", json!({"ipAddressPools": ["a", "a"]})),
            "duplicate definition of ipAddressPools \"a\"",
        ),
        (aliases("y", "99999999:1"), "invalid community value: invalid section"),
        (aliases("y", "lar:123:9999:123"), "expected community to be of format large"),
        (aliases("n", "1:2"), "duplicate definition of community \"n\""),
        (document("BFDProfile", "x", json!({"detectMultiplier": 1})), "invalid value 1, must be in 2-255 range"),
        (peer("x", json!({"peerAddress": "1.1.1"})), "parsing peer x invalid BGPPeer address \"1.1.1\""),
        (peer("x", json!({"myASN": 0})), "missing local ASN"),
        (
            peer("x", json!({"peerAddress": "192.0.2.9", "holdTime": "2s"})),
            "invalid hold time \"2s\": must be 0 or >=3s",
        ),
        (
            peer("x", json!({"peerAddress": "192.0.2.9", "keepaliveTime": "9s"})),
            "Missing to configure HoldTime when changing KeepaliveTime to 9s",
        ),
        (
            peer("x", json!({"peerAddress": "192.0.2.9", "holdTime": "9s", "keepaliveTime": "9s"})),
            "invalid keepaliveTime \"9s\", must be lower than holdTime \"9s\"",
        ),
        (
            peer("x", json!({"peerAddress": "192.0.2.9", "holdTime": "9s", "keepaliveTime": "10s"})),
            "must be lower than holdTime \"9s\"",
        ),
        (
            peer("x", json!({})),
            "peer 192.0.2.1 already exists, duplicate BGPPeers selecting the same node are not supported",
        ),
        (
            peer("x", json!({"peerAddress": "192.0.2.9", "myASN": 64999})),
            "peer 192.0.2.9 has myAsn different from 192.0.2.1",
        ),
        (
            peer("x", json!({"peerAddress": "192.0.2.9", "routerID": "1.1.1.1"})),
            "peer 1.1.1.1 has RouterID different from",
        ),
        (peer("x", json!({"peerAddress": "bad", "disableMP": true})), "invalid BGPPeer address \"bad\""),
        (
            document("MetalLB", "metallb", json!({"bgpBackend": "bird"})),
            "invalid BGP Backend, must be one of native, frr, frr-k8s, frr-k8s-external",
        ),
    ];
    for (bad, text) in cases {
        let verdict = create(&stored, &bad);
        assert!(denied(&verdict).contains(text), "create {bad}: {verdict:?}");
        let mut all = stored.to_vec();
        all.push(good(bad["kind"].as_str().unwrap()));
        let verdict = update(&all, &bad);
        assert!(denied(&verdict).contains(text), "update {bad}: {verdict:?}");
        assert!(create(&stored, all.last().unwrap()).is_allowed(), "the good one of {bad}");
    }
}

#[test]
fn a_pool_may_not_be_changed_so_that_an_advertisement_no_longer_fits() {
    let stored = [pool("p", &["10.0.0.0/24"]), document("BGPAdvertisement", "adv", json!({"aggregationLength": 26}))];
    let verdict = update(&stored, &pool("p", &["10.0.0.0/28"]));
    assert!(denied(&verdict).starts_with("invalid aggregation length 26: prefix 28 in this pool"), "{verdict:?}");
    assert!(denied(&verdict).contains("advertisement adv selects pool p"));
    assert_eq!(update(&stored, &pool("p", &["10.0.0.0/25"])), Verdict::allow());
}

#[test]
fn objects_may_come_in_any_order() {
    let cases = [
        (peer("p", json!({"bfdProfile": "later"})), "peer p referencing non existing bfd profile later"),
        (
            document("BGPAdvertisement", "a", json!({"communities": ["later"]})),
            "invalid community format: later\ninvalid community \"later\" in BGP advertisement",
        ),
        (
            document("L2Advertisement", "a", json!({"ipAddressPools": ["later"]})),
            "L2Advertisement a selects pool \"later\", which does not exist",
        ),
    ];
    for (new, text) in cases {
        let stored: Vec<Value> =
            if text.contains("community") { vec![pool("p", &["10.0.0.0/24"])] } else { Vec::new() };
        let verdict = create(&stored, &new);
        assert_eq!((verdict.denied, verdict.warnings), (None, vec![text.to_owned()]), "{new}");
    }
}

#[test]
fn what_was_wrong_before_is_a_warning_and_does_not_stand_in_the_way() {
    let stored = [pool("a", &["10.0.0.0/24"]), pool("b", &["10.0.0.0/25", "nonsense"]), peer("p", json!({"myASN": 0}))];
    let text = "parsing address pool b: invalid CIDR \"nonsense\" in pool \"b\": invalid CIDR \"nonsense\"";
    // The same error stays, at another place of the list.
    let verdict = update(&stored, &pool("b", &["nonsense"]));
    assert_eq!((verdict.denied, verdict.warnings[0].as_str()), (None, text));
    // Mending one error brings another one to light; it is about the changed object and new.
    assert!(denied(&update(&stored, &pool("b", &["10.0.0.0/25"]))).contains("overlaps with already defined CIDR"));
    let verdict = create(&stored, &pool("c", &["10.7.0.0/24"]));
    assert_eq!((verdict.denied, verdict.warnings), (None, vec![text.to_owned()]));
    let verdict = create(&stored, &peer("q", json!({"peerAddress": "192.0.2.9"})));
    assert_eq!((verdict.denied, verdict.warnings), (None, vec!["parsing peer p missing local ASN".to_owned()]));
}

#[test]
fn pools_and_peers_are_judged_together_as_soon_as_an_advertisement_ties_them() {
    let peer = peer("p", json!({"bfdProfile": "echo"}));
    let profile = document("BFDProfile", "echo", json!({"echoMode": true}));
    let advertisement = document("BGPAdvertisement", "a", json!({}));
    let v6 = pool("six", &["fc00::/120"]);
    assert_eq!(create(&[peer.clone(), profile.clone()], &v6), Verdict::allow());
    let verdict = create(&[peer, profile, advertisement], &v6);
    assert!(denied(&verdict).contains("bfd echo enabled"), "{verdict:?}");
}

#[test]
fn shrinking_a_pool_is_allowed_although_two_others_overlap_then() {
    let stored = [pool("a", &["10.0.0.0/23"]), pool("b", &["10.0.0.0/24"]), pool("c", &["10.0.0.0/25"])];
    assert!(update(&stored, &pool("a", &["10.0.1.0/24"])).is_allowed());
}

#[test]
fn a_used_bfd_profile_may_not_be_deleted() {
    let profile = document("BFDProfile", "f", json!({}));
    let stored = [profile.clone(), peer("p", json!({"bfdProfile": "f"}))];
    assert!(denied(&delete(&stored, &profile)).starts_with("failed to delete BFDProfile f, used by BGPPeer p"));
    assert_eq!(delete(&stored[..1], &profile), Verdict::allow());
}

#[test]
fn everything_else_may_always_be_deleted_and_finalizers_may_always_go() {
    let stored = [pool("a", &["bad"])];
    assert_eq!(delete(&stored, &stored[0]), Verdict::allow());
    let mut leaving = pool("x", &["bad", "bad"]);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(create(&stored, &leaving), Verdict::allow());
}

#[test]
fn deprecated_fields_are_warned_of() {
    let selector = json!([{"matchLabels": {"a": "b"}}]);
    let cases = [
        (
            document("L2Advertisement", "x", json!({"nodeSelector": selector})),
            "L2Advertisement x: spec.nodeSelector is deprecated, use spec.nodeSelectors",
        ),
        (
            document("BGPAdvertisement", "x", json!({"nodeSelector": selector})),
            "BGPAdvertisement x: spec.nodeSelector is deprecated, use spec.nodeSelectors",
        ),
        (
            document("AddressPool", "x", json!({"protocol": "layer2", "addresses": ["10.0.0.0/24"]})),
            "AddressPool x: AddressPool is deprecated, use IPAddressPool with L2Advertisement or BGPAdvertisement",
        ),
        (
            peer("x", json!({"disableMP": true})),
            "disable mp is deprecated and has no effect since it's the default behavior now",
        ),
    ];
    for (new, text) in cases {
        let verdict = create(&[], &new);
        assert_eq!((verdict.denied, verdict.warnings), (None, vec![text.to_owned()]), "{new}");
    }
}

#[test]
fn the_backend_of_the_stored_metallb_resource_chooses_the_words() {
    let stored = [peer("p", json!({})), document("MetalLB", "metallb", json!({"bgpBackend": "frr"}))];
    let text = "peer 192.0.2.1 already exists, FRR mode doesn't support duplicate BGPPeers selecting the same node";
    assert!(denied(&create(&stored, &peer("x", json!({})))).starts_with(text));
}

#[test]
fn a_long_list_of_old_problems_is_cut() {
    let stored: Vec<Value> = (0..40).map(|index| pool(&format!("p{index}"), &["bad"])).collect();
    let verdict = create(&stored, &pool("x", &["10.0.0.0/24"]));
    assert_eq!(verdict.warnings.len(), 8);
    assert_eq!(verdict.warnings[7], "and 33 more problems in the stored configuration");
}

fn change() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(&["a", "b", "c"][..]);
    let entries = ["10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/28", "10.0.0.250-10.0.1.3", "fc00::/120", "bad"];
    let pools = (name.clone(), prop::collection::vec(prop::sample::select(entries.to_vec()), 0..3))
        .prop_map(|(name, entries)| pool(name, &entries));
    let bgp = (name.clone(), 20..34, 0..3).prop_map(|(name, length, preference)| {
        document("BGPAdvertisement", name, json!({"aggregationLength": length, "localPref": preference}))
    });
    let peers = (name.clone(), 0..3u32, 1..4u8, 2..6u8).prop_map(|(name, asn, host, hold)| {
        peer(name, json!({"myASN": asn, "peerAddress": format!("192.0.2.{host}"), "holdTime": format!("{hold}s"), "keepaliveTime": "3s"}))
    });
    let profiles = (name.clone(), 1..4u32)
        .prop_map(|(name, multiplier)| document("BFDProfile", name, json!({"detectMultiplier": multiplier})));
    let communities = (name, prop::sample::select(&["1:1", "1", "x:1"][..])).prop_map(|(name, value)| {
        document("Community", name, json!({"communities": [{"name": "alias", "value": value}]}))
    });
    prop_oneof![3 => pools, 2 => bgp, 2 => peers, 1 => profiles, 1 => communities]
}

proptest! {
    /// Whatever sequence of changes is tried: what was admitted is a configuration without errors.
    #[test]
    fn what_is_admitted_compiles_without_errors(changes in prop::collection::vec(change(), 0..12)) {
        let mut stored: Vec<Value> = Vec::new();
        for (second, mut new) in changes.into_iter().enumerate() {
            new["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:{second:02}Z"));
            let same = |old: &Value| old["kind"] == new["kind"] && old["metadata"]["name"] == new["metadata"]["name"];
            let place = stored.iter().position(same);
            let verdict = match place {
                Some(place) => {
                    new["metadata"]["creationTimestamp"] = stored[place]["metadata"]["creationTimestamp"].clone();
                    update(&stored, &new)
                }
                None => create(&stored, &new),
            };
            if verdict.is_allowed() {
                match place {
                    Some(place) => stored[place] = new,
                    None => stored.push(new),
                }
            }
            let compiled = config::compile(common::snapshot(&stored).resources());
            prop_assert_eq!(compiled.findings, vec![]);
        }
    }
}
