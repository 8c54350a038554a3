//! The Kubernetes client.

use std::time::Duration;

use anyhow::Context;
use http::header::{HeaderValue, USER_AGENT};
use kube::{Client, Config};

use crate::shutdown::Shutdown;

/// Whether the client itself repeats requests that the apiserver refused for the moment (429, 503, 504).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Up to 15 times, which can take minutes. For the operator.
    Default,
    /// Never: the caller's own loop repeats. For the speaker, which must not wait.
    Never,
}

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client for the cluster of `KUBECONFIG`, else of the pod this program runs in.
///
/// `user_agent` is what the apiserver's audit log shows; make it with [`user_agent`].
///
/// # Errors
/// Neither configuration is usable. The network is not touched: see [`wait_for_api`].
pub async fn connect(user_agent: &str, retry: Retry) -> anyhow::Result<Client> {
    let mut config = Config::infer().await.context("no Kubernetes cluster is configured")?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.default_retry = retry == Retry::Default;
    config.headers.push((USER_AGENT, HeaderValue::from_str(user_agent).context("cannot use the user agent")?));
    Client::try_from(config).context("cannot build a Kubernetes client")
}

/// The user agent of a program, `metallb-rs-<program>/<version>`.
pub fn user_agent(program: &str) -> String {
    format!("metallb-rs-{program}/{}", crate::version())
}

/// Waits until the apiserver answers. Returns false when the shutdown came first.
#[must_use]
pub async fn wait_for_api(client: &Client, shutdown: &Shutdown) -> bool {
    loop {
        match shutdown.or(client.apiserver_version()).await {
            None => return false,
            Some(Ok(_)) => return true,
            Some(Err(_)) => {}
        }
        if shutdown.or(tokio::time::sleep(Duration::from_secs(1))).await.is_none() {
            return false;
        }
    }
}

/// One line that says why a request failed, without the debug noise of [`kube::Error`]'s own text.
pub fn explain(error: &kube::Error) -> String {
    error.to_string()
}
