//! Events in, decisions out.

use api::v1beta1::{IPAddressPoolSpec, L2AdvertisementSpec};

use super::*;
use config::Backend;

use crate::announce::Owner;

fn settings() -> Settings {
    Settings {
        node: "node-b".to_owned(),
        members: Members::EveryNode,
        class: None,
        ignore_exclusion: false,
        backend: Backend::Native,
    }
}

pub(crate) fn service(name: &str, ip: &str) -> slim::Service {
    let mut service = slim::Service::default();
    service.metadata.namespace = Some("default".to_owned());
    service.metadata.name = Some(name.to_owned());
    service.metadata.uid = Some(format!("uid-{name}"));
    service.spec.type_ = Some("LoadBalancer".to_owned());
    if !ip.is_empty() {
        let ingress = slim::LoadBalancerIngress { ip: Some(ip.to_owned()), ..Default::default() };
        service.status.load_balancer.ingress.push(ingress);
    }
    service
}

pub(crate) fn slice(service: &str, node: &str) -> slim::EndpointSlice {
    let mut slice = slim::EndpointSlice::default();
    slice.metadata.namespace = Some("default".to_owned());
    slice.metadata.name = Some(format!("{service}-{node}"));
    slice.metadata.labels = Some(BTreeMap::from([(names::LABEL_SERVICE_NAME.to_owned(), service.to_owned())]));
    slice.endpoints = vec![slim::Endpoint { node_name: Some(node.to_owned()), ..slim::Endpoint::default() }];
    slice
}

pub(crate) fn node(name: &str, ready: bool) -> slim::Node {
    let mut node = slim::Node::default();
    node.metadata.name = Some(name.to_owned());
    let status = if ready { "True" } else { "Unknown" };
    node.status.conditions = vec![slim::NodeCondition { type_: "Ready".to_owned(), status: status.to_owned() }];
    node
}

fn pool(name: &str, range: &str) -> IPAddressPool {
    IPAddressPool::new(name, IPAddressPoolSpec { addresses: vec![range.to_owned()], ..Default::default() })
}

pub(crate) fn advertisement(spec: L2AdvertisementSpec) -> Result<L2Advertisement, Broken> {
    Ok(L2Advertisement::new("ad", spec))
}

fn list<K>(input: fn(Event<K>) -> Input, objects: Vec<K>) -> Vec<Input> {
    let mut inputs = vec![input(Event::Init)];
    inputs.extend(objects.into_iter().map(|object| input(Event::InitApply(object))));
    inputs.push(input(Event::InitDone));
    inputs
}

pub(crate) fn feed(state: &mut State, inputs: Vec<Input>) -> Dirty {
    inputs.into_iter().for_each(|input| state.apply(input));
    state.settle()
}

/// The inputs of a complete start: three nodes, one pool announced everywhere, Service `web` with 10.0.0.1 (owner node-b).
fn start() -> Vec<Vec<Input>> {
    vec![
        list(Input::Service, vec![service("web", "10.0.0.1")]),
        list(Input::EndpointSlice, vec![slice("web", "node-a")]),
        list(Input::Node, vec![node("node-a", true), node("node-b", true), node("node-c", true)]),
        list(Input::Namespace, vec![]),
        list(Input::Pool, vec![Ok(pool("first", "10.0.0.0/24"))]),
        list(Input::AddressPool, vec![]),
        list(Input::L2Advertisement, vec![advertisement(L2AdvertisementSpec::default())]),
        vec![Input::Interfaces(BTreeSet::from(["eth0".to_owned()]))],
    ]
}

pub(crate) fn complete() -> State {
    let mut state = State::new(settings());
    assert!(feed(&mut state, start().concat()).all);
    state
}

pub(crate) fn key(name: &str) -> ServiceKey {
    ServiceKey { namespace: "default".to_owned(), name: name.to_owned() }
}

#[test]
fn nothing_is_decided_before_the_last_list_is_complete_whichever_it_is() {
    for last in 0..start().len() {
        let mut inputs = start();
        let late = inputs.remove(last);
        let mut state = State::new(settings());
        assert_eq!(feed(&mut state, inputs.concat()), Dirty::default(), "list {last} is missing");
        assert!(!state.is_complete() && state.missing().is_some());
        assert!(feed(&mut state, late).all, "list {last} came");
        assert!(state.decide(&key("web")).is_ok());
    }
}

#[test]
fn speaker_pods_are_waited_for_only_where_they_count() {
    let mut state = State::new(Settings { members: Members::SpeakerPods, ..settings() });
    feed(&mut state, start().concat());
    assert_eq!(state.missing(), Some("speaker pods"));
    let mut pod = slim::Pod::default();
    pod.metadata.name = Some("speaker-x".to_owned());
    pod.spec.node_name = Some("node-c".to_owned());
    pod.status.conditions = vec![slim::PodCondition { type_: "Ready".to_owned(), status: "True".to_owned() }];
    assert!(feed(&mut state, list(Input::Pod, vec![pod])).all);
    assert_eq!(state.decide(&key("web")), Err(Reason::NotOwner(Owner::Node("node-c".to_owned()))));
}

