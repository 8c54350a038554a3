//! The command line, with MetalLB's flags and environment variables.
//!
//! ```text
//! flags, environment --clap--> Args --settings--> Settings (checked: node name, namespace, backend)
//! ```
//! Flags of features that are not built yet are accepted, so that existing manifests keep working.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use config::Backend;
use membership::{BadName, NodeName};
use runtime::args::{LogLevel, go_bool};
use runtime::tls::TlsOptions;

use crate::members::Members;
use crate::membership_task::Bind;
use crate::renewal::OwnershipMode;
use crate::state::Settings;

/// Where a pod finds the namespace it runs in.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The file in the directory of the key, as in MetalLB's Secret.
const KEY_FILE: &str = "secretkey";

/// Announces the addresses of Services to the network.
#[derive(Debug, Clone, clap::Parser)]
pub struct Args {
    /// Milliseconds to collect changes before FRR is reconfigured (frr mode)
    #[arg(long, env = "METALLB_BGP_DEBOUNCE_TIMEOUT", default_value_t = 3000)]
    pub bgp_debounce_timeout: u32,
    /// Namespace of MetalLB's own objects; default is the pod's namespace
    #[arg(long, env = "METALLB_NAMESPACE", default_value = "", hide_default_value = true)]
    pub namespace: String,
    /// Ignored, for compatibility
    #[arg(long, env = "METALLB_HOST", default_value = "", hide = true)]
    pub host: String,
    /// Address the speakers talk to one another on
    #[arg(long, env = "METALLB_ML_BIND_ADDR", default_value = "", hide_default_value = true)]
    pub ml_bindaddr: String,
    /// Port the speakers talk to one another on
    #[arg(long, env = "METALLB_ML_BIND_PORT", default_value_t = 7946)]
    pub ml_bindport: u16,
    /// Label selector of the speaker pods; empty means that a speaker runs on every node
    #[arg(long, env = "METALLB_ML_LABELS", default_value = "", hide_default_value = true)]
    pub ml_labels: String,
    /// Directory of the key that seals the speakers' talk
    #[arg(long, env = "METALLB_ML_SECRET_KEY_PATH", default_value = "", hide_default_value = true)]
    pub ml_secret_key_path: String,
    /// Speakers are far apart: be patient with one another
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = clap::ArgAction::Set, value_parser = go_bool, hide_default_value = true)]
    pub ml_wan_config: bool,
    /// Before an address is announced for the first time, ask for 200 ms whether another host has it (RFC 5227)
    #[arg(long, env = "METALLB_L2_CONFLICT_PROBE", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    pub l2_conflict_probe: bool,
    /// What has to hold before a node answers for an address: fast (it is the first of those who live, as far as it knows),
    /// quorum (besides, it hears more than half of the nodes)
    #[arg(long, env = "METALLB_L2_OWNERSHIP", value_enum, default_value_t = OwnershipMode::Fast)]
    pub l2_ownership: OwnershipMode,
    /// Name of the node this speaker runs on
    #[arg(long, env = "METALLB_NODE_NAME", default_value = "", hide_default_value = true)]
    pub node_name: String,
    /// Name of the pod this speaker runs in
    #[arg(long, env = "METALLB_POD_NAME", default_value = "", hide_default_value = true)]
    pub pod_name: String,
    /// Port of the metrics (HTTPS); 0 serves none
    #[arg(long, default_value_t = 9120)]
    pub port: u16,
    /// How much to log
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// Ignored, for compatibility: there is no Go profile to serve
    #[arg(long, default_value = "", hide = true)]
    pub pprof_bind_address: String,
    /// Port of the health probes, on 127.0.0.1; 0 serves none
    #[arg(long, default_value_t = 17472)]
    pub health_probe_port: u16,
    /// Load balancer class to serve; empty means Services without a class
    #[arg(long, default_value = "", hide_default_value = true)]
    pub lb_class: String,
    /// Also announce from nodes labelled node.kubernetes.io/exclude-from-external-load-balancers
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = clap::ArgAction::Set, value_parser = go_bool, hide_default_value = true)]
    pub ignore_exclude_lb: bool,
    /// Namespace of frr-k8s; default is MetalLB's
    #[arg(long, env = "FRRK8S_NAMESPACE", default_value = "", hide_default_value = true)]
    pub frrk8s_namespace: String,
    /// Hand BGP passwords to frr-k8s as references to Secrets
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = clap::ArgAction::Set, value_parser = go_bool, hide_default_value = true)]
    pub frrk8s_secret_passthrough: bool,
    /// TLS of the metrics.
    #[command(flatten)]
    pub tls: TlsOptions,
    /// Directory with tls.crt and tls.key for the metrics; empty means a self-signed certificate
    #[arg(long, default_value = "", hide_default_value = true)]
    pub metrics_cert_dir: String,
    /// Which BGP implementation announces: native, frr, frr-k8s or frr-k8s-external
    #[arg(long, env = "METALLB_BGP_TYPE", default_value = "native")]
    pub bgp_type: Backend,
}

