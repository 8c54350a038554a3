//! What is worth telling and never refused.

mod common;

use common::{compiled, node, object, peer, texts};
use config::Class;
use serde_json::{Value, json};

#[test]
fn peers_of_one_address_that_could_meet_are_warned_of_before_they_do() {
    let both = |a: Value, b: Value| {
        let nodes = ["n1", "n2"].map(|name| node(name, json!({"host": name, "rack": format!("r-{name}")})));
        let peers = [peer("a", json!({"nodeSelectors": a})), peer("b", json!({"nodeSelectors": b}))];
        let found = compiled(&[&nodes[..], &peers[..]].concat());
        assert_eq!(texts(&found, Class::Error), Vec::<String>::new());
        (texts(&found, Class::Policy).len(), texts(&found, Class::Warning))
    };
    let labels = |key: &str, value: &str| json!([{"matchLabels": {key: value}}]);
    let exists = |key: &str, operator: &str| json!([{"matchExpressions": [{"key": key, "operator": operator}]}]);
    let text = "BGPPeer b and BGPPeer a have the same peerAddress: no node is selected by both now, but their nodeSelectors allow one";
    // Other labels, so one node can have both.
    assert_eq!(both(labels("host", "n1"), labels("rack", "r-n2")), (0, vec![text.to_owned()]));
    assert_eq!(both(labels("spare", "yes"), labels("host", "n1")), (0, vec![text.to_owned()]));
    // Can never meet.
    assert_eq!(both(labels("host", "n1"), labels("host", "n2")), (0, vec![]));
    assert_eq!(both(exists("spare", "Exists"), exists("spare", "DoesNotExist")), (0, vec![]));
    // Meet now: that is refused, not warned of.
    assert_eq!(both(labels("host", "n1"), labels("rack", "r-n1")), (1, vec![]));
}

#[test]
fn deprecated_fields_and_kinds_are_warned_of_once() {
    let old = object("AddressPool", "old", json!({"protocol": "layer2", "addresses": ["10.0.0.0/24"]}));
    let remedy = "AddressPool is deprecated, use IPAddressPool with L2Advertisement or BGPAdvertisement";
    assert_eq!(texts(&compiled(&[old]), Class::Warning), [format!("AddressPool old: {remedy}")]);
    let found = compiled(&[peer("a", json!({"disableMP": true}))]);
    assert_eq!(
        texts(&found, Class::Warning),
        ["disable mp is deprecated and has no effect since it's the default behavior now"]
    );
}
