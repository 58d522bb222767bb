//! What the controller decides: how new clients are to be spread over the entries, and who is to move. Pure.

use super::report::Health;

/// The decision of one step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// When it was made, in milliseconds since 1970.
    pub at: u64,
    /// Why the weights are as they are.
    pub basis: Basis,
    /// Of each entry, in the order of the settings.
    pub entries: Vec<Planned>,
}

/// What is decided of one entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Planned {
    /// Its id.
    pub id: String,
    /// Its share of new clients, 0 to [`MAX_WEIGHT`]. At least one entry has more than 0.
    pub weight: u32,
    /// Bytes a second that it carries in its busier direction, smoothed; of all proxies.
    pub load: u64,
    /// Bytes a second that it can carry.
    pub cap: u64,
    /// Connections through it, of all proxies.
    pub connections: u64,
    /// What the proxies say of it together.
    pub health: Health,
    /// Whether it is to be left by everybody.
    pub drain: bool,
    /// Bytes a second that are to move to other entries; 0 where it is well.
    pub excess: u64,
    /// Bytes a second that it can take from others.
    pub headroom: u64,
}

/// The weight of an entry that has everything to give.
pub const MAX_WEIGHT: u32 = 1_000;

/// What a plan rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Basis {
    /// Nothing is known: all entries alike.
    #[default]
    Nothing,
    /// Fresh reports.
    Reports,
    /// The last plan that had reports, which is not too old.
    LastKnown,
    /// Too little is up to believe it: all entries as if they were.
    FailOpen,
}