#[test]
fn only_what_matters_makes_services_dirty() {
    let mut state = complete();
    assert_eq!(feed(&mut state, vec![Input::Node(Event::Apply(node("node-a", true)))]), Dirty::default());
    let mut counted = pool("first", "10.0.0.0/24");
    counted.metadata.resource_version = Some("2".to_owned());
    counted.status = Some(Default::default());
    assert_eq!(feed(&mut state, vec![Input::Pool(Event::Apply(Ok(counted)))]), Dirty::default());
    let dirty = feed(&mut state, vec![Input::EndpointSlice(Event::Apply(slice("web", "node-c")))]);
    assert_eq!(dirty, Dirty { all: false, services: BTreeSet::from([key("web")]) });
    assert!(feed(&mut state, vec![Input::Node(Event::Apply(node("node-b", false)))]).all);
    assert_eq!(state.decide(&key("web")), Err(Reason::NotOwner(Owner::Node("node-a".to_owned()))));
}

#[test]
fn a_new_list_under_way_withdraws_nothing() {
    let mut state = complete();
    let mut relist: Vec<Input> = vec![
        Input::Service(Event::Init),
        Input::EndpointSlice(Event::Init),
        Input::Node(Event::Init),
        Input::Pool(Event::Init),
        Input::L2Advertisement(Event::Init),
    ];
    assert_eq!(feed(&mut state, std::mem::take(&mut relist)), Dirty::default());
    assert!(state.is_complete() && state.decide(&key("web")).is_ok());
}

#[test]
fn services_that_are_not_ours_are_left_alone() {
    type Change = fn(&mut slim::Service);
    let cases: [(&str, Change, Reason); 5] = [
        ("other type", |s| s.spec.type_ = Some("ClusterIP".to_owned()), Reason::NotLoadBalancer),
        ("other class", |s| s.spec.load_balancer_class = Some("foo".to_owned()), Reason::ServiceDeleted),
        ("no address", |s| s.status.load_balancer.ingress.clear(), Reason::NoIpAllocated),
        ("host name", |s| s.status.load_balancer.ingress[0].ip = None, Reason::InvalidIp),
        (
            "address of no pool",
            |s| s.status.load_balancer.ingress[0].ip = Some("192.0.2.1".to_owned()),
            Reason::IpNotAllowed,
        ),
    ];
    for (name, change, reason) in cases {
        let mut state = complete();
        let mut changed = service("web", "10.0.0.1");
        change(&mut changed);
        feed(&mut state, vec![Input::Service(Event::Apply(changed))]);
        assert_eq!(state.decide(&key("web")), Err(reason), "{name}");
    }
    assert_eq!(complete().decide(&key("unknown")), Err(Reason::ServiceDeleted));
}

#[test]
fn a_load_balancer_class_must_match_exactly_in_both_directions() {
    let mut state = State::new(Settings { class: Some("metallb".to_owned()), ..settings() });
    feed(&mut state, start().concat());
    assert_eq!(state.decide(&key("web")), Err(Reason::ServiceDeleted));
    let mut classed = service("web", "10.0.0.1");
    classed.spec.load_balancer_class = Some("metallb".to_owned());
    feed(&mut state, vec![Input::Service(Event::Apply(classed))]);
    assert!(state.decide(&key("web")).is_ok());
}

#[test]
fn a_malformed_custom_resource_is_reported_and_the_rest_works() {
    let mut state = complete();
    let broken = Broken {
        kind: "IPAddressPool".to_owned(),
        namespace: "metallb-system".to_owned(),
        name: "second".to_owned(),
        error: "missing field `addresses`".to_owned(),
    };
    feed(&mut state, vec![Input::Pool(Event::Apply(Err(broken)))]);
    assert_eq!(
        state.problems().iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "IPAddressPool metallb-system/second cannot be read and is ignored: missing field `addresses`; correct the object \
          or delete it"
        ]
    );
    assert!(state.decide(&key("web")).is_ok());
    let invalid = Input::Pool(Event::Apply(Ok(pool("second", "10.1.0.0/99"))));
    feed(&mut state, vec![invalid]);
    assert_eq!(state.problems().len(), 1);
    assert!(
        state.problems().iter().all(|problem| problem.to_string().starts_with("IPAddressPool second: ")),
        "{:?}",
        state.problems()
    );
    feed(&mut state, vec![Input::Pool(Event::Apply(Ok(pool("second", "10.1.0.0/24"))))]);
    assert!(state.problems().is_empty());
}

