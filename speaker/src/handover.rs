//! Nobody falls silent before the next one speaks. Pure.
//!
//! ```text
//!  plan ─actions─▶ Handover ─▶ announcer
//!                     │  another node owns the address now: go on answering, tell nobody, withdraw 300 ms later
//!                     └─ anything else: withdraw at once
//! ```
//! A client that asks for an address and hears nothing asks again after a second. Two nodes that answer for the length of a
//! handover cost nothing beside that: both forward, and the new owner's gratuitous frames have the last word. A node that
//! cannot forward any more (traffic policy Local, its endpoint is gone) does fall silent at once.
//!
//! After a split, both sides have told the network that the addresses are theirs. Who keeps them tells it again, once the
//! others have fallen silent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use runtime::clock::Moment;

use crate::announce::{Owner, Reason};
use crate::plan::Action;
use crate::state::ServiceKey;

/// How long an address is answered after another node was elected for it. Covers the spread of the news and the other's
/// decision; must stay well below the second after which clients ask again.
pub const LINGER: Duration = Duration::from_millis(300);

/// From hearing a silent member again to telling everybody whose the addresses are. The others withdraw within [`LINGER`].
const SETTLED: Duration = Duration::from_millis(400);

/// Addresses on their way to another node.
#[derive(Debug, Default)]
pub struct Handover {
    leaving: BTreeMap<IpAddr, Moment>,
    tell_at: Option<Moment>,
}

impl Handover {
    /// The actions to do now; the others follow through [`Handover::due`]. `lingers` says for which Services this node may go
    /// on answering: none, where it may not send at the moment, or must never be the second to answer.
    pub fn pass(&mut self, now: Moment, actions: Vec<Action>, lingers: impl Fn(&ServiceKey) -> bool) -> Vec<Action> {
        let moved: BTreeSet<IpAddr> =
            actions.iter().flat_map(|action| moved_addresses(action, &lingers)).copied().collect();
        let mut passed = Vec::with_capacity(actions.len());
        for action in actions {
            match action {
                Action::Withdraw { ip } if moved.contains(&ip) => {
                    self.leaving.insert(ip, now + LINGER);
                    passed.push(Action::Hush { ip });
                }
                Action::Withdraw { ip } => {
                    self.leaving.remove(&ip);
                    passed.push(Action::Withdraw { ip });
                }
                Action::Announce { ip, interfaces, first } => {
                    passed.push(Action::Announce { ip, interfaces, first });
                    // The announcer never stopped; but another node may have told everybody that it is there.
                    passed.extend(self.leaving.remove(&ip).map(|_| Action::Tell { ip }));
                }
                other @ (Action::Tell { .. }
                | Action::Hush { .. }
                | Action::Started { .. }
                | Action::Stopped { .. }
                | Action::MissingInterfaces { .. }
                | Action::Show { .. }
                | Action::Explain { .. }
                | Action::Silent { .. }) => passed.push(other),
            }
        }
        passed
    }

    /// The withdrawals whose time has come.
    pub fn due(&mut self, now: Moment) -> Vec<Action> {
        let due: Vec<IpAddr> = self.leaving.iter().filter(|(_, until)| **until <= now).map(|(ip, _)| *ip).collect();
        due.into_iter()
            .map(|ip| {
                self.leaving.remove(&ip);
                Action::Withdraw { ip }
            })
            .collect()
    }

    /// Somebody who was silent is heard again.
    pub fn healed(&mut self, now: Moment) {
        self.tell_at.get_or_insert(now + SETTLED);
    }

    /// Whether the time has come to tell everybody of all addresses; true once per healing.
    pub fn tells(&mut self, now: Moment) -> bool {
        let due = self.tell_at.is_some_and(|at| at <= now);
        if due {
            self.tell_at = None;
        }
        due
    }

    /// When [`Handover::due`] or [`Handover::tells`] has something to give.
    pub fn deadline(&self) -> Option<Moment> {
        self.leaving.values().copied().chain(self.tell_at).min()
    }
}

