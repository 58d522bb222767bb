//! How many clients the machine allows at once, and which limit decides.

use std::fs;

use serde::Serialize;
use slotway_bench::accounting::{file_limit, open_files};
use slotway_bench::failure::Failure;

use crate::crowd::CLIENTS_PER_ADDRESS;
use crate::options::Count;
use crate::target::Running;

/// Open files of this process that are no clients.
const GENERATOR_FILES: u64 = 200;
/// Files that a proxy may open beside its clients': connections to backends, to be sure.
const PROXY_FILES: u64 = 100;
/// Keys do not fall on the servers quite evenly: of the servers' room, this share counts.
const EVENNESS: f64 = 0.95;
/// Addresses 127.0.0.x that clients come from, at the most.
const ADDRESSES: u64 = 200;

/// What is left of each limit, in clients where it is not said otherwise.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Room {
    /// Files that the generator may open.
    pub(crate) generator_files: u64,
    /// Files that the proxy may open.
    pub(crate) proxy_files: u64,
    /// Connections that the servers take together; `None` where nobody knows them.
    pub(crate) server_clients: Option<u64>,
    /// Ports for connections from the proxy to each of its servers, together.
    pub(crate) ports: Option<u64>,
}

/// What decides how many clients there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limit {
    /// As many as were asked for.
    Asked,
    /// The generator's open files.
    GeneratorFiles,
    /// The proxy's open files.
    ProxyFiles,
    /// What the servers accept.
    ServerClients,
    /// The ports of the proxy's address towards the servers.
    Ports,
    /// The generator's addresses.
    Addresses,
}

impl Limit {
    /// For the report.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Asked => "as asked for",
            Self::GeneratorFiles => "the generator's open files",
            Self::ProxyFiles => "the proxy's open files",
            Self::ServerClients => "what the servers accept",
            Self::Ports => "the local ports towards the servers",
            Self::Addresses => "the generator's addresses",
        }
    }
}

impl Room {
    /// What is left now, of a generator that may open `files`.
    pub(crate) fn of(one: &Running, files: u64) -> Result<Self, Failure> {
        let left = |pid: u32| Ok::<u64, Failure>(file_limit(pid)?.saturating_sub(open_files(pid)?));
        let mut servers = 0;
        for server in &one.servers {
            let accepted = server.info("maxclients")?.saturating_sub(server.info("connected_clients")?);
            servers += accepted.min(left(server.pid)?);
        }
        let known = !one.servers.is_empty();
        Ok(Self {
            generator_files: files,
            proxy_files: left(one.pid)?,
            server_clients: known.then_some((servers as f64 * EVENNESS) as u64),
            ports: known.then(|| (local_ports() as f64 * one.servers.len() as f64 * EVENNESS) as u64),
        })
    }

    /// How many clients there can be of which each needs `sockets` of the proxy, at most `wanted`.
    pub(crate) fn clients(&self, wanted: Count, sockets: u64) -> (u64, Limit) {
        let private = sockets > 1;
        let each = [
            (self.generator_files.saturating_sub(GENERATOR_FILES), Limit::GeneratorFiles),
            (self.proxy_files.saturating_sub(PROXY_FILES) / sockets, Limit::ProxyFiles),
            (self.server_clients.filter(|_| private).unwrap_or(u64::MAX), Limit::ServerClients),
            (self.ports.filter(|_| private).unwrap_or(u64::MAX), Limit::Ports),
            (CLIENTS_PER_ADDRESS as u64 * ADDRESSES, Limit::Addresses),
        ];
        let asked = match wanted {
            Count::Exactly(number) => (number, Limit::Asked),
            Count::Max => (u64::MAX, Limit::Asked),
        };
        each.into_iter().fold(asked, |least, one| if one.0 < least.0 { one } else { least })
    }
}

/// Ports that the kernel gives to outgoing connections of one address to one port.
fn local_ports() -> u64 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    // The kernel's default where it does not say.
    numbers.next().zip(numbers.next()).map_or(28_232, |(first, last)| last.saturating_sub(first) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        generator_files: 20_000,
        proxy_files: 19_980,
        server_clients: Some(50_000),
        ports: Some(80_000),
    };

    #[test]
    fn the_tightest_limit_decides() {
        assert_eq!(ROOM.clients(Count::Exactly(10_000), 1), (10_000, Limit::Asked));
        assert_eq!(ROOM.clients(Count::Max, 1), (19_800, Limit::GeneratorFiles));
        assert_eq!(ROOM.clients(Count::Exactly(10_000), 2), (9940, Limit::ProxyFiles));
        let servers = Room { server_clients: Some(100), ..ROOM };
        assert_eq!(servers.clients(Count::Max, 2), (100, Limit::ServerClients));
        assert_eq!(servers.clients(Count::Max, 1), (19_800, Limit::GeneratorFiles));
        let wide = Room { generator_files: u64::MAX, proxy_files: u64::MAX, ..ROOM };
        assert_eq!(wide.clients(Count::Max, 2), (50_000, Limit::ServerClients));
    }
}
