//! What is stored, kept by watches: a request is judged without asking the apiserver for two thousand objects.
//!
//! ```text
//!  watch per kind ──▶ Index ──asked for──▶ Snapshot (shares the objects; kept until something changes) ──▶ requests
//! ```
//! A watch lags behind by milliseconds. What this process admitted meanwhile is in the gate's memory; and an update tells by
//! the version of the object it replaces how new the mirror must be at least. So a lag can matter only where another replica
//! admitted something in the same moment, or where the webhook was bypassed; see the gate for what happens then.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use api::{v1beta1, v1beta2};
use config::{Kind, NodeLabels, Resources};
use futures::StreamExt;
use futures::stream::{BoxStream, select_all};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Node;
use kube::api::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use runtime::index::{Index, map_event};
use runtime::shutdown::Shutdown;
use runtime::watch::{Event, WatchConfig, WatchMetrics, watched, watched_guarded};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::admit::{Operation, Request, Snapshot};
use crate::object::Object;
use crate::scope::Scope;

/// What is known. Clones share it.
#[derive(Clone, Debug)]
pub struct Mirror {
    state: Arc<Mutex<State>>,
    /// Counts changes.
    changes: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct State {
    kinds: BTreeMap<Kind, Index<String, Entry>>,
    nodes: Index<String, BTreeMap<String, String>>,
    /// Of the state as it is; built when it is first asked for.
    snapshot: Option<Arc<Snapshot>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    version: u64,
    /// `None` when it cannot be read.
    object: Option<Object>,
}

/// One change of what is stored.
#[derive(Debug)]
pub enum Change {
    /// Of an object by its name, with its version; `None` when it cannot be read.
    Object(Kind, Event<(String, u64, Option<Object>)>),
    /// Of a node's labels.
    Node(Event<NodeLabels>),
}

impl Default for Mirror {
    fn default() -> Self {
        Self { state: Arc::default(), changes: Arc::new(watch::Sender::new(0)) }
    }
}

impl Mirror {
    /// Takes in a change.
    pub fn apply(&self, change: Change) {
        let altered = self.with(|state| {
            let changes_of = |is_empty: bool, synced: bool| !is_empty || synced;
            let altered = match change {
                Change::Object(kind, event) => {
                    let event = map_event(event, |(name, version, object)| (name, Entry { version, object }));
                    let changes = state.kinds.entry(kind).or_default().apply(event);
                    changes_of(changes.is_empty(), changes.became_synced)
                }
                Change::Node(event) => {
                    let changes = state.nodes.apply(map_event(event, |node| (node.name, node.labels)));
                    changes_of(changes.is_empty(), changes.became_synced)
                }
            };
            if altered {
                state.snapshot = None;
            }
            altered
        });
        if altered {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// The snapshot, as soon as it is as new as the request; `None` where a list is missing that the request needs.
    pub async fn snapshot_for(&self, request: &Request) -> Option<Arc<Snapshot>> {
        let scope = Scope::of(request.id.kind);
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let look = |state: &mut State| {
                let synced = state.is_synced(scope);
                (synced, (synced && state.is_as_new_as(request)).then(|| state.snapshot()))
            };
            match self.with(look) {
                (true, Some(snapshot)) => return Some(snapshot),
                (false, _) => return None,
                (true, None) => changes.changed().await.ok()?,
            }
        }
    }

    /// Keeps it up to date until the shutdown.
    ///
    /// # Errors
    /// None; the result makes it usable as a task.
    pub async fn follow(
        self,
        client: Client,
        namespace: String,
        metrics: WatchMetrics,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let mut all = select_all(streams(&client, &namespace, &metrics));
        while let Some(Some(change)) = shutdown.or(all.next()).await {
            self.apply(change);
        }
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// Whether everything in scope was listed. FRRConfigurations never are.
    fn is_synced(&self, scope: Scope) -> bool {
        let listed = |kind: &Kind| self.kinds.get(kind).is_some_and(Index::is_synced);
        self.nodes.is_synced() && scope.kinds().iter().all(listed)
    }

    /// Whether it shows at least what the apiserver knew when it asked.
    fn is_as_new_as(&self, request: &Request) -> bool {
        match (&request.old, request.operation) {
            (Some(old), Operation::Update) => {
                let known = self.kinds.get(&request.id.kind).and_then(|index| index.get(&request.id.name));
                known.is_some_and(|known| known.version >= version_of(old.metadata().resource_version.as_deref()))
            }
            // The apiserver has just seen that there is none; an old one that is still here is about to go.
            _ => true,
        }
    }

    fn snapshot(&mut self) -> Arc<Snapshot> {
        if let Some(snapshot) = &self.snapshot {
            return snapshot.clone();
        }
        let mut resources = Resources::default();
        for object in self.kinds.values().flat_map(Index::values).filter_map(|entry| entry.object.clone()) {
            object.add_to(&mut resources);
        }
        let node = |(name, labels): (&String, &BTreeMap<String, String>)| NodeLabels {
            name: name.clone(),
            labels: labels.clone(),
        };
        resources.nodes = self.nodes.iter().map(node).collect();
        let snapshot = Arc::new(Snapshot::new(resources));
        self.snapshot = Some(snapshot.clone());
        snapshot
    }
}

/// Zero where it is absent or no number: then it counts as older than anything.
fn version_of(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// One per kind. FRRConfigurations are not watched: where nobody installed frr-k8s there is nothing to watch, and where
/// somebody did they change seldom.
fn streams(client: &Client, namespace: &str, metrics: &WatchMetrics) -> Vec<BoxStream<'static, Change>> {
    fn of<K>(
        client: &Client,
        namespace: &str,
        metrics: &WatchMetrics,
        kind: Kind,
        wrap: fn(Arc<K>) -> Object,
    ) -> BoxStream<'static, Change>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        let api: Api<K> = Api::namespaced(client.clone(), namespace);
        let events = watched_guarded(api, WatchConfig::default(), metrics.clone());
        let event = move |event| {
            let event = map_event(event, |read: Result<K, runtime::watch::Broken>| match read {
                Ok(mut object) => {
                    // They are half of an object and matter to nobody here.
                    object.meta_mut().managed_fields = None;
                    object.annotations_mut().clear();
                    let version = version_of(object.meta().resource_version.as_deref());
                    (object.name_any(), version, Some(wrap(Arc::new(object))))
                }
                Err(broken) => {
                    tracing::warn!(event = "admission", "{broken}");
                    (broken.name, u64::MAX, None)
                }
            });
            Change::Object(kind, event)
        };
        events.map(event).boxed()
    }
    let nodes: Api<PartialObjectMeta<Node>> = Api::all(client.clone());
    let nodes = watched(nodes, WatchConfig::default(), metrics.clone()).map(|event| {
        let labels =
            |node: PartialObjectMeta<Node>| NodeLabels { name: node.name_any(), labels: node.labels().clone() };
        Change::Node(map_event(event, labels))
    });
    vec![
        of::<v1beta1::IPAddressPool>(client, namespace, metrics, Kind::IPAddressPool, Object::IPAddressPool),
        of::<v1beta1::AddressPool>(client, namespace, metrics, Kind::AddressPool, Object::AddressPool),
        of::<v1beta1::L2Advertisement>(client, namespace, metrics, Kind::L2Advertisement, Object::L2Advertisement),
        of::<v1beta1::BGPAdvertisement>(client, namespace, metrics, Kind::BGPAdvertisement, Object::BGPAdvertisement),
        of::<v1beta2::BGPPeer>(client, namespace, metrics, Kind::BGPPeer, Object::BGPPeer),
        of::<v1beta1::BFDProfile>(client, namespace, metrics, Kind::BFDProfile, Object::BFDProfile),
        of::<v1beta1::Community>(client, namespace, metrics, Kind::Community, Object::Community),
        of::<v1beta1::MetalLB>(client, namespace, metrics, Kind::MetalLB, Object::MetalLB),
        nodes.boxed(),
    ]
}
