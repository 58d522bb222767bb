//! The servers behind the proxies: a cluster of three primaries, and three standalone servers for what knows
//! no cluster; or, for searches, a cluster of servers that have them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::failure::Failure;
use crate::load::codec::Codec;
use crate::load::target::Target;
use crate::load::workload::Workload;
use slotway::cluster::slot::{SLOT_COUNT, Slot};

use crate::ask::ask;
use crate::process::{Cores, Process, free_port, pause};

/// Servers of a kind: as many as a small cluster has.
const SERVERS: u16 = 3;
/// How long a server may take to listen, and the cluster to form.
const READY: Duration = Duration::from_secs(15);

/// Every backend of a run.
#[derive(Debug)]
pub struct Backends {
    /// The nodes of the cluster; node `i` has the `i`-th third of the slots.
    pub cluster: Vec<Server>,
    /// Servers that know nothing of each other.
    pub standalone: Vec<Server>,
}

/// One redis-server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
}

impl Backends {
    /// Starts all and forms the cluster; `first_port` is the first of six successive ports, free ones where
    /// there is none.
    pub fn start(
        redis_server: &Path,
        first_port: Option<u16>,
        dir: &Path,
        cores: Cores,
        stop: &AtomicBool,
    ) -> Result<Self, Failure> {
        let port = |index: u16| first_port.map_or_else(free_port, |first| Ok(first + index));
        let mut cluster = Vec::new();
        let mut standalone = Vec::new();
        for index in 0..SERVERS {
            cluster.push(Server::start(redis_server, dir, port(index)?, true, cores, stop)?);
            standalone.push(Server::start(redis_server, dir, port(SERVERS + index)?, false, cores, stop)?);
        }
        let backends = Self { cluster, standalone };
        backends.form_cluster(stop)?;
        Ok(backends)
    }

    /// Starts a cluster of servers that know FT.SEARCH, and nothing beside it; `first_port` as in
    /// [`start`](Self::start), behind whose six ports these have three.
    pub fn start_search(
        stack_server: &Path,
        first_port: Option<u16>,
        dir: &Path,
        cores: Cores,
        stop: &AtomicBool,
    ) -> Result<Self, Failure> {
        let mut cluster = Vec::new();
        for index in 0..SERVERS {
            let port = first_port.map_or_else(free_port, |first| Ok(first + 2 * SERVERS + index))?;
            cluster.push(Server::start(stack_server, dir, port, true, cores, stop)?);
        }
        let backends = Self { cluster, standalone: Vec::new() };
        backends.form_cluster(stop)?;
        Ok(backends)
    }

    /// Every server.
    pub fn all(&self) -> impl Iterator<Item = &Server> {
        self.cluster.iter().chain(&self.standalone)
    }

    /// The cluster as a cluster-aware client of `workload` sees it.
    #[must_use]
    pub fn direct(&self, workload: &Workload) -> Target {
        direct(addresses(&self.cluster), workload)
    }

    fn form_cluster(&self, stop: &AtomicBool) -> Result<(), Failure> {
        let first = &self.cluster[0];
        for (index, server) in self.cluster.iter().enumerate() {
            let (from, to) = slots_of(index as u16);
            ask(server.address, &["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()])?;
            ask(server.address, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
        }
        for server in &self.cluster[1..] {
            let (port, bus) = (server.address.port().to_string(), bus_port(server)?);
            ask(first.address, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
        }
        let mut left = 300;
        while !self.cluster.iter().all(Server::knows_cluster) {
            left -= 1;
            if left == 0 {
                return Err(Failure::Unexpected("the cluster did not form".to_owned()));
            }
            pause(Duration::from_millis(50), stop)?;
        }
        Ok(())
    }
}

impl Server {
    fn start(
        redis_server: &Path,
        dir: &Path,
        port: u16,
        in_cluster: bool,
        cores: Cores,
        stop: &AtomicBool,
    ) -> Result<Self, Failure> {
        let name = format!("redis-{port}");
        let dir = dir.join(&name);
        std::fs::create_dir_all(&dir).map_err(Failure::io("making a server's directory"))?;
        let mut command = Command::new(redis_server);
        let text = port.to_string();
        command.args(["--port", &text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--io-threads", "1", "--maxclients", "40000", "--tcp-backlog", "2048"]);
        if in_cluster {
            let bus = free_port()?.to_string();
            command.args(["--cluster-enabled", "yes", "--cluster-port", &bus]);
        }
        let mut process = Process::start(&name, command, &dir, cores)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        process.wait_ready(READY, stop, || ask(address, &["PING"]).is_ok())?;
        Ok(Self { address, process })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn knows_cluster(&self) -> bool {
        ask(self.address, &["CLUSTER", "INFO"]).is_ok_and(|info| {
            info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{SERVERS}"))
        })
    }
}

/// Where `servers` listen.
#[must_use]
pub fn addresses(servers: &[Server]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.address).collect()
}

/// Process ids of `servers`.
#[must_use]
pub fn pids(servers: &[Server]) -> Vec<u32> {
    servers.iter().map(Server::pid).collect()
}

/// First and last slot of node `index`.
fn slots_of(index: u16) -> (u16, u16) {
    let share = SLOT_COUNT / SERVERS;
    let last = if index + 1 == SERVERS { SLOT_COUNT - 1 } else { (index + 1) * share - 1 };
    (index * share, last)
}

/// These nodes of a cluster of [`Backends`], in its order, as a cluster-aware client of `workload` sees them.
#[must_use]
pub fn direct(nodes: Vec<SocketAddr>, workload: &Workload) -> Target {
    let codec = Codec::new(workload);
    let owners = (0..workload.keys).map(|key| owner(Slot::of(&codec.key(key)))).collect();
    Target::Nodes { nodes, owners }
}

fn owner(slot: Slot) -> u8 {
    (slot.number() / (SLOT_COUNT / SERVERS)).min(SERVERS - 1) as u8
}

/// The bus port as the server itself says it: `host:port@bus` in its line of CLUSTER NODES.
fn bus_port(server: &Server) -> Result<String, Failure> {
    let nodes = ask(server.address, &["CLUSTER", "NODES"])?;
    let mine = nodes.lines().find(|line| line.contains("myself"));
    let bus = mine.and_then(|line| line.split_once('@')).map(|(_, rest)| rest);
    let digits = bus.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.ok_or_else(|| Failure::Unexpected(format!("no bus port in {nodes:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_share_all_slots_and_owner_agrees() {
        let mut next = 0;
        for index in 0..SERVERS {
            let (first, last) = slots_of(index);
            assert_eq!(first, next);
            for number in [first, last] {
                assert_eq!(u16::from(owner(Slot::new(number).unwrap())), index);
            }
            next = last + 1;
        }
        assert_eq!(next, SLOT_COUNT);
    }
}
