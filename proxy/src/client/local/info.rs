//! INFO: the proxy as a server, with a section of its own. The keyspace is the shards', added up. A client in a namespace
//! sees what is its tenant's.

use std::fmt::Write;

use super::super::dispatch::Turn;
use super::super::session::Session;
use super::list::Filter;
use super::{Answer, Ask};
use crate::config::limits::Limit;
use crate::resp::request::Request;
use crate::route::merge::MergeKind;
use crate::route::split::Together;

/// A section's name, and whether it is shown without being asked for.
const SECTIONS: &[&str] =
    &["server", "clients", "memory", "persistence", "stats", "replication", "cluster", "slotway", "keyspace"];

/// What speaks of the keys of all, or of the proxy's other clients: not shown to a client in a namespace.
const OF_EVERYBODY: &[&str] = &["stats", "slotway", "keyspace"];

/// An INFO in which the counts of a tenant's clients are still to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Own {
    /// Which clients are counted.
    pub counted: Filter,
    text: String,
    /// Where they are to stand.
    at: usize,
}

/// How many clients there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// All of them.
    pub connected: u64,
    /// Those that wait in a blocking command.
    pub blocked: u64,
}

impl Own {
    /// The whole text.
    #[must_use]
    pub fn with(mut self, counts: Counts) -> String {
        let rows = counts.rows().map(|(name, value)| format!("{name}:{value}\r\n")).concat();
        self.text.insert_str(self.at, &rows);
        self.text
    }
}

impl Counts {
    /// There are these, too.
    pub fn add(&mut self, other: Self) {
        self.connected += other.connected;
        self.blocked += other.blocked;
    }

