//! What is counted. Each worker counts in its own cache lines, so that counting costs an addition; readers
//! add the workers up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one worker changes and anybody reads.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. Only the owning worker's thread may call this: two writers would lose counts.
    #[inline]
    pub fn add(&self, amount: u64) {
        // A load and a store, not a locked addition: there is one writer.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes `amount` away from a gauge; as [`Self::add`].
    #[inline]
    pub fn sub(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// Sets a gauge; as [`Self::add`].
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a metric only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Without `slotway_`.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// Where it is counted.
    pub counter: fn(&WorkerMetrics) -> &Counter,
}

macro_rules! metrics {
    ($($name:ident: $kind:ident, $help:literal;)*) => {
        /// What one worker counts.
        #[derive(Default, Debug)]
        #[repr(align(128))]
        pub struct WorkerMetrics {
            $(#[doc = $help] pub $name: Counter,)*
        }

        /// Every metric of a worker, in the order they are shown in.
        pub const ROWS: &[Row] = &[$(Row {
            name: stringify!($name),
            kind: Kind::$kind,
            help: $help,
            counter: |m| &m.$name,
        }),*];
    };
}

metrics! {
    clients: Gauge, "Clients connected now.";
    clients_accepted: Counter, "Clients that connected.";
    clients_refused: Counter, "Clients refused because of the client limit.";
    proxy_headers: Counter, "Connections that began with a PROXY header, where one is expected.";
    proxy_headers_failed: Counter, "Connections closed because no PROXY header came where one is expected.";
    moves_told: Counter, "Clients told to connect to another entry, each for its whole group.";
    clients_retired: Counter, "Clients closed between two requests because they are to connect elsewhere.";
    dns_queries: Counter, "DNS queries that came to the responder.";
    dns_answers: Counter, "DNS queries answered.";
    dns_errors: Counter, "DNS answers with an error code.";
    dns_truncated: Counter, "DNS answers that say to ask by TCP.";
    dns_limited: Counter, "DNS queries above the rate of their network.";
    dns_tcp: Counter, "DNS connections by TCP.";
    tls_clients: Gauge, "Clients connected over TLS now.";
    tls_handshaking: Gauge, "Connections that are shaking hands for TLS now.";
    tls_handshakes: Counter, "TLS handshakes that succeeded.";
    tls_failed_not_tls: Counter, "Connections to a TLS listener that did not speak TLS.";
    tls_failed_incompatible: Counter, "TLS handshakes that failed because no version, cipher or signature was in common.";
    tls_failed_certificate: Counter, "TLS handshakes that failed because the client's certificate was missing or not believed.";
    tls_failed_refused: Counter, "TLS handshakes that clients broke off, mostly because they do not believe our certificate.";
    tls_cancelled: Counter, "TLS handshakes that clients cancelled, as proxies of a fleet do that only try an entry.";
    tls_failed_protocol: Counter, "TLS handshakes that failed because the client broke the protocol's rules.";
    tls_failed_lost: Counter, "TLS handshakes that failed because the connection was lost.";
    tls_failed_timeout: Counter, "TLS handshakes that failed because they took too long.";
    tls_reloads: Counter, "Times that certificates were loaded anew.";
    tls_reload_failures: Counter, "Times that changed certificates could not be used, and those in use stayed.";
    commands: Counter, "Requests received from clients.";
    commands_local: Counter, "Requests answered by the proxy itself.";
    commands_learned: Gauge, "Commands known from the backends only.";
    commands_split: Counter, "Requests sent in several parts.";
    commands_cross_slot: Counter, "Requests whose keys were in several slots, carried out in several steps.";
    plans: Gauge, "Requests in several steps that are under way now.";
    refusals: Counter, "Requests answered with an error of the proxy.";
    protocol_errors: Counter, "Clients closed because they sent no valid request.";
    backend_requests: Counter, "Requests and parts of requests given to backend connections.";
    backend_replies: Counter, "Replies received from backends.";
    backend_orphans: Counter, "Replies whose client was gone.";
    backend_unreachable: Counter, "Times a backend connection ended or could not be opened.";
    backend_logins_refused: Counter, "Times a node did not let a tenant's own backend user in.";
    redirects_moved: Counter, "MOVED replies followed.";
    redirects_ask: Counter, "ASK replies followed.";
    redirects_again: Counter, "TRYAGAIN, LOADING, CLUSTERDOWN and READONLY replies after which a request was sent again.";
    reads_to_replicas: Counter, "Reads and parts of reads given to replicas.";
    reads_retried: Counter, "Reads that a replica lost or refused, asked again at the primary.";
    replicas_usable: Gauge, "Replicas that may be read from now.";
    replicas_unreachable: Gauge, "Replicas that are not read from because they do not answer.";
    replicas_unlinked: Gauge, "Replicas that are not read from because they have lost their primary, or are loading.";
    replicas_lagging: Gauge, "Replicas that are not read from because they lack more than cluster.max_replica_lag.";
    replicas_moving: Gauge, "Replicas that are not read from because a slot moves from their primary.";
    requests_parked: Gauge, "Requests waiting for a node or to be sent again.";
    timeouts: Counter, "Requests not answered within the command timeout.";
    lost: Counter, "Requests whose backend connection was lost before the reply.";
    client_bytes_in: Counter, "Bytes read from clients.";
    client_bytes_out: Counter, "Bytes written to clients.";
    client_reads: Counter, "Reads from client sockets.";
    client_writes: Counter, "Writes to client sockets.";
    backend_bytes_in: Counter, "Bytes read from backends.";
    backend_bytes_out: Counter, "Bytes written to backends.";
    backend_reads: Counter, "Reads from backend sockets.";
    backend_writes: Counter, "Writes to backend sockets.";
    clients_killed_slow: Counter, "Clients closed because they did not take their replies.";
    clients_shed: Counter, "Clients closed because the process was above its memory limit.";
    logins_failed_user: Counter, "Logins as users that there are not.";
    logins_failed_password: Counter, "Logins with wrong passwords.";
    logins_delayed: Counter, "Logins that waited because others from their address had failed.";
    clients_stalled: Counter, "Clients closed because they sent no more of a request that others had to wait for at a limit.";
    blocking_commands: Counter, "Blocking commands received.";
    blocking_tried_first: Counter, "Blocking commands that found data at once and needed no private connection.";
    blocked_clients: Gauge, "Clients that wait in a blocking command now.";
    unblocked_clients: Counter, "Clients released by CLIENT UNBLOCK.";
    pinned_watch: Gauge, "Clients that watch keys on a private connection now.";
    pinned_tracking: Gauge, "Clients whose reads are tracked over private connections now.";
    transactions: Counter, "Transactions sent.";
    transactions_per_shard: Counter, "Of these, those that were sent to several shards or slots in parts.";
    transactions_torn: Counter, "Transactions of several parts of which some ran and others did not, or may not have.";
    transactions_aborted: Counter, "Transactions discarded because a command could not be queued, here or at a shard.";
    private_connections: Gauge, "Private connections in use now.";
    private_idle: Gauge, "Private connections that wait for their next client.";
    private_waiting: Gauge, "Clients that wait for a private connection at a limit.";
    private_opened: Counter, "Private connections opened.";
    private_reused: Counter, "Private connections that went on to another client.";
    private_dirty: Counter, "Private connections closed instead of being reused.";
    private_refused: Counter, "Commands refused at a limit of private connections.";
    private_lost: Counter, "Private connections that were lost under a command.";
    subscribed_clients: Gauge, "Clients with subscriptions.";
    subscriptions_backend: Gauge, "Channels, patterns and shard channels that are subscribed to at backends.";
    pubsub_messages: Counter, "Published messages given to clients.";
    pubsub_resubscribed: Counter, "Subscriptions at backends made again after a lost connection or a moved slot.";
    pubsub_clients_killed: Counter, "Clients closed because they did not take published messages, or what MONITOR shows.";
    monitors: Gauge, "Clients that said MONITOR.";
    scripts_cached: Gauge, "Scripts that the process keeps.";
    scripts_cached_bytes: Gauge, "Bytes that the kept scripts take.";
    scripts_told: Counter, "Scripts given to a node over a new connection, in front of their first call.";
    scripts_repaired: Counter, "NOSCRIPT replies after which the script was given to the node and called again.";
    functions_repaired: Counter, "Libraries of functions given to a node that lacked them.";
    clients_revoked: Counter, "Clients closed because a reload of the settings took their login away.";
    config_generation: Gauge, "Number of the settings in force, counted from 1 at the start.";
    config_reloads: Counter, "Times the settings were read again and applied.";
    config_reload_failures: Counter, "Times the settings were read again and were not valid, or could not be applied; the old ones stay.";
    tenants_contended: Gauge, "Whether several tenants ask, so that each has its share of what may be under way.";
    tenants_waited: Counter, "Times a client's requests waited because its tenant had its share.";
    tenants_window: Gauge, "Bytes that may be under way at the backends while several tenants ask.";
    clients_idle_closed: Counter, "Clients closed because of the idle or authentication timeout.";
}

/// All workers' numbers, and the control thread's behind them.
#[derive(Debug)]
pub struct Metrics {
    threads: Box<[Arc<WorkerMetrics>]>,
}

impl Metrics {
    /// For `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { threads: (0..=workers).map(|_| Arc::new(WorkerMetrics::default())).collect() }
    }

    /// One worker's.
    #[must_use]
    pub fn worker(&self, index: usize) -> &Arc<WorkerMetrics> {
        &self.threads[index]
    }

    /// The control thread's, which accepts clients.
    #[must_use]
    pub fn control(&self) -> &WorkerMetrics {
        &self.threads[self.threads.len() - 1]
    }

    /// What the numbers in place `index` of [`Self::workers`] belong to.
    #[must_use]
    pub fn label(&self, index: usize) -> String {
        if index + 1 == self.threads.len() { "control".to_owned() } else { index.to_string() }
    }

    /// A number summed over the workers.
    #[must_use]
    pub fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.threads.iter().map(|worker| counter(worker).value()).fold(0, u64::wrapping_add)
    }

    /// All of them, in the order of [`Self::label`].
    pub fn workers(&self) -> impl Iterator<Item = &WorkerMetrics> {
        self.threads.iter().map(|worker| &**worker)
    }

    /// Each metric with its value for each worker.
    pub fn rows(&self) -> impl Iterator<Item = (&'static Row, Vec<u64>)> {
        ROWS.iter()
            .map(|row| (row, self.threads.iter().map(|worker| (row.counter)(worker).value()).collect()))
    }
}
