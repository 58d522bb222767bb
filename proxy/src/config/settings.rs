//! Checked settings: what the rest of the proxy reads. A value of these types is valid.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::fleet::FleetSettings;
use super::tenants::TenantSettings;
use crate::cluster::slot_map::Endpoint;
use crate::tls::acceptor::{ClientAuth, ServerFiles};
use crate::tls::connector::ClientFiles;

/// Everything the proxy is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where clients connect without TLS; empty only where [`Self::tls`] is set.
    pub listen: Vec<SocketAddr>,
    /// Where `/metrics`, `/health` and `/ready` are served; `None` opens no admin port.
    pub admin: Option<SocketAddr>,
    /// Worker threads, each with its own runtime; at least 1.
    pub threads: usize,
    /// How long a graceful end waits for what is in flight.
    pub grace_period: Duration,
    /// How long an end that was asked for waits, while clients are still let in, until balancers have seen it.
    pub leave_delay: Duration,
    /// Where a new process asks this one for its listening sockets; `None`: nowhere.
    pub takeover: Option<PathBuf>,
    /// How long a new process may take until it could serve.
    pub takeover_timeout: Duration,
    /// When the settings are read again.
    pub reload: ReloadOn,
    /// What clients may do.
    pub clients: ClientSettings,
    /// Where and how clients are served over TLS; `None`: nowhere.
    pub tls: Option<TlsSettings>,
    /// Backend connections that belong to one client for a while.
    pub private: PrivateSettings,
    /// Who may log in, and what as: the tenant of the users that name none first. Where no tenant has users everybody
    /// is that one, without a password.
    pub tenants: Vec<TenantSettings>,
    /// What stands behind the proxy: at least one cluster, the one of clients that have not logged in first. No name
    /// is twice.
    pub clusters: Vec<ClusterSettings>,
    /// The fleet that this proxy is one of; `None`: it stands alone.
    pub fleet: Option<FleetSettings>,
    /// How host names are resolved.
    pub dns: DnsSettings,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// When the settings are read again while the proxy runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReloadOn {
    /// When a file that they were read from has changed, and at SIGHUP.
    Watch,
    /// At SIGHUP only.
    Signal,
    /// Never.
    Off,
}

/// Limits and socket options of client connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSettings {
    /// Most clients at once.
    pub max_clients: usize,
    /// Listen backlog.
    pub backlog: u32,
    /// Close a client that sent nothing for this long; `None` never.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become, a fifth more or less, before it is closed between two requests.
    pub max_age: Option<Duration>,
    /// How much longer those may stay that are in a transaction, blocked or listening.
    pub age_grace: Duration,
    /// Close a client that has not authenticated for this long, where users are set.
    pub auth_timeout: Duration,
    /// Idle time before TCP keepalive probes; `None` turns them off.
    pub keepalive: Option<Duration>,
    /// TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged; `None` leaves the kernel's.
    pub tcp_user_timeout: Option<Duration>,
    /// Largest single argument in bytes.
    pub max_bulk_bytes: usize,
    /// Largest whole request in bytes.
    pub max_request_bytes: usize,
    /// Most arguments of a request.
    pub max_args: usize,
    /// Most requests of one client in flight; above it the proxy stops reading from that client.
    pub max_pending: usize,
    /// Bytes of unsent replies above which the proxy stops reading from that client.
    pub reply_high_watermark: usize,
    /// Bytes of unsent replies at which the client is closed.
    pub reply_limit: usize,
    /// Bytes of unsent messages and replies at which a subscriber is closed.
    pub pubsub_output_hard: usize,
    /// The same where it stays above for [`Self::pubsub_output_soft_time`].
    pub pubsub_output_soft: usize,
    /// See there.
    pub pubsub_output_soft_time: Duration,
    /// Bytes that the process may have allocated: above it the clients that hold most are closed; `None`
    /// sets no limit.
    pub memory_limit: Option<usize>,
}

/// Clients over TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// Where they connect; at least one address.
    pub listen: Vec<SocketAddr>,
    /// What they are shown and believed by.
    pub files: ServerFiles,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// Backend connections that belong to one client for a while: it blocks on one, or watches keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrivateSettings {
    /// Most private connections of the process.
    pub max_connections: usize,
    /// Most private connections of the process to one node.
    pub max_per_node: usize,
    /// Most idle ones that each worker keeps for the next client, to one node.
    pub idle_per_node: usize,
    /// How long an idle one is kept.
    pub idle_timeout: Duration,
    /// What happens to a command that needs one where no more may be opened.
    pub at_limit: AtLimit,
    /// Whether a blocking command is first asked in its form that does not block, over a shared connection.
    pub try_first: bool,
    /// Buckets of a client's table of private connections. Benchmarks only: what one entry a slot would cost.
    pub table_buckets: usize,
}

