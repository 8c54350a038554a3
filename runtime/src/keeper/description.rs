//! What the object should look like, and what has to be written when it does not. Pure.
//!
//! ```text
//!  Verdict::of(errors) ─▶ Description ─┐
//!                       stored object ─┴─▶ difference ─▶ at most one Write; its answer is looked at again
//! ```

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use serde_json::{Map, Value, json};

use super::owner_json;

/// The longest text that a condition takes, in bytes; CRDs refuse more.
const MESSAGE_LIMIT: usize = 32_768;

/// What an object should look like.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    pub labels: BTreeMap<String, String>,
    pub owner: Option<OwnerReference>,
    pub verdict: Verdict,
}

/// The words a verdict is given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wording {
    /// Type of the condition about the first error.
    pub condition: &'static str,
    /// Its reason without an error.
    pub good: &'static str,
    /// Its reason with an error.
    pub bad: &'static str,
    /// What stands before the text of the error.
    pub prefix: &'static str,
    /// Type of the condition that lists all errors when there are several.
    pub all: &'static str,
    /// Its reason.
    pub all_reason: &'static str,
}

impl Wording {
    /// MetalLB's words for a condition of this type, and a second condition of ours.
    pub const fn of_metallb(condition: &'static str) -> Self {
        Self {
            condition,
            good: "Reconciled",
            bad: "ConfigurationError",
            prefix: "configuration error: ",
            all: "metallb.io/AllErrors",
            all_reason: "MoreErrors",
        }
    }
}

/// A status with `result`, `errorSummary` and conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    result: &'static str,
    summary: Option<String>,
    conditions: Vec<Condition>,
    /// Type of a condition that must not be there.
    unwanted: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    /// Nobody has looked yet. It is only written where there is no verdict at all: an older one stays until the next.
    pub fn unknown() -> Self {
        Self { result: "Unknown", summary: None, conditions: Vec::new(), unwanted: None }
    }

    /// `Valid` without errors; otherwise `Invalid`, with the first error in a condition and all of them in a second one.
    pub fn of(wording: Wording, errors: &[String]) -> Self {
        let condition = |kind, status, reason, message| Condition { kind, status, reason, message };
        let Some(first) = errors.first() else {
            let good = condition(wording.condition, "True", wording.good, String::new());
            return Self { result: "Valid", summary: None, conditions: vec![good], unwanted: Some(wording.all) };
        };
        let message = shortened(format!("{}{first}", wording.prefix));
        let mut conditions = vec![condition(wording.condition, "False", wording.bad, message.clone())];
        let several = errors.len() > 1;
        if several {
            conditions.push(condition(wording.all, "False", wording.all_reason, joined(errors)));
        }
        let unwanted = (!several).then_some(wording.all);
        Self { result: "Invalid", summary: Some(message), conditions, unwanted }
    }

    fn is_unknown(&self) -> bool {
        self.conditions.is_empty()
    }
}

/// All errors, or as many as fit and how many do not.
fn joined(errors: &[String]) -> String {
    let whole = errors.join("\n");
    if whole.len() <= MESSAGE_LIMIT {
        return whole;
    }
    // Room for the last line.
    let room = MESSAGE_LIMIT - 64;
    let mut text = String::new();
    for (index, error) in errors.iter().enumerate() {
        if text.len() + error.len() + 1 > room {
            return format!("{text}and {} more", errors.len() - index);
        }
        text.push_str(error);
        text.push('\n');
    }
    text
}

fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_LIMIT {
        let end = (0..=MESSAGE_LIMIT - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// How the object is called, and who applies its status.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub status_manager: String,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    /// Server-side apply of the object without its status.
    Object(Value),
    /// Server-side apply of the status.
    Status(Value),
    /// Merge patch of the status: takes away what somebody else put there.
    Remove(Value),
}

/// The next write that brings the stored object nearer to its description; `None` when it shows all of it.
pub(super) fn difference(
    identity: &Identity,
    description: &Description,
    stored: Option<&Value>,
    now: Timestamp,
) -> Option<Write> {
    let Identity { api_version, kind, name, .. } = identity;
    let has_metadata = stored.is_some_and(|stored| shows_metadata(description, stored));
    if !has_metadata {
        let mut metadata = json!({"name": name, "labels": description.labels});
        if let (Some(owner), Some(metadata)) = (&description.owner, metadata.as_object_mut()) {
            metadata.insert(String::from("ownerReferences"), json!([owner_json(owner)]));
        }
        return Some(Write::Object(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})));
    }
    let nothing = Map::new();
    let status = stored.and_then(|stored| stored.get("status")?.as_object()).unwrap_or(&nothing);
    let verdict = &description.verdict;
    if verdict.is_unknown() && status.contains_key("result") {
        return None;
    }
    let shown = |condition: &Condition| {
        let conditions = status.get("conditions").and_then(Value::as_array)?;
        conditions.iter().find(|shown| shown.get("type").and_then(Value::as_str) == Some(condition.kind)).cloned()
    };
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let is_shown = |condition: &Condition| {
        shown(condition).is_some_and(|shown| {
            text(&shown, "status").as_deref() == Some(condition.status)
                && text(&shown, "reason").as_deref() == Some(condition.reason)
                && text(&shown, "message").as_deref() == Some(condition.message.as_str())
        })
    };
    let summary = status.get("errorSummary").and_then(Value::as_str);
    let same = status.get("result").and_then(Value::as_str) == Some(verdict.result)
        && verdict.summary.as_ref().is_none_or(|wanted| summary == Some(wanted.as_str()))
        && verdict.conditions.iter().all(is_shown);
    if same {
        match surplus(identity, verdict, stored?, status) {
            Surplus::None => return None,
            Surplus::Foreign(body) => return Some(Write::Remove(json!({"status": body}))),
            // Applying without it takes it away.
            Surplus::Ours => {}
        }
    }
    let mut body = Map::from_iter([(String::from("result"), json!(verdict.result))]);
    if let Some(summary) = &verdict.summary {
        body.insert(String::from("errorSummary"), json!(summary));
    }
    let conditions: Vec<Value> = verdict
        .conditions
        .iter()
        .map(|condition| {
            let before = shown(condition).filter(|shown| text(shown, "status").as_deref() == Some(condition.status));
            let since = before.and_then(|before| before.get("lastTransitionTime").cloned());
            json!({
                "type": condition.kind, "status": condition.status, "reason": condition.reason,
                "message": condition.message, "lastTransitionTime": since.unwrap_or_else(|| json!(Time(now))),
            })
        })
        .collect();
    if !conditions.is_empty() {
        body.insert(String::from("conditions"), Value::from(conditions));
    }
    Some(Write::Status(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "status": body})))
}

/// What a stored status shows beyond its description.
enum Surplus {
    None,
    /// It came from us.
    Ours,
    /// It came from somebody else; the merge patch that takes it away.
    Foreign(Value),
}

fn surplus(identity: &Identity, verdict: &Verdict, stored: &Value, status: &Map<String, Value>) -> Surplus {
    let summary = verdict.summary.is_none() && status.contains_key("errorSummary");
    let kind_of = |condition: &Value| condition.get("type").and_then(Value::as_str).map(str::to_owned);
    let conditions = status.get("conditions").and_then(Value::as_array).filter(|conditions| {
        conditions
            .iter()
            .any(|condition| kind_of(condition).as_deref() == verdict.unwanted && verdict.unwanted.is_some())
    });
    if !summary && conditions.is_none() {
        return Surplus::None;
    }
    let entries = stored.pointer("/metadata/managedFields").and_then(Value::as_array);
    let applied = entries.into_iter().flatten().find(|entry| {
        let text = |field: &str| entry.get(field).and_then(Value::as_str);
        text("manager") == Some(&identity.status_manager)
            && text("operation") == Some("Apply")
            && text("subresource") == Some("status")
    });
    let fields = applied.and_then(|entry| entry.get("fieldsV1")?.get("f:status"));
    let owns_summary = fields.is_some_and(|fields| fields.get("f:errorSummary").is_some());
    let key = format!("k:{{\"type\":\"{}\"}}", verdict.unwanted.unwrap_or_default());
    let owns_condition =
        fields.and_then(|fields| fields.get("f:conditions")).is_some_and(|conditions| conditions.get(&key).is_some());
    if (summary && owns_summary) || (conditions.is_some() && owns_condition) {
        return Surplus::Ours;
    }
    let mut body = Map::new();
    if summary {
        body.insert(String::from("errorSummary"), Value::Null);
    }
    if let Some(conditions) = conditions {
        let kept = conditions.iter().filter(|condition| kind_of(condition).as_deref() != verdict.unwanted);
        body.insert(String::from("conditions"), kept.cloned().collect());
    }
    Surplus::Foreign(Value::Object(body))
}

fn shows_metadata(description: &Description, stored: &Value) -> bool {
    let labels = |key: &String| stored.get("metadata")?.get("labels")?.get(key)?.as_str();
    let owners = stored.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let is_owned = |owner: &OwnerReference| {
        owners.is_some_and(|owners| {
            owners.iter().any(|shown| shown.get("uid").and_then(Value::as_str) == Some(&owner.uid))
        })
    };
    description.labels.iter().all(|(key, value)| labels(key) == Some(value.as_str()))
        && description.owner.as_ref().is_none_or(is_owned)
}

#[cfg(test)]
#[path = "description_tests.rs"]
mod tests;
