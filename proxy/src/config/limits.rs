//! Checked limits of a tenant: of what at most how much, and what happens to what is above it.

use std::fmt;

/// What a tenant can have at most so much of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Limit {
    /// Clients at once.
    Clients,
    /// Clients in a blocking command at once.
    BlockedClients,
    /// Private connections in use at once.
    PrivateConnections,
    /// Requests of one client in flight.
    Pending,
    /// Requests a second.
    RequestsPerSecond,
    /// Request bytes a second.
    BytesInPerSecond,
    /// Reply bytes a second.
    BytesOutPerSecond,
    /// Bytes of requests that are not answered and of replies that are not written.
    BytesInFlight,
    /// Reply bytes of one client that are not written.
    ReplyBuffer,
    /// Bytes of one argument.
    MaxValue,
}

/// What happens to what is above a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Action {
    /// Its client is not read until there is room.
    #[default]
    Delay,
    /// It is answered with an error.
    Refuse,
}

/// A limit that is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// So much there may be.
    pub most: u64,
    /// What happens to what is above it.
    pub action: Action,
}

/// All limits of a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LimitsSettings([Option<Bound>; Limit::ALL.len()]);

impl Limit {
    /// Every one, in the order of the settings.
    pub const ALL: [Self; 10] = [
        Self::Clients,
        Self::BlockedClients,
        Self::PrivateConnections,
        Self::Pending,
        Self::RequestsPerSecond,
        Self::BytesInPerSecond,
        Self::BytesOutPerSecond,
        Self::BytesInFlight,
        Self::ReplyBuffer,
        Self::MaxValue,
    ];

    /// As it is called in settings, metrics and errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::BlockedClients => "blocked_clients",
            Self::PrivateConnections => "private_connections",
            Self::Pending => "pending",
            Self::RequestsPerSecond => "requests_per_second",
            Self::BytesInPerSecond => "bytes_in_per_second",
            Self::BytesOutPerSecond => "bytes_out_per_second",
            Self::BytesInFlight => "bytes_in_flight",
            Self::ReplyBuffer => "reply_buffer",
            Self::MaxValue => "max_value",
        }
    }

    /// Its place in a table of all.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl LimitsSettings {
    /// The limit, where it is set.
    #[must_use]
    pub fn bound(&self, limit: Limit) -> Option<Bound> {
        self.0[limit.index()]
    }

    /// Sets a limit.
    pub fn set(&mut self, limit: Limit, bound: Bound) {
        self.0[limit.index()] = Some(bound);
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// Those that are set, as `slotway check` shows them.
impl fmt::Display for LimitsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Limit::ALL.iter().filter_map(|limit| Some((limit.name(), self.bound(*limit)?.most)));
        for (place, (name, most)) in set.enumerate() {
            write!(f, "{}{name} {most}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
