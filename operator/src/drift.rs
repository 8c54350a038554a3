//! Does an object still say what the operator wants it to say?
//!
//! ```text
//!  rendered ─┐
//!  live ─────┼─▶ is_current: every rendered value is there, the operator owns it, and owns nothing it no longer renders
//!  owned ────┘   (managedFields of the live object)
//! ```
//! Fields that others own are not looked at, so defaults of the apiserver and a user's extra annotation are not drift.
//! Answering without asking the apiserver is what keeps an idle operator silent.

use serde_json::{Map, Value};

/// Whether applying `rendered` over `live` would change nothing.
///
/// A doubtful case answers `false`: one apply too many does no harm.
pub fn is_current(rendered: &Value, live: &Value, manager: &str) -> bool {
    let Some(owned) = owned_fields(live, manager) else { return false };
    let (Some(rendered), Some(live)) = (rendered.as_object(), live.as_object()) else { return false };
    // Identity is never owned; apiVersion and kind are not fields.
    let rendered: Map<String, Value> = rendered
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"))
        .map(|(key, value)| (key.clone(), if key == "metadata" { without_identity(value) } else { value.clone() }))
        .collect();
    object_is_current(&rendered, live, owned)
}

fn without_identity(metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    if let Some(map) = metadata.as_object_mut() {
        map.remove("name");
        map.remove("namespace");
    }
    metadata
}

/// The field set of the last server-side apply by `manager`.
fn owned_fields<'a>(live: &'a Value, manager: &str) -> Option<&'a Map<String, Value>> {
    live["metadata"]["managedFields"]
        .as_array()?
        .iter()
        .find(|entry| {
            entry["manager"] == manager
                && entry["operation"] == "Apply"
                && entry["subresource"].as_str().unwrap_or_default().is_empty()
        })?
        .get("fieldsV1")?
        .as_object()
}

fn value_is_current(rendered: &Value, live: &Value, owned: &Value) -> bool {
    let Some(owned) = owned.as_object() else { return false };
    let atomic = owned.keys().all(|key| key == ".");
    match (rendered, live) {
        (Value::Object(rendered), Value::Object(live)) if !atomic => object_is_current(rendered, live, owned),
        (Value::Array(rendered), Value::Array(live)) if !atomic => list_is_current(rendered, live, owned),
        _ => is_same(live, rendered),
    }
}

fn object_is_current(rendered: &Map<String, Value>, live: &Map<String, Value>, owned: &Map<String, Value>) -> bool {
    let wanted = rendered.iter().filter(|(_, value)| !is_nothing(value)).all(|(key, value)| {
        let mine = owned.get(&format!("f:{key}"));
        mine.zip(live.get(key)).is_some_and(|(owned, live)| value_is_current(value, live, owned))
    });
    let nothing_stale = owned.keys().filter_map(|key| key.strip_prefix("f:")).all(|key| rendered.contains_key(key));
    wanted && nothing_stale
}

/// Lists whose elements are owned one by one: `k:{"name":"x"}` for objects with keys, `v:"x"` for sets of scalars.
fn list_is_current(rendered: &[Value], live: &[Value], owned: &Map<String, Value>) -> bool {
    let entries: Vec<(Entry, &Value)> =
        owned.iter().filter_map(|(key, fields)| Some((Entry::parse(key)?, fields))).collect();
    let wanted = rendered.iter().all(|element| {
        entries.iter().any(|(entry, fields)| {
            entry.names(element)
                && live.iter().any(|live| entry.names(live) && element_is_current(element, live, fields))
        })
    });
    let nothing_stale = entries.iter().all(|(entry, _)| rendered.iter().any(|element| entry.names(element)));
    wanted && nothing_stale
}

fn element_is_current(rendered: &Value, live: &Value, owned: &Value) -> bool {
    match rendered {
        Value::Object(_) => value_is_current(rendered, live, owned),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => rendered == live,
    }
}

enum Entry {
    Keys(Map<String, Value>),
    Scalar(Value),
}

impl Entry {
    fn parse(key: &str) -> Option<Self> {
        if let Some(keys) = key.strip_prefix("k:") {
            return serde_json::from_str(keys).ok().map(Self::Keys);
        }
        serde_json::from_str(key.strip_prefix("v:")?).ok().map(Self::Scalar)
    }

    /// Whether this entry is about `element`. A key that the element leaves out has its default (a port's protocol).
    fn names(&self, element: &Value) -> bool {
        match self {
            Self::Scalar(scalar) => scalar == element,
            Self::Keys(keys) => {
                let mut given = keys.iter().filter_map(|(key, value)| Some((value, element.get(key)?))).peekable();
                given.peek().is_some() && given.all(|(key, value)| key == value)
            }
        }
    }
}

/// Whether a value that has one owner as a whole is what was rendered.
///
/// The apiserver puts one default into such values: the `apiVersion` of a fieldRef.
fn is_same(live: &Value, rendered: &Value) -> bool {
    match (live, rendered) {
        (Value::Object(live), Value::Object(rendered)) => {
            let kept = rendered
                .iter()
                .all(|(key, value)| is_nothing(value) || live.get(key).is_some_and(|live| is_same(live, value)));
            kept && live
                .iter()
                .all(|(key, value)| rendered.contains_key(key) || key == "apiVersion" || is_nothing(value))
        }
        (Value::Array(live), Value::Array(rendered)) => {
            live.len() == rendered.len() && live.iter().zip(rendered).all(|(live, rendered)| is_same(live, rendered))
        }
        (live, rendered) => live == rendered,
    }
}

