//! ◆ Discovery: one task for each cluster that asks nodes for the topology, when [`refresh`](super::refresh)
//! says so, and publishes each new slot map; and for their commands, when [`learning`](super::learning) says so. While
//! nobody answers, the last good map stays.
#![expect(clippy::disallowed_methods, reason = "I/O: owns the connection to a node")]

use std::net::SocketAddr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{Instrument, debug, info, warn};

use super::id::log_span;
use super::learning::Learning;
use super::link::{Link, LinkError};
use super::published::Topology;
use super::refresh::{Candidates, Judge, Schedule, Verdict, View};
use super::slot_map::{Endpoint, Shard};
use super::topology::{TopologyError, parse_shards, parse_slots, served_slots, static_map};
use crate::backend::dial::{DialError, Dialer};
use crate::backend::handshake::{Handshake, HandshakeError, Progress, ServerIdentity};
use crate::backoff::Backoff;
use crate::command::learned::{self, LearnError};
use crate::command::spec::Spec;
use crate::command::table::Table;
use crate::config::settings::{BackendKind, ClusterSettings};
use crate::dns::resolver::{DnsError, Resolver};
use crate::resp::protocol::Protocol;
use crate::resp::value::Value;
use crate::stream::Stream;

/// The running task; dropping this ends it. The published map stays readable.
pub struct Discovery {
    topology: Arc<Topology>,
    settings: watch::Sender<ClusterSettings>,
    task: JoinHandle<()>,
}

impl Discovery {
    /// Begins to discover on the runtime `control`; `commands` are those that are known already. Of servers that form no cluster the map is there at
    /// once; they are still asked once in a while, for what they are.
    #[must_use]
    pub fn start(
        settings: &ClusterSettings,
        commands: Arc<Table>,
        resolver: Arc<Resolver>,
        dialer: Dialer,
        control: &Handle,
    ) -> Self {
        let topology = Arc::new(Topology::new(commands));
        let (sender, news) = watch::channel(settings.clone());
        let task = Task::new(news, resolver, dialer, Arc::clone(&topology)).run();
        let task = control.spawn(task.instrument(log_span(&settings.name)));
        Self { topology, settings: sender, task }
    }

    /// From here on it asks by these settings, whose backend has to be of the same kind: at once where something
    /// changed, so that a password that is wrong is soon known.
    pub fn follow(&self, settings: &ClusterSettings) {
        self.settings.send_if_modified(|own| {
            let changed = own != settings;
            if changed {
                own.clone_from(settings);
            }
            changed
        });
    }

    /// What it publishes.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    settings: ClusterSettings,
    /// New ones.
    news: watch::Receiver<ClusterSettings>,
    is_cluster: bool,
    resolver: Arc<Resolver>,
    dialer: Dialer,
    topology: Arc<Topology>,
    schedule: Schedule,
    candidates: Candidates,
    judge: Judge,
    learning: Learning,
    backoff: Backoff,
    /// RESP3, whose HELLO tells the server's version, until a server turns out not to have it.
    protocol: Protocol,
    /// What is published.
    shards: Vec<Shard>,
}

/// What a node said.
struct Answer {
    server: Option<ServerIdentity>,
    /// `None` of servers that form no cluster.
    topology: Option<(Vec<Shard>, View)>,
}

/// Why a node told no commands.
#[derive(Debug, thiserror::Error)]
enum LearnFailure {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Learn(#[from] LearnError),
}

/// Why a node gave no topology.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error("cannot connect: {0}")]
    Connect(#[from] DialError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("its view of the cluster is worse than what is known")]
    Doubted,
    #[error("there is no node to ask")]
    NoNode,
}

/// Most nodes asked in one refresh, beyond those whose answers are doubted.
const MAX_ASKED: usize = 16;
/// Most addresses of a name tried in one go.
const MAX_ADDRESSES: usize = 4;
/// Most bytes of an answer to COMMAND: Redis 7.4 with all its modules needs 260 KB.
const MAX_COMMANDS: usize = 4 << 20;
/// How long an answer to COMMAND may take: the first map waits for it.
const COMMANDS_TIMEOUT: Duration = Duration::from_secs(2);

impl Task {
    fn new(
        mut news: watch::Receiver<ClusterSettings>,
        resolver: Arc<Resolver>,
        dialer: Dialer,
        topology: Arc<Topology>,
    ) -> Self {
        let settings = news.borrow_and_update().clone();
        let (seeds, shards) = match &settings.backend {
            BackendKind::Cluster { seeds } => (seeds.clone(), Vec::new()),
            BackendKind::Standalone { endpoint, .. } => {
                (vec![endpoint.clone()], static_map(slice::from_ref(endpoint)))
            }
            BackendKind::Shards { endpoints, .. } => (endpoints.clone(), static_map(endpoints)),
        };
        if !shards.is_empty() {
            topology.publish(&shards);
        }
        let (first, largest) = settings.reconnect_backoff;
        let now = Instant::now().into_std();
        Self {
            is_cluster: matches!(settings.backend, BackendKind::Cluster { .. }),
            resolver,
            dialer,
            topology,
            schedule: Schedule::new(settings.refresh_interval, settings.refresh_min_interval, now),
            candidates: Candidates::new(&seeds),
            judge: Judge::default(),
            learning: Learning::default(),
            backoff: Backoff::new(first, largest),
            protocol: Protocol::Resp3,
            shards,
            settings,
            news,
        }
    }

