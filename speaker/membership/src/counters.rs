//! Counts of datagrams, for whoever exports them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::Dropped;
use crate::seal::NotOpened;

/// What is counted. All but the first two of each direction are reasons why a datagram was dropped on receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Datagrams that the kernel took.
    Sent,
    /// Datagrams that it did not take.
    Unsent,
    /// Datagrams received, whatever became of them.
    Received,
    /// Errors of the socket on receipt.
    ReceiveFailed,
    /// See [`NotOpened::TooShort`].
    TooShort,
    /// See [`NotOpened::TooLong`].
    TooLong,
    /// See [`NotOpened::Version`].
    UnknownVersion,
    /// See [`NotOpened::Forged`].
    Forged,
    /// See [`Dropped::Malformed`].
    Malformed,
    /// See [`Dropped::Ourselves`].
    Ourselves,
    /// See [`Dropped::Stranger`].
    Stranger,
    /// See [`Dropped::WrongAddress`].
    WrongAddress,
    /// See [`Dropped::WrongReceiver`].
    WrongReceiver,
    /// See [`Dropped::WrongSender`].
    WrongSender,
    /// See [`Dropped::Replayed`].
    Replayed,
    /// See [`Dropped::Unasked`].
    Unasked,
}

impl Counted {
    /// Everything that is counted.
    pub const ALL: [Self; 16] = [
        Self::Sent,
        Self::Unsent,
        Self::Received,
        Self::ReceiveFailed,
        Self::TooShort,
        Self::TooLong,
        Self::UnknownVersion,
        Self::Forged,
        Self::Malformed,
        Self::Ourselves,
        Self::Stranger,
        Self::WrongAddress,
        Self::WrongReceiver,
        Self::WrongSender,
        Self::Replayed,
        Self::Unasked,
    ];

    /// The name for a label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Unsent => "unsent",
            Self::Received => "received",
            Self::ReceiveFailed => "receive_failed",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::UnknownVersion => "unknown_version",
            Self::Forged => "forged",
            Self::Malformed => "malformed",
            Self::Ourselves => "ourselves",
            Self::Stranger => "stranger",
            Self::WrongAddress => "wrong_address",
            Self::WrongReceiver => "wrong_receiver",
            Self::WrongSender => "wrong_sender",
            Self::Replayed => "replayed",
            Self::Unasked => "unasked",
        }
    }
}

impl From<NotOpened> for Counted {
    fn from(reason: NotOpened) -> Self {
        match reason {
            NotOpened::TooShort => Self::TooShort,
            NotOpened::TooLong => Self::TooLong,
            NotOpened::Version => Self::UnknownVersion,
            NotOpened::Forged => Self::Forged,
        }
    }
}

impl From<Dropped> for Counted {
    fn from(reason: Dropped) -> Self {
        match reason {
            Dropped::Malformed => Self::Malformed,
            Dropped::Ourselves => Self::Ourselves,
            Dropped::Stranger => Self::Stranger,
            Dropped::WrongAddress => Self::WrongAddress,
            Dropped::WrongReceiver => Self::WrongReceiver,
            Dropped::WrongSender => Self::WrongSender,
            Dropped::Replayed => Self::Replayed,
            Dropped::Unasked => Self::Unasked,
        }
    }
}

/// The counts since the start. They only grow; any thread may read them at any time.
#[derive(Debug, Default)]
pub struct Counters {
    cells: [AtomicU64; Counted::ALL.len()],
}

impl Counters {
    /// One more.
    pub(crate) fn count(&self, counted: Counted) {
        self.cells[counted as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self, counted: Counted) -> u64 {
        self.cells[counted as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everything_has_a_cell_and_a_label_of_its_own() {
        for (index, counted) in Counted::ALL.into_iter().enumerate() {
            assert_eq!(counted as usize, index);
        }
        assert_eq!(Counted::ALL.map(Counted::label).into_iter().collect::<BTreeSet<_>>().len(), Counted::ALL.len());
    }
}
