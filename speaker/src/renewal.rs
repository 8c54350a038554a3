//! When the permit to send frames is renewed. Pure: times and facts in, moments out.
//!
//! ```text
//!            planned, and all whom the API calls up were heard, or 1 s has passed
//!   Doubt ───────────────────────────────────────────────────────────────────────▶ Sure ─▶ until now + 500 ms
//!     ▲                 start; membership forgot everything                           │     (quorum: while more than half
//!     ├───────────────────────────────────────────────────────────────────────────────┤      of the candidates are alive)
//!   Settle 200 ms ◀────────── the permit ran out, because this process did not run ───┘
//! ```
//! A process that was stopped acts on a picture of the cluster that others have replaced meanwhile. Before it sends, it hears
//! the others again and decides anew from that. Who cannot be heard holds it up for a second, not for ever: they may be dead.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::ValueEnum;
use runtime::clock::Moment;

use crate::members::Candidates;
use crate::state::State;

/// How often the permit is renewed.
pub const PERIOD: Duration = Duration::from_millis(100);
/// For how long each time. A process that does not run for longer than this sends nothing.
pub const VALIDITY: Duration = Duration::from_millis(500);
/// Longest wait for members that the API calls up and nobody hears.
const PATIENCE: Duration = Duration::from_secs(1);
/// After a stop that membership lived through: two of its probe periods. Others may have taken over and hear us again now.
const SETTLE: Duration = Duration::from_millis(200);

/// What has to hold before a node answers for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OwnershipMode {
    /// It is the first of those who live, as far as it knows.
    #[default]
    Fast,
    /// Besides, it hears more than half of the nodes that may announce.
    Quorum,
    /// Besides, it holds a Lease that says so. No flag leads here before something keeps the Leases.
    #[value(skip)]
    Lease,
}

/// What the owner of the decisions last planned from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planned {
    /// Who may announce, and is up according to the API alone.
    pub candidates: Candidates,
    /// Who lives according to membership. `None` where there is none: then the API's word is all there is.
    pub alive: Option<BTreeSet<String>>,
    /// How often membership had forgotten everything.
    pub pauses: u64,
}

impl Planned {
    /// What a plan from this state was made from. `talks`: the speakers are to talk, although they may not have begun to.
    pub fn of(state: &State, talks: bool) -> Self {
        let heard = state.electorate().heard();
        let alone = || BTreeSet::from([state.node().to_owned()]);
        Self {
            candidates: state.electorate().said().clone(),
            alive: heard
                .map(|view| view.alive.iter().map(|name| name.as_str().to_owned()).collect())
                .or_else(|| talks.then(alone)),
            pauses: heard.map_or(0, |view| view.pauses),
        }
    }

    fn confirmed(&self) -> bool {
        self.alive.as_ref().is_none_or(|alive| self.candidates.up.is_subset(alive))
    }

    /// `me` alone lives where membership does not run.
    fn has_quorum(&self, me: &str) -> bool {
        let all = || self.candidates.up.union(&self.candidates.down);
        let lives = |name: &&String| match &self.alive {
            Some(alive) => alive.contains(*name),
            None => *name == me,
        };
        all().filter(lives).count() * 2 > all().count()
    }
}

/// What is known at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The last plan; `None` before the first.
    pub planned: Option<&'a Planned>,
    /// How often membership has forgotten everything by now.
    pub pauses: u64,
    /// `lease`: until when the Lease lets us answer.
    pub leased: Option<Moment>,
}

/// The renewal of one permit.
#[derive(Debug)]
pub struct Renewal {
    me: String,
    mode: OwnershipMode,
    standing: Standing,
    pauses: u64,
    /// When this process was last seen to run.
    ran_at: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing is confirmed; since when there is a plan to confirm.
    Doubt(Option<Moment>),
    Settle(Moment),
    Sure,
}

impl Renewal {
    /// The renewal on node `me`.
    pub fn new(me: String, mode: OwnershipMode) -> Self {
        Self { me, mode, standing: Standing::Doubt(None), pauses: 0, ran_at: None }
    }