    async fn run(mut self) {
        loop {
            self.wait().await;
            self.schedule.on_begin(Instant::now().into_std());
            let outcome = self.refresh().await;
            self.topology.note_asked();
            let now = Instant::now().into_std();
            match outcome {
                Ok(()) => {
                    if self.backoff.failures() > 0 {
                        info!("nodes answer again");
                    }
                    self.backoff.on_success();
                    self.schedule.on_success(now, fastrand::f64());
                }
                Err((node, error)) => {
                    let pause = self.backoff.on_failure(fastrand::f64());
                    self.schedule.on_failure(now, pause);
                    let failures = self.backoff.failures();
                    // The 1st, 2nd, 4th, 8th ... time, not each second of an outage.
                    if failures.is_power_of_two() {
                        warn!(node, %error, failures, "no node tells the topology");
                    }
                }
            }
        }
    }

    /// Until the next refresh is to begin.
    async fn wait(&mut self) {
        loop {
            let refresh = self.schedule.next_deadline();
            // While nobody answers, nobody is asked more often for a command's sake.
            let learning = self.learning.next_deadline().filter(|_| self.backoff.failures() == 0);
            let next = learning.map_or(refresh, |learning| learning.min(refresh));
            tokio::select! {
                () = sleep_until(next.into()) => return,
                Ok(()) = self.news.changed() => {
                    self.follow();
                    return;
                }
                () = self.topology.commands_requested() => self.learning.on_request(),
                () = self.topology.refresh_requested() => {
                    // Where nothing can change a reason is none.
                    if self.is_cluster {
                        self.schedule.on_request();
                    }
                }
            }
        }
    }

    /// Takes over new settings.
    fn follow(&mut self) {
        self.settings = self.news.borrow_and_update().clone();
        let ClusterSettings { refresh_interval, refresh_min_interval, .. } = self.settings;
        self.schedule.set_pauses(refresh_interval, refresh_min_interval, Instant::now().into_std());
        let (first, largest) = self.settings.reconnect_backoff;
        self.backoff = Backoff::new(first, largest);
        if let BackendKind::Cluster { seeds } = &self.settings.backend {
            self.candidates.set_seeds(seeds);
        }
    }

    /// Asks one node after the other until one is believed. The error is the last node's.
    async fn refresh(&mut self) -> Result<(), (String, AskError)> {
        let mut tries = self.candidates.count().min(MAX_ASKED);
        let mut last = (String::new(), AskError::NoNode);
        let mut asked = 0;
        while asked < tries {
            asked += 1;
            let Some(node) = self.candidates.choose() else { break };
            match self.ask(&node).await {
                Ok((answer, mut link)) => {
                    self.candidates.on_success(&node);
                    if !self.topology.is_ready() {
                        // Before the first map, so that whoever has the map has the commands. Later ones do not wait.
                        let identity = answer.server.clone().unwrap_or_default();
                        let shards = answer.topology.as_ref().map(|(shards, _)| shards.clone());
                        self.learn(&node, &mut link, &identity, &shards.unwrap_or_default()).await;
                    }
                    if self.take(&node, answer) {
                        let (identity, shards) = (self.topology.server(), self.shards.clone());
                        self.learn(&node, &mut link, &identity, &shards).await;
                        return Ok(());
                    }
                    last = (node.to_string(), AskError::Doubted);
                    tries = tries.max(asked + 1);
                }
                Err(error) => {
                    if self.candidates.on_failure(&node) {
                        info!(%node, %error, "node does not tell the topology");
                    }
                    last = (node.to_string(), error);
                }
            }
        }
        Err(last)
    }

    /// Takes an answer over unless it is to be doubted. Publishes only what differs.
    fn take(&mut self, node: &Endpoint, answer: Answer) -> bool {
        if let Some(server) = answer.server.filter(|server| *server != *self.topology.server()) {
            info!(%node, server.name = %server.name, server.version = %server.version, "backend identified");
            self.topology.identify(server);
        }
        let Some((shards, view)) = answer.topology else { return true };
        if self.judge.on_view(view) == Verdict::Doubt {
            debug!(%node, ?view, "topology doubted");
            return false;
        }
        if shards != self.shards {
            let map = self.topology.publish(&shards);
            let (generation, nodes) = (map.generation().0, map.nodes().len());
            info!(%node, generation, shards = shards.len(), nodes, slots = view.served, "topology changed");
            self.shards = shards;
        }
        let primaries = self.shards.iter().map(|shard| &shard.primary);
        let replicas = self.shards.iter().flat_map(|shard| &shard.replicas);
        self.candidates.learn(&primaries.chain(replicas).cloned().collect::<Vec<_>>());
        true
    }