#[test]
fn labelling_a_node_later_changes_who_may_announce() {
    let selector = |label: &str| k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
        match_labels: Some(BTreeMap::from([(label.to_owned(), String::new())])),
        ..Default::default()
    };
    let mut state = complete();
    let spec = L2AdvertisementSpec { node_selectors: vec![selector("edge")], ..Default::default() };
    feed(&mut state, vec![Input::L2Advertisement(Event::Apply(advertisement(spec)))]);
    assert_eq!(state.decide(&key("web")), Err(Reason::NoMatchingAdvertisement));
    let mut labelled = node("node-b", true);
    labelled.metadata.labels = Some(BTreeMap::from([("edge".to_owned(), String::new())]));
    assert!(feed(&mut state, vec![Input::Node(Event::Apply(labelled))]).all);
    assert!(state.decide(&key("web")).is_ok());
}

/// A peer with these further fields, in YAML's flow style.
fn peer(name: &str, fields: &str) -> Result<BGPPeer, Broken> {
    let text = format!(
        "{{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {{name: {name}, namespace: metallb-system}}, \
         spec: {{myASN: 64512, peerASN: 64512, peerAddress: 192.0.2.1, {fields}}}}}"
    );
    Ok(serde_saphyr::from_str(&text).unwrap())
}

fn secret(name: &str, type_: &str) -> SecretFacts {
    SecretFacts { name: name.to_owned(), type_: type_.to_owned(), has_password: true }
}

/// A state that judges, with these peers and Secrets.
fn judging(peers: Vec<Result<BGPPeer, Broken>>, secrets: Vec<SecretFacts>) -> State {
    let mut state = complete();
    let lists = [
        list(Input::Peer, peers),
        list(Input::Secret, secrets),
        list(Input::BgpAdvertisement, vec![]),
        list(Input::BfdProfile, vec![]),
        list(Input::Community, vec![]),
    ];
    assert!(!state.is_judged());
    feed(&mut state, lists.into_iter().flatten().collect());
    assert!(state.is_judged());
    state
}

#[test]
fn s0_26_a_peer_with_an_unknown_bfd_profile_is_named_in_metallbs_words() {
    let peers = vec![peer("peer1", "bfdProfile: my-bfd-profile")];
    let state = judging(peers, vec![]);
    assert_eq!(state.errors(), ["peer peer1 referencing non existing bfd profile my-bfd-profile"]);
}

#[test]
fn s0_27_creating_the_profile_that_a_peer_names_mends_the_configuration() {
    let peers = vec![peer("peer1", "bfdProfile: my-bfd-profile")];
    let mut state = judging(peers, vec![]);
    let profile = BFDProfile::new("my-bfd-profile", Default::default());
    feed(&mut state, vec![Input::BfdProfile(Event::Apply(Ok(profile)))]);
    assert!(state.errors().is_empty(), "{:?}", state.errors());
}

#[test]
fn a_secret_of_the_wrong_type_and_a_missing_one_are_named_in_metallbs_words() {
    let with_secret =
        |name: &str| vec![peer(name, &format!("passwordSecret: {{name: {name}, namespace: metallb-system}}"))];
    let state = judging(with_secret("peer1"), vec![secret("peer1", "Opaque")]);
    assert_eq!(
        state.errors(),
        [
            "parsing peer peer1 secret type mismatch on \"metallb-system\"/\"peer1\", type \"kubernetes.io/basic-auth\" is \
          expected \nfailed to parse peer peer1 password secret"
        ]
    );
    let mut state = judging(with_secret("bgp-secret-fail"), vec![]);
    assert_eq!(
        state.errors(),
        [
            "parsing peer bgp-secret-fail secret ref not found for peer config \"metallb-system\"/\"bgp-secret-fail\"\nfailed \
          to parse peer bgp-secret-fail password secret"
        ]
    );
    let right = secret("bgp-secret-fail", "kubernetes.io/basic-auth");
    feed(&mut state, vec![Input::Secret(Event::Apply(right))]);
    assert!(state.errors().is_empty(), "{:?}", state.errors());
}

#[test]
fn a_broken_peer_is_an_error_only_on_the_nodes_it_selects() {
    let on = |host: &str| {
        let selectors = format!("[{{matchLabels: {{kubernetes.io/hostname: {host}}}}}]");
        vec![peer("peer1", &format!("bfdProfile: none, nodeSelectors: {selectors}"))]
    };
    let mut state = judging(on("node-b"), vec![]);
    assert!(state.errors().is_empty(), "the node has no such label yet");
    let mut labelled = node("node-b", true);
    labelled.metadata.labels = Some(BTreeMap::from([("kubernetes.io/hostname".to_owned(), "node-b".to_owned())]));
    feed(&mut state, vec![Input::Node(Event::Apply(labelled))]);
    assert_eq!(state.errors().len(), 1);
}

#[test]
fn layer_2_does_not_wait_for_the_kinds_of_bgp() {
    let state = complete();
    assert!(state.is_complete() && !state.is_judged());
}
