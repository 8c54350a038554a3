//! Slim views of core kinds: own types that hold only the fields MetalLB reads, usable in `kube::Api` and watchers.
//!
//! ```text
//! apiserver JSON --serde, unknown fields skipped--> slim::Service      (instead of a k8s_openapi Service)
//! ```
//! A cluster has thousands of Services and EndpointSlices and a full copy of one takes ten times the memory. What is not
//! declared here is never allocated: `managedFields` and kubectl's copy of the last applied manifest are skipped while
//! reading. Every field has a default, so objects of older or newer servers parse.
//!
//! These types are for reading. To write, send a patch of the fields you own; never send a slim object back.

mod endpoint_slice;
mod metadata;
mod namespace;
mod node;
mod pod;
mod service;

pub use endpoint_slice::{Endpoint, EndpointConditions, EndpointSlice};
pub use namespace::Namespace;
pub use node::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus};
pub use pod::{Pod, PodCondition, PodIp, PodSpec, PodStatus};
pub use service::{
    LoadBalancerIngress, LoadBalancerStatus, Service, ServiceCondition, ServicePort, ServiceSpec, ServiceStatus,
};
