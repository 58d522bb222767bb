//! The command line.

use std::path::PathBuf;

use clap::Parser;
use slotway_bench::peer::Peer;
use slotway_bench::programs::Programs;

/// Slotway beside its peers: throughput, latency, CPU and memory in interleaved rounds.
#[derive(Parser, Debug)]
#[command(name = "versus", version)]
pub(crate) struct Options {
    /// Run only these cases (repeatable): p1-c50, p1-c1000, p16-c50, mget10, value16k, evalsha, sunion-slot,
    /// sunion-cross, knn, idle.
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
    #[arg(long = "peer", value_name = "NAME=HOST:PORT:PID", value_parser = Peer::parse)]
    pub(crate) peers: Vec<Peer>,
    /// First of nine successive ports for the backends, so that a peer can be told of them beforehand: three
    /// nodes of the cluster, three standalone servers, and while the case knn runs three nodes of a cluster that
    /// can search. Free ports by default.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=55_000))]
    pub(crate) backend_port: Option<u16>,
    /// The programs that are started.
    #[command(flatten)]
    pub(crate) programs: Programs,
}
