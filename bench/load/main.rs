//! Asks one address for a fixed number of GETs, the same ones for the same seed, and prints how long that took: for
//! whoever measures the target in another way. See `bench/instructions.sh`.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use slotway_bench::failure::Failure;
use slotway_bench::load::generator::{Load, Plan, fill};
use slotway_bench::load::target::Target;
use slotway_bench::load::workload::{Content, Mix, Workload};
use slotway_bench::stop;
use slotway_bench::terminal::{print, say};

/// A fixed number of GETs to one address, every reply compared.
#[derive(Parser, Debug)]
#[command(name = "load", version)]
struct Options {
    /// Who is asked.
    #[arg(value_name = "HOST:PORT")]
    target: SocketAddr,
    /// Store all keys before.
    #[arg(long)]
    fill: bool,
    /// How many GETs; with none, nobody connects but to store keys.
    #[arg(long, default_value_t = 0)]
    requests: u64,
    /// Clients, each with its own connection.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Requests of a batch.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
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
    let target = Target::One(options.target);
    let mix = Mix::GetSet(100);
    let workload = Workload { prefix: "key:", keys: options.keys, content: Content::Value(64), mix };
    if options.fill {
        fill(target.clone(), workload, stop.clone())?;
    }
    if options.requests == 0 {
        return Ok(());
    }
    let plan = Plan { clients: options.clients, pipeline: options.pipeline, workload };
    let outcome = Load::connect(target, plan, stop)?.run(options.requests, options.seed)?;
    print(&format!("{} GETs in {:.3} s\n", options.requests, outcome.elapsed.as_secs_f64()))
}
