//! What the controller decides: how new clients are to be spread over the entries, and who is to move. Pure.

use super::report::Health;

/// The decision of one step.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// When it was made, in milliseconds since 1970.
    pub at: u64,
    /// When there were reports last, in milliseconds since 1970.
    pub reported_at: u64,
    /// Why the weights are as they are.
    pub basis: Basis,
    /// Who reported, in order.
    pub proxies: Vec<String>,
    /// Of each entry, in the order of the settings.
    pub entries: Vec<Planned>,
}

/// What is decided of one entry.
#[derive(Clone, PartialEq, Debug, Default)]
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
    /// The part of its new clients that go elsewhere, 0 to 1, because it is near its cap.
    pub shed: f64,
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
    /// Nothing is known: all entries by their caps.
    #[default]
    Nothing,
    /// Fresh reports.
    Reports,
    /// The last plan that had reports, which is not too old.
    LastKnown,
    /// Fresh reports say that too little is up to be believed: all entries as if they were.
    FailOpen,
}

impl Plan {
    /// What is decided of the entry of this id.
    #[must_use]
    pub fn entry(&self, id: &str) -> Option<&Planned> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// The highest weight; 0 only where there is no entry.
    #[must_use]
    pub fn highest_weight(&self) -> u32 {
        self.entries.iter().map(|entry| entry.weight).max().unwrap_or_default()
    }
}

impl Basis {
    /// As metrics and pages say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Reports => "reports",
            Self::LastKnown => "last_known",
            Self::FailOpen => "fail_open",
        }
    }
}
