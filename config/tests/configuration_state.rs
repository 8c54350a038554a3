//! What ConfigurationState shows: MetalLB's texts, word for word, in MetalLB's order; and what one speaker sees.

mod common;

use common::{bgp, compiled, created, node, object, peer, pool, texts};
use config::{Backend, Class, SecretFacts, compile, configuration_errors};
use serde_json::{Value, json};

fn errors(documents: &[Value]) -> Vec<String> {
    configuration_errors(&compiled(documents).findings)
}

fn at(host: &str) -> Value {
    json!([{"matchLabels": {"host": host}}])
}

fn seen_from(name: &str, documents: &[Value]) -> config::Compiled {
    let mut resources = common::resources(documents);
    resources.viewpoint = Some(name.to_owned());
    compile(&resources)
}

fn nodes() -> [Value; 2] {
    ["n1", "n2"].map(|name| node(name, json!({"host": name})))
}

#[test]
fn the_first_error_is_the_one_that_metallb_shows() {
    let with_secrets = |name: &str, secrets: Vec<SecretFacts>| {
        let mut resources = common::resources(&[peer(name, json!({"passwordSecret": {"name": "bgp-password"}}))]);
        resources.secrets = Some(secrets);
        configuration_errors(&compile(&resources).findings)
    };
    let wrong = SecretFacts { name: "bgp-password".to_owned(), type_: "Opaque".to_owned(), has_password: true };
    assert_eq!(
        with_secrets("peer1", vec![wrong]),
        [
            "parsing peer peer1 secret type mismatch on \"metallb-system\"/\"bgp-password\", type \"kubernetes.io/basic-auth\" is expected \nfailed to parse peer peer1 password secret"
        ]
    );
    assert_eq!(
        with_secrets("bgp-secret-fail", Vec::new()),
        [
            "parsing peer bgp-secret-fail secret ref not found for peer config \"metallb-system\"/\"bgp-secret-fail\"\nfailed to parse peer bgp-secret-fail password secret"
        ]
    );
    assert_eq!(
        errors(&[peer("peer1", json!({"bfdProfile": "my-bfd-profile"}))]),
        ["peer peer1 referencing non existing bfd profile my-bfd-profile"]
    );
    assert_eq!(
        errors(&[pool("p", &["10.0.0.0/24"]), bgp("a", json!({"communities": ["my-valid-alias"]}))]),
        ["invalid community format: my-valid-alias\ninvalid community \"my-valid-alias\" in BGP advertisement"]
    );
}

#[test]
fn two_peers_with_one_address_are_an_error_where_frr_runs_them() {
    let documents = [
        created(peer("a", json!({"peerAddress": "10.200.200.2"})), 1),
        created(peer("b", json!({"peerAddress": "10.200.200.2"})), 2),
    ];
    let mut resources = common::resources(&documents);
    assert_eq!(configuration_errors(&compile(&resources).findings), Vec::<String>::new());
    resources.backend = Backend::FrrK8s;
    let compiled = compile(&resources);
    assert_eq!(
        configuration_errors(&compiled.findings),
        ["peer 10.200.200.2 already exists, FRR mode doesn't support duplicate BGPPeers selecting the same node"]
    );
    assert_eq!(compiled.config.peers.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn errors_come_in_the_order_of_metallb_whatever_the_age() {
    let documents = [
        bgp("adv", json!({"communities": ["alias"]})),
        pool("zpool", &["nonsense"]),
        pool("apool", &["10.0.0.0/33"]),
        created(peer("b-secret", json!({"routerID": "x"})), 1),
        created(peer("a-bfd", json!({"bfdProfile": "none", "peerAddress": "192.0.2.2"})), 9),
        object("BFDProfile", "f", json!({"echoInterval": 1})),
        object("BFDProfile", "e", json!({})),
    ];
    let errors = errors(&documents);
    let starts = [
        "parsing bfd profile #2: ",
        "peer a-bfd ",
        "parsing peer b-secret ",
        "parsing address pool apool: ",
        "parsing address pool zpool: ",
        "invalid community format: alias",
    ];
    assert_eq!(errors.len(), starts.len(), "{errors:#?}");
    for (error, start) in errors.iter().zip(starts) {
        assert!(error.starts_with(start), "{error} does not start with {start}");
    }
}

#[test]
fn policies_and_warnings_are_no_errors_of_the_configuration() {
    let documents = [
        peer("a", json!({"holdTime": "9s", "keepaliveTime": "9s", "disableMP": true})),
        bgp("adv", json!({"peers": ["nobody"]})),
    ];
    assert_eq!(errors(&documents), Vec::<String>::new());
    assert!(compiled(&documents).findings.len() > 2);
}

#[test]
fn a_broken_peer_concerns_only_the_nodes_it_selects() {
    let good = peer("good", json!({}));
    let broken = peer("broken", json!({"peerAddress": "1.1.1", "nodeSelectors": at("n1")}));
    let documents = [&nodes()[..], &[good, broken]].concat();
    assert_eq!(
        texts(&seen_from("n1", &documents), Class::Error),
        ["parsing peer broken invalid BGPPeer address \"1.1.1\""]
    );
    let other = seen_from("n2", &documents);
    assert_eq!((other.findings.len(), other.config.peers.len()), (0, 1));
}

#[test]
fn an_advertisement_that_does_not_select_the_node_is_as_good_as_absent() {
    let advertisement = |more: Value| {
        let mut spec = json!({"communities": ["alias"], "peers": ["p1"]});
        for (key, value) in more.as_object().expect("an object") {
            spec[key] = value.clone();
        }
        let p1 = peer("p1", json!({"nodeSelectors": at("n1")}));
        [&nodes()[..], &[pool("p", &["10.0.0.0/24"]), p1, bgp("adv", spec)]].concat()
    };
    for selectors in [json!({"nodeSelectors": at("n1")}), json!({"nodeSelector": at("n1")})] {
        let documents = advertisement(selectors);
        assert_eq!(texts(&seen_from("n1", &documents), Class::Error).len(), 1);
        assert_eq!(seen_from("n2", &documents).findings, []);
        assert_eq!(texts(&seen_from("unknown", &documents), Class::Error), Vec::<String>::new());
    }
    // One for every node counts everywhere, and a peer of another node is no unknown peer.
    let found = seen_from("n2", &advertisement(json!({})));
    assert_eq!((texts(&found, Class::Error).len(), texts(&found, Class::Warning)), (1, Vec::new()));
    // A selector that cannot be read is an error on every node.
    let bad = advertisement(json!({"nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "Near"}]}]}));
    assert_eq!(texts(&seen_from("n2", &bad), Class::Error).len(), 2);
}

#[test]
fn a_clash_of_peers_shows_on_the_nodes_that_both_select_only() {
    let documents = [&nodes()[..], &[peer("a", json!({"nodeSelectors": at("n1")})), peer("b", json!({}))]].concat();
    assert_eq!(texts(&seen_from("n1", &documents), Class::Policy).len(), 1);
    assert_eq!(seen_from("n2", &documents).findings, []);
}
