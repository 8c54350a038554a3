//! Which hosts that use an address of ours are strangers. Pure.
//!
//! ```text
//!  address moved, members changed ──▶ Disputes ◀── Report: another host uses it
//!                                        └──▶ a stranger, unless it may be a speaker that this one did not hear of yet
//! ```
//! While an address moves, and after a partition, two speakers tell the network that they have it. That is over within seconds;
//! a stranger stays, and is reported again a minute later.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use runtime::clock::Moment;

use crate::l2::announcer::Report;
use crate::plan::Action;
use crate::state::Dirty;

/// For how long another speaker may still tell that it has an address. A burst of announcements takes five seconds.
const ECHO: Duration = Duration::from_secs(10);

/// What moved a moment ago.
#[derive(Debug, Default)]
pub struct Disputes {
    moved: BTreeMap<IpAddr, Moment>,
    changed: Option<Moment>,
}

impl Disputes {
    /// Takes in what was done.
    pub fn take(&mut self, now: Moment, dirty: &Dirty, actions: &[Action]) {
        self.moved.retain(|_, until| now < *until);
        if dirty.healed || !dirty.gone.is_empty() {
            self.changed = Some(now + ECHO);
        }
        for action in actions {
            // One that nobody announced before is no other speaker's.
            if let Action::Announce { ip, first: false, .. } | Action::Tell { ip } | Action::Hush { ip } = action {
                self.moved.insert(*ip, now + ECHO);
            }
        }
    }

    /// Whether people should know of it.
    pub fn is_foreign(&self, now: Moment, report: &Report) -> bool {
        let lasts = |until: &Moment| now < *until;
        match report {
            Report::Conflict { ip, announced: true, .. } => {
                !self.changed.as_ref().is_some_and(lasts) && !self.moved.get(ip).is_some_and(lasts)
            }
            Report::Conflict { announced: false, .. } | Report::Resolved { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::Interfaces;
    use crate::l2::selection::Mac;

    fn at(seconds: u64) -> Moment {
        Moment::from_boot(Duration::from_secs(seconds))
    }

    fn conflict(announced: bool) -> Report {
        let ip = "192.0.2.1".parse().unwrap();
        Report::Conflict { ip, mac: Mac([2, 0, 0, 0, 0, 1]), interface: "eth0".to_owned(), announced }
    }

    #[test]
    fn another_speaker_at_a_takeover_is_no_stranger_and_one_that_stays_is() {
        let mut disputes = Disputes::default();
        let ip = "192.0.2.1".parse().unwrap();
        let taken = Action::Announce { ip, interfaces: Interfaces::All, first: false };
        disputes.take(at(100), &Dirty::default(), &[taken]);
        assert!(!disputes.is_foreign(at(105), &conflict(true)));
        assert!(disputes.is_foreign(at(165), &conflict(true)));
    }

    #[test]
    fn after_a_partition_both_sides_tell_for_a_while() {
        let mut disputes = Disputes::default();
        disputes.take(at(100), &Dirty { healed: true, ..Dirty::default() }, &[]);
        assert!(!disputes.is_foreign(at(105), &conflict(true)));
        assert!(disputes.is_foreign(at(111), &conflict(true)));
    }

    #[test]
    fn a_host_that_has_a_new_address_already_is_told_at_once() {
        let mut disputes = Disputes::default();
        let ip = "192.0.2.1".parse().unwrap();
        let first = Action::Announce { ip, interfaces: Interfaces::All, first: true };
        disputes.take(at(100), &Dirty::default(), &[first]);
        assert!(disputes.is_foreign(at(100), &conflict(false)));
        assert!(disputes.is_foreign(at(101), &conflict(true)));
    }
}
