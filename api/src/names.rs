//! Labels, annotations, finalizers and fixed object names: strings that users, other tools or an older MetalLB know.
//!
//! ```text
//! user  --annotations-->  Service  <--labels--  speaker (status objects)
//! user  --labels-->       Node, Namespace       operator (object names)
//! ```
//! Changing any value here breaks someone's cluster or dashboard.

/// API group of the user-facing kinds.
pub const GROUP: &str = "metallb.io";
/// API group of the kinds the FRR daemon reads and writes.
pub const GROUP_FRRK8S: &str = "frrk8s.metallb.io";

/// Service annotation: name of the pool to take the addresses from.
pub const ANNOTATION_ADDRESS_POOL: &str = "metallb.io/address-pool";
/// Old spelling of [`ANNOTATION_ADDRESS_POOL`]; the new key wins when both are present.
pub const ANNOTATION_ADDRESS_POOL_DEPRECATED: &str = "metallb.universe.tf/address-pool";
/// Service annotation: one or two addresses, separated by a comma.
pub const ANNOTATION_LOAD_BALANCER_IPS: &str = "metallb.io/loadBalancerIPs";
/// Old spelling of [`ANNOTATION_LOAD_BALANCER_IPS`].
pub const ANNOTATION_LOAD_BALANCER_IPS_DEPRECATED: &str = "metallb.universe.tf/loadBalancerIPs";
/// Service annotation: sharing key; Services with the same key may share an address.
pub const ANNOTATION_ALLOW_SHARED_IP: &str = "metallb.io/allow-shared-ip";
/// Old spelling of [`ANNOTATION_ALLOW_SHARED_IP`].
pub const ANNOTATION_ALLOW_SHARED_IP_DEPRECATED: &str = "metallb.universe.tf/allow-shared-ip";
/// Service annotation written by the controller: name of the pool the addresses came from.
pub const ANNOTATION_IP_ALLOCATED_FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";
/// Prefix of every deprecated annotation; its use is reported with a `deprecatedAnnotation` event.
pub const ANNOTATION_PREFIX_DEPRECATED: &str = "metallb.universe.tf";

/// Annotation kubectl keeps the last applied manifest in; dropped from slim views because it doubles an object's size.
pub const ANNOTATION_LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Node label: the node must not announce load balancer addresses.
pub const LABEL_EXCLUDE_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Label on EndpointSlices: name of the Service they belong to.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label on EndpointSlices of headless Services, which never have a load balancer address.
pub const LABEL_HEADLESS: &str = "service.kubernetes.io/headless";
/// Label on Nodes: host name.
pub const LABEL_HOSTNAME: &str = "kubernetes.io/hostname";

/// Label on ServiceL2Status and ServiceBGPStatus: the announcing node.
pub const LABEL_STATUS_NODE: &str = "metallb.io/node";
/// Label on ServiceL2Status and ServiceBGPStatus: name of the Service.
pub const LABEL_STATUS_SERVICE_NAME: &str = "metallb.io/service-name";
/// Label on ServiceL2Status and ServiceBGPStatus: namespace of the Service.
pub const LABEL_STATUS_SERVICE_NAMESPACE: &str = "metallb.io/service-namespace";
/// Label on ConfigurationState: `controller` or `speaker`.
pub const LABEL_COMPONENT_TYPE: &str = "metallb.io/component-type";
/// Label on a speaker's ConfigurationState: its node.
pub const LABEL_NODE_NAME: &str = "metallb.io/node-name";
/// Label on BGPSessionState: the node.
pub const LABEL_SESSION_NODE: &str = "frrk8s.metallb.io/node";
/// Label on BGPSessionState: the peer, with `-` in place of `:`.
pub const LABEL_SESSION_PEER: &str = "frrk8s.metallb.io/peer";
/// Label on BGPSessionState: the VRF, empty for the default one.
pub const LABEL_SESSION_VRF: &str = "frrk8s.metallb.io/vrf";

/// `generateName` of ServiceL2Status objects.
pub const PREFIX_L2_STATUS: &str = "l2-";
/// `generateName` of ServiceBGPStatus objects.
pub const PREFIX_BGP_STATUS: &str = "bgp-";
/// Name prefix of a speaker's ConfigurationState; the node name follows.
pub const PREFIX_SPEAKER_STATE: &str = "speaker-";

/// Label key on operands: `metallb`.
pub const LABEL_APP: &str = "app";
/// Value of [`LABEL_APP`].
pub const APP: &str = "metallb";
/// Label key on operands: which program a pod runs.
pub const LABEL_COMPONENT: &str = "component";
/// Value of [`LABEL_COMPONENT`] and object name of the controller.
pub const CONTROLLER: &str = "controller";
/// Value of [`LABEL_COMPONENT`] and object name of the speaker.
pub const SPEAKER: &str = "speaker";
/// Value of [`LABEL_COMPONENT`] of the admission webhook.
pub const WEBHOOK_SERVER: &str = "webhook-server";

/// Default namespace of the flat manifest. Programs never assume it: they are told theirs.
pub const NAMESPACE: &str = "metallb-system";
/// Name the one MetalLB resource must have.
pub const METALLB: &str = "metallb";
/// Deployment of the operator.
pub const OPERATOR_DEPLOYMENT: &str = "metallb-operator-controller-manager";
/// Deployment of the admission webhook.
pub const WEBHOOK_DEPLOYMENT: &str = "metallb-operator-webhook-server";
/// Service in front of the webhook for the configuration kinds.
pub const WEBHOOK_SERVICE: &str = "metallb-webhook-service";
/// Service in front of the webhook for the MetalLB kind (same pods).
pub const OPERATOR_WEBHOOK_SERVICE: &str = "metallb-operator-webhook-service";
/// Secret that holds the webhook's certificate authority and certificate.
pub const WEBHOOK_SECRET: &str = "metallb-webhook-cert";
/// ValidatingWebhookConfiguration for the configuration kinds.
pub const WEBHOOK_CONFIGURATION: &str = "metallb-webhook-configuration";
/// ValidatingWebhookConfiguration for the MetalLB kind.
pub const OPERATOR_WEBHOOK_CONFIGURATION: &str = "metallb-operator-webhook-configuration";
/// ConfigMap with the interfaces never used for layer 2 announcements.
pub const EXCLUDE_L2_CONFIG_MAP: &str = "metallb-excludel2";

/// Server-side-apply field manager of the operator.
pub const FIELD_MANAGER_OPERATOR: &str = "metallb-operator";
/// Server-side-apply field manager of the controller.
pub const FIELD_MANAGER_CONTROLLER: &str = "metallb-controller";
/// Server-side-apply field manager of the speaker.
pub const FIELD_MANAGER_SPEAKER: &str = "metallb-speaker";
/// Server-side-apply field manager of the webhook.
pub const FIELD_MANAGER_WEBHOOK: &str = "metallb-webhook";
