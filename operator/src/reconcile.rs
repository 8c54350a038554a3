//! One pass over one MetalLB resource: read, decide (elsewhere), do, report.
//!
//! ```text
//!  name wrong, unreadable ─────────▶ Degraded
//!  being deleted ──────────────────▶ nothing
//!  else ─▶ render ─▶ plan ─▶ apply, prune ─▶ workloads ready? ─▶ conditions
//!
//!  gone ─▶ sweep: the operands that were made for it
//! ```
//! There is no finalizer: a namespace that is deleted together with the operator would wait for ever for a finalizer that
//! nobody is left to remove. Owner references and the sweep, which also runs at every start, leave nothing behind.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::names;
use api::v1beta1::MetalLB;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;

use crate::apply::Cluster;
use crate::facts::Facts;
use crate::object::{Inventory, Kind, ObjectId};
use crate::state::Observed;
use crate::status::{Failure, Finding};
use crate::workload::{self, Workload};
use crate::{plan, render, status};

/// A net under the watches: reconcile without a reason this often.
const RESYNC: Duration = Duration::from_secs(300);
/// While pods start: their reasons change without any event the operator watches.
const WAITING: Duration = Duration::from_secs(5);
/// Longest back-off after failures.
const BACKOFF: Duration = Duration::from_secs(60);

/// What a reconcile needs.
pub struct Context {
    /// The cluster.
    pub cluster: Cluster,
    /// What the environment told.
    pub facts: Facts,
    /// The operands seen.
    pub observed: Arc<Mutex<Observed>>,
    /// Passes that failed, in a row.
    pub failures: AtomicU32,
}

/// An error of a pass, for kube's controller.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct ReconcileError(#[from] anyhow::Error);

/// What kube's controller calls for each MetalLB resource of the namespace.
///
/// # Errors
/// A request to the apiserver failed.
pub async fn reconcile(
    metallb: Arc<DeserializeGuard<MetalLB>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    if !context.is_complete() {
        // The end of the first lists triggers a pass.
        return Ok(Action::await_change());
    }
    let action = match &metallb.0 {
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            let failure = Failure {
                reason: "InvalidSpec".to_owned(),
                message: format!("MetalLB {name} cannot be read: {}: correct the field", invalid.error),
            };
            context.report(name, invalid.metadata.generation, &status::refuse(&failure)).await?;
            Action::await_change()
        }
        Ok(metallb) => context.pass(metallb).await?,
    };
    Ok(action)
}

/// What kube's controller does after an error.
pub fn on_error(_: Arc<DeserializeGuard<MetalLB>>, _: &ReconcileError, context: Arc<Context>) -> Action {
    Action::requeue(context.back_off())
}

impl Context {
    async fn pass(&self, metallb: &MetalLB) -> anyhow::Result<Action> {
        if metallb.name_any() != names::METALLB {
            return self.refuse(metallb).await;
        }
        if metallb.metadata.deletion_timestamp.is_some() {
            // Nothing is made any more; the garbage collector and the sweep take things away.
            return Ok(Action::await_change());
        }
        self.bring_up(metallb).await
    }

    async fn refuse(&self, metallb: &MetalLB) -> anyhow::Result<Action> {
        let failure = Failure {
            reason: "IncorrectMetalLBResourceName".to_owned(),
            message: format!("Incorrect MetalLB resource name: {}: name it {}", metallb.name_any(), names::METALLB),
        };
        self.report(&metallb.name_any(), metallb.metadata.generation, &status::refuse(&failure)).await?;
        Ok(Action::await_change())
    }

    async fn bring_up(&self, metallb: &MetalLB) -> anyhow::Result<Action> {
        let mut live = self.lock().inventory();
        let mut failures = Vec::new();
        let rendered = render::render(metallb, &self.facts);
        let supported = rendered.is_ok();
        match rendered {
            Ok(rendered) => self.carry_out(metallb, rendered, &mut live, &mut failures).await,
            Err(error) => {
                failures.push(Failure { reason: error.reason().to_owned(), message: error.to_string() });
            }
        }
        let mut workloads = self.workloads(&live);
        if !supported {
            workloads.retain(|workload| workload.exists);
        }
        self.look_at_pods(&mut workloads).await?;
        let waiting = workloads.iter().any(|workload| workload.waiting_for().is_some());
        let findings = status::judge(&workloads, &failures);
        self.report(&metallb.name_any(), metallb.metadata.generation, &findings).await?;
        if supported && !failures.is_empty() {
            return Ok(Action::requeue(self.back_off()));
        }
        self.failures.store(0, Ordering::Relaxed);
        Ok(Action::requeue(if waiting { WAITING } else { RESYNC }))
    }

