//! What to do about one Service: MetalLB's convergence, step by step and in its order.
//!
//! ```text
//!  type? ─ pools? ─ cluster IPs? ─ dual stack possible? ─▶ what it has: right family? still allowed? what was asked for?
//!     │       │          │               │                        │ no: give up           │ yes: keep, maybe add a family
//!     ▼       ▼          ▼               ▼                        ▼                       ▼
//!   clear   clear      clear           clear                  allocate ──────────────▶ Target ──difference──▶ Write
//! ```
//! The event reasons and texts are MetalLB's; people alert on them. What differs on purpose is said at each place. A Service
//! that gets nothing says why in its condition too, as long as that is so.

use std::net::IpAddr;

use config::{Family, PoolName};

use crate::allocator::family::{Policy, Stack, Wanted, other, parse_address};
use crate::allocator::{AllocateError, Allocator, Client, Refusal, quoted_list};
use crate::service::{Condition, Service};
use crate::waiting::{Need, Wait};

pub use crate::difference::{ConditionWrite, StatusWrite, Write, difference};

/// Most bytes of the text of an Event or a condition.
const LONGEST_TEXT: usize = 1024;

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
    /// Why the Service has no address, for its condition.
    pub pending: Option<Pending>,
    /// What the Service lacks that may become available.
    pub wait: Option<Wait>,
}

/// Why a Service has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// In one word.
    pub reason: &'static str,
    /// For people. As the text of the Event, but without the names of other Services, which come and go.
    pub message: String,
    /// The Event that says the same; none where MetalLB says nothing.
    pub event: Option<Note>,
}

impl Pending {
    /// Whether a condition says that.
    pub fn is_in(&self, condition: &Condition) -> bool {
        condition.is_false && *condition.reason == *self.reason && *condition.message == *self.message
    }
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
    if let Err(wait) = run.steps(around.allocation_rules) {
        run.decision.wait = Some(wait);
    }
    run.decision
}

/// Claims what a Service shows before anything is given out, so that no newcomer gets an address in use, in place of what
/// was remembered of it.
pub fn import(service: &Service, allocator: &mut Allocator) {
    let shown = service.shown();
    let has = |shown: &[IpAddr]| allocator.allocation(&service.key).is_some_and(|have| have.addresses == shown);
    if service.is_load_balancer && !shown.is_empty() && !has(&shown) {
        // What cannot be claimed is sorted out, and reported, when the Service converges.
        reconsider(service, allocator);
    }
}

/// Notes what a Service that is not ours any more, but still shows what we gave it, now says about sharing.
pub fn reconsider(service: &Service, allocator: &mut Allocator) {
    let shown = service.shown();
    // With a refusal it has what it had, on the terms it had.
    let _ = claim(service, allocator, &shown, &shown);
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
) -> Result<(), Refusal> {
    let client = client(service, visible);
    if allocator.pool_of(addresses).is_none() {
        let remembered = allocator.allocation(&service.key).filter(|have| have.addresses == addresses);
        let pool = remembered.map(|have| have.pool.clone()).or_else(|| service.recorded_pool());
        let pool = pool.filter(|pool| allocator.is_frozen(pool));
        if let Some(pool) = pool.or_else(|| allocator.held_pool_of(addresses).cloned()) {
            return allocator.hold(&client, addresses, &pool);
        }
    }
    allocator.assign(&client, addresses).map(|_| ())
}

/// Nothing was found.
struct Failure {
    /// Why, in MetalLB's words.
    text: String,
    /// The same without the names of other Services.
    stable: String,
    wait: Wait,
}

impl Failure {
    fn new(text: String) -> Self {
        Self { stable: text.clone(), text, wait: Wait::Change }
    }

    fn refused(refusal: &Refusal, wait: Wait) -> Self {
        Self { text: refusal.to_string(), stable: refusal.stable(), wait }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// What is wrong with the Service itself.
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// An explanation that is too long is cut: it must never keep the apiserver from taking the write.
fn capped(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push_str("...");
    }
    text
}

struct Run<'a> {
    service: &'a Service,
    allocator: &'a mut Allocator,
    visible: &'a [IpAddr],
    decision: Decision,
    /// Whether what the status shows is ours to remove. MetalLB also erases what another load balancer wrote.
    owned: bool,
}

