//! The command line: what `slotway` can be told, and how flags become settings.
//!
//! Values of flags are kept as texts and read by the rows that read the file's keys, so that a wrong flag is
//! reported together with everything else that is wrong.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use slotway::config::error::ConfigErrors;
use slotway::config::reading::Reading;
use slotway::config::settings::Settings;
use slotway::config::written::Written;
use slotway::server::Takeover;

/// Exit status of a start that was asked for wrongly (`EX_USAGE` of sysexits.h).
pub(crate) const EXIT_USAGE: u8 = 64;

/// The environment variable that sets the log filter: over the file, under the flag.
pub(crate) const LOG_VARIABLE: &str = "SLOTWAY_LOG";

const ABOUT: &str =
    "A multi-tenant RESP proxy: one big Redis in front of sharded Redis, Valkey or Tair clusters";

const EXAMPLES: &str = "\
Examples:
  slotway --cluster redis://10.0.0.1:7000 --listen 0.0.0.0:6379
  slotway --config slotway.toml --threads 2
  slotway check slotway.toml
  slotway check --live slotway.toml
  slotway tenants plan slotway.toml | redis-cli -h 10.0.0.1
  slotway dev

Durations are whole numbers with ms, s, m, h or d; sizes with B, KiB, MiB or GiB.
Exit status: 0 after a graceful end, 64 when flags or the file are wrong, 1 when it cannot serve,
or when a check of the servers found something wrong.";

/// The whole command line.
#[derive(Parser, Debug)]
#[command(name = "slotway", version, about = ABOUT, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunFlags,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve clients (what happens without a subcommand)
    Run(Box<RunFlags>),
    /// Read a settings file and say what it means, or everything that is wrong with it
    Check {
        /// The file
        file: PathBuf,
        /// Ask every node that the file names, too: whether it can be reached, what it is, and whether each tenant's
        /// backend user may do there what `slotway tenants plan` says and nothing else. Exit status 1 where not
        #[arg(long)]
        live: bool,
    },
    /// Ask a running proxy's admin port whether it lives; exit status 0 if so, else 1
    Health(HealthFlags),
    /// What concerns tenants
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// Print how each command is routed and what is promised of it, as a table in Markdown
    Commands,
    /// Start a cluster of throw-away nodes and the proxy in front of it, to try things out
    Dev(DevFlags),
}

/// What concerns tenants.
#[derive(Subcommand, Debug)]
pub(crate) enum TenantsCommand {
    /// Print the ACL lines that make the tenants' backend users, to be applied on every node, replicas too
    Plan {
        /// The settings file
        file: PathBuf,
        /// Of the tenants of this cluster only
        #[arg(long, value_name = "NAME")]
        cluster: Option<String>,
    },
}

