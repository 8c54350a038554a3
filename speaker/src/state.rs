//! What can come in: the cluster and the node's interfaces as far as announcements depend on them. Pure.
//!
//! ```text
//! Input (watch event | interfaces | members) --apply--> State --settle--> Dirty { all | these Services | nodes that went }
//! ```
//! Nothing is decided before every list is complete once ([`State::is_complete`]): half a picture would make two owners. From
//! then on only observed changes count; silence of the API changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::v1beta1::{AddressPool, BFDProfile, BGPAdvertisement, Community, IPAddressPool, L2Advertisement};
use api::v1beta2::BGPPeer;
use api::{names, slim};
use config::model::Config;
use config::{Backend, Kind, NamespaceLabels, NodeLabels, ObjectId, Resources, SecretFacts};
use kube::ResourceExt;
use membership::NodeName;
use runtime::index::{Changes, Index, map_event};
use runtime::watch::{Broken, Event};

use crate::announce::endpoints::Serving;
use crate::announce::l2::{self, Subject, View, teller};
use crate::announce::silence::Silence;
use crate::announce::{Announcement, Leaders, Reason};
use crate::electorate::{Change, Electorate};
use crate::members::{self, Candidates, Members, NodeFacts, PodFacts};
use crate::problem::Problem;
use crate::sharing::Sharing;
use crate::slices::Slices;

/// Interfaces of a node that were not seen yet.
static NOTHING: BTreeSet<String> = BTreeSet::new();

/// Names a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Services of type LoadBalancer.
    Service(Event<slim::Service>),
    /// EndpointSlices.
    EndpointSlice(Event<slim::EndpointSlice>),
    /// Nodes.
    Node(Event<slim::Node>),
    /// Speaker pods.
    Pod(Event<slim::Pod>),
    /// Namespaces.
    Namespace(Event<slim::Namespace>),
    /// IPAddressPools.
    Pool(Event<Result<IPAddressPool, Broken>>),
    /// AddressPools.
    AddressPool(Event<Result<AddressPool, Broken>>),
    /// L2Advertisements.
    L2Advertisement(Event<Result<L2Advertisement, Broken>>),
    /// BGPAdvertisements.
    BgpAdvertisement(Event<Result<BGPAdvertisement, Broken>>),
    /// BGPPeers.
    Peer(Event<Result<BGPPeer, Broken>>),
    /// BFDProfiles.
    BfdProfile(Event<Result<BFDProfile, Broken>>),
    /// Communities.
    Community(Event<Result<Community, Broken>>),
    /// Secrets of our namespace, as far as peers depend on them.
    Secret(Event<SecretFacts>),
    /// Names of this node's interfaces, excluded ones left out.
    Interfaces(BTreeSet<String>),
    /// Who lives, as the speakers know it from one another.
    Members(Arc<membership::shell::View>),
}

/// What does not change while the speaker runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node.
    pub node: String,
    /// How liveness of the other speakers is found out.
    pub members: Members,
    /// The load balancer class we serve; `None` for Services without a class.
    pub class: Option<String>,
    /// Announce from nodes that are excluded from load balancing, too.
    pub ignore_exclusion: bool,
    /// Which BGP implementation runs; some rules of the configuration differ.
    pub backend: Backend,
}

/// Which Services need a new decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// All of them.
    pub all: bool,
    /// These.
    pub services: BTreeSet<ServiceKey>,
    /// Those in whose election one of these nodes was among the first two: it is no longer up, and nothing else has changed.
    pub gone: BTreeSet<String>,
    /// Somebody who was silent is heard again.
    pub healed: bool,
    /// Addresses that no Service had before. What there was when this process started is not new.
    pub new: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ServiceFacts {
    uid: String,
    /// Of a load balancer class that we serve.
    ours: bool,
    load_balancer: bool,
    local: bool,
    shares_address: bool,
    labels: BTreeMap<String, String>,
    /// `Err` when an entry of the status is no address.
    addresses: Result<Vec<IpAddr>, ()>,
}

