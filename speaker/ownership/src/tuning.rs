//! The numbers of the protocol.

/// Times in milliseconds. [`Tuning::default`] is what the product runs with; tests shrink time.
///
/// ```text
///  renewal sent                    no answer   no answer     we stop      others may take over
///    │◀──── renew ───▶│◀── answer ──▶│             │             │            │
///    0              1000           1750          2700          3000         3500 since they saw it
/// ```
/// - A renewal every second costs the API one small write per node that owns addresses: 100 a second for 100 such nodes, a
///   fifth of what the kubelets of 5,000 nodes write. Nodes that own nothing write nothing.
/// - Between two renewals that succeed, one may get no answer at all and another be refused, and the Lease is still kept.
/// - A dead owner is replaced `duration + margin` after its last renewal was seen: 2.5 to 3.5 seconds after its death, and up
///   to `idle` later, because that is how often the Leases are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuning {
    /// How long a renewal is good for, from before it was sent. A whole number of seconds, for `leaseDurationSeconds`.
    pub duration: u64,
    /// What others wait beyond that: for clocks that run at different speeds, and for a frame on its way out of the kernel.
    pub margin: u64,
    /// From the start of one renewal to the next.
    pub renew: u64,
    /// How long an answer of the API is waited for.
    pub answer: u64,
    /// From a failed request to the next of its kind.
    pub retry: u64,
    /// From the start of one write to the next; what happens in between goes into one write.
    pub gap: u64,
    /// From one read to the next while something is waited for.
    pub poll: u64,
    /// The same while nothing is; the shortest of it, see [`Tuning::idle`].
    pub idle: u64,
    /// How long an address is left alone by those who stand by, times their rank.
    pub patience: u64,
    /// Bytes of the claims as text. All annotations of an object together may have 256 KiB.
    pub room: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            duration: 3_000,
            margin: 500,
            renew: 1_000,
            answer: 750,
            retry: 200,
            gap: 50,
            poll: 200,
            idle: 500,
            patience: 1_000,
            room: 240 * 1024,
        }
    }
}

impl Tuning {
    /// How often `leases` Leases are read by each who waits for nothing: every half second in small clusters, and every 15 ms
    /// times the number of Leases in large ones, so that 100 nodes read 67 lists a second, not 200. Never so seldom that a Lease
    /// could come, be used and vanish between two reads.
    pub fn idle(&self, leases: usize) -> u64 {
        let leases = u64::try_from(leases).unwrap_or(u64::MAX);
        leases.saturating_mul(15).min(self.duration / 2).max(self.idle)
    }
}
