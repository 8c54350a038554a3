//! What both kinds of advertisements share: which pools they select and which nodes may announce.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::finding::{Class, Finding, Kind, ObjectId};
use crate::hygiene::{duplicate_selector, parse_all};
use crate::model::PoolName;
use crate::pools::ActivePool;
use crate::quote::quoted;
use crate::resources::NodeLabels;
use crate::selector::{Selector, any_matches};

/// The pools in force and the held ones, by name.
pub(crate) type ActivePools<'a> = BTreeMap<PoolName, ActivePool<'a>>;

/// What advertisements are checked against.
pub(crate) struct Surroundings<'a> {
    pub(crate) pools: &'a ActivePools<'a>,
    /// Names of all pools that are stored, also those not in force.
    pub(crate) stored_pools: BTreeSet<&'a str>,
    pub(crate) stored_peers: BTreeSet<&'a str>,
    pub(crate) nodes: &'a [NodeLabels],
}

impl Surroundings<'_> {
    /// The pools in force or held that are named or matched; with neither names nor selectors, all.
    pub(crate) fn selected(&self, names: &[String], selectors: &[Selector]) -> BTreeSet<PoolName> {
        if names.is_empty() && selectors.is_empty() {
            return self.pools.keys().cloned().collect();
        }
        let named = names.iter().map(|name| PoolName(name.clone())).filter(|name| self.pools.contains_key(name));
        let mut selected: BTreeSet<PoolName> = named.collect();
        if !selectors.is_empty() {
            let matching = self.pools.iter().filter(|(_, pool)| any_matches(selectors, pool.labels));
            selected.extend(matching.map(|(name, _)| name.clone()));
        }
        selected
    }

    /// Names of the nodes that match any selector; without selectors, of all nodes.
    pub(crate) fn matching_nodes(&self, selectors: &[Selector]) -> BTreeSet<String> {
        let matching = self.nodes.iter().filter(|node| any_matches(selectors, &node.labels));
        matching.map(|node| node.name.clone()).collect()
    }

    /// Warnings about named pools that nobody has created; they may still appear.
    pub(crate) fn warn_of_unknown_pools(&self, id: &ObjectId, names: &[String], findings: &mut Vec<Finding>) {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !self.stored_pools.contains(name.as_str())) {
            let text = format!("{id} selects pool {}, which does not exist", quoted(name));
            let field = format!("spec.ipAddressPools[{index}]");
            findings.push(Finding::new(Class::Warning, id, field, text).transient());
        }
    }

    /// Warnings about named peers that nobody has created; they may still appear.
    pub(crate) fn warn_of_unknown_peers(&self, id: &ObjectId, names: &[String], findings: &mut Vec<Finding>) {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !self.stored_peers.contains(name.as_str())) {
            let text = format!("{id} names BGPPeer {}, which does not exist", quoted(name));
            let field = format!("spec.peers[{index}]");
            findings.push(Finding::new(Class::Warning, id, field, text).transient());
        }
    }
}

/// Collects the errors of one advertisement.
pub(crate) struct Checks<'a> {
    id: &'a ObjectId,
    findings: &'a mut Vec<Finding>,
    failed: bool,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(id: &'a ObjectId, findings: &'a mut Vec<Finding>) -> Self {
        Self { id, findings, failed: false }
    }

    pub(crate) fn id(&self) -> &'a ObjectId {
        self.id
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn error(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.push(Finding::new(Class::Error, self.id, field, text));
    }

    pub(crate) fn push(&mut self, finding: Finding) {
        self.failed |= finding.class == Class::Error;
        self.findings.push(finding);
    }

    pub(crate) fn no_error(&mut self, field: &str, found: Option<String>) {
        if let Some(text) = found {
            self.error(field, text);
        }
    }

    pub(crate) fn no_duplicate_selectors(&mut self, what: &str, selectors: &[LabelSelector]) {
        self.no_error(&format!("spec.{what}"), duplicate_selector(what, selectors));
    }

    pub(crate) fn pool_selectors(&mut self, selectors: &[LabelSelector]) -> Vec<Selector> {
        parse_all(selectors).unwrap_or_else(|(selector, error)| {
            self.error("spec.ipAddressPoolSelectors", format!("{error}\ninvalid label selector {selector}"));
            Vec::new()
        })
    }

    pub(crate) fn node_selectors(&mut self, selectors: &[LabelSelector]) -> Vec<Selector> {
        parse_all(selectors).unwrap_or_else(|(_, error)| {
            let text = format!("{error}\nfailed to parse node selector for {}", self.id.name);
            self.error("spec.nodeSelectors", text);
            Vec::new()
        })
    }

    pub(crate) fn service_selectors(&mut self, selectors: &[LabelSelector]) -> Vec<Selector> {
        parse_all(selectors).unwrap_or_else(|(selector, error)| {
            let text = format!(
                "invalid service selector {selector}: {error}\nfailed to parse service selector for {}",
                self.id.name
            );
            self.error("spec.serviceSelectors", text);
            Vec::new()
        })
    }

    /// `nodeSelectors` together with its deprecated alias `nodeSelector`.
    pub(crate) fn with_alias(&mut self, selectors: &[LabelSelector], alias: &[LabelSelector]) -> Vec<LabelSelector> {
        if !alias.is_empty() {
            let text = format!("{}: spec.nodeSelector is deprecated, use spec.nodeSelectors", self.id);
            self.push(Finding::new(Class::Warning, self.id, "spec.nodeSelector", text));
        }
        [selectors, alias].concat()
    }

    /// A warning where an advertisement stands for an AddressPool has been given already.
    pub(crate) fn is_legacy(&self) -> bool {
        self.id.kind == Kind::AddressPool
    }
}
