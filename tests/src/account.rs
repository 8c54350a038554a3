//! Being a service account: tokens, and clients that have no more rights than its programs.

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::json;

use crate::testbed::{Testbed, layout, pki};

/// A token of a service account, valid for an hour.
///
/// # Errors
/// The account does not exist, or the API server does not answer.
pub async fn token(bed: &Testbed, namespace: &str, account: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(bed.api(), namespace);
    let wanted = TokenRequest {
        spec: TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let answer = accounts.create_token_request(account, &PostParams::default(), &wanted).await;
    let answer = answer.with_context(|| format!("ask for a token of {namespace}/{account}"))?;
    Ok(answer.status.context("the answer holds no token")?.token)
}

/// Kubeconfig text of a service account, for programs inside the sandbox.
///
/// # Errors
/// As [`token`].
pub async fn kubeconfig(bed: &Testbed, namespace: &str, account: &str) -> Result<String> {
    let authority = bed.dir().join("pki/ca.crt");
    let authority = std::fs::read_to_string(&authority).with_context(|| format!("read {}", authority.display()))?;
    let user = json!({"token": token(bed, namespace, account).await?});
    Ok(pki::kubeconfig(&layout::hub().v4.to_string(), &authority, &user))
}

/// A client that is this service account.
///
/// # Errors
/// As [`token`].
pub async fn client(bed: &Testbed, namespace: &str, account: &str) -> Result<Client> {
    let text = kubeconfig(bed, namespace, account).await?;
    let config = Kubeconfig::from_yaml(&text).context("understand our own kubeconfig")?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .context("use our own kubeconfig")?;
    config.proxy_url = None;
    Client::try_from(config).context("make the client of a service account")
}