/// The cluster as this speaker sees it.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    services: Index<ServiceKey, ServiceFacts>,
    sharing: Sharing,
    slices: Slices,
    nodes: Index<String, NodeFacts>,
    pods: Index<(String, String), PodFacts>,
    namespaces: Index<String, BTreeMap<String, String>>,
    pools: Index<String, Result<Arc<IPAddressPool>, Broken>>,
    address_pools: Index<String, Result<Arc<AddressPool>, Broken>>,
    l2_advertisements: Index<String, Result<Arc<L2Advertisement>, Broken>>,
    bgp_advertisements: Index<String, Result<Arc<BGPAdvertisement>, Broken>>,
    peers: Index<String, Result<Arc<BGPPeer>, Broken>>,
    bfd_profiles: Index<String, Result<Arc<BFDProfile>, Broken>>,
    communities: Index<String, Result<Arc<Community>, Broken>>,
    secrets: Index<String, SecretFacts>,
    interfaces: Option<BTreeSet<String>>,
    config: Config,
    problems: BTreeSet<Problem>,
    errors: Vec<String>,
    electorate: Electorate,
    dirty: Dirty,
    config_is_old: bool,
    candidates_are_old: bool,
    peers_are_new: bool,
    was_complete: bool,
}

impl State {
    /// Nothing is known yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            services: Index::new(),
            sharing: Sharing::default(),
            slices: Slices::default(),
            nodes: Index::new(),
            pods: Index::new(),
            namespaces: Index::new(),
            pools: Index::new(),
            address_pools: Index::new(),
            l2_advertisements: Index::new(),
            bgp_advertisements: Index::new(),
            peers: Index::new(),
            bfd_profiles: Index::new(),
            communities: Index::new(),
            secrets: Index::new(),
            interfaces: None,
            config: Config::default(),
            problems: BTreeSet::new(),
            errors: Vec::new(),
            electorate: Electorate::default(),
            dirty: Dirty::default(),
            config_is_old: true,
            candidates_are_old: true,
            peers_are_new: true,
            was_complete: false,
        }
    }

    /// Takes in what happened. Call [`State::settle`] after a batch.
    pub fn apply(&mut self, input: Input) {
        match input {
            Input::Service(event) => {
                let class = self.settings.class.clone();
                let event = map_event(event, |service| service_facts(service, class.as_deref()));
                let changes = self.services.apply(event);
                self.touch(changes);
            }
            Input::EndpointSlice(event) => {
                for service in self.slices.apply(event) {
                    self.dirty.services.extend(self.sharing.group(&service));
                }
            }
            Input::Node(event) => {
                let event = map_event(event, |node| (node.name_any(), NodeFacts::from(node)));
                let changed = !self.nodes.apply(event).is_empty();
                self.config_is_old |= changed;
                self.candidates_are_old |= changed;
            }
            Input::Pod(event) => {
                let event = map_event(event, |pod| (object_key(&pod), PodFacts::from(pod)));
                let changed = !self.pods.apply(event).is_empty();
                self.candidates_are_old |= changed;
                self.peers_are_new |= changed;
            }
            Input::Namespace(event) => {
                let event =
                    map_event(event, |namespace| (namespace.name_any(), namespace.metadata.labels.unwrap_or_default()));
                self.config_is_old |= !self.namespaces.apply(event).is_empty();
            }
            Input::Pool(event) => self.config_is_old |= take(&mut self.pools, event, |pool| pool.status = None),
            Input::AddressPool(event) => self.config_is_old |= take(&mut self.address_pools, event, |_| ()),
            Input::L2Advertisement(event) => {
                self.config_is_old |= take(&mut self.l2_advertisements, event, |ad| ad.status = None);
            }
            Input::BgpAdvertisement(event) => {
                self.config_is_old |= take(&mut self.bgp_advertisements, event, |ad| ad.status = None);
            }
            Input::Peer(event) => self.config_is_old |= take(&mut self.peers, event, |peer| peer.status = None),
            Input::BfdProfile(event) => {
                self.config_is_old |= take(&mut self.bfd_profiles, event, |profile| profile.status = None);
            }
            Input::Community(event) => {
                self.config_is_old |= take(&mut self.communities, event, |community| community.status = None);
            }
            Input::Secret(event) => {
                let event = map_event(event, |secret| (secret.name.clone(), secret));
                self.config_is_old |= !self.secrets.apply(event).is_empty();
            }
            Input::Interfaces(names) => {
                self.dirty.all |= self.interfaces.as_ref() != Some(&names);
                self.interfaces = Some(names);
            }
            Input::Members(view) => self.dirty.healed |= self.electorate.hear(view),
        }
    }

    fn touch(&mut self, changes: Changes<ServiceKey>) {
        for service in changes.upserted.into_iter().chain(changes.removed) {
            let addresses = self.addresses(&service).to_vec();
            if self.was_complete {
                self.dirty.new.extend(addresses.iter().filter(|ip| !self.sharing.holds(**ip)));
            }
            self.dirty.services.extend(self.sharing.set(&service, &addresses));
            self.dirty.services.insert(service);
        }
    }

    /// Whether every list was complete at least once; before that nothing is decided.
    pub fn is_complete(&self) -> bool {
        self.missing().is_none()
    }

    /// Whether everything that a verdict on the configuration depends on was seen. Layer 2 does not wait for the kinds of BGP.
    pub fn is_judged(&self) -> bool {
        self.is_complete()
            && self.bgp_advertisements.is_synced()
            && self.peers.is_synced()
            && self.bfd_profiles.is_synced()
            && self.communities.is_synced()
            && self.secrets.is_synced()
    }

    /// What is still waited for.
    pub fn missing(&self) -> Option<&'static str> {
        let wants_pods = self.settings.members == Members::SpeakerPods;
        [
            ("Services", self.services.is_synced()),
            ("EndpointSlices", self.slices.is_synced()),
            ("Nodes", self.nodes.is_synced()),
            ("speaker pods", self.pods.is_synced() || !wants_pods),
            ("Namespaces", self.namespaces.is_synced()),
            ("IPAddressPools", self.pools.is_synced()),
            ("AddressPools", self.address_pools.is_synced()),
            ("L2Advertisements", self.l2_advertisements.is_synced()),
            ("the node's interfaces", self.interfaces.is_some()),
        ]
        .into_iter()
        .find_map(|(what, there)| (!there).then_some(what))
    }

    /// Brings configuration and candidates up to date; returns the Services that need a new decision since the last call.
    pub fn settle(&mut self) -> Dirty {
        if !self.is_complete() {
            return Dirty::default();
        }
        if std::mem::take(&mut self.config_is_old) {
            self.compile();
        }
        let said = std::mem::take(&mut self.candidates_are_old).then(|| {
            let (nodes, pods) = (self.nodes.iter(), self.pods.values());
            self.settings.members.candidates(nodes, pods, self.settings.ignore_exclusion)
        });
        match self.electorate.settle(said) {
            Change::Gone(nodes) => self.dirty.gone.extend(nodes),
            Change::Other => self.dirty.all = true,
        }
        self.dirty.all |= !std::mem::replace(&mut self.was_complete, true);
        std::mem::take(&mut self.dirty)
    }

    fn compile(&mut self) {
        let resources = Resources {
            backend: self.settings.backend,
            viewpoint: Some(self.settings.node.clone()),
            pools: valid(&self.pools),
            address_pools: valid(&self.address_pools),
            l2_advertisements: valid(&self.l2_advertisements),
            bgp_advertisements: valid(&self.bgp_advertisements),
            peers: valid(&self.peers),
            bfd_profiles: valid(&self.bfd_profiles),
            communities: valid(&self.communities),
            secrets: self.secrets.is_synced().then(|| self.secrets.values().cloned().collect()),
            nodes: self
                .nodes
                .iter()
                .map(|(name, node)| NodeLabels { name: name.clone(), labels: node.labels.clone() })
                .collect(),
            namespaces: self
                .namespaces
                .iter()
                .map(|(name, labels)| NamespaceLabels { name: name.clone(), labels: labels.clone() })
                .collect(),
            ..Resources::default()
        };
        let compiled = config::compile(&resources);
        let unreadable: Vec<&Broken> = broken(&self.pools)
            .chain(broken(&self.address_pools))
            .chain(broken(&self.l2_advertisements))
            .chain(broken(&self.bgp_advertisements))
            .chain(broken(&self.peers))
            .chain(broken(&self.bfd_profiles))
            .chain(broken(&self.communities))
            .collect();
        // The remedy that a finding may add stands in log and event; this text is compared with MetalLB's.
        self.errors = config::configuration_errors(&compiled.findings);
        self.errors.extend(unreadable.iter().map(ToString::to_string));
        let errors = compiled.errors().map(|finding| Problem::of_finding(finding, self.uid_of(&finding.object)));
        self.problems = errors.chain(unreadable.into_iter().map(Problem::of_broken)).collect();
        self.dirty.all |= compiled.config != self.config;
        self.config = compiled.config;
    }

    /// The uid of a stored object; empty when it is unknown.
    fn uid_of(&self, object: &ObjectId) -> String {
        let name = &object.name;
        let uid = match object.kind {
            Kind::IPAddressPool => uid(&self.pools, name),
            Kind::AddressPool => uid(&self.address_pools, name),
            Kind::L2Advertisement => uid(&self.l2_advertisements, name),
            Kind::BGPAdvertisement => uid(&self.bgp_advertisements, name),
            Kind::BGPPeer => uid(&self.peers, name),
            Kind::BFDProfile => uid(&self.bfd_profiles, name),
            Kind::Community => uid(&self.communities, name),
            Kind::MetalLB | Kind::FRRConfiguration => None,
        };
        uid.unwrap_or_default()
    }

    /// Objects that are not in force.
    pub fn problems(&self) -> &BTreeSet<Problem> {
        &self.problems
    }

    /// The errors of the configuration as far as it concerns this node, the one that MetalLB names first before the others.
    pub fn errors(&self) -> &[String] {
        &self.errors
    }

    /// Who stands for election.
    pub fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    /// Where the speakers hear one another, see [`members::peers`], if that may have changed since the last call.
    pub fn new_peers(&mut self, bind: SocketAddr) -> Option<BTreeMap<NodeName, SocketAddr>> {
        std::mem::take(&mut self.peers_are_new).then(|| members::peers(self.pods.values(), bind))
    }

    /// Whether this node can still pass on what arrives for the Service: with traffic policy Local it needs an endpoint.
    pub fn can_serve(&self, key: &ServiceKey) -> bool {
        self.services
            .get(key)
            .is_some_and(|service| !service.local || self.slices.serving(key).nodes.contains(&self.settings.node))
    }

    /// The nodes that may announce.
    pub fn candidates(&self) -> &Candidates {
        self.electorate.candidates()
    }

    /// This node.
    pub fn node(&self) -> &str {
        &self.settings.node
    }

    /// Names of this node's interfaces, as far as they are known.
    pub fn interfaces(&self) -> &BTreeSet<String> {
        self.interfaces.as_ref().unwrap_or(&NOTHING)
    }

    /// All Services there are.
    pub fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.iter().map(|(key, _)| key)
    }

    /// The addresses of a Service of ours, in the order of its status.
    pub fn addresses(&self, key: &ServiceKey) -> &[IpAddr] {
        let facts = self.services.get(key).filter(|facts| facts.ours && facts.load_balancer);
        facts.and_then(|facts| facts.addresses.as_deref().ok()).unwrap_or_default()
    }

    /// The uid of a Service, for events about it.
    pub fn uid(&self, key: &ServiceKey) -> Option<&str> {
        self.services.get(key).map(|service| service.uid.as_str())
    }

    /// Whether this node announces the Service, and how.
    ///
    /// # Errors
    /// The reason why not.
    pub fn decide(&self, key: &ServiceKey) -> Result<Announcement, Reason> {
        self.judge(key).0
    }

    /// [`State::decide`], and who leads in the election.
    pub fn judge(&self, key: &ServiceKey) -> (Result<Announcement, Reason>, Leaders<'_>) {
        let refused = |reason| (Err(reason), Leaders::default());
        let Some(service) = self.services.get(key).filter(|service| service.ours) else {
            return refused(Reason::ServiceDeleted);
        };
        if !service.load_balancer {
            return refused(Reason::NotLoadBalancer);
        }
        let Ok(addresses) = &service.addresses else { return refused(Reason::InvalidIp) };
        let group = self.group(key);
        l2::judge(&self.view(), &Self::subject(addresses, service, &self.slices.serving(key)), &subjects(&group))
    }

    /// Why no node announces the Service, as far as it is ours and has an address.
    pub fn silence(&self, key: &ServiceKey) -> Option<Silence> {
        let service = self.services.get(key).filter(|service| service.ours && service.load_balancer)?;
        let Ok(addresses) = &service.addresses else { return Some(Silence::InvalidIp) };
        let group = self.group(key);
        l2::silence(&self.view(), &Self::subject(addresses, service, &self.slices.serving(key)), &subjects(&group))
    }

    /// Whether this node is the one that tells why nobody announces the Service. With no speaker known to be alive everybody
    /// is: better told twice than not at all.
    pub fn is_teller(&self, key: &ServiceKey) -> bool {
        teller(self.candidates().speakers(), key).is_none_or(|teller| teller == self.settings.node)
    }

    fn view(&self) -> View<'_> {
        View {
            node: &self.settings.node,
            config: &self.config,
            candidates: self.electorate.candidates(),
            interfaces: self.interfaces(),
        }
    }

    /// The Services that share addresses with this one, itself included, each with where it can be served.
    fn group(&self, key: &ServiceKey) -> Vec<(&ServiceFacts, Serving)> {
        let keys = self.sharing.group(key);
        keys.iter().filter_map(|key| Some((self.services.get(key)?, self.slices.serving(key)))).collect()
    }

    fn subject<'a>(addresses: &'a [IpAddr], service: &'a ServiceFacts, serving: &'a Serving) -> Subject<'a> {
        Subject {
            addresses,
            labels: &service.labels,
            shares_address: service.shares_address,
            local: service.local,
            serving,
        }
    }
}

