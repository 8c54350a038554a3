//! Rules of FRRConfiguration, the object that frr-k8s reads.
//!
//! ```text
//!                          +--> own rules (frr_object, frr_neighbor, frr_prefixes) --> findings about it alone
//!  FRRConfiguration -------|
//!                          +--> claims (frr_claims): "router of VRF red has ASN 64500" ----+
//!                          +--> nodes it selects (frr_nodes) ------------------------------+--> conflicts on shared nodes
//! ```
//!
//! All configurations that select a node are merged there. A configuration can only add: whatever two of them say about the
//! same thing must be the same. So a merge fails exactly where two claims about one thing differ on a shared node, and
//! looking for those costs no more than reading the configurations, however many there are.
//!
//! Texts are those of frr-k8s. Where it stops at the first error of a node, every error is reported here, each about the
//! younger of the two objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::frrk8s::FRRConfiguration;

use crate::finding::{Class, Finding};
use crate::frr_claims::Claims;
use crate::frr_neighbor::shown_name;
use crate::frr_nodes::NodeSets;
use crate::frr_object;
use crate::resources::NodeLabels;
use crate::selector::Selector;
use crate::source::{Source, Stored, ranked};

/// Judges all FRRConfigurations together; the order of the input does not matter. Configurations of different namespaces
/// belong to different daemons and are not compared. With no nodes known, all are assumed to share one.
///
/// Secrets are not looked at: they may come later.
pub fn check(configurations: &[Arc<FRRConfiguration>], nodes: &[NodeLabels]) -> Vec<Finding> {
    let sources = ranked(configurations);
    let mut findings = Vec::new();
    let mut selectors = Vec::new();
    for source in &sources {
        let selector = source.object.spec.node_selector.as_ref().map(Selector::parse).transpose();
        if let Err(error) = &selector {
            let text = "resource contains an invalid NodeSelector";
            findings.push(Finding::new(Class::Error, &source.id, "spec.nodeSelector", text).detail(error.to_string()));
        }
        selectors.push(selector.ok().map(Option::unwrap_or_default));
    }
    let sets = NodeSets::new(&sources, &selectors, nodes);
    let mut namespaces: BTreeMap<&str, Claims<'_>> = BTreeMap::new();
    for (index, source) in sources.iter().enumerate() {
        let claims = namespaces.entry(&source.id.namespace).or_default();
        frr_object::check(source, index, claims, &mut findings);
    }
    for claims in namespaces.into_values() {
        claims.compare(&sources, &sets, &mut findings);
    }
    // Stable: within one object the order of evaluation stays.
    findings.sort_by(|a, b| a.object.name.cmp(&b.object.name).then_with(|| a.object.cmp(&b.object)));
    findings
}

/// What the user should know about one configuration becoming another: only warnings.
pub fn change(old: &FRRConfiguration, new: &FRRConfiguration) -> Vec<Finding> {
    type Key<'a> = (&'a str, String);
    fn flags(configuration: &FRRConfiguration) -> BTreeMap<Key<'_>, BTreeSet<bool>> {
        let mut flags: BTreeMap<Key<'_>, BTreeSet<bool>> = BTreeMap::new();
        for router in configuration.spec.bgp.iter().flat_map(|bgp| &bgp.routers) {
            let vrf = router.vrf.as_deref().unwrap_or_default();
            for neighbor in &router.neighbors {
                flags.entry((vrf, shown_name(neighbor))).or_default().insert(neighbor.enable_graceful_restart);
            }
        }
        flags
    }
    let (before, id) = (flags(old), new.id());
    flags(new)
        .into_iter()
        .filter(|(key, flag)| before.get(key).is_some_and(|before| before != flag))
        .map(|((_, neighbor), _)| {
            let text = "Graceful restart configuration changed, it will be available on the next restart";
            Finding::new(Class::Warning, &id, "spec.bgp.routers", text)
                .detail(format!("of the session with neighbor {neighbor}"))
        })
        .collect()
}

/// The stored form of a configuration, by rank.
pub(crate) type Configuration<'a> = Source<'a, FRRConfiguration>;
