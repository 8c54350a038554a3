//! What compile has to say about the stored objects.
//!
//! ```text
//!   class    at admission                      when already stored
//!   Error    denied (unless transient)         the object, or its tie to `others`, is not in force
//!   Policy   denied                            works
//!   Warning  admitted with a warning           works
//! ```

use std::fmt;

use crate::model::Config;

/// How serious a finding is; see the table in the module header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The object cannot be in force as it is.
    Error,
    /// The object works but new ones like it are refused, so that a migration breaks nobody's running cluster.
    Policy,
    /// Worth telling, never refused.
    Warning,
}

/// The kinds a finding can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `metallb.io/v1beta1`
    IPAddressPool,
    /// `metallb.io/v1beta1`, the kind of early operators
    AddressPool,
    /// `metallb.io/v1beta1`
    L2Advertisement,
    /// `metallb.io/v1beta1`
    BGPAdvertisement,
    /// `metallb.io/v1beta2` and `v1beta1`
    BGPPeer,
    /// `metallb.io/v1beta1`
    BFDProfile,
    /// `metallb.io/v1beta1`
    Community,
    /// `metallb.io/v1beta1`
    MetalLB,
    /// `frrk8s.metallb.io/v1beta1`
    FRRConfiguration,
}

impl Kind {
    /// The kind as it is spelt in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IPAddressPool => "IPAddressPool",
            Self::AddressPool => "AddressPool",
            Self::L2Advertisement => "L2Advertisement",
            Self::BGPAdvertisement => "BGPAdvertisement",
            Self::BGPPeer => "BGPPeer",
            Self::BFDProfile => "BFDProfile",
            Self::Community => "Community",
            Self::MetalLB => "MetalLB",
            Self::FRRConfiguration => "FRRConfiguration",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one stored object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty when the object carries none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One thing that is wrong, or worth knowing, about one object.
///
/// `Display` gives `text` and, when there is one, `detail` after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// How serious it is.
    pub class: Class,
    /// The object that must be mended; for an `Error` the one that is not in force.
    pub object: ObjectId,
    /// Every other object the finding depends on; an `Error` with others may disable only the tie to them.
    pub others: Vec<ObjectId>,
    /// Path of the offending field, such as `spec.addresses[2]`; empty when it concerns the object as a whole.
    pub field: String,
    /// The message in MetalLB's wording.
    pub text: String,
    /// What we add: the other object's name, the remedy. May be empty.
    pub detail: String,
    /// Another object appearing can mend it, so admission only warns: objects may be applied in any order.
    pub transient: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if !self.detail.is_empty() {
            write!(f, "; {}", self.detail)?;
        }
        Ok(())
    }
}

impl Finding {
    /// Text and detail, and the field where one is known: for whoever reads it beside the object.
    pub fn located(&self) -> String {
        if self.field.is_empty() { self.to_string() } else { format!("{self} ({})", self.field) }
    }

    /// A finding about a field of one object alone.
    pub fn new(class: Class, object: &ObjectId, field: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            class,
            object: object.clone(),
            others: Vec::new(),
            field: field.into(),
            text: text.into(),
            detail: String::new(),
            transient: false,
        }
    }

    /// Adds what stands after MetalLB's own text.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds an object the finding depends on.
    #[must_use]
    pub fn with(mut self, other: &ObjectId) -> Self {
        self.others.push(other.clone());
        self
    }

    /// Marks the finding as mendable by another object appearing.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// Whether the finding depends on this object.
    pub fn involves(&self, id: &ObjectId) -> bool {
        self.object == *id || self.others.contains(id)
    }
}

/// The outcome of a compilation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    /// What is in force.
    pub config: Config,
    /// Everything there is to say, in MetalLB's order of evaluation, by object name within one step.
    pub findings: Vec<Finding>,
}

/// What is wrong with a configuration, as ConfigurationState shows it: every error in MetalLB's wording and order, the one
/// MetalLB would show first, without what we add. Errors that another object can mend count; what works does not.
pub fn configuration_errors(findings: &[Finding]) -> Vec<String> {
    findings.iter().filter(|finding| finding.class == Class::Error).map(|finding| finding.text.clone()).collect()
}

impl Compiled {
    /// The findings of class [`Class::Error`].
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.class == Class::Error)
    }
}
