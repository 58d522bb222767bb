//! What one proxy tells the others about the entries: once a second, through the backing cluster. Pure.

/// One proxy's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Who says so; new with each process.
    pub proxy: String,
    /// When, in milliseconds since 1970, by the proxy's clock.
    pub at: u64,
    /// Whether this proxy is about to end: what comes through it will not for long.
    pub drains: bool,
    /// Of each entry, by its id.
    pub entries: Vec<(String, Load)>,
}

/// What comes to one proxy through one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Bytes a second from clients, over some seconds.
    pub received: u64,
    /// Bytes a second to clients.
    pub sent: u64,
    /// Connections now.
    pub connections: u64,
    /// Connections accepted in the last second.
    pub accepted: u64,
    /// Whether the proxy reaches a proxy through the entry.
    pub health: Health,
}

/// Whether an entry works, as far as one proxy or all of them know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// It was not tried yet, or nobody says so.
    #[default]
    Unknown,
    /// It leads to a proxy.
    Up,
    /// It does not.
    Down,
}