/// Null and empty collections are dropped by the apiserver, so their absence is no difference.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered() -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "speaker", "namespace": "ns", "labels": {"app": "metallb"}},
            "spec": {
                "selector": {"matchLabels": {"app": "metallb"}},
                "template": {"spec": {
                    "containers": [{"name": "speaker", "args": ["--port=1"], "ports": [{"containerPort": 1, "name": "m"}]}],
                    "tolerations": [{"key": "a", "operator": "Exists"}],
                }},
            },
        })
    }

    /// What the apiserver answers after applying `rendered`: defaults added, ownership recorded.
    fn live() -> Value {
        let mut live = rendered();
        live["metadata"]["uid"] = json!("u");
        live["metadata"]["managedFields"] = json!([
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {}},
            {"manager": "op", "operation": "Apply", "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:selector": {},
                    "f:template": {"f:spec": {
                        "f:containers": {"k:{\"name\":\"speaker\"}": {
                            ".": {}, "f:name": {}, "f:args": {},
                            "f:ports": {"k:{\"containerPort\":1,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:name": {}}},
                        }},
                        "f:tolerations": {},
                    }},
                },
            }},
        ]);
        let container = &mut live["spec"]["template"]["spec"]["containers"][0];
        container["imagePullPolicy"] = json!("IfNotPresent");
        container["ports"][0]["protocol"] = json!("TCP");
        live["spec"]["revisionHistoryLimit"] = json!(10);
        live
    }

    #[test]
    fn defaults_and_fields_of_others_are_not_drift() {
        let mut live = live();
        live["metadata"]["annotations"] = json!({"user": "note"});
        live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "injected"}));
        assert!(is_current(&rendered(), &live, "op"));
    }

    #[test]
    fn every_edit_of_an_owned_field_is_drift() {
        type Edit = fn(&mut Value);
        let edits: [(&str, Edit); 8] = [
            ("selector widened", |live| live["spec"]["selector"]["matchLabels"]["b"] = json!("c")),
            ("label removed", |live| live["metadata"]["labels"] = json!({})),
            ("label changed", |live| live["metadata"]["labels"]["app"] = json!("x")),
            ("argument added", |live| {
                live["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["--port=1", "--x"])
            }),
            ("container removed", |live| live["spec"]["template"]["spec"]["containers"] = json!([{"name": "other"}])),
            ("port renamed", |live| live["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"] = json!("z")),
            ("toleration added", |live| {
                live["spec"]["template"]["spec"]["tolerations"] =
                    json!([{"key": "a", "operator": "Exists"}, {"key": "b"}])
            }),
            ("ownership lost", |live| live["metadata"]["managedFields"] = json!([])),
        ];
        for (name, edit) in edits {
            let mut live = live();
            edit(&mut live);
            assert!(!is_current(&rendered(), &live, "op"), "{name}");
        }
    }

    #[test]
    fn what_is_no_longer_rendered_is_drift_until_it_is_gone() {
        let mut less = rendered();
        less["spec"]["template"]["spec"].as_object_mut().unwrap().remove("tolerations");
        assert!(!is_current(&less, &live(), "op"));
        let mut other = rendered();
        other["spec"]["template"]["spec"]["containers"][0]["name"] = json!("renamed");
        assert!(!is_current(&other, &live(), "op"));
    }

    #[test]
    fn a_key_less_in_a_map_that_is_owned_as_a_whole_is_drift() {
        let mut before = rendered();
        before["spec"]["template"]["spec"]["nodeSelector"] = json!({"os": "linux", "worker": ""});
        let mut live = live();
        live["spec"]["template"]["spec"]["nodeSelector"] = before["spec"]["template"]["spec"]["nodeSelector"].clone();
        live["metadata"]["managedFields"][1]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:nodeSelector"] =
            json!({});
        assert!(is_current(&before, &live, "op"));
        before["spec"]["template"]["spec"]["nodeSelector"] = json!({"os": "linux"});
        assert!(!is_current(&before, &live, "op"));
    }

    #[test]
    fn the_default_version_of_a_field_reference_is_not_drift() {
        let rendered = json!({"metadata": {}, "env": {"fieldRef": {"fieldPath": "a"}}});
        let live = json!({
            "metadata": {"managedFields": [{"manager": "op", "operation": "Apply",
                "fieldsV1": {"f:env": {"f:fieldRef": {}}}}]},
            "env": {"fieldRef": {"fieldPath": "a", "apiVersion": "v1"}},
        });
        assert!(is_current(&rendered, &live, "op"));
    }

    #[test]
    fn a_new_field_is_drift() {
        let mut more = rendered();
        more["spec"]["template"]["spec"]["priorityClassName"] = json!("high");
        assert!(!is_current(&more, &live(), "op"));
    }

    #[test]
    fn another_managers_fields_do_not_count_as_ours() {
        assert!(!is_current(&rendered(), &live(), "someone-else"));
    }

    #[test]
    fn empty_collections_the_apiserver_drops_are_not_drift() {
        let mut rendered = rendered();
        rendered["spec"]["template"]["spec"]["volumes"] = json!([]);
        assert!(is_current(&rendered, &live(), "op"));
    }
}
