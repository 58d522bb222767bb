//! Asks one address for GETs, the same ones for the same seed, and prints how long that took: for whoever measures the
//! target in another way (`bench/instructions.sh`), or needs several that ask at the same time (`isolation`).

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use serde_json::json;
use slotway_bench::backends::direct;
use slotway_bench::failure::Failure;
use slotway_bench::load::generator::{Load, Outcome, Plan, fill};
use slotway_bench::load::target::Target;
use slotway_bench::load::workload::{Content, Mix, Workload};
use slotway_bench::process::pause_until;
use slotway_bench::stop;
use slotway_bench::terminal::{print, say};

/// GETs, and SETs where wanted, to one address, every reply compared.
#[derive(Parser, Debug)]
#[command(name = "load", version)]
struct Options {
    /// Who is asked; several are the nodes of a cluster as the benches make it, in its order.
    #[arg(value_name = "HOST:PORT", required = true)]
    targets: Vec<SocketAddr>,
    /// Store all keys before.
    #[arg(long)]
    fill: bool,
    /// How many requests; with none, and no --seconds, nobody connects but to store keys.
    #[arg(long, default_value_t = 0)]
    requests: u64,
    /// As many requests as there is time for, instead.
    #[arg(long, conflicts_with = "requests")]
    seconds: Option<f64>,
    /// When to begin, in milliseconds since 1970, for several that shall begin together; at once otherwise.
    #[arg(long, value_name = "MILLISECONDS")]
    begin: Option<u64>,
    /// Seconds before those that count.
    #[arg(long, default_value_t = 0.0)]
    warm_up: f64,
    /// Of a hundred requests so many are GETs, the others SETs.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    gets: u8,
    /// Bytes of a value.
    #[arg(long, default_value_t = 64)]
    value: usize,
    /// What keys begin with.
    #[arg(long, default_value = "key:")]
    prefix: String,
    /// Whom to log in as, with the password `secret`.
    #[arg(long)]
    user: Option<String>,
    /// Print a JSON object with latencies in microseconds.
    #[arg(long)]
    json: bool,
    /// Clients, each with its own connection.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Requests of a batch.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// Microseconds that a client waits between a batch's last reply and its next batch.
    #[arg(long, default_value_t = 0)]
    pause: u64,
    /// Which keys in which order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many keys there are.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
}

fn main() -> ExitCode {
    match ask(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("load: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn ask(options: &Options) -> Result<(), Failure> {
    let stop = stop::on_signal()?;
    // They live as long as the program.
    let (prefix, user) = (&*options.prefix.clone().leak(), options.user.clone().map(|user| &*user.leak()));
    let mix = Mix::GetSet(options.gets);
    let workload = Workload { prefix, keys: options.keys, content: Content::Value(options.value), mix };
    let target = match options.targets[..] {
        [only] => Target::One(only),
        _ => direct(options.targets.clone(), &workload),
    };
    if options.fill {
        fill(target.clone(), workload, user, stop.clone())?;
    }
    if options.requests == 0 && options.seconds.is_none() {
        return Ok(());
    }
    let plan = Plan {
        clients: options.clients,
        pipeline: options.pipeline,
        user,
        pause: Duration::from_micros(options.pause),
        workload,
    };
    let mut load = Load::connect(target, plan, stop.clone())?;
    if let Some(begin) = options.begin {
        pause_until(UNIX_EPOCH + Duration::from_millis(begin), &stop)?;
    }
    if options.warm_up > 0.0 {
        load.run_for(Duration::from_secs_f64(options.warm_up), !options.seed)?;
    }
    let outcome = match options.seconds {
        Some(seconds) => load.run_for(Duration::from_secs_f64(seconds), options.seed)?,
        None => load.run(options.requests, options.seed)?,
    };
    print(&told(options, &outcome))
}

fn told(options: &Options, outcome: &Outcome) -> String {
    let (requests, seconds) = (outcome.latencies.total(), outcome.elapsed.as_secs_f64());
    if !options.json {
        return format!("{requests} requests in {seconds:.3} s\n");
    }
    let micros = |share| outcome.latencies.quantile(share).as_secs_f64() * 1e6;
    let (p50, p99, p999) = (micros(0.5), micros(0.99), micros(0.999));
    format!("{}\n", json!({ "requests": requests, "seconds": seconds, "p50": p50, "p99": p99, "p999": p999 }))
}
