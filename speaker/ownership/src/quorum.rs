//! The rule of the mode `quorum`.
//!
//! ```text
//!  candidates a b c d e     one side sees a b c: 3 of 5, answers      the other sees d e: 2 of 5, is silent
//! ```
//! Two sides of a partition share no node, so the numbers of the candidates they see add up to at most all of them: both
//! cannot be more than half. That needs the same list on both sides, or lists that differ by one node. While two or more
//! candidates come or go at once, the API shows the list of before to some and that of after to others, and two sides can
//! both believe to be more than half. So they can where two nodes hear a third one but not each other. Who needs more than
//! that uses `lease`.

use std::collections::BTreeSet;

/// Whether more than half of the candidates are alive. A node counts itself as alive; one that is no candidate counts for
/// nobody. Of no candidates nobody is more than half.
pub fn has_majority<N: Ord>(candidates: &BTreeSet<N>, alive: &BTreeSet<N>) -> bool {
    candidates.intersection(alive).count() * 2 > candidates.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(bits: u32) -> BTreeSet<u32> {
        (0..32).filter(|node| bits & (1 << node) != 0).collect()
    }

    #[test]
    fn two_sides_of_any_partition_never_both_have_the_majority_of_one_list() {
        for size in 0..=10 {
            let candidates = nodes((1 << size) - 1);
            for side in 0..(1_u32 << size) {
                let (one, other) = (nodes(side), nodes(!side));
                assert!(!(has_majority(&candidates, &one) && has_majority(&candidates, &other)), "{one:?} of {size}");
            }
        }
    }

    #[test]
    fn a_side_with_more_than_half_goes_on_and_exactly_half_does_not() {
        assert!(has_majority(&nodes(0b1), &nodes(0b1)));
        assert!(has_majority(&nodes(0b111), &nodes(0b011)));
        assert!(!has_majority(&nodes(0b1111), &nodes(0b0011)));
        assert!(!has_majority(&nodes(0), &nodes(0)));
    }

    #[test]
    fn who_is_no_candidate_does_not_count() {
        assert!(!has_majority(&nodes(0b0111), &nodes(0b1001)));
    }

    #[test]
    fn lists_that_differ_can_give_both_sides_a_majority() {
        // Two nodes join three; one side has not heard of them.
        let (before, after) = (nodes(0b00111), nodes(0b11111));
        assert!(has_majority(&before, &nodes(0b00011)) && has_majority(&after, &nodes(0b11100)));
    }

    #[test]
    fn lists_that_differ_by_one_node_never_give_both_sides_a_majority() {
        for size in 1..=9 {
            let (before, after) = (nodes((1 << size) - 1), nodes((1 << (size + 1)) - 1));
            for side in 0..(1_u32 << (size + 1)) {
                let (one, other) = (nodes(side), nodes(!side));
                assert!(!(has_majority(&before, &one) && has_majority(&after, &other)), "{one:?} of {size}");
            }
        }
    }
}
