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
        let env = |name: &str, or: u64| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(or);
        let budget = env("BUDGET", self.budget.into()) as u32;
        let mut world = World::new(self.nodes, self.order, budget, Rules { broken }, unguarded);
        for (node, ranks) in self.wants.iter().enumerate() {
            world.want(node, ranks);
        }
        world.begin(env("SPAN", self.span));
        explore(world, limit, broken.is_none() && !unguarded)
    }
}

/// Visits all states; none has two owners, and from each end of the explored time every wanted address gets one.
fn holds(scene: &Scene) {
    let found = scene.explore(None, false, 3_000_000);
    println!("{}: {} states, {} ends", scene.name, found.states, found.ends);
    assert_eq!((found.failure, found.complete), (None, true), "{}", scene.name);
}

/// Looks for two owners while a rule is broken; without a rule to break, writes are not guarded by versions.
fn notices(broken: Option<Rule>) {
    let failure = SCENES.iter().find_map(|scene| scene.explore(broken, broken.is_none(), 3_000_000).failure);
    let failure = failure.unwrap_or_else(|| panic!("not noticed: {broken:?}"));
    println!("without {broken:?}: {failure}");
}

macro_rules! tests {
    ($check:ident: $($name:ident: $of:expr,)*) => {
        $(
            #[test]
            fn $name() {
                $check($of);
            }
        )*
    };
}

tests! { holds:
    two_nodes_in_any_order_of_events_never_both_answer: &SCENES[0],
    two_nodes_in_any_order_with_a_fault_never_both_answer: &SCENES[1],
    three_nodes_with_two_deviations_never_both_answer: &SCENES[2],
    three_nodes_that_disagree_never_both_answer: &SCENES[3],
    two_lives_of_a_node_never_both_answer: &SCENES[4],
}

tests! { notices:
    without_guarded_writes_a_state_has_two_owners: None,
    without_a_read_after_the_write_a_state_has_two_owners: Some(Rule::ReadAfterWrite),
    with_permits_that_run_from_the_answer_a_state_has_two_owners: Some(Rule::PermitFromStart),
    with_renewals_seen_at_the_start_of_the_read_a_state_has_two_owners: Some(Rule::SeenAtAnswer),
    with_expiry_judged_at_the_answer_a_state_has_two_owners: Some(Rule::ExpiryAtStart),
    with_lapsed_claims_brought_back_a_state_has_two_owners: Some(Rule::LapseIsFinal),
    with_claims_taken_back_before_silence_a_state_has_two_owners: Some(Rule::SilenceFirst),
    with_permits_renewed_before_lapsed_addresses_are_silent_a_state_has_two_owners: Some(Rule::LapsedAreSilent),
    with_vanished_leases_forgotten_a_state_has_two_owners: Some(Rule::Ghosts),
    with_our_own_lease_made_again_a_state_has_two_owners: Some(Rule::OwnLeaseGone),
    without_a_rest_at_the_start_a_state_has_two_owners: Some(Rule::Rest),
    without_waiting_for_another_life_a_state_has_two_owners: Some(Rule::OtherLife),
}