fn moved_addresses(action: &Action, lingers: impl Fn(&ServiceKey) -> bool) -> &[IpAddr] {
    match action {
        Action::Stopped { service, ips, reason: Reason::NotOwner(Owner::Node(_)) } if lingers(service) => ips,
        Action::Stopped { .. }
        | Action::Announce { .. }
        | Action::Withdraw { .. }
        | Action::Tell { .. }
        | Action::Hush { .. }
        | Action::Started { .. }
        | Action::MissingInterfaces { .. }
        | Action::Show { .. }
        | Action::Explain { .. }
        | Action::Silent { .. } => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::Interfaces;

    fn at(millis: u64) -> Moment {
        Moment::from_boot(Duration::from_millis(millis))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn withdraw(text: &str) -> Action {
        Action::Withdraw { ip: ip(text) }
    }

    fn stopped(text: &str, reason: Reason) -> Action {
        let service = ServiceKey { namespace: "default".to_owned(), name: "web".to_owned() };
        Action::Stopped { service, ips: vec![ip(text)], reason }
    }

    fn other_node() -> Reason {
        Reason::NotOwner(Owner::Node("b".to_owned()))
    }

    #[test]
    fn what_another_node_owns_now_is_answered_a_little_longer() {
        let mut handover = Handover::default();
        let told = stopped("192.0.2.1", other_node());
        let hush = Action::Hush { ip: ip("192.0.2.1") };
        assert_eq!(handover.pass(at(0), vec![withdraw("192.0.2.1"), told.clone()], |_| true), [hush, told]);
        assert_eq!(handover.deadline(), Some(at(300)));
        assert_eq!(handover.due(at(299)), []);
        assert_eq!(handover.due(at(300)), [withdraw("192.0.2.1")]);
        assert_eq!((handover.deadline(), handover.due(at(400))), (None, vec![]));
    }

    #[test]
    fn what_nobody_owns_falls_silent_at_once() {
        for reason in [Reason::ServiceDeleted, Reason::NoInterface, Reason::NotOwner(Owner::NoEndpoints)] {
            let actions = vec![withdraw("192.0.2.1"), stopped("192.0.2.1", reason)];
            assert_eq!(Handover::default().pass(at(0), actions.clone(), |_| true), actions);
        }
    }

    #[test]
    fn who_may_not_send_hands_nothing_over() {
        let actions = vec![withdraw("192.0.2.1"), stopped("192.0.2.1", other_node())];
        assert_eq!(Handover::default().pass(at(0), actions.clone(), |_| false), actions);
    }

    #[test]
    fn the_addresses_are_told_once_after_any_number_of_returns() {
        let mut handover = Handover::default();
        handover.healed(at(0));
        handover.healed(at(300));
        assert_eq!(handover.deadline(), Some(at(400)));
        assert!(!handover.tells(at(399)));
        assert!(handover.tells(at(400)) && !handover.tells(at(500)));
        assert_eq!(handover.deadline(), None);
    }

    #[test]
    fn an_address_that_comes_back_meanwhile_is_told_again_and_stays() {
        let mut handover = Handover::default();
        handover.pass(at(0), vec![withdraw("192.0.2.1"), stopped("192.0.2.1", other_node())], |_| true);
        let back = Action::Announce { ip: ip("192.0.2.1"), interfaces: Interfaces::All, first: false };
        assert_eq!(handover.pass(at(100), vec![back.clone()], |_| true), [back, Action::Tell { ip: ip("192.0.2.1") }]);
        assert_eq!((handover.deadline(), handover.due(at(400))), (None, vec![]));
    }

    #[test]
    fn a_service_that_goes_during_the_handover_ends_it() {
        let mut handover = Handover::default();
        handover.pass(at(0), vec![withdraw("192.0.2.1"), stopped("192.0.2.1", other_node())], |_| true);
        assert_eq!(handover.pass(at(100), vec![withdraw("192.0.2.1")], |_| true), [withdraw("192.0.2.1")]);
        assert_eq!(handover.deadline(), None);
    }
}
