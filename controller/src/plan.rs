//! What to do about one Service: MetalLB's convergence, step by step and in its order.
//!
//! ```text
//!  type? ─ pools? ─ cluster IPs? ─ dual stack possible? ─▶ what it has: right family? still allowed? what was asked for?
//!     │       │          │               │                        │ no: give up           │ yes: keep, maybe add a family
//!     ▼       ▼          ▼               ▼                        ▼                       ▼
//!   clear   clear      clear           clear                  allocate ──────────────▶ Target ──difference──▶ Write
//! ```
//! The event reasons and texts are MetalLB's; people alert on them. What differs on purpose is said at each place.

use std::net::IpAddr;

use config::PoolName;

use crate::allocator::family::{Policy, Stack, parse_address};
use crate::allocator::{AllocateError, Allocator, Client, quoted_list};
use crate::service::{Ingress, Service};

/// How serious an Event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something went as it should.
    Normal,
    /// Something needs attention.
    Warning,
}

/// An Event to publish about a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Normal or Warning.
    pub severity: Severity,
    /// The reason, in one word (or, for historical reasons, several).
    pub reason: &'static str,
    /// The message.
    pub text: String,
}

/// A line for the log, in MetalLB's vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Addresses were assigned.
    Assigned(Vec<IpAddr>),
    /// An address of the second family was added.
    AssignedAdditional(IpAddr),
    /// The Service gives up what it has; the reason in one word.
    Cleared(&'static str),
    /// Nothing could be assigned.
    Failed(String),
}

/// What the status of a Service should show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Its addresses, in order.
    pub addresses: Vec<IpAddr>,
    /// The pool they come from; `None` without addresses.
    pub pool: Option<PoolName>,
}

/// The outcome of one convergence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What the status should show; `None` leaves it as it is.
    pub target: Option<Target>,
    /// Events.
    pub notes: Vec<Note>,
    /// Log lines.
    pub steps: Vec<Step>,
    /// Whether the Service lacks something that may become available.
    pub waiting: bool,
}

/// One conditional request to `services/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The whole new `status.loadBalancer.ingress`.
    pub ingress: Vec<Ingress>,
    /// The annotation that names the pool; `None` removes it.
    pub pool: Option<PoolName>,
    /// Whether to remove the annotation's old spelling.
    pub remove_deprecated_record: bool,
}

/// What is known about a Service beside its object.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Addresses its status shows or may come to show.
    pub visible: &'a [IpAddr],
    /// A write with the present allocation is under way or its outcome is unknown: the allocation, and not the status we
    /// last saw, is what the Service has.
    pub allocation_rules: bool,
}

/// Brings the allocation of one Service in line with what it asks for, and says what its status should show.
pub fn converge(service: &Service, allocator: &mut Allocator, around: Surroundings<'_>) -> Decision {
    let owned = service.recorded_pool().is_some()
        || allocator.knows(&service.key)
        || allocator.pool_of(&service.shown()).is_some();
    let mut run = Run { service, allocator, visible: around.visible, decision: Decision::default(), owned };
    run.decision.waiting = run.steps(around.allocation_rules).is_err();
    run.decision
}

/// Claims what a Service shows before anything is given out, so that no newcomer gets an address in use.
pub fn import(service: &Service, allocator: &mut Allocator, visible: &[IpAddr]) {
    if service.is_load_balancer && allocator.allocation(&service.key).is_none() && !visible.is_empty() {
        // What cannot be claimed is sorted out, and reported, when the Service converges.
        let _ = claim(service, allocator, visible, &service.shown());
    }
}

/// The write that makes the object show the target, or `None` when it does already. The `ipMode` of an entry, which newer
/// apiservers fill in, neither counts as a difference nor is lost.
pub fn difference(service: &Service, target: &Target) -> Option<Write> {
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
        .map(|address| Ingress { ip: address.to_string(), has_hostname: false, ip_mode: mode_of(address) })
        .collect();
    Some(Write { ingress, pool: target.pool.clone(), remove_deprecated_record: service.has_deprecated_record() })
}

/// Events that go with a write: each use of a deprecated annotation.
pub fn deprecations(service: &Service) -> impl Iterator<Item = Note> {
    service.deprecated_annotations().map(|name| Note {
        severity: Severity::Warning,
        reason: "deprecatedAnnotation",
        text: format!("Service uses deprecated annotation {name}"),
    })
}

fn client<'a>(service: &'a Service, visible: &'a [IpAddr]) -> Client<'a> {
    Client { key: &service.key, labels: &service.labels, ports: &service.ports, sharing: &service.sharing, visible }
}

