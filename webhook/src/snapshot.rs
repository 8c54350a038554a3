//! What is stored now, read from the apiserver for every request: a watch lags behind, and two pools that overlap may come
//! a millisecond apart.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use config::{Kind, NodeLabels, Resources};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use runtime::client::{explain, http_code};

use crate::admit::{Request, Snapshot};
use crate::object::{Object, api_resource};

/// How long one look may take; below the 10 s that the apiserver waits for us.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where snapshots come from.
pub trait Store: Send + Sync + 'static {
    /// What is stored now, as far as this request needs it.
    ///
    /// # Errors
    /// The store does not answer in time or refuses.
    fn read(&self, request: &Request) -> impl Future<Output = anyhow::Result<Snapshot>> + Send;
}

/// The apiserver.
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
        let lists = try_join_all(kinds(request.id.kind).iter().map(|kind| self.list(*kind))).await?;
        let mut resources = Resources::default();
        let mut by_label = request.object.as_ref().is_some_and(Object::selects_nodes);
        for object in lists.into_iter().flatten() {
            by_label |= object.selects_nodes();
            object.add_to(&mut resources);
        }
        // Where nothing selects nodes by label, one node stands for them all.
        resources.nodes = if by_label { self.nodes().await? } else { vec![NodeLabels::default()] };
        Ok(Snapshot { namespace: self.namespace.clone(), resources })
    }
}

impl Store for ApiStore {
    async fn read(&self, request: &Request) -> anyhow::Result<Snapshot> {
        let read = tokio::time::timeout(TIMEOUT, self.read_all(request));
        read.await.context("the Kubernetes API did not answer within 5s; try again")?
    }
}

/// The kinds whose objects can matter to a change of this kind.
fn kinds(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Community => &[Kind::Community],
        Kind::L2Advertisement => &[Kind::IPAddressPool, Kind::AddressPool, Kind::L2Advertisement],
        Kind::MetalLB => &[],
        Kind::FRRConfiguration => &[Kind::FRRConfiguration],
        Kind::IPAddressPool | Kind::AddressPool | Kind::BGPAdvertisement | Kind::BGPPeer | Kind::BFDProfile => &[
            Kind::IPAddressPool,
            Kind::AddressPool,
            Kind::BGPAdvertisement,
            Kind::BGPPeer,
            Kind::BFDProfile,
            Kind::Community,
            Kind::MetalLB,
        ],
    }
}
