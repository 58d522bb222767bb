//! What all workers of one cluster read and none changes: its settings and its topology's latest snapshot, and what
//! the process has for all clusters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::dial::Dialer;
use crate::backend::handshake::ServerIdentity;
use crate::client::connection::Watermarks;
use crate::client::session::Session;
use crate::cluster::id::ClusterId;
use crate::cluster::published::Topology;
use crate::command::local::cluster::OwnNode;
use crate::config::limits::Limit;
use crate::config::settings::{
    BackendKind, ClientSettings, ClusterSettings, CrossSlot, CrossSlotTransactions, ReadFrom,
};
use crate::metrics::Metrics;
use crate::monitors::Monitors;
use crate::process::Process;
use crate::resp::scan::RequestLimits;
use crate::route::split::Together;
use crate::scripts::store::Store;

/// Shared by all workers of one cluster. What a reload changes is of one generation.
#[derive(Clone)]
pub struct Shared {
    /// What all clusters share.
    pub process: Arc<Process>,
    /// Which of the process's clusters this is.
    pub id: ClusterId,
    /// Its settings.
    pub cluster: ClusterSettings,
    /// What the backends look like now.
    pub topology: Arc<Topology>,
    /// The numbers of this cluster's workers.
    pub metrics: Arc<Metrics>,
    /// [`ClusterSettings`]' command timeout in milliseconds.
    pub command_timeout: u64,
    /// Whether anybody but primaries answers reads.
    pub reads_leave_primary: bool,
    /// [`ClusterSettings`]' connections per node.
    pub connections_per_node: u16,
    /// What the backends take in one request.
    pub together: Together,
    /// How many numbered databases there are.
    pub databases: u16,
    /// When the proxy stops reading from a client.
    pub marks: Watermarks,
    /// How large requests may be of a client that has logged in.
    request_limits: RequestLimits,
    /// How its backends are connected to.
    pub dialer: Dialer,
    /// Who says MONITOR: of this cluster's clients, who are shown nobody else's requests.
    pub monitors: Arc<Monitors>,
    /// Scripts that went through.
    pub scripts: Arc<Store>,
    counts: Arc<Counts>,
}

/// What is counted over all generations.
#[derive(Default, Debug)]
struct Counts {
    /// Commands that take functions away from the servers.
    removed_functions: AtomicU64,
    /// When a server was last given functions that it lacked, by the wall clock in microseconds.
    gave_functions: AtomicU64,
}

impl Shared {
    /// Derives what is derived, for the cluster `id` of the process.
    #[must_use]
    pub fn new(
        process: Arc<Process>,
        id: ClusterId,
        (topology, dialer): (Arc<Topology>, Dialer),
        metrics: Arc<Metrics>,
    ) -> Self {
        let cluster = process.settings.clusters[id.place()].clone();
        let (together, databases) = match &cluster.backend {
            BackendKind::Cluster { .. } => (Together::Slot, 1),
            BackendKind::Standalone { databases, .. } | BackendKind::Shards { databases, .. } => {
                (Together::Shard, *databases)
            }
        };
        let clients = &process.settings.clients;
        Self {
            command_timeout: cluster.command_timeout.as_millis() as u64,
            reads_leave_primary: cluster.read_from != ReadFrom::Primary,
            connections_per_node: cluster.connections_per_node as u16,
            together,
            databases,
            marks: marks(clients),
            request_limits: request_limits(clients),
            topology,
            dialer,
            metrics,
            monitors: Arc::new(Monitors::new(process.settings.threads, clients.pubsub_output_hard)),
            scripts: Arc::new(Store::new(cluster.script_cache)),
            counts: Arc::default(),
            id,
            cluster,
            process,
        }
    }

    /// The same cluster in the next generation of the process.
    #[must_use]
    pub fn next(&self, process: Arc<Process>) -> Self {
        let cluster = process.settings.clusters[self.id.place()].clone();
        let clients = &process.settings.clients;
        self.monitors.set_limit(clients.pubsub_output_hard);
        Self {
            command_timeout: cluster.command_timeout.as_millis() as u64,
            marks: marks(clients),
            request_limits: request_limits(clients),
            cluster,
            process,
            ..self.clone()
        }
    }

    /// Whether commands whose keys are in several slots are carried out in steps.
    #[must_use]
    pub fn crosses_slots(&self) -> bool {
        self.cluster.cross_slot == CrossSlot::BestEffort
    }

    /// Whether a transaction may have keys of several slots.
    #[must_use]
    pub fn transacts_per_shard(&self) -> bool {
        self.cluster.cross_slot_transactions == CrossSlotTransactions::PerShard
    }

    /// A client has functions removed: what is being copied from one server to another may be among them.
    pub fn note_removed_functions(&self) {
        self.counts.removed_functions.fetch_add(1, Ordering::AcqRel);
    }

    /// How often that was.
    #[must_use]
    pub fn removed_functions(&self) -> u64 {
        self.counts.removed_functions.load(Ordering::Acquire)
    }

    /// A server is given functions that it lacked.
    pub fn note_given_functions(&self) {
        self.counts.gave_functions.store((self.process.wall_clock)(), Ordering::Release);
    }

    /// Whether that was within the time of a command: a server may have said that it lacks a function which it has
    /// by now.
    #[must_use]
    pub fn gave_functions_lately(&self) -> bool {
        let since =
            (self.process.wall_clock)().saturating_sub(self.counts.gave_functions.load(Ordering::Acquire));
        since < self.command_timeout.saturating_mul(1_000)
    }

    /// What of a read's time, in milliseconds, a replica does not get: the primary has it, where the replica does not
    /// answer.
    #[must_use]
    pub fn read_time_kept_back(&self) -> u64 {
        self.command_timeout / 2
    }

    /// How large a client's requests may be.
    #[inline]
    #[must_use]
    pub fn request_limits(&self) -> &RequestLimits {
        &self.request_limits
    }

    /// The same of a guarded client: less before it has logged in, or where its tenant has less.
    #[must_use]
    pub fn guarded_limits(&self, session: &Session) -> RequestLimits {
        let limits = self.request_limits;
        let Some(member) = session.login().member() else { return RequestLimits::UNAUTHENTICATED };
        let own = member.tenant.limits().and_then(|limits| limits.bound(Limit::MaxValue));
        match own.map(|bound| bound.most as usize).filter(|most| *most < limits.bulk) {
            Some(value) => RequestLimits { bulk: value, value, ..limits },
            None => limits,
        }
    }

    /// What this cluster's backends call themselves, see [`Process::server`].
    #[must_use]
    pub fn server(&self) -> Arc<ServerIdentity> {
        self.process.server(self.id)
    }

    /// This process as the one node of a cluster, for CLUSTER's subcommands. Clients are told the address
    /// that they reached us at.
    #[must_use]
    pub fn own_node(&self, local: SocketAddr) -> OwnNode {
        OwnNode { id: self.process.node_id, address: local }
    }
}

fn marks(clients: &ClientSettings) -> Watermarks {
    Watermarks {
        pending: clients.max_pending,
        output: clients.reply_high_watermark,
        output_limit: clients.reply_limit,
        pubsub_hard: clients.pubsub_output_hard,
        pubsub_soft: clients.pubsub_output_soft,
        pubsub_soft_time: clients.pubsub_output_soft_time.as_millis() as u64,
    }
}

fn request_limits(clients: &ClientSettings) -> RequestLimits {
    RequestLimits {
        value: usize::MAX,
        args: clients.max_args,
        bulk: clients.max_bulk_bytes,
        frame: clients.max_request_bytes,
    }
}