/// Flags of `slotway run`. Each overrides its key of the file.
#[derive(Args, Debug, Default)]
pub(crate) struct RunFlags {
    /// Settings file (TOML); deploy/slotway.example.toml documents every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A node of the Redis or Valkey Cluster to serve, as redis://[[user]:password@]host[:port];
    /// repeat it for more seeds
    #[arg(long, value_name = "URL", conflicts_with_all = ["standalone", "shard"])]
    cluster: Vec<String>,
    /// The one server to serve
    #[arg(long, value_name = "URL", conflicts_with = "shard")]
    standalone: Option<String>,
    /// A standalone server that takes its even share of the slots; repeat it, always in the same order
    #[arg(long, value_name = "URL")]
    shard: Vec<String>,
    /// Log in to backends as this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Log in to backends with the password in the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "password_env")]
    password_file: Option<String>,
    /// Log in to backends with the password in this environment variable
    #[arg(long, value_name = "VARIABLE")]
    password_env: Option<String>,
    /// Where clients connect [default: 127.0.0.1:6379]; repeat it for more addresses
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Where /metrics, /health and /ready are served [default: off]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Worker threads [default: the number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Most clients at once [default: 10000]
    #[arg(long, value_name = "N")]
    max_clients: Option<String>,
    /// How long a command may take [default: 5s]
    #[arg(long, value_name = "DURATION")]
    command_timeout: Option<String>,
    /// How long a graceful end waits for what is in flight [default: 10s]
    #[arg(long, value_name = "DURATION")]
    grace_period: Option<String>,
    /// Replace the process that runs with the same `takeover` setting: take its listening sockets and, once this one
    /// could serve, have it end. No connection is refused. Where this one fails, that one goes on
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    takeover: Option<When>,
    /// Log level (off, error, warn, info, debug, trace), or a list such as info,slotway::cluster=debug
    /// [default: info; environment: SLOTWAY_LOG]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Set any key of the file, as in clients.idle_timeout=1h; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Flags of `slotway health`.
#[derive(Args, Debug)]
pub(crate) struct HealthFlags {
    /// The proxy's admin address
    #[arg(long, value_name = "ADDR", required_unless_present = "config")]
    pub(crate) admin: Option<SocketAddr>,
    /// Its settings file, which says where its admin port is
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    pub(crate) config: Option<PathBuf>,
    /// Ask whether clients should be sent to it: /ready instead of /health
    #[arg(long)]
    pub(crate) ready: bool,
}

/// When another process is replaced.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum When {
    /// There must be one
    Always,
    /// If there is one
    IfRunning,
}

/// Flags of `slotway dev`.
#[derive(Args, Debug)]
pub(crate) struct DevFlags {
    /// Where clients connect [default: 127.0.0.1:6379 if that is free, else a free port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Primaries of the cluster
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u16).range(1..=32))]
    pub(crate) nodes: u16,
    /// Replicas of each primary
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(0..=4))]
    pub(crate) replicas: u16,
    /// Where /metrics, /health and /ready are served [default: off]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// Worker threads [default: the number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Log level (off, error, warn, info, debug, trace) [default: warn; environment: SLOTWAY_LOG]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

/// Reads the command line; where it is wrong, or asks for help or the version, that is printed and what is
/// left to do is to exit with the status returned.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, ExitCode> {
    read(arguments).map_err(|error| {
        // Nobody is left to tell when the terminal is gone.
        let _ = error.print();
        exit_code(&error)
    })
}

fn read(arguments: impl Iterator<Item = OsString>) -> Result<Command, clap::Error> {
    let line = CommandLine::try_parse_from(arguments)?;
    Ok(line.command.unwrap_or_else(|| Command::Run(Box::new(line.run))))
}

/// Help and the version come as errors too, those that go to stdout.
fn exit_code(error: &clap::Error) -> ExitCode {
    if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
}

impl RunFlags {
    /// Whether another process is replaced.
    pub(crate) fn takeover(&self) -> Takeover {
        match self.takeover {
            None => Takeover::Off,
            Some(When::Always) => Takeover::Always,
            Some(When::IfRunning) => Takeover::IfRunning,
        }
    }

    /// The settings that the file, the environment (`log` is [`LOG_VARIABLE`]) and the flags give together.
    pub(crate) fn read(&self, log: Option<&str>) -> Reading {
        let mut written = Written::default();
        if let Some(path) = &self.config {
            written.read_file(path);
        }
        set_one(&mut written, LOG_VARIABLE, "log.filter", log);
        self.set_backend(&mut written);
        set_list(&mut written, "--listen", "listen", &self.listen);
        set_one(&mut written, "--admin", "admin", self.admin.as_deref());
        if let Some(threads) = &self.threads {
            written.set_any("--threads", "threads", threads);
        }
        if let Some(max_clients) = &self.max_clients {
            written.set_any("--max-clients", "clients.max_clients", max_clients);
        }
        set_one(
            &mut written,
            "--command-timeout",
            "cluster.command_timeout",
            self.command_timeout.as_deref(),
        );
        set_one(&mut written, "--grace-period", "grace_period", self.grace_period.as_deref());
        set_one(&mut written, "--log", "log.filter", self.log.as_deref());
        for set in &self.sets {
            let (key, value) = set.split_once('=').unwrap_or((set, ""));
            written.set_any("--set", key.trim(), value.trim());
        }
        written.read()
    }

