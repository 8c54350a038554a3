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
