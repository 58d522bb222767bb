//! One real server process, of Redis, Valkey or a package that carries one, in a directory of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::dir::Dir;
use crate::poll::eventually;
use crate::ports::Port;
use crate::process::Process;
use crate::raw::Raw;
use crate::value::Value;

/// How long a server may take to answer its first PING: it loads nothing, but the machine may be busy.
const START: Duration = Duration::from_secs(20);

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `redis-server`
    Redis,
    /// `valkey-server`
    Valkey,
    /// Redis 7.4 with the modules search, JSON, Bloom and TimeSeries.
    Stack,
    /// Redis 8.2: vector sets, HGETEX, HSETEX.
    Redis8,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Redis, Self::Valkey, Self::Stack, Self::Redis8];

    /// What tests run against when they do not care: `SLOTWAY_TEST_SERVER` (`redis`, `valkey`, `stack`, `redis8`),
    /// else Redis, else Valkey.
    #[must_use]
    pub fn usual() -> Self {
        match env::var("SLOTWAY_TEST_SERVER").as_deref() {
            Ok("valkey") => Self::Valkey,
            Ok("redis") => Self::Redis,
            Ok("stack") => Self::Stack,
            Ok("redis8") => Self::Redis8,
            _ if Self::Redis.binary().is_ok() => Self::Redis,
            _ => Self::Valkey,
        }
    }

    /// Where its binary is: named by `SLOTWAY_REDIS_SERVER`, `SLOTWAY_VALKEY_SERVER` and so on, as `tests/run.sh`
    /// sets them. Without that Redis and Valkey are looked for on the PATH, the others where the script puts them.
    ///
    /// # Errors
    /// Why there is none: for a person who reads why a test was skipped.
    pub fn binary(self) -> Result<PathBuf, String> {
        let (name, variable) = match self {
            Self::Redis => ("redis-server", "SLOTWAY_REDIS_SERVER"),
            Self::Valkey => ("valkey-server", "SLOTWAY_VALKEY_SERVER"),
            Self::Stack => ("stack/redis-stack-server", "SLOTWAY_STACK_SERVER"),
            Self::Redis8 => ("redis8/redis-server", "SLOTWAY_REDIS8_SERVER"),
        };
        if let Some(named) = env::var_os(variable).map(PathBuf::from) {
            let absent = || format!("{variable} names {}, which is no file", named.display());
            return named.is_file().then(|| named.clone()).ok_or_else(absent);
        }
        if matches!(self, Self::Stack | Self::Redis8) {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv").join(name);
            let absent = || format!("no {variable}, and no {}", file.display());
            return file.canonicalize().ok().filter(|file| file.is_file()).ok_or_else(absent);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
        found.ok_or_else(|| format!("no {name} on the PATH and no {variable}"))
    }

    /// The file of a module of [`Self::Stack`], such as `redisbloom`, to be loaded by hand.
    ///
    /// # Errors
    /// Where there is none.
    pub fn module(name: &str) -> Result<PathBuf, String> {
        let file = Self::Stack.binary()?.with_file_name("modules").join(format!("{name}.so"));
        file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Whether it was built with TLS; a word where it was not. Looks by starting one that has TLS to speak, and no
    /// certificate for it.
    ///
    /// # Panics
    /// Where there is no binary.
    #[must_use]
    #[allow(clippy::print_stdout, reason = "a test says what it skips")]
    pub fn has_tls(self) -> bool {
        let (binary, port) = (self.binary().unwrap_or_else(|reason| panic!("{reason}")), Port::lease());
        let mut command = Command::new(&binary);
        command.args(["--port", "0", "--save", "", "--tls-port", &port.number().to_string()]);
        let said = command.current_dir(env::temp_dir()).output().expect("it runs");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let has = !said.contains("TLS support") && said.contains("TLS");
        if !has {
            println!("skipped: {} was built without TLS", binary.display());
        }
        has
    }

    /// Whether there is one. Where there is none the test is to be skipped, which this says; where
    /// `SLOTWAY_NO_SKIP` is set, as `tests/run.sh` does, it fails.
    ///
    /// # Panics
    /// As said.
    #[track_caller]
    #[must_use]
    #[allow(clippy::print_stdout, reason = "a test says what it skips")]
    pub fn is_installed(self) -> bool {
        let Err(reason) = self.binary() else { return true };
        assert!(env::var_os("SLOTWAY_NO_SKIP").is_none(), "{reason}");
        println!("skipped: {reason}; tests/run.sh installs it");
        false
    }
}

/// A server that listens on loopback; killed on drop.
#[derive(Debug)]
pub struct Server {
    process: Process,
    binary: PathBuf,
    config: Vec<String>,
    port: Port,
    dir: Dir,
}

impl Server {
    /// Starts the usual server with its defaults, persistence off.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Kind::usual(), &[])
    }

    /// Starts `kind` with more settings, each a name and its value.
    ///
    /// # Panics
    /// Where it cannot be started: call [`Kind::binary`] first where absence is no failure.
    #[track_caller]
    #[must_use]
    pub fn with(kind: Kind, settings: &[(&str, &str)]) -> Self {
        let server = Self::launch(kind, settings);
        server.wait_until_it_answers();
        server
    }

    /// As [`Self::with`], not waiting for its first answer: to start several at once.
    ///
    /// # Panics
    /// Where there is no binary.
    #[track_caller]
    #[must_use]
    pub fn launch(kind: Kind, settings: &[(&str, &str)]) -> Self {
        let binary = kind.binary().unwrap_or_else(|reason| panic!("{reason}"));
        let (port, dir) = (Port::lease(), Dir::new("server"));
        let listen = port.number().to_string();
        let folder = dir.path().display().to_string();
        let fixed = [
            ("port", listen.as_str()),
            ("bind", "127.0.0.1"),
            ("dir", folder.as_str()),
            ("save", ""),
            ("appendonly", "no"),
            ("enable-debug-command", "yes"),
            ("repl-diskless-sync-delay", "0"),
            // CLUSTER SLOTS leaves out a replica that nothing was sent to yet: by default for ten seconds.
            ("repl-ping-replica-period", "1"),
        ];
        let settings = fixed.iter().chain(settings);
        let config: Vec<String> =
            settings.flat_map(|&(name, value)| [format!("--{name}"), value.to_owned()]).collect();
        let process = Process::start(Command::new(&binary).args(&config), &dir.path().join("log"));
        Self { process, binary, config, port, dir }
    }

    /// Waits for the first PONG.
    #[track_caller]
    pub fn wait_until_it_answers(&self) {
        let what = format!("an answer from {}:\n{}", self.addr(), self.process.log_tail());
        eventually(&what, START, || {
            let mut client = Raw::try_connect(&self.addr()).ok()?;
            let pong = client.try_call(&["PING"]).ok()?;
            // One that wants a password answers too.
            (pong == Value::Simple(b"PONG".to_vec()) || pong.error().starts_with("NOAUTH")).then_some(())
        });
    }

    /// `127.0.0.1:port`
    #[must_use]
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A new connection to it.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> Raw {
        Raw::connect(&self.addr())
    }

    /// A field of INFO.
    #[track_caller]
    #[must_use]
    pub fn info(&self, field: &str) -> Option<String> {
        let text = self.client().cmd("INFO everything").text();
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(name, value)| (name == field).then(|| value.trim().to_owned()))
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again where it was, with what it had on disk.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.kill();
        let log = self.dir.path().join("log");
        self.process = Process::start(Command::new(&self.binary).args(&self.config), &log);
        self.wait_until_it_answers();
    }

    /// Freezes it: its connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }
}
