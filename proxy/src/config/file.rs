//! The file as written: every key it may have, in one table, and where each key's value goes.
//!
//! A fresh [`File`] holds the defaults, so a key that is not written keeps its own. Flags set the same keys
//! through the same rows. What two keys must agree on is left to the check.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::fleet_file::{FLEET_KEYS, FleetFile};
use super::item::{Item, Key, is_name, put};
use super::settings::{
    AtLimit, ClientSettings, CrossSlot, CrossSlotTransactions, DEFAULT_CLUSTER, DnsSettings, LogFormat,
    LogSettings, PrivateSettings, ReadFrom, ReloadOn, Secret,
};
use super::tenant_file::{read_tenant, read_user};
use super::tenants::{TenantSettings, User};
use super::tls::{
    BackendTlsFile, TlsFile, read_client_auth, read_name, read_path, read_server_name, read_versions,
};
use super::url::BackendUrl;

/// Everything that can be written, with its default where it has one.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    /// `None`: as many as there are cores.
    pub(super) threads: Option<usize>,
    pub(super) grace_period: Duration,
    /// `None`: as [`Self::fleet`] needs it.
    pub(super) leave_delay: Option<Duration>,
    pub(super) takeover: Option<PathBuf>,
    pub(super) takeover_timeout: Duration,
    pub(super) reload: ReloadOn,
    pub(super) clients: ClientSettings,
    pub(super) tls: TlsFile,
    pub(super) users: Vec<User>,
    pub(super) tenants: Vec<TenantSettings>,
    pub(super) private: PrivateSettings,
    /// By name; that of `[cluster]` is [`DEFAULT_CLUSTER`].
    pub(super) clusters: BTreeMap<String, ClusterFile>,
    pub(super) fleet: Option<FleetFile>,
    pub(super) dns: DnsSettings,
    pub(super) log: LogSettings,
}

/// The section `[cluster]`, or one of `[clusters.NAME]`.
#[derive(Clone, Debug)]
pub(super) struct ClusterFile {
    pub(super) backend: BackendFile,
    pub(super) login: LoginFile,
    pub(super) tls: BackendTlsFile,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
    pub(super) refresh_interval: Duration,
    pub(super) refresh_min_interval: Duration,
    pub(super) reconnect_backoff_min: Duration,
    pub(super) reconnect_backoff_max: Duration,
    pub(super) connections_per_node: usize,
    pub(super) backend_high_watermark: usize,
    pub(super) cross_slot: CrossSlot,
    pub(super) cross_slot_memory: usize,
    pub(super) cross_slot_transactions: CrossSlotTransactions,
    pub(super) script_cache: usize,
    pub(super) read_from: ReadFrom,
    pub(super) max_replica_lag: Option<usize>,
}

/// What stands behind the proxy: exactly one of the first three must be written.
#[derive(Clone, Default, Debug)]
pub(super) struct BackendFile {
    pub(super) seeds: Option<Vec<BackendUrl>>,
    pub(super) standalone: Option<BackendUrl>,
    pub(super) shards: Option<Vec<BackendUrl>>,
    pub(super) databases: Option<u16>,
}

/// How to log in to backends: at most one of the passwords may be written.
#[derive(Clone, Default, Debug)]
pub(super) struct LoginFile {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) password_env: Option<String>,
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// More threads than any machine we know has cores.
const THREADS: RangeInclusive<usize> = 1..=1_024;

/// The kernel takes keepalive idle times up to 32,767 s (MAX_TCP_KEEPIDLE).
const KEEPALIVE: RangeInclusive<Duration> = SECOND..=Duration::from_secs(9 * 3_600);