    /// A backend in flags replaces the file's, a login in flags (or in their URLs) replaces the file's.
    fn set_backend(&self, written: &mut Written) {
        let standalone = self.standalone.as_deref();
        let urls = || self.cluster.iter().chain(&self.shard).map(String::as_str).chain(standalone);
        let login = [&self.user, &self.password_file, &self.password_env];
        if login.iter().any(|flag| flag.is_some()) || urls().any(|url| url.contains('@')) {
            written.forget_login();
        }
        if urls().next().is_some() {
            written.forget_backend();
        }
        set_list(written, "--cluster", "cluster.seeds", &self.cluster);
        set_one(written, "--standalone", "cluster.standalone", standalone);
        set_list(written, "--shard", "cluster.shards", &self.shard);
        set_one(written, "--user", "cluster.user", self.user.as_deref());
        set_one(written, "--password-file", "cluster.password_file", self.password_file.as_deref());
        set_one(written, "--password-env", "cluster.password_env", self.password_env.as_deref());
    }
}

impl DevFlags {
    /// The settings of a proxy that listens at `listen` and `admin` (the flags' addresses, ports chosen) in
    /// front of the cluster that `seeds` belong to.
    pub(crate) fn settings(
        &self,
        listen: &str,
        admin: Option<&str>,
        seeds: &[String],
        log: Option<&str>,
    ) -> Result<Settings, ConfigErrors> {
        let mut written = Written::default();
        // The live line shows what goes on; a log of every event would bury it.
        written.set_text("--log", "log.filter", "warn");
        set_one(&mut written, LOG_VARIABLE, "log.filter", log);
        set_one(&mut written, "--log", "log.filter", self.log.as_deref());
        written.set_texts("--cluster", "cluster.seeds", seeds);
        written.set_texts("--listen", "listen", &[listen.to_owned()]);
        set_one(&mut written, "--admin", "admin", admin);
        if let Some(threads) = &self.threads {
            written.set_any("--threads", "threads", threads);
        }
        written.check()
    }
}

fn set_one(written: &mut Written, flag: &str, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        written.set_text(flag, key, value);
    }
}

