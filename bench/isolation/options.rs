//! The command line.

use std::path::PathBuf;

use clap::Parser;
use serde_json::{Value, json};
use slotway_bench::programs::Programs;

/// The latency of a tenant A beside a tenant B whose pipelines of large values keep the proxy's one thread busy.
#[derive(Parser, Debug)]
#[command(name = "isolation", version)]
pub(crate) struct Options {
    /// Run only these (repeatable): slotway, one-tenant, twemproxy, envoy. All that are found by default.
    #[arg(long = "target", value_name = "NAME")]
    pub(crate) targets: Vec<String>,
    /// Rounds: in each A alone, B alone, both.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,
    /// How long each of the three is measured.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// A's clients, each with one request under way.
    #[arg(long, default_value_t = 8)]
    pub(crate) quiet_clients: usize,
    /// Microseconds that each of them waits between a reply and its next request.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) pause: u64,
    /// B's clients.
    #[arg(long, default_value_t = 4)]
    pub(crate) noisy_clients: usize,
    /// B's pipeline.
    #[arg(long, default_value_t = 64)]
    pub(crate) pipeline: usize,
    /// Bytes of B's values.
    #[arg(long, default_value_t = 16 * 1024)]
    pub(crate) value: usize,
    /// Of a hundred requests of B so many are GETs, the others SETs.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) gets: u8,
    /// Weights of A and B in Slotway.
    #[arg(long, value_names = ["A", "B"], num_args = 2, default_values_t = [100, 100])]
    pub(crate) weights: Vec<u16>,
    /// Run everything in real time (chrt, as root): for a machine that has other things to do.
    #[arg(long)]
    pub(crate) real_time: bool,
    /// Also write every round as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The programs that are started.
    #[command(flatten)]
    pub(crate) programs: Programs,
}

impl Options {
    /// What changes figures.
    pub(crate) fn shown(&self) -> Value {
        json!({
            "rounds": self.rounds,
            "seconds": self.seconds,
            "quiet_clients": self.quiet_clients,
            "pause": self.pause,
            "noisy_clients": self.noisy_clients,
            "pipeline": self.pipeline,
            "value": self.value,
            "gets": self.gets,
            "weights": self.weights,
            "real_time": self.real_time,
        })
    }
}