/// Every key of the file. `deploy/slotway.example.toml` documents each; a test compares the two.
pub(super) const KEYS: &[Key<File>] = &[
    row("listen", |file, item| {
        let listen = item.or_off(|item| item.list(|item| item.address()));
        put(&mut file.listen, listen.map(Option::unwrap_or_default));
    }),
    row("admin", |file, item| put(&mut file.admin, item.or_off(|item| item.address()))),
    row("threads", |file, item| put(&mut file.threads, item.whole(THREADS).map(Some))),
    row("grace_period", |file, item| put(&mut file.grace_period, item.duration(Duration::ZERO..=HOUR))),
    row("leave_delay", |file, item| {
        put(&mut file.leave_delay, item.duration(Duration::ZERO..=HOUR).map(Some));
    }),
    row("takeover", |file, item| put(&mut file.takeover, item.or_off(read_path))),
    row("takeover_timeout", |file, item| {
        put(&mut file.takeover_timeout, item.duration(SECOND..=HOUR));
    }),
    row("reload", |file, item| put(&mut file.reload, read_reload(item))),
    // [clients]
    row("clients.max_clients", |file, item| {
        put(&mut file.clients.max_clients, item.whole(1..=10_000_000));
    }),
    row("clients.backlog", |file, item| put(&mut file.clients.backlog, item.whole(1..=65_535))),
    row("clients.idle_timeout", |file, item| {
        put(&mut file.clients.idle_timeout, item.or_off(|item| item.duration(SECOND..=365 * DAY)));
    }),
    row("clients.max_age", |file, item| {
        put(&mut file.clients.max_age, item.or_off(|item| item.duration(SECOND..=365 * DAY)));
    }),
    row("clients.age_grace", |file, item| {
        put(&mut file.clients.age_grace, item.duration(Duration::ZERO..=DAY));
    }),
    row("clients.auth_timeout", |file, item| {
        put(&mut file.clients.auth_timeout, item.duration(100 * MS..=HOUR));
    }),
    row("clients.keepalive", |file, item| {
        put(&mut file.clients.keepalive, item.or_off(|item| item.duration(KEEPALIVE)));
    }),
    row("clients.tcp_user_timeout", |file, item| {
        put(&mut file.clients.tcp_user_timeout, item.or_off(|item| item.duration(SECOND..=DAY)));
    }),
    row("clients.max_bulk", |file, item| {
        put(&mut file.clients.max_bulk_bytes, item.size(KIB..=GIB));
    }),
    // Byte ranges within a request are u32: its size stays well below 4 GiB.
    row("clients.max_request", |file, item| {
        put(&mut file.clients.max_request_bytes, item.size(16 * KIB..=2 * GIB));
    }),
    row("clients.max_args", |file, item| put(&mut file.clients.max_args, item.whole(16..=16 * MIB))),
    row("clients.max_pending", |file, item| put(&mut file.clients.max_pending, item.whole(1..=MIB))),
    row("clients.reply_high_watermark", |file, item| {
        put(&mut file.clients.reply_high_watermark, item.size(4 * KIB..=GIB));
    }),
    row("clients.reply_limit", |file, item| {
        put(&mut file.clients.reply_limit, item.size(64 * KIB..=4 * GIB));
    }),
    row("clients.pubsub_output_hard", |file, item| {
        put(&mut file.clients.pubsub_output_hard, item.size(64 * KIB..=4 * GIB));
    }),
    row("clients.pubsub_output_soft", |file, item| {
        put(&mut file.clients.pubsub_output_soft, item.size(64 * KIB..=4 * GIB));
    }),
    row("clients.pubsub_output_soft_time", |file, item| {
        put(&mut file.clients.pubsub_output_soft_time, item.duration(SECOND..=HOUR));
    }),
    row("clients.memory_limit", |file, item| {
        put(&mut file.clients.memory_limit, item.or_off(|item| item.size(16 * MIB..=1024 * GIB)));
    }),
    // [tls]
    row("tls.listen", |file, item| put(&mut file.tls.listen, item.list(|item| item.address()))),
    row("tls.certificate", |file, item| put(&mut file.tls.certificate, read_path(item).map(Some))),
    row("tls.key", |file, item| put(&mut file.tls.key, read_path(item).map(Some))),
    row("tls.client_ca", |file, item| put(&mut file.tls.client_ca, read_path(item).map(Some))),
    row("tls.client_auth", |file, item| put(&mut file.tls.client_auth, read_client_auth(item))),
    row("tls.versions", |file, item| put(&mut file.tls.versions, read_versions(item))),
    row("tls.handshake_timeout", |file, item| {
        put(&mut file.tls.handshake_timeout, item.duration(100 * MS..=MINUTE));
    }),
    row("tls.names", |file, item| put(&mut file.tls.names, item.list(read_name))),
    row("users", |file, item| put(&mut file.users, item.list(read_user))),
    row("tenants", |file, item| put(&mut file.tenants, item.list(read_tenant))),
    // [private]
    row("private.max_connections", |file, item| {
        put(&mut file.private.max_connections, item.whole(1..=10_000_000));
    }),
    row("private.max_per_node", |file, item| {
        put(&mut file.private.max_per_node, item.whole(1..=10_000_000));
    }),
    row("private.idle_per_node", |file, item| {
        put(&mut file.private.idle_per_node, item.whole(0..=10_000_000));
    }),
    row("private.idle_timeout", |file, item| {
        put(&mut file.private.idle_timeout, item.duration(100 * MS..=DAY));
    }),
    row("private.at_limit", |file, item| put(&mut file.private.at_limit, read_at_limit(item))),
    row("private.try_first", |file, item| put(&mut file.private.try_first, item.flag())),
    row("private.table_buckets", |file, item| {
        put(&mut file.private.table_buckets, read_table_buckets(item));
    }),
    row("cluster", |file, item| item.table(CLUSTER_KEYS, file.cluster_mut(DEFAULT_CLUSTER))),
    row("clusters", |file, item| {
        item.named(MAX_CLUSTERS, |name, item| {
            // `default` is what [cluster] describes.
            if is_name(name) && name != DEFAULT_CLUSTER {
                item.table(CLUSTER_KEYS, file.cluster_mut(name));
            } else {
                item.report(|place, key| ConfigError::ClusterName { place, key });
            }
        });
    }),
    row("fleet", |file, item| item.table(FLEET_KEYS, file.fleet.get_or_insert_default())),
    // [dns]
    row("dns.servers", |file, item| put(&mut file.dns.servers, item.list(|item| item.dns_server()))),
    row("dns.min_ttl", |file, item| put(&mut file.dns.min_ttl, item.duration(100 * MS..=DAY))),
    row("dns.max_ttl", |file, item| put(&mut file.dns.max_ttl, item.duration(100 * MS..=DAY))),
    row("dns.timeout", |file, item| put(&mut file.dns.timeout, item.duration(10 * MS..=MINUTE))),
    // [log]
    row("log.filter", |file, item| put(&mut file.log.filter, read_filter(item))),
    row("log.format", |file, item| put(&mut file.log.format, read_format(item))),
];

