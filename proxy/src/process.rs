//! What the process has once, whatever clusters it serves: its settings, its tenants, its identity, its limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::handshake::ServerIdentity;
use crate::backend::logins::Logins;
use crate::client::session::Login;
use crate::cluster::id::ClusterId;
use crate::cluster::published::Topology;
use crate::command::local::cluster::NodeId;
use crate::config::settings::Settings;
use crate::entry::board::Board;
use crate::entry::publish::ledger::Ledger;
use crate::entry::traffic::Meter;
use crate::private::caps::Caps;
use crate::tenant::directory::Directory;
use crate::tenant::logins::FailedLogins;
use crate::tenant::script::Names;
use crate::tls::acceptor::ServerFiles;
use crate::tls::certificates::Certificates;
use crate::tls::identity::PeerIdentity;

/// Shared by all workers of all clusters. What a reload changes is of one generation; the rest is the same in all.
#[derive(Clone)]
pub struct Process {
    /// As checked.
    pub settings: Settings,
    /// Counts the settings that were applied, from 1.
    pub generation: u64,
    /// When these were, in microseconds since 1970.
    pub applied_at: u64,
    /// Who may log in.
    pub tenants: Arc<Directory>,
    /// The users that tenants are at the backends.
    pub logins: Arc<Logins>,
    /// Where logins failed lately.
    pub failed_logins: Arc<FailedLogins>,
    /// What scripts of namespaces are called there and at the servers.
    pub script_names: Arc<Names>,
    /// What TLS clients are served by; `None` where no listener speaks TLS.
    pub certificates: Option<Arc<Certificates<ServerFiles>>>,
    /// New with each process: what the servers call run_id, and our node id.
    pub node_id: NodeId,
    /// How many private connections there may be.
    pub caps: Arc<Caps>,
    /// Microseconds since 1970, for TIME.
    pub wall_clock: fn() -> u64,
    /// What the allocator says.
    pub memory: fn() -> Memory,
    /// What each cluster's backends look like now.
    topologies: Vec<Arc<Topology>>,
    /// The newest plan for the fleet's entries.
    pub board: Board,
    /// How those fare that hand it on.
    pub ledger: Arc<Ledger>,
    /// What came through each entry.
    pub meter: Arc<Meter>,
    counts: Arc<Counts>,
}

/// What is counted over all generations.
#[derive(Debug)]
struct Counts {
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
    /// See [`Process::node_id`].
    pub node_id: [u8; 20],
    /// See [`Process::wall_clock`].
    pub wall_clock: fn() -> u64,
    /// See [`Process::memory`].
    pub memory: fn() -> Memory,
    /// See [`Process::certificates`].
    pub certificates: Option<Arc<Certificates<ServerFiles>>>,
}

impl Process {
    /// A process of these settings; of each cluster what its discovery publishes.
    #[must_use]
    pub fn new(settings: Settings, topologies: Vec<Arc<Topology>>, surroundings: Surroundings) -> Self {
        let logins = Arc::<Logins>::default();
        Self {
            topologies,
            caps: Arc::new(Caps::new(settings.private.max_connections, settings.private.max_per_node)),
            tenants: Arc::new(Directory::new(&settings.tenants, &settings.clusters, &logins)),
            logins,
            failed_logins: Arc::default(),
            script_names: Arc::default(),
            certificates: surroundings.certificates,
            node_id: NodeId(surroundings.node_id),
            wall_clock: surroundings.wall_clock,
            memory: surroundings.memory,
            board: Board::default(),
            ledger: Arc::default(),
            meter: Arc::default(),
            counts: Arc::new(Counts { next_client_id: AtomicU64::new(1), memory_excess: Default::default() }),
            generation: 1,
            applied_at: (surroundings.wall_clock)(),
            settings,
        }
    }

    /// The next generation, with these settings. What a reload can't change has to be as it is, see
    /// [`crate::config::changes`].
    #[must_use]
    pub fn next(&self, settings: Settings) -> Self {
        let tenants = if settings.tenants == self.settings.tenants {
            Arc::clone(&self.tenants)
        } else {
            Arc::new(self.tenants.succeeded_by(&settings.tenants, &settings.clusters, &self.logins))
        };
        let (generation, applied_at) = (self.generation + 1, (self.wall_clock)());
        Self { generation, applied_at, tenants, settings, ..self.clone() }
    }

    /// Has what outlives the generations keep this one's limits.
    pub fn take_over(&self) {
        self.caps.set_limits(self.settings.private.max_connections, self.settings.private.max_per_node);
        if self.settings.clients.memory_limit.is_none() {
            self.counts.memory_excess.0.store(0, Ordering::Relaxed);
        }
    }

    /// A number that no other client of this process has.
    pub fn next_client_id(&self) -> u64 {
        self.counts.next_client_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Measures the process's memory against its limit, for [`Self::memory_excess`]. One thread calls this.
    pub fn measure_memory(&self) {
        let Some(limit) = self.settings.clients.memory_limit else { return };
        let excess = (self.memory)().allocated.saturating_sub(limit as u64);
        self.counts.memory_excess.0.store(excess, Ordering::Relaxed);
        self.counts.memory_excess.1.fetch_add(1, Ordering::Release);
    }

    /// What one thread has to give back, and the number of the measurement, by which the thread knows
    /// whether it already has.
    #[must_use]
    pub fn memory_excess(&self) -> (u64, u64) {
        let measurement = self.counts.memory_excess.1.load(Ordering::Acquire);
        (
            self.counts.memory_excess.0.load(Ordering::Relaxed).div_ceil(self.settings.threads as u64),
            measurement,
        )
    }

    /// How a client begins: as the user that its certificate is of; logged in where no users are set, or the default
    /// user needs no password; who came in by a
    /// door of `tenant`'s own as that tenant.
    #[must_use]
    pub fn first_login(&self, tenant: Option<&str>, tls: Option<&PeerIdentity>) -> Login {
        let certificate = tls.and_then(|tls| tls.certificate.as_deref());
        let certified = certificate.and_then(|subject| self.tenants.certified(tenant, subject));
        let member = certified.or_else(|| self.tenants.unnamed(tenant));
        member.cloned().map_or(Login::Needed, Login::As)
    }

    /// Whether a client may be of another cluster than it is served by.
    #[must_use]
    pub fn has_several_clusters(&self) -> bool {
        self.topologies.len() > 1
    }

    /// What the backends of a cluster call themselves; before one has answered, the oldest server whose commands are
    /// all known, since clients read a version from it.
    #[must_use]
    pub fn server(&self, cluster: ClusterId) -> Arc<ServerIdentity> {
        let server = self.topologies.get(cluster.place()).map(|topology| topology.server());
        server
            .filter(|server| !server.version.is_empty())
            .unwrap_or_else(|| Arc::new(ServerIdentity { name: "redis".into(), version: "7.0.0".into() }))
    }

    /// The port of the first listener.
    #[must_use]
    pub fn port(&self) -> u16 {
        let tls = self.settings.tls.iter().flat_map(|tls| &tls.listen);
        self.settings.listen.iter().chain(tls).next().map_or(0, SocketAddr::port)
    }
}