impl Run<'_> {
    fn steps(&mut self, allocation_rules: bool) -> Result<(), Wait> {
        if !self.service.is_load_balancer {
            self.clear(Some("notLoadBalancer"));
            return Ok(());
        }
        if self.allocator.has_no_pools() {
            self.clear(Some("noConfig"));
            // A status that another load balancer wrote says that this Service is not waiting for us.
            if self.service.ingress.is_empty() || self.owned {
                let text = format!("Failed to allocate IP for \"{}\": no address pool is configured", self.service.key);
                self.fail("AllocationFailed", "AllocationFailed", text);
            }
            return Err(Wait::Change);
        }
        if self.service.cluster_ips.is_empty() {
            self.clear(Some("noClusterIPs"));
            let message = String::from("the service has no cluster IP, which tells the IP family to use");
            self.decision.pending = Some(Pending { reason: "NoClusterIPs", message, event: None });
            return Err(Wait::Change);
        }
        if self.service.policy == Policy::RequireDualStack && self.service.cluster_ips.len() < 2 {
            let cluster_ips = self.service.cluster_ips.join(" ");
            let text = format!("Service requires dual stack but not enough clusterips [{cluster_ips}]");
            self.fail("not enough clusterips", "NotEnoughClusterIPs", text);
            self.clear(Some("notEnoughClusterIPs"));
            return Err(Wait::Change);
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
    fn current(&mut self, allocation_rules: bool) -> Result<Vec<IpAddr>, Wait> {
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
            let first = self.service.cluster_ips.first().map_or("", |first| &**first);
            let text = format!("Failed to retrieve ClusterIPs IPFamily for {list} {first}: {error}");
            self.fail("noclusterIPsIPFamily", "NoClusterIPsIPFamily", text);
            Wait::Change
        })?;
        if stack.is_ok_and(|stack| stack == wanted.stack || wanted.accepts_one()) {
            return Ok(texts.iter().filter_map(|text| parse_address(text)).collect());
        }
        self.clear(Some("familyChanged"));
        Ok(Vec::new())
    }

    /// Keeps the addresses unless the configuration or the user's own request is against it.
    fn keep_if_allowed(&mut self, current: Vec<IpAddr>) -> Result<Vec<IpAddr>, Wait> {
        let mut current = current;
        if let Err(error) = claim(self.service, self.allocator, self.visible, &current) {
            let text = format!(
                "current IP for \"{}\" not allowed by config, will attempt for new IP assignment: {}",
                self.service.key, error.error
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
            self.fail(
                "LoadBalancerFailed",
                "LoadBalancerFailed",
                format!("invalid requested loadbalancer IPs: {error}"),
            );
            if !current.is_empty() {
                self.decision.target = Some(self.target());
            }
            Wait::Change
        })?;
        // Compared as sets: the order of the annotation never reorders a status, whose first address decides who announces.
        let same = requested.len() == current.len() && requested.iter().all(|address| current.contains(address));
        if !requested.is_empty() && !current.is_empty() && !same {
            self.clear(Some("differentIPRequested"));
            current.clear();
        }
        Ok(current)
    }

    /// A Service that prefers two families and has one gets the other from the same pool, if its cluster IPs have both and
    /// it does not ask for just the address that it has: MetalLB adds to that, and takes it all away the next time.
    fn add_family(&mut self) {
        let prefers_two = self.service.wanted().is_ok_and(|wanted| wanted.accepts_one());
        let wants_more = prefers_two && self.service.requested_addresses().is_ok_and(|named| named.is_empty());
        let Some(allocation) = self.allocator.allocation(&self.service.key).filter(|_| wants_more) else { return };
        let (pool, first) = (allocation.pool.clone(), allocation.addresses.first().copied());
        let Some(first) = first.filter(|_| !self.allocator.is_frozen(&pool)) else { return };
        match self.allocator.add_family(&client(self.service, self.visible)) {
            Ok(address) => {
                self.decision.steps.push(Step::AssignedAdditional(address));
                self.note(Severity::Normal, "IPAllocated", format!("Assigned additional IP \"{address}\""));
            }
            Err(refusal) => {
                let need = Need::One(other(Family::of(first)));
                self.decision.wait = Some(Wait::Pools { pools: vec![pool], any: false, need });
                let text = format!("cannot assign additional IP in PreferDualStack: {}", refusal.error);
                self.note(Severity::Normal, "AdditionalAssignFailed", text);
            }
        }
    }

    fn allocate(&mut self) -> Result<(), Wait> {
        match self.find() {
            Ok(addresses) => {
                self.note(Severity::Normal, "IPAllocated", format!("Assigned IP {}", quoted_list(&addresses)));
                self.decision.steps.push(Step::Assigned(addresses));
                Ok(())
            }
            Err(Failure { text, stable, wait }) => {
                let message = |why: &str| format!("Failed to allocate IP for \"{}\": {why}", self.service.key);
                let (event, stable) = (message(&text), message(&stable));
                self.fail_with("AllocationFailed", "AllocationFailed", event, stable);
                self.decision.steps.push(Step::Failed(text));
                Err(wait)
            }
        }
    }

    /// Named addresses, else a named pool, else any pool.
    fn find(&mut self) -> Result<Vec<IpAddr>, Failure> {
        let wanted = self.service.wanted()?;
        let addresses = self.service.requested_addresses()?;
        let pool = self.service.requested_pool();
        if !addresses.is_empty() {
            return self.find_named(addresses, pool, &wanted);
        }
        let client = client(self.service, self.visible);
        let found = match &pool {
            Some(pool) => self.allocator.allocate_from(&client, &wanted, pool),
            None => self.allocator.allocate(&client, &wanted),
        };
        let need = Need::of(&wanted);
        found.map_err(|refusal| {
            let full = refusal.reasons.are_full();
            let wait = match pool {
                None => {
                    let pools = self.allocator.pinned_for(client.key.namespace(), client.labels);
                    Wait::Pools { pools, any: true, need }
                }
                Some(pool) if full => Wait::Pools { pools: vec![pool], any: false, need },
                Some(_) => Wait::Change,
            };
            Failure::refused(&refusal, wait)
        })
    }

    fn find_named(
        &mut self,
        addresses: Vec<IpAddr>,
        pool: Option<PoolName>,
        wanted: &Wanted,
    ) -> Result<Vec<IpAddr>, Failure> {
        let list = quoted_list(&addresses);
        if Stack::of(&addresses) != Ok(wanted.stack) {
            let text = format!("requested loadBalancer IP(s) {list} does not match the ipFamily of the service");
            return Err(Failure::new(text));
        }
        // Before what is taken: a refusal that waits for a change of Service or pools must read the same whoever has them.
        let given = self.allocator.pool_of(&addresses);
        if let (Some(pool), Some(given)) = (&pool, given)
            && pool != given
        {
            let text =
                format!("requested loadBalancer IP(s) {list} is not compatible with requested address pool {pool}");
            return Err(Failure::new(text));
        }
        self.allocator.assign(&client(self.service, self.visible), &addresses).map_err(|refusal| {
            let taken = matches!(refusal.error, AllocateError::Sharing(_));
            Failure::refused(&refusal, if taken { Wait::Addresses(addresses.clone()) } else { Wait::Change })
        })?;
        Ok(addresses)
    }

    /// The end of every way that leads to addresses.
    fn settle(&mut self) -> Result<(), Wait> {
        let target = self.target();
        if target.addresses.is_empty() {
            let text = String::from("didn't allocate an IP but also did not fail");
            self.fail("InternalError", "InternalError", text);
            self.clear(None);
            return Err(Wait::Change);
        }
        self.decision.target = Some(target);
        Ok(())
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

    /// The Service gets no address; an Event says why, and a condition.
    fn fail(&mut self, event: &'static str, reason: &'static str, text: String) {
        self.fail_with(event, reason, text.clone(), text);
    }

    fn fail_with(&mut self, event: &'static str, reason: &'static str, text: String, message: String) {
        let event = Note { severity: Severity::Warning, reason: event, text: capped(text) };
        self.decision.notes.push(event.clone());
        self.decision.pending = Some(Pending { reason, message: capped(message), event: Some(event) });
    }

    fn warn(&mut self, reason: &'static str, text: String) {
        self.note(Severity::Warning, reason, text);
    }

    fn note(&mut self, severity: Severity, reason: &'static str, text: String) {
        self.decision.notes.push(Note { severity, reason, text });
    }
}
