//! ◆ The `slotway` binary: read the command line, make settings of it, log, serve.

mod cli;
mod dev;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fmt};

use tracing_subscriber::EnvFilter;

use cli::{Command, EXIT_USAGE, LOG_VARIABLE, RunFlags};
use slotway::command::promise::page;
use slotway::command::table::Table;
use slotway::config::error::ConfigErrors;
use slotway::config::settings::{LogFormat, LogSettings, Settings};
use slotway::config::written::Written;

/// Gives memory back after a storm of clients, and can say how much is in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::parse(env::args_os()) {
        Ok(Command::Run(flags)) => run(&flags),
        Ok(Command::Check { file }) => check(&file),
        Ok(Command::Commands) => commands(),
        Ok(Command::Dev(flags)) => dev::run(&flags),
        Err(code) => code,
    }
}

fn run(flags: &RunFlags) -> ExitCode {
    let settings = match flags.settings(env::var(LOG_VARIABLE).ok().as_deref()) {
        Ok(settings) => settings,
        Err(errors) => return refuse(&errors),
    };
    log_to_stderr(&settings.log);
    match serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal ends it gracefully.
fn serve(settings: Settings) -> io::Result<()> {
    slotway::server::run(settings)
}

fn check(file: &Path) -> ExitCode {
    let mut written = Written::default();
    written.read_file(file);
    match written.check() {
        Ok(settings) => {
            say(io::stdout(), format_args!("ok\n{settings}"));
            ExitCode::SUCCESS
        }
        Err(errors) => refuse(&errors),
    }
}

fn commands() -> ExitCode {
    say(io::stdout(), format_args!("{}", page(&Table::builtin()).trim_end()));
    ExitCode::SUCCESS
}

/// Tells every mistake, before any port is bound.
fn refuse(errors: &ConfigErrors) -> ExitCode {
    say(io::stderr(), format_args!("{errors}"));
    ExitCode::from(EXIT_USAGE)
}

/// Writes a line to a person. One who has gone away is no reason to fail.
fn say(mut to: impl Write, line: fmt::Arguments<'_>) {
    let _ = writeln!(to, "{line}");
}

fn log_to_stderr(settings: &LogSettings) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&settings.filter))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match settings.format {
        LogFormat::Text => log.init(),
        LogFormat::Journal => log.without_time().init(),
    }
}
