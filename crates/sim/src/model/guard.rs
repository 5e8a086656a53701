use super::{Bounds, rule};

/// A rule that the model can be explored without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A copy refuses what comes of an epoch below the highest that it has seen.
    Fence,
    /// A write is acknowledged when all in-sync copies hold it.
    AllInSync,
    /// A write with an idempotency key is executed once.
    Dedupe,
    /// A write without one that may have been executed is not sent again.
    Ambiguous,
    /// Who forwards never says *not sent* of what may have been.
    MaybeSent,
    /// Who relays passes the request on with the flag cleared.
    RelayCleared,
    /// A forward says the epoch of who forwards, which is higher.
    EpochRaised,
    /// Only a replica in sync is promoted.
    InSyncPromoted,
    /// What a copy has accepted is on its disk.
    Synced,
    /// Who is answered out of a newer epoch learns it.
    Learned,
    /// Nobody executes on knowledge that he is told is old.
    Behind,
    /// A primary that finds a tail commits it first. Nobody else will, and nothing is proposed before.
    TailFirst,
}

impl Guard {
    /// The smallest cluster that shows what comes of it when it is missing.
    #[must_use]
    pub const fn bounds(self) -> Bounds {
        const SMALL: Bounds =
            Bounds { epochs: 2, crashes: 0, repeats: 0, attempts: 2, callers: [true, false] };
        match self {
            Self::Fence => Bounds { epochs: 3, crashes: 1, ..SMALL },
            Self::EpochRaised => Bounds { epochs: 3, ..SMALL },
            Self::Synced => Bounds { crashes: 1, ..SMALL },
            Self::Ambiguous | Self::MaybeSent => Bounds { callers: [false, true], ..SMALL },
            _ => SMALL,
        }
    }

    /// What breaks when it is missing, as it is told.
    #[must_use]
    pub const fn breaks(self) -> &'static str {
        match self {
            Self::Fence | Self::AllInSync | Self::InSyncPromoted | Self::Synced => rule::HELD,
            Self::Dedupe | Self::Ambiguous | Self::MaybeSent => rule::TWICE,
            Self::RelayCleared => rule::RELAY,
            Self::EpochRaised => rule::PATH,
            Self::Learned => rule::TAUGHT,
            Self::Behind => rule::OLD,
            Self::TailFirst => rule::FAIR,
        }
    }

    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Fence,
        Self::AllInSync,
        Self::Dedupe,
        Self::Ambiguous,
        Self::MaybeSent,
        Self::RelayCleared,
        Self::EpochRaised,
        Self::InSyncPromoted,
        Self::Synced,
        Self::Learned,
        Self::Behind,
        Self::TailFirst,
    ];
}
