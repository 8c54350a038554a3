//! Keeps the four numbers in the status of each IPAddressPool right.
//!
//! ```text
//!  State::pool_status_writes() ──▶ one merge patch per pool under way ──▶ State::pool_status_stored()
//! ```
//! Somebody's manual edit is a difference like any other and is put right.

use std::collections::BTreeMap;
use std::time::Duration;

use api::names::FIELD_MANAGER_CONTROLLER;
use api::v1beta1::{IPAddressPool, IPAddressPoolStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use runtime::client::{explain, http_code, was_fenced};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::pool_objects::PoolStatusWrite;

/// Requests under way at once.
const LIMIT: usize = 4;
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A pool whose status could not be written is left alone for this long.
const PAUSE: Duration = Duration::from_secs(5);

/// A status that was stored: pool and numbers.
pub type Stored = (String, IPAddressPoolStatus);

/// The writer.
pub struct PoolStatus {
    api: Api<IPAddressPool>,
    running: JoinSet<(PoolStatusWrite, bool)>,
    /// Pools to leave alone: with a request under way (`None`) or after a failure.
    busy: BTreeMap<String, Option<Instant>>,
}

impl PoolStatus {
    /// A writer for the pools of one namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), running: JoinSet::new(), busy: BTreeMap::new() }
    }

    /// Starts what there is room for. Returns whether something is left for a later call.
    pub fn write(&mut self, writes: Vec<PoolStatusWrite>) -> bool {
        let now = Instant::now();
        self.busy.retain(|_, until| until.is_none_or(|until| until > now));
        let mut left = false;
        for write in writes {
            if self.running.len() >= LIMIT || self.busy.contains_key(&write.name) {
                left = true;
                continue;
            }
            self.busy.insert(write.name.clone(), None);
            let api = self.api.clone();
            self.running.spawn(async move {
                let stored = send(&api, &write).await;
                (write, stored)
            });
        }
        left
    }

    /// Whether requests are under way.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// The next request that ended; `None` when it failed. Waits for ever while none is under way.
    pub async fn done(&mut self) -> Option<Stored> {
        match self.running.join_next().await {
            Some(Ok((write, true))) => {
                self.busy.remove(&write.name);
                Some((write.name, write.status))
            }
            Some(Ok((write, false))) => {
                self.busy.insert(write.name, Some(Instant::now() + PAUSE));
                None
            }
            Some(Err(_)) => None,
            None => std::future::pending().await,
        }
    }
}

async fn send(api: &Api<IPAddressPool>, write: &PoolStatusWrite) -> bool {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER_CONTROLLER.to_owned()), ..PatchParams::default() };
    let body = Patch::Merge(json!({"status": write.status}));
    match timeout(WRITE_TIMEOUT, api.patch_status(&write.name, &params, &body)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) if http_code(&error) == Some(404) || was_fenced(&error) => false,
        Ok(Err(error)) => {
            let reason = explain(&error);
            tracing::error!(event = "updateFailed", pool = write.name, reason, "cannot write the status of the pool");
            false
        }
        Err(_) => false,
    }
}
