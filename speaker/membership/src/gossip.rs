//! What members tell one another of others.
//!
//! ```text
//!  own finding, or heard and new to us ──▶ Gossip ──▶ at once to others, when it is urgent
//!                                            └──────▶ with every ping and answer, some times over
//! ```
//! News is passed on only by those whom it taught something, and every change needs a higher counter than the one before, so
//! news dies out by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::core::{Core, Loss, Output};
use crate::name::NodeName;
use crate::peer::Standing;
use crate::time::Millis;
use crate::tuning::{FANOUT, HEARD, REPEATS, SMALL, SUSPICION};
use crate::wire::{Body, Kind, News};

/// News that is still to be told. At most one piece for each member, the newest.
#[derive(Debug, Default)]
pub(crate) struct Gossip {
    pieces: BTreeMap<NodeName, (News, u32)>,
    order: VecDeque<NodeName>,
    urgent: BTreeSet<NodeName>,
}

impl Gossip {
    /// Tells `news` `repeats` times, and at once if `urgent`.
    fn add(&mut self, news: News, repeats: u32, urgent: bool) {
        let about = news.about.clone();
        if urgent {
            self.urgent.insert(about.clone());
        }
        if self.pieces.insert(about.clone(), (news, repeats)).is_none() {
            self.order.push_front(about);
        }
    }

    pub(crate) fn drop_news_about(&mut self, name: &NodeName) {
        self.pieces.remove(name);
        self.urgent.remove(name);
        self.order.retain(|queued| queued != name);
    }

    /// What fits one more datagram, each piece counted as told once more.
    fn next(&mut self, sender: &NodeName) -> Vec<News> {
        let mut queued = std::mem::take(&mut self.order);
        let pieces = &mut self.pieces;
        let mut again = VecDeque::new();
        let mut candidates = std::iter::from_fn(|| {
            let name = queued.pop_front()?;
            let (news, left) = pieces.get_mut(&name)?;
            let news = news.clone();
            *left -= 1;
            if *left == 0 {
                pieces.remove(&name);
            } else {
                again.push_back(name);
            }
            Some(news)
        });
        let taken = News::fill(sender, &mut candidates);
        queued.append(&mut again);
        self.order = queued;
        taken
    }
}

impl Core {
    /// Tells others that this happened to a peer, as far as we know it now.
    pub(crate) fn spread(&mut self, kind: Kind, about: &NodeName, urgent: bool) {
        let Some(peer) = self.peers.get(about) else { return };
        let news = News { kind, about: about.clone(), boot: peer.life, counter: peer.seen };
        let repeats = REPEATS * (usize::BITS - self.peers.len().leading_zeros());
        self.gossip.add(news, repeats, urgent);
    }

    /// What to put into a datagram that is sent anyway.
    pub(crate) fn news_to_add(&mut self) -> Vec<News> {
        self.gossip.next(&self.me)
    }

    /// Sends urgent news: to all members of a small cluster, to some of a large one, who do the same.
    pub(crate) fn tell_urgent_news(&mut self, out: &mut Vec<Output>) {
        let urgent = std::mem::take(&mut self.gossip.urgent);
        if urgent.is_empty() {
            return;
        }
        let known: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_live() && peer.session.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        let chosen = if known.len() <= SMALL { known } else { self.some_of(known, &urgent) };
        let news: Vec<_> = urgent.iter().filter_map(|name| Some(self.gossip.pieces.get(name)?.0.clone())).collect();
        for name in chosen {
            self.tell(&name, news.clone(), out);
        }
    }

    /// Members of a large cluster to tell: random ones, and those that the news is about, so that they can object.
    fn some_of(&mut self, mut known: Vec<NodeName>, about: &BTreeSet<NodeName>) -> Vec<NodeName> {
        let concerned = known.iter().position(|name| about.contains(name)).map(|at| known.swap_remove(at));
        let mut chosen: Vec<_> = concerned.into_iter().collect();
        for _ in 0..FANOUT.min(known.len()) {
            let at = usize::try_from(self.dice.below(known.len() as u64)).unwrap_or(0);
            chosen.push(known.swap_remove(at));
        }
        chosen
    }

    /// Tells a member all of `news`, in as many datagrams as it takes.
    fn tell(&mut self, to: &NodeName, news: Vec<News>, out: &mut Vec<Output>) {
        let mut rest = news.into_iter();
        loop {
            let news = News::fill(&self.me, &mut rest);
            if news.is_empty() {
                return;
            }
            self.send(to, Body::Gossip { news }, out);
        }
    }

    /// Answers [`Body::Pull`].
    pub(crate) fn tell_all_alive(&mut self, now: Millis, to: &NodeName, out: &mut Vec<Output>) {
        let granted = self.peers.get_mut(to).is_some_and(|peer| peer.replies.take(now));
        if !granted {
            return;
        }
        let news = self
            .peers
            .iter()
            .filter(|(name, peer)| peer.standing == Standing::Alive && *name != to)
            .map(|(name, peer)| News { kind: Kind::Alive, about: name.clone(), boot: peer.life, counter: peer.seen })
            .collect();
        self.tell(to, news, out);
    }

