//! TLS for servers: MetalLB's flags, certificates, exchange of a certificate while serving.
//!
//! ```text
//!  --tls-min-version, --tls-cipher-suites, --tls-curve-preferences ──profile()──▶ Profile ─┐
//!  self-signed | directory (tls.crt, tls.key) | Secret ──PEM───────────────────────────────┴─▶ ReloadingConfig ─▶ axum-server
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{NamedGroup, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use crate::certs::self_signed;
use crate::repeats::Repeats;
use crate::shutdown::Shutdown;

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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// An unknown version.
    #[error("--tls-min-version={0} is not known; use VersionTLS12 or VersionTLS13")]
    Version(String),
    /// Cipher suites of TLS 1.3 cannot be chosen (MetalLB behaviour).
    #[error(
        "cipher suites cannot be configured with TLS 1.3; drop --tls-cipher-suites or add --tls-min-version=VersionTLS12"
    )]
    SuitesNeedTls12,
    /// A cipher suite that nobody knows.
    #[error("--tls-cipher-suites: {name} is not known; this build offers {offered}")]
    Suite {
        /// The name as it was given.
        name: String,
        /// What can be given instead.
        offered: String,
    },
    /// Every suite of the list is known but none is offered here.
    #[error("--tls-cipher-suites names no suite that this build offers; it offers {0}")]
    NoSuite(String),
    /// Not the number of a curve.
    #[error(
        "--tls-curve-preferences: {0} is not the number of a curve; this build offers 23 (P-256), 24 (P-384), 29 (X25519)"
    )]
    Curve(String),
    /// Every curve of the list is known but none is offered here.
    #[error("--tls-curve-preferences names no curve that this build offers: 23 (P-256), 24 (P-384), 29 (X25519)")]
    NoCurve,
    /// The certificate chain or the key is unusable.
    #[error("the TLS certificate cannot be used: {0}")]
    Certificate(String),
    /// The private key is unusable. What it holds is not repeated.
    #[error("the TLS key cannot be used: {0}")]
    Key(String),
}

/// The flags, checked.
#[derive(Clone, Debug)]
pub struct Profile {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    /// What was asked for and is left out because this build does not offer it.
    pub left_out: Vec<String>,
}

