//! Which nodes each configuration selects.
//!
//! ```text
//!  configurations --same selector--> one set of nodes     [everything] -> {a, b, c}
//!                                                         [host = a]   -> {a}         looked up by the label, not tried
//! ```
//! Often every node has a configuration of its own: trying each selector on each node would be quadratic.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::frrk8s::Configuration;
use crate::resources::NodeLabels;
use crate::selector::Selector;

/// The sets of nodes, one per distinct selector.
#[derive(Debug)]
pub(crate) struct NodeSets<'a> {
    names: Vec<&'a str>,
    sets: Vec<Vec<usize>>,
    set_of: Vec<usize>,
}

impl<'a> NodeSets<'a> {
    /// `selectors` belong to `configurations` one by one; one that could not be parsed selects nothing.
    pub(crate) fn new(
        configurations: &[Configuration<'_>],
        selectors: &[Option<Selector>],
        nodes: &'a [NodeLabels],
    ) -> Self {
        let mut ids: BTreeMap<Option<&Selector>, usize> = BTreeMap::new();
        let (mut set_of, mut distinct) = (Vec::new(), Vec::new());
        for (configuration, selector) in configurations.iter().zip(selectors) {
            set_of.push(*ids.entry(selector.as_ref()).or_insert_with(|| {
                distinct.push((selector.as_ref(), configuration.object.spec.node_selector.as_ref()));
                distinct.len() - 1
            }));
        }
        let mut sets = vec![Vec::new(); distinct.len()];
        if nodes.is_empty() {
            for (set, (selector, _)) in sets.iter_mut().zip(&distinct) {
                set.extend(selector.is_some().then_some(0));
            }
            return Self { names: vec![""], sets, set_of };
        }
        let mut by_label: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        let mut by_trying = Vec::new();
        for (index, (selector, written)) in distinct.iter().enumerate().filter(|(_, (selector, _))| selector.is_some())
        {
            match written.and_then(needed_labels) {
                Some(labels) => labels.into_iter().for_each(|label| by_label.entry(label).or_default().push(index)),
                None => by_trying.push((index, *selector)),
            }
        }
        let mut sorted: Vec<&NodeLabels> = nodes.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        for (position, node) in sorted.iter().enumerate() {
            let found = node.labels.iter().filter_map(|(key, value)| by_label.get(&(key.as_str(), value.as_str())));
            let candidates = found.flatten().map(|index| (*index, distinct[*index].0)).chain(by_trying.iter().copied());
            for (index, selector) in candidates {
                if selector.is_some_and(|selector| selector.matches(&node.labels))
                    && sets[index].last() != Some(&position)
                {
                    sets[index].push(position);
                }
            }
        }
        Self { names: sorted.iter().map(|node| node.name.as_str()).collect(), sets, set_of }
    }

    /// How many nodes there are.
    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    /// The name of a node; empty when it stands for all.
    pub(crate) fn name(&self, node: usize) -> &'a str {
        self.names[node]
    }

    /// Names the set of nodes of a configuration; configurations with one selector share it.
    pub(crate) fn set(&self, configuration: usize) -> usize {
        self.set_of[configuration]
    }

    /// The nodes of a set, by name.
    pub(crate) fn nodes(&self, set: usize) -> &[usize] {
        &self.sets[set]
    }
}

/// Labels of which a node must have one, if the selector names any.
fn needed_labels(selector: &LabelSelector) -> Option<Vec<(&str, &str)>> {
    if let Some((key, value)) = selector.match_labels.iter().flatten().next() {
        return Some(vec![(key, value)]);
    }
    let one_of = selector.match_expressions.iter().flatten().find(|expression| expression.operator == "In")?;
    let mut labels: Vec<(&str, &str)> =
        one_of.values.iter().flatten().map(|value| (one_of.key.as_str(), value.as_str())).collect();
    labels.sort_unstable();
    labels.dedup();
    Some(labels)
}
