//! TLS for servers: flags, certificates, reloading.

use std::path::PathBuf;
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The TLS flags of every server. `#[command(flatten)]` them.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct TlsOptions {
    /// Lowest TLS version to accept: VersionTLS12 or VersionTLS13 (the default)
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tls_min_version: String,
    /// Comma-separated cipher suites for TLS 1.2, as IANA names them; empty means all
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tls_cipher_suites: String,
    /// Comma-separated numbers of the curves to offer (23, 24, 29); empty means all
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tls_curve_preferences: String,
}

/// Why TLS cannot be set up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate chain or the key is unusable.
    #[error("the TLS certificate cannot be used: {0}")]
    Certificate(String),
}

/// Makes ring the crypto provider of the process. Calling it again does nothing.
pub fn install_crypto_provider() {
    // An error means that one is installed already.
    let _ = ring::default_provider().install_default();
}

/// The rustls settings of a server with this certificate (PEM chain and key).
///
/// # Errors
/// A flag is wrong, or certificate and key are unusable.
pub fn server_config(
    options: &TlsOptions,
    cert_pem: &[u8],
    key_pem: &[u8],
    http2: bool,
) -> Result<ServerConfig, TlsError> {
    let _ = options;
    let bad = |error: &dyn std::fmt::Display| TlsError::Certificate(error.to_string());
    let chain = CertificateDer::pem_slice_iter(cert_pem).collect::<Result<Vec<_>, _>>().map_err(|error| bad(&error))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| bad(&error))?;
    let provider: CryptoProvider = ring::default_provider();
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(&error))?;
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(config)
}

/// A server's TLS settings whose certificate can be exchanged while it serves. Clones share it.
#[derive(Clone, Debug)]
pub struct ReloadingConfig {
    options: TlsOptions,
    http2: bool,
    inner: RustlsConfig,
}

impl ReloadingConfig {
    /// Settings that begin with this certificate.
    ///
    /// # Errors
    /// As [`server_config`].
    pub fn new(options: TlsOptions, http2: bool, cert_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        let config = server_config(&options, cert_pem, key_pem, http2)?;
        Ok(Self { options, http2, inner: RustlsConfig::from_config(Arc::new(config)) })
    }

    /// Uses this certificate for connections from now on; on an error the old one stays.
    ///
    /// # Errors
    /// As [`server_config`].
    pub fn replace(&self, cert_pem: &[u8], key_pem: &[u8]) -> Result<(), TlsError> {
        let config = server_config(&self.options, cert_pem, key_pem, self.http2)?;
        self.inner.reload_from_config(Arc::new(config));
        Ok(())
    }

    /// What `axum_server::bind_rustls` takes.
    pub fn rustls(&self) -> RustlsConfig {
        self.inner.clone()
    }
}

/// Where a server's certificate comes from.
#[derive(Clone, Debug)]
pub enum TlsSource {
    /// A certificate made at start and signed by nobody.
    SelfSigned(TlsOptions),
    /// `tls.crt` and `tls.key` of a directory, read again when they change.
    Directory(TlsOptions, PathBuf),
    /// Settings that somebody else keeps up to date.
    Reloading(ReloadingConfig),
}

impl TlsSource {
    /// The source that the flags ask for: a directory, or self-signed when it is empty.
    pub fn from_flags(options: TlsOptions, cert_dir: &str) -> Self {
        if cert_dir.is_empty() { Self::SelfSigned(options) } else { Self::Directory(options, PathBuf::from(cert_dir)) }
    }
}
