//! Events in, decisions out.

use api::v1beta1::{IPAddressPoolSpec, L2AdvertisementSpec};

use super::*;
use config::Backend;
use membership::Loss;

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
    assert_eq!(dirty, Dirty { services: BTreeSet::from([key("web")]), ..Dirty::default() });
    let dirty = feed(&mut state, vec![Input::Node(Event::Apply(node("node-b", false)))]);
    assert_eq!(dirty, Dirty { gone: BTreeSet::from(["node-b".to_owned()]), ..Dirty::default() });
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

/// What the speakers know of one another.
pub(crate) fn members(alive: &[&str], lost: &[(&str, Loss)]) -> Input {
    let name = |text: &str| NodeName::new(text).unwrap();
    Input::Members(Arc::new(membership::shell::View {
        alive: alive.iter().map(|text| name(text)).collect(),
        lost: lost.iter().map(|(text, why)| (name(text), *why)).collect(),
        pauses: 0,
    }))
}

const ALL: [&str; 3] = ["node-a", "node-b", "node-c"];

#[test]
fn members_that_are_heard_change_nothing_that_the_api_knows_already() {
    let mut state = complete();
    assert_eq!(feed(&mut state, vec![members(&["node-b"], &[])]), Dirty::default(), "nobody was heard yet");
    assert_eq!(feed(&mut state, vec![members(&ALL, &[])]), Dirty::default());
}

#[test]
fn a_dead_member_makes_only_its_own_elections_dirty() {
    let mut state = complete();
    feed(&mut state, vec![members(&ALL, &[])]);
    let dirty = feed(&mut state, vec![members(&["node-a", "node-b"], &[("node-c", Loss::Suspected)])]);
    assert_eq!(dirty, Dirty { gone: BTreeSet::from(["node-c".to_owned()]), ..Dirty::default() });
    let dirty = feed(&mut state, vec![members(&ALL, &[])]);
    assert!(dirty.all && dirty.healed);
}

#[test]
fn a_member_that_is_heard_is_up_before_the_api_knows_and_one_that_is_lost_is_down() {
    let mut state = complete();
    feed(&mut state, vec![members(&ALL, &[])]);
    feed(&mut state, vec![Input::Node(Event::Apply(node("node-b", false)))]);
    assert!(state.decide(&key("web")).is_ok(), "the API server lost sight of this node, the others did not");
    let mut state = complete();
    feed(&mut state, vec![members(&["node-a", "node-c"], &[("node-b", Loss::ProbeMissed)])]);
    assert_eq!(state.decide(&key("web")), Err(Reason::NotOwner(Owner::Node("node-a".to_owned()))));
}

#[test]
fn a_drained_node_does_not_announce_by_being_alive() {
    let mut state = complete();
    feed(&mut state, vec![members(&ALL, &[])]);
    let mut drained = node("node-b", true);
    drained.metadata.labels = Some(BTreeMap::from([(names::LABEL_EXCLUDE_BALANCERS.to_owned(), String::new())]));
    feed(&mut state, vec![Input::Node(Event::Apply(drained))]);
    assert_eq!(state.decide(&key("web")), Err(Reason::NotOwner(Owner::Node("node-a".to_owned()))));
}

#[test]
fn the_survivor_of_two_takes_over_although_it_hears_nobody() {
    let mut state = State::new(Settings { node: "node-a".to_owned(), ..settings() });
    feed(&mut state, start().concat());
    feed(&mut state, vec![Input::Node(Event::Delete(node("node-c", true))), members(&["node-a", "node-b"], &[])]);
    assert_eq!(state.decide(&key("web")), Err(Reason::NotOwner(Owner::Node("node-b".to_owned()))));
    feed(&mut state, vec![members(&["node-a"], &[("node-b", Loss::Suspected)])]);
    assert!(state.decide(&key("web")).is_ok());
}

#[test]
fn a_new_process_that_cannot_be_heard_is_believed_when_the_api_says_that_it_is_up() {
    let mut state = State::new(Settings { node: "node-a".to_owned(), ..settings() });
    feed(&mut state, start().concat());
    let lost = || members(&["node-a", "node-c"], &[("node-b", Loss::Left)]);
    feed(&mut state, vec![members(&ALL, &[])]);
    feed(&mut state, vec![lost()]);
    assert!(state.decide(&key("web")).is_ok());
    feed(&mut state, vec![Input::Node(Event::Apply(node("node-b", false)))]);
    assert!(state.decide(&key("web")).is_ok());
    feed(&mut state, vec![Input::Node(Event::Apply(node("node-b", true)))]);
    assert_eq!(state.decide(&key("web")), Err(Reason::NotOwner(Owner::Node("node-b".to_owned()))));
}

#[test]
fn the_speakers_hear_one_another_where_their_pods_are() {
    let bind: SocketAddr = "192.0.2.2:7946".parse().unwrap();
    let mut state = State::new(Settings { members: Members::SpeakerPods, ..settings() });
    assert_eq!(state.new_peers(bind), Some(BTreeMap::new()));
    let mut pod = slim::Pod::default();
    pod.metadata.name = Some("speaker-x".to_owned());
    pod.spec.node_name = Some("node-c".to_owned());
    pod.status.pod_ip = Some("192.0.2.3".to_owned());
    feed(&mut state, list(Input::Pod, vec![pod.clone()]));
    let peers = state.new_peers(bind).unwrap();
    assert_eq!(peers[&NodeName::new("node-c").unwrap()].to_string(), "192.0.2.3:7946");
    feed(&mut state, vec![Input::Pod(Event::Apply(pod))]);
    assert_eq!(state.new_peers(bind), None);
}
