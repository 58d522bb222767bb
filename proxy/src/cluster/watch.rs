//! ◆ Watches the replicas: asks the nodes of each shard that has any, once a second and after each new slot map, how
//! their replication is, and publishes which nodes reads go to. Runs only where reads may leave the primary.
#![expect(
    clippy::disallowed_methods,
    reason = "I/O: owns a connection to each node, and the clock that round trips are measured by"
)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{Instrument, debug, info};

use super::id::log_span;
use super::link::Link;
use super::published::Topology;
use super::readers::{Counts, Heard, Survey};
use super::replication::Replication;
use super::slot_map::{Endpoint, NodeIndex, SlotMap};
use crate::backend::connect::Connector;
use crate::backend::dial::Dialer;
use crate::backend::lane::Lane;
use crate::config::settings::{ClusterSettings, ReadFrom};
use crate::dns::resolver::Resolver;
use crate::metrics::Metrics;
use crate::resp::value::Value;
use crate::stream::Stream;

/// How often each node is asked: what bounds how long a replica that is not well any more is still read from.
const INTERVAL: Duration = Duration::from_secs(1);

/// The running task; dropping this ends it.
pub struct Watch {
    connector: Arc<Connector>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch on the runtime `control`; `None` where every read goes to a primary.
    #[must_use]
    pub fn start(
        settings: &ClusterSettings,
        resolver: Arc<Resolver>,
        dialer: Dialer,
        topology: Arc<Topology>,
        metrics: Arc<Metrics>,
        control: &Handle,
    ) -> Option<Self> {
        if settings.read_from == ReadFrom::Primary {
            return None;
        }
        let max_lag = settings.max_replica_lag.map(|bytes| bytes as u64);
        let connector = Arc::new(Connector::new(settings.clone(), resolver, dialer, Arc::default()));
        let task = Task {
            survey: Survey::new(settings.read_from, max_lag),
            connector: Arc::clone(&connector),
            topology,
            metrics,
            connections: HashMap::new(),
            busy: HashSet::new(),
        };
        Some(Self { connector, task: control.spawn(task.run().instrument(log_span(&settings.name))) })
    }

    /// From here on it connects by these settings. Who may be read from is as it was.
    pub fn follow(&self, settings: &ClusterSettings) {
        self.connector.follow(settings);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Connection = Link<Stream>;

struct Task {
    survey: Survey,
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    metrics: Arc<Metrics>,
    /// One a node, while nobody is asked over it.
    connections: HashMap<Endpoint, Connection>,
    /// The primaries of shards that are being asked.
    busy: HashSet<Endpoint>,
}

/// What became of asking a node.
struct Asked {
    node: Endpoint,
    connection: Option<Connection>,
    heard: Option<Heard>,
}

impl Task {
    async fn run(mut self) {
        let mut changes = self.topology.watch();
        let mut asked = JoinSet::new();
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(due) => due = Instant::now() + INTERVAL,
                changed = changes.changed() => if changed.is_err() { return },
                Some(shard) = asked.join_next() => {
                    self.take(shard.unwrap_or_default());
                    continue;
                }
            }
            self.ask_all(&mut asked);
        }
    }

    /// Begins to ask every shard that has replicas and is not being asked: one that does not answer holds up
    /// no other.
    fn ask_all(&mut self, asked: &mut JoinSet<Vec<Asked>>) {
        let map = self.topology.slot_map();
        self.survey.follow(&map);
        let known: HashSet<_> = map.nodes().iter().map(|node| &node.endpoint).collect();
        self.connections.retain(|node, _| known.contains(node));
        if asked.is_empty() {
            self.busy.clear();
        }
        for primary in (0..map.primaries().len() as u16).map(NodeIndex) {
            let nodes = shard(&map, primary);
            if nodes.len() > 1 && self.busy.insert(nodes[0].clone()) {
                let nodes = nodes.into_iter().map(|node| {
                    let connection = self.connections.remove(&node);
                    (node, connection)
                });
                let limit = self.connector.connect_timeout();
                asked.spawn(ask_shard(self.connector.clone(), limit, nodes.collect()));
            }
        }
        self.publish();
    }

