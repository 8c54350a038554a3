//! LoadBalancer Services without pods: enough wherever only their addresses matter.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::install;
use e2e::testbed::Testbed;
use e2e::wait;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::web::ingress;

/// How long a decision of the controller may take when nothing is wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace of its own for Services.
pub struct Balancers {
    pub namespace: String,
}

impl Balancers {
    /// A new namespace; those of trials that failed are removed, because their Services would hold addresses.
    pub async fn new(bed: &Testbed) -> Result<Self> {
        let argv = ["delete", "namespace", "-l", "testbed=balancers", "--timeout=50s"];
        bed.kubectl(&argv).await?.success()?;
        Ok(Self { namespace: bed.namespace("balancers").await? })
    }

    /// Makes a Service; does not wait for an address. `annotations` and `spec` are entries in flow style.
    pub async fn create(&self, bed: &Testbed, name: &str, annotations: &str, spec: &str) -> Result<()> {
        bed.apply(&self.yaml(name, annotations, spec)).await?;
        Ok(())
    }

    /// Makes many Services with the same annotations in one request.
    pub async fn create_all(&self, bed: &Testbed, names: &[String], annotations: &str) -> Result<()> {
        let all: Vec<String> = names.iter().map(|name| self.yaml(name, annotations, "")).collect();
        bed.apply(&all.join("---\n")).await?;
        Ok(())
    }

    /// YAML of a Service.
    pub fn yaml(&self, name: &str, annotations: &str, spec: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Service\n\
             metadata: {{name: {name}, namespace: {}, annotations: {{{annotations}}}}}\n\
             spec: {{type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{{port: 80}}], {spec}}}\n",
            self.namespace
        )
    }

    /// As an object, for the client.
    pub fn object(&self, name: &str, annotations: &[(&str, &str)]) -> Result<Service> {
        let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": self.namespace, "annotations": annotations},
            "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]},
        }))
        .context("write a Service")
    }

    pub fn api(&self, bed: &Testbed) -> Api<Service> {
        Api::namespaced(bed.api(), &self.namespace)
    }

    /// Waits until a Service has addresses.
    pub async fn addresses(&self, bed: &Testbed, name: &str) -> Result<Vec<IpAddr>> {
        wait::object(self.api(bed), name, &format!("an address of service {name}"), PATIENCE, |found| {
            let addresses = ingress(wait::present(found)?)?;
            ensure!(!addresses.is_empty(), "its status has none");
            Ok(addresses)
        })
        .await
    }

    /// Waits until exactly this many Services have addresses.
    pub async fn served(&self, bed: &Testbed, number: usize, patience: Duration) -> Result<()> {
        let what = format!("{number} services with addresses");
        wait::objects(self.api(bed), Config::default(), &what, patience, |services| {
            let have = services.values().filter(|one| ingress(one).is_ok_and(|all| !all.is_empty())).count();
            ensure!(have == number, "{have} of {} have", services.len());
            Ok(())
        })
        .await
    }

    /// Addresses of every Service now.
    pub async fn now(&self, bed: &Testbed) -> Result<BTreeMap<String, Vec<IpAddr>>> {
        let services = self.api(bed).list(&kube::api::ListParams::default()).await?;
        services.items.iter().map(|service| Ok((service.name_any(), ingress(service)?))).collect()
    }

    /// Waits until kubectl shows an event of this reason about a Service that contains `words`; the whole line.
    pub async fn event(&self, bed: &Testbed, name: &str, reason: &str, words: &str) -> Result<String> {
        let field = format!("involvedObject.kind=Service,involvedObject.name={name},reason={reason}");
        let line = "jsonpath={range .items[*]}{.type} {.reason} {.source.component} {.message}{\"\\n\"}{end}";
        wait::until(&format!("event {reason} of {name} with {words:?}"), PATIENCE, || async {
            let argv = ["-n", &self.namespace, "get", "events", "--field-selector", &field, "-o", line];
            let told = bed.kubectl(&argv).await?.success()?;
            let found = told.lines().find(|line| line.contains(words)).map(str::to_owned);
            found.with_context(|| format!("there are: {told:?}"))
        })
        .await
    }

    pub async fn delete(&self, bed: &Testbed, name: &str) -> Result<()> {
        bed.kubectl(&["-n", &self.namespace, "delete", "service", name, "--wait=false"]).await?.success()?;
        Ok(())
    }

    /// Removes everything.
    pub async fn end(self, bed: &Testbed) -> Result<()> {
        bed.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).await?.success()?;
        Ok(())
    }
}