fn set_list(written: &mut Written, flag: &str, key: &str, values: &[String]) {
    if !values.is_empty() {
        written.set_texts(flag, key, values);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use slotway::config::settings::BackendKind;

    use super::*;

    fn run(line: &str) -> Box<RunFlags> {
        let arguments = line.split_whitespace().map(OsString::from);
        match parse(std::iter::once("slotway".into()).chain(arguments)) {
            Ok(Command::Run(flags)) => flags,
            other => panic!("{other:?}"),
        }
    }

    fn settings(line: &str) -> Settings {
        run(line).read(None).settings.unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn with_file(text: &str, check: impl Fn(&str)) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("slotway-cli-{}-{number}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        check(path.to_str().unwrap());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn no_file_is_needed() {
        for line in ["", "run "] {
            let settings =
                settings(&format!("{line} --cluster redis://h:7000 --listen 0.0.0.0:1 --threads 1"));
            assert_eq!((settings.listen[0].port(), settings.threads), (1, 1));
            assert!(matches!(settings.clusters[0].backend, BackendKind::Cluster { .. }));
        }
    }

    #[test]
    fn flags_that_make_sense_twice_are_repeatable() {
        let settings =
            settings("--shard redis://a --shard redis://b --listen 127.0.0.1:1 --listen 127.0.0.1:2");
        let BackendKind::Shards { endpoints, .. } = &settings.clusters[0].backend else { panic!("shards") };
        assert_eq!((endpoints.len(), settings.listen.len()), (2, 2));
    }

    #[test]
    fn neither_a_file_nor_a_backend_says_what_to_give() {
        let said = run("").read(None).settings.unwrap_err().to_string();
        for part in ["--cluster redis://HOST:PORT", "--standalone", "--shard", "--config FILE", "slotway dev"]
        {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn a_backend_in_flags_replaces_the_files_with_its_login() {
        with_file("cluster = { shards = ['redis://a'], password = 'x', databases = 3 }", |file| {
            let settings = settings(&format!("--config {file} --cluster redis://u:y@b"));
            assert!(matches!(settings.clusters[0].backend, BackendKind::Cluster { .. }));
            assert_eq!(settings.clusters[0].password.clone().unwrap().reveal(), "y");
        });
        with_file("cluster = { standalone = 'redis://u:x@a' }", |file| {
            let settings = settings(&format!("--config {file} --password-env CARGO_PKG_NAME"));
            assert_eq!(
                (settings.clusters[0].user.clone(), settings.clusters[0].password.clone().unwrap().reveal()),
                (None, "slotway")
            );
        });
        with_file("cluster = { standalone = 'redis://a', user = 'u', password = 'x' }", |file| {
            let settings = settings(&format!("--config {file} --standalone redis://b"));
            assert_eq!(settings.clusters[0].password.clone().unwrap().reveal(), "x");
        });
    }

    #[test]
    fn the_log_filter_is_the_flags_then_the_environments_then_the_files() {
        with_file("cluster.seeds = ['redis://a']\nlog.filter = 'error'", |file| {
            let filter = |line: &str, log| run(line).read(log).settings.unwrap().log.filter;
            let line = format!("--config {file}");
            assert_eq!(filter(&line, None), "error");
            assert_eq!(filter(&line, Some("debug")), "debug");
            assert_eq!(filter(&format!("{line} --log trace"), Some("debug")), "trace");
        });
    }

    #[test]
    fn any_key_can_be_set() {
        let line = "--cluster redis://a --set clients.idle_timeout=1h --set clients.max_args=100";
        let settings = settings(line);
        assert_eq!(settings.clients.idle_timeout.unwrap().as_secs(), 3_600);
        assert_eq!(settings.clients.max_args, 100);
    }

    #[test]
    fn mistakes_of_file_and_flags_are_told_together() {
        with_file("threads = 0\nclients = { backlock = 1 }", |file| {
            let line = format!("--config {file} --cluster h:1 --listen here --grace-period 5 --set x");
            let errors = run(&line).read(Some("loud")).settings.unwrap_err();
            assert_eq!(errors.0.len(), 7, "{errors}");
        });
    }

    #[test]
    fn what_is_no_command_line_exits_with_usage() {
        for line in
            ["--no-such", "check", "dev --nodes 0", "--cluster a --standalone b", "check f --threads 2"]
        {
            let arguments = line.split_whitespace().map(OsString::from);
            let error = read(std::iter::once("slotway".into()).chain(arguments)).unwrap_err();
            assert_eq!(exit_code(&error), ExitCode::from(EXIT_USAGE), "{line}");
        }
        for flag in ["--version", "--help"] {
            let asked = read(["slotway", flag].into_iter().map(OsString::from)).unwrap_err();
            assert_eq!(exit_code(&asked), ExitCode::SUCCESS);
        }
    }

    #[test]
    fn dev_needs_nothing_and_takes_its_flags() {
        let arguments = ["slotway", "dev", "--nodes", "5", "--threads", "2", "--admin", "127.0.0.1:0"];
        let Ok(Command::Dev(flags)) = parse(arguments.into_iter().map(OsString::from)) else { panic!("dev") };
        assert_eq!((flags.nodes, flags.replicas), (5, 0));
        let settings = flags
            .settings("127.0.0.1:1", flags.admin.as_deref(), &["redis://127.0.0.1:2".to_owned()], None)
            .unwrap();
        assert_eq!((settings.threads, settings.log.filter.as_str()), (2, "warn"));
        assert!(settings.admin.is_some());
    }
}
