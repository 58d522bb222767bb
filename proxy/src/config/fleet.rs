//! The section `[fleet]`: the balancers that clients come through, the name they are found by, and how much each bears.

use std::net::{IpAddr, SocketAddr};

/// A fleet of proxies behind several balancers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FleetSettings {
    /// The service's name, without a dot at its end: what clients are told to connect to.
    pub name: String,
    /// The port of every entry: clients that are moved keep theirs.
    pub port: u16,
    /// The entries, at least one; their ids differ.
    pub entries: Vec<EntrySettings>,
    /// Up to this much of its cap an entry gets its whole share of new clients, in percent.
    pub low_watermark: u32,
    /// From this much on it gets none, in percent.
    pub high_watermark: u32,
}

/// One balancer's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntrySettings {
    /// What it is called in reports, metrics and files.
    pub id: String,
    /// Where clients connect, at least one.
    pub addresses: Vec<IpAddr>,
    /// A name of its own, for clients that are to be told names.
    pub host: Option<String>,
    /// What it carries each way, in bits a second: as its operator says, never guessed.
    pub cap: u64,
    /// How many connections it carries; as many as come where that is not known.
    pub max_connections: Option<u64>,
    /// Whether it is to be left by everybody.
    pub drain: bool,
    /// Our own addresses that it alone leads to. A connection is also known by what a PROXY header says.
    pub listen: Vec<SocketAddr>,
}
