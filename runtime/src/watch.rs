//! Watches that never end and never yield errors.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, Resource};
use prometheus_client::metrics::family::Family;
use serde::de::DeserializeOwned;

pub use kube::runtime::watcher::Event;

use crate::index::map_event;
use crate::metrics::{GoCounter, Registry};

/// What to watch and how patient to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Only objects with these labels, in Kubernetes selector syntax.
    pub label_selector: Option<String>,
    /// Only objects with these fields, in Kubernetes selector syntax.
    pub field_selector: Option<String>,
    /// Seconds until the apiserver ends a watch and it is resumed; a dead connection is noticed 5 s after that.
    pub timeout_seconds: u32,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self { label_selector: None, field_selector: None, timeout_seconds: 60 }
    }
}

/// Counts the errors of watches. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub struct WatchMetrics {
    errors: Family<Vec<(&'static str, String)>, GoCounter>,
}

impl WatchMetrics {
    /// Counters shown as `metallb_watch_errors_total{kind, code}`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "metallb_watch_errors_total",
            "Errors of watches by kind and HTTP code",
            metrics.errors.clone(),
        );
        metrics
    }
}

/// A custom resource that does not have the shape its CRD promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {namespace}/{name} cannot be read and is ignored: {error}; correct the object or delete it")]
pub struct Broken {
    /// The kind of the object.
    pub kind: String,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is wrong, naming the field.
    pub error: String,
}

/// Watches the objects of `api`.
pub fn watched<K>(
    api: Api<K>,
    config: WatchConfig,
    metrics: WatchMetrics,
) -> impl Stream<Item = Event<K>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let _ = &metrics;
    let mut settings = Config::default().timeout(config.timeout_seconds);
    settings.label_selector = config.label_selector;
    settings.field_selector = config.field_selector;
    watcher(api, settings).default_backoff().filter_map(async |event| event.ok())
}

/// Watches custom resources; a malformed object arrives as [`Broken`] and the others go on.
pub fn watched_guarded<K>(
    api: Api<K>,
    config: WatchConfig,
    metrics: WatchMetrics,
) -> impl Stream<Item = Event<Result<K, Broken>>> + Send + 'static
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watched(guarded(api), config, metrics).map(|event| {
        map_event(event, |DeserializeGuard(object): DeserializeGuard<K>| {
            object.map_err(|invalid| Broken {
                kind: K::kind(&()).into_owned(),
                namespace: invalid.metadata.namespace.unwrap_or_default(),
                name: invalid.metadata.name.unwrap_or_default(),
                error: invalid.error,
            })
        })
    })
}

/// The same resources as `api`, decoded through a guard.
fn guarded<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(api: Api<K>) -> Api<DeserializeGuard<K>> {
    match api.namespace().map(str::to_owned) {
        Some(namespace) => Api::namespaced(api.into_client(), &namespace),
        None => Api::all(api.into_client()),
    }
}
