//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Slotway beside its peers: throughput, latency, CPU and memory in interleaved rounds.
#[derive(Parser, Debug)]
#[command(name = "versus", version)]
pub(crate) struct Options {
    /// Run only these cases (repeatable): p1-c50, p1-c1000, p16-c50, mget10, value16k, idle.
    #[arg(long = "case", value_name = "NAME")]
    pub(crate) cases: Vec<String>,
    /// Run only these targets (repeatable): slotway, slotway-shards, twemproxy, envoy, direct, or a peer's
    /// name. All that are found by default.
    #[arg(long = "target", value_name = "NAME")]
    pub(crate) targets: Vec<String>,
    /// Rounds of each case; figures are medians over them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,
    /// Requests of each target and round; by default each case has its own number.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1000..))]
    pub(crate) requests: Option<u64>,
    /// Idle connections of the memory case.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) idle_clients: usize,
    /// Keep the proxies on core 0, generator and backends on the other cores.
    #[arg(long)]
    pub(crate) pin: bool,
    /// Ask with redis-benchmark too, where a case has only what it can ask (GET).
    #[arg(long)]
    pub(crate) second_generator: bool,
    /// Also write the report as JSON, with every round.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Another proxy that is already running and serves the same keys (repeatable).
    #[arg(long = "peer", value_name = "NAME=HOST:PORT:PID", value_parser = parse_peer)]
    pub(crate) peers: Vec<Peer>,
    /// First of six successive ports for the backends, so that a peer can be told of them beforehand: three
    /// nodes of the cluster, then three standalone servers. Free ports by default.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=55_000))]
    pub(crate) backend_port: Option<u16>,
    /// The slotway binary; by default the one built beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) slotway: Option<PathBuf>,
    /// The envoy binary.
    #[arg(long, value_name = "FILE", default_value = "envoy")]
    pub(crate) envoy: PathBuf,
    /// The twemproxy binary.
    #[arg(long, value_name = "FILE", default_value = "nutcracker")]
    pub(crate) nutcracker: PathBuf,
    /// The server that the backends run.
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    pub(crate) redis_server: PathBuf,
}

/// A proxy started by somebody else.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// What the report calls it.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process, for the accounting.
    pub(crate) pid: u32,
}

fn parse_peer(text: &str) -> Result<Peer, String> {
    let parts = text.split_once('=').and_then(|(name, rest)| Some((name, rest.rsplit_once(':')?)));
    let Some((name, (address, pid))) = parts else {
        return Err("expected NAME=HOST:PORT:PID".to_owned());
    };
    Ok(Peer {
        name: name.to_owned(),
        address: address
            .replace("localhost", "127.0.0.1")
            .parse()
            .map_err(|error| format!("{address}: {error}"))?,
        pid: pid.parse().map_err(|error| format!("{pid}: {error}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_an_address_and_a_process() {
        let peer = parse_peer("predixy=127.0.0.1:7617:4711").unwrap();
        assert_eq!((peer.name.as_str(), peer.address.port(), peer.pid), ("predixy", 7617, 4711));
        for wrong in ["predixy", "predixy=127.0.0.1", "predixy=127.0.0.1:7617:", "x=nowhere:1:1"] {
            assert!(parse_peer(wrong).is_err(), "{wrong}");
        }
    }
}
