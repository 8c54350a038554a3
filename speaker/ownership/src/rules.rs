//! The rules that safety rests on. In tests one of them can be broken, to show that the proofs notice.

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rule {
    /// Only a read that began after the claim was stored can grant it.
    ReadAfterWrite,
    /// A permit runs from before its renewal was sent, not from when the answer came.
    PermitFromStart,
    /// A renewal was seen when the answer that showed it came, not when the read was sent.
    SeenAtAnswer,
    /// Whether a Lease is expired is judged by when the read was sent, not by when its answer came.
    ExpiryAtStart,
    /// Others' Leases are waited for longer than our own lasts.
    Margin,
    /// A renewal that succeeds too late does not save what lapsed before.
    LapseIsFinal,
    /// A claim is taken out of the Lease only when the address is surely answered no more.
    SilenceFirst,
    /// A permit is not renewed while an address that lapsed may still be answered under it.
    LapsedAreSilent,
    /// A Lease that vanished may have claimed anything.
    Ghosts,
    /// Whoever finds its own Lease gone stops.
    OwnLeaseGone,
    /// Whoever has not looked for long enough does not know what there was.
    Rest,
    /// The Lease that another life of this node wrote is waited for.
    OtherLife,
}

/// All rules hold, except in tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rules {
    #[cfg(test)]
    pub(crate) broken: Option<Rule>,
}

impl Rules {
    #[cfg(not(test))]
    pub(crate) fn hold(self, _rule: Rule) -> bool {
        true
    }

    #[cfg(test)]
    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
