//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use slotway_bench::peer::Peer;
use slotway_bench::programs::Programs;

use crate::case::Case;

/// Bytes that an idle, a subscribed and a blocked client cost, with a small and a large table of private
/// connections; what is left after a storm of them; how soon a client that leaves takes its backend connection
/// along.
#[derive(Parser, Debug)]
#[command(name = "footprint", version)]
pub(crate) struct Options {
    /// Measure only this (repeatable).
    #[arg(long = "part", value_name = "PART")]
    pub(crate) parts: Vec<Part>,
    /// Only these kinds of clients (repeatable).
    #[arg(long = "case", value_name = "CASE")]
    pub(crate) cases: Vec<Case>,
    /// How many clients: a number, or max for as many as the machine's descriptors allow (repeatable).
    #[arg(long = "clients", value_name = "N", default_values = ["1000", "10000", "max"])]
    pub(crate) counts: Vec<Count>,
    /// Buckets of a blocked client's table of private connections (repeatable); 16 is how Slotway is made.
    #[arg(long = "table", value_name = "BUCKETS", default_values_t = [16, 16384])]
    pub(crate) tables: Vec<u32>,
    /// Worker threads of Slotway.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Clients that connect, block and leave, in waves where the limits do not allow all at once.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) storm_clients: u64,
    /// Blocked clients that leave one after the other.
    #[arg(long, value_name = "N", default_value_t = 3000)]
    pub(crate) leaving_clients: usize,
    /// Seconds between the last client's coming and the reading of memory.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub(crate) settle: u64,
    /// A further setting of Slotway, as its flag of this name takes it (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Another proxy or server that is already running (repeatable).
    #[arg(long = "peer", value_name = "NAME=HOST:PORT:PID", value_parser = Peer::parse)]
    pub(crate) peers: Vec<Peer>,
    /// Measure neither twemproxy nor Envoy.
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// First of six successive ports for the backends, so that a peer can be told of them beforehand: three
    /// nodes of the cluster, then three standalone servers. Free ports by default.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=55_000))]
    pub(crate) backend_port: Option<u16>,
    /// Also write everything as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The programs that are started.
    #[command(flatten)]
    pub(crate) programs: Programs,
}

/// The parts of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Part {
    /// Bytes a client.
    Clients,
    /// Memory after many came and went.
    Storm,
    /// From a client's close to its backend connection's.
    Leaving,
}

/// How many clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Count {
    /// So many, or as many as the limits allow.
    Exactly(u64),
    /// As many as the limits allow.
    Max,
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            digits => match digits.parse() {
                Ok(0) | Err(_) => Err("expected a positive number or max".to_owned()),
                Ok(number) => Ok(Self::Exactly(number)),
            },
        }
    }
}

impl Options {
    /// Whether `part` was asked for.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}
