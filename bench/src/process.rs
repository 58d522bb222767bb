//! Processes that a run starts: each has a log and ends with its guard. Also what they need of the system:
//! free ports, many files, a core of their own. ◆

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "I/O: starts processes, probes ports, waits for both"
)]

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::failure::Failure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Open files wanted: three connections for each of 10,000 direct clients, and more.
const FILES: u64 = 65_536;
/// End of a log that an error quotes.
const QUOTED_LOG: usize = 600;

/// A running process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Which cores a process may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cores {
    /// All.
    All,
    /// Only the first.
    First,
    /// All but the first.
    Others,
}

impl Process {
    /// Starts `command`, its output going to a log in `dir`.
    pub fn start(name: &str, mut command: Command, dir: &Path, cores: Cores) -> Result<Self, Failure> {
        let log = dir.join(format!("{name}.log"));
        let doing = || format!("starting {name} ({})", command_name(&command));
        let file = File::create(&log).map_err(Failure::io(doing()))?;
        let copy = file.try_clone().map_err(Failure::io(doing()))?;
        let failed = Failure::io(doing());
        command.stdin(Stdio::null()).stdout(file).stderr(copy).current_dir(dir);
        let child = on_cores(cores, || command.spawn())?.map_err(failed)?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks `ready` again and again until it says yes; an error where the process ends before or `timeout`
    /// passes.
    pub fn wait_ready(
        &mut self,
        timeout: Duration,
        stop: &AtomicBool,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), Failure> {
        let end = Instant::now() + timeout;
        while !ready() {
            if let Some(status) = self.try_wait()? {
                return Err(self.failed(&format!("ended at once ({status})")));
            }
            if Instant::now() > end {
                return Err(self.failed("did not become ready"));
            }
            pause(Duration::from_millis(20), stop)?;
        }
        Ok(())
    }

    /// Waits for its end and gives what it printed.
    pub fn finish(mut self, stop: &AtomicBool) -> Result<String, Failure> {
        let status = loop {
            match self.try_wait()? {
                Some(status) => break status,
                None => pause(Duration::from_millis(20), stop)?,
            }
        };
        if !status.success() {
            return Err(self.failed(&format!("ended with {status}")));
        }
        fs::read_to_string(&self.log).map_err(Failure::io("reading a log"))
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().map_err(Failure::io("waiting for a process"))
    }

    fn failed(&self, what: &str) -> Failure {
        let log = fs::read(&self.log).unwrap_or_default();
        let end = log.get(log.len().saturating_sub(QUOTED_LOG)..).unwrap_or_default();
        let log = String::from_utf8_lossy(end).into_owned();
        Failure::Process { name: self.name.clone(), what: what.to_owned(), log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either may fail only because the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits, but not through Ctrl-C.
pub fn pause(duration: Duration, stop: &AtomicBool) -> Result<(), Failure> {
    let end = Instant::now() + duration;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// Waits until then, but not through Ctrl-C.
pub fn pause_until(then: SystemTime, stop: &AtomicBool) -> Result<(), Failure> {
    pause(then.duration_since(SystemTime::now()).unwrap_or_default(), stop)
}

/// A port nobody listens on, below those that the kernel gives to outgoing connections.
pub fn free_port() -> Result<u16, Failure> {
    (0..200)
        .map(|_| fastrand::u16(12_000..32_000))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .ok_or_else(|| Failure::Unexpected("no free port between 12000 and 32000".to_owned()))
}

/// Lets this process and its children open as many files as the load needs, as far as the system allows.
pub fn raise_file_limit() -> Result<u64, Failure> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(FILES), maximum: Some(FILES.max(most)) };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(FILES);
    }
    // Without the privilege to raise the hard limit, up to it.
    let raised = Rlimit { current: Some(FILES.min(most)), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| Failure::Io {
        doing: "raising the limit of open files".to_owned(),
        source: error.into(),
    })?;
    Ok(FILES.min(most))
}

/// Runs `f` with this thread on `cores`, then moves it back; a process started by it stays there.
pub fn on_cores<R>(cores: Cores, f: impl FnOnce() -> R) -> Result<R, Failure> {
    if cores == Cores::All {
        return Ok(f());
    }
    let before = sched_getaffinity(None).map_err(affinity)?;
    move_to(cores)?;
    let result = f();
    sched_setaffinity(None, &before).map_err(affinity)?;
    Ok(result)
}

/// Moves this thread, and what it starts from now on, to `cores`.
pub fn move_to(cores: Cores) -> Result<(), Failure> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    match cores {
        Cores::First => set.set(0),
        Cores::All => (0..count).for_each(|core| set.set(core)),
        Cores::Others => (1..count.max(2)).for_each(|core| set.set(core)),
    }
    sched_setaffinity(None, &set).map_err(affinity)
}

fn affinity(error: rustix::io::Errno) -> Failure {
    Failure::Io { doing: "choosing cores".to_owned(), source: error.into() }
}

fn command_name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