    /// Asks a node for its commands, where it is time to, and adds them to the table.
    async fn learn(
        &mut self,
        node: &Endpoint,
        link: &mut Link<Stream>,
        identity: &ServerIdentity,
        shards: &[Shard],
    ) {
        if !self.learning.begins(Instant::now().into_std(), identity, shards) {
            return;
        }
        let commands = ask_commands(link, COMMANDS_TIMEOUT.min(self.settings.command_timeout)).await;
        let news = self.learning.on_answer(commands.is_ok());
        let mut learned = None;
        match commands {
            Ok(rows) => learned = self.topology.commands().with_learned(rows),
            Err(error) if news => warn!(%node, %error, "node does not tell its commands"),
            Err(error) => debug!(%node, %error, "node does not tell its commands"),
        }
        if let Some((table, new)) = &learned {
            info!(%node, new, learned = table.learned(), "commands learned");
        }
        self.topology.publish_commands(learned.map(|(table, _)| table));
    }

    async fn ask(&mut self, node: &Endpoint) -> Result<(Answer, Link<Stream>), AskError> {
        let (mut link, server) = match self.connect(node).await {
            Err(AskError::Handshake(HandshakeError::Protocol(reason)))
                if self.protocol == Protocol::Resp3 =>
            {
                debug!(%node, %reason, "no RESP3");
                self.protocol = Protocol::Resp2;
                self.connect(node).await?
            }
            connected => connected?,
        };
        let limit = self.settings.command_timeout.max(self.settings.connect_timeout);
        let questions = async {
            let server = if server.is_some() { server } else { ask_server(&mut link).await? };
            let topology = if self.is_cluster {
                Some(ask_topology(&mut link, node, self.dialer.is_tls()).await?)
            } else {
                None
            };
            Ok(Answer { server, topology })
        };
        let answer = timeout(limit, questions).await.unwrap_or(Err(AskError::Timeout(limit)))?;
        Ok((answer, link))
    }

    /// Tries the node's addresses in turn.
    async fn connect(&self, node: &Endpoint) -> Result<(Link<Stream>, Option<ServerIdentity>), AskError> {
        let limit = self.settings.connect_timeout;
        let mut last = AskError::NoNode;
        for address in self.resolver.lookup(&node.host).await?.into_iter().take(MAX_ADDRESSES) {
            let greeted = async {
                let stream = self.dialer.dial(SocketAddr::new(address, node.port), &node.host).await?;
                self.greet(Link::new(stream)).await
            };
            match timeout(limit, greeted).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => last = error,
                Err(_) => last = AskError::Timeout(limit),
            }
        }
        Err(last)
    }

    async fn greet(
        &self,
        mut link: Link<Stream>,
    ) -> Result<(Link<Stream>, Option<ServerIdentity>), AskError> {
        let (user, password) = (self.settings.user.as_deref(), self.settings.password.as_ref());
        let mut handshake = Handshake::new(self.protocol, user, password, 0);
        let mut requests = Vec::new();
        handshake.request(&mut requests);
        link.send(&requests).await?;
        while handshake.on_reply(&link.reply().await?)? == Progress::Pending {}
        Ok((link, handshake.identity().cloned()))
    }
}

/// For servers whose HELLO did not tell. A refusal is no reason to do without the topology.
async fn ask_server(link: &mut Link<Stream>) -> Result<Option<ServerIdentity>, AskError> {
    link.send(b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n").await?;
    let reply = link.reply().await?;
    let info = Value::parse(&reply).map_err(TopologyError::from)?;
    Ok(ServerIdentity::from_info(&String::from_utf8_lossy(info.text().unwrap_or_default())))
}

/// CLUSTER SHARDS, or CLUSTER SLOTS where the former is refused: unknown before Redis 7, or not allowed.
async fn ask_topology(
    link: &mut Link<Stream>,
    node: &Endpoint,
    over_tls: bool,
) -> Result<(Vec<Shard>, View), AskError> {
    link.send(b"*2\r\n$7\r\nCLUSTER\r\n$4\r\nINFO\r\n*2\r\n$7\r\nCLUSTER\r\n$6\r\nSHARDS\r\n").await?;
    let (info, reply) = (link.reply().await?, link.reply().await?);
    let shards = match parse_shards(&reply, &node.host, over_tls) {
        Err(TopologyError::Refused(reason)) => {
            debug!(%node, reason, "no CLUSTER SHARDS, asking for CLUSTER SLOTS");
            link.send(b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n").await?;
            parse_slots(&link.reply().await?, &node.host)?
        }
        shards => shards?,
    };
    let info = Value::parse(&info).map_err(TopologyError::from)?;
    let info = String::from_utf8_lossy(info.text().unwrap_or_default());
    let view = View::new(served_slots(&shards), &info);
    Ok((shards, view))
}

/// COMMAND. What comes of it is no reason to do without the topology, so it is asked last.
async fn ask_commands(link: &mut Link<Stream>, limit: Duration) -> Result<Vec<Spec>, LearnFailure> {
    let question = async {
        link.send(b"*1\r\n$7\r\nCOMMAND\r\n").await?;
        Ok(learned::read(&link.reply_within(MAX_COMMANDS).await?)?)
    };
    timeout(limit, question).await.unwrap_or(Err(LearnFailure::Timeout(limit)))
}
