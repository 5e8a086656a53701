use std::fmt;

/// Version of a group, minted by the authority alone. It never falls, and [`Epoch::ZERO`] means nothing is known.
///
/// The high 16 bits are the authority's incarnation, raised by hand after a restore from a backup; the
/// low 48 are its log position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// Nothing is known.
    pub const ZERO: Self = Self(0);

    /// An epoch from its number, as it travels.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The epoch as a number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The authority's incarnation: the high 16 bits.
    #[must_use]
    pub const fn incarnation(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The authority's log position: the low 48 bits.
    #[must_use]
    pub const fn position(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }

    /// Whether anything is known at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({})", self.0)
    }
}
