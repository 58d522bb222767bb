//! ◆ The `slotway` binary: read the command line, make settings of it, log, serve.

mod cli;
mod dev;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fmt};

use tracing_subscriber::EnvFilter;

use cli::{Command, EXIT_USAGE, HealthFlags, LOG_VARIABLE, RunFlags, TenantsCommand};
use slotway::admin::ask;
use slotway::command::promise::page;
use slotway::command::table::Table;
use slotway::config::error::ConfigErrors;
use slotway::config::settings::{LogFormat, LogSettings, Settings};
use slotway::config::tenants::TenantSettings;
use slotway::config::written::Written;
use slotway::live::survey;
use slotway::reload::origin::Origin;
use slotway::server::Start;
use slotway::tenant::rights::Rights;

/// Gives memory back after a storm of clients, and can say how much is in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::parse(env::args_os()) {
        Ok(Command::Run(flags)) => run(flags),
        Ok(Command::Check { file, live }) => check(&file, live),
        Ok(Command::Health(flags)) => health(&flags),
        Ok(Command::Tenants(TenantsCommand::Plan { file, cluster })) => plan(&file, cluster.as_deref()),
        Ok(Command::Commands) => commands(),
        Ok(Command::Dev(flags)) => dev::run(&flags),
        Err(code) => code,
    }
}

fn run(flags: Box<RunFlags>) -> ExitCode {
    let takeover = flags.takeover();
    let mut origin = Origin::new(move || flags.read(env::var(LOG_VARIABLE).ok().as_deref()));
    let settings = match origin.begin().settings {
        Ok(settings) => settings,
        Err(errors) => return refuse(&errors),
    };
    origin.set_filter_log(log_to_stderr(&settings.log));
    match slotway::server::run(settings, Start { origin: Some(origin), takeover }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &Path, live: bool) -> ExitCode {
    let settings = match read(file) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    if !live {
        say(io::stdout(), format_args!("ok\n{settings}"));
        return ExitCode::SUCCESS;
    }
    match survey::run(&settings) {
        Ok(report) => {
            report.lines.iter().for_each(|line| say(io::stdout(), format_args!("{line}")));
            match report.problems {
                0 => say(io::stdout(), format_args!("ok")),
                1 => say(io::stdout(), format_args!("1 problem")),
                problems => say(io::stdout(), format_args!("{problems} problems")),
            }
            if report.problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(io::stderr(), format_args!("cannot ask: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn health(flags: &HealthFlags) -> ExitCode {
    let admin = match (flags.admin, &flags.config) {
        (Some(admin), _) => Some(admin),
        (None, Some(file)) => match read(file) {
            Ok(settings) => settings.admin,
            Err(code) => return code,
        },
        (None, None) => None,
    };
    let Some(admin) = admin else {
        say(io::stderr(), format_args!("admin is off: there is nobody to ask"));
        return ExitCode::from(EXIT_USAGE);
    };
    match ask::page(admin, if flags.ready { "/ready" } else { "/health" }) {
        Ok((status, page)) => {
            say(io::stdout(), format_args!("{}", page.trim_end()));
            if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(io::stderr(), format_args!("{admin} does not answer: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Only the lines go to standard output: they are to be piped on.
fn plan(file: &Path, cluster: Option<&str>) -> ExitCode {
    let settings = match read(file) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let clusters: Vec<&str> = settings.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    if let Some(name) = cluster.filter(|name| !clusters.contains(name)) {
        let known = clusters.join(", ");
        say(io::stderr(), format_args!("--cluster is {name:?}, must be one of: {known}"));
        return ExitCode::from(EXIT_USAGE);
    }
    if cluster.is_none() && clusters.len() > 1 {
        say(io::stderr(), format_args!("the lines are of several clusters: --cluster NAME shows one's"));
    }
    let table = Table::builtin();
    let is_wanted = |tenant: &&TenantSettings| cluster.is_none_or(|name| tenant.cluster == name);
    for tenant in settings.tenants.iter().filter(is_wanted) {
        match &tenant.backend {
            Some(user) => say(io::stdout(), format_args!("{}", Rights::of(tenant, &table).line(user))),
            None if tenant.namespace.is_some() => {
                let without = "has a namespace and no backend user: its scripts and functions are refused";
                say(io::stderr(), format_args!("tenant {} {without}", tenant.name));
            }
            None => {}
        }
    }
    let keep =
        "apply the lines on every node, replicas too; ACL SAVE or CONFIG REWRITE keeps them over a restart";
    say(io::stderr(), format_args!("{keep}"));
    ExitCode::SUCCESS
}

fn read(file: &Path) -> Result<Settings, ExitCode> {
    let mut written = Written::default();
    written.read_file(file);
    written.check().map_err(|errors| refuse(&errors))
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

/// Begins to log; gives what changes the filter.
fn log_to_stderr(settings: &LogSettings) -> Box<dyn Fn(&str) + Send + Sync> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&settings.filter))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match settings.format {
        LogFormat::Text => {
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            // An error would say that nobody logs any more.
            Box::new(move |filter| drop(handle.reload(EnvFilter::new(filter))))
        }
        LogFormat::Journal => {
            let log = log.without_time().with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Box::new(move |filter| drop(handle.reload(EnvFilter::new(filter))))
        }
    }
}
