//! Why a Service gets no address: MetalLB's text, and for each pool what was in the way.
//!
//! ```text
//! no available IPs; no free IPv4 address: a, b and 412 more; autoAssign is off: c
//! ╰─ MetalLB's ──╯  ╰─ reason by reason, pools in the order of their names ─────╯
//! ```
//! Nothing in it counts or names what comes and goes, so that the text changes only when a reason does.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use config::{Family, PoolName};

use super::family::Stack;
use super::sharing::SharingError;

/// How many pools are named for each reason.
const NAMED: usize = 10;

/// Why a Service gets no address. The texts are MetalLB's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// No single pool holds all the addresses.
    #[error("{0} is not allowed in config")]
    NotInConfig(String),
    /// The pool is reserved for other namespaces or Services.
    #[error("pool {0} not compatible for ip assignment")]
    Incompatible(PoolName),
    /// Three or more addresses.
    #[error("more than two addresses {0}")]
    TooMany(String),
    /// Two addresses of one family.
    #[error("\"{0}\" \"{1}\" has the same family")]
    SameFamily(IpAddr, IpAddr),
    /// Somebody else's address.
    #[error(transparent)]
    Sharing(#[from] SharingError),
    /// The pool that was asked for does not exist.
    #[error("unknown pool \"{0}\"")]
    UnknownPool(PoolName),
    /// The pool that was asked for has an invalid configuration.
    #[error("pool \"{0}\" has an invalid configuration and gives out no addresses until it is corrected")]
    FrozenPool(PoolName),
    /// The pool that was asked for is full or lacks the family.
    #[error("no available IPs in pool {0} for {1} IPFamily")]
    PoolExhausted(PoolName, Stack),
    /// No pool has anything.
    #[error("no available IPs")]
    Exhausted,
}

/// What keeps one pool from serving one Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It has no free address of this family (or no free pair).
    Full(Stack),
    /// It has no address of this family at all.
    NoAddresses(Family),
    /// It is reserved for other namespaces than this one.
    Namespace(String),
    /// It is reserved for Services with other labels.
    Labels,
    /// It serves only who asks for it.
    AutoAssignOff,
    /// Its object cannot be used as it is.
    Invalid,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(Stack::Single(Family::V4)) => f.write_str("no free IPv4 address"),
            Self::Full(Stack::Single(Family::V6)) => f.write_str("no free IPv6 address"),
            Self::Full(Stack::Dual) => f.write_str("no free pair of IPv4 and IPv6 addresses"),
            Self::NoAddresses(Family::V4) => f.write_str("no IPv4 addresses"),
            Self::NoAddresses(Family::V6) => f.write_str("no IPv6 addresses"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace:?} is not allowed"),
            Self::Labels => f.write_str("the labels of the service do not match"),
            Self::AutoAssignOff => f.write_str("autoAssign is off"),
            Self::Invalid => f.write_str("invalid configuration"),
        }
    }
}

/// The pools that were considered, by what was in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons(BTreeMap<Reason, Group>);

/// The pools with one reason: the first ones by name, and how many more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Ten at most.
    pub named: Vec<PoolName>,
    /// Those that are not named.
    pub more: usize,
}

impl Reasons {
    /// Of one pool.
    pub fn one(pool: &PoolName, reason: Reason) -> Self {
        let mut out = Self::default();
        out.add(pool, reason);
        out
    }

    /// Adds a pool; its name comes after those added before.
    pub fn add(&mut self, pool: &PoolName, reason: Reason) {
        let group = self.0.entry(reason).or_default();
        if group.named.len() < NAMED {
            group.named.push(pool.clone());
        } else {
            group.more += 1;
        }
    }

    /// Reason by reason.
    pub fn iter(&self) -> impl Iterator<Item = (&Reason, &Group)> {
        self.0.iter()
    }

    /// Whether all pools are full for this Service, as far as they are for it.
    pub fn are_full(&self) -> bool {
        self.0.keys().any(|reason| matches!(reason, Reason::Full(_)))
    }
}

/// The whole answer to a Service that gets no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In MetalLB's words.
    pub error: AllocateError,
    /// Pool by pool; none where the error itself says all.
    pub reasons: Reasons,
}

impl From<AllocateError> for Refusal {
    fn from(error: AllocateError) -> Self {
        Self { error, reasons: Reasons::default() }
    }
}

impl Refusal {
    /// The text without the names of other Services, which come and go.
    pub fn stable(&self) -> String {
        match &self.error {
            AllocateError::Sharing(SharingError::Key { service, .. }) => {
                format!("can't change sharing key for \"{service}\", address also in use{}", self.reasons)
            }
            AllocateError::Sharing(SharingError::Port { .. })
            | AllocateError::NotInConfig(_)
            | AllocateError::Incompatible(_)
            | AllocateError::TooMany(_)
            | AllocateError::SameFamily(..)
            | AllocateError::UnknownPool(_)
            | AllocateError::FrozenPool(_)
            | AllocateError::PoolExhausted(..)
            | AllocateError::Exhausted => self.to_string(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.error, self.reasons)
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, Group { named, more }) in &self.0 {
            write!(f, "; {reason}: ")?;
            for (index, pool) in named.iter().enumerate() {
                write!(f, "{}{pool}", if index == 0 { "" } else { ", " })?;
            }
            if *more > 0 {
                write!(f, " and {more} more")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_grouped_by_reason_and_ten_of_each_are_named() {
        let mut reasons = Reasons::default();
        reasons.add(&"x".into(), Reason::AutoAssignOff);
        for n in 0..13 {
            reasons.add(&PoolName(format!("p{n:02}")), Reason::Full(Stack::Single(Family::V4)));
        }
        reasons.add(&"y".into(), Reason::AutoAssignOff);
        assert_eq!(
            Refusal { error: AllocateError::Exhausted, reasons }.to_string(),
            "no available IPs; no free IPv4 address: p00, p01, p02, p03, p04, p05, p06, p07, p08, p09 and 3 more; \
             autoAssign is off: x, y"
        );
    }
}