fn subjects<'a>(group: &'a [(&ServiceFacts, Serving)]) -> Vec<Subject<'a>> {
    let subject = |(service, serving): &'a (&ServiceFacts, Serving)| {
        let addresses = service.addresses.as_deref().unwrap_or_default();
        State::subject(addresses, service, serving)
    };
    group.iter().map(subject).collect()
}

fn object_key(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn service_facts(service: slim::Service, class: Option<&str>) -> (ServiceKey, ServiceFacts) {
    let (namespace, name) = object_key(&service);
    let annotated = |key: &str| service.annotations().contains_key(key);
    let shares_address =
        annotated(names::ANNOTATION_ALLOW_SHARED_IP) || annotated(names::ANNOTATION_ALLOW_SHARED_IP_DEPRECATED);
    let ingress = &service.status.load_balancer.ingress;
    let facts = ServiceFacts {
        uid: service.uid().unwrap_or_default(),
        ours: service.spec.load_balancer_class.as_deref() == class,
        load_balancer: service.spec.type_.as_deref() == Some("LoadBalancer"),
        local: service.spec.external_traffic_policy.as_deref() == Some("Local"),
        shares_address,
        addresses: ingress.iter().map(|entry| entry.ip.as_deref().unwrap_or_default().parse().map_err(drop)).collect(),
        labels: service.metadata.labels.unwrap_or_default(),
    };
    (ServiceKey { namespace, name }, facts)
}

/// Takes in an event of a custom resource; returns whether anything changed that configuration depends on.
fn take<K: ResourceExt + Clone + PartialEq>(
    index: &mut Index<String, Result<Arc<K>, Broken>>,
    event: Event<Result<K, Broken>>,
    drop_status: impl Fn(&mut K),
) -> bool {
    let event = map_event(event, |object| match object {
        Ok(mut object) => {
            drop_status(&mut object);
            // What every write changes must not look like a change of the configuration.
            let meta = object.meta_mut();
            (meta.managed_fields, meta.resource_version, meta.generation) = (None, None, None);
            (object.name_any(), Ok(Arc::new(object)))
        }
        Err(broken) => (broken.name.clone(), Err(broken)),
    });
    !index.apply(event).is_empty()
}

fn valid<K: Clone + PartialEq>(index: &Index<String, Result<Arc<K>, Broken>>) -> Vec<Arc<K>> {
    index.values().filter_map(|object| object.as_ref().ok()).cloned().collect()
}

fn broken<K: PartialEq>(index: &Index<String, Result<K, Broken>>) -> impl Iterator<Item = &Broken> {
    index.values().filter_map(|object| object.as_ref().err())
}

fn uid<K: ResourceExt + Clone + PartialEq>(
    index: &Index<String, Result<Arc<K>, Broken>>,
    name: &String,
) -> Option<String> {
    index.get(name)?.as_ref().ok()?.uid()
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(crate) mod tests;
