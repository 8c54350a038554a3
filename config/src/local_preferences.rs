//! Who tells which peer what LOCAL_PREF for the prefixes of one pool, to find advertisements that contradict each other.
//!
//! ```text
//! (family, aggregation length) ── peer ── advertisements that name it    one newcomer meets only those that share
//!                              └─ those that name no peer                a prefix and a peer with it
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::family::Family;
use crate::finding::ObjectId;
use crate::model::BgpAdvertisement;

/// The advertisements tied to one pool, oldest first; of those that say the same, the first.
#[derive(Default)]
pub(crate) struct Told<'a> {
    all: Vec<(&'a ObjectId, Arc<BgpAdvertisement>)>,
    prefixes: BTreeMap<(Family, u8), Listeners>,
}

/// Numbers of advertisements by whom they are announced to.
#[derive(Default)]
struct Listeners {
    all: Vec<usize>,
    every_peer: Vec<usize>,
    one_peer: BTreeMap<String, Vec<usize>>,
}

impl<'a> Told<'a> {
    /// Takes an advertisement in, unless an older one would send the same prefix to the same peer from the same node with
    /// another preference: then that one is returned.
    pub(crate) fn add(
        &mut self,
        id: &'a ObjectId,
        newcomer: &Arc<BgpAdvertisement>,
        families: [bool; 2],
    ) -> Result<(), (&'a ObjectId, u32)> {
        if !newcomer.service_selectors.is_empty() {
            return Ok(());
        }
        let prefixes: Vec<(Family, u8)> = [
            (Family::V4, newcomer.aggregation_length, families[0]),
            (Family::V6, newcomer.aggregation_length_v6, families[1]),
        ]
        .into_iter()
        .filter_map(|(family, length, present)| present.then_some((family, length)))
        .collect();
        let rivals = || {
            let listeners = prefixes.iter().filter_map(|prefix| self.prefixes.get(prefix));
            let numbers = listeners.flat_map(|listeners| listeners.met_by(newcomer)).copied();
            numbers.filter_map(|number| Some((number, self.all.get(number)?)))
        };
        let clash = |(_, (_, old)): &(usize, &(&'a ObjectId, Arc<BgpAdvertisement>))| {
            old.local_pref != newcomer.local_pref && share_a_node(old, newcomer)
        };
        if let Some((_, (owner, old))) = rivals().filter(clash).min_by_key(|(number, _)| *number) {
            return Err((*owner, old.local_pref));
        }
        if rivals().any(|(_, (_, old))| says_the_same(old, newcomer)) {
            return Ok(());
        }
        let number = self.all.len();
        self.all.push((id, Arc::clone(newcomer)));
        for prefix in prefixes {
            let listeners = self.prefixes.entry(prefix).or_default();
            listeners.all.push(number);
            if newcomer.peers.is_empty() {
                listeners.every_peer.push(number);
            }
            for peer in &newcomer.peers {
                listeners.one_peer.entry(peer.clone()).or_default().push(number);
            }
        }
        Ok(())
    }
}

impl Listeners {
    /// The advertisements that reach a peer that this one reaches too.
    fn met_by(&self, advertisement: &BgpAdvertisement) -> impl Iterator<Item = &usize> {
        let to_all = advertisement.peers.is_empty();
        let (all, every_peer) = if to_all { (&self.all[..], &[][..]) } else { (&[][..], &self.every_peer[..]) };
        let named = advertisement.peers.iter().filter_map(|peer| self.one_peer.get(peer)).flatten();
        all.iter().chain(every_peer).chain(named)
    }
}

fn share_a_node(a: &BgpAdvertisement, b: &BgpAdvertisement) -> bool {
    if Arc::ptr_eq(&a.nodes, &b.nodes) { !a.nodes.is_empty() } else { !a.nodes.is_disjoint(&b.nodes) }
}

/// Whether everything that meets the one meets the other.
fn says_the_same(a: &BgpAdvertisement, b: &BgpAdvertisement) -> bool {
    let key = |one: &BgpAdvertisement| (one.local_pref, one.aggregation_length, one.aggregation_length_v6);
    key(a) == key(b) && Arc::ptr_eq(&a.nodes, &b.nodes) && a.peers == b.peers
}
