//! Rules of FRRConfiguration.
use crate::finding::Finding;
use crate::resources::NodeLabels;
use api::frrk8s::FRRConfiguration;

/// Everything there is to say about these configurations.
pub fn check(_configurations: &[FRRConfiguration], _nodes: &[NodeLabels]) -> Vec<Finding> {
    Vec::new()
}

/// What the user should know about one configuration becoming another.
pub fn change(_old: &FRRConfiguration, _new: &FRRConfiguration) -> Vec<Finding> {
    Vec::new()
}
