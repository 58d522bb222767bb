//! From the file to the settings: what several keys must agree on, and the passwords that stand elsewhere.

use std::collections::HashSet;
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, thread};

use super::error::ConfigError;
use super::file::{BackendFile, ClusterFile, File, LoginFile};
use super::quantity::{Size, Span};
use super::settings::{BackendKind, ClusterSettings, ReadFrom, Secret, Settings};
use super::tenant_file;
use super::tls::{check_backend_tls, check_tls};
use super::url::BackendUrl;

/// The settings that `file` means; `None` when something is wrong with it, which is then in `errors`.
pub(super) fn check(file: File, errors: &mut Vec<ConfigError>) -> Option<Settings> {
    check_orders(&file, errors);
    check_addresses(&file, errors);
    let tenants = tenant_file::check(file.users, file.tenants, errors);
    let cluster = check_cluster(file.cluster, errors);
    let tls = check_tls(file.tls, errors);
    Some(Settings {
        listen: file.listen,
        admin: file.admin,
        threads: file.threads.unwrap_or_else(cores),
        grace_period: file.grace_period,
        clients: file.clients,
        tenants,
        tls,
        private: file.private,
        cluster: cluster?,
        dns: file.dns,
        log: file.log,
    })
    .filter(|_| errors.is_empty())
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn check_orders(file: &File, errors: &mut Vec<ConfigError>) {
    let (clients, cluster, dns) = (&file.clients, &file.cluster, &file.dns);
    let spans: [(&str, Duration, &str, Duration); 4] = [
        ("dns.min_ttl", dns.min_ttl, "dns.max_ttl", dns.max_ttl),
        (
            "cluster.refresh_min_interval",
            cluster.refresh_min_interval,
            "cluster.refresh_interval",
            cluster.refresh_interval,
        ),
        (
            "cluster.reconnect_backoff_min",
            cluster.reconnect_backoff_min,
            "cluster.reconnect_backoff_max",
            cluster.reconnect_backoff_max,
        ),
        (
            "cluster.connect_timeout",
            cluster.connect_timeout,
            "cluster.command_timeout",
            cluster.command_timeout,
        ),
    ];
    let sizes: [(&str, usize, &str, usize); 3] = [
        ("clients.max_bulk", clients.max_bulk_bytes, "clients.max_request", clients.max_request_bytes),
        (
            "clients.reply_high_watermark",
            clients.reply_high_watermark,
            "clients.reply_limit",
            clients.reply_limit,
        ),
        (
            "clients.pubsub_output_soft",
            clients.pubsub_output_soft,
            "clients.pubsub_output_hard",
            clients.pubsub_output_hard,
        ),
    ];
    let mut order = |low, low_value: String, high, high_value: String| {
        errors.push(ConfigError::Order { low, low_value, high, high_value });
    };
    for (low, low_value, high, high_value) in spans {
        if low_value > high_value {
            order(low, Span(low_value).to_string(), high, Span(high_value).to_string());
        }
    }
    for (low, low_value, high, high_value) in sizes {
        if low_value > high_value {
            order(low, Size(low_value).to_string(), high, Size(high_value).to_string());
        }
    }
}

/// Port 0 asks the system for any free port: twice that is two ports.
fn check_addresses(file: &File, errors: &mut Vec<ConfigError>) {
    let mut seen = HashSet::new();
    let listen = file.listen.iter().map(|address| ("listen", address));
    let listen = listen.chain(file.tls.listen.iter().map(|address| ("tls.listen", address)));
    let tenants = file.tenants.iter().flat_map(|tenant| &tenant.listen);
    if file.listen.is_empty() && file.tls.listen.is_empty() {
        errors.push(ConfigError::NoListener);
    }
    let others = file.admin.iter().map(|address| ("admin", address));
    for (key, address) in listen.chain(others).chain(tenants.map(|address| ("tenants.listen", address))) {
        if address.port() != 0 && !seen.insert(address) {
            errors.push(ConfigError::DuplicateAddress { key, address: address.to_string() });
        }
    }
}

fn check_cluster(file: ClusterFile, errors: &mut Vec<ConfigError>) -> Option<ClusterSettings> {
    check_read_from(&file, errors);
    let (user, password) = check_login(&file.backend, file.login, errors);
    let tls = check_backend_tls(file.tls, &file.backend, errors);
    let backend = check_backend(file.backend, errors);
    Some(ClusterSettings {
        backend: backend?,
        user,
        password,
        tls,
        connect_timeout: file.connect_timeout,
        command_timeout: file.command_timeout,
        refresh_interval: file.refresh_interval,
        refresh_min_interval: file.refresh_min_interval,
        reconnect_backoff: (file.reconnect_backoff_min, file.reconnect_backoff_max),
        connections_per_node: file.connections_per_node,
        backend_high_watermark: file.backend_high_watermark,
        cross_slot: file.cross_slot,
        cross_slot_memory: file.cross_slot_memory,
        cross_slot_transactions: file.cross_slot_transactions,
        script_cache: file.script_cache,
        read_from: file.read_from,
        max_replica_lag: file.max_replica_lag,
    })
}

/// Only a cluster tells who its replicas are.
fn check_read_from(file: &ClusterFile, errors: &mut Vec<ConfigError>) {
    let lonely = [
        ("cluster.standalone", file.backend.standalone.is_some()),
        ("cluster.shards", file.backend.shards.is_some()),
    ];
    if file.read_from != ReadFrom::Primary {
        let value = file.read_from;
        let found = lonely.into_iter().filter(|(_, is_set)| *is_set);
        errors.extend(found.map(|(backend, _)| ConfigError::NoReplicas { value, backend }));
    }
}

/// As many as the servers themselves have where nobody says otherwise.
const DEFAULT_DATABASES: u16 = 16;

/// Whether one server is given twice, which would count its keys twice.
fn has_twin(urls: &[BackendUrl], errors: &mut Vec<ConfigError>) -> bool {
    let mut seen = HashSet::new();
    let twin = urls.iter().find(|url| !seen.insert(&url.endpoint));
    errors.extend(twin.map(|url| ConfigError::DuplicateShard { shard: url.endpoint.to_string() }));
    twin.is_some()
}

fn check_backend(file: BackendFile, errors: &mut Vec<ConfigError>) -> Option<BackendKind> {
    let databases = file.databases.unwrap_or(DEFAULT_DATABASES);
    let endpoints = |urls: Vec<BackendUrl>| urls.into_iter().map(|url| url.endpoint).collect::<Vec<_>>();
    match (file.seeds, file.standalone, file.shards) {
        (Some(_), Some(_), _) => conflict("cluster.seeds", "cluster.standalone", errors),
        (Some(_), _, Some(_)) => conflict("cluster.seeds", "cluster.shards", errors),
        (_, Some(_), Some(_)) => conflict("cluster.standalone", "cluster.shards", errors),
        // A cluster has database 0 only.
        (Some(_), _, _) if file.databases.is_some() => conflict("cluster.seeds", "cluster.databases", errors),
        (Some(urls), None, None) => Some(BackendKind::Cluster { seeds: endpoints(urls) }),
        (None, Some(url), None) => Some(BackendKind::Standalone { endpoint: url.endpoint, databases }),
        (None, None, Some(urls)) if has_twin(&urls, errors) => None,
        (None, None, Some(urls)) => Some(BackendKind::Shards { endpoints: endpoints(urls), databases }),
        (None, None, None) => {
            if !errors.iter().any(names_a_backend) {
                errors.push(ConfigError::NoBackend);
            }
            None
        }
    }
}

fn conflict(first: &'static str, second: &'static str, errors: &mut Vec<ConfigError>) -> Option<BackendKind> {
    errors.push(ConfigError::Conflict { first, second });
    None
}

/// Whether the operator did name a backend, only wrongly.
fn names_a_backend(error: &ConfigError) -> bool {
    let (ConfigError::BadValue { key, .. } | ConfigError::BadUrl { key, .. }) = error else { return false };
    ["cluster.seeds", "cluster.standalone", "cluster.shards"].iter().any(|name| key.starts_with(name))
}

/// One user and password for all backends: from the keys, or from the URLs.
fn check_login(
    backend: &BackendFile,
    mut login: LoginFile,
    errors: &mut Vec<ConfigError>,
) -> (Option<String>, Option<Secret>) {
    let user = login.user.take();
    let sources = [
        ("cluster.password", login.password.is_some()),
        ("cluster.password_file", login.password_file.is_some()),
        ("cluster.password_env", login.password_env.is_some()),
        ("a password in a backend's URL", backend.urls().any(|(_, url)| url.password.is_some())),
    ];
    let mut set = sources.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name);
    let source = set.next();
    if let (Some(first), Some(second)) = (source, set.next()) {
        errors.push(ConfigError::Conflict { first, second });
        return (None, None);
    }
    match (source, user) {
        (None, Some(user)) => {
            errors.push(ConfigError::UserWithoutPassword { user });
            (None, None)
        }
        (Some("a password in a backend's URL"), user) => check_url_login(backend, user, errors),
        (_, user) => (user, check_password(login, errors)),
    }
}

