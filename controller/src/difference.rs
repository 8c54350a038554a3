//! What has to be written for a Service to show what was decided; nothing when it does already.
//!
//! ```text
//! Service as stored ─┐
//! Decision ──────────┴─▶ difference ──▶ Write { addresses and pool | unchanged, condition: set | removed | unchanged }
//! ```

use std::net::IpAddr;

use config::PoolName;

use crate::allocator::family::parse_address;
use crate::plan::{Decision, Pending, Target};
use crate::service::{Ingress, Service};

/// One conditional request to `services/status`. At least one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The addresses and the pool; `None` leaves them as they are.
    pub status: Option<StatusWrite>,
    /// Our condition; `None` leaves it as it is.
    pub condition: Option<ConditionWrite>,
}

/// What becomes of our condition. Those of others are never touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionWrite {
    /// It is False, for this reason.
    Set {
        /// Why, in one word.
        reason: &'static str,
        /// Why, for people.
        message: String,
        /// The generation of the Service; 0 for none.
        observed_generation: i64,
        /// Whether it was not False before: then the time of the transition is now.
        transition: bool,
    },
    /// It goes away.
    Remove,
}

/// Addresses and pool of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatusWrite {
    /// The whole new `status.loadBalancer.ingress`.
    pub ingress: Vec<Ingress>,
    /// The annotation that names the pool; `None` removes it.
    pub pool: Option<PoolName>,
    /// Whether to remove the annotation's old spelling.
    pub remove_deprecated_record: bool,
}

/// The write that makes the object show what was decided, or `None` when it does already.
pub fn difference(service: &Service, decision: &Decision) -> Option<Write> {
    let status = decision.target.as_ref().and_then(|target| status_difference(service, target));
    let has_none = decision.target.as_ref().map_or(service.ingress.is_empty(), |target| target.addresses.is_empty());
    let pending = decision.pending.as_ref().filter(|_| has_none);
    let condition = match (pending, service.condition.as_deref()) {
        (None, None) => None,
        (None, Some(_)) => Some(ConditionWrite::Remove),
        (Some(pending), Some(condition))
            if pending.is_in(condition) && condition.observed_generation == service.generation =>
        {
            None
        }
        (Some(Pending { reason, message, .. }), shown) => Some(ConditionWrite::Set {
            reason,
            message: message.clone(),
            observed_generation: service.generation,
            transition: !shown.is_some_and(|shown| shown.is_false),
        }),
    };
    (status.is_some() || condition.is_some()).then_some(Write { status, condition })
}

/// The `ipMode` of an entry, which newer apiservers fill in, neither counts as a difference nor is lost.
fn status_difference(service: &Service, target: &Target) -> Option<StatusWrite> {
    let same_addresses = service.ingress.len() == target.addresses.len()
        && service
            .ingress
            .iter()
            .zip(&target.addresses)
            .all(|(entry, address)| !entry.has_hostname && parse_address(&entry.ip) == Some(*address));
    if same_addresses && service.recorded_pool() == target.pool && !service.has_deprecated_record() {
        return None;
    }
    let mode_of = |address: &IpAddr| {
        let entry = service.ingress.iter().find(|entry| parse_address(&entry.ip) == Some(*address));
        entry.and_then(|entry| entry.ip_mode.clone())
    };
    let ingress = target
        .addresses
        .iter()
        .map(|address| Ingress { ip: address.to_string().into(), has_hostname: false, ip_mode: mode_of(address) })
        .collect();
    Some(StatusWrite { ingress, pool: target.pool.clone(), remove_deprecated_record: service.has_deprecated_record() })
}
