//! Which nodes have an endpoint of a Service that can serve.
//!
//! ```text
//! EndpointSlices (any address family) --serving--> Serving { anywhere?, nodes }
//! ```
//! An endpoint can serve when kube-proxy would send traffic to it: it is ready, or it is shutting down and still serving.
//! kube-proxy uses the latter only where no ready one is left, which it decides on each node for itself (policy Local) or for
//! the cluster (policy Cluster); either way a node counts that has one of them, as in MetalLB. So the address stays while
//! the last pod of a Service is being replaced. An endpoint that serves without being ready or shutting down gets no traffic.

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
    let conditions = endpoint.conditions;
    conditions.is_ready() || (conditions.is_serving() && conditions.is_terminating())
}

#[cfg(test)]
mod tests {
    use api::slim::EndpointConditions;

    use super::*;

    fn endpoint(node: &str, conditions: EndpointConditions) -> Endpoint {
        Endpoint { address_count: 1, conditions, node_name: (!node.is_empty()).then(|| node.to_owned()) }
    }

    const READY: EndpointConditions = EndpointConditions { ready: Some(true), serving: Some(true), terminating: None };
    const ENDING: EndpointConditions =
        EndpointConditions { ready: Some(false), serving: Some(true), terminating: Some(true) };

    #[test]
    fn r17_endpoints_can_serve_where_kube_proxy_would_use_them() {
        for (ready, serving, terminating, expected) in [
            (None, None, None, true),
            (Some(true), None, None, true),
            (Some(true), Some(true), Some(false), true),
            (Some(false), None, None, false),
            (Some(false), Some(false), Some(false), false),
            // Shutting down: used while it serves and nothing else is ready.
            (Some(false), Some(true), Some(true), true),
            (Some(false), Some(false), Some(true), false),
            (Some(false), None, Some(true), false),
            // publishNotReadyAddresses: ready in any state.
            (Some(true), Some(false), Some(false), true),
            (Some(true), Some(false), Some(true), true),
            // Neither ready nor shutting down: nobody sends anything there.
            (Some(false), Some(true), Some(false), false),
            (Some(false), Some(true), None, false),
        ] {
            let conditions = EndpointConditions { ready, serving, terminating };
            let serving_at = Serving::of(&[endpoint("a", conditions)]);
            assert_eq!(serving_at.anywhere, expected, "{conditions:?}");
            assert_eq!(serving_at.nodes.contains("a"), expected);
        }
    }

    #[test]
    fn r17_a_rolling_update_keeps_the_node_of_the_old_pod_until_it_stops_serving() {
        let nodes = |old: &[Endpoint]| Serving::of(old).nodes.into_iter().collect::<Vec<_>>();
        let (old, new) = (endpoint("a", ENDING), endpoint("b", READY));
        assert_eq!(nodes(&[endpoint("a", READY)]), ["a"]);
        assert_eq!(nodes(std::slice::from_ref(&old)), ["a"], "the only replica shuts down: nobody else could serve");
        assert_eq!(nodes(&[old, new.clone()]), ["a", "b"]);
        let stopped = EndpointConditions { serving: Some(false), ..ENDING };
        assert_eq!(nodes(&[endpoint("a", stopped), new]), ["b"]);
    }

    #[test]
    fn an_endpoint_without_a_node_serves_but_is_on_no_node() {
        let mut serving = Serving::of(&[endpoint("", READY)]);
        assert!(serving.anywhere && serving.nodes.is_empty());
        serving.add(&Serving::of(&[endpoint("b", READY)]));
        assert_eq!(serving.nodes.len(), 1);
    }
}
