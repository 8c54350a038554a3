//! Kubernetes objects as readable YAML.
//!
//! Block style, keys in the order people expect: `apiVersion`, `kind`, `metadata`, `spec`, then the rest; `name` and
//! `namespace` first in metadata; everything else by alphabet. What only a server can know is left out.

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Number, Value};

/// Keys that come first, in this order, wherever they occur together with others.
const TOP: &[&str] = &["apiVersion", "kind", "metadata", "spec"];
const METADATA: &[&str] = &["name", "namespace", "labels", "annotations"];

/// One object as a YAML document without separator, ending in a line break.
///
/// # Errors
/// When the object has no JSON form or its texts have no YAML form.
pub fn document<T: Serialize>(object: &T) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(object)?;
    strip_server_fields(&mut value);
    clean(&mut value);
    let mut text = serde_saphyr::to_string(&Ordered { value: &value, first: TOP })?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Several objects as one YAML stream with `---` between them.
///
/// # Errors
/// As [`document`].
pub fn stream<T: Serialize>(objects: &[T]) -> anyhow::Result<String> {
    let documents: Vec<String> = objects.iter().map(document).collect::<anyhow::Result<_>>()?;
    Ok(documents.join("---\n"))
}

/// Removes `status` and the metadata only a server fills in.
fn strip_server_fields(value: &mut Value) {
    let Value::Object(object) = value else { return };
    object.remove("status");
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for key in ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"] {
            metadata.remove(key);
        }
    }
}

/// Drops nulls and writes whole numbers without a fraction: limits in schemas are floating point in the API's own types,
/// but `minimum: 0.0` is not what anyone would write.
fn clean(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(clean);
        }
        Value::Array(list) => list.iter_mut().for_each(clean),
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *number = Number::from(whole);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The integer a floating point number stands for, if it is one that every reader represents exactly.
fn whole(number: &Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !number.is_f64() {
        return None;
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
    Some(float as i64)
}

/// A value whose maps are written with some keys first.
struct Ordered<'a> {
    value: &'a Value,
    first: &'static [&'static str],
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in sorted(map, self.first) {
                    let first = if key == "metadata" { METADATA } else { &[] };
                    out.serialize_entry(key, &Ordered { value, first })?;
                }
                out.end()
            }
            Value::Array(list) => {
                let mut out = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    // Items of a List are objects themselves.
                    out.serialize_element(&Ordered { value, first: if is_object(value) { TOP } else { &[] } })?;
                }
                out.end()
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other.serialize(serializer),
        }
    }
}

fn is_object(value: &Value) -> bool {
    value.get("apiVersion").is_some() && value.get("kind").is_some()
}

fn sorted<'a>(map: &'a Map<String, Value>, first: &[&str]) -> Vec<(&'a String, &'a Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| (first.iter().position(|name| name == key).unwrap_or(first.len()), *key));
    entries
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_starts_with_what_people_look_for() {
        let text = document(&json!({
            "data": {"b": "1", "a": "x"},
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {"labels": {"l": "m"}, "namespace": "ns", "name": "c", "creationTimestamp": null, "uid": "u"},
            "status": {},
        }))
        .unwrap();
        assert_eq!(
            text,
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  namespace: ns\n  labels:\n    l: m\ndata:\n  a: x\n  b: \"1\"\n"
        );
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        assert_eq!(document(&json!({"a": 0.0, "b": 4294967295.0, "c": 0.5})).unwrap(), "a: 0\nb: 4294967295\nc: 0.5\n");
    }

    #[test]
    fn texts_stay_texts_for_readers_of_old_yaml() {
        for text in [
            "yes",
            "off",
            "y",
            "64500:10",
            "0x10",
            "1e3",
            "null",
            "~",
            "",
            "- a",
            "a: b",
            "a #b",
            "2026-01-01",
            "{}",
            "*x",
        ] {
            let written = document(&json!({"key": text})).unwrap();
            assert!(written.contains(['"', '\'']), "{written}");
            let read: Value = serde_saphyr::from_str(&written).unwrap();
            assert_eq!(read, json!({"key": text}));
        }
    }

    #[test]
    fn objects_of_a_stream_are_separated() {
        assert_eq!(stream(&[json!({"a": 1}), json!({"b": 2})]).unwrap(), "a: 1\n---\nb: 2\n");
    }
}
