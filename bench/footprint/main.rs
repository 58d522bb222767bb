//! Measures what a client costs that is idle, subscribed or blocked: bytes of user and of kernel memory, what
//! is left of them when many have gone, and how soon a blocked client's backend connection follows it. See
//! `bench/README.md`.

mod options;

mod case;

mod target;

mod limits;

mod crowd;

mod kernel;
mod memory;

mod cell;
mod storm;

mod leaving;
mod relay;

mod goals;
mod report;

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};
use slotway_bench::backends::Backends;
use slotway_bench::failure::Failure;
use slotway_bench::process::{self, Cores};
use slotway_bench::scratch::ScratchDir;
use slotway_bench::terminal::{print, progress, say};
use slotway_bench::{machine, stop};

use case::CASES;
use goals::Results;
use options::{Options, Part};
use target::{OURS, Stage, Target};

fn main() -> ExitCode {
    match footprint(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("footprint: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn footprint(options: &Options) -> Result<(), Failure> {
    let stop = stop::on_signal()?;
    let files = process::raise_file_limit()?;
    let setting = setting(options, files);
    say(&machine::line(&setting));
    say(&format!("{files} open files a process"));
    let (targets, missing) = Target::choose(options);
    missing.iter().for_each(|line| say(line));
    let dir = ScratchDir::create("footprint")?;
    let server = &options.programs.redis_server;
    let backends = Backends::start(server, options.backend_port, &dir.0, Cores::All, &stop)?;
    let stage = Stage { options, backends: &backends, dir: &dir.0, files, stop };
    let mut results = Results::default();
    let result = measure(&targets, &stage, &mut results);
    progress("");
    // What was measured before a failure still holds.
    print(&report::text(&results))?;
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", report::json(&results, setting));
        fs::write(path, text).map_err(Failure::io(format!("writing {}", path.display())))?;
    }
    result
}

fn measure(targets: &[Target], stage: &Stage<'_>, results: &mut Results) -> Result<(), Failure> {
    let options = stage.options;
    if options.wants(Part::Clients) {
        let cases = if options.cases.is_empty() { CASES.as_slice() } else { &options.cases };
        for target in targets {
            for &case in cases {
                results.cells.extend(cell::measure(target, case, stage)?);
            }
        }
    }
    if let Some(ours) = targets.iter().find(|target| target.name == OURS) {
        if options.wants(Part::Storm) {
            results.storm = Some(storm::measure(ours, options.storm_clients, stage)?);
        }
        if options.wants(Part::Leaving) {
            results.leaving = Some(leaving::measure(options.leaving_clients, stage)?);
        }
    }
    Ok(())
}

/// The machine, the programs' versions, and the options that change figures.
fn setting(options: &Options, files: u64) -> Value {
    let mut setting = machine::setting(&options.programs);
    setting["open_files"] = json!(files);
    setting["threads"] = json!(options.threads);
    setting["settle_seconds"] = json!(options.settle);
    setting["sets"] = json!(options.sets);
    setting
}