    /// Takes in what the member `from` tells.
    pub(crate) fn learn(&mut self, now: Millis, from: &NodeName, news: News, out: &mut Vec<Output>) {
        if news.about == self.me {
            self.defend(now, from, &news, out);
            return;
        }
        // Nobody becomes a member by being talked about, and nobody's earlier life comes back.
        if self.peers.get(&news.about).is_none_or(|peer| peer.is_retired(news.boot)) {
            return;
        }
        match news.kind {
            Kind::Alive => self.learn_alive(now, &news),
            Kind::Suspect => self.learn_suspect(now, &news, out),
            Kind::Left => self.learn_left(&news),
        }
    }

    /// We are suspected: any word of ours refutes that.
    fn defend(&mut self, now: Millis, from: &NodeName, news: &News, out: &mut Vec<Output>) {
        let doubted = news.kind == Kind::Suspect && news.boot == self.boot;
        if doubted && self.peers.get_mut(from).is_some_and(|peer| peer.replies.take(now)) {
            self.send(from, Body::Gossip { news: Vec::new() }, out);
        }
    }

    fn learn_alive(&mut self, now: Millis, news: &News) {
        let Some(peer) = self.peers.get_mut(&news.about) else { return };
        if peer.life != news.boot {
            // Whom we hear ourselves we know better.
            if peer.session.is_some() && peer.is_live() && peer.was_heard_within(now, 1_000) {
                return;
            }
            peer.begin_life(news.boot);
            peer.seen = news.counter;
            peer.standing = Standing::Alive;
            self.busy.remove(&news.about);
            self.settle(&news.about, Loss::Suspected);
            self.spread(Kind::Alive, &news.about, false);
            return;
        }
        let base = match peer.standing {
            Standing::Alive => {
                peer.seen = peer.seen.max(news.counter);
                return;
            }
            Standing::Suspect { base, .. } => base,
            Standing::Unknown | Standing::Lost => peer.seen,
            Standing::Left => return,
        };
        if news.counter > base {
            self.vouch(now, news);
        }
    }

    /// Somebody heard a member that we had given up or were about to.
    fn vouch(&mut self, now: Millis, news: &News) {
        let Some(peer) = self.peers.get_mut(&news.about) else { return };
        peer.seen = peer.seen.max(news.counter);
        peer.standing = Standing::Alive;
        match &mut peer.probe {
            // Our probes failed where another's did not: that is no proof against the member, and some against us.
            Some(probe) => {
                if !probe.vouched {
                    self.health.worsen();
                }
                probe.vouched = true;
                probe.since = now;
            }
            None => {
                self.busy.remove(&news.about);
            }
        }
        self.settle(&news.about, Loss::Suspected);
        self.spread(Kind::Alive, &news.about, true);
    }

    fn learn_suspect(&mut self, now: Millis, news: &News, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(&news.about) else { return };
        if peer.life != news.boot {
            // The teller has missed that it restarted.
            if peer.standing == Standing::Alive {
                self.spread(Kind::Alive, &news.about, false);
            }
            return;
        }
        match &mut peer.standing {
            Standing::Alive => {}
            Standing::Suspect { base, .. } => {
                *base = news.counter.max(*base);
                return;
            }
            Standing::Unknown | Standing::Lost | Standing::Left => return,
        }
        if peer.seen > news.counter && peer.was_heard_within(now, HEARD) {
            self.spread(Kind::Alive, &news.about, true);
            return;
        }
        peer.seen = peer.seen.max(news.counter);
        let until = now + self.health.patience(SUSPICION);
        peer.standing = Standing::Suspect { base: peer.seen, until, accused: false };
        let unprobed = peer.probe.is_none();
        self.busy.insert(news.about.clone());
        self.spread(Kind::Suspect, &news.about, true);
        // Enough members look themselves to be sure, and not so many that a cluster falls upon one node.
        let everybody = self.peers.len() <= SMALL || self.watched.contains(&news.about);
        if unprobed && (everybody || self.dice.below(self.peers.len() as u64) < SMALL as u64) {
            self.begin_probe(now, &news.about, out);
        }
    }

    fn learn_left(&mut self, news: &News) {
        let Some(peer) = self.peers.get_mut(&news.about) else { return };
        if peer.life != news.boot || peer.standing == Standing::Left {
            return;
        }
        peer.standing = Standing::Left;
        self.settle(&news.about, Loss::Left);
        self.spread(Kind::Left, &news.about, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(about: &str, counter: u64) -> News {
        News { kind: Kind::Alive, about: NodeName::new(about).unwrap(), boot: 1, counter }
    }

    #[test]
    fn news_is_told_as_often_as_it_should_be_and_the_newest_replaces_the_older() {
        let me = NodeName::new("me").unwrap();
        let mut gossip = Gossip::default();
        gossip.add(piece("a", 1), 3, false);
        gossip.add(piece("a", 2), 2, false);
        gossip.add(piece("b", 1), 1, false);
        assert_eq!(gossip.next(&me), [piece("b", 1), piece("a", 2)]);
        assert_eq!(gossip.next(&me), [piece("a", 2)]);
        assert_eq!(gossip.next(&me), []);
    }

    #[test]
    fn what_does_not_fit_one_datagram_goes_with_the_next() {
        let me = NodeName::new("me").unwrap();
        let mut gossip = Gossip::default();
        let all: BTreeSet<_> = (0..100).map(|index| format!("node-{index:03}")).collect();
        all.iter().for_each(|name| gossip.add(piece(name, 1), 1, false));
        let mut told = BTreeSet::new();
        for _ in 0..4 {
            told.extend(gossip.next(&me).into_iter().map(|news| news.about.to_string()));
        }
        assert_eq!(told, all);
    }
}
