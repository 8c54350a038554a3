//! Label selectors mean what they mean in Kubernetes.

use std::collections::BTreeMap;

use config::selector::{Selector, any_matches};
use serde_json::{Value, json};

fn parse(selector: Value) -> Result<Selector, String> {
    let selector = serde_json::from_value(selector).expect("a LabelSelector");
    Selector::parse(&selector).map_err(|error| error.to_string())
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn each_operator_decides_as_in_kubernetes() {
    let with = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]});
    // (selector, zone=east, zone=west, no zone)
    let table = [
        (json!({}), [true, true, true]),
        (json!({"matchLabels": {"zone": "east"}}), [true, false, false]),
        (with("In", json!(["east", "north"])), [true, false, false]),
        (with("NotIn", json!(["east"])), [false, true, true]),
        (with("Exists", json!([])), [true, true, false]),
        (with("DoesNotExist", json!([])), [false, false, true]),
    ];
    for (selector, wanted) in table {
        let parsed = parse(selector.clone()).expect("a good selector");
        let found = [labels(&[("zone", "east")]), labels(&[("zone", "west")]), labels(&[])]
            .map(|labels| parsed.matches(&labels));
        assert_eq!(found, wanted, "{selector}");
    }
}

#[test]
fn conditions_of_one_selector_are_anded_and_selectors_of_a_list_ored() {
    let both =
        parse(json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]})).unwrap();
    assert!(both.matches(&labels(&[("a", "1"), ("b", "2")])) && !both.matches(&labels(&[("a", "1")])));
    let list = [both, parse(json!({"matchLabels": {"c": "3"}})).unwrap()];
    assert!(any_matches(&list, &labels(&[("c", "3")])) && !any_matches(&list, &labels(&[("c", "4")])));
    assert!(any_matches(&[], &labels(&[])), "no selector at all selects everything");
}

#[test]
fn selectors_that_mean_the_same_are_equal_and_readable() {
    let one = parse(
        json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "In", "values": ["y", "x"]}]}),
    );
    let two = parse(json!({"matchExpressions": [
        {"key": "b", "operator": "In", "values": ["x", "y"]}, {"key": "a", "operator": "In", "values": ["1"]}]}));
    assert_eq!(one, two);
    assert_eq!(one.unwrap().to_string(), "a=1,b in (x,y)");
    let rest = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "DoesNotExist"},
        {"key": "c", "operator": "NotIn", "values": ["1", "2"]}]});
    assert_eq!(parse(rest).unwrap().to_string(), "a,!b,c notin (1,2)");
}

#[test]
fn what_no_label_can_have_is_refused() {
    let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    let table = [
        (expression("a", "Equals", json!(["x"])), "\"Equals\" is not a valid label selector operator"),
        (
            expression("a", "In", json!([])),
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            expression("a", "Exists", json!(["x"])),
            "values: Invalid value: values set must be empty for exists and does not exist",
        ),
        (expression("", "Exists", json!([])), "key: Invalid value: \"\": "),
        (expression("Up.example/x", "Exists", json!([])), "key: Invalid value: \"Up.example/x\": "),
        (expression("a/b/c", "Exists", json!([])), "key: Invalid value: \"a/b/c\": "),
        (json!({"matchLabels": {"a": "-x"}}), "values[0][a]: Invalid value: \"-x\": "),
    ];
    for (selector, text) in table {
        let error = parse(selector.clone()).expect_err("a bad selector");
        assert!(error.starts_with(text), "{selector}: {error}");
    }
    for key in ["kubernetes.io/hostname", "a", "A_b.c-1", "node-role.kubernetes.io/control-plane"] {
        assert!(parse(expression(key, "Exists", json!([]))).is_ok(), "{key}");
    }
}
