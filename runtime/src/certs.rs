//! Certificates for the webhook server.

use std::fmt;

use jiff::Timestamp;
use kube::Client;

use crate::shutdown::Shutdown;
use crate::tls::ReloadingConfig;

/// A server's certificate, its key and the authority that signed it, all PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The authority's certificate: what clients must trust.
    pub ca_pem: String,
    /// The server's certificate chain.
    pub cert_pem: String,
    /// The server's private key.
    pub key_pem: String,
    /// When the server's certificate ends.
    pub not_after: Timestamp,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Which certificate a program needs and who must trust it.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret with keys `ca.crt`, `ca.key`, `tls.crt`, `tls.key`.
    pub secret_name: String,
    /// Names that clients connect to.
    pub dns_names: Vec<String>,
    /// Field manager of our writes.
    pub field_manager: String,
    /// ValidatingWebhookConfigurations whose caBundle must hold the authority.
    pub webhook_configurations: Vec<String>,
}

/// Reads the certificates from the Secret; makes or renews them when needed.
///
/// # Errors
/// The apiserver refuses a read or a write.
pub async fn ensure(
    client: &Client,
    namespace: &str,
    secret_name: &str,
    dns_names: &[String],
    field_manager: &str,
) -> anyhow::Result<Certificates> {
    let _ = (client, namespace, secret_name, dns_names, field_manager);
    anyhow::bail!("certificates cannot be made yet")
}

/// Puts `ca_pem` into the caBundle of every webhook of a ValidatingWebhookConfiguration; true when it had to write.
///
/// # Errors
/// The object does not exist or the apiserver refuses the write.
pub async fn inject_ca_bundle(client: &Client, name: &str, ca_pem: &str) -> anyhow::Result<bool> {
    let _ = (client, name, ca_pem);
    anyhow::bail!("caBundles cannot be written yet")
}

/// Keeps certificates fresh and injected until the shutdown.
///
/// # Errors
/// None today; the result makes it usable as a task.
pub async fn maintain(
    client: Client,
    request: CertificateRequest,
    tls: ReloadingConfig,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let _ = (client, request, tls);
    shutdown.wait().await;
    Ok(())
}
