//! The command line, with MetalLB's flags and environment variables.
//!
//! ```text
//! flags, environment --clap--> Args --settings--> Settings (checked: namespace, webhook mode)
//! ```
//! Flags about the webhook are accepted so that existing manifests keep working; admission is a program of its own here.

use std::path::Path;

use runtime::args::{LogLevel, go_bool};
use runtime::tls::TlsOptions;

/// Where a pod finds the namespace it runs in.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Gives addresses to Services of type LoadBalancer.
#[derive(Debug, Clone, clap::Parser)]
pub struct Args {
    /// Port of the metrics (HTTPS); 0 serves none
    #[arg(long, default_value_t = 9120)]
    pub port: u16,
    /// Namespace of MetalLB's own objects; default is the pod's namespace
    #[arg(long, env = "METALLB_NAMESPACE", default_value = "", hide_default_value = true)]
    pub namespace: String,
    /// Name of the Secret with the key of MetalLB's speakers, made if it does not exist; empty makes none
    #[arg(long, env = "METALLB_ML_SECRET_NAME", default_value = "", hide_default_value = true)]
    pub ml_secret_name: String,
    /// Name of the Deployment this controller belongs to; it owns the Secret
    #[arg(long, env = "METALLB_DEPLOYMENT", default_value = "", hide_default_value = true)]
    pub deployment: String,
    /// How much to log
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// Ignored, for compatibility: there is no Go profile to serve
    #[arg(long, default_value = "", hide = true)]
    pub pprof_bind_address: String,
    /// Port of the health probes, on all addresses; 0 serves none
    #[arg(long, default_value_t = 17472)]
    pub health_probe_port: u16,
    /// Ignored, for compatibility: the webhook keeps its own certificates
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = clap::ArgAction::Set, value_parser = go_bool, hide = true)]
    pub disable_cert_rotation: bool,
    /// Ignored, for compatibility
    #[arg(long, default_value = "", hide = true)]
    pub cert_dir: String,
    /// Ignored, for compatibility
    #[arg(long, default_value = "", hide = true)]
    pub cert_service_name: String,
    /// Load balancer class to serve; empty means Services without a class
    #[arg(long, default_value = "", hide_default_value = true)]
    pub lb_class: String,
    /// For compatibility: enabled and disabled mean the same here, the webhook is a program of its own
    #[arg(long, default_value = "enabled", hide = true)]
    pub webhook_mode: String,
    /// Ignored, for compatibility
    #[arg(long, default_value = "", hide = true)]
    pub webhook_secret: String,
    /// Name of the pod this controller runs in; what it keeps in the API goes with that pod
    #[arg(long, env = "METALLB_POD_NAME", default_value = "", hide_default_value = true)]
    pub pod_name: String,
    /// Ignored, for compatibility
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = clap::ArgAction::Set, value_parser = go_bool, hide = true)]
    pub webhook_http2: bool,
    /// TLS of the metrics.
    #[command(flatten)]
    pub tls: TlsOptions,
    /// Directory with tls.crt and tls.key for the metrics; empty means a self-signed certificate
    #[arg(long, default_value = "", hide_default_value = true)]
    pub metrics_cert_dir: String,
}

/// A command line that cannot work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Nobody said where MetalLB's objects are.
    #[error("must specify --namespace or METALLB_NAMESPACE when not running in a pod ({NAMESPACE_FILE} is not there)")]
    Namespace,
    /// A value that MetalLB does not know either (its text, then ours).
    #[error("invalid webhookmode value {0:?}; use enabled or disabled")]
    WebhookMode(String),
    /// The one mode in which MetalLB's controller gives out no addresses.
    #[error("--webhook-mode=onlywebhook is not served by the controller; run the program webhook instead")]
    OnlyWebhook,
}

/// What the flags come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of MetalLB's own objects.
    pub namespace: String,
    /// Load balancer class to serve; `None` means Services without a class.
    pub class: Option<String>,
}

impl Args {
    /// Checks the flags.
    ///
    /// # Errors
    /// [`ArgsError`], naming the flag.
    pub fn settings(&self) -> Result<Settings, ArgsError> {
        self.settings_in(Path::new(NAMESPACE_FILE))
    }

    fn settings_in(&self, namespace_file: &Path) -> Result<Settings, ArgsError> {
        match self.webhook_mode.as_str() {
            "enabled" | "disabled" => {}
            "onlywebhook" => return Err(ArgsError::OnlyWebhook),
            other => return Err(ArgsError::WebhookMode(other.to_owned())),
        }
        let of_pod = || std::fs::read_to_string(namespace_file).ok().map(|text| text.trim().to_owned());
        let namespace = Some(self.namespace.clone()).filter(|name| !name.is_empty()).or_else(of_pod);
        let namespace = namespace.filter(|name| !name.is_empty()).ok_or(ArgsError::Namespace)?;
        Ok(Settings { namespace, class: Some(self.lb_class.clone()).filter(|class| !class.is_empty()) })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        let line = runtime::args::go_style(std::iter::once("controller").chain(flags.iter().copied()).map(Into::into));
        let args = Args::try_parse_from(line).map_err(|error| error.to_string())?;
        args.settings_in(Path::new("/nonexistent")).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_of_existing_manifests_are_accepted_in_gos_form() {
        let line = [
            "--port=9120",
            "-log-level=info",
            "--webhook-mode",
            "disabled",
            "-tls-min-version=VersionTLS12",
            "--namespace=metallb-system",
            "--disable-cert-rotation=true",
            "--webhook-http2",
            "--lb-class=metallb",
            "--ml-secret-name=x",
            "--pprof-bind-address=127.0.0.1:6060",
        ];
        let expected = Settings { namespace: "metallb-system".into(), class: Some("metallb".into()) };
        assert_eq!(settings(&line), Ok(expected));
        let expected = Settings { namespace: "x".into(), class: None };
        assert_eq!(settings(&["--namespace=x", "--lb-class="]), Ok(expected));
    }

    #[test]
    fn a_command_line_that_cannot_work_says_how_to_mend_it() {
        let cases: [(&[&str], &str); 3] = [
            (&[], "must specify --namespace or METALLB_NAMESPACE"),
            (&["--namespace=x", "--webhook-mode=y"], "invalid webhookmode value \"y\"; use enabled or disabled"),
            (&["--namespace=x", "--webhook-mode=onlywebhook"], "run the program webhook instead"),
        ];
        for (flags, expected) in cases {
            let error = settings(flags).expect_err("must fail");
            assert!(error.contains(expected), "{flags:?}: {error}");
        }
        assert!(settings(&["--namespace=x", "--nonsense"]).is_err());
    }
}
