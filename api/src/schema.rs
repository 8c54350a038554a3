//! Pieces of schema that the derives cannot express.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// CEL rules of `connectTime`.
pub(crate) fn connect_time_rules() -> Value {
    json!([
        {
            "rule": "duration(self).getSeconds() >= 1 && duration(self).getSeconds() <= 65535",
            "message": "connect time should be between 1 seconds to 65535",
        },
        {
            "rule": "duration(self).getMilliseconds() % 1000 == 0",
            "message": "connect time should contain a whole number of seconds",
        },
    ])
}

/// CEL rules of a BGPPeer as a whole. Only what can never be in force is refused here, so that stored peers can still be
/// changed; the address is left to the webhook, whose word about the namespace must come first.
pub(crate) fn peer_rules() -> Value {
    let asn = "has(self.peerASN) && self.peerASN != 0";
    let address = "has(self.peerAddress) && self.peerAddress != ''";
    let interface = "has(self.interface) && self.interface != ''";
    json!([
        { "rule": "self.myASN != 0", "message": "missing local ASN" },
        { "rule": format!("has(self.dynamicASN) || ({asn})"), "message": "missing peer ASN and dynamicASN" },
        { "rule": format!("!has(self.dynamicASN) || !({asn})"), "message": "both peer ASN and dynamicASN specified" },
        {
            "rule": "!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !has(self.peerASN) || self.peerASN != self.myASN",
            "message": "invalid ebgp-multihop parameter set for an ibgp peer",
        },
        {
            "rule": format!("({address}) || ({interface})"),
            "message": "peer has no Address or Interface specified",
        },
        {
            "rule": format!("!({address}) || !({interface})"),
            "message": "peer has both Address and Interface specified",
        },
        {
            "rule": "!has(self.holdTime) || !has(self.keepaliveTime) || duration(self.keepaliveTime) <= duration(self.holdTime)",
            "message": "invalid BGPPeer timers: invalid keepaliveTime, must be lower than holdTime",
        },
        {
            "rule": "!has(self.password) || self.password == '' || !has(self.passwordSecret) || !has(self.passwordSecret.name) || self.passwordSecret.name == ''",
            "message": "can not have both password and secret ref set in peer config",
        },
    ])
}

/// CEL rules of `holdTime`.
pub(crate) fn hold_time_rules() -> Value {
    json!([{
        "rule": "duration(self).getSeconds() == 0 || (duration(self).getSeconds() >= 3 && duration(self).getSeconds() <= 65535)",
        "message": "invalid hold time: must be 0 or >=3s",
        "messageExpression": "'invalid BGPPeer timers: invalid hold time \"' + self + '\": must be 0 or >=3s'",
    }])
}

/// CEL rules of `keepaliveTime`.
pub(crate) fn keepalive_time_rules() -> Value {
    json!([{
        "rule": "duration(self).getSeconds() >= 0",
        "message": "invalid BGPPeer timers: invalid keepaliveTime, it cannot be negative",
    }])
}

/// CEL rules of the name of a network device, which may be empty.
pub(crate) fn device_rules(what: &str) -> Value {
    json!([{
        "rule": "self == '' || (size(self) <= 15 && self != '.' && self != '..' && !self.matches('[[:space:]/:]'))",
        "message": format!("invalid {what}: a device name has 1 to 15 characters and no space, slash or colon"),
    }])
}

/// CEL rules of a prefix length. The number is not in the message: the apiserver takes the text of a number for endlessly
/// long when it estimates costs.
pub(crate) fn aggregation_rules(family: &str, most: u8) -> Value {
    json!([{
        "rule": format!("self >= 1 && self <= {most}"),
        "message": format!("invalid aggregation length for {family}, it must be 1 to {most}"),
    }])
}

/// CEL rules of the addresses of a pool.
pub(crate) fn addresses_rules() -> Value {
    json!([{ "rule": "size(self) > 0", "message": "pool has no prefixes defined" }])
}

/// CEL rules of a whole MetalLB.
pub(crate) fn metallb_rules() -> Value {
    json!([{
        "rule": "self.metadata.name == 'metallb'",
        "message": "MetalLB resource must be named metallb: there is one MetalLB per cluster",
    }])
}

/// CEL rules of status fields that name what an object is about.
pub(crate) fn immutable_rules() -> Value {
    json!([{ "rule": "self == oldSelf", "message": "Value is immutable" }])
}

/// A list of standard conditions, replaced as a whole.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": condition() })
}

