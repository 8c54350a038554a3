//! What the operator is told about itself by its environment: the names are an interface that bundles and manifests set.
//!
//! ```text
//!  Deployment env ──▶ Facts::read(lookup) ──▶ render
//! ```

use std::str::FromStr;

use thiserror::Error;

/// Facts that do not come from the MetalLB resource. Constant while the operator runs. All but the namespace's uid come
/// from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The operator's own namespace (`OPERATOR_NAMESPACE`); operands run there too.
    pub namespace: String,
    /// Uid of that namespace; empty when it is not known. Cluster-scoped operands go with the namespace.
    pub namespace_uid: String,
    /// Image of the controller (`CONTROLLER_IMAGE`): tag, digest or both, passed on as it is.
    pub controller_image: String,
    /// Image of the speaker (`SPEAKER_IMAGE`).
    pub speaker_image: String,
    /// Port of the speakers' membership protocol, TCP and UDP (`MEMBER_LIST_BIND_PORT`, 7946).
    pub memberlist_port: u16,
    /// HTTPS metrics port of the operands (`METRICS_PORT`, 9120).
    pub metrics_port: u16,
    /// Probe port of the operands (`OPERAND_LIVENESS_PORT`, 17472).
    pub liveness_port: u16,
    /// Version of this build, written on every operand.
    pub version: String,
}

/// Why the environment cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FactsError {
    /// A mandatory variable is not set, or empty.
    #[error("missing mandatory {name} env variable: {remedy}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What to set it to.
        remedy: &'static str,
    },
    /// A port is not a port.
    #[error(
        "failed to convert {value:?} from {name} to a port: use a number from 1 to 65535, or unset it for {default}"
    )]
    Port {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What is used when it is not set.
        default: u16,
    },
}

impl Facts {
    /// Reads the facts through `lookup`, which answers `None` for a variable that is absent or empty.
    ///
    /// # Errors
    /// The first variable that is missing or wrong.
    pub fn read(version: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, FactsError> {
        let mandatory =
            |name: &'static str, remedy: &'static str| lookup(name).ok_or(FactsError::Missing { name, remedy });
        let port = |name: &'static str, default: u16| match lookup(name) {
            None => Ok(default),
            Some(value) => match u16::from_str(&value) {
                Ok(port) if port > 0 => Ok(port),
                Ok(_) | Err(_) => Err(FactsError::Port { name, value, default }),
            },
        };
        Ok(Self {
            namespace: mandatory(
                "OPERATOR_NAMESPACE",
                "set it to the namespace the operator runs in (fieldRef metadata.namespace)",
            )?,
            namespace_uid: String::new(),
            controller_image: mandatory("CONTROLLER_IMAGE", "set it to the image that holds /controller")?,
            speaker_image: mandatory("SPEAKER_IMAGE", "set it to the image that holds /speaker")?,
            memberlist_port: port("MEMBER_LIST_BIND_PORT", 7946)?,
            metrics_port: port("METRICS_PORT", 9120)?,
            liveness_port: port("OPERAND_LIVENESS_PORT", 17472)?,
            version: version.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Facts, String> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        Facts::read("1.2.3", |name| variables.get(name).map(ToString::to_string)).map_err(|error| error.to_string())
    }

    const MANDATORY: [(&str, &str); 3] =
        [("OPERATOR_NAMESPACE", "metallb-system"), ("CONTROLLER_IMAGE", "c:1"), ("SPEAKER_IMAGE", "s@sha256:00")];

    #[test]
    fn ports_have_metallbs_defaults() {
        let facts = read(&MANDATORY).unwrap();
        assert_eq!((facts.memberlist_port, facts.metrics_port, facts.liveness_port), (7946, 9120, 17472));
        assert_eq!(facts.speaker_image, "s@sha256:00");
    }

    #[test]
    fn each_mandatory_variable_is_named_in_one_line_when_it_is_missing() {
        for (missing, _) in MANDATORY {
            let rest: Vec<_> = MANDATORY.into_iter().filter(|(name, _)| *name != missing).collect();
            let text = read(&rest).unwrap_err();
            assert!(text.starts_with(&format!("missing mandatory {missing} env variable: set it to")), "{text}");
            assert_eq!(text.lines().count(), 1);
        }
    }

    #[test]
    fn a_port_that_is_no_port_names_variable_value_and_remedy() {
        for value in ["many", "0", "65536", "-1"] {
            let text = read(&[MANDATORY.as_slice(), &[("METRICS_PORT", value)]].concat()).unwrap_err();
            assert_eq!(
                text,
                format!(
                    "failed to convert \"{value}\" from METRICS_PORT to a port: use a number from 1 to 65535, \
                     or unset it for 9120"
                )
            );
        }
    }
}
