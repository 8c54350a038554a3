//! `spec.serviceAllocation` of a pool: which namespaces and Services may use it, and in what order.

use std::collections::BTreeSet;

use crate::hygiene::{duplicate_selector, parse_all};
use crate::label_index::LabelIndex;
use crate::model::ServiceAllocation;
use crate::resources::NamespaceLabels;

/// The namespaces of the cluster, prepared for many selectors.
pub(crate) struct Namespaces<'a> {
    all: &'a [NamespaceLabels],
    by_label: LabelIndex<'a>,
}

impl<'a> Namespaces<'a> {
    pub(crate) fn new(all: &'a [NamespaceLabels]) -> Self {
        Self { all, by_label: LabelIndex::new(all.iter().map(|namespace| &namespace.labels)) }
    }
}

/// Parses the rules of one pool. Errors come as (field below `spec.serviceAllocation`, MetalLB's text).
pub(crate) fn parse(
    pool: &str,
    spec: &api::v1beta1::ServiceAllocation,
    namespaces: &Namespaces<'_>,
) -> (ServiceAllocation, Vec<(&'static str, String)>) {
    let mut errors = Vec::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    if !spec.namespaces.iter().all(|name| names.insert(name.clone())) {
        errors.push(("namespaces", "duplicate definition in namespaces field".to_owned()));
    }
    if let Some(text) = duplicate_selector("namespaceSelectors", &spec.namespace_selectors) {
        errors.push(("namespaceSelectors", text));
    }
    if let Some(text) = duplicate_selector("serviceSelectors", &spec.service_selectors) {
        errors.push(("serviceSelectors", text));
    }
    let namespace_selectors = parse_all(&spec.namespace_selectors).unwrap_or_else(|(selector, error)| {
        let text = format!("{error}\ninvalid namespace label selector {selector} in ip pool {pool}");
        errors.push(("namespaceSelectors", text));
        Vec::new()
    });
    let service_selectors = parse_all(&spec.service_selectors).unwrap_or_else(|(selector, error)| {
        let text = format!("{error}\ninvalid service label selector {selector} in ip pool {pool}");
        errors.push(("serviceSelectors", text));
        Vec::new()
    });
    if !namespace_selectors.is_empty() {
        let matching = namespaces.by_label.matching(&namespace_selectors);
        names.extend(matching.into_iter().filter_map(|number| Some(namespaces.all.get(number)?.name.clone())));
    }
    let restricts_namespaces = !spec.namespaces.is_empty() || !spec.namespace_selectors.is_empty();
    let priority = spec.priority.unwrap_or(0);
    (ServiceAllocation { priority, namespaces: names, restricts_namespaces, service_selectors }, errors)
}
