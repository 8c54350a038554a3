//! When which Service got its address, as a watch of the API server shows it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Only what is looked at: this program shares the processors with what it measures.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = Service)]
struct Seen {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    #[serde(default, rename = "loadBalancer")]
    load_balancer: LoadBalancer,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct LoadBalancer {
    #[serde(default)]
    ingress: Vec<Entry>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Entry {}

/// A running watch of one namespace.
pub struct Observer {
    known: Arc<Mutex<HashMap<String, Instant>>>,
    count: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Observer {
    /// Starts to watch.
    pub fn start(client: Client, namespace: &str) -> Self {
        let known: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
        let (tell, count) = watch::channel(0);
        let api: Api<Seen> = Api::namespaced(client, namespace);
        let shared = Arc::clone(&known);
        let task = tokio::spawn(async move {
            let events = watcher(api, Config::default());
            pin_mut!(events);
            while let Some(event) = events.next().await {
                let now = Instant::now();
                let mut known = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(Event::Apply(seen) | Event::InitApply(seen)) => {
                        let name = seen.metadata.name.unwrap_or_default();
                        if seen.status.load_balancer.ingress.is_empty() {
                            known.remove(&name);
                        } else {
                            known.entry(name).or_insert(now);
                        }
                    }
                    Ok(Event::Delete(seen)) => {
                        known.remove(&seen.metadata.name.unwrap_or_default());
                    }
                    // The list that follows says it all again; an error is followed by a list.
                    Ok(Event::Init | Event::InitDone) | Err(_) => {}
                }
                tell.send_replace(known.len());
            }
        });
        Self { known, count, task }
    }

    /// When a Service was first seen with its address; `None` while it has none.
    pub fn of(&self, name: &str) -> Option<Instant> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// How many have an address.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until all of these have an address; each with its time.
    pub async fn all(&self, names: &[String], patience: Duration) -> Result<Vec<Instant>> {
        let mut count = self.count.clone();
        let found = async {
            loop {
                let have: Option<Vec<Instant>> = names.iter().map(|name| self.of(name)).collect();
                if let Some(have) = have {
                    return Ok(have);
                }
                count.changed().await.context("the watch ended")?;
            }
        };
        match tokio::time::timeout(patience, found).await {
            Ok(found) => found,
            Err(_) => {
                let without = names.iter().filter(|name| self.of(name).is_none()).count();
                Err(anyhow!("{without} of {} Services have no address after {} s", names.len(), patience.as_secs()))
            }
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
