//! Connects watches, kube's controller, probes and shutdown.
//!
//! ```text
//!  8 watches (label managed-by) ─▶ Observed ─▶ notify ─┐
//!                                                      ├─▶ Controller ─▶ reconcile (one at a time)
//!  watch over MetalLB (own namespace) ─────────────────┘      └▶ sweep: operands whose MetalLB is gone
//! ```
//! Each operand watch has its own back-off and its own task, so that one forbidden kind never delays the others; only
//! kube's watch over MetalLB sits inside the controller.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use api::v1beta1::MetalLB;
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::Store;
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
/// Longest time between two looks for leftovers.
const SWEEP: Duration = Duration::from_secs(30);
/// Time to finish after SIGTERM; below the grace period of the Deployment.
const GRACE: Duration = Duration::from_secs(8);

/// Runs the operator until a signal.
///
/// # Errors
/// The environment is wrong, no cluster is configured, or a part of the program ended.
pub async fn run(args: Args, mut facts: Facts) -> anyhow::Result<()> {
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
    let news = News::default();
    let watches = Watches { client: client.clone(), observed: observed.clone(), news: news.clone() };
    watches.spawn_all(&mut tasks, &facts.namespace, &shutdown);

    let cluster = Cluster::new(client.clone(), &facts.namespace);
    match cluster.namespace_uid().await {
        Ok(uid) => facts.namespace_uid = uid,
        Err(error) => tracing::warn!(event = "namespaceUnknown", "{error:#}: cluster roles will outlive the namespace"),
    }
    let context = Arc::new(Context { cluster, facts, observed, failures: AtomicU32::new(0) });
    let until = shutdown.clone();
    tasks.spawn("the controller", async move {
        if until.or(wait_for_crd(&context.cluster, &health)).await.is_none() {
            return Ok(());
        }
        health.set_ready(true);
        control(client, context, &news, until).await;
        Ok(())
    });
    tasks.run(GRACE).await
}

async fn control(client: Client, context: Arc<Context>, news: &News, shutdown: Shutdown) {
    let metallbs: Api<DeserializeGuard<MetalLB>> = Api::namespaced(client, &context.facts.namespace);
    let controller = Controller::new(metallbs, watcher::Config::default().timeout(60));
    let store = controller.store();
    let mut last_error = String::new();
    let stop = shutdown.clone();
    let reconciles = controller
        .with_config(controller::Config::default().concurrency(1))
        .reconcile_all_on(coalesced(news.reconcile.clone()))
        .graceful_shutdown_on(async move { stop.wait().await })
        .run(reconcile::reconcile, reconcile::on_error, context.clone())
        .for_each(move |outcome| {
            let text = match outcome {
                // A resource that was deleted while its pass was due.
                Ok(_) | Err(controller::Error::ObjectNotFound(_)) => String::new(),
                Err(controller::Error::QueueError(error)) => describe(&error),
                Err(error) => error.to_string(),
            };
            // A failing watch repeats its error for ever: say it once.
            if !text.is_empty() && text != last_error {
                tracing::error!(event = "reconcileFailed", "{text}");
            }
            last_error = text;
            futures::future::ready(())
        });
    let sweeps = shutdown.or(sweep(context, store, news.sweep.clone()));
    futures::join!(reconciles, sweeps);
}

/// A failure of the watch over MetalLB resources in one line.
fn describe(error: &watcher::Error) -> String {
    let reason = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => client::explain(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => "the apiserver's list has no resourceVersion".to_owned(),
    };
    format!("cannot watch MetalLB resources: {reason}; trying again")
}

/// Takes away what belongs to resources that are gone: at the start, and whenever operands change.
async fn sweep(context: Arc<Context>, store: Store<DeserializeGuard<MetalLB>>, news: Arc<Notify>) {
    if store.wait_until_ready().await.is_err() {
        return;
    }
    let mut news = std::pin::pin!(coalesced(news));
    loop {
        if context.is_complete() {
            let living = store.state().iter().filter_map(|metallb| metallb.meta().uid.clone()).collect();
            if let Err(error) = context.sweep(&living).await {
                tracing::error!(event = "sweepFailed", "{error:#}");
            }
        }
        // The end of a timeout is a reason too: the net under the watches.
        let _ = tokio::time::timeout(SWEEP, news.next()).await;
    }
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

/// Wakes those who look at the operands. Each keeps one wake-up that came while it was busy.
#[derive(Clone, Default)]
struct News {
    reconcile: Arc<Notify>,
    sweep: Arc<Notify>,
}

struct Watches {
    client: Client,
    observed: Arc<Mutex<Observed>>,
    news: News,
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
                    news.reconcile.notify_one();
                    news.sweep.notify_one();
                }
            }
            Ok(())
        });
    }
}
