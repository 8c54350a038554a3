//! Connects watches, kube's controller, probes and shutdown.
//!
//! ```text
//!  8 watches (label managed-by) ─▶ Observed ─▶ notify ─┐
//!                                                      ├─▶ Controller ─▶ reconcile (one at a time)
//!  watch over MetalLB (own namespace) ─────────────────┘
//! ```
//! Each operand watch has its own back-off and its own task, so that one forbidden kind never delays the others; only
//! kube's watch over MetalLB sits inside the controller.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use api::names;
use api::v1beta1::MetalLB;
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Controller};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use runtime::client::{self, Retry};
use runtime::health::Health;
use runtime::index::map_event;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::watch::{WatchConfig, WatchMetrics, watched};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Notify;

use crate::apply::Cluster;
use crate::args::Args;
use crate::facts::Facts;
use crate::object::{Kind, LABEL_MANAGED_BY, MANAGED_BY};
use crate::reconcile::{self, Context};
use crate::state::Observed;

/// Events that come together become one pass.
const COALESCE: Duration = Duration::from_millis(100);
/// Between two looks for a CRD that is missing.
const CRD_RETRY: Duration = Duration::from_secs(2);
/// Time to finish after SIGTERM; below the grace period of the Deployment.
const GRACE: Duration = Duration::from_secs(8);

/// Runs the operator until a signal.
///
/// # Errors
/// The environment is wrong, no cluster is configured, or a part of the program ended.
pub async fn run(args: Args, facts: Facts) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let health = Health::new();
    let mut tasks = Tasks::new(shutdown.clone());
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, args.port));
    let (probes, until) = (health.clone(), shutdown.clone());
    tasks.spawn("the probe server", async move {
        probes.serve(address, until).await.context("change --port if another program uses it")
    });

    let client = client::connect(&client::user_agent("operator"), Retry::Default).await?;
    health.set_unready("waiting for the apiserver");
    if !client::wait_for_api(&client, &shutdown).await {
        return tasks.run(GRACE).await;
    }
    let observed = Arc::new(Mutex::new(Observed::default()));
    let news = Arc::new(Notify::new());
    let watches = Watches { client: client.clone(), observed: observed.clone(), news: news.clone() };
    watches.spawn_all(&mut tasks, &facts.namespace, &shutdown);

    let cluster = Cluster::new(client.clone(), &facts.namespace);
    let context = Arc::new(Context { cluster, facts, observed, failures: AtomicU32::new(0) });
    let until = shutdown.clone();
    tasks.spawn("the controller", async move {
        if until.or(wait_for_crd(&context.cluster, &health)).await.is_none() {
            return Ok(());
        }
        health.set_ready(true);
        control(client, context.clone(), news, until).await;
        tokio::time::timeout(GRACE / 2, say_goodbye(&context)).await.unwrap_or(Ok(()))
    });
    tasks.run(GRACE).await
}

async fn control(client: Client, context: Arc<Context>, news: Arc<Notify>, shutdown: Shutdown) {
    let metallbs: Api<DeserializeGuard<MetalLB>> = Api::namespaced(client, &context.facts.namespace);
    let mut last_error = String::new();
    Controller::new(metallbs, watcher::Config::default().timeout(60))
        .with_config(controller::Config::default().concurrency(1))
        .reconcile_all_on(coalesced(news))
        .graceful_shutdown_on(async move { shutdown.wait().await })
        .run(reconcile::reconcile, reconcile::on_error, context)
        .for_each(move |outcome| {
            // A failing watch repeats its error for ever: say it once.
            let text = outcome.err().map(|error| error.to_string()).unwrap_or_default();
            if !text.is_empty() && text != last_error {
                tracing::error!(event = "reconcileFailed", "{text}");
            }
            last_error = text;
            futures::future::ready(())
        })
        .await;
}

/// A removal that was under way is finished without waiting for pods: when the whole namespace goes, the operator is the
/// only one who can take its finalizer away.
async fn say_goodbye(context: &Context) -> anyhow::Result<()> {
    let Ok(Some(metallb)) = context.cluster.metallb(names::METALLB).await else { return Ok(()) };
    if metallb.metadata.deletion_timestamp.is_some() {
        context.remove(&metallb, true).await?;
    }
    Ok(())
}

/// Waits until MetalLB resources can be listed, and says once why they cannot.
async fn wait_for_crd(cluster: &Cluster, health: &Health) {
    let mut said = String::new();
    loop {
        let Err(error) = cluster.metallbs().list(&ListParams::default().limit(1)).await else { return };
        let absent = client::http_code(&error) == Some(404);
        let text = if absent {
            String::from(
                "the custom resource definition metallbs.metallb.io is not installed: apply manifests/crds or the \
                 whole manifests/metallb-operator.yaml; waiting for it",
            )
        } else {
            format!("cannot list MetalLB resources: {}", client::explain(&error))
        };
        if text != said {
            tracing::error!(event = "notReady", "{text}");
            health.set_unready(text.clone());
            said = text;
        }
        tokio::time::sleep(CRD_RETRY).await;
    }
}

fn coalesced(news: Arc<Notify>) -> impl Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(news, |news| async move {
        news.notified().await;
        tokio::time::sleep(COALESCE).await;
        Some(((), news))
    })
}

struct Watches {
    client: Client,
    observed: Arc<Mutex<Observed>>,
    news: Arc<Notify>,
}

impl Watches {
    fn spawn_all(&self, tasks: &mut Tasks, namespace: &str, shutdown: &Shutdown) {
        self.spawn(tasks, shutdown, Kind::ServiceAccount, self.namespaced::<ServiceAccount>(namespace));
        self.spawn(tasks, shutdown, Kind::ConfigMap, self.namespaced::<ConfigMap>(namespace));
        self.spawn(tasks, shutdown, Kind::Role, self.namespaced::<Role>(namespace));
        self.spawn(tasks, shutdown, Kind::RoleBinding, self.namespaced::<RoleBinding>(namespace));
        self.spawn(tasks, shutdown, Kind::Deployment, self.namespaced::<Deployment>(namespace));
        self.spawn(tasks, shutdown, Kind::DaemonSet, self.namespaced::<DaemonSet>(namespace));
        self.spawn(tasks, shutdown, Kind::ClusterRole, self.cluster_wide::<ClusterRole>());
        self.spawn(tasks, shutdown, Kind::ClusterRoleBinding, self.cluster_wide::<ClusterRoleBinding>());
    }

    fn namespaced<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn cluster_wide<K: Resource<DynamicType = (), Scope = ClusterResourceScope>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    fn spawn<K>(&self, tasks: &mut Tasks, shutdown: &Shutdown, kind: Kind, api: Api<K>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug + Send + 'static,
    {
        let selector = Some(format!("{LABEL_MANAGED_BY}={MANAGED_BY}"));
        let config = WatchConfig { label_selector: selector, ..WatchConfig::default() };
        let mut events = Box::pin(watched(api, config, WatchMetrics::default()));
        let (observed, news, shutdown) = (self.observed.clone(), self.news.clone(), shutdown.clone());
        tasks.spawn(format!("the watch over {}", kind.plural()), async move {
            while let Some(Some(event)) = shutdown.or(events.next()).await {
                let event = map_event(event, |object| serde_json::to_value(object).unwrap_or(Value::Null));
                if observed.lock().unwrap_or_else(PoisonError::into_inner).apply(kind, event) {
                    news.notify_one();
                }
            }
            Ok(())
        });
    }
}
