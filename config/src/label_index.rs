//! Which of many labelled things a selector matches, without trying each: pools, nodes or namespaces.
//!
//! ```text
//! key ── value ── [0, 4, 9]      `zone in (a,b)` tries the things under zone=a and zone=b only
//! ```

use std::collections::BTreeMap;

use crate::selector::Selector;

type Labels = BTreeMap<String, String>;

/// Labelled things by number.
#[derive(Default)]
pub(crate) struct LabelIndex<'a> {
    labels: Vec<&'a Labels>,
    by_key: BTreeMap<&'a str, BTreeMap<&'a str, Vec<usize>>>,
}

impl<'a> LabelIndex<'a> {
    /// The things in the order of their numbers.
    pub(crate) fn new(things: impl IntoIterator<Item = &'a Labels>) -> Self {
        let mut index = Self::default();
        for (number, labels) in things.into_iter().enumerate() {
            index.labels.push(labels);
            for (key, value) in labels {
                index.by_key.entry(key).or_default().entry(value).or_default().push(number);
            }
        }
        index
    }

    /// How many things there are.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The numbers of all things that any of the selectors matches, ascending; of all things without selectors.
    pub(crate) fn matching(&self, selectors: &[Selector]) -> Vec<usize> {
        if selectors.is_empty() || selectors.iter().any(Selector::is_everything) {
            return (0..self.labels.len()).collect();
        }
        let mut matching: Vec<usize> = selectors.iter().flat_map(|selector| self.matched_by(selector)).collect();
        matching.sort_unstable();
        matching.dedup();
        matching
    }

    fn matched_by(&self, selector: &Selector) -> Vec<usize> {
        let matches = |number: &usize| self.labels.get(*number).is_some_and(|labels| selector.matches(labels));
        // The condition that the fewest things meet narrows the choice most.
        let narrowest = selector
            .wanted()
            .map(|(key, values)| {
                let values_of_key = self.by_key.get(key);
                let with = |value: &String| values_of_key.and_then(|lists| lists.get(value.as_str()));
                values.iter().filter_map(with).collect::<Vec<_>>()
            })
            .min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>());
        match narrowest {
            Some(lists) => lists.into_iter().flatten().copied().filter(matches).collect(),
            None => (0..self.labels.len()).filter(|number| matches(number)).collect(),
        }
    }
}