    fn rows(self) -> [(&'static str, String); 2] {
        [("connected_clients", self.connected.to_string()), ("blocked_clients", self.blocked.to_string())]
    }
}

/// INFO [section ...]. Sections that only a server has (commandstats, errorstats, latencystats, modules) are
/// empty here.
pub(super) fn info(session: &Session, request: &Request<'_>, turn: &Turn<'_>) -> Answer {
    let wanted: Vec<String> =
        request.args_from(1).map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    let everything =
        wanted.is_empty() || wanted.iter().any(|name| matches!(&**name, "all" | "default" | "everything"));
    let mut text = String::new();
    let (mut keyspace, mut counts_at) = (false, None);
    for section in SECTIONS {
        if session.namespace().is_some() && OF_EVERYBODY.contains(section) {
            continue;
        }
        if everything || wanted.iter().any(|name| name == section) {
            keyspace |= *section == "keyspace";
            if *section == "clients" {
                counts_at = Some(text.len() + "# Clients\r\n".len());
            }
            write_section(section, session, turn, &mut text);
        }
    }
    if let Some(at) = counts_at.filter(|_| session.namespace().is_some()) {
        return Answer::Question(Ask::Info(Own { counted: Filter::of(session), text, at }));
    }
    if keyspace {
        let frame = b"*2\r\n$4\r\nINFO\r\n$8\r\nkeyspace\r\n".to_vec();
        return Answer::Merged(MergeKind::Keyspace { before: text }, frame);
    }
    Answer::Text(text)
}

fn write_section(section: &str, session: &Session, turn: &Turn<'_>, text: &mut String) {
    if section != "keyspace" {
        let title = section[..1].to_uppercase() + &section[1..];
        let _ = write!(text, "# {title}\r\n");
    }
    let rows = match section {
        "server" => server(turn),
        "clients" => clients(session, turn),
        "memory" => memory(session, turn),
        "persistence" => rows(&[("loading", "0"), ("rdb_bgsave_in_progress", "0"), ("aof_enabled", "0")]),
        "stats" => stats(turn),
        "replication" => rows(&[("role", "master"), ("connected_slaves", "0")]),
        // Clients that know clusters ask for this before CLUSTER SLOTS, which then shows one node.
        "cluster" if turn.shared.together == Together::Slot => rows(&[("cluster_enabled", "1")]),
        "cluster" => rows(&[("cluster_enabled", "0")]),
        "slotway" => slotway(turn),
        _ => return,
    };
    for (name, value) in rows {
        let _ = write!(text, "{name}:{value}\r\n");
    }
    text.push_str("\r\n");
}

type Rows = Vec<(&'static str, String)>;

fn rows(fixed: &[(&'static str, &str)]) -> Rows {
    fixed.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn server(turn: &Turn<'_>) -> Rows {
    let server = turn.shared.server();
    let mut rows = vec![("redis_version", server.version.to_string())];
    if &*server.name == "valkey" {
        // As Valkey does: the version that clients know to be compatible, and beside it its own.
        rows = vec![
            ("redis_version", "7.2.4".to_owned()),
            ("server_name", server.name.to_string()),
            ("valkey_version", server.version.to_string()),
        ];
    }
    let uptime = turn.now / 1000;
    rows.extend([
        ("redis_mode", "standalone".to_owned()),
        ("os", std::env::consts::OS.to_owned()),
        ("arch_bits", usize::BITS.to_string()),
        ("process_id", std::process::id().to_string()),
        ("run_id", turn.shared.process.node_id.to_string()),
        ("tcp_port", turn.shared.process.port().to_string()),
        ("uptime_in_seconds", uptime.to_string()),
        ("uptime_in_days", (uptime / 86_400).to_string()),
        ("slotway_config_generation", turn.shared.process.generation.to_string()),
    ]);
    rows
}

fn clients(session: &Session, turn: &Turn<'_>) -> Rows {
    let most = turn.shared.process.settings.clients.max_clients as u64;
    if session.namespace().is_some() {
        // The counts follow, see [`Own`].
        let limits = session.login().member().and_then(|member| member.tenant.limits());
        let own =
            limits.and_then(|limits| limits.bound(Limit::Clients)).map_or(most, |bound| bound.most.min(most));
        return vec![("maxclients", own.to_string())];
    }
    let metrics = &turn.shared.metrics;
    let (connected, blocked) = (metrics.sum(|m| &m.clients), metrics.sum(|m| &m.blocked_clients));
    let mut rows = Vec::from(Counts { connected, blocked }.rows());
    rows.push(("maxclients", most.to_string()));
    rows
}

fn memory(session: &Session, turn: &Turn<'_>) -> Rows {
    let mut rows = vec![("mem_allocator", "jemalloc".to_owned())];
    if session.namespace().is_none() {
        let memory = (turn.shared.process.memory)();
        rows.push(("used_memory", memory.allocated.to_string()));
        rows.push(("used_memory_rss", memory.resident.to_string()));
    }
    rows
}

fn stats(turn: &Turn<'_>) -> Rows {
    let sum = |counter: fn(&crate::metrics::WorkerMetrics) -> &crate::metrics::Counter| {
        turn.shared.metrics.sum(counter).to_string()
    };
    vec![
        ("total_connections_received", sum(|m| &m.clients_accepted)),
        ("total_commands_processed", sum(|m| &m.commands)),
        ("total_net_input_bytes", sum(|m| &m.client_bytes_in)),
        ("total_net_output_bytes", sum(|m| &m.client_bytes_out)),
        ("rejected_connections", sum(|m| &m.clients_refused)),
        ("total_error_replies", sum(|m| &m.refusals)),
    ]
}

fn slotway(turn: &Turn<'_>) -> Rows {
    let map = turn.pool.slot_map();
    let mut rows = vec![
        ("slotway_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("slotway_threads", turn.shared.process.settings.threads.to_string()),
        ("slotway_slot_map_generation", map.generation().0.to_string()),
        ("slotway_shards", map.shard_slots().len().to_string()),
        ("slotway_nodes", map.nodes().len().to_string()),
        ("slotway_slots_served", if map.is_complete() { "all" } else { "not all" }.to_owned()),
    ];
    for (row, values) in turn.shared.metrics.rows() {
        rows.push((row.name, values.iter().fold(0u64, |sum, value| sum.wrapping_add(*value)).to_string()));
    }
    rows
}
