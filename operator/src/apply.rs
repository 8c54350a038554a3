//! Everything the operator asks of the apiserver. No decisions here.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use api::names;
use api::v1beta1::MetalLB;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use runtime::client;
use serde_json::{Value, json};

use crate::object::{Kind, ObjectId, Rendered};

/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Enough pods to find one that says what is wrong.
const PODS: u32 = 50;

/// The cluster, as far as the operator touches it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// Works in `namespace`, and on the cluster-scoped operands.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// The MetalLB resources of the namespace.
    pub fn metallbs(&self) -> Api<MetalLB> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies an object and answers what it is now.
    pub async fn apply(&self, rendered: &Rendered) -> anyhow::Result<Value> {
        let params = PatchParams::apply(names::FIELD_MANAGER_OPERATOR).force();
        let (objects, patch) = (self.objects(&rendered.id), Patch::Apply(&rendered.object));
        let applied = within(objects.patch(&rendered.id.name, &params, &patch))
            .await
            .with_context(|| format!("cannot apply {}", rendered.id))?;
        serde_json::to_value(applied).with_context(|| format!("cannot read the answer about {}", rendered.id))
    }

    /// Deletes an object; one that is gone already is no error.
    pub async fn delete(&self, id: &ObjectId) -> anyhow::Result<()> {
        let outcome = within(self.objects(id).delete(&id.name, &DeleteParams::background())).await;
        unless_gone(outcome).with_context(|| format!("cannot delete {id}"))
    }

    /// Some of the pods of a component.
    pub async fn pods(&self, component: &str) -> anyhow::Result<Vec<Pod>> {
        let selector = format!("{}={},{}={component}", names::LABEL_APP, names::APP, names::LABEL_COMPONENT);
        let params = ListParams::default().labels(&selector).limit(PODS);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let list = within(pods.list(&params)).await.with_context(|| format!("cannot list the pods of {component}"))?;
        Ok(list.items)
    }

    /// Uids of the MetalLB resources that are there, asked afresh.
    pub async fn living(&self) -> anyhow::Result<BTreeSet<String>> {
        let (metallbs, all) = (self.metallbs(), ListParams::default());
        let list = within(metallbs.list_metadata(&all)).await.context("cannot list MetalLB resources")?;
        Ok(list.items.into_iter().filter_map(|metallb| metallb.metadata.uid).collect())
    }

    /// Uid of the namespace.
    pub async fn namespace_uid(&self) -> anyhow::Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let name = &self.namespace;
        let namespace = within(namespaces.get(name)).await.with_context(|| format!("cannot read namespace {name}"))?;
        Ok(namespace.metadata.uid.unwrap_or_default())
    }

    /// The conditions a MetalLB resource has now, whatever else it says; `None` when it is gone.
    pub async fn conditions(&self, name: &str) -> anyhow::Result<Option<Vec<Condition>>> {
        let metallbs: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<MetalLB>(&()));
        let object = within(metallbs.get_opt(name)).await.with_context(|| format!("cannot read MetalLB {name}"))?;
        // Conditions that cannot be read are replaced.
        let parse = |object: DynamicObject| serde_json::from_value(object.data["status"]["conditions"].clone());
        Ok(object.map(|object| parse(object).unwrap_or_default()))
    }

    /// Replaces the conditions of a MetalLB resource.
    pub async fn set_conditions(&self, name: &str, conditions: &[Condition]) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
        within(self.metallbs().patch_status(name, &params(), &patch))
            .await
            .with_context(|| format!("cannot write the status of MetalLB {name}"))?;
        Ok(())
    }

    fn objects(&self, id: &ObjectId) -> Api<DynamicObject> {
        let resource = api_resource(id.kind);
        if id.kind.is_namespaced() {
            Api::namespaced_with(self.client.clone(), &id.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        }
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(names::FIELD_MANAGER_OPERATOR.to_owned()), ..PatchParams::default() }
}

fn api_resource(kind: Kind) -> ApiResource {
    let group = kind.group();
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
        kind: kind.name().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

/// Why a request did not do what it should.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("it does not exist")]
    NotFound,
    #[error("{0}")]
    Refused(String),
    #[error("no answer from the apiserver in {}s", TIMEOUT.as_secs())]
    NoAnswer,
}

async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, RequestError> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if client::http_code(&error) == Some(404) => Err(RequestError::NotFound),
        Ok(Err(error)) => Err(RequestError::Refused(client::explain(&error))),
        Err(_) => Err(RequestError::NoAnswer),
    }
}

/// Takes "it is gone" for "it is done".
fn unless_gone<T>(outcome: Result<T, RequestError>) -> Result<(), RequestError> {
    match outcome {
        Ok(_) | Err(RequestError::NotFound) => Ok(()),
        Err(error @ (RequestError::Refused(_) | RequestError::NoAnswer)) => Err(error),
    }
}
