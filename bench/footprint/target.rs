//! Whose memory is measured: Slotway with a small and a large table, its peers, and what somebody else started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use slotway_bench::ask::ask;
use slotway_bench::backends::{Backends, Server, addresses};
use slotway_bench::failure::Failure;
use slotway_bench::peer::Peer;
use slotway_bench::process::{Cores, Process, free_port, pause};
use slotway_bench::programs::{ENVOY_REMEDY, SLOTWAY_REMEDY, TWEMPROXY_REMEDY, find, missing};
use slotway_bench::proxies::{self, READY};

use crate::memory::field;
use crate::options::Options;

/// What Slotway is called.
pub(crate) const OURS: &str = "slotway";
/// The table that Slotway has unless it is told otherwise.
pub(crate) const OWN_TABLE: u32 = 16;
/// More than any limit of the machine: those decide, not the proxy's settings.
const NO_LIMIT: &str = "1000000";
/// How long all clients may take to be blocked at the servers.
const BLOCKED: Duration = Duration::from_secs(60);
/// Between two looks whether they are.
const LOOK: Duration = Duration::from_millis(100);

/// Something that clients connect to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What the report calls it.
    pub(crate) name: String,
    /// Buckets of Slotway's tables.
    pub(crate) table: Option<u32>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Slotway(PathBuf),
    Twemproxy(PathBuf),
    Envoy(PathBuf),
    Peer(Peer),
}

/// A target that is up.
#[derive(Debug)]
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
    /// The servers where its blocked clients wait; none for a peer, which is asked itself.
    pub(crate) servers: Vec<Node>,
    _process: Option<Process>,
}

/// A server behind a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
}

/// What starting a target takes.
pub(crate) struct Stage<'a> {
    /// What was asked for.
    pub(crate) options: &'a Options,
    /// The servers.
    pub(crate) backends: &'a Backends,
    /// Configuration files and logs.
    pub(crate) dir: &'a Path,
    /// Files that this process may open.
    pub(crate) files: u64,
    /// Raised by Ctrl-C.
    pub(crate) stop: Arc<AtomicBool>,
}

impl Target {
    /// Everyone that `options` name and that is installed, and a line for each that is not.
    pub(crate) fn choose(options: &Options) -> (Vec<Self>, Vec<String>) {
        let mut chosen = Vec::new();
        let mut left_out = Vec::new();
        let mut add =
            |name: &str, table, program: &Path, kind: fn(PathBuf) -> Kind, remedy| match find(program) {
                Some(path) => chosen.push(Self { name: name.to_owned(), table, kind: kind(path) }),
                None => left_out.push(missing(name, program, remedy)),
            };
        let programs = &options.programs;
        for &table in &options.tables {
            add(OURS, Some(table), &programs.slotway(), Kind::Slotway, SLOTWAY_REMEDY);
        }
        if !options.no_peers {
            add("twemproxy", None, &programs.nutcracker, Kind::Twemproxy, TWEMPROXY_REMEDY);
            add("envoy", None, &programs.envoy, Kind::Envoy, ENVOY_REMEDY);
        }
        let peer =
            |peer: &Peer| Self { name: peer.name.clone(), table: None, kind: Kind::Peer(peer.clone()) };
        chosen.extend(options.peers.iter().map(peer));
        (chosen, left_out)
    }

    /// Starts it before the servers and waits until it serves.
    pub(crate) fn start(&self, stage: &Stage<'_>) -> Result<Running, Failure> {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let (cluster, standalone) = (&stage.backends.cluster, &stage.backends.standalone);
        let (command, servers) = match &self.kind {
            Kind::Slotway(path) => {
                let command =
                    slotway(path, stage.options, "--cluster", &addresses(cluster), listen, self.table);
                (command, cluster)
            }
            Kind::Twemproxy(path) => {
                (proxies::twemproxy(path, &addresses(standalone), false, listen, stage.dir)?, standalone)
            }
            Kind::Envoy(path) => (proxies::envoy(path, &addresses(cluster), listen, stage.dir)?, cluster),
            Kind::Peer(peer) => {
                let Peer { address, pid, .. } = *peer;
                return Ok(Running { address, pid, servers: Vec::new(), _process: None });
            }
        };
        run(&self.name, command, listen, servers.iter().map(Node::of).collect(), stage)
    }
}

/// Slotway with its own table before the one server at `address`, which need not be a server of the stage.
pub(crate) fn before_one(address: SocketAddr, stage: &Stage<'_>) -> Result<Running, Failure> {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let command =
        slotway(&stage.options.programs.slotway(), stage.options, "--standalone", &[address], listen, None);
    run(OURS, command, listen, vec![Node::of(&stage.backends.standalone[0])], stage)
}

fn slotway(
    program: &Path,
    options: &Options,
    flag: &str,
    nodes: &[SocketAddr],
    listen: SocketAddr,
    table: Option<u32>,
) -> Command {
    let mut command = proxies::slotway(program, flag, nodes, listen, options.threads);
    command.args(["--log", "warn", "--max-clients", NO_LIMIT]);
    for limit in ["max_connections", "max_per_node"] {
        command.args(["--set", &format!("private.{limit}={NO_LIMIT}")]);
    }
    if let Some(buckets) = table.filter(|buckets| *buckets != OWN_TABLE) {
        command.args(["--set", &format!("private.table_buckets={buckets}")]);
    }
    for set in &options.sets {
        command.args(["--set", set]);
    }
    command
}

fn run(
    name: &str,
    command: Command,
    address: SocketAddr,
    servers: Vec<Node>,
    stage: &Stage<'_>,
) -> Result<Running, Failure> {
    let mut process = Process::start(name, command, stage.dir, Cores::All)?;
    process.wait_ready(READY, &stage.stop, || proxies::serves(address))?;
    Ok(Running { address, pid: process.pid(), servers, _process: Some(process) })
}

impl Running {
    /// Waits until the servers (a peer: itself) say that `wanted` clients are blocked.
    pub(crate) fn wait_blocked(&self, wanted: u64, stop: &AtomicBool) -> Result<(), Failure> {
        let own = [Node { address: self.address, pid: self.pid }];
        let nodes = if self.servers.is_empty() { own.as_slice() } else { &self.servers };
        wait_blocked(nodes, wanted, stop)
    }
}

/// Waits until `nodes` say that they have `wanted` blocked clients, all together.
pub(crate) fn wait_blocked(nodes: &[Node], wanted: u64, stop: &AtomicBool) -> Result<(), Failure> {
    let mut looks = BLOCKED.as_millis() / LOOK.as_millis();
    loop {
        let blocked = nodes.iter().map(|node| node.info("blocked_clients")).sum::<Result<u64, _>>()?;
        if blocked == wanted {
            return Ok(());
        }
        looks -= 1;
        if looks == 0 {
            return Err(Failure::Unexpected(format!("{blocked} clients are blocked, {wanted} should be")));
        }
        pause(LOOK, stop)?;
    }
}

impl Node {
    /// A server of the stage.
    pub(crate) fn of(server: &Server) -> Self {
        Self { address: server.address, pid: server.pid() }
    }

    /// A number that the server's INFO has under `name` in its section on clients.
    pub(crate) fn info(&self, name: &str) -> Result<u64, Failure> {
        let info = ask(self.address, &["INFO", "clients"])?;
        field(&info, name)
            .ok_or_else(|| Failure::Unexpected(format!("{} does not tell {name}", self.address)))
    }
}
