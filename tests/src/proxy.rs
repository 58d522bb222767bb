//! The proxy's real process, driven from outside.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::thread::panicking;
use std::time::Duration;

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::dir::Dir;
use crate::poll::eventually;
use crate::ports::Port;
use crate::process::Process;
use crate::raw::Raw;
use crate::value::Value;

/// How long it may take to serve its first PING and, later, to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running proxy. On drop it is asked to end, and has to with exit code 0.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    /// Taken by a test that ends the process itself.
    ended: bool,
    port: Port,
    dir: Dir,
}

/// The settings file in the proxy's directory.
const CONFIG: &str = "slotway.toml";

fn listen_line(port: u16) -> String {
    format!("listen = [\"127.0.0.1:{port}\"]\n")
}

/// How a proxy is to be started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    args: Vec<String>,
    config: Option<String>,
    /// Serve without waiting for the backends.
    eager: bool,
    /// The file says where clients connect, so that it can be changed.
    listens_by_file: bool,
}

impl Options {
    /// In front of these cluster seeds, each `redis://host:port`.
    #[must_use]
    pub fn cluster<U: AsRef<str>>(seeds: &[U]) -> Self {
        let options = Self::default();
        seeds.iter().fold(options, |options, seed| options.flag("--cluster", seed.as_ref()))
    }

    /// In front of one server.
    #[must_use]
    pub fn standalone(url: &str) -> Self {
        Self::default().flag("--standalone", url)
    }

    /// In front of standalone servers that share the slots.
    #[must_use]
    pub fn shards<U: AsRef<str>>(urls: &[U]) -> Self {
        let options = Self::default();
        urls.iter().fold(options, |options, url| options.flag("--shard", url.as_ref()))
    }

    /// More keys of the file, each `key=value`.
    #[must_use]
    pub fn set(self, pairs: &[&str]) -> Self {
        pairs.iter().fold(self, |options, pair| options.flag("--set", pair))
    }

    /// One more flag and its value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.args.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// With this settings file; flags win over it.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// The file and no flag says where clients connect; [`Proxy::rewrite`] says so too.
    #[must_use]
    pub fn listen_by_file(mut self) -> Self {
        self.listens_by_file = true;
        self
    }

    /// Do not wait until a PING of a key's owner is answered: the backends are down, or are fakes that
    /// count what they are sent.
    #[must_use]
    pub fn eager(mut self) -> Self {
        self.eager = true;
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// Where it ends instead, or does not listen in time; its log is shown.
    #[track_caller]
    #[must_use]
    pub fn start(mut self) -> Proxy {
        let (port, dir) = (Port::lease(), Dir::new("proxy"));
        if let Some(config) = &self.config {
            let listen = if self.listens_by_file { listen_line(port.number()) } else { String::new() };
            let file = dir.path().join(CONFIG);
            fs::write(&file, listen + config).expect("a writable directory");
            self.args.extend(["--config".to_owned(), file.display().to_string()]);
        }
        if !self.args.iter().any(|arg| arg == "--threads") {
            // Two, so that what clients of different workers share is tested too.
            self.args.extend(["--threads".to_owned(), "2".to_owned()]);
        }
        if !self.listens_by_file {
            self.args.extend(["--listen".to_owned(), format!("127.0.0.1:{}", port.number())]);
        }
        let mut command = Command::new(binary());
        command.args(&self.args).env("RUST_BACKTRACE", "1");
        let process = Process::start(&mut command, &dir.path().join("log"));
        let mut proxy = Proxy { process, ended: false, port, dir };
        proxy.wait_until_it_serves(self.eager);
        proxy
    }
}

impl Proxy {
    /// In front of `cluster`, with two worker threads.
    #[track_caller]
    #[must_use]
    pub fn over(cluster: &Cluster) -> Self {
        Options::cluster(&cluster.urls()).start()
    }

    /// `127.0.0.1:port`
    #[must_use]
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// A new connection to it.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> Raw {
        Raw::connect(&self.addr())
    }

