//! Services, made and patched with many requests at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// Requests at once when objects are made.
const CREATORS: usize = 32;
/// Requests at once when statuses are patched: as many as the controller has under way.
pub const WRITERS: usize = 16;
/// A class that no controller here serves.
const NOBODY: &str = "example.com/nobody";

/// A Service without pods and node ports: of those a cluster has only 2,768.
pub fn service(name: &str, class: Option<&str>) -> Result<Service> {
    let value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "loadBalancerClass": class,
            "ports": [{"port": 80}],
        },
    });
    serde_json::from_value(value).context("write a Service")
}

/// `<prefix>-<number>` of these numbers.
pub fn names(prefix: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{prefix}-{number}")).collect()
}

/// Makes Services.
pub async fn create(client: &Client, namespace: &str, names: &[String], class: Option<&str>) -> Result<Vec<Service>> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let requests = names.iter().map(|name| {
        let api = api.clone();
        async move {
            let made = api.create(&PostParams::default(), &service(name, class)?).await;
            made.with_context(|| format!("make service {name}"))
        }
    });
    stream::iter(requests).buffer_unordered(CREATORS).try_collect().await
}

/// Makes Services that nobody serves, for [`raw`].
pub async fn unserved(client: &Client, namespace: &str, names: &[String]) -> Result<Vec<Service>> {
    create(client, namespace, names, Some(NOBODY)).await
}

/// Deletes Services.
pub async fn delete(client: &Client, namespace: &str, names: &[String]) -> Result<()> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let requests = names.iter().map(|name| {
        let api = api.clone();
        async move {
            api.delete(name, &DeleteParams::default()).await.with_context(|| format!("delete service {name}"))?;
            Ok::<_, anyhow::Error>(())
        }
    });
    stream::iter(requests).buffer_unordered(CREATORS).try_collect().await
}

/// Writes an address into the status of each of these Services, with the same kind of request as the controller: one merge
/// patch of the status that carries resource version and annotation. The Services as they are then, and the time it took.
pub async fn raw(client: &Client, services: Vec<Service>, third: u8) -> Result<(Vec<Service>, Duration)> {
    let began = Instant::now();
    let requests = services.into_iter().enumerate().map(|(number, service)| {
        let api: Api<Service> = Api::namespaced(client.clone(), &service.namespace().unwrap_or_default());
        async move {
            let name = service.name_any();
            let body = json!({
                "metadata": {
                    "resourceVersion": service.resource_version(),
                    "annotations": {"metallb.io/ip-allocated-from-pool": "bench"},
                },
                "status": {"loadBalancer": {"ingress": [
                    {"ip": format!("10.{third}.{}.{}", number / 250, number % 250), "ipMode": "VIP"},
                ]}},
            });
            let done = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(body)).await;
            done.with_context(|| format!("patch the status of service {name}"))
        }
    });
    let services: Vec<Service> = stream::iter(requests).buffer_unordered(WRITERS).try_collect().await?;
    Ok((services, began.elapsed()))
}
