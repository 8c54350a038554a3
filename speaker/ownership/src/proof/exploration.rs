//! Every state of small worlds.

use super::reachable::{Found, Order, World, explore};
use crate::rules::{Rule, Rules};

/// A world at its start: nodes that are rested, and what they want, as pairs of address and rank.
struct Scene {
    name: &'static str,
    nodes: &'static [&'static str],
    wants: &'static [&'static [(usize, u16)]],
    order: Order,
    /// Deviations and faults; in free order faults only.
    budget: u32,
    /// Moments; a Lease lasts two.
    span: u64,
}

const SCENES: [Scene; 5] = [
    Scene {
        name: "two nodes that both want an address, any order of events",
        nodes: &["a", "b"],
        wants: &[&[(0, 0)], &[(0, 0)]],
        order: Order::Free,
        budget: 0,
        span: 4,
    },
    Scene {
        name: "the same with one fault",
        nodes: &["a", "b"],
        wants: &[&[(0, 0)], &[(0, 0)]],
        order: Order::Free,
        budget: 1,
        span: 3,
    },
    Scene {
        name: "three nodes that agree on two addresses, two deviations or faults",
        nodes: &["a", "b", "c"],
        wants: &[&[(0, 0), (1, 1)], &[(0, 1), (1, 2)], &[(0, 2), (1, 0)]],
        order: Order::Tight,
        budget: 2,
        span: 5,
    },
    Scene {
        name: "three nodes that all want two addresses, one deviation or fault, for long",
        nodes: &["a", "b", "c"],
        wants: &[&[(0, 0), (1, 0)], &[(0, 0), (1, 0)], &[(0, 0), (1, 0)]],
        order: Order::Tight,
        budget: 1,
        span: 8,
    },
    Scene {
        name: "two lives of one node beside another node, two deviations or faults",
        nodes: &["a", "a", "b"],
        wants: &[&[(0, 0)], &[(0, 0)], &[(0, 1)]],
        order: Order::Tight,
        budget: 2,
        span: 4,
    },
];

impl Scene {
    fn explore(&self, broken: Option<Rule>, unguarded: bool, limit: usize) -> Found {
        let mut world = World::new(self.nodes, self.order, self.budget, Rules { broken }, unguarded);
        for (node, ranks) in self.wants.iter().enumerate() {
            world.want(node, ranks);
        }
        world.begin(self.span);
        explore(world, limit, broken.is_none() && !unguarded)
    }
}

#[test]
fn probe() {
    let n = |v: &str, d: u64| std::env::var(v).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let start = std::time::Instant::now();
    let scene = &SCENES[n("SCENE", 0) as usize];
    let scene = Scene { budget: n("BUDGET", scene.budget.into()) as u32, span: n("SPAN", scene.span), ..*scene };
    let broken = [
        Rule::ReadAfterWrite,
        Rule::PermitFromStart,
        Rule::SeenAtAnswer,
        Rule::ExpiryAtStart,
        Rule::LapseIsFinal,
        Rule::SilenceFirst,
        Rule::LapsedAreSilent,
        Rule::Ghosts,
        Rule::OwnLeaseGone,
        Rule::Rest,
        Rule::OtherLife,
    ]
    .get(n("RULE", 99) as usize)
    .copied();
    let found = scene.explore(broken, n("UNGUARDED", 0) == 1, 20_000_000);
    println!("{} {broken:?} {} states {} ends {:?} {:?}", scene.name, found.states, found.ends, found.failure, start.elapsed());
}
