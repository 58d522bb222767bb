//! What all workers read and none changes: settings, commands, the topology's latest snapshot, identity.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::backend::dial::Dialer;
use crate::backend::handshake::ServerIdentity;
use crate::backend::logins::Logins;
use crate::client::connection::Watermarks;
use crate::client::session::{Login, Session};
use crate::cluster::published::Topology;
use crate::command::local::cluster::{NodeId, OwnNode};
use crate::config::limits::Limit;
use crate::config::settings::{BackendKind, CrossSlot, CrossSlotTransactions, ReadFrom, Settings};
use crate::metrics::Metrics;
use crate::monitors::Monitors;
use crate::private::caps::Caps;
use crate::resp::scan::RequestLimits;
use crate::route::split::Together;
use crate::scripts::store::Store;
use crate::tenant::directory::Directory;
use crate::tenant::logins::FailedLogins;
use crate::tenant::script::Names;
use crate::tls::acceptor::ServerFiles;
use crate::tls::certificates::Certificates;

/// Shared by all workers of the process; built once.
pub struct Shared {
    /// As checked.
    pub settings: Settings,
    /// Who may log in, as of the last reload.
    pub tenants: ArcSwap<Directory>,
    /// The users that tenants are at the backends.
    pub logins: Arc<Logins>,
    /// Where logins failed lately.
    pub failed_logins: FailedLogins,
    /// What the backends look like now.
    pub topology: Arc<Topology>,
    /// Everyone's numbers.
    pub metrics: Arc<Metrics>,
    /// [`Settings`]' command timeout in milliseconds.
    pub command_timeout: u64,
    /// Whether anybody but primaries answers reads.
    pub reads_leave_primary: bool,
    /// [`Settings`]' connections per node.
    pub connections_per_node: u16,
    /// What the backends take in one request.
    pub together: Together,
    /// How many numbered databases there are.
    pub databases: u16,
    /// New with each process: what the servers call run_id, and our node id.
    pub node_id: NodeId,
    /// How many private connections there may be.
    pub caps: Arc<Caps>,
    /// When the proxy stops reading from a client.
    pub marks: Watermarks,
    /// How large the requests of a client that is logged in may be.
    request_limits: RequestLimits,
    /// Microseconds since 1970, for TIME.
    pub wall_clock: fn() -> u64,
    /// What the allocator says.
    pub memory: fn() -> Memory,
    /// How backends are connected to.
    pub dialer: Dialer,
    /// What TLS clients are served by; `None` where no listener speaks TLS.
    pub certificates: Option<Arc<Certificates<ServerFiles>>>,
    /// Who says MONITOR.
    pub monitors: Monitors,
    /// Scripts that went through.
    pub scripts: Arc<Store>,
    /// What scripts of namespaces are called there and at the servers.
    pub script_names: Names,
    /// Counts commands that take functions away from the servers.
    removed_functions: AtomicU64,
    /// When a server was last given functions that it lacked, by the wall clock in microseconds.
    gave_functions: AtomicU64,
    next_client_id: AtomicU64,
    /// By how much the process is above its memory limit, and the number of the measurement that said so.
    memory_excess: (AtomicU64, AtomicU64),
}

/// Memory of the process in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Handed out to the program.
    pub allocated: u64,
    /// Held in physical pages.
    pub resident: u64,
}

/// What a process takes from its surroundings.
#[derive(Debug)]
pub struct Surroundings {
    /// See [`Shared::node_id`].
    pub node_id: [u8; 20],
    /// See [`Shared::wall_clock`].
    pub wall_clock: fn() -> u64,
    /// See [`Shared::memory`].
    pub memory: fn() -> Memory,
    /// See [`Shared::dialer`].
    pub dialer: Dialer,
    /// See [`Shared::certificates`].
    pub certificates: Option<Arc<Certificates<ServerFiles>>>,
}