/// Makes a pool that is used only by name.
pub async fn pool(bed: &Testbed, name: &str, addresses: &str) -> Result<()> {
    install::apply(bed, &pool_yaml(name, addresses)).await
}

/// Removes a pool.
pub async fn no_pool(bed: &Testbed, name: &str) -> Result<()> {
    let argv = ["-n", install::NAMESPACE, "delete", "ipaddresspools.metallb.io", name, "--ignore-not-found"];
    bed.kubectl(&argv).await?.success()?;
    Ok(())
}

/// YAML of such a pool.
pub fn pool_yaml(name: &str, addresses: &str) -> String {
    format!(
        "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\n\
         metadata: {{name: {name}, namespace: metallb-system}}\n\
         spec: {{addresses: [{addresses}], autoAssign: false}}\n"
    )
}

/// Watches all Services of the cluster and notes what must never happen: one address on two Services at the same time, or
/// an address that is replaced or lost while its Service stays.
pub struct Watchman {
    notes: Arc<Mutex<Notes>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Notes {
    known: BTreeMap<String, Vec<IpAddr>>,
    broken: Vec<String>,
    given: Vec<(String, Instant)>,
}

impl Watchman {
    /// Starts to watch one namespace.
    pub fn start(bed: &Testbed, balancers: &Balancers) -> Self {
        let notes: Arc<Mutex<Notes>> = Arc::default();
        let (api, shared) = (balancers.api(bed), Arc::clone(&notes));
        let task = tokio::spawn(async move {
            let events = watcher(api, Config::default());
            pin_mut!(events);
            while let Some(event) = events.next().await {
                let mut notes = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(Event::Apply(service) | Event::InitApply(service)) => notes.see(&service),
                    Ok(Event::Delete(service)) => {
                        notes.known.remove(&service.name_any());
                    }
                    Ok(Event::Init | Event::InitDone) | Err(_) => {}
                }
            }
        });
        Self { notes, task }
    }

    /// When this Service was first seen with an address.
    pub fn given(&self, name: &str) -> Option<Instant> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.given.iter().find(|(known, _)| known == name).map(|(_, at)| *at)
    }

    /// An error that lists what happened although it must not.
    pub fn nothing_broken(&self) -> Result<()> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(notes.broken.is_empty(), "{}", notes.broken.join("\n"));
        Ok(())
    }
}

impl Notes {
    fn see(&mut self, service: &Service) {
        let name = service.name_any();
        let addresses = match ingress(service) {
            Ok(addresses) => addresses,
            Err(error) => {
                self.broken.push(format!("{name}: {error:#}"));
                return;
            }
        };
        if let Some(before) = self.known.get(&name).filter(|before| !before.is_empty() && **before != addresses) {
            self.broken.push(format!("{name} had {before:?} and now has {addresses:?}"));
        }
        for (other, theirs) in self.known.iter().filter(|(other, _)| **other != name) {
            if let Some(twice) = addresses.iter().find(|address| theirs.contains(address)) {
                self.broken.push(format!("{twice} is on {name} and on {other}"));
            }
        }
        if !addresses.is_empty() && !self.given.iter().any(|(known, _)| *known == name) {
            self.given.push((name.clone(), Instant::now()));
        }
        self.known.insert(name, addresses);
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        self.task.abort();
    }
}
