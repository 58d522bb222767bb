//! Runs Slotway and its peers side by side: the same backends, the same load, interleaved rounds; prints what
//! each request cost. See `bench/README.md`.

mod options;

mod case;

mod machine;

mod stop;

mod process;

mod ask;

mod backends;

mod contender;
mod peer_files;

mod run;

mod accounting;
mod sample;

mod report;

use std::collections::HashSet;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use slotway_bench::failure::Failure;

use backends::Backends;
use case::{CASES, Case};
use contender::Contender;
use options::Options;
use process::Cores;
use report::Measured;
use run::Bench;

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
    let setting = machine::setting(options);
    say(&machine::line(&setting));
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

fn measure(
    options: &Options,
    cases: &[Case],
    contenders: &[Contender],
    files: u64,
    stop: Arc<AtomicBool>,
    measured: &mut Vec<Measured>,
) -> Result<(), Failure> {
    let dir = ScratchDir::create()?;
    let (proxies, others) =
        if options.pin { (Cores::First, Cores::Others) } else { (Cores::All, Cores::All) };
    let backends = Backends::start(options, &dir.0, others, &stop)?;
    if options.pin {
        process::move_to(others)?;
    }
    let mut bench = Bench {
        options,
        backends: &backends,
        dir: &dir.0,
        cores: proxies,
        files,
        stop,
        filled: HashSet::new(),
    };
    for case in cases {
        let rounds = bench.run(case, contenders, progress)?;
        measured.push(Measured { case: *case, rounds });
    }
    progress("");
    Ok(())
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

/// A directory for configuration and logs, removed at the end.
struct ScratchDir(PathBuf);

impl ScratchDir {
    fn create() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("slotway-versus-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(Failure::io("making a scratch directory"))?;
        Ok(Self(path))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // Left behind at worst.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A line that the next one replaces; only where somebody watches.
fn progress(text: &str) {
    if io::stderr().is_terminal() {
        // Nobody to tell where the terminal is gone.
        let _ = write!(io::stderr(), "\r\x1b[K{text}");
    }
}

/// A line beside the report.
fn say(text: &str) {
    // Nobody to tell where the terminal is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::io("writing the report"))
}