/// A command line that cannot work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Nobody said which node this is (MetalLB's text).
    #[error("must specify --node-name or METALLB_NODE_NAME")]
    NodeName,
    /// Nobody said where MetalLB's objects are.
    #[error("must specify --namespace or METALLB_NAMESPACE when not running in a pod ({NAMESPACE_FILE} is not there)")]
    Namespace,
    /// Passing Secrets through needs frr-k8s in a namespace that was named.
    #[error("--frrk8s-secret-passthrough requires METALLB_BGP_TYPE=frr-k8s and --frrk8s-namespace or FRRK8S_NAMESPACE")]
    SecretPassthrough,
    /// Where to talk to the others is no address (the flag takes what a pod's `status.podIP` holds).
    #[error(
        "--ml-bindaddr {0:?} (METALLB_ML_BIND_ADDR) is no IP address; set it from status.podIP, or leave it empty to do without membership"
    )]
    BindAddress(String),
    /// No membership can name this node.
    #[error("--node-name: {0}")]
    NodeNameLength(#[from] BadName),
    /// More than half of the others cannot be heard without talking to them.
    #[error(
        "--l2-ownership=quorum (METALLB_L2_OWNERSHIP) needs the speakers to hear one another: set --ml-bindaddr, --ml-labels and \
         --ml-secret-key-path, or choose fast"
    )]
    QuorumWithoutMembership,
}

impl Args {
    /// Checks the flags against one another; returns what the pure part of the speaker needs and MetalLB's namespace.
    ///
    /// # Errors
    /// [`ArgsError`], naming the flag.
    pub fn settings(&self) -> Result<(Settings, String), ArgsError> {
        self.settings_in(Path::new(NAMESPACE_FILE))
    }

    /// Where and with which key the speakers talk to one another. `None` where that is switched off, as in MetalLB by an empty
    /// address or empty labels; without a key it is off as well: whoever can send a datagram could end a member.
    ///
    /// # Errors
    /// [`ArgsError`], naming the flag.
    pub fn membership(&self) -> Result<Option<Bind>, ArgsError> {
        let needed = [&self.ml_bindaddr, &self.ml_labels, &self.ml_secret_key_path];
        if needed.iter().any(|flag| flag.is_empty()) {
            return match self.l2_ownership {
                OwnershipMode::Quorum => Err(ArgsError::QuorumWithoutMembership),
                OwnershipMode::Fast | OwnershipMode::Lease => Ok(None),
            };
        }
        let ip: IpAddr = self.ml_bindaddr.parse().map_err(|_| ArgsError::BindAddress(self.ml_bindaddr.clone()))?;
        Ok(Some(Bind {
            me: NodeName::new(&self.node_name)?,
            addr: SocketAddr::new(ip, self.ml_bindport),
            key: Path::new(&self.ml_secret_key_path).join(KEY_FILE),
        }))
    }

