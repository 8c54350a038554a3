//! Keeps the permit alive while this process may send.
//!
//! ```text
//!  owner ──Planned──▶ ┐
//!  membership ─View─▶ ├─ every 100 ms, and at once when something is new: Renewal::tick ──▶ Permit
//!  Lease ──Moment───▶ ┘                                                    └─ valid again ──▶ owner tells the network
//! ```
//! A task of its own: a long decision of the owner must not silence what holds meanwhile.

use std::sync::Arc;

use membership::shell::View;
use runtime::clock::Moment;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::l2::permit::Permit;
use crate::renewal::{Facts, PERIOD, Planned, Renewal};

/// What renewal looks at.
#[derive(Debug)]
pub struct Sources {
    /// What the owner last planned from.
    pub planned: watch::Receiver<Option<Planned>>,
    /// Who lives.
    pub views: watch::Receiver<Option<Arc<View>>>,
    /// `lease`: until when the Lease lets us answer.
    pub leased: watch::Receiver<Option<Moment>>,
}

/// Renews `permit` for ever. `gained` grows by one each time it is valid after it was not.
pub async fn renew(mut renewal: Renewal, mut sources: Sources, permit: Permit, gained: watch::Sender<u64>) {
    let mut pulse = tokio::time::interval(PERIOD);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sends = false;
    loop {
        // A sender that is gone leaves the last word in force; the pulse goes on.
        tokio::select! {
            _ = pulse.tick() => {}
            Ok(()) = sources.planned.changed() => {}
            Ok(()) = sources.views.changed() => {}
            Ok(()) = sources.leased.changed() => {}
        }
        let pauses = sources.views.borrow_and_update().as_ref().map_or(0, |view| view.pauses);
        let leased = *sources.leased.borrow_and_update();
        let now = Moment::now();
        let lapsed = !permit.is_valid(now);
        let until = {
            let planned = sources.planned.borrow_and_update();
            renewal.tick(now, Facts { planned: planned.as_ref(), pauses, leased })
        };
        if let Some(until) = until {
            permit.renew(until);
        }
        let may_send = permit.is_valid(now);
        if lapsed && may_send {
            gained.send_modify(|times| *times += 1);
        }
        if may_send && !sends {
            tracing::info!(event = "permit", "this node answers for its addresses");
        } else if sends && (lapsed || !may_send) {
            tracing::warn!(
                event = "permit",
                "this node answers for nothing until it has heard the others and decided anew"
            );
        }
        sends = may_send;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::renewal::OwnershipMode;

    #[tokio::test]
    async fn the_permit_is_valid_soon_after_the_first_plan_and_lapses_without_renewal() {
        let (plans, planned) = watch::channel(None);
        let (_views, views) = watch::channel(None);
        let (_leases, leased) = watch::channel(None);
        let (gains, mut gained) = watch::channel(0);
        let permit = Permit::withheld();
        let renewal = Renewal::new("a".to_owned(), OwnershipMode::Fast);
        let task = tokio::spawn(renew(renewal, Sources { planned, views, leased }, permit.clone(), gains));
        assert!(!permit.is_valid(Moment::now()));
        plans.send_replace(Some(Planned::default()));
        let gain = tokio::time::timeout(Duration::from_secs(10), gained.wait_for(|times| *times == 1)).await;
        assert!(gain.is_ok() && permit.is_valid(Moment::now()));
        task.abort();
        let _ = task.await;
        assert!(!permit.is_valid(Moment::now() + crate::renewal::VALIDITY));
    }
}
