//! What the kubelet's probes ask.
//!
//! ```text
//!  owner task ──heartbeat()──▶ /healthz  200 ok | 503 "no heartbeat for 75s"
//!  wiring     ──set_ready()──▶ /readyz   200 ok | 503 reason
//! ```
//! Liveness is the age of the owner task's heartbeat, so a stuck task is restarted; readiness is "synced and listening".

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::listen::listen;
use crate::shutdown::Shutdown;

/// A heartbeat older than this means that the owner task hangs.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(60);

/// The health of a program. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug)]
struct State {
    /// Why the program is not ready; `None` when it is.
    unready: Option<String>,
    heartbeat: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Alive and not ready yet.
    pub fn new() -> Self {
        let state = State { unready: Some(String::from("still starting")), heartbeat: None };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Says whether the program is ready to do its work.
    pub fn set_ready(&self, ready: bool) {
        self.with(|state| state.unready = (!ready).then(|| String::from("not ready")));
    }

    /// Says that the program is not ready and why; the reason is the body of the probe's answer.
    pub fn set_unready(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.with(|state| state.unready = Some(reason));
    }

    /// Says that the owner task is at work. Call it at least every 20 s once it was called.
    pub fn heartbeat(&self) {
        self.with(|state| state.heartbeat = Some(Instant::now()));
    }

    /// Whether the program is ready.
    pub fn is_ready(&self) -> bool {
        self.with(|state| state.unready.is_none())
    }

    /// Answers `/healthz` and `/readyz` on `addr` over plain HTTP until the shutdown. Port 0 serves nothing.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve(&self, addr: SocketAddr, shutdown: Shutdown) -> anyhow::Result<()> {
        if addr.port() == 0 {
            shutdown.wait().await;
            return Ok(());
        }
        let listener = listen(addr, "health probes", "--health-probe-port")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("cannot use a socket")?;
        self.serve_on(listener, shutdown).await
    }

    async fn serve_on(&self, listener: tokio::net::TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
        let (alive, ready) = (self.clone(), self.clone());
        let router = Router::new()
            .route("/healthz", get(async move || answer(alive.with(|state| liveness(state, Instant::now())))))
            .route("/readyz", get(async move || answer(ready.with(|state| state.unready.clone()))));
        axum::serve(listener, router)
            .with_graceful_shutdown(async move { shutdown.wait().await })
            .await
            .context("the health probe server failed")
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why the program counts as dead at `now`, if it does. Without any heartbeat it counts as alive.
fn liveness(state: &State, now: Instant) -> Option<String> {
    let age = now.saturating_duration_since(state.heartbeat?);
    (age > HEARTBEAT_LIMIT).then(|| format!("no heartbeat for {}s", age.as_secs()))
}

fn answer(trouble: Option<String>) -> (StatusCode, String) {
    match trouble {
        None => (StatusCode::OK, String::from("ok")),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn fetch(addr: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_tell_ready_from_not_ready_and_stop_with_the_program() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (health, shutdown) = (Health::new(), Shutdown::new());
        let (served, until) = (health.clone(), shutdown.clone());
        let server = tokio::spawn(async move { served.serve_on(listener, until).await });

        assert!(fetch(addr, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = fetch(addr, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("still starting"), "{answer}");
        health.set_ready(true);
        let answer = fetch(addr, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
        health.set_unready("waiting for Services");
        assert!(fetch(addr, "/readyz").await.ends_with("waiting for Services"));

        shutdown.trigger();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_flag_that_changes_it() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = Health::new().serve(taken.local_addr().unwrap(), Shutdown::new()).await.unwrap_err();
        assert!(error.to_string().contains("choose a free --health-probe-port"), "{error}");
    }

    #[test]
    fn only_an_old_heartbeat_means_dead() {
        let now = Instant::now();
        let mut state = State { unready: None, heartbeat: None };
        assert_eq!(liveness(&state, now), None);
        state.heartbeat = Some(now);
        assert_eq!(liveness(&state, now + HEARTBEAT_LIMIT), None);
        assert_eq!(liveness(&state, now + Duration::from_secs(75)), Some(String::from("no heartbeat for 75s")));
    }
}
