//! One round of a contender: A alone, B alone, both at the same time. Each is a process of its own, so that neither
//! waits for the other's turn. ◆

#![expect(clippy::disallowed_methods, reason = "I/O: has processes begin at the same moment")]

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use slotway_bench::accounting::Cpu;
use slotway_bench::failure::Failure;
use slotway_bench::process::{Cores, Process, pause_until};

use crate::contender::Running;
use crate::options::Options;

/// What one load generator told.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Load {
    requests: u64,
    seconds: f64,
    p50: f64,
    /// Microseconds.
    pub(crate) p99: f64,
    p999: f64,
}

/// What a round gave.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Round {
    /// A alone.
    pub(crate) quiet: Load,
    /// B alone.
    pub(crate) noisy: Load,
    /// A beside B.
    pub(crate) quiet_beside: Load,
    /// B beside A.
    pub(crate) noisy_beside: Load,
    /// How much of a core the proxy used while B was alone, and with both.
    pub(crate) busy: (f64, f64),
    /// A past the proxy, alone and while B goes through it: what the servers and the generators cost A.
    pub(crate) past: Option<(Load, Load)>,
}

/// Seconds that both ask before what counts.
const WARM_UP: f64 = 0.5;
/// How long it may take until all are connected.
const CONNECTING: Duration = Duration::from_millis(500);

/// Which tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Quiet,
    /// A, straight to the servers.
    Past,
    Noisy,
}

impl Load {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

impl Round {
    /// Measures.
    pub(crate) fn take(
        options: &Options,
        proxy: &Running,
        dir: &Path,
        seed: u64,
        stop: &AtomicBool,
    ) -> Result<Self, Failure> {
        use Who::{Noisy, Past, Quiet};
        let ask = |who: &[Who]| ask(options, proxy, who, dir, seed, stop);
        let (quiet, _) = ask(&[Quiet])?;
        let (noisy, busy_alone) = ask(&[Noisy])?;
        let (both, busy_both) = ask(&[Noisy, Quiet])?;
        let past = match proxy.nodes[..] {
            [] => None,
            _ => Some((ask(&[Past])?.0[0], ask(&[Noisy, Past])?.0[1])),
        };
        Ok(Self {
            past,
            quiet: quiet[0],
            noisy: noisy[0],
            quiet_beside: both[1],
            noisy_beside: both[0],
            busy: (busy_alone, busy_both),
        })
    }
}

/// Has these ask at the same time; and how much of a core the proxy used meanwhile.
fn ask(
    options: &Options,
    proxy: &Running,
    who: &[Who],
    dir: &Path,
    seed: u64,
    stop: &AtomicBool,
) -> Result<(Vec<Load>, f64), Failure> {
    let begin = SystemTime::now() + CONNECTING;
    let start = |who: &Who| {
        let name = if *who == Who::Noisy { "load-b" } else { "load-a" };
        Process::start(name, command(options, proxy, *who, begin, seed), dir, Cores::Others)
    };
    let processes = who.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let measured = begin + Duration::from_secs_f64(WARM_UP);
    pause_until(measured, stop)?;
    let before = Cpu::of(&[proxy.process.pid()])?;
    pause_until(measured + Duration::from_secs_f64(options.seconds), stop)?;
    let used = Cpu::of(&[proxy.process.pid()])?.since(before);
    let read = |process: Process| {
        let text = process.finish(stop)?;
        serde_json::from_str(&text).map_err(|error| Failure::Unexpected(format!("{error} in {text:?}")))
    };
    let told = processes.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok((told, used.nanos as f64 / 1e9 / options.seconds))
}

/// The load generator, A's such that it runs whenever it has something to do, B's such that servers go first.
fn command(options: &Options, proxy: &Running, who: Who, begin: SystemTime, seed: u64) -> Command {
    let load = std::env::current_exe().unwrap_or_default().with_file_name("load");
    let begin = begin.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let (rank, user, clients, pipeline, value, gets) = match who {
        Who::Quiet | Who::Past => (0, "a", options.quiet_clients, 1, 64, options.gets),
        Who::Noisy => (1, "b", options.noisy_clients, options.pipeline, options.value, options.gets),
    };
    // What the servers and proxies have stands between the two.
    let (program, flag, first) =
        if options.real_time { ("chrt", "-f", ["3", "1"][rank]) } else { ("nice", "-n", ["-20", "5"][rank]) };
    let mut command = Command::new(program);
    command.args([flag, first]);
    command.arg(load).args(["--json", "--fill", "--keys", "2000"]);
    command.args([
        "--prefix",
        &format!("{user}:"),
        "--value",
        &value.to_string(),
        "--gets",
        &gets.to_string(),
    ]);
    command.args(["--clients", &clients.to_string(), "--pipeline", &pipeline.to_string()]);
    command.args(["--begin", &begin.to_string(), "--warm-up", &WARM_UP.to_string()]);
    command.args(["--seconds", &options.seconds.to_string(), "--seed", &seed.to_string()]);
    if who != Who::Noisy {
        command.args(["--pause", &options.pause.to_string()]);
    }
    if who == Who::Past {
        command.args(proxy.nodes.iter().map(ToString::to_string));
        return command;
    }
    if proxy.has_tenants {
        command.args(["--user", user]);
    }
    command.arg(proxy.address.to_string());
    command
}

/// Has this program and what it starts go before everything else on the machine.
pub(crate) fn run_in_real_time(stop: &AtomicBool) -> Result<(), Failure> {
    let mut command = Command::new("chrt");
    command.args(["-f", "-p", "2", &std::process::id().to_string()]);
    Process::start("chrt", command, &std::env::temp_dir(), Cores::All)?.finish(stop).map(drop)
}
