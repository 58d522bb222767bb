//! A noisy neighbour: what a tenant's small requests wait for while another one's pipelines of large values keep a
//! proxy's thread busy, and what the other one loses by that. See `bench/README.md`.

mod options;

mod contender;

mod round;

mod report;

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use slotway_bench::backends::Backends;
use slotway_bench::failure::Failure;
use slotway_bench::process::{self, Cores};
use slotway_bench::scratch::ScratchDir;
use slotway_bench::terminal::{print, progress, say};
use slotway_bench::{machine, stop};

use contender::Contender;
use options::Options;
use report::Measured;
use round::Round;

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("isolation: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Failure> {
    let stop = stop::on_signal()?;
    process::raise_file_limit()?;
    let setting = machine::setting(&options.programs);
    say(&format!("{}; {} rounds", machine::line(&setting), options.rounds));
    let (contenders, missing) = Contender::choose(options);
    missing.iter().for_each(|line| say(line));
    if options.real_time {
        round::run_in_real_time(&stop)?;
    }
    let dir = ScratchDir::create("isolation")?;
    let backends = Backends::start(&options.programs.redis_server, None, &dir.0, Cores::Others, &stop)?;
    process::move_to(Cores::Others)?;
    let mut running = Vec::new();
    for contender in &contenders {
        running.push(contender.start(options, &backends, &dir.0, &stop)?);
    }
    let mut measured: Vec<_> = contenders.iter().map(|contender| Measured::new(contender.name())).collect();
    for number in 0..options.rounds {
        // Nobody is always behind the same one.
        for turn in 0..running.len() {
            let index = (turn + number as usize) % running.len();
            progress(&format!("round {}/{}, {}", number + 1, options.rounds, measured[index].name));
            let place = format!("round {}, {}", number + 1, measured[index].name);
            let round =
                Round::take(options, &running[index], &dir.0, number, &stop).map_err(Failure::at(&place))?;
            measured[index].rounds.push(round);
        }
    }
    progress("");
    print(&report::text(options, &measured))?;
    if let Some(path) = &options.json {
        let all = json!({ "machine": setting, "options": options.shown(), "measured": measured });
        fs::write(path, format!("{all:#}\n")).map_err(Failure::io(format!("writing {}", path.display())))?;
    }
    Ok(())
}
