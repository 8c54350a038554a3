//! Who probes whom: the members in the order of a hash of their names, closed to a ring.
//!
//! A node probes its live successors. All nodes draw the same ring, so every live member has as many probers as others, and
//! when some of them die with it, the ring closes over them. The hash keeps neighbours by name, which often share a rack, apart.

use crate::dice::mix;
use crate::name::NodeName;

/// The others in the order in which they come after `me`.
pub(crate) fn successors<'a>(me: &NodeName, others: impl Iterator<Item = &'a NodeName>) -> Vec<NodeName> {
    let own = (place(me), me.clone());
    let mut placed: Vec<_> = others.map(|name| (place(name), name.clone())).collect();
    placed.sort();
    let first = placed.partition_point(|found| *found < own);
    placed.rotate_left(first);
    placed.into_iter().map(|(_, name)| name).collect()
}

/// Where a name stands on the ring: FNV-1a, whose high bits are poor for short texts, mixed.
fn place(name: &NodeName) -> u64 {
    let hash = name
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mix(hash)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_member_is_the_first_successor_of_exactly_one_other() {
        let names: Vec<_> = (0..20).map(|index| NodeName::new(&format!("node-{index}")).unwrap()).collect();
        let mut followed: BTreeMap<NodeName, u32> = BTreeMap::new();
        for me in &names {
            let ring = successors(me, names.iter().filter(|name| *name != me));
            assert_eq!(ring.len(), 19);
            *followed.entry(ring[0].clone()).or_default() += 1;
        }
        assert_eq!(followed.len(), 20);
        assert!(followed.values().all(|count| *count == 1));
    }
}
