//! Lists that must not say the same thing twice, and selectors that must parse.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::quote::quoted;
use crate::selector::{Selector, SelectorError};

/// The first item a list of names holds twice, as MetalLB's text; `what` names the list.
pub(crate) fn duplicate_name(what: &str, names: &[String]) -> Option<String> {
    let mut seen = BTreeSet::new();
    let twice = names.iter().find(|name| !seen.insert(name.as_str()))?;
    Some(format!("duplicate definition of {what} {}", quoted(twice)))
}

/// What a list of selectors, or one selector in itself, says twice.
///
/// The same condition written once as `matchLabels` and once as `matchExpressions` does not count as said twice.
pub(crate) fn duplicate_selector(what: &str, selectors: &[LabelSelector]) -> Option<String> {
    if let Some(text) = selectors.iter().find_map(duplicate_expression) {
        return Some(text);
    }
    let mut seen = BTreeSet::new();
    let twice = selectors.iter().find(|selector| !seen.insert(normal_form(selector)))?;
    Some(format!("duplicate definition of {what} {}", quoted(&shown(twice))))
}

type NormalForm<'a> = (BTreeMap<&'a str, &'a str>, BTreeSet<(&'a str, &'a str, BTreeSet<&'a str>)>);

fn normal_form(selector: &LabelSelector) -> NormalForm<'_> {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
    (labels.collect(), selector.match_expressions.iter().flatten().map(normal_expression).collect())
}

fn normal_expression(expression: &LabelSelectorRequirement) -> (&str, &str, BTreeSet<&str>) {
    let values = expression.values.iter().flatten().map(String::as_str).collect();
    (&expression.key, &expression.operator, values)
}

fn duplicate_expression(selector: &LabelSelector) -> Option<String> {
    let mut seen = BTreeSet::new();
    for expression in selector.match_expressions.iter().flatten() {
        let mut values = BTreeSet::new();
        if expression.values.iter().flatten().any(|value| !values.insert(value)) {
            let text = "duplicate definition of match expression value in label selector";
            return Some(format!("{text} {}", quoted(&shown(selector))));
        }
        if !seen.insert(normal_expression(expression)) {
            return Some(format!(
                "duplicate definition of match expressions {}",
                quoted(&shown_expression(expression))
            ));
        }
    }
    None
}

/// A selector as text, also one that does not parse.
pub(crate) fn shown(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(shown_expression);
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

fn shown_expression(expression: &LabelSelectorRequirement) -> String {
    let values = expression.values.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(",");
    match expression.operator.as_str() {
        "Exists" if values.is_empty() => expression.key.clone(),
        "DoesNotExist" if values.is_empty() => format!("!{}", expression.key),
        operator => format!("{} {} ({values})", expression.key, operator.to_lowercase()),
    }
}

/// Parses a list; an error comes with the selector it is about.
pub(crate) fn parse_all(selectors: &[LabelSelector]) -> Result<Vec<Selector>, (String, SelectorError)> {
    selectors.iter().map(|selector| Selector::parse(selector).map_err(|error| (shown(selector), error))).collect()
}