/// Assigns what the Service has. With its pool's object unusable it keeps that, whatever it is.
fn claim(
    service: &Service,
    allocator: &mut Allocator,
    visible: &[IpAddr],
    addresses: &[IpAddr],
) -> Result<(), AllocateError> {
    let client = client(service, visible);
    let pool = match allocator.allocation(&service.key) {
        Some(allocation) if allocation.addresses == addresses => Some(allocation.pool.clone()),
        _ => service.recorded_pool(),
    };
    match pool {
        Some(pool) if allocator.is_frozen(&pool) && allocator.pool_of(addresses).is_none() => {
            allocator.hold(&client, addresses, &pool)
        }
        _ => allocator.assign(&client, addresses).map(|_| ()),
    }
}

/// The Service cannot be satisfied for now; why has been noted.
struct Unsatisfied;

struct Run<'a> {
    service: &'a Service,
    allocator: &'a mut Allocator,
    visible: &'a [IpAddr],
    decision: Decision,
    /// Whether what the status shows is ours to remove. MetalLB also erases what another load balancer wrote.
    owned: bool,
}

impl Run<'_> {
    fn steps(&mut self, allocation_rules: bool) -> Result<(), Unsatisfied> {
        if !self.service.is_load_balancer {
            self.clear(Some("notLoadBalancer"));
            return Ok(());
        }
        if self.allocator.has_no_pools() {
            self.clear(Some("noConfig"));
            // A status that another load balancer wrote says that this Service is not waiting for us.
            if self.service.ingress.is_empty() || self.owned {
                let text = format!("Failed to allocate IP for \"{}\": no address pool is configured", self.service.key);
                self.warn("AllocationFailed", text);
            }
            return Err(Unsatisfied);
        }
        if self.service.cluster_ips.is_empty() {
            self.clear(Some("noClusterIPs"));
            return Err(Unsatisfied);
        }
        if self.service.policy == Policy::RequireDualStack && self.service.cluster_ips.len() < 2 {
            let cluster_ips = self.service.cluster_ips.join(" ");
            self.warn(
                "not enough clusterips",
                format!("Service requires dual stack but not enough clusterips [{cluster_ips}]"),
            );
            self.clear(Some("notEnoughClusterIPs"));
            return Err(Unsatisfied);
        }
        let mut current = self.current(allocation_rules)?;
        if !current.is_empty() {
            current = self.keep_if_allowed(current)?;
        }
        if current.is_empty() {
            self.allocate()?;
        } else if current.len() == 1 {
            self.add_family();
        }
        self.settle()
    }

    /// What the Service has, if it is of the right family.
    fn current(&mut self, allocation_rules: bool) -> Result<Vec<IpAddr>, Unsatisfied> {
        let remembered = self.allocator.allocation(&self.service.key).map(|allocation| allocation.addresses.clone());
        let shown = self.service.shown_texts();
        let texts: Vec<String> = match remembered {
            Some(addresses) if allocation_rules || shown.is_empty() => {
                addresses.iter().map(ToString::to_string).collect()
            }
            _ => shown.into_iter().map(str::to_owned).collect(),
        };
        if texts.is_empty() {
            self.clear(None);
            return Ok(Vec::new());
        }
        let stack = Stack::of_texts(&texts);
        if let Err(error) = &stack {
            let list = quoted_list(&texts);
            self.warn("nolbIPsIPFamily", format!("Failed to retrieve LBIPs IPFamily for {list}: {error}"));
        }
        let wanted = self.service.wanted().map_err(|error| {
            let list = quoted_list(&self.service.cluster_ips);
            let first = self.service.cluster_ips.first().map_or("", String::as_str);
            self.warn(
                "noclusterIPsIPFamily",
                format!("Failed to retrieve ClusterIPs IPFamily for {list} {first}: {error}"),
            );
            Unsatisfied
        })?;
        if stack.is_ok_and(|stack| stack == wanted.stack || wanted.accepts_one()) {
            return Ok(texts.iter().filter_map(|text| parse_address(text)).collect());
        }
        self.clear(Some("familyChanged"));
        Ok(Vec::new())
    }

    /// Keeps the addresses unless the configuration or the user's own request is against it.
    fn keep_if_allowed(&mut self, current: Vec<IpAddr>) -> Result<Vec<IpAddr>, Unsatisfied> {
        let mut current = current;
        if let Err(error) = claim(self.service, self.allocator, self.visible, &current) {
            let text = format!(
                "current IP for \"{}\" not allowed by config, will attempt for new IP assignment: {error}",
                self.service.key
            );
            self.note(Severity::Normal, "ClearAssignment", text);
            self.clear(Some("notAllowedByConfig"));
            current.clear();
        }
        let pool = self.allocator.allocation(&self.service.key).map(|allocation| &allocation.pool);
        let requested_pool = self.service.requested_pool();
        if !current.is_empty() && requested_pool.is_some() && requested_pool.as_ref() != pool {
            self.clear(Some("differentPoolRequested"));
            current.clear();
        }
        let requested = self.service.requested_addresses().map_err(|error| {
            // What it has stays: a typing error in an annotation must not cost a Service its address.
            self.warn("LoadBalancerFailed", format!("invalid requested loadbalancer IPs: {error}"));
            if !current.is_empty() {
                self.decision.target = Some(self.target());
            }
            Unsatisfied
        })?;
        // Compared as sets: the order of the annotation never reorders a status, whose first address decides who announces.
        let same = requested.len() == current.len() && requested.iter().all(|address| current.contains(address));
        if !requested.is_empty() && !current.is_empty() && !same {
            self.clear(Some("differentIPRequested"));
            current.clear();
        }
        Ok(current)
    }

    /// A Service that prefers two families and has one gets the other from the same pool, if its cluster IPs have both.
    fn add_family(&mut self) {
        let wants_more = self.service.wanted().is_ok_and(|wanted| wanted.accepts_one());
        let pool = self.allocator.allocation(&self.service.key).map(|allocation| allocation.pool.clone());
        if !wants_more || pool.is_none_or(|pool| self.allocator.is_frozen(&pool)) {
            return;
        }
        match self.allocator.add_family(&client(self.service, self.visible)) {
            Ok(address) => {
                self.decision.steps.push(Step::AssignedAdditional(address));
                self.note(Severity::Normal, "IPAllocated", format!("Assigned additional IP \"{address}\""));
            }
            Err(error) => {
                self.decision.waiting = true;
                let text = format!("cannot assign additional IP in PreferDualStack: {error}");
                self.note(Severity::Normal, "AdditionalAssignFailed", text);
            }
        }
    }

    fn allocate(&mut self) -> Result<(), Unsatisfied> {
        match self.find() {
            Ok(addresses) => {
                self.note(Severity::Normal, "IPAllocated", format!("Assigned IP {}", quoted_list(&addresses)));
                self.decision.steps.push(Step::Assigned(addresses));
                Ok(())
            }
            Err(error) => {
                self.warn("AllocationFailed", format!("Failed to allocate IP for \"{}\": {error}", self.service.key));
                self.decision.steps.push(Step::Failed(error));
                Err(Unsatisfied)
            }
        }
    }

    /// Named addresses, else a named pool, else any pool.
    fn find(&mut self) -> Result<Vec<IpAddr>, String> {
        let wanted = self.service.wanted().map_err(|error| error.to_string())?;
        let addresses = self.service.requested_addresses().map_err(|error| error.to_string())?;
        let pool = self.service.requested_pool();
        let client = client(self.service, self.visible);
        if addresses.is_empty() {
            let found = match &pool {
                Some(pool) => self.allocator.allocate_from(&client, &wanted, pool),
                None => self.allocator.allocate(&client, &wanted),
            };
            return found.map_err(|error| error.to_string());
        }
        let list = quoted_list(&addresses);
        if Stack::of(&addresses) != Ok(wanted.stack) {
            return Err(format!("requested loadBalancer IP(s) {list} does not match the ipFamily of the service"));
        }
        let given = self.allocator.assign(&client, &addresses).map_err(|error| error.to_string())?;
        match pool {
            Some(pool) if pool != given => {
                self.allocator.release(&self.service.key, self.visible);
                Err(format!("requested loadBalancer IP(s) {list} is not compatible with requested address pool {pool}"))
            }
            _ => Ok(addresses),
        }
    }

    /// The end of every way that leads to addresses.
    fn settle(&mut self) -> Result<(), Unsatisfied> {
        let waiting = self.decision.waiting;
        let target = self.target();
        if target.addresses.is_empty() {
            self.warn("InternalError", String::from("didn't allocate an IP but also did not fail"));
            self.clear(None);
            return Err(Unsatisfied);
        }
        self.decision.target = Some(target);
        // A second family that could not be had is worth another try.
        if waiting { Err(Unsatisfied) } else { Ok(()) }
    }

    fn target(&self) -> Target {
        match self.allocator.allocation(&self.service.key) {
            Some(allocation) => Target { addresses: allocation.addresses.clone(), pool: Some(allocation.pool.clone()) },
            None => Target::default(),
        }
    }

    /// Gives up everything; the status is emptied if what it shows is ours.
    fn clear(&mut self, reason: Option<&'static str>) {
        let had_any = self.owned && (self.allocator.knows(&self.service.key) || !self.service.ingress.is_empty());
        if let Some(reason) = reason.filter(|_| had_any) {
            self.decision.steps.push(Step::Cleared(reason));
        }
        self.allocator.release(&self.service.key, self.visible);
        self.decision.target = self.owned.then(Target::default);
    }

    fn warn(&mut self, reason: &'static str, text: String) {
        self.note(Severity::Warning, reason, text);
    }

    fn note(&mut self, severity: Severity, reason: &'static str, text: String) {
        self.decision.notes.push(Note { severity, reason, text });
    }
}