/// Every key of `[cluster]` and of each `[clusters.NAME]`.
pub(super) const CLUSTER_KEYS: &[Key<ClusterFile>] = &[
    row("seeds", |cluster, item| {
        put(&mut cluster.backend.seeds, item.urls().map(Some));
    }),
    row("standalone", |cluster, item| {
        put(&mut cluster.backend.standalone, item.url().map(Some));
    }),
    row("shards", |cluster, item| {
        put(&mut cluster.backend.shards, item.urls().map(Some));
    }),
    row("databases", |cluster, item| {
        put(&mut cluster.backend.databases, item.whole(1..=10_000).map(Some));
    }),
    row("user", |cluster, item| put(&mut cluster.login.user, item.text().map(Some))),
    row("password", |cluster, item| {
        put(&mut cluster.login.password, item.hidden().text().map(Secret::new).map(Some));
    }),
    row("password_file", |cluster, item| {
        put(&mut cluster.login.password_file, item.file().map(Some));
    }),
    row("password_env", |cluster, item| {
        put(&mut cluster.login.password_env, item.text().map(Some));
    }),
    row("tls.enabled", |cluster, item| put(&mut cluster.tls.enabled, item.flag().map(Some))),
    row("tls.ca", |cluster, item| put(&mut cluster.tls.ca, read_path(item).map(Some))),
    row("tls.server_name", |cluster, item| {
        put(&mut cluster.tls.server_name, read_server_name(item).map(Some));
    }),
    row("tls.certificate", |cluster, item| put(&mut cluster.tls.certificate, read_path(item).map(Some))),
    row("tls.key", |cluster, item| put(&mut cluster.tls.key, read_path(item).map(Some))),
    row("connect_timeout", |cluster, item| {
        put(&mut cluster.connect_timeout, item.duration(10 * MS..=MINUTE));
    }),
    row("command_timeout", |cluster, item| {
        put(&mut cluster.command_timeout, item.duration(10 * MS..=HOUR));
    }),
    row("refresh_interval", |cluster, item| {
        put(&mut cluster.refresh_interval, item.duration(100 * MS..=HOUR));
    }),
    row("refresh_min_interval", |cluster, item| {
        put(&mut cluster.refresh_min_interval, item.duration(10 * MS..=HOUR));
    }),
    row("reconnect_backoff_min", |cluster, item| {
        put(&mut cluster.reconnect_backoff_min, item.duration(MS..=MINUTE));
    }),
    row("reconnect_backoff_max", |cluster, item| {
        put(&mut cluster.reconnect_backoff_max, item.duration(MS..=HOUR));
    }),
    row("connections_per_node", |cluster, item| {
        put(&mut cluster.connections_per_node, item.whole(1..=64));
    }),
    row("backend_high_watermark", |cluster, item| {
        put(&mut cluster.backend_high_watermark, item.size(64 * KIB..=GIB));
    }),
    row("cross_slot", |cluster, item| put(&mut cluster.cross_slot, read_cross_slot(item))),
    row("cross_slot_memory", |cluster, item| {
        put(&mut cluster.cross_slot_memory, item.size(64 * KIB..=16 * GIB));
    }),
    row("cross_slot_transactions", |cluster, item| {
        put(&mut cluster.cross_slot_transactions, read_cross_slot_transactions(item));
    }),
    row("script_cache", |cluster, item| {
        put(&mut cluster.script_cache, item.size(0..=4 * GIB));
    }),
    row("read_from", |cluster, item| put(&mut cluster.read_from, read_read_from(item))),
    row("max_replica_lag", |cluster, item| {
        put(&mut cluster.max_replica_lag, item.or_off(|item| item.size(0..=1024 * GIB)));
    }),
];

