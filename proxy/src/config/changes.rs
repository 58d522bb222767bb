//! What differs between two settings, and which of it can be applied while the proxy runs. Names of keys and tenants
//! only, never values: they may be secrets.

use std::fmt;

use super::settings::{BackendKind, ClusterSettings, DEFAULT_CLUSTER, Settings};
use super::tenants::TenantSettings;

/// When a changed key takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// At once.
    Now,
    /// At once, for connections that are opened from then on; those there are keep what they were opened with.
    Later,
    /// Not before the proxy is started again.
    Restart,
}

/// A key of a part of the settings.
pub struct Row<T> {
    /// As in the file.
    pub key: &'static str,
    /// When a change takes effect.
    pub effect: Effect,
    differs: fn(&T, &T) -> bool,
    /// Copies the value from the first to the second.
    keep: fn(&T, &mut T),
}

macro_rules! rows {
    ($(#[$doc:meta])* $name:ident of $of:ty: $($key:literal: $effect:ident, $($field:tt).+;)*) => {
        $(#[$doc])*
        pub const $name: &[Row<$of>] = &[$(Row {
            key: $key,
            effect: Effect::$effect,
            differs: |a, b| a.$($field).+ != b.$($field).+,
            keep: |from, to| to.$($field).+.clone_from(&from.$($field).+),
        }),*];
    };
}

rows! {
    /// Every key outside of clusters and tenants, with when a change of it takes effect.
    ROWS of Settings:
    "listen": Now, listen;
    "admin": Now, admin;
    "threads": Restart, threads;
    "grace_period": Now, grace_period;
    "leave_delay": Now, leave_delay;
    "takeover": Restart, takeover;
    "takeover_timeout": Now, takeover_timeout;
    "reload": Now, reload;
    "clients.max_clients": Now, clients.max_clients;
    "clients.backlog": Later, clients.backlog;
    "clients.idle_timeout": Now, clients.idle_timeout;
    "clients.max_age": Now, clients.max_age;
    "clients.age_grace": Now, clients.age_grace;
    "clients.auth_timeout": Now, clients.auth_timeout;
    "clients.keepalive": Later, clients.keepalive;
    "clients.tcp_user_timeout": Later, clients.tcp_user_timeout;
    "clients.max_bulk": Now, clients.max_bulk_bytes;
    "clients.max_request": Now, clients.max_request_bytes;
    "clients.max_args": Now, clients.max_args;
    "clients.max_pending": Now, clients.max_pending;
    "clients.reply_high_watermark": Now, clients.reply_high_watermark;
    "clients.reply_limit": Now, clients.reply_limit;
    "clients.pubsub_output_hard": Now, clients.pubsub_output_hard;
    "clients.pubsub_output_soft": Now, clients.pubsub_output_soft;
    "clients.pubsub_output_soft_time": Now, clients.pubsub_output_soft_time;
    "clients.memory_limit": Now, clients.memory_limit;
    // Certificates that are replaced are taken up without a reload.
    "tls": Restart, tls;
    "private.max_connections": Now, private.max_connections;
    "private.max_per_node": Now, private.max_per_node;
    "private.idle_per_node": Now, private.idle_per_node;
    "private.idle_timeout": Now, private.idle_timeout;
    "private.at_limit": Now, private.at_limit;
    "private.try_first": Now, private.try_first;
    "private.table_buckets": Later, private.table_buckets;
    "fleet": Now, fleet;
    "dns.servers": Restart, dns.servers;
    "dns.min_ttl": Restart, dns.min_ttl;
    "dns.max_ttl": Restart, dns.max_ttl;
    "dns.timeout": Restart, dns.timeout;
    "log.filter": Now, log.filter;
    "log.format": Restart, log.format;
}

rows! {
    /// Every key of a cluster but those that say where it is.
    CLUSTER_ROWS of ClusterSettings:
    "user": Later, user;
    "password": Later, password;
    "tls": Restart, tls;
    "connect_timeout": Now, connect_timeout;
    "command_timeout": Now, command_timeout;
    "refresh_interval": Now, refresh_interval;
    "refresh_min_interval": Now, refresh_min_interval;
    "reconnect_backoff_min": Later, reconnect_backoff.0;
    "reconnect_backoff_max": Later, reconnect_backoff.1;
    // A client's requests would go over another link than those in flight.
    "connections_per_node": Restart, connections_per_node;
    "backend_high_watermark": Now, backend_high_watermark;
    "cross_slot": Now, cross_slot;
    "cross_slot_memory": Now, cross_slot_memory;
    "cross_slot_transactions": Now, cross_slot_transactions;
    "script_cache": Restart, script_cache;
    "read_from": Restart, read_from;
    "max_replica_lag": Restart, max_replica_lag;
}

/// What differs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Keys that are applied.
    pub applied: Vec<String>,
    /// Keys that keep their old value until a restart.
    pub restart: Vec<String>,
    /// Tenants with what of them differs: `+shop` is new, `-shop` is gone, `shop (users, commands)` is changed.
    pub tenants: Vec<String>,
}

impl Changes {
    /// What differs between the settings in force and `next`; what can't be applied is put back in `next`.
    ///
    /// # Errors
    /// Where a tenant is of a cluster that is not served before a restart.
    pub fn between(now: &Settings, next: &mut Settings) -> Result<Self, String> {
        let mut changes = Self { tenants: tenants(&now.tenants, &next.tenants), ..Self::default() };
        changes.keep_responder(now, next);
        changes.rows(ROWS, now, next, "");
        changes.clusters(now, next)?;
        Ok(changes)
    }

    /// The responder's sockets are bound when the proxy starts, maybe while it may still bind a low port.
    fn keep_responder(&mut self, now: &Settings, next: &mut Settings) {
        let responder = |settings: &Settings| settings.fleet.as_ref()?.responder.clone();
        let was = responder(now).map_or_else(Vec::new, |responder| responder.listen);
        if was == responder(next).map_or_else(Vec::new, |responder| responder.listen) {
            return;
        }
        self.restart.push("fleet.responder.listen".to_owned());
        if let Some(responder) = next.fleet.as_mut().and_then(|fleet| fleet.responder.as_mut()) {
            responder.listen = was;
        }
    }

    /// Compares by rows; what needs a restart is put back.
    fn rows<T>(&mut self, rows: &[Row<T>], now: &T, next: &mut T, section: &str) {
        for row in rows.iter().filter(|row| (row.differs)(now, next)) {
            let list = if row.effect == Effect::Restart { &mut self.restart } else { &mut self.applied };
            list.push(format!("{section}{}", row.key));
        }
        rows.iter().filter(|row| row.effect == Effect::Restart).for_each(|row| (row.keep)(now, next));
    }

    /// Those in force stay, each by its name in its place.
    fn clusters(&mut self, now: &Settings, next: &mut Settings) -> Result<(), String> {
        let is_served = |name: &str| now.clusters.iter().any(|cluster| cluster.name == name);
        if let Some(tenant) = next.tenants.iter().find(|tenant| !is_served(&tenant.cluster)) {
            let (tenant, cluster) = (&tenant.name, &tenant.cluster);
            return Err(format!(
                "tenants: {tenant:?} is of the cluster {cluster:?}, which needs a restart first"
            ));
        }
        if now.clusters.len() != next.clusters.len() || next.clusters.iter().any(|own| !is_served(&own.name))
        {
            self.restart.push("clusters".to_owned());
        }
        let mut read = std::mem::take(&mut next.clusters);
        for was in &now.clusters {
            let found = read.iter().position(|cluster| cluster.name == was.name);
            let mut is = found.map_or_else(|| was.clone(), |place| read.swap_remove(place));
            let section = match was.name.as_str() {
                DEFAULT_CLUSTER => "cluster.".to_owned(),
                name => format!("clusters.{name}."),
            };
            self.rows(CLUSTER_ROWS, was, &mut is, &section);
            self.keep_backend(was, &mut is, &section);
            next.clusters.push(is);
        }
        Ok(())
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.restart.is_empty() && self.tenants.is_empty()
    }

    /// A cluster's seeds are only where to ask first; any other backend is where keys are.
    fn keep_backend(&mut self, was: &ClusterSettings, is: &mut ClusterSettings, section: &str) {
        if was.backend == is.backend {
            return;
        }
        let (BackendKind::Cluster { .. }, BackendKind::Cluster { .. }) = (&was.backend, &is.backend) else {
            // The login is that of the backends that are not there yet.
            let login = ["user", "password"].map(|key| format!("{section}{key}"));
            self.applied.retain(|key| !login.contains(key));
            self.restart.push(format!("{section}standalone, shards or databases, with user and password"));
            (is.backend, is.user, is.password) =
                (was.backend.clone(), was.user.clone(), was.password.clone());
            return;
        };
        self.applied.push(format!("{section}seeds"));
    }
}

/// What may differ of a tenant.
const TENANT_PARTS: &[TenantPart] = &[
    TenantPart { name: "users", differs: |a, b| a.users != b.users },
    TenantPart { name: "namespace", differs: |a, b| a.namespace != b.namespace },
    TenantPart { name: "commands", differs: |a, b| a.commands != b.commands },
    TenantPart { name: "backend", differs: |a, b| a.backend != b.backend },
    TenantPart { name: "limits", differs: |a, b| a.limits != b.limits },
    TenantPart { name: "cluster", differs: |a, b| a.cluster != b.cluster },
    TenantPart { name: "listen", differs: |a, b| a.listen != b.listen },
    TenantPart { name: "tls_names", differs: |a, b| a.tls_names != b.tls_names },
    TenantPart { name: "weight", differs: |a, b| a.weight != b.weight },
];

struct TenantPart {
    name: &'static str,
    differs: fn(&TenantSettings, &TenantSettings) -> bool,
}

fn tenants(now: &[TenantSettings], next: &[TenantSettings]) -> Vec<String> {
    let find = |all: &[TenantSettings], name: &str| all.iter().position(|tenant| tenant.name == name);
    let gone = now.iter().filter(|tenant| find(next, &tenant.name).is_none());
    let mut told: Vec<_> = gone.map(|tenant| format!("-{}", tenant.name)).collect();
    for tenant in next {
        let Some(before) = find(now, &tenant.name).map(|place| &now[place]) else {
            told.push(format!("+{}", tenant.name));
            continue;
        };
        if before != tenant {
            let parts = TENANT_PARTS.iter().filter(|part| (part.differs)(before, tenant));
            let parts: Vec<_> = parts.map(|part| part.name).collect();
            told.push(format!("{} ({})", tenant.name, parts.join(", ")));
        }
    }
    told
}

/// Names, as a line of the log has them.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenants = self.tenants.iter().map(|tenant| format!("tenant {tenant}"));
        let names = self.applied.iter().cloned().chain(tenants);
        f.write_str(&names.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::{CLUSTER_KEYS, KEYS};
    use crate::config::settings::Secret;
    use crate::config::written::Written;

    fn settings(text: &str) -> Settings {
        let mut written = Written::default();
        written.read_text("f", text);
        written.check().unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn changes(now: &str, next: &str) -> (Changes, Settings) {
        let mut next = settings(next);
        (Changes::between(&settings(now), &mut next).expect("known clusters"), next)
    }

    #[test]
    fn every_key_of_the_file_has_its_effect() {
        // Those that are compared together, or whose values are read into another key's.
        let elsewhere = ["users", "tenants", "cluster", "clusters"];
        for key in KEYS {
            // The keys of a section may be compared together.
            let own =
                |row: &&Row<Settings>| row.key == key.path || key.path.starts_with(&format!("{}.", row.key));
            let rows = ROWS.iter().filter(own).count();
            assert_eq!(rows == 1, !elsewhere.contains(&key.path), "{}", key.path);
        }
        let elsewhere = ["seeds", "standalone", "shards", "databases", "password_file", "password_env"];
        for key in CLUSTER_KEYS {
            let own = |row: &&Row<ClusterSettings>| {
                row.key == key.path || key.path.starts_with(&format!("{}.", row.key))
            };
            let rows = CLUSTER_ROWS.iter().filter(own).count();
            assert_eq!(rows == 1, !elsewhere.contains(&key.path), "{}", key.path);
        }
    }

    #[test]
    fn what_needs_a_restart_keeps_its_value_and_the_rest_is_applied() {
        let (changes, next) = changes(
            "threads = 2\n[cluster]\nseeds = ['redis://a']",
            "threads = 3\nclients.max_clients = 5\n[cluster]\nseeds = ['redis://b']\npassword = 'new'",
        );
        assert_eq!(changes.applied, ["clients.max_clients", "cluster.password", "cluster.seeds"]);
        assert_eq!(changes.restart, ["threads"]);
        assert_eq!((next.threads, next.clients.max_clients), (2, 5));
        assert_eq!(next.clusters[0].password.as_ref().map(Secret::reveal), Some("new"));
        assert!(!changes.to_string().contains("new"));
    }

    #[test]
    fn other_backends_need_a_restart_together_with_their_login() {
        let (changes, next) = changes(
            "[cluster]\nstandalone = 'redis://a'\npassword = 'old'",
            "[cluster]\nstandalone = 'redis://b'\npassword = 'new'\ncommand_timeout = '9s'",
        );
        assert_eq!(changes.applied, ["cluster.command_timeout"]);
        assert_eq!(changes.restart, ["cluster.standalone, shards or databases, with user and password"]);
        assert_eq!(next.clusters[0].password.as_ref().map(Secret::reveal), Some("old"));
        assert!(next.clusters[0].backend.to_string().contains("a:6379"));
    }

    #[test]
    fn the_responders_sockets_need_a_restart_and_its_answers_do_not() {
        let with = |responder: &str| {
            format!(
                "cluster.seeds = ['redis://a']\n[fleet]\nname = 'redis.test'\nport = 6379\n\
                 entries = [{{ id = 'a', addresses = ['192.0.2.1'], cap = '1Gbit' }}]\n{responder}"
            )
        };
        let at = |listen: &str, ttl: &str| {
            with(&format!(
                "[fleet.responder]\nlisten = ['{listen}']\nttl = '{ttl}'\nnameservers = [{{ name = 'ns.test' }}]"
            ))
        };
        let (only_moved, next) = changes(&at("127.0.0.1:53", "15s"), &at("127.0.0.2:53", "15s"));
        assert_eq!(
            (&*only_moved.applied, &*only_moved.restart),
            (&[][..], &["fleet.responder.listen".to_owned()][..])
        );
        assert_eq!(next.fleet.unwrap().responder.unwrap().listen, ["127.0.0.1:53".parse().unwrap()]);
        let (both, next) = changes(&at("127.0.0.1:53", "15s"), &at("127.0.0.2:53", "20s"));
        assert_eq!(
            (&*both.applied, &*both.restart),
            (&["fleet".to_owned()][..], &["fleet.responder.listen".to_owned()][..])
        );
        assert_eq!(next.fleet.unwrap().responder.unwrap().ttl.as_secs(), 20);
        let (new, next) = changes(&with(""), &at("127.0.0.1:53", "15s"));
        assert_eq!(
            (&*new.applied, &*new.restart),
            (&["fleet".to_owned()][..], &["fleet.responder.listen".to_owned()][..])
        );
        assert!(next.fleet.unwrap().responder.unwrap().listen.is_empty());
        assert!(changes(&at("127.0.0.1:53", "15s"), &at("127.0.0.1:53", "15s")).0.is_empty());
    }

    #[test]
    fn tenants_are_told_by_name_and_part() {
        let seeds = "cluster.seeds = ['redis://a']\n";
        let user = "users = [{ name = 'ann', nopass = true }]\n";
        let now = format!("{seeds}[[tenants]]\nname = 'shop'\n[[tenants]]\nname = 'web'\n");
        let next = format!(
            "{seeds}[[tenants]]\nname = 'shop'\n{user}commands = '+get'\n[[tenants]]\nname = 'new'\n"
        );
        let (changes, _) = changes(&now, &next);
        assert_eq!(changes.tenants, ["-web", "shop (users, commands)", "+new"]);
        assert_eq!(changes.to_string(), "tenant -web, tenant shop (users, commands), tenant +new");
    }

    #[test]
    fn the_same_settings_are_no_change() {
        let text = "cluster = { standalone = 'redis://a', user = 'u', password = 'p' }";
        assert!(changes(text, text).0.is_empty());
    }
}