    /// The process: its memory, its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What INFO says of `name`: a counter or a gauge of the proxy's own.
    ///
    /// # Panics
    /// Where there is no such row.
    #[track_caller]
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.client().cmd("INFO slotway").text();
        let mut rows = text.lines().filter_map(|line| line.trim().split_once(':'));
        let found = rows.find_map(|(row, value)| (row == name).then(|| value.parse().ok())?);
        found.unwrap_or_else(|| panic!("no number {name} in {text}"))
    }

    /// A directory of its own, where the settings file is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Puts another settings file in the place of the one that it was started with. The proxy sees that by itself, or
    /// is told with [`Self::hang_up`].
    ///
    /// # Panics
    /// Where the directory can't be written.
    #[track_caller]
    pub fn rewrite(&self, toml: &str) {
        self.dir.put(CONFIG, toml);
    }

    /// The line that says where its clients connect, for [`Options::listen_by_file`].
    #[must_use]
    pub fn listen_line(&self) -> String {
        listen_line(self.port.number())
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Sends SIGTERM; the test sees what happens with [`Self::wait`].
    pub fn ask_to_end(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it does not end in time.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let ended = self.process.wait(within);
        self.ended = true;
        ended.unwrap_or_else(|| panic!("the proxy did not end:\n{}", self.process.log_tail()))
    }

    /// Ends it as drop does.
    pub fn end(self) {
        drop(self);
    }

    fn wait_until_it_serves(&mut self, eager: bool) {
        let addr = self.addr();
        // DBSIZE needs every shard, so its answer says that the topology is known.
        let question = if eager { "PING" } else { "DBSIZE" };
        let mut last = String::from("nothing");
        let process = &mut self.process;
        let served = crate::poll::try_eventually(PATIENCE, || {
            if let Some(status) = process.ended() {
                return Some(Err(status));
            }
            let mut client = Raw::try_connect(&addr).ok()?;
            let reply = client.try_call(&[question]).ok()?;
            last = format!("{reply:?}");
            let serves = !reply.is_error() || reply.error().starts_with("NOAUTH");
            serves.then_some(Ok(()))
        });
        if !matches!(served, Some(Ok(()))) {
            self.ended = true;
            panic!("the proxy does not serve ({served:?}, last reply {last}):\n{}", self.process.log_tail());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if panicking() {
            eprintln!("the proxy's log ends with:\n{}", self.process.log_tail());
            return;
        }
        if self.ended {
            return;
        }
        if let Some(status) = self.process.ended() {
            panic!("the proxy ended by itself: {status}\n{}", self.process.log_tail());
        }
        // Not SIGTERM: no balancer has to see it first.
        self.process.signal(Signal::INT);
        let status = self.process.wait(PATIENCE);
        let log = self.process.log_tail();
        assert!(status.is_some_and(|status| status.success()), "the proxy's end: {status:?}\n{log}");
    }
}

/// Runs a subcommand that reads a settings file, the last argument, until it ends.
///
/// # Panics
/// Where it can't be run.
#[must_use]
pub fn run_with_file(arguments: &[&str], config: &str) -> Output {
    let dir = Dir::new("slotway");
    let file = dir.path().join("slotway.toml");
    fs::write(&file, config).expect("a writable directory");
    Command::new(binary()).args(arguments).arg(&file).output().expect("the binary runs")
}

/// The ACL lines that `slotway tenants plan` prints for these tenants.
///
/// # Panics
/// Where it prints none.
#[must_use]
pub fn plan(tenants: &str) -> Vec<String> {
    let config = format!("cluster.standalone = \"redis://nowhere\"\n{tenants}");
    let output = run_with_file(&["tenants", "plan"], &config);
    let lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    assert!(output.status.success() && !lines.is_empty(), "{output:?}");
    lines
}

/// The proxy's binary: `SLOTWAY_BIN`, or the one that cargo built beside this test.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(named) = env::var_os("SLOTWAY_BIN") {
        return named.into();
    }
    let test = env::current_exe().expect("a running test");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/test");
    let binary = profile.join("slotway");
    assert!(binary.is_file(), "no {}: run `cargo build -p slotway` first", binary.display());
    binary
}

/// Waits until `client` gets a good answer to `line`; gives that answer.
///
/// # Panics
/// Where it does not in time; says the last answer.
#[track_caller]
pub fn answered(client: &mut Raw, line: &str, within: Duration) -> Value {
    eventually(&format!("a good answer to {line}"), within, || {
        let reply = client.cmd(line);
        (!reply.is_error()).then_some(reply)
    })
}
