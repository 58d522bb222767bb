//! Who is compared: how each is started before the same backends, with one thread for the data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use slotway_bench::backends::{Backends, addresses, pids};
use slotway_bench::failure::Failure;
use slotway_bench::load::target::Target;
use slotway_bench::load::workload::{Content, Workload};
use slotway_bench::peer::Peer;
use slotway_bench::process::{Cores, Process, free_port};
use slotway_bench::programs::{ENVOY_REMEDY, SLOTWAY_REMEDY, TWEMPROXY_REMEDY, find, missing};
use slotway_bench::proxies::{self, READY};

use crate::options::Options;

/// Who needs no `--peer`.
pub(crate) const BUILT_IN: [&str; 5] = ["slotway", "slotway-shards", "twemproxy", "envoy", "direct"];

/// Something that requests can be sent to.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    /// What the report calls it.
    pub(crate) name: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Slotway before the cluster.
    Slotway(PathBuf),
    /// Slotway before the standalone servers.
    SlotwayShards(PathBuf),
    /// Twemproxy before the standalone servers: it knows no cluster.
    Twemproxy(PathBuf),
    /// Envoy before the cluster.
    Envoy(PathBuf),
    /// No proxy: cluster-aware clients.
    Direct,
    /// Started by somebody else.
    Peer(Peer),
}

/// A contender that is up.
#[derive(Debug)]
pub(crate) struct Running {
    /// What the report calls it.
    pub(crate) name: String,
    /// The proxy's process id, where there is a proxy.
    pub(crate) proxy: Option<u32>,
    /// The process ids of the servers behind it.
    pub(crate) backends: Vec<u32>,
    /// Where it listens; `None` for direct connections.
    pub(crate) address: Option<SocketAddr>,
    /// Contenders with the same name here find each other's keys.
    pub(crate) key_space: String,
    _process: Option<Process>,
}

impl Contender {
    /// A target that `options` name and nobody is called.
    pub(crate) fn misnamed(options: &Options) -> Option<&str> {
        let is_known =
            |name: &str| BUILT_IN.contains(&name) || options.peers.iter().any(|peer| peer.name == name);
        options.targets.iter().map(String::as_str).find(|name| !is_known(name))
    }

    /// Everyone that `options` name and that is installed, and a line for each that is not.
    pub(crate) fn choose(options: &Options) -> (Vec<Self>, Vec<String>) {
        let wanted = |name: &str| options.targets.is_empty() || options.targets.iter().any(|one| one == name);
        let mut chosen = Vec::new();
        let mut left_out = Vec::new();
        let mut add =
            |name: &str, program: &Path, kind: fn(PathBuf) -> Kind, remedy: &str| match find(program) {
                _ if !wanted(name) => {}
                Some(path) => chosen.push(Self { name: name.to_owned(), kind: kind(path) }),
                None => left_out.push(missing(name, program, remedy)),
            };
        let programs = &options.programs;
        add("slotway", &programs.slotway(), Kind::Slotway, SLOTWAY_REMEDY);
        add("slotway-shards", &programs.slotway(), Kind::SlotwayShards, SLOTWAY_REMEDY);
        add("twemproxy", &programs.nutcracker, Kind::Twemproxy, TWEMPROXY_REMEDY);
        add("envoy", &programs.envoy, Kind::Envoy, ENVOY_REMEDY);
        if wanted("direct") {
            chosen.push(Self { name: "direct".to_owned(), kind: Kind::Direct });
        }
        let peers = options.peers.iter().filter(|peer| wanted(&peer.name));
        chosen.extend(peers.map(|peer| Self { name: peer.name.clone(), kind: Kind::Peer(peer.clone()) }));
        (chosen, left_out)
    }

    /// Starts it for keys that hold `content`, and waits until it serves.
    pub(crate) fn start(
        &self,
        content: Content,
        backends: &Backends,
        dir: &Path,
        cores: Cores,
        stop: &AtomicBool,
    ) -> Result<Running, Failure> {
        let address = match &self.kind {
            Kind::Peer(peer) => Some(peer.address),
            Kind::Direct => None,
            _ => Some(SocketAddr::from(([127, 0, 0, 1], free_port()?))),
        };
        let command =
            address.map(|address| self.command(address, content, backends, dir)).transpose()?.flatten();
        let mut process =
            command.map(|command| Process::start(&self.name, command, dir, cores)).transpose()?;
        if let (Some(process), Some(address)) = (&mut process, address) {
            process.wait_ready(READY, stop, || proxies::serves(address))?;
        }
        let peer = if let Kind::Peer(peer) = &self.kind { Some(peer.pid) } else { None };
        Ok(Running {
            name: self.name.clone(),
            proxy: process.as_ref().map(Process::pid).or(peer),
            backends: self.backends(backends),
            address,
            key_space: self.key_space(),
            _process: process,
        })
    }

    fn command(
        &self,
        address: SocketAddr,
        content: Content,
        backends: &Backends,
        dir: &Path,
    ) -> Result<Option<Command>, Failure> {
        let cluster = || addresses(&backends.cluster);
        let standalone = || addresses(&backends.standalone);
        Ok(Some(match &self.kind {
            Kind::Slotway(path) => proxies::slotway(path, "--cluster", &cluster(), address, 1),
            Kind::SlotwayShards(path) => proxies::slotway(path, "--shard", &standalone(), address, 1),
            Kind::Twemproxy(path) => {
                // Looking for tags costs it something: only where it needs them.
                let by_tag = content == Content::TaggedSet;
                proxies::twemproxy(path, &standalone(), by_tag, address, dir)?
            }
            Kind::Envoy(path) => proxies::envoy(path, &cluster(), address, dir)?,
            Kind::Direct | Kind::Peer(_) => return Ok(None),
        }))
    }

    /// Nobody knows where a peer sends its requests: all servers are counted, those it leaves alone use
    /// next to nothing.
    fn backends(&self, backends: &Backends) -> Vec<u32> {
        match self.kind {
            Kind::Slotway(_) | Kind::Envoy(_) | Kind::Direct => pids(&backends.cluster),
            Kind::SlotwayShards(_) | Kind::Twemproxy(_) => pids(&backends.standalone),
            Kind::Peer(_) => [pids(&backends.cluster), pids(&backends.standalone)].concat(),
        }
    }

    /// Where keys lie on standalone servers each proxy decides in its own way.
    fn key_space(&self) -> String {
        match self.kind {
            Kind::Slotway(_) | Kind::Envoy(_) | Kind::Direct => "cluster".to_owned(),
            _ => self.name.clone(),
        }
    }
}

impl Running {
    /// For the load generator.
    pub(crate) fn target(&self, backends: &Backends, workload: &Workload) -> Target {
        self.address.map_or_else(|| backends.direct(workload), Target::One)
    }
}