/// The login of the first URL that has one, which all others that have one must share.
fn check_url_login(
    backend: &BackendFile,
    user: Option<String>,
    errors: &mut Vec<ConfigError>,
) -> (Option<String>, Option<Secret>) {
    let mut logins = backend.urls().filter(|(_, url)| url.password.is_some());
    let Some((key, first)) = logins.next() else { return (user, None) };
    if logins.any(|(_, url)| (&url.user, &url.password) != (&first.user, &first.password)) {
        errors.push(ConfigError::LoginsDiffer { key });
    }
    if user.is_some() && first.user.is_some() {
        errors.push(ConfigError::Conflict { first: "cluster.user", second: "a user in a backend's URL" });
    }
    (user.or_else(|| first.user.clone()), first.password.clone())
}

fn check_password(login: LoginFile, errors: &mut Vec<ConfigError>) -> Option<Secret> {
    if let Some(file) = login.password_file {
        return check_password_file(&file, errors);
    }
    let Some(variable) = login.password_env else { return login.password };
    match env::var(&variable) {
        Ok(password) if !password.is_empty() => Some(Secret::new(password)),
        _ => {
            errors.push(ConfigError::PasswordEnv { variable });
            None
        }
    }
}

/// The file's first line; editors end it with a newline that is no part of the password.
fn check_password_file(file: &Path, errors: &mut Vec<ConfigError>) -> Option<Secret> {
    let mut fail = |reason: String| {
        errors.push(ConfigError::PasswordFile { file: file.display().to_string(), reason });
    };
    match fs::read_to_string(file) {
        Ok(text) => match text.lines().next() {
            Some(password) if !password.is_empty() => return Some(Secret::new(password.to_owned())),
            _ => fail("its first line is empty, must be the password".to_owned()),
        },
        Err(error) => fail(format!("cannot be read: {error}")),
    }
    None
}

impl BackendFile {
    /// All URLs, each with the key that it stands under.
    pub(super) fn urls(&self) -> impl Iterator<Item = (&'static str, &BackendUrl)> {
        let seeds = self.seeds.iter().flatten().map(|url| ("cluster.seeds", url));
        let standalone = self.standalone.iter().map(|url| ("cluster.standalone", url));
        let shards = self.shards.iter().flatten().map(|url| ("cluster.shards", url));
        seeds.chain(standalone).chain(shards)
    }

    /// All URLs, to be changed.
    pub(super) fn urls_mut(&mut self) -> impl Iterator<Item = &mut BackendUrl> {
        self.seeds.iter_mut().flatten().chain(&mut self.standalone).chain(self.shards.iter_mut().flatten())
    }
}
