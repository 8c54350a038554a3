//! Label selectors, parsed once.
//!
//! ```text
//! LabelSelector --parse--> Selector { requirements }   matches(labels) = every requirement holds
//! ```
//! `matchLabels` entries become `In` requirements with one value, so equal meaning mostly compares equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use thiserror::Error;

use crate::quote::quoted;

/// A valid label selector. The one without requirements matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    requirements: BTreeSet<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

/// Why a LabelSelector cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// An operator other than In, NotIn, Exists, DoesNotExist.
    #[error("{} is not a valid label selector operator", quoted(.0))]
    Operator(String),
    /// In or NotIn without values.
    #[error("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty")]
    NoValues,
    /// Exists or DoesNotExist with values.
    #[error("values: Invalid value: values set must be empty for exists and does not exist")]
    UnexpectedValues,
    /// Not a label key.
    #[error("key: Invalid value: {}: a label key is an optional DNS prefix, a slash and up to 63 letters, digits, '-', '_' or '.'", quoted(.0))]
    Key(String),
    /// Not a label value.
    #[error("values[0][{key}]: Invalid value: {}: a label value is up to 63 letters, digits, '-', '_' or '.', starting and ending with a letter or digit", quoted(.value))]
    Value {
        /// The label's key.
        key: String,
        /// The bad value.
        value: String,
    },
}

impl Selector {
    /// The selector that matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Parses and checks a LabelSelector as the API machinery does.
    ///
    /// # Errors
    /// Unknown operators, values where none may be (or the reverse), keys and values that no label can have.
    pub fn parse(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements = BTreeSet::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            check_key(key)?;
            check_value(key, value)?;
            requirements.insert(Requirement { key: key.clone(), test: Test::In(BTreeSet::from([value.clone()])) });
        }
        for expression in selector.match_expressions.iter().flatten() {
            let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
            let test = match (expression.operator.as_str(), values.is_empty()) {
                ("In" | "NotIn", true) => return Err(SelectorError::NoValues),
                ("In", false) => Test::In(values),
                ("NotIn", false) => Test::NotIn(values),
                ("Exists", true) => Test::Exists,
                ("DoesNotExist", true) => Test::DoesNotExist,
                ("Exists" | "DoesNotExist", false) => return Err(SelectorError::UnexpectedValues),
                _ => return Err(SelectorError::Operator(expression.operator.clone())),
            };
            check_key(&expression.key)?;
            for value in expression.values.iter().flatten() {
                check_value(&expression.key, value)?;
            }
            requirements.insert(Requirement { key: expression.key.clone(), test });
        }
        Ok(Self { requirements })
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The conditions that ask for a label with one of some values.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.requirements.iter().filter_map(|requirement| match &requirement.test {
            Test::In(values) => Some((requirement.key.as_str(), values)),
            Test::NotIn(_) | Test::Exists | Test::DoesNotExist => None,
        })
    }

    /// The values that are asked for of one label; empty when none is asked for.
    pub(crate) fn wants<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.wanted().filter(move |(wanted, _)| *wanted == key).flat_map(|(_, values)| values).map(String::as_str)
    }

    /// Whether no labels at all can satisfy both; `false` also when that is hard to tell.
    fn excludes(&self, other: &Self) -> bool {
        let excluded = |a: &Requirement, b: &Requirement| match (&a.test, &b.test) {
            (Test::In(a), Test::In(b)) => a.is_disjoint(b),
            (Test::In(a), Test::NotIn(b)) => a.is_subset(b),
            (Test::In(_) | Test::Exists, Test::DoesNotExist) => true,
            (Test::In(_), Test::Exists) | (Test::NotIn(_) | Test::Exists | Test::DoesNotExist, _) => false,
        };
        self.requirements
            .iter()
            .any(|a| other.requirements.iter().any(|b| a.key == b.key && (excluded(a, b) || excluded(b, a))))
    }

    /// Whether every requirement holds for these labels. As in Kubernetes, `NotIn` also holds when the label is absent.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// Whether there may be labels that both OR lists match; an empty list matches everything.
pub(crate) fn can_overlap(a: &[Selector], b: &[Selector]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| !a.excludes(b)))
}

/// Whether any selector of an OR list matches; an empty list matches everything.
pub fn any_matches(selectors: &[Selector], labels: &BTreeMap<String, String>) -> bool {
    selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
}

impl fmt::Display for Selector {
    /// The form kubectl's `-l` takes: `zone in (east,west),!spare`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, test }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", join(values))?,
                Test::In(values) => write!(f, "{key} in ({})", join(values))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", join(values))?,
                Test::Exists => f.write_str(key)?,
                Test::DoesNotExist => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

fn join(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_is_good = prefix.is_none_or(|prefix| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix
                .split('.')
                .all(|part| is_word(part, |c| c.is_ascii_lowercase() || c.is_ascii_digit(), |c| c == '-'))
    });
    if prefix_is_good && name.len() <= 63 && is_label_word(name) {
        Ok(())
    } else {
        Err(SelectorError::Key(key.to_owned()))
    }
}

fn check_value(key: &str, value: &str) -> Result<(), SelectorError> {
    if value.is_empty() || (value.len() <= 63 && is_label_word(value)) {
        return Ok(());
    }
    Err(SelectorError::Value { key: key.to_owned(), value: value.to_owned() })
}

fn is_label_word(text: &str) -> bool {
    is_word(text, |c| c.is_ascii_alphanumeric(), |c| matches!(c, '-' | '_' | '.'))
}

/// Starts and ends with an `edge` character and has `edge` or `inner` characters between.
fn is_word(text: &str, edge: fn(char) -> bool, inner: fn(char) -> bool) -> bool {
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || inner(c))
}