/// More than anybody has; each costs every thread a worker.
const MAX_CLUSTERS: usize = 1_000;

const fn row<T>(path: &'static str, set: fn(&mut T, &mut Item<'_>)) -> Key<T> {
    Key { path, set }
}

/// A level for everything, or targets with levels. A bare word must be a level: the printer would take any
/// other for a target and log all of it, so `inf0` would be the loudest setting of all.
fn read_filter(item: &mut Item<'_>) -> Option<String> {
    let level = |text: &str| matches!(text, "off" | "error" | "warn" | "info" | "debug" | "trace");
    let target = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
    };
    let directive =
        |text: &str| text.split_once('=').map_or_else(|| level(text), |(at, to)| target(at) && level(to));
    item.parse(
        "off, error, warn, info, debug or trace, or a list such as \"info,slotway::cluster=debug\"",
        |text| text.split(',').all(directive).then(|| text.to_owned()),
    )
}

fn read_format(item: &mut Item<'_>) -> Option<LogFormat> {
    item.parse("\"text\" or \"journal\"", |text| match text {
        "text" => Some(LogFormat::Text),
        "journal" => Some(LogFormat::Journal),
        _ => None,
    })
}

fn read_reload(item: &mut Item<'_>) -> Option<ReloadOn> {
    item.parse("\"watch\", \"signal\" or \"off\"", |text| match text {
        "watch" => Some(ReloadOn::Watch),
        "signal" => Some(ReloadOn::Signal),
        "off" => Some(ReloadOn::Off),
        _ => None,
    })
}

