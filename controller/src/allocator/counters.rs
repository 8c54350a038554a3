//! Numbers of one pool: what it has, what is in use.

use config::{Family, Pool};

use super::pick::PoolSpace;

/// Addresses of one pool by family. A shared address counts once. Totals stop at `i64::MAX`, the most
/// the status field of a pool can show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// IPv4 addresses in use.
    pub assigned_v4: u64,
    /// IPv6 addresses in use.
    pub assigned_v6: u64,
    /// IPv4 addresses the pool can give, avoided ones left out.
    pub total_v4: u64,
    /// IPv6 addresses the pool can give.
    pub total_v6: u64,
}

impl Counters {
    /// The numbers of a pool; those of its definition are computed once per configuration.
    pub(super) fn totals(pool: &Pool) -> Self {
        Self { total_v4: pool.capacity(Family::V4), total_v6: pool.capacity(Family::V6), ..Self::default() }
    }

    pub(super) fn with_usage(self, space: &PoolSpace) -> Self {
        Self { assigned_v4: space.used(Family::V4), assigned_v6: space.used(Family::V6), ..self }
    }

    /// IPv4 addresses left.
    pub fn available_v4(&self) -> u64 {
        self.total_v4.saturating_sub(self.assigned_v4)
    }

    /// IPv6 addresses left.
    pub fn available_v6(&self) -> u64 {
        self.total_v6.saturating_sub(self.assigned_v6)
    }

    /// Addresses of both families in use.
    pub fn assigned(&self) -> u64 {
        self.assigned_v4.saturating_add(self.assigned_v6)
    }

    /// Addresses of both families.
    pub fn total(&self) -> u64 {
        self.total_v4.saturating_add(self.total_v6).min(i64::MAX.unsigned_abs())
    }
}
