//! Scripts that several clients play: the same words are played against a plain server and against the
//! proxy, and what each client was told has to be equal, byte for byte.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use crate::argv::{frame, words};
use crate::cluster::Cluster;
use crate::poll::{eventually, try_eventually};
use crate::proxy::{Options, Proxy};
use crate::raw::{PATIENCE, Raw};
use crate::server::Server;

/// Where a script is played: whom clients speak to, and which servers then hold the data.
#[derive(Clone, Debug)]
pub struct Stage {
    name: &'static str,
    front: String,
    backs: Vec<String>,
}

impl Stage {
    /// A server without a proxy: what it says is right.
    #[must_use]
    pub fn plain(server: &Server) -> Self {
        Self { name: "plain", front: server.addr(), backs: vec![server.addr()] }
    }

    /// The proxy in front of one server.
    #[must_use]
    pub fn standalone(proxy: &Proxy, server: &Server) -> Self {
        Self { name: "proxy over a server", front: proxy.addr(), backs: vec![server.addr()] }
    }

    /// The proxy in front of a cluster.
    #[must_use]
    pub fn cluster(proxy: &Proxy, cluster: &Cluster) -> Self {
        let backs = (0..cluster.len()).map(|index| cluster.node(index).addr()).collect();
        Self { name: "proxy over a cluster", front: proxy.addr(), backs }
    }

    /// Whom clients connect to.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.front
    }

    /// A new client of the stage.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> Raw {
        Raw::connect(&self.front)
    }

    /// How many clients the servers say are blocked.
    #[must_use]
    pub fn blocked(&self) -> usize {
        self.backs.iter().map(|addr| blocked_at(addr)).sum()
    }

    /// Waits until exactly `count` clients are blocked in the servers.
    #[track_caller]
    pub fn wait_for_blocked(&self, count: usize) {
        eventually(&format!("{count} blocked ({})", self.name), PATIENCE, || {
            (self.blocked() == count).then_some(())
        });
    }

    /// Empties the servers, plays `script` and gives what was said: each line and, where it reads a reply,
    /// the reply's bytes.
    ///
    /// A line is `a: COMMAND` (client `a` sends and reads), `a> COMMAND` (sends), `a+ COMMAND` (sends
    /// together with the lines after it, in one write), `a<` (reads), `a-` (leaves), `blocked N` (waits
    /// until that many are blocked in the servers) or `pause MS`. A client connects at its first line.
    #[track_caller]
    pub fn play(&self, protocol: u8, script: &str) -> Vec<String> {
        for back in &self.backs {
            // A replica refuses, its primary tells it.
            let _ = Raw::connect(back).cmd("FLUSHALL");
        }
        let mut cast = Cast { stage: self, protocol, clients: BTreeMap::new(), told: Vec::new() };
        script.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| cast.line(line));
        cast.told
    }
}

/// The clients of a script and what they were told.
struct Cast<'s> {
    stage: &'s Stage,
    protocol: u8,
    clients: BTreeMap<String, Actor>,
    told: Vec<String>,
}

struct Actor {
    raw: Raw,
    /// Requests to be written together.
    kept: Vec<u8>,
}

impl Cast<'_> {
    #[track_caller]
    fn line(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("blocked ") {
            return self.stage.wait_for_blocked(count.parse().expect("a number"));
        }
        if let Some(pause) = line.strip_prefix("pause ") {
            return sleep(Duration::from_millis(pause.parse().expect("milliseconds")));
        }
        let end =
            line.find([':', '>', '+', '<', '-']).unwrap_or_else(|| panic!("no line of a script: {line}"));
        let (name, verb, rest) = (&line[..end], &line[end..=end], line[end + 1..].trim());
        if verb == "-" {
            self.clients.remove(name);
            return;
        }
        let (addr, protocol) = (self.stage.addr(), self.protocol);
        let actor = self
            .clients
            .entry(name.to_owned())
            .or_insert_with(|| Actor { raw: Raw::speaking(addr, protocol), kept: Vec::new() });
        if verb != "<" {
            actor.kept.extend(frame(&words(rest)));
        }
        if verb == "+" {
            return;
        }
        actor.raw.send_bytes(&std::mem::take(&mut actor.kept));
        if verb == ">" {
            return;
        }
        let frame = actor.raw.try_frame().unwrap_or_else(|error| {
            panic!("{}, RESP{}: no reply at \"{line}\": {error}", self.stage.name, self.protocol)
        });
        self.told.push(format!("{line} => {}", frame.escape_ascii()));
    }
}