/// Suites that Go offers and ring does not: an installation that names them keeps starting.
const GO_ONLY_SUITES: &[&str] = &[
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// Curves that Go offers and ring does not: P-521 and the ML-KEM hybrids.
const GO_ONLY_CURVES: &[u16] = &[25, 4587, 4588, 4589];

impl TlsOptions {
    /// Checks the flags.
    ///
    /// # Errors
    /// An unknown name or number, or a list of which nothing is left.
    pub fn profile(&self) -> Result<Profile, TlsError> {
        let versions = match self.tls_min_version.trim() {
            "" | "VersionTLS13" => vec![&TLS13],
            "VersionTLS12" => vec![&TLS12, &TLS13],
            other => return Err(TlsError::Version(other.to_owned())),
        };
        let mut provider = ring::default_provider();
        let mut left_out = Vec::new();
        let suites = words(&self.tls_cipher_suites);
        if !suites.is_empty() {
            if versions.len() == 1 {
                return Err(TlsError::SuitesNeedTls12);
            }
            choose_suites(&mut provider, &suites, &mut left_out)?;
        }
        let curves = words(&self.tls_curve_preferences);
        if !curves.is_empty() {
            choose_curves(&mut provider, &curves, &mut left_out)?;
        }
        Ok(Profile { provider: Arc::new(provider), versions, left_out })
    }
}

fn words(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// Keeps the suites of TLS 1.3 and, of TLS 1.2, those that are named, in the order of their names.
fn choose_suites(provider: &mut CryptoProvider, names: &[&str], left_out: &mut Vec<String>) -> Result<(), TlsError> {
    let old = |suite: &SupportedCipherSuite| suite.tls13().is_none();
    let offered: Vec<String> =
        provider.cipher_suites.iter().filter(|suite| old(suite)).map(|suite| format!("{:?}", suite.suite())).collect();
    let mut chosen = Vec::new();
    for name in names {
        // Go once named the ChaCha20 suites without their hash.
        let full = if name.ends_with("_CHACHA20_POLY1305") { format!("{name}_SHA256") } else { (*name).to_owned() };
        match provider.cipher_suites.iter().find(|suite| old(suite) && format!("{:?}", suite.suite()) == full) {
            Some(suite) => chosen.push(*suite),
            None if GO_ONLY_SUITES.contains(name) => left_out.push(format!("cipher suite {name}")),
            None => return Err(TlsError::Suite { name: (*name).to_owned(), offered: offered.join(", ") }),
        }
    }
    if chosen.is_empty() {
        return Err(TlsError::NoSuite(offered.join(", ")));
    }
    provider.cipher_suites.retain(|suite| !old(suite));
    provider.cipher_suites.extend(chosen);
    Ok(())
}

/// Keeps the named curves, in the order of their names.
fn choose_curves(provider: &mut CryptoProvider, numbers: &[&str], left_out: &mut Vec<String>) -> Result<(), TlsError> {
    let mut chosen = Vec::new();
    for text in numbers {
        let Ok(number) = text.parse::<u16>() else { return Err(TlsError::Curve((*text).to_owned())) };
        match provider.kx_groups.iter().find(|group| group.name() == NamedGroup::from(number)) {
            Some(group) => chosen.push(*group),
            None if GO_ONLY_CURVES.contains(&number) => left_out.push(format!("curve {number}")),
            None => return Err(TlsError::Curve((*text).to_owned())),
        }
    }
    if chosen.is_empty() {
        return Err(TlsError::NoCurve);
    }
    provider.kx_groups = chosen;
    Ok(())
}

/// Makes ring the crypto provider of the process. Calling it again does nothing.
pub fn install_crypto_provider() {
    // An error means that one is installed already.
    let _ = ring::default_provider().install_default();
}

/// The rustls settings of a server with this certificate (PEM chain and key). HTTP/2 is offered only when asked for.
///
/// # Errors
/// A flag is wrong, or certificate and key are unusable or do not belong together.
pub fn server_config(
    options: &TlsOptions,
    cert_pem: &[u8],
    key_pem: &[u8],
    http2: bool,
) -> Result<ServerConfig, TlsError> {
    config_of(&options.profile()?, cert_pem, key_pem, http2)
}

fn config_of(profile: &Profile, cert_pem: &[u8], key_pem: &[u8], http2: bool) -> Result<ServerConfig, TlsError> {
    let chain = CertificateDer::pem_slice_iter(cert_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::Certificate(String::from("it holds no PEM block CERTIFICATE")));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| TlsError::Key(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(profile.provider.clone())
        .with_protocol_versions(&profile.versions)
        .map_err(|error| TlsError::Certificate(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(config)
}

/// A server's TLS settings whose certificate can be exchanged while it serves. Clones share it.
#[derive(Clone, Debug)]
pub struct ReloadingConfig {
    profile: Profile,
    http2: bool,
    inner: RustlsConfig,
}

impl ReloadingConfig {
    /// Settings that begin with this certificate. Logs what the flags ask for and this build does not offer.
    ///
    /// # Errors
    /// As [`server_config`].
    pub fn new(options: TlsOptions, http2: bool, cert_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        let profile = options.profile()?;
        let config = config_of(&profile, cert_pem, key_pem, http2)?;
        if !profile.left_out.is_empty() {
            tracing::warn!(
                event = "tls",
                "this build does not offer {}; the rest is used",
                profile.left_out.join(", ")
            );
        }
        Ok(Self { profile, http2, inner: RustlsConfig::from_config(Arc::new(config)) })
    }

    /// Uses this certificate for connections from now on; on an error the old one stays.
    ///
    /// # Errors
    /// As [`server_config`].
    pub fn replace(&self, cert_pem: &[u8], key_pem: &[u8]) -> Result<(), TlsError> {
        self.inner.reload_from_config(Arc::new(config_of(&self.profile, cert_pem, key_pem, self.http2)?));
        Ok(())
    }

    /// What `axum_server::from_tcp_rustls` takes.
    pub fn rustls(&self) -> RustlsConfig {
        self.inner.clone()
    }
}

/// Where a server's certificate comes from.
#[derive(Clone, Debug)]
pub enum TlsSource {
    /// A certificate made at start that no authority signed.
    SelfSigned(TlsOptions),
    /// `tls.crt` and `tls.key` of a directory, read again when they change.
    Directory(TlsOptions, PathBuf),
    /// Settings that somebody else keeps up to date.
    Reloading(ReloadingConfig),
}

/// How often a directory is looked at. Mounted Secrets change atomically, minutes after the Secret itself.
const DIRECTORY_PERIOD: Duration = Duration::from_secs(30);

impl TlsSource {
    /// The source that the flags ask for: a directory, or self-signed when it is empty.
    pub fn from_flags(options: TlsOptions, cert_dir: &str) -> Self {
        if cert_dir.is_empty() { Self::SelfSigned(options) } else { Self::Directory(options, PathBuf::from(cert_dir)) }
    }

    /// Loads the certificate; a directory is watched in the background until the shutdown. Call inside the tokio runtime.
    ///
    /// # Errors
    /// A flag is wrong, a file is missing or unusable.
    pub async fn open(self, http2: bool, shutdown: &Shutdown) -> anyhow::Result<ReloadingConfig> {
        match self {
            Self::SelfSigned(options) => {
                let made = self_signed(Timestamp::now(), &[String::from("localhost")])?;
                Ok(ReloadingConfig::new(options, http2, made.cert_pem.as_bytes(), made.key_pem.as_bytes())?)
            }
            Self::Directory(options, directory) => {
                let files = read_directory(&directory).await?;
                let config = ReloadingConfig::new(options, http2, &files.0, &files.1)
                    .with_context(|| format!("cannot serve with tls.crt and tls.key of {}", directory.display()))?;
                tokio::spawn(follow_directory(directory, files, config.clone(), shutdown.clone()));
                Ok(config)
            }
            Self::Reloading(config) => Ok(config),
        }
    }
}

async fn read_directory(directory: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let read = async |name: &str| {
        let path = directory.join(name);
        tokio::fs::read(&path)
            .await
            .with_context(|| format!("cannot read {}; mount a Secret of type kubernetes.io/tls there", path.display()))
    };
    Ok((read("tls.crt").await?, read("tls.key").await?))
}

async fn follow_directory(
    directory: PathBuf,
    mut files: (Vec<u8>, Vec<u8>),
    config: ReloadingConfig,
    shutdown: Shutdown,
) {
    let mut repeats = Repeats::default();
    while shutdown.or(tokio::time::sleep(DIRECTORY_PERIOD)).await.is_some() {
        if let Err(error) = reload_directory(&directory, &mut files, &config).await {
            let text = format!("{error:#}; the certificate in use stays");
            if repeats.failed(&text, Instant::now()) {
                tracing::error!(event = "tls", "{text}");
            }
        } else {
            repeats.succeeded();
        }
    }
}

async fn reload_directory(
    directory: &Path,
    files: &mut (Vec<u8>, Vec<u8>),
    config: &ReloadingConfig,
) -> anyhow::Result<()> {
    let found = read_directory(directory).await?;
    if found != *files {
        config
            .replace(&found.0, &found.1)
            .with_context(|| format!("cannot use the new files of {}", directory.display()))?;
        *files = found;
        tracing::info!(event = "tls", directory = %directory.display(), "certificate reloaded");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(version: &str, suites: &str, curves: &str) -> TlsOptions {
        TlsOptions {
            tls_min_version: version.to_owned(),
            tls_cipher_suites: suites.to_owned(),
            tls_curve_preferences: curves.to_owned(),
        }
    }

    fn error(version: &str, suites: &str, curves: &str) -> String {
        options(version, suites, curves).profile().unwrap_err().to_string()
    }

    fn pair() -> (Vec<u8>, Vec<u8>) {
        let made = self_signed(Timestamp::now(), &[String::from("localhost")]).unwrap();
        (made.cert_pem.into_bytes(), made.key_pem.into_bytes())
    }

    #[test]
    fn tls_1_3_is_the_default_and_1_2_can_be_added() {
        assert_eq!(TlsOptions::default().profile().unwrap().versions, [&TLS13]);
        assert_eq!(options("VersionTLS13", "", "").profile().unwrap().versions, [&TLS13]);
        assert_eq!(options("VersionTLS12", "", "").profile().unwrap().versions, [&TLS12, &TLS13]);
        assert_eq!(
            error("VersionTLS11", "", ""),
            "--tls-min-version=VersionTLS11 is not known; use VersionTLS12 or VersionTLS13"
        );
    }

    #[test]
    fn named_suites_of_tls_1_2_replace_the_others() {
        let list = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA";
        let profile = options("VersionTLS12", list, "").profile().unwrap();
        let names: Vec<String> =
            profile.provider.cipher_suites.iter().skip(3).map(|suite| format!("{:?}", suite.suite())).collect();
        assert_eq!(names, ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]);
        assert_eq!(profile.left_out, ["cipher suite TLS_RSA_WITH_AES_128_CBC_SHA"]);
    }

    #[test]
    fn wrong_suites_are_explained() {
        let one = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
        assert!(error("", one, "").starts_with("cipher suites cannot be configured with TLS 1.3"));
        assert!(
            error("VersionTLS12", "TLS_ROT13", "")
                .starts_with("--tls-cipher-suites: TLS_ROT13 is not known; this build")
        );
        assert!(
            error("VersionTLS12", "TLS_RSA_WITH_RC4_128_SHA", "").contains("names no suite that this build offers")
        );
    }

    #[test]
    fn curves_are_taken_in_the_given_order() {
        let profile = options("", "", "4588,24,29").profile().unwrap();
        let names: Vec<NamedGroup> = profile.provider.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(names, [NamedGroup::secp384r1, NamedGroup::X25519]);
        assert_eq!(profile.left_out, ["curve 4588"]);
        assert!(error("", "", "X25519").contains("X25519 is not the number of a curve"));
        assert!(error("", "", "7").contains("7 is not the number of a curve"));
        assert!(error("", "", "25").starts_with("--tls-curve-preferences names no curve"));
    }

    #[test]
    fn http_2_is_offered_only_when_asked_for() {
        let (cert, key) = pair();
        let plain = server_config(&TlsOptions::default(), &cert, &key, false).unwrap();
        assert_eq!(plain.alpn_protocols, [b"http/1.1".to_vec()]);
        let both = server_config(&TlsOptions::default(), &cert, &key, true).unwrap();
        assert_eq!(both.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn garbage_and_foreign_keys_are_errors_that_do_not_show_the_key() {
        let (cert, key) = pair();
        let check =
            |cert: &[u8], key: &[u8]| server_config(&TlsOptions::default(), cert, key, false).unwrap_err().to_string();
        assert_eq!(check(b"", &key), "the TLS certificate cannot be used: it holds no PEM block CERTIFICATE");
        let text = check(&cert, b"hunter2");
        assert!(text.starts_with("the TLS key cannot be used: ") && !text.contains("hunter2"), "{text}");
        assert!(check(&cert, &pair().1).starts_with("the TLS certificate cannot be used: "));
    }

    #[tokio::test]
    async fn a_missing_directory_names_the_file_and_the_remedy() {
        let source = TlsSource::from_flags(TlsOptions::default(), "/nonexistent");
        let error = source.open(false, &Shutdown::new()).await.unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot read /nonexistent/tls.crt; mount a Secret"), "{error:#}");
    }

    #[tokio::test]
    async fn changed_files_are_used_and_broken_ones_are_not() {
        let directory = std::env::temp_dir().join(format!("metallb-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let write = |(cert, key): &(Vec<u8>, Vec<u8>)| {
            std::fs::write(directory.join("tls.crt"), cert).unwrap();
            std::fs::write(directory.join("tls.key"), key).unwrap();
        };
        let (first, second) = (pair(), pair());
        write(&first);
        let shutdown = Shutdown::new();
        let source = TlsSource::from_flags(TlsOptions::default(), directory.to_str().unwrap());
        let config = source.open(false, &shutdown).await.unwrap();
        let before = config.rustls().get_inner();

        let mut files = first;
        write(&second);
        reload_directory(&directory, &mut files, &config).await.unwrap();
        let after = config.rustls().get_inner();
        assert!(!Arc::ptr_eq(&before, &after));

        std::fs::write(directory.join("tls.crt"), "broken").unwrap();
        assert!(reload_directory(&directory, &mut files, &config).await.is_err());
        assert!(Arc::ptr_eq(&after, &config.rustls().get_inner()));
        shutdown.trigger();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