/// A list of standard conditions, merged by their type.
pub(crate) fn conditions_by_type(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": condition(),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// One standard condition with the limits the Kubernetes API conventions give it.
fn condition() -> Value {
    json!({
        "description": "One aspect of the state.",
        "type": "object",
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        "properties": {
            "lastTransitionTime": {
                "description": "When the status last changed.",
                "type": "string",
                "format": "date-time",
            },
            "message": {
                "description": "Explanation for people; may be empty.",
                "type": "string",
                "maxLength": 32768,
            },
            "observedGeneration": {
                "description": "The metadata.generation the condition was written for.",
                "type": "integer",
                "format": "int64",
                "minimum": 0,
            },
            "reason": {
                "description": "Why, in one CamelCase word for programs.",
                "type": "string",
                "maxLength": 1024,
                "minLength": 1,
                "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            },
            "status": {
                "description": "True, False or Unknown.",
                "type": "string",
                "enum": ["True", "False", "Unknown"],
            },
            "type": {
                "description": "Which aspect, in CamelCase.",
                "type": "string",
                "maxLength": 316,
                "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
            },
        },
    })
}

/// Schema of a reference to a Secret.
#[derive(JsonSchema)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[allow(dead_code)]
pub(crate) struct SecretReferenceSchema {
    /// Name of the Secret.
    #[schemars(default)]
    name: Option<String>,
    /// Not used: the Secret is looked up in the program's own namespace.
    #[schemars(default)]
    namespace: Option<String>,
}

/// What an `ADMINISTRATOR:NUMBER` text is used as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Administrator {
    /// Route distinguisher, RFC 4364 section 4.2.
    RouteDistinguisher,
    /// Route target to attach, RFC 4360 section 4.
    ExportRouteTarget,
    /// Route target to accept; `*` stands for any global administrator.
    ImportRouteTarget,
}

/// CEL rules of a route distinguisher or route target. Each rule lets pass what an earlier rule already refuses, so
/// that the user sees one message. They match the text as a whole where they can: the apiserver estimates the cost of
/// every rule for the largest list it may apply to, and refuses a definition whose rules could cost too much.
pub(crate) fn administrator_rules(usage: Administrator) -> Value {
    const NOT_TWO_PARTS: &str = "!self.matches('^[^:]*:[^:]*$')";
    const OCTET: &str = "(25[0-5]|(2[0-4]|1?[0-9])?[0-9])";
    let global_up_to = |limit: u32| format!("int(self.split(':')[0]) <= {limit}");
    let local_up_to = |limit: u32| format!("(self.matches(':[0-9]{{1,10}}$') && int(self.split(':')[1]) <= {limit})");
    let wildcard = usage == Administrator::ImportRouteTarget;
    let (word, any, choices) = match usage {
        Administrator::RouteDistinguisher => ("RD", "", "either an IPv4 address or a number"),
        Administrator::ExportRouteTarget => ("RT", "", "either an IPv4 address or a number"),
        Administrator::ImportRouteTarget => ("RT", "[*]:|", "either '*', an IPv4 address, or a number"),
    };
    let rule = |rule: String, message: String| json!({ "rule": rule, "message": message });

    let mut rules = vec![
        rule("self.matches('^[^:]*:[^:]*$')".to_owned(), format!("{word} must contain exactly one colon")),
        rule(
            // Short rather than obvious: its length counts towards the cost. That the colon comes fourth in an address
            // follows from the next rule.
            format!("{NOT_TWO_PARTS} || self.matches('^({any}[0-9]+:|({OCTET}[.:]){{4}}[^.:]*$)')"),
            format!("{word} global administrator must be {choices}"),
        ),
        rule(
            format!("{NOT_TWO_PARTS} || self.matches(':[0-9]+$')"),
            format!("{word} local administrator must be a number"),
        ),
        rule(
            format!("!self.matches('^[0-9.]*[.][0-9.]*:[0-9]+$') || {}", local_up_to(65535)),
            format!("{word} with IPv4 global administrator must have format A.B.C.D:MN where MN <= 65535"),
        ),
        rule(
            format!(
                "!self.matches('^[0-9]+:[0-9]+$') || (self.matches('^[0-9]{{1,10}}:') && {} && ({} || {}))",
                global_up_to(u32::MAX),
                global_up_to(65535),
                local_up_to(65535)
            ),
            format!(
                "{word} with 4-byte ASN global administrator must have format GHJK:MN where GHJK <= 4294967295 and MN \
                 <= 65535"
            ),
        ),
        rule(
            format!(
                "!self.matches('^[0-9]{{1,10}}:[0-9]+$') || !({}) || {}",
                global_up_to(65535),
                local_up_to(u32::MAX)
            ),
            format!(
                "{word} with 2-byte ASN global administrator must have format EF:OPQR where EF <= 65535 and OPQR <= \
                 4294967295"
            ),
        ),
    ];
    if wildcard {
        rules.push(rule(
            format!("!self.matches('^[*]:[0-9]+$') || {}", local_up_to(u32::MAX)),
            "RT with wildcard global administrator must have format *:OPQR where OPQR <= 4294967295".to_owned(),
        ));
    }
    Value::Array(rules)
}
