//! What is wrong with a stored object, as the log and an Event tell it.

use std::fmt;

use config::{Finding, Kind};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use runtime::events::reference;
use runtime::watch::Broken;

/// An object that is not in force as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    kind: String,
    namespace: String,
    name: String,
    /// Empty when unknown.
    uid: String,
    text: String,
    /// The text with the name of the object.
    line: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl Problem {
    /// A rule of the configuration is against it.
    pub fn of_finding(finding: &Finding, uid: String) -> Self {
        let object = &finding.object;
        Self {
            kind: object.kind.as_str().to_owned(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid,
            text: finding.located(),
            line: format!("{object}: {finding}"),
        }
    }

    /// It cannot even be read.
    pub fn of_broken(broken: &Broken) -> Self {
        Self {
            kind: broken.kind.clone(),
            namespace: broken.namespace.clone(),
            name: broken.name.clone(),
            uid: String::new(),
            text: broken.to_string(),
            line: broken.to_string(),
        }
    }

    /// What is wrong, with the field and the remedy.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The object, if it is of a kind that only speakers judge: Events about the others come from the controller.
    pub fn subject(&self) -> Option<ObjectReference> {
        let ours = [Kind::L2Advertisement, Kind::BGPAdvertisement, Kind::BGPPeer, Kind::BFDProfile];
        let version = if self.kind == Kind::BGPPeer.as_str() {
            api::v1beta2::BGPPeer::api_version(&())
        } else {
            api::v1beta1::IPAddressPool::api_version(&())
        };
        let object = reference(&version, &self.kind, (&self.namespace, &self.name), &self.uid, "");
        ours.iter().any(|kind| kind.as_str() == self.kind).then_some(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(kind: &str) -> Problem {
        let (namespace, name) = (String::from("metallb-system"), String::from("bad"));
        Problem::of_broken(&Broken { kind: kind.to_owned(), namespace, name, error: String::from("missing field `x`") })
    }

    #[test]
    fn events_are_about_the_kinds_that_the_controller_does_not_judge() {
        let version = |kind: &str| broken(kind).subject().and_then(|object| object.api_version);
        assert_eq!(version("L2Advertisement").as_deref(), Some("metallb.io/v1beta1"));
        assert_eq!(version("BGPPeer").as_deref(), Some("metallb.io/v1beta2"));
        for kind in ["IPAddressPool", "AddressPool", "Community"] {
            assert_eq!(version(kind), None, "{kind}");
        }
    }
}