    /// Takes over what a shard's nodes said.
    fn take(&mut self, shard: Vec<Asked>) {
        let Some(primary) = shard.first() else { return };
        self.busy.remove(&primary.node);
        let mut answers = Vec::with_capacity(shard.len());
        for Asked { node, connection, heard } in shard {
            if let Some(connection) = connection {
                self.connections.insert(node.clone(), connection);
            }
            answers.push((node, heard));
        }
        for (node, standing) in self.survey.on_shard(&answers) {
            info!(%node, ?standing, "replica");
        }
        self.publish();
    }

    fn publish(&self) {
        self.topology.publish_readers(self.survey.readers());
        let Counts { usable, unreachable, unlinked, lagging, moving } = self.survey.counts();
        let metrics = self.metrics.control();
        metrics.replicas_usable.set(usable);
        metrics.replicas_unreachable.set(unreachable);
        metrics.replicas_unlinked.set(unlinked);
        metrics.replicas_lagging.set(lagging);
        metrics.replicas_moving.set(moving);
    }
}

/// A primary, and its replicas behind it.
fn shard(map: &SlotMap, primary: NodeIndex) -> Vec<Endpoint> {
    let nodes = std::iter::once(primary).chain(map.replicas(primary));
    nodes.filter_map(|index| Some(map.nodes().get(usize::from(index.0))?.endpoint.clone())).collect()
}

/// Asks the primary first: whatever it has written by then a replica that is asked behind it has or lacks, for
/// sure. Other way round, what is written in between would look like lag.
async fn ask_shard(
    connector: Arc<Connector>,
    limit: Duration,
    nodes: Vec<(Endpoint, Option<Connection>)>,
) -> Vec<Asked> {
    let mut nodes = nodes.into_iter();
    let mut answers = Vec::with_capacity(nodes.len());
    if let Some((primary, connection)) = nodes.next() {
        answers.push(ask(connector.clone(), limit, primary, connection).await);
    }
    let mut replicas = JoinSet::new();
    for (node, connection) in nodes {
        replicas.spawn(ask(connector.clone(), limit, node, connection));
    }
    while let Some(answer) = replicas.join_next().await {
        answers.extend(answer.ok());
    }
    answers
}

/// Asks a node over the connection that there is; over a new one where there is none, or it was closed.
async fn ask(
    connector: Arc<Connector>,
    limit: Duration,
    node: Endpoint,
    connection: Option<Connection>,
) -> Asked {
    if let Some(mut connection) = connection {
        match timeout(limit, heard(&mut connection)).await {
            Ok(Some(heard)) => return Asked { node, connection: Some(connection), heard: Some(heard) },
            Ok(None) => {}
            Err(_) => return Asked { node, connection: None, heard: None },
        }
    }
    let Ok(stream) = connector.open(&node, Lane::default()).await else {
        return Asked { node, connection: None, heard: None };
    };
    let mut connection = Link::new(stream);
    let heard = timeout(limit, heard(&mut connection)).await.ok().flatten();
    if heard.is_none() {
        debug!(%node, "node does not tell of its replication");
    }
    Asked { node, connection: heard.map(|_| connection), heard }
}

async fn heard(connection: &mut Connection) -> Option<Heard> {
    let began = Instant::now();
    // Two questions: before Redis 7 one takes one section.
    let questions = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n*2\r\n$4\r\nINFO\r\n$5\r\nstats\r\n";
    connection.send(questions).await.ok()?;
    let replication = connection.reply().await.ok()?;
    let round_trip = began.elapsed();
    let stats = connection.reply().await.ok()?;
    let mut info = String::new();
    for section in [&replication, &stats] {
        info.push_str(std::str::from_utf8(Value::parse(section).ok()?.text()?).ok()?);
    }
    Some(Heard { replication: Replication::parse(&info)?, round_trip })
}
