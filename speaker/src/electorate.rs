//! Which of the nodes that may announce are alive. Pure.
//!
//! ```text
//!  API: Candidates { up, down } ─┐
//!                                ├─▶ Electorate ─▶ Candidates { up, down }, and what changed
//!  membership: View ─────────────┘       heard: up   lost: down   never heard: as the API says
//! ```
//! The API says who may announce; who of them lives, the speakers find out among themselves, because the API is slow in both
//! directions. Where no datagram can pass, the API's word remains.

use std::collections::BTreeSet;
use std::sync::Arc;

use membership::Loss;
use membership::shell::View;

use crate::members::Candidates;

/// Who stands for election.
#[derive(Debug, Default)]
pub struct Electorate {
    /// What the API says.
    said: Candidates,
    /// What membership says; `None` while it does not run.
    heard: Option<Arc<View>>,
    /// Lost members whose loss no longer counts, see [`pardon`].
    pardoned: BTreeSet<String>,
    candidates: Candidates,
    is_old: bool,
}

/// How the candidates changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These nodes are no longer up, and nothing else changed. None of them, and nothing changed at all.
    Gone(BTreeSet<String>),
    /// In some other way.
    Other,
}

impl Electorate {
    /// Takes in what the speakers know of one another; returns whether somebody who was silent is heard again.
    pub fn hear(&mut self, view: Arc<View>) -> bool {
        let healed = self.heard.as_ref().is_some_and(|before| is_healed(before, &view));
        self.heard = Some(view);
        self.is_old = true;
        healed
    }

    /// Brings the candidates up to date; `said` is what the API says now, if that is new.
    pub fn settle(&mut self, said: Option<Candidates>) -> Change {
        if !std::mem::take(&mut self.is_old) && said.is_none() {
            return Change::Gone(BTreeSet::new());
        }
        let said = said.unwrap_or_else(|| self.said.clone());
        let candidates = match &self.heard {
            Some(view) => {
                pardon(&mut self.pardoned, view, &self.said, &said);
                judge(&said, view, &self.pardoned)
            }
            None => said.clone(),
        };
        self.said = said;
        let before = std::mem::replace(&mut self.candidates, candidates);
        losses(&before, &self.candidates).map_or(Change::Other, Change::Gone)
    }

    /// The nodes that may announce.
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// The nodes that may announce, as far as the API knows.
    pub fn said(&self) -> &Candidates {
        &self.said
    }

    /// Who lives, as the speakers know it from one another; `None` while membership does not run.
    pub fn heard(&self) -> Option<&View> {
        self.heard.as_deref()
    }
}

/// What becomes of the API's word when membership has its say: who is heard is up, who is lost is down, and of whom it knows
/// nothing, that stays as it is.
fn judge(said: &Candidates, view: &View, pardoned: &BTreeSet<String>) -> Candidates {
    let mut judged = Candidates { barred: said.barred.clone(), ..Candidates::default() };
    for (name, barred) in &mut judged.barred {
        barred.awake &= !is_lost(view, name) || pardoned.contains(name);
    }
    let all = said.up.iter().map(|name| (name, true)).chain(said.down.iter().map(|name| (name, false)));
    for (name, said_up) in all {
        let up = view.alive.contains(name.as_str()) || (said_up && (pardoned.contains(name) || !is_lost(view, name)));
        let side = if up { &mut judged.up } else { &mut judged.down };
        side.insert(name.clone());
    }
    judged
}

/// The nodes that were up before and no longer are, if that is all that changed. Such a change concerns no election in which
/// none of them was among the first two: those who are down count only where nobody is up, and who just went down was up.
fn losses(before: &Candidates, now: &Candidates) -> Option<BTreeSet<String>> {
    let gone: BTreeSet<String> = before.up.difference(&now.up).cloned().collect();
    let only_losses = now.up.is_subset(&before.up)
        && now.barred == before.barred
        && before.down.is_subset(&now.down)
        && now.down.difference(&before.down).all(|name| gone.contains(name));
    only_losses.then_some(gone)
}

/// Whether the member was heard once and is known to be gone. One that we merely know nothing of any more is not.
fn is_lost(view: &View, name: &str) -> bool {
    match view.lost.get(name) {
        Some(Loss::Left | Loss::ProbeMissed | Loss::Suspected) => true,
        Some(Loss::Paused | Loss::Removed) | None => false,
    }
}

/// Brings `pardoned` up to date: lost members that the API began to call up after the loss. Then it is another process, and if
/// we do not hear it, no datagram passes (another key, a packet filter): it would count us as the API does, and so must we
/// count it, or both would answer.
fn pardon(pardoned: &mut BTreeSet<String>, view: &View, before: &Candidates, now: &Candidates) {
    pardoned.retain(|name| is_lost(view, name));
    pardoned.extend(now.up.difference(&before.up).filter(|name| is_lost(view, name)).cloned());
}

/// Whether somebody who was silent is heard again: it may have answered for our addresses meanwhile, as we for its own.
fn is_healed(before: &View, now: &View) -> bool {
    let silent = |why: &Loss| matches!(why, Loss::ProbeMissed | Loss::Suspected);
    before.lost.iter().any(|(name, why)| silent(why) && now.alive.contains(name))
}