    /// Until when frames may be sent; `None`: no longer than was said before. Call every [`PERIOD`].
    pub fn tick(&mut self, now: Moment, facts: Facts<'_>) -> Option<Moment> {
        let stopped = self.ran_at.is_some_and(|ran| now >= ran + VALIDITY);
        self.ran_at = Some(now);
        if facts.pauses != self.pauses {
            self.pauses = facts.pauses;
            self.standing = Standing::Doubt(None);
        } else if stopped {
            self.standing = match self.standing {
                // The second of patience is one in which we listened.
                Standing::Doubt(_) => Standing::Doubt(None),
                Standing::Settle(_) | Standing::Sure => Standing::Settle(now + SETTLE),
            };
        }
        let planned = facts.planned.filter(|planned| planned.pauses == facts.pauses);
        self.standing = match (self.standing, planned) {
            (Standing::Doubt(since), Some(planned)) => {
                let since = since.unwrap_or(now);
                let sure = planned.confirmed() || now >= since + PATIENCE;
                if sure { Standing::Sure } else { Standing::Doubt(Some(since)) }
            }
            (Standing::Settle(until), _) if now >= until => Standing::Sure,
            (same, _) => same,
        };
        let planned = planned.filter(|_| self.standing == Standing::Sure)?;
        match self.mode {
            OwnershipMode::Fast => Some(now + VALIDITY),
            OwnershipMode::Quorum => planned.has_quorum(&self.me).then(|| now + VALIDITY),
            OwnershipMode::Lease => facts.leased.map(|leased| leased.min(now + VALIDITY)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_boot(Duration::from_millis(10_000 + millis))
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The API calls a, b and c up, and d allowed but down.
    fn planned(alive: &[&str], pauses: u64) -> Planned {
        let candidates = Candidates { up: set(&["a", "b", "c"]), down: set(&["d"]), ..Candidates::default() };
        Planned { candidates, alive: Some(set(alive)), pauses }
    }

    fn facts(planned: Option<&Planned>, pauses: u64) -> Facts<'_> {
        Facts { planned, pauses, leased: None }
    }

    fn renewal(mode: OwnershipMode) -> Renewal {
        Renewal::new("a".to_owned(), mode)
    }

    /// A renewal that is sure at moment 0.
    fn sure(mode: OwnershipMode) -> Renewal {
        let mut renewal = renewal(mode);
        assert!(renewal.tick(at(0), facts(Some(&planned(&["a", "b", "c"], 0)), 0)).is_some());
        renewal
    }

    #[test]
    fn nothing_is_sent_before_the_first_plan() {
        let mut renewal = renewal(OwnershipMode::Fast);
        for millis in (0..5_000).step_by(100) {
            assert_eq!(renewal.tick(at(millis), facts(None, 0)), None);
        }
    }

    #[test]
    fn a_start_waits_for_all_whom_the_api_calls_up_but_no_longer_than_a_second() {
        let mut quick = renewal(OwnershipMode::Fast);
        assert_eq!(quick.tick(at(0), facts(Some(&planned(&["a", "b"], 0)), 0)), None);
        assert_eq!(quick.tick(at(100), facts(Some(&planned(&["a", "b", "c"], 0)), 0)), Some(at(600)));
        let mut patient = renewal(OwnershipMode::Fast);
        let half = planned(&["a", "b"], 0);
        for millis in (0..1_000).step_by(100) {
            assert_eq!(patient.tick(at(millis), facts(Some(&half), 0)), None, "{millis}");
        }
        assert_eq!(patient.tick(at(1_000), facts(Some(&half), 0)), Some(at(1_500)));
    }

    #[test]
    fn without_membership_the_word_of_the_api_is_enough() {
        let alone = Planned { alive: None, ..planned(&[], 0) };
        assert_eq!(renewal(OwnershipMode::Fast).tick(at(0), facts(Some(&alone), 0)), Some(at(500)));
        assert_eq!(renewal(OwnershipMode::Quorum).tick(at(0), facts(Some(&alone), 0)), None);
    }

    #[test]
    fn a_member_that_goes_later_takes_nothing_away() {
        let mut renewal = sure(OwnershipMode::Fast);
        assert_eq!(renewal.tick(at(100), facts(Some(&planned(&["a"], 0)), 0)), Some(at(600)));
    }

    #[test]
    fn after_a_pause_only_decisions_from_after_it_count() {
        let mut renewal = sure(OwnershipMode::Fast);
        let before = planned(&["a", "b", "c"], 0);
        assert_eq!(renewal.tick(at(5_000), facts(Some(&before), 1)), None, "planned before the pause");
        let unheard = planned(&["a"], 1);
        assert_eq!(renewal.tick(at(5_100), facts(Some(&unheard), 1)), None);
        let heard = planned(&["a", "b", "c"], 1);
        assert_eq!(renewal.tick(at(5_200), facts(Some(&heard), 1)), Some(at(5_700)));
    }

    #[test]
    fn a_pause_that_membership_notices_after_us_counts_as_well() {
        let mut renewal = sure(OwnershipMode::Fast);
        let before = planned(&["a", "b", "c"], 0);
        assert_eq!(renewal.tick(at(5_000), facts(Some(&before), 0)), None);
        assert_eq!(renewal.tick(at(5_100), facts(Some(&before), 1)), None);
        let unheard = planned(&["a"], 1);
        assert_eq!(renewal.tick(at(5_200), facts(Some(&unheard), 1)), None);
        assert_eq!(
            renewal.tick(at(6_200), facts(Some(&unheard), 1)),
            None,
            "a whole second without running is another stop"
        );
        for millis in (6_300..7_200).step_by(100) {
            assert_eq!(renewal.tick(at(millis), facts(Some(&unheard), 1)), None, "{millis}");
        }
        assert_eq!(renewal.tick(at(7_200), facts(Some(&unheard), 1)), Some(at(7_700)));
    }

    #[test]
    fn after_a_short_stop_the_others_get_time_to_hear_us() {
        let mut renewal = sure(OwnershipMode::Fast);
        let world = planned(&["a", "b", "c"], 0);
        assert_eq!(renewal.tick(at(499), facts(Some(&world), 0)), Some(at(999)), "the permit was still valid");
        assert_eq!(renewal.tick(at(999), facts(Some(&world), 0)), None);
        assert_eq!(renewal.tick(at(1_100), facts(Some(&world), 0)), None);
        assert_eq!(renewal.tick(at(1_200), facts(Some(&world), 0)), Some(at(1_700)));
    }

    #[test]
    fn a_quorum_is_more_than_half_of_all_who_may_announce() {
        let mut renewal = sure(OwnershipMode::Quorum);
        assert_eq!(renewal.tick(at(100), facts(Some(&planned(&["a", "b"], 0)), 0)), None, "two of four");
        assert_eq!(renewal.tick(at(200), facts(Some(&planned(&["a", "b", "c"], 0)), 0)), Some(at(700)));
        assert_eq!(renewal.tick(at(300), facts(Some(&planned(&["a", "b", "d"], 0)), 0)), Some(at(800)));
        assert_eq!(renewal.tick(at(400), facts(Some(&planned(&["a", "b", "stranger"], 0)), 0)), None);
    }

    #[test]
    fn a_lease_bounds_the_permit() {
        let mut renewal = renewal(OwnershipMode::Lease);
        let world = planned(&["a", "b", "c"], 0);
        assert_eq!(renewal.tick(at(0), facts(Some(&world), 0)), None);
        let leased = |until| Facts { leased: Some(until), ..facts(Some(&world), 0) };
        assert_eq!(renewal.tick(at(100), leased(at(300))), Some(at(300)));
        assert_eq!(renewal.tick(at(200), leased(at(9_000))), Some(at(700)));
    }
}
