//! Who owns each Service's addresses, and who stands behind the owner. Pure.
//!
//! ```text
//!  decision ──set(Service, owner, next)──▶ Standings ──involving(node)──▶ Services to look at when that node goes
//!                                                   └─watched()────────▶ owners that this node stands behind
//! ```
//! A node that goes changes the election only where it is one of the first two, so only those Services are looked at again.

use std::collections::BTreeMap;

use crate::announce::Leaders;
use crate::state::ServiceKey;

/// A node's number in [`Standings::nodes`].
type Number = u32;

/// The first two in the election of each Service.
#[derive(Debug, Default)]
pub struct Standings {
    nodes: Vec<String>,
    numbers: BTreeMap<String, Number>,
    of: BTreeMap<ServiceKey, Places>,
    /// For how many Services this node stands behind an owner.
    watched: BTreeMap<Number, usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Places {
    owner: Option<Number>,
    next: Option<Number>,
    /// This node is `next`.
    ours: bool,
}

impl Standings {
    /// Takes in who leads for a Service, as node `me` sees it. Nobody means that there is no election.
    pub fn set(&mut self, service: &ServiceKey, leaders: Leaders<'_>, me: &str) {
        let places = Places {
            owner: leaders.owner.map(|name| self.number(name)),
            next: leaders.next.map(|name| self.number(name)),
            ours: leaders.next == Some(me),
        };
        let before = self.of.get(service).copied().unwrap_or_default();
        if before == places {
            return;
        }
        self.count(before, false);
        self.count(places, true);
        if places == Places::default() {
            self.of.remove(service);
        } else if let Some(known) = self.of.get_mut(service) {
            *known = places;
        } else {
            self.of.insert(service.clone(), places);
        }
    }

    fn number(&mut self, name: &str) -> Number {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = Number::try_from(self.nodes.len()).unwrap_or(Number::MAX);
        self.nodes.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn count(&mut self, places: Places, comes: bool) {
        let Some(owner) = places.owner.filter(|_| places.ours) else { return };
        let count = self.watched.entry(owner).or_default();
        *count = if comes { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.watched.remove(&owner);
        }
    }

    /// The Services for which the node is one of the first two.
    pub fn involving<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a ServiceKey> {
        let number = self.numbers.get(node).copied();
        let involved = move |places: &Places| number.is_some() && (places.owner == number || places.next == number);
        self.of.iter().filter(move |(_, places)| involved(places)).map(|(service, _)| service)
    }

    /// The owners that this node stands behind, without order.
    pub fn watched(&self) -> impl Iterator<Item = &str> {
        let name = |number: &Number| usize::try_from(*number).ok().and_then(|index| self.nodes.get(index));
        self.watched.keys().filter_map(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn key(name: &str) -> ServiceKey {
        ServiceKey { namespace: "default".to_owned(), name: name.to_owned() }
    }

    fn leaders<'a>(owner: &'a str, next: &'a str) -> Leaders<'a> {
        Leaders { owner: Some(owner), next: Some(next) }
    }

    fn watched(standings: &Standings) -> Vec<&str> {
        standings.watched().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn involved(standings: &Standings, node: &str) -> Vec<String> {
        standings.involving(node).map(|service| service.name.clone()).collect()
    }

    #[test]
    fn an_owner_is_watched_as_long_as_this_node_stands_behind_it_for_one_service() {
        let mut standings = Standings::default();
        standings.set(&key("one"), leaders("a", "me"), "me");
        standings.set(&key("two"), leaders("a", "me"), "me");
        standings.set(&key("three"), leaders("b", "a"), "me");
        standings.set(&key("four"), leaders("me", "b"), "me");
        assert_eq!(watched(&standings), ["a"]);
        standings.set(&key("one"), Leaders::default(), "me");
        standings.set(&key("three"), leaders("b", "me"), "me");
        assert_eq!(watched(&standings), ["a", "b"]);
        standings.set(&key("two"), leaders("me", "a"), "me");
        assert_eq!(watched(&standings), ["b"]);
    }

    #[test]
    fn a_node_is_involved_where_it_is_one_of_the_first_two() {
        let mut standings = Standings::default();
        standings.set(&key("one"), leaders("a", "b"), "me");
        standings.set(&key("two"), leaders("b", "c"), "me");
        standings.set(&key("alone"), Leaders { owner: Some("c"), next: None }, "me");
        assert_eq!(involved(&standings, "b"), ["one", "two"]);
        assert_eq!(involved(&standings, "c"), ["alone", "two"]);
        assert_eq!(involved(&standings, "stranger"), [""; 0]);
        standings.set(&key("two"), Leaders::default(), "me");
        assert_eq!(involved(&standings, "b"), ["one"]);
    }
}