/// What happens at a limit of private connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtLimit {
    /// The command waits for a place, for as long as it would have waited for data.
    Wait,
    /// The command is refused.
    Refuse,
}

/// The name of the cluster that `[cluster]` describes.
pub const DEFAULT_CLUSTER: &str = "default";

/// One cluster behind the proxy and how it is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterSettings {
    /// What it is called in tenants, logs and metrics.
    pub name: String,
    /// The kind of backend.
    pub backend: BackendKind,
    /// Log in to backends as this user; `None`: AUTH with the password only.
    pub user: Option<String>,
    /// Log in to backends with this password; `None`: no AUTH.
    pub password: Option<Secret>,
    /// Connect over TLS by these; `None`: without.
    pub tls: Option<ClientFiles>,
    /// How long a connection and its handshakes may take.
    pub connect_timeout: Duration,
    /// How long a command may take from being read to being answered.
    pub command_timeout: Duration,
    /// How often the topology is asked for without a reason.
    pub refresh_interval: Duration,
    /// Shortest pause between refreshes for a reason (a redirect, a lost node).
    pub refresh_min_interval: Duration,
    /// First and largest pause before a lost connection is tried again.
    pub reconnect_backoff: (Duration, Duration),
    /// Multiplexed connections per worker, node and lane; at least 1.
    pub connections_per_node: usize,
    /// Most bytes waiting for one backend connection before its clients are no longer read.
    pub backend_high_watermark: usize,
    /// What becomes of a command whose keys are in several slots and that no server can run.
    pub cross_slot: CrossSlot,
    /// Bytes that such commands of one worker may hold together on their way between slots.
    pub cross_slot_memory: usize,
    /// What becomes of a transaction whose keys are in several slots.
    pub cross_slot_transactions: CrossSlotTransactions,
    /// Most bytes of scripts that are kept to be given to servers that lack them; 0: none.
    pub script_cache: usize,
    /// Who answers reads; anything but [`ReadFrom::Primary`] with a cluster only.
    pub read_from: ReadFrom,
    /// Bytes of its primary's replication stream that a replica may lack and still be read from; `None`: any
    /// number.
    pub max_replica_lag: Option<usize>,
}

/// What becomes of a transaction whose keys are in several slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrossSlotTransactions {
    /// Each shard runs its part in one, see [`crate::route::plan::per_shard`].
    PerShard,
    /// CROSSSLOT when such a command is queued.
    Refuse,
}

/// What becomes of a command whose keys are in several slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrossSlot {
    /// It is carried out in steps, see [`crate::route::plan`].
    BestEffort,
    /// CROSSSLOT, as a node would say.
    Refuse,
}

/// Which node of a shard answers commands that only read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFrom {
    /// The primary, always.
    Primary,
    /// A replica; the primary where none is usable.
    Replica,
    /// Whichever answers soonest, the primary among them.
    Nearest,
}

/// The kinds of backends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BackendKind {
    /// A Redis or Valkey Cluster, discovered from any of these.
    Cluster {
        /// Nodes to ask for the topology, at least one.
        seeds: Vec<Endpoint>,
    },
    /// One server that owns every slot.
    Standalone {
        /// The server.
        endpoint: Endpoint,
        /// How many numbered databases SELECT accepts.
        databases: u16,
    },
    /// Standalone servers that share the slots evenly, in this order.
    Shards {
        /// The servers, at least one.
        endpoints: Vec<Endpoint>,
        /// How many numbered databases SELECT accepts.
        databases: u16,
    },
}

/// How host names are resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsSettings {
    /// DNS servers to ask; empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// Shortest time an answer is used, whatever its TTL says.
    pub min_ttl: Duration,
    /// Longest time an answer is used, whatever its TTL says.
    pub max_ttl: Duration,
    /// How long one look-up may take.
    pub timeout: Duration,
}

/// What is logged, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// A level, or targets with levels: `info,slotway::cluster=debug`.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Time, level, target, message, fields.
    Text,
    /// The same without the time: the system's journal writes its own.
    Journal,
}

