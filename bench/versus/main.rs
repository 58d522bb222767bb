//! Runs Slotway and its peers side by side: the same backends, the same load, interleaved rounds; prints what
//! each request cost. See `bench/README.md`.

mod options;

mod case;

mod contender;

mod prepare;

mod run;

mod sample;

mod report;

use std::collections::HashSet;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use serde_json::{Value, json};
use slotway_bench::backends::Backends;
use slotway_bench::failure::Failure;
use slotway_bench::process::{self, Cores};
use slotway_bench::programs::{STACK_REMEDY, find, missing};
use slotway_bench::scratch::ScratchDir;
use slotway_bench::terminal::{print, progress, say};
use slotway_bench::{machine, stop};

use case::{CASES, Case, Needs};
use contender::Contender;
use options::Options;
use report::Measured;
use run::{Bench, Rounds};

/// Exit code of a wrong command line.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let options = Options::parse();
    let cases = match chosen_cases(&options) {
        Ok(cases) => cases,
        Err(message) => {
            say(&message);
            return ExitCode::from(USAGE);
        }
    };
    match compare(&options, &cases) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("versus: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options, cases: &[Case]) -> Result<(), Failure> {
    let stop = stop::on_signal()?;
    let files = process::raise_file_limit()?;
    let setting = setting(options);
    let pinned = if options.pin { ", pinned" } else { "" };
    say(&format!("{}; {} rounds{pinned}", machine::line(&setting), options.rounds));
    say(&format!("{files} open files a process"));
    let (contenders, missing) = Contender::choose(options);
    missing.iter().for_each(|line| say(line));
    if contenders.is_empty() {
        return Err(Failure::Unexpected("nothing to measure".to_owned()));
    }
    let mut measured = Vec::new();
    let result = measure(options, cases, &contenders, files, stop, &mut measured);
    // What was measured before a failure still holds.
    print(&report::text(&measured))?;
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", report::json(&measured, setting));
        fs::write(path, text).map_err(Failure::io(format!("writing {}", path.display())))?;
    }
    result
}

/// The machine, the programs' versions, and the options that change figures.
fn setting(options: &Options) -> Value {
    let mut setting = machine::setting(&options.programs);
    setting["rounds"] = json!(options.rounds);
    setting["requests"] = json!(options.requests);
    setting["idle_clients"] = json!(options.idle_clients);
    setting["pin"] = json!(options.pin);
    setting
}

fn measure(
    options: &Options,
    cases: &[Case],
    contenders: &[Contender],
    files: u64,
    stop: Arc<AtomicBool>,
    measured: &mut Vec<Measured>,
) -> Result<(), Failure> {
    let dir = ScratchDir::create("versus")?;
    let (proxies, others) =
        if options.pin { (Cores::First, Cores::Others) } else { (Cores::All, Cores::All) };
    let backends =
        Backends::start(&options.programs.redis_server, options.backend_port, &dir.0, others, &stop)?;
    if options.pin {
        process::move_to(others)?;
    }
    let mut bench = Bench {
        options,
        backends: &backends,
        dir: &dir.0,
        cores: proxies,
        servers_cores: others,
        files,
        stop,
        filled: HashSet::new(),
    };
    for case in cases {
        let rounds = match case.needs {
            Needs::Search => search(&bench, case, contenders)?,
            Needs::Nothing | Needs::Script => Some(bench.run(case, contenders, progress)?),
        };
        measured.extend(rounds.map(|rounds| Measured { case: *case, rounds }));
    }
    progress("");
    Ok(())
}

/// Runs `case` before a cluster that can search, which is there only meanwhile; `None` where no server can.
fn search(bench: &Bench<'_>, case: &Case, contenders: &[Contender]) -> Result<Option<Vec<Rounds>>, Failure> {
    let program = bench.options.programs.stack_server();
    let Some(program) = find(&program) else {
        say(&missing(case.name, &program, STACK_REMEDY));
        return Ok(None);
    };
    let first_port = bench.options.backend_port;
    let backends = Backends::start_search(&program, first_port, bench.dir, bench.servers_cores, &bench.stop)?;
    let mut bench =
        Bench { backends: &backends, stop: Arc::clone(&bench.stop), filled: HashSet::new(), ..*bench };
    bench.run(case, contenders, progress).map(Some)
}

/// The cases asked for, or what is wrong with the command line.
fn chosen_cases(options: &Options) -> Result<Vec<Case>, String> {
    if let Some(name) = Contender::misnamed(options) {
        return Err(format!("no target {name}"));
    }
    if options.cases.is_empty() {
        return Ok(CASES.to_vec());
    }
    let find = |name: &String| {
        let known = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
        CASES
            .iter()
            .find(|case| case.name == name)
            .copied()
            .ok_or_else(|| format!("no case {name}: {}", known()))
    };
    options.cases.iter().map(find).collect()
}
