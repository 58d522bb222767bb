//! How each proxy is started, with one thread for the data unless told otherwise, and when it is ready.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::ask::ask;
use crate::failure::Failure;
use crate::peer_files::{envoy_yaml, twemproxy_yaml};
use crate::process::free_port;

/// How long a proxy may take to serve.
pub const READY: Duration = Duration::from_secs(20);

/// Keys that are asked for to see whether a proxy reaches every backend; over three servers, all are met.
const PROBES: u32 = 16;

/// Slotway before `nodes`, each given with `flag`.
#[must_use]
pub fn slotway(
    program: &Path,
    flag: &str,
    nodes: &[SocketAddr],
    listen: SocketAddr,
    threads: usize,
) -> Command {
    let mut command = Command::new(program);
    for node in nodes {
        command.arg(flag).arg(format!("redis://{node}"));
    }
    command.args(["--listen", &listen.to_string(), "--threads", &threads.to_string()]);
    command
}

/// Twemproxy before standalone servers, with hash tags where asked for; its file goes to `dir`.
pub fn twemproxy(
    program: &Path,
    servers: &[SocketAddr],
    by_tag: bool,
    listen: SocketAddr,
    dir: &Path,
) -> Result<Command, Failure> {
    let file = write(dir, "twemproxy.yml", &twemproxy_yaml(listen, servers, by_tag))?;
    let mut command = Command::new(program);
    command.arg("--conf-file").arg(file).args(["--stats-addr", "127.0.0.1", "--stats-port"]);
    command.arg(free_port()?.to_string());
    Ok(command)
}

/// Envoy before a cluster; its file goes to `dir`.
pub fn envoy(
    program: &Path,
    seeds: &[SocketAddr],
    listen: SocketAddr,
    dir: &Path,
) -> Result<Command, Failure> {
    let file = write(dir, "envoy.yaml", &envoy_yaml(listen, seeds))?;
    let mut command = Command::new(program);
    command.arg("--config-path").arg(file);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
    Ok(command)
}

/// Whether the proxy at `address` reaches every backend.
#[must_use]
pub fn serves(address: SocketAddr) -> bool {
    (0..PROBES).all(|n| ask(address, &["SET", &format!("ready:{n}"), "1"]).is_ok_and(|reply| reply == "OK"))
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(Failure::io(format!("writing {name}")))?;
    Ok(path)
}
