//! What is stored now.
//!
//! ```text
//!  request ─▶ Mirror (watches)  ── all lists in, and as new as the request itself ──▶ its snapshot
//!                  └─ behind ──▶ waits a moment ──▶ ApiStore: consistent lists for this one request
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use config::{Kind, NodeLabels, Resources};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use runtime::client::{explain, http_code};

use crate::admit::{Request, Snapshot};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::object::{Object, api_resource};
use crate::scope::Scope;

/// How long one look may take; below the 10 s that the apiserver waits for us.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a watch that is behind is waited for; it mostly catches up within milliseconds.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where snapshots come from.
pub trait Store: Send + Sync + 'static {
    /// What is stored now, as far as this request needs it.
    ///
    /// # Errors
    /// The store does not answer in time or refuses.
    fn read(&self, request: &Request) -> impl Future<Output = anyhow::Result<Arc<Snapshot>>> + Send;
}

/// The apiserver, listed for each request.
#[derive(Clone)]
pub struct ApiStore {
    client: Client,
    namespace: String,
}

impl ApiStore {
    /// Reads objects of this namespace, and nodes.
    pub fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    async fn list(&self, kind: Kind) -> anyhow::Result<Vec<Object>> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &api_resource(kind));
        let listed = match api.list(&ListParams::default()).await {
            Ok(listed) => listed,
            // The CRD is not installed: nothing of this kind can be stored.
            Err(error) if http_code(&error) == Some(404) => return Ok(Vec::new()),
            Err(error) => return Err(anyhow!("failed to get existing {kind} objects: {}", explain(&error))),
        };
        let mut objects = Vec::new();
        for object in listed.items {
            match Object::parse(kind, object) {
                Ok(object) => objects.push(object),
                Err(text) => tracing::warn!(event = "admission", "{text}; it is left out of the comparison"),
            }
        }
        Ok(objects)
    }

    async fn nodes(&self) -> anyhow::Result<Vec<NodeLabels>> {
        let api: Api<Node> = Api::all(self.client.clone());
        // Labels of nodes seldom change: what the apiserver has in memory is good enough.
        let params = ListParams::default().match_any();
        let listed = api.list_metadata(&params).await;
        let listed = listed.map_err(|error| anyhow!("failed to get existing Node objects: {}", explain(&error)))?;
        let node = |node: kube::core::PartialObjectMeta<Node>| NodeLabels {
            name: node.name_any(),
            labels: node.labels().clone(),
        };
        Ok(listed.items.into_iter().map(node).collect())
    }

    async fn read_all(&self, request: &Request) -> anyhow::Result<Snapshot> {
        let kinds = Scope::of(request.id.kind).kinds();
        let lists = try_join_all(kinds.iter().map(|kind| self.list(*kind))).await?;
        let mut resources = Resources::default();
        let mut by_label = request.object.as_ref().is_some_and(Object::selects_nodes);
        for object in lists.into_iter().flatten() {
            by_label |= object.selects_nodes();
            object.add_to(&mut resources);
        }
        // Where nothing selects nodes by label, one node stands for them all.
        resources.nodes = if by_label { self.nodes().await? } else { vec![NodeLabels::default()] };
        Ok(Snapshot::new(resources))
    }
}

impl Store for ApiStore {
    async fn read(&self, request: &Request) -> anyhow::Result<Arc<Snapshot>> {
        let read = tokio::time::timeout(TIMEOUT, self.read_all(request)).await;
        Ok(Arc::new(read.context("the Kubernetes API did not answer within 5s; try again")??))
    }
}

/// Watches, with the apiserver behind them for what they cannot tell.
#[derive(Clone)]
pub struct WatchedStore {
    mirror: Mirror,
    lists: ApiStore,
    metrics: Metrics,
}

impl WatchedStore {
    /// Answers from `mirror`, or else from `lists`.
    pub fn new(mirror: Mirror, lists: ApiStore, metrics: Metrics) -> Self {
        Self { mirror, lists, metrics }
    }
}

impl Store for WatchedStore {
    async fn read(&self, request: &Request) -> anyhow::Result<Arc<Snapshot>> {
        if let Ok(Some(snapshot)) = tokio::time::timeout(PATIENCE, self.mirror.snapshot_for(request)).await {
            return Ok(snapshot);
        }
        self.metrics.listed();
        self.lists.read(request).await
    }
}