impl Shared {
    /// Derives what is derived.
    #[must_use]
    pub fn new(
        settings: Settings,
        topology: Arc<Topology>,
        metrics: Arc<Metrics>,
        surroundings: Surroundings,
    ) -> Self {
        let (together, databases) = match &settings.cluster.backend {
            BackendKind::Cluster { .. } => (Together::Slot, 1),
            BackendKind::Standalone { databases, .. } | BackendKind::Shards { databases, .. } => {
                (Together::Shard, *databases)
            }
        };
        let logins = Arc::<Logins>::default();
        Self {
            command_timeout: settings.cluster.command_timeout.as_millis() as u64,
            reads_leave_primary: settings.cluster.read_from != ReadFrom::Primary,
            connections_per_node: settings.cluster.connections_per_node as u16,
            together,
            databases,
            marks: Watermarks {
                pending: settings.clients.max_pending,
                output: settings.clients.reply_high_watermark,
                output_limit: settings.clients.reply_limit,
                pubsub_hard: settings.clients.pubsub_output_hard,
                pubsub_soft: settings.clients.pubsub_output_soft,
                pubsub_soft_time: settings.clients.pubsub_output_soft_time.as_millis() as u64,
            },
            request_limits: RequestLimits {
                value: usize::MAX,
                args: settings.clients.max_args,
                bulk: settings.clients.max_bulk_bytes,
                frame: settings.clients.max_request_bytes,
            },
            caps: Arc::new(Caps::new(settings.private.max_connections, settings.private.max_per_node)),
            topology,
            metrics,
            node_id: NodeId(surroundings.node_id),
            wall_clock: surroundings.wall_clock,
            memory: surroundings.memory,
            dialer: surroundings.dialer,
            certificates: surroundings.certificates,
            monitors: Monitors::new(settings.threads, settings.clients.pubsub_output_hard),
            script_names: Names::default(),
            scripts: Arc::new(Store::new(settings.cluster.script_cache)),
            removed_functions: AtomicU64::new(0),
            gave_functions: AtomicU64::new(0),
            next_client_id: AtomicU64::new(1),
            memory_excess: Default::default(),
            tenants: ArcSwap::from_pointee(Directory::new(&settings.tenants, &logins)),
            logins,
            failed_logins: FailedLogins::default(),
            settings,
        }
    }

    /// Whether commands whose keys are in several slots are carried out in steps.
    #[must_use]
    pub fn crosses_slots(&self) -> bool {
        self.settings.cluster.cross_slot == CrossSlot::BestEffort
    }

    /// Whether a transaction may have keys of several slots.
    #[must_use]
    pub fn transacts_per_shard(&self) -> bool {
        self.settings.cluster.cross_slot_transactions == CrossSlotTransactions::PerShard
    }

    /// A client has functions removed: what is being copied from one server to another may be among them.
    pub fn note_removed_functions(&self) {
        self.removed_functions.fetch_add(1, Ordering::AcqRel);
    }

    /// How often that was.
    #[must_use]
    pub fn removed_functions(&self) -> u64 {
        self.removed_functions.load(Ordering::Acquire)
    }

    /// A server is given functions that it lacked.
    pub fn note_given_functions(&self) {
        self.gave_functions.store((self.wall_clock)(), Ordering::Release);
    }

    /// Whether that was within the time of a command: a server may have said that it lacks a function which it has
    /// by now.
    #[must_use]
    pub fn gave_functions_lately(&self) -> bool {
        let since = (self.wall_clock)().saturating_sub(self.gave_functions.load(Ordering::Acquire));
        since < self.command_timeout.saturating_mul(1_000)
    }

    /// A number that no other client of this process has.
    pub fn next_client_id(&self) -> u64 {
        self.next_client_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Measures the process's memory against its limit, for [`Self::memory_excess`]. One thread calls this.
    pub fn measure_memory(&self) {
        let Some(limit) = self.settings.clients.memory_limit else { return };
        let excess = (self.memory)().allocated.saturating_sub(limit as u64);
        self.memory_excess.0.store(excess, Ordering::Relaxed);
        self.memory_excess.1.fetch_add(1, Ordering::Release);
    }

    /// What one worker has to give back, and the number of the measurement, by which the worker knows
    /// whether it already has.
    #[must_use]
    pub fn memory_excess(&self) -> (u64, u64) {
        let measurement = self.memory_excess.1.load(Ordering::Acquire);
        (self.memory_excess.0.load(Ordering::Relaxed).div_ceil(self.settings.threads as u64), measurement)
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

    /// How a client begins: logged in where no users are set, or the default user needs no password.
    #[must_use]
    pub fn first_login(&self) -> Login {
        self.tenants.load().unnamed().cloned().map_or(Login::Needed, Login::As)
    }

    /// What the backends call themselves; before one has answered, the oldest server whose commands are all
    /// known, since clients read a version from it.
    #[must_use]
    pub fn server(&self) -> Arc<ServerIdentity> {
        let server = self.topology.server();
        if !server.version.is_empty() {
            return server;
        }
        Arc::new(ServerIdentity { name: "redis".into(), version: "7.0.0".into() })
    }

    /// This process as the one node of a cluster, for CLUSTER's subcommands. Clients are told the address
    /// that they reached us at.
    #[must_use]
    pub fn own_node(&self, local: SocketAddr) -> OwnNode {
        OwnNode { id: self.node_id, address: local }
    }

    /// The port of the first listener.
    #[must_use]
    pub fn port(&self) -> u16 {
        let tls = self.settings.tls.iter().flat_map(|tls| &tls.listen);
        self.settings.listen.iter().chain(tls).next().map_or(0, SocketAddr::port)
    }
}