    /// Applies and prunes. One object that fails does not keep the others from their place.
    async fn carry_out(
        &self,
        metallb: &MetalLB,
        rendered: Vec<crate::object::Rendered>,
        live: &mut Inventory,
        failures: &mut Vec<Failure>,
    ) {
        let plan = plan::plan(&render::owner(metallb), live, rendered);
        for rendered in &plan.apply {
            match self.cluster.apply(rendered).await {
                Ok(object) => {
                    tracing::info!(event = "applied", object = %rendered.id, "applied {}", rendered.id);
                    live.insert(rendered.id.clone(), object);
                }
                Err(error) => failures.push(failed("ApplyFailed", &error)),
            }
        }
        for id in &plan.prune {
            match self.cluster.delete(id).await {
                Ok(()) => {
                    tracing::info!(event = "pruned", object = %id, "deleted {id}, which is not needed any more");
                    live.remove(id);
                }
                Err(error) => failures.push(failed("PruneFailed", &error)),
            }
        }
    }

    fn workloads(&self, live: &Inventory) -> Vec<Workload> {
        let id = |kind, name: &str| ObjectId { kind, namespace: self.facts.namespace.clone(), name: name.to_owned() };
        [id(Kind::Deployment, names::CONTROLLER), id(Kind::DaemonSet, names::SPEAKER)]
            .iter()
            .map(|id| Workload::read(id, live.get(id)))
            .collect()
    }

    async fn look_at_pods(&self, workloads: &mut [Workload]) -> anyhow::Result<()> {
        for workload in workloads.iter_mut().filter(|workload| workload.needs_pods()) {
            let pods = self.cluster.pods(&workload.id.name).await?;
            workload.trouble = workload::trouble(&workload.id, &pods);
        }
        Ok(())
    }

    /// Deletes what was made for MetalLB resources that are gone. `living` is what the watch shows; before anything is
    /// deleted the apiserver is asked.
    ///
    /// # Errors
    /// A request to the apiserver failed; the next sweep goes on where this one stopped.
    pub async fn sweep(&self, living: &BTreeSet<String>) -> anyhow::Result<()> {
        let (namespace, observed) = (&self.facts.namespace, self.lock().inventory());
        if plan::orphans(namespace, living, &observed).is_empty() {
            return Ok(());
        }
        for id in plan::orphans(namespace, &self.cluster.living().await?, &observed) {
            self.cluster.delete(&id).await?;
            tracing::info!(event = "deleted", object = %id, "deleted {id}: its MetalLB resource is gone");
        }
        Ok(())
    }

    /// Writes conditions that differ from what the resource says now, which may be newer than what the watch showed.
    async fn report(&self, name: &str, generation: Option<i64>, findings: &[Finding]) -> anyhow::Result<()> {
        let Some(old) = self.cluster.conditions(name).await? else { return Ok(()) };
        let now = Time(Timestamp::now());
        let Some(conditions) = status::merge(&old, findings, generation, now) else { return Ok(()) };
        for finding in findings.iter().filter(|finding| finding.type_ == "Degraded" && finding.holds) {
            tracing::warn!(event = "degraded", reason = finding.reason, "{}", finding.message);
        }
        self.cluster.set_conditions(name, &conditions).await
    }

    /// Whether every kind of operand was listed.
    pub fn is_complete(&self) -> bool {
        self.lock().missing().is_empty()
    }

    fn back_off(&self) -> Duration {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(6);
        Duration::from_secs(1 << failures).min(BACKOFF)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(reason: &str, error: &anyhow::Error) -> Failure {
    Failure { reason: reason.to_owned(), message: format!("{error:#}") }
}
