//! What the operator has seen of its operands.
//!
//! ```text
//!  one watch per kind ──event──▶ Observed ──inventory()──▶ plan
//!                                    └── changed? ──▶ reconcile
//! ```

use std::collections::BTreeMap;

use runtime::index::{Index, map_event};
use runtime::watch::Event;
use serde_json::Value;

use crate::object::{Inventory, Kind, ObjectId};

/// Operands by kind. Complete once every kind was listed.
#[derive(Debug, Default)]
pub struct Observed {
    kinds: BTreeMap<Kind, Index<ObjectId, Value>>,
}

impl Observed {
    /// Takes an event of the watch over `kind`. Answers whether anything changed, the first complete list included.
    pub fn apply(&mut self, kind: Kind, event: Event<Value>) -> bool {
        let event = map_event(event, |object| (identify(kind, &object), object));
        let changes = self.kinds.entry(kind).or_default().apply(event);
        changes.became_synced || !changes.is_empty()
    }

    /// Kinds whose first list is not complete. Nothing may be decided while there are any.
    pub fn missing(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| !self.kinds.get(kind).is_some_and(Index::is_synced)).collect()
    }

    /// A copy of everything seen.
    pub fn inventory(&self) -> Inventory {
        self.kinds.values().flat_map(Index::iter).map(|(id, object)| (id.clone(), object.clone())).collect()
    }
}

fn identify(kind: Kind, object: &Value) -> ObjectId {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    ObjectId { kind, namespace: text("namespace"), name: text("name") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(name: &str) -> Value {
        json!({"metadata": {"namespace": "ns", "name": name}})
    }

    #[test]
    fn nothing_is_complete_before_every_kind_was_listed() {
        let mut observed = Observed::default();
        for kind in Kind::ALL {
            assert!(observed.missing().contains(&kind));
            observed.apply(kind, Event::Init);
            assert!(observed.missing().contains(&kind));
            assert!(observed.apply(kind, Event::InitDone), "the first complete list is news");
        }
        assert_eq!(observed.missing(), []);
    }

    #[test]
    fn only_news_count_as_a_change() {
        let mut observed = Observed::default();
        assert!(observed.apply(Kind::ConfigMap, Event::Apply(config_map("a"))));
        assert!(!observed.apply(Kind::ConfigMap, Event::Apply(config_map("a"))));
        assert_eq!(observed.inventory().keys().map(ToString::to_string).collect::<Vec<_>>(), ["ConfigMap a"]);
        assert!(observed.apply(Kind::ConfigMap, Event::Delete(config_map("a"))));
        assert!(observed.inventory().is_empty());
    }
}