fn read_at_limit(item: &mut Item<'_>) -> Option<AtLimit> {
    item.parse("\"wait\" or \"refuse\"", |text| match text {
        "wait" => Some(AtLimit::Wait),
        "refuse" => Some(AtLimit::Refuse),
        _ => None,
    })
}

fn read_cross_slot(item: &mut Item<'_>) -> Option<CrossSlot> {
    item.parse("\"best_effort\" or \"refuse\"", |text| match text {
        "best_effort" => Some(CrossSlot::BestEffort),
        "refuse" => Some(CrossSlot::Refuse),
        _ => None,
    })
}

fn read_cross_slot_transactions(item: &mut Item<'_>) -> Option<CrossSlotTransactions> {
    item.parse("\"per_shard\" or \"refuse\"", |text| match text {
        "per_shard" => Some(CrossSlotTransactions::PerShard),
        "refuse" => Some(CrossSlotTransactions::Refuse),
        _ => None,
    })
}

fn read_read_from(item: &mut Item<'_>) -> Option<ReadFrom> {
    item.parse("\"primary\", \"replica\" or \"nearest\"", |text| match text {
        "primary" => Some(ReadFrom::Primary),
        "replica" => Some(ReadFrom::Replica),
        "nearest" => Some(ReadFrom::Nearest),
        _ => None,
    })
}

/// Sixteen, or the benchmark's one entry a slot.
fn read_table_buckets(item: &mut Item<'_>) -> Option<usize> {
    let buckets = item.whole(16..=16_384usize)?;
    if !matches!(buckets, 16 | 16_384) {
        item.refuse("16, or 16384 for benchmarks");
        return None;
    }
    Some(buckets)
}

impl File {
    /// The cluster of this name, to be changed.
    pub(super) fn cluster_mut(&mut self, name: &str) -> &mut ClusterFile {
        self.clusters.entry(name.to_owned()).or_default()
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 6379))],
            admin: None,
            threads: None,
            grace_period: 10 * SECOND,
            leave_delay: None,
            takeover: None,
            // As long as a cluster's topology may take that is slow to answer.
            takeover_timeout: 30 * SECOND,
            // Passwords and settings that an orchestrator mounts change without a signal.
            reload: ReloadOn::Watch,
            clients: ClientSettings::default(),
            tls: TlsFile::default(),
            users: Vec::new(),
            tenants: Vec::new(),
            private: PrivateSettings::default(),
            clusters: BTreeMap::new(),
            fleet: None,
            dns: DnsSettings::default(),
            log: LogSettings::default(),
        }
    }
}

impl Default for ClusterFile {
    fn default() -> Self {
        Self {
            backend: BackendFile::default(),
            login: LoginFile::default(),
            tls: BackendTlsFile::default(),
            connect_timeout: SECOND,
            command_timeout: 5 * SECOND,
            refresh_interval: 10 * SECOND,
            refresh_min_interval: 100 * MS,
            reconnect_backoff_min: 50 * MS,
            reconnect_backoff_max: 2 * SECOND,
            connections_per_node: 1,
            backend_high_watermark: 4 * MIB,
            cross_slot: CrossSlot::BestEffort,
            cross_slot_memory: 256 * MIB,
            cross_slot_transactions: CrossSlotTransactions::PerShard,
            script_cache: 16 * MIB,
            read_from: ReadFrom::Primary,
            // The servers' own `repl-backlog-size`: what lacks more may have to begin anew.
            max_replica_lag: Some(MIB),
        }
    }
}
