//! Where and with what a run was made: figures without it mean little.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::programs::Programs;

/// The machine and the programs' versions; a benchmark adds the options that change its figures.
#[must_use]
pub fn setting(programs: &Programs) -> Value {
    json!({
        "cpu": cpu_model(),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "memory_gib": memory_gib(),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "redis_server": version(&programs.redis_server, "--version"),
        "stack_server": version(&programs.stack_server(), "--version"),
        "twemproxy": version(&programs.nutcracker, "--version"),
        "envoy": version(&programs.envoy, "--version"),
    })
}

/// One line of it for the terminal.
#[must_use]
pub fn line(setting: &Value) -> String {
    let word = |name: &str| setting[name].to_string().trim_matches('"').to_owned();
    format!("{}, {} cores, {} GiB, Linux {}", word("cpu"), word("cores"), word("memory_gib"), word("kernel"),)
}

fn cpu_model() -> String {
    let text = read("/proc/cpuinfo");
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, name)| name.trim().to_owned())
}

fn memory_gib() -> u64 {
    let text = read("/proc/meminfo");
    let kib = text.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    kib.unwrap_or(0).div_ceil(1024 * 1024)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The line of a program's version, `None` where it does not run; twemproxy says it on stderr.
fn version(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}