/// A password: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `password`.
    #[must_use]
    pub fn new(password: String) -> Self {
        Self(password)
    }

    /// The password itself: for the bytes of AUTH, nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            // The servers' own `maxclients`.
            max_clients: 10_000,
            // Twice the servers' 511: a fleet's clients come back all at once. The kernel caps it at somaxconn.
            backlog: 1_024,
            idle_timeout: None,
            max_age: None,
            age_grace: Duration::from_secs(300),
            auth_timeout: Duration::from_secs(10),
            // Below what balancers take for idle (AWS NLB: 350 s), and low enough for this:
            keepalive: Some(Duration::from_secs(60)),
            // Not below `socket::given_up` of it. A client whose machine vanished is noticed within it.
            tcp_user_timeout: Some(Duration::from_secs(120)),
            // The servers' own `proto-max-bulk-len`.
            max_bulk_bytes: 512 << 20,
            // The servers' own `client-query-buffer-limit`.
            max_request_bytes: 1 << 30,
            // The servers' own limit of a multibulk count.
            max_args: 1 << 20,
            max_pending: 1_024,
            reply_high_watermark: 1 << 20,
            // The servers' own hard limit for replicas; for clients they have none.
            reply_limit: 1 << 30,
            // The servers' own `client-output-buffer-limit pubsub`.
            pubsub_output_hard: 32 << 20,
            pubsub_output_soft: 8 << 20,
            pubsub_output_soft_time: Duration::from_secs(60),
            memory_limit: None,
        }
    }
}

impl Default for PrivateSettings {
    fn default() -> Self {
        Self {
            // Each is a socket here and one at the node; the open files are most machines' nearest limit.
            max_connections: 100_000,
            // The servers' own `maxclients` is 10,000: leaves room for shared connections and for other clients.
            max_per_node: 8_000,
            idle_per_node: 1_024,
            idle_timeout: Duration::from_secs(10),
            at_limit: AtLimit::Wait,
            try_first: true,
            table_buckets: 16,
        }
    }
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(60),
            timeout: Duration::from_secs(2),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// The summary that `slotway check` prints: one line a topic, no secrets.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let admin = self.admin.map_or_else(|| "off".to_owned(), |address| address.to_string());
        match self.listen.as_slice() {
            [] => writeln!(f, "listen    off")?,
            listen => writeln!(f, "listen    {}", joined(listen))?,
        }
        if let Some(tls) = &self.tls {
            writeln!(f, "tls       {tls}")?;
        }
        writeln!(f, "admin     {admin}")?;
        writeln!(f, "threads   {}", self.threads)?;
        writeln!(f, "clients   at most {}", self.clients.max_clients)?;
        for tenant in &self.tenants {
            writeln!(f, "tenant    {tenant}")?;
        }
        if let Some(fleet) = &self.fleet {
            writeln!(f, "{fleet}")?;
        }
        for cluster in &self.clusters {
            // With one cluster nobody needs its name.
            if self.clusters.len() > 1 {
                writeln!(f, "cluster   {}", cluster.name)?;
            }
            write!(f, "{cluster}")?;
        }
        write!(f, "log       {}", self.log.filter)
    }
}

impl fmt::Display for ClusterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.tls.is_some() { ", over TLS" } else { "" };
        writeln!(f, "backend   {}{over}", self.backend)?;
        writeln!(f, "reads     from {}", self.read_from)?;
        match (&self.user, &self.password) {
            (_, None) => writeln!(f, "login     none"),
            (None, Some(_)) => writeln!(f, "login     with a password"),
            (Some(user), Some(_)) => writeln!(f, "login     as {user} with a password"),
        }
    }
}

impl fmt::Display for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.files.names.len();
        let clients = match self.files.client_auth {
            ClientAuth::Off => "no certificates of clients",
            ClientAuth::Optional => "certificates of clients optional",
            ClientAuth::Required => "certificates of clients required",
        };
        write!(f, "{}, {} certificates, {clients}", joined(&self.listen), names + 1)
    }
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Nearest => "nearest",
        })
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { seeds } => write!(f, "a cluster, seeds {}", joined(seeds)),
            Self::Standalone { endpoint, databases } => {
                write!(f, "one server, {endpoint}, {databases} databases")
            }
            Self::Shards { endpoints, databases } => {
                write!(f, "{} shards, {}, {databases} databases", endpoints.len(), joined(endpoints))
            }
        }
    }
}

fn joined(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
