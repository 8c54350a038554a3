//! Flags of the webhook. The names are those of MetalLB's controller, which used to be the webhook as well.

use std::path::Path;

use anyhow::{Context, bail};
use api::names;
use clap::{ArgAction, Parser, ValueEnum};
use runtime::args::{LogLevel, go_bool};
use runtime::tls::TlsOptions;

/// Where Kubernetes tells a pod its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Judges changes of MetalLB's resources before the apiserver stores them.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Namespace of MetalLB; by default the pod's own.
    #[arg(long, env = "METALLB_NAMESPACE", default_value = "", hide_default_value = true)]
    pub namespace: String,

    /// HTTPS port that the apiserver calls, on all addresses.
    #[arg(long, default_value_t = 9443)]
    pub webhook_port: u16,

    /// HTTPS port for metrics, on all addresses; 0 turns it off.
    #[arg(long, default_value_t = 9120)]
    pub port: u16,

    /// Plain HTTP port for /healthz and /readyz, on all addresses; 0 turns it off.
    #[arg(long, default_value_t = 17472)]
    pub health_probe_port: u16,

    /// How much to log.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,

    /// Directory with tls.crt and tls.key, read when rotation is disabled.
    #[arg(long, default_value = "/tmp/k8s-webhook-server/serving-certs")]
    pub cert_dir: String,

    /// Directory with tls.crt and tls.key for metrics; empty means a self-signed certificate.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub metrics_cert_dir: String,

    /// Serve the certificate of --cert-dir, which somebody else renews, and leave the caBundles alone.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = ArgAction::Set, value_parser = go_bool)]
    pub disable_cert_rotation: bool,

    /// Secret that holds the certificate authority and the certificate.
    #[arg(long, default_value = names::WEBHOOK_SECRET)]
    pub webhook_secret: String,

    /// Service through which the apiserver calls.
    #[arg(long, default_value = names::WEBHOOK_SERVICE)]
    pub cert_service_name: String,

    /// Offer HTTP/2.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = ArgAction::Set, value_parser = go_bool)]
    pub webhook_http2: bool,

    /// Namespace of a foreign frr-k8s, when the MetalLB resource names none.
    #[arg(long, env = "FRRK8S_EXTERNAL_NAMESPACE", default_value = "", hide_default_value = true)]
    pub frrk8s_namespace: String,

    /// Accepted for manifests of MetalLB; this program is always only the webhook.
    #[arg(long, value_enum, default_value_t = WebhookMode::Onlywebhook, hide = true)]
    pub webhook_mode: WebhookMode,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its own documentation describes the flags")]
    pub tls: TlsOptions,
}

/// Values of a flag that means nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the flag is ignored")]
pub enum WebhookMode {
    Enabled,
    Disabled,
    Onlywebhook,
}

impl Args {
    /// The namespace of MetalLB.
    ///
    /// # Errors
    /// Neither flag nor environment name it, and this is no pod.
    pub fn own_namespace(&self) -> anyhow::Result<String> {
        if !self.namespace.is_empty() {
            return Ok(self.namespace.clone());
        }
        let namespace = namespace_of(Path::new(NAMESPACE_FILE))
            .context("the namespace of MetalLB is not known; set --namespace or METALLB_NAMESPACE")?;
        Ok(namespace)
    }

    /// The namespace of a foreign frr-k8s, if one is given.
    pub fn external_namespace(&self) -> Option<String> {
        (!self.frrk8s_namespace.is_empty()).then(|| self.frrk8s_namespace.clone())
    }
}

fn namespace_of(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    match text.trim() {
        "" => bail!("{} is empty", file.display()),
        name => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::process::ExitCode;

    use super::*;

    fn parse(line: &str) -> Result<Args, ExitCode> {
        runtime::args::parse("webhook", line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_flags_of_metallbs_webhook_deployment_are_understood() {
        let args = parse("webhook --webhook-mode=onlywebhook --port=9120 -log-level info --disable-cert-rotation=true")
            .unwrap();
        assert_eq!((args.port, args.webhook_port, args.disable_cert_rotation), (9120, 9443, true));
        assert_eq!(args.cert_dir, "/tmp/k8s-webhook-server/serving-certs");
        assert_eq!(
            (args.webhook_secret.as_str(), args.cert_service_name.as_str()),
            ("metallb-webhook-cert", "metallb-webhook-service")
        );
    }

    #[test]
    fn a_wrong_flag_ends_the_program_with_code_2() {
        for line in ["webhook --prot=9", "webhook --webhook-mode=sometimes", "webhook --webhook-port=99999"] {
            assert_eq!(parse(line).unwrap_err(), ExitCode::from(2), "{line}");
        }
    }

    #[test]
    fn an_unknown_namespace_is_explained_with_the_remedy() {
        assert_eq!(parse("webhook --namespace=here").unwrap().own_namespace().unwrap(), "here");
        let error = namespace_of(Path::new("/nonexistent/namespace")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/namespace");
    }
}