    fn settings_in(&self, namespace_file: &Path) -> Result<(Settings, String), ArgsError> {
        if self.node_name.is_empty() {
            return Err(ArgsError::NodeName);
        }
        let is_frr_k8s = matches!(self.bgp_type, Backend::FrrK8s | Backend::FrrK8sExternal);
        if self.frrk8s_secret_passthrough && (!is_frr_k8s || self.frrk8s_namespace.is_empty()) {
            return Err(ArgsError::SecretPassthrough);
        }
        let namespace = if self.namespace.is_empty() {
            let found = std::fs::read_to_string(namespace_file).unwrap_or_default();
            Some(found.trim().to_owned()).filter(|name| !name.is_empty()).ok_or(ArgsError::Namespace)?
        } else {
            self.namespace.clone()
        };
        let settings = Settings {
            node: self.node_name.clone(),
            members: if self.ml_labels.is_empty() { Members::EveryNode } else { Members::SpeakerPods },
            class: Some(self.lb_class.clone()).filter(|class| !class.is_empty()),
            ignore_exclusion: self.ignore_exclude_lb,
            backend: self.bgp_type,
        };
        Ok((settings, namespace))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use runtime::args::go_style;

    use super::*;

    fn args(line: &str) -> Args {
        Args::try_parse_from(go_style(line.split(' ').map(Into::into))).unwrap()
    }

    #[test]
    fn the_flags_of_metallbs_manifests_are_known() {
        let args = args("speaker --port=9120 --log-level=debug --lb-class=metallb -node-name a --namespace n");
        let (settings, namespace) = args.settings().unwrap();
        assert_eq!((settings.node.as_str(), namespace.as_str()), ("a", "n"));
        assert_eq!(settings.class.as_deref(), Some("metallb"));
        assert_eq!(args.log_level, LogLevel::Debug);
    }

    #[test]
    fn labels_of_the_speaker_pods_decide_how_members_are_found() {
        assert_eq!(args("speaker --node-name=a --namespace=n").settings().unwrap().0.members, Members::EveryNode);
        let labelled = args("speaker --node-name=a --namespace=n --ml-labels=app=metallb,component=speaker");
        assert_eq!(labelled.settings().unwrap().0.members, Members::SpeakerPods);
    }

    const TALKING: &str =
        "speaker --node-name=a --namespace=n --ml-labels=app=metallb --ml-secret-key-path=/etc/ml_secret_key";

    #[test]
    fn speakers_talk_where_address_labels_and_key_are_given() {
        let bind = args(&format!("{TALKING} --ml-bindaddr=2001:db8::1")).membership().unwrap().unwrap();
        assert_eq!((bind.me.as_str(), bind.addr.to_string().as_str()), ("a", "[2001:db8::1]:7946"));
        assert_eq!(bind.key, Path::new("/etc/ml_secret_key/secretkey"));
        assert!(args(TALKING).membership().unwrap().is_none());
        let error = args(&format!("{TALKING} --ml-bindaddr=eth0")).membership().unwrap_err();
        assert!(error.to_string().starts_with("--ml-bindaddr \"eth0\""), "{error}");
    }

    #[test]
    fn a_quorum_needs_speakers_that_talk() {
        let error = args(&format!("{TALKING} --l2-ownership=quorum")).membership().unwrap_err();
        assert_eq!(error, ArgsError::QuorumWithoutMembership);
        assert!(args(&format!("{TALKING} --l2-ownership=quorum --ml-bindaddr=192.0.2.1")).membership().is_ok());
        assert_eq!(args(TALKING).l2_ownership, OwnershipMode::Fast);
    }

    #[test]
    fn a_missing_node_name_or_namespace_is_named_with_its_remedy() {
        let nameless = Args { node_name: String::new(), ..args("speaker --namespace=n") };
        let error = nameless.settings().unwrap_err();
        assert_eq!(error.to_string(), "must specify --node-name or METALLB_NODE_NAME");
        let homeless = Args { namespace: String::new(), ..args("speaker --node-name=a") };
        let error = homeless.settings_in(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().starts_with("must specify --namespace or METALLB_NAMESPACE"), "{error}");
    }

    #[test]
    fn passing_secrets_through_needs_frr_k8s_and_its_namespace() {
        let line = "speaker --node-name=a --namespace=n --frrk8s-secret-passthrough";
        let refused = Args { bgp_type: Backend::Native, ..args(line) };
        assert_eq!(refused.settings().unwrap_err(), ArgsError::SecretPassthrough);
        let accepted = args(&format!("{line} --bgp-type=frr-k8s --frrk8s-namespace=f"));
        assert!(accepted.settings().is_ok());
    }
}