/// A plain server and the stages that have to do as it does.
#[derive(Debug)]
pub struct Theatre {
    plain: Stage,
    others: Vec<Stage>,
    /// What the stages stand on, in the order in which it has to end.
    proxies: Vec<Proxy>,
    _servers: Vec<Server>,
    _cluster: Option<Cluster>,
}

impl Theatre {
    /// A plain server, and the proxy over another.
    #[track_caller]
    #[must_use]
    pub fn standalone() -> Self {
        let (plain, backend) = (Server::start(), Server::start());
        let proxy = Options::standalone(&format!("redis://{}", backend.addr())).start();
        Self {
            plain: Stage::plain(&plain),
            others: vec![Stage::standalone(&proxy, &backend)],
            proxies: vec![proxy],
            _servers: vec![plain, backend],
            _cluster: None,
        }
    }

    /// A plain server, the proxy over another, and a proxy over a cluster.
    #[track_caller]
    #[must_use]
    pub fn both() -> Self {
        let mut theatre = Self::standalone();
        let cluster = Cluster::start();
        let proxy = Proxy::over(&cluster);
        theatre.others.push(Stage::cluster(&proxy, &cluster));
        theatre.proxies.push(proxy);
        theatre._cluster = Some(cluster);
        theatre
    }

    /// The proxy over one server.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxies[0]
    }

    /// The stage without a proxy.
    #[must_use]
    pub fn plain(&self) -> &Stage {
        &self.plain
    }

    /// The stage with the proxy over one server.
    #[must_use]
    pub fn proxied(&self) -> &Stage {
        &self.others[0]
    }

    /// All stages, the plain one first.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        std::iter::once(&self.plain).chain(&self.others)
    }

    /// Plays `script` everywhere in both protocols. What was told on the plain stage in RESP2.
    ///
    /// # Panics
    /// Where a client was told something else than the plain server's.
    #[track_caller]
    pub fn compare(&self, script: &str) -> Vec<String> {
        let right = [2, 3].map(|protocol| self.plain.play(protocol, script));
        for stage in &self.others {
            for (protocol, right) in [2, 3].into_iter().zip(&right) {
                let told = stage.play(protocol, script);
                let differs = told.iter().zip(right).find(|(told, right)| told != right);
                assert!(
                    differs.is_none(),
                    "{}, RESP{protocol}, (told, right): {differs:#?}\nof the script\n{script}",
                    stage.name
                );
            }
        }
        let [right, _] = right;
        right
    }
}

/// How many clients the server at `addr` says are blocked; none where it is down.
#[must_use]
pub fn blocked_at(addr: &str) -> usize {
    let info = Raw::try_connect(addr).and_then(|mut raw| raw.try_call(&["INFO", "clients"]));
    let text = info.map(|reply| reply.text()).unwrap_or_default();
    let count = text.lines().find_map(|line| line.trim().strip_prefix("blocked_clients:")?.parse().ok());
    count.unwrap_or(0)
}

/// Waits until the server at `addr` says that exactly `count` clients are blocked.
#[track_caller]
pub fn wait_for_blocked(addr: &str, count: usize) {
    let mut last = usize::MAX;
    let reached = try_eventually(PATIENCE, || {
        last = blocked_at(addr);
        (last == count).then_some(())
    });
    assert!(reached.is_some(), "{last} blocked, not {count}");
}
