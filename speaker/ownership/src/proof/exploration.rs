//! Every state of small worlds.

use super::reachable::{Order, World, explore};
use crate::rules::Rules;

#[test]
fn probe() {
    let n = |v: &str, d: u64| std::env::var(v).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let start = std::time::Instant::now();
    let order = if n("FREE", 0) == 1 { Order::Free } else { Order::Tight };
    let size = n("SIZE", 3) as usize;
    let mut world = World::new(size, order, n("BUDGET", 1) as u32, Rules::default(), false);
    world.faults = n("FAULTS", 1) == 1;
    for host in 0..size {
        let ranks: Vec<(usize, u16)> = (0..n("ADDRS", 2) as usize).map(|x| (x, ((host + x) % size) as u16)).collect();
        world.want(host, &ranks);
    }
    world.begin(n("SPAN", 6));
    let found = explore(world, 20_000_000, n("PROGRESS", 1) == 1);
    println!("{} states {} ends {:?} {:?}", found.states, found.ends, found.failure, start.elapsed());
}
