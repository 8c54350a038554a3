//! What both kinds of advertisements share: which pools they select and which nodes may announce.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::finding::{Class, Finding, Kind, ObjectId};
use crate::hygiene::{duplicate_selector, parse_all};
use crate::label_index::LabelIndex;
use crate::pools::ActivePools;
use crate::quote::quoted;
use crate::resources::NodeLabels;
use crate::selector::Selector;

/// What advertisements are checked against.
pub(crate) struct Surroundings<'a> {
    pub(crate) pools: &'a ActivePools<'a>,
    /// Names of all pools that are stored, also those not in force.
    pub(crate) stored_pools: BTreeSet<&'a str>,
    pub(crate) stored_peers: BTreeSet<&'a str>,
    pub(crate) nodes: &'a [NodeLabels],
    pool_labels: LabelIndex<'a>,
    node_labels: LabelIndex<'a>,
    /// Sets of nodes that were asked for; most advertisements ask for the same few.
    node_sets: BTreeMap<Vec<Selector>, Arc<BTreeSet<String>>>,
}

impl<'a> Surroundings<'a> {
    pub(crate) fn new(
        pools: &'a ActivePools<'a>,
        stored_pools: BTreeSet<&'a str>,
        stored_peers: BTreeSet<&'a str>,
        nodes: &'a [NodeLabels],
    ) -> Self {
        let pool_labels = LabelIndex::new(pools.iter().map(|pool| pool.labels));
        let node_labels = LabelIndex::new(nodes.iter().map(|node| &node.labels));
        Self { pools, stored_pools, stored_peers, nodes, pool_labels, node_labels, node_sets: BTreeMap::new() }
    }

    /// The numbers of the pools in force or held that are named or matched, ascending; with neither names nor selectors,
    /// of all.
    pub(crate) fn selected(&self, names: &[String], selectors: &[Selector]) -> Vec<usize> {
        if names.is_empty() && selectors.is_empty() {
            return (0..self.pools.len()).collect();
        }
        let named = |name: &String| self.pools.binary_search_by(|pool| pool.id.name.cmp(name)).ok();
        let mut selected: Vec<usize> = names.iter().filter_map(named).collect();
        if !selectors.is_empty() {
            selected.extend(self.pool_labels.matching(selectors));
        }
        selected.sort_unstable();
        selected.dedup();
        selected
    }

    /// Names of the nodes that match any selector; without selectors, of all nodes.
    pub(crate) fn matching_nodes(&mut self, selectors: &[Selector]) -> Arc<BTreeSet<String>> {
        if let Some(known) = self.node_sets.get(selectors) {
            return Arc::clone(known);
        }
        let matching = self.node_labels.matching(selectors).into_iter();
        let names = matching.filter_map(|number| Some(self.nodes.get(number)?.name.clone()));
        let nodes: Arc<BTreeSet<String>> = Arc::new(names.collect());
        self.node_sets.insert(selectors.to_vec(), Arc::clone(&nodes));
        nodes
    }

    /// Names of the nodes that one selector matches.
    pub(crate) fn nodes_of(&self, selector: &Selector) -> impl Iterator<Item = &'a str> {
        let nodes = self.nodes;
        let matching = self.node_labels.matching(std::slice::from_ref(selector)).into_iter();
        matching.filter_map(|number| Some(nodes.get(number)?.name.as_str()))
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
