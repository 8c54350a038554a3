//! L2 advertisements: parsed, resolved to nodes, tied to the pools they select.
//!
//! ```text
//! L2Advertisement --checks--> nodes, interfaces, selectors, preferences --> Pool.l2_advertisements of every selected pool
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::v1beta1;

use crate::attachment::{Checks, Surroundings};
use crate::finding::{Class, Finding};
use crate::hygiene::{duplicate_name, shown};
use crate::model::L2Advertisement;
use crate::selector::Selector;
use crate::source::Source;

/// An advertisement in force and the numbers of the pools it is tied to.
pub(crate) type Attachment = (Arc<L2Advertisement>, Vec<usize>);

/// Checks advertisements in the order of precedence and keeps the good ones.
pub(crate) fn compile(
    sources: &[Source<'_, v1beta1::L2Advertisement>],
    around: &mut Surroundings<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<Attachment> {
    let mut names = BTreeSet::new();
    let mut attachments = Vec::new();
    for source in sources {
        if !names.insert(&source.id) {
            let text = format!("duplicate definition of l2advertisement {}", crate::quote::quoted(source.name()));
            findings.push(Finding::new(Class::Error, &source.id, "metadata.name", text));
            continue;
        }
        attachments.extend(parse(source, around, findings));
    }
    attachments
}

fn parse(
    source: &Source<'_, v1beta1::L2Advertisement>,
    around: &mut Surroundings<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Attachment> {
    let spec = &source.object.spec;
    let mut checks = Checks::new(&source.id, findings);
    let nodes = checks.with_alias(&spec.node_selectors, &spec.node_selector);
    checks.no_error("spec.ipAddressPools", duplicate_name("ipAddressPools", &spec.ip_address_pools));
    checks.no_duplicate_selectors("ipAddressPoolSelectors", &spec.ip_address_pool_selectors);
    checks.no_duplicate_selectors("nodeSelectors", &nodes);
    checks.no_duplicate_selectors("serviceSelectors", &spec.service_selectors);
    let node_selectors = checks.node_selectors(&nodes);
    let service_selectors = checks.service_selectors(&spec.service_selectors);
    let preferences = parse_preferences(source.name(), &spec.preferred_node_selectors, &mut checks);
    let pool_selectors = checks.pool_selectors(&spec.ip_address_pool_selectors);
    if checks.failed() {
        return None;
    }
    if !checks.is_legacy() {
        around.warn_of_unknown_pools(&source.id, &spec.ip_address_pools, findings);
    }
    let nodes = around.matching_nodes(&node_selectors);
    let preferences = scores(&preferences, &nodes, around);
    let interfaces = (!spec.interfaces.is_empty()).then(|| spec.interfaces.iter().cloned().collect());
    let name = source.name().to_owned();
    let advertisement = L2Advertisement { name, nodes, interfaces, service_selectors, preferences };
    Some((Arc::new(advertisement), around.selected(&spec.ip_address_pools, &pool_selectors)))
}

fn parse_preferences(
    name: &str,
    preferences: &[v1beta1::PreferredNodeSelector],
    checks: &mut Checks<'_>,
) -> Vec<(Selector, i64)> {
    let mut parsed = Vec::new();
    for (index, preferred) in preferences.iter().enumerate() {
        match Selector::parse(&preferred.preference) {
            Ok(selector) => parsed.push((selector, i64::from(preferred.weight))),
            Err(error) => checks.error(
                format!("spec.preferredNodeSelectors[{index}]"),
                format!(
                    "{error}\ninvalid preferred node selector {}\nfailed to parse preferred node selectors for {name}",
                    shown(&preferred.preference)
                ),
            ),
        }
    }
    parsed
}

/// Sum of the weights of all preferences that match, per eligible node; nodes without any are left out.
fn scores(
    preferences: &[(Selector, i64)],
    eligible: &BTreeSet<String>,
    around: &Surroundings<'_>,
) -> BTreeMap<String, i64> {
    let mut scores: BTreeMap<String, i64> = BTreeMap::new();
    for (selector, weight) in preferences {
        for node in around.nodes_of(selector).filter(|node| eligible.contains(*node)) {
            match scores.get_mut(node) {
                Some(score) => *score += weight,
                None => {
                    scores.insert(node.to_owned(), *weight);
                }
            }
        }
    }
    scores.retain(|_, score| *score != 0);
    scores
}