#[cfg(test)]
mod tests {
    use membership::NodeName;

    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    fn view(alive: &[&str], lost: &[(&str, Loss)]) -> View {
        View {
            alive: alive.iter().map(|text| name(text)).collect(),
            lost: lost.iter().map(|(text, why)| (name(text), *why)).collect(),
            pauses: 0,
        }
    }

    fn api(up: &[&str], down: &[&str]) -> Candidates {
        Candidates { up: set(up), down: set(down), ..Candidates::default() }
    }

    fn judged(said: &Candidates, view: &View) -> Candidates {
        judge(said, view, &BTreeSet::new())
    }

    #[test]
    fn who_is_heard_is_up_although_the_api_does_not_know_it_yet() {
        assert_eq!(judged(&api(&["a"], &["b"]), &view(&["a", "b"], &[])), api(&["a", "b"], &[]));
    }

    #[test]
    fn who_is_lost_is_down_although_the_api_does_not_know_it_yet() {
        for why in [Loss::Left, Loss::ProbeMissed, Loss::Suspected] {
            assert_eq!(judged(&api(&["a", "b"], &[]), &view(&["a"], &[("b", why)])), api(&["a"], &["b"]), "{why:?}");
        }
    }

    #[test]
    fn the_survivor_of_two_takes_over_although_it_hears_nobody() {
        assert_eq!(judged(&api(&["a", "b"], &[]), &view(&["a"], &[("b", Loss::Suspected)])).up, set(&["a"]));
    }

    #[test]
    fn of_whom_nothing_is_known_the_api_speaks() {
        let said = api(&["a", "b", "c"], &["d", "e"]);
        let lost = [("b", Loss::Paused), ("d", Loss::Removed)];
        assert_eq!(judged(&said, &view(&["a"], &lost)), said);
    }

    #[test]
    fn who_may_not_announce_does_not_by_being_alive() {
        assert_eq!(judged(&api(&["a"], &[]), &view(&["a", "drained"], &[])), api(&["a"], &[]));
    }

    #[test]
    fn a_loss_counts_no_longer_once_the_api_has_seen_a_new_process() {
        let lost = view(&["a"], &[("b", Loss::Left)]);
        let mut pardoned = BTreeSet::new();
        pardon(&mut pardoned, &lost, &api(&["a", "b"], &[]), &api(&["a", "b"], &[]));
        assert_eq!(pardoned, set(&[]), "the API only has not noticed yet");
        pardon(&mut pardoned, &lost, &api(&["a", "b"], &[]), &api(&["a"], &["b"]));
        pardon(&mut pardoned, &lost, &api(&["a"], &["b"]), &api(&["a", "b"], &[]));
        assert_eq!(judge(&api(&["a", "b"], &[]), &lost, &pardoned).up, set(&["a", "b"]));
        assert_eq!(judge(&api(&["a"], &["b"]), &lost, &pardoned).up, set(&["a"]), "the API's word is all it has");
        pardon(&mut pardoned, &view(&["a", "b"], &[]), &api(&["a", "b"], &[]), &api(&["a", "b"], &[]));
        assert_eq!(pardoned, set(&[]), "it was heard");
    }

    #[test]
    fn losses_are_told_from_all_other_changes() {
        let before = api(&["a", "b", "c"], &["d"]);
        assert_eq!(losses(&before, &before), Some(set(&[])));
        assert_eq!(losses(&before, &api(&["a"], &["b", "d"])), Some(set(&["b", "c"])));
        for (name, after) in [
            ("one comes up", api(&["a", "b", "c", "d"], &[])),
            ("one joins", api(&["a", "b", "c", "e"], &["d"])),
            ("the last resort goes", api(&["a", "b"], &["c"])),
            ("another last resort", api(&["a", "b", "c"], &["d", "e"])),
        ] {
            assert_eq!(losses(&before, &after), None, "{name}");
        }
    }

    #[test]
    fn only_the_return_of_who_was_silent_is_a_healing() {
        for (why, healed) in
            [(Loss::ProbeMissed, true), (Loss::Suspected, true), (Loss::Left, false), (Loss::Paused, false)]
        {
            assert_eq!(is_healed(&view(&["a"], &[("b", why)]), &view(&["a", "b"], &[])), healed, "{why:?}");
        }
        assert!(!is_healed(&view(&["a"], &[("b", Loss::Suspected)]), &view(&["a", "c"], &[("b", Loss::Suspected)])));
    }

    #[test]
    fn nothing_new_changes_nothing() {
        let mut electorate = Electorate::default();
        assert_eq!(electorate.settle(Some(api(&["a", "b"], &[]))), Change::Other);
        assert_eq!(electorate.settle(None), Change::Gone(BTreeSet::new()));
        assert!(!electorate.hear(view(&["a"], &[("b", Loss::Suspected)]).into()));
        assert_eq!(electorate.settle(None), Change::Gone(set(&["b"])));
        assert!(electorate.hear(view(&["a", "b"], &[]).into()));
        assert_eq!(electorate.settle(None), Change::Other);
        assert_eq!(electorate.candidates(), electorate.said());
    }
}
