//! Which nodes have an endpoint of a Service that can serve.
//!
//! ```text
//! EndpointSlices (any address family) --serving--> Serving { anywhere?, nodes }
//! ```
//! MetalLB behaviour: an endpoint can serve when it is ready or, while it is shutting down, still serving. That keeps traffic
//! flowing while the last pod of a Service is being replaced.

use std::collections::BTreeSet;

use api::slim::Endpoint;

/// Where a Service can be served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// Some endpoint can serve, wherever it is; endpoints outside the cluster name no node.
    pub anywhere: bool,
    /// The nodes with an endpoint that can serve.
    pub nodes: BTreeSet<String>,
}

impl Serving {
    /// Reads the endpoints of one EndpointSlice.
    pub fn of(endpoints: &[Endpoint]) -> Self {
        let able = || endpoints.iter().filter(|endpoint| can_serve(endpoint));
        Self {
            anywhere: able().next().is_some(),
            nodes: able().filter_map(|endpoint| endpoint.node_name.clone()).filter(|name| !name.is_empty()).collect(),
        }
    }

    /// Adds what another slice of the same Service says.
    pub fn add(&mut self, other: &Self) {
        self.anywhere |= other.anywhere;
        self.nodes.extend(other.nodes.iter().cloned());
    }
}

fn can_serve(endpoint: &Endpoint) -> bool {
    endpoint.conditions.is_ready() || endpoint.conditions.is_serving()
}

#[cfg(test)]
mod tests {
    use api::slim::EndpointConditions;

    use super::*;

    fn endpoint(node: &str, ready: Option<bool>, serving: Option<bool>) -> Endpoint {
        Endpoint {
            address_count: 1,
            conditions: EndpointConditions { ready, serving, terminating: None },
            node_name: (!node.is_empty()).then(|| node.to_owned()),
        }
    }

    #[test]
    fn ready_unknown_and_terminating_but_serving_endpoints_can_serve() {
        for (ready, serving, expected) in [
            (None, None, true),
            (Some(true), None, true),
            (Some(true), Some(true), true),
            (Some(false), None, false),
            (Some(false), Some(true), true),
            (Some(false), Some(false), false),
        ] {
            let serving_at = Serving::of(&[endpoint("a", ready, serving)]);
            assert_eq!(serving_at.anywhere, expected, "ready {ready:?} serving {serving:?}");
            assert_eq!(serving_at.nodes.contains("a"), expected);
        }
    }

    #[test]
    fn an_endpoint_without_a_node_serves_but_is_on_no_node() {
        let mut serving = Serving::of(&[endpoint("", None, None)]);
        assert!(serving.anywhere && serving.nodes.is_empty());
        serving.add(&Serving::of(&[endpoint("b", None, None)]));
        assert_eq!(serving.nodes.len(), 1);
    }
}
