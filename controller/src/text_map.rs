//! A small map of texts: labels and annotations of a Service.
//!
//! A cluster has thousands of Services with a handful of each; a tree per Service would cost more than all the texts in it.

use std::collections::BTreeMap;
use std::ops::Index;

/// Names and values, ordered by name, in one allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextMap(Box<[(Box<str>, Box<str>)]>);

impl TextMap {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.position(name).ok()?;
        self.0.get(index).map(|(_, value)| &**value)
    }

    /// Whether the name is there.
    pub fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_ok()
    }

    /// Sets the value of a name.
    pub fn insert(&mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) {
        let (name, value) = (name.into(), value.into());
        let mut entries = std::mem::take(&mut self.0).into_vec();
        match entries.binary_search_by(|(known, _)| known.cmp(&name)) {
            Ok(index) => {
                if let Some(entry) = entries.get_mut(index) {
                    entry.1 = value;
                }
            }
            Err(index) => entries.insert(index, (name, value)),
        }
        self.0 = entries.into();
    }

    /// Removes a name.
    pub fn remove(&mut self, name: &str) {
        if let Ok(index) = self.position(name) {
            let mut entries = std::mem::take(&mut self.0).into_vec();
            entries.remove(index);
            self.0 = entries.into();
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.0 = Box::default();
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The form in which selectors match.
    pub fn to_tree(&self) -> BTreeMap<String, String> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl FromIterator<(String, String)> for TextMap {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(entries: T) -> Self {
        let tree: BTreeMap<String, String> = entries.into_iter().collect();
        Self(tree.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl Index<&str> for TextMap {
    type Output = str;

    /// The value of a name; empty when it is not there.
    fn index(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_replaced_and_removed() {
        let pairs = [("b", "1"), ("a", "2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut map: TextMap = pairs.into_iter().collect();
        map.insert("c", "3");
        map.insert("b", "4");
        assert_eq!(map.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "4"), ("c", "3")]);
        map.remove("a");
        map.remove("a");
        assert_eq!((map.get("a"), map.contains_key("b"), &map["c"], map.len()), (None, true, "3", 2));
    }
}
