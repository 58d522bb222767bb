//! The protocol version a connection speaks.

/// RESP2, which every connection begins with, or RESP3, which HELLO 3 turns on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub enum Protocol {
    /// What every server and client speaks.
    #[default]
    Resp2,
    /// Typed maps, sets, doubles, booleans, nulls, and pushes.
    Resp3,
}

impl Protocol {
    /// The number that HELLO knows it by.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}
