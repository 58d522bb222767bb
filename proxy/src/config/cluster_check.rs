//! From the sections of clusters to their settings: what their keys must agree on, and the passwords that stand
//! elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::{env, fs};

use super::check::check_order;
use super::error::ConfigError;
use super::file::{BackendFile, ClusterFile, LoginFile};
use super::quantity::Span;
use super::settings::{BackendKind, ClusterSettings, DEFAULT_CLUSTER, ReadFrom, Secret};
use super::tls::check_backend_tls;
use super::url::BackendUrl;

/// The settings of all clusters, that of `[cluster]` first; those that are wrong are left out.
pub(super) fn check(
    mut files: BTreeMap<String, ClusterFile>,
    errors: &mut Vec<ConfigError>,
) -> Vec<ClusterSettings> {
    if files.is_empty() {
        // A section that could not be read is there, only wrong.
        if !errors.iter().any(names_a_cluster) {
            errors.push(ConfigError::NoBackend);
        }
        return Vec::new();
    }
    let alone = files.len() == 1;
    let first = files.remove_entry(DEFAULT_CLUSTER);
    let all = first.into_iter().chain(files);
    all.filter_map(|(name, file)| {
        let section = Section { alone, name };
        check_cluster(section, file, errors)
    })
    .collect()
}

fn names_a_cluster(error: &ConfigError) -> bool {
    let (ConfigError::BadValue { key, .. } | ConfigError::ClusterName { key, .. }) = error else {
        return false;
    };
    key == "cluster" || key == "clusters" || key.starts_with("clusters.")
}

/// Where a cluster's keys stand.
struct Section {
    name: String,
    /// Whether it is the only cluster.
    alone: bool,
}

impl Section {
    fn path(&self) -> String {
        if self.name == DEFAULT_CLUSTER { "cluster".to_owned() } else { format!("clusters.{}", self.name) }
    }

    /// The whole path of one of its keys.
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.path())
    }

    fn conflict(&self, first: &str, second: &str) -> ConfigError {
        ConfigError::Conflict { first: self.key(first), second: self.key(second) }
    }
}

fn check_cluster(
    section: Section,
    file: ClusterFile,
    errors: &mut Vec<ConfigError>,
) -> Option<ClusterSettings> {
    check_orders(&section, &file, errors);
    check_read_from(&section, &file, errors);
    let (user, password) = check_login(&section, &file.backend, file.login, errors);
    let tls = check_backend_tls(&section.key("tls"), file.tls, &file.backend, errors);
    let backend = check_backend(&section, file.backend, errors);
    Some(ClusterSettings {
        backend: backend?,
        name: section.name,
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

fn check_orders(section: &Section, file: &ClusterFile, errors: &mut Vec<ConfigError>) {
    for (low, low_value, high, high_value) in [
        ("refresh_min_interval", file.refresh_min_interval, "refresh_interval", file.refresh_interval),
        (
            "reconnect_backoff_min",
            file.reconnect_backoff_min,
            "reconnect_backoff_max",
            file.reconnect_backoff_max,
        ),
        ("connect_timeout", file.connect_timeout, "command_timeout", file.command_timeout),
    ] {
        check_order((section.key(low), Span(low_value)), (section.key(high), Span(high_value)), errors);
    }
}

/// Only a cluster tells who its replicas are.
fn check_read_from(section: &Section, file: &ClusterFile, errors: &mut Vec<ConfigError>) {
    let lonely =
        [("standalone", file.backend.standalone.is_some()), ("shards", file.backend.shards.is_some())];
    if file.read_from != ReadFrom::Primary {
        let value = file.read_from;
        let found = lonely.into_iter().filter(|(_, is_set)| *is_set);
        errors.extend(found.map(|(backend, _)| {
            let (key, backend) = (section.key("read_from"), section.key(backend));
            ConfigError::NoReplicas { key, value, backend }
        }));
    }
}

/// As many as the servers themselves have where nobody says otherwise.
const DEFAULT_DATABASES: u16 = 16;

/// Whether one server is given twice, which would count its keys twice.
fn has_twin(section: &Section, urls: &[BackendUrl], errors: &mut Vec<ConfigError>) -> bool {
    let mut seen = HashSet::new();
    let twin = urls.iter().find(|url| !seen.insert(&url.endpoint));
    errors.extend(twin.map(|url| ConfigError::DuplicateShard {
        key: section.key("shards"),
        shard: url.endpoint.to_string(),
    }));
    twin.is_some()
}

fn check_backend(section: &Section, file: BackendFile, errors: &mut Vec<ConfigError>) -> Option<BackendKind> {
    let databases = file.databases.unwrap_or(DEFAULT_DATABASES);
    let endpoints = |urls: Vec<BackendUrl>| urls.into_iter().map(|url| url.endpoint).collect::<Vec<_>>();
    let error = match (file.seeds, file.standalone, file.shards) {
        (Some(_), Some(_), _) => section.conflict("seeds", "standalone"),
        (Some(_), _, Some(_)) => section.conflict("seeds", "shards"),
        (_, Some(_), Some(_)) => section.conflict("standalone", "shards"),
        // A cluster has database 0 only.
        (Some(_), _, _) if file.databases.is_some() => section.conflict("seeds", "databases"),
        (Some(urls), None, None) => return Some(BackendKind::Cluster { seeds: endpoints(urls) }),
        (None, Some(url), None) => {
            return Some(BackendKind::Standalone { endpoint: url.endpoint, databases });
        }
        (None, None, Some(urls)) if has_twin(section, &urls, errors) => return None,
        (None, None, Some(urls)) => {
            return Some(BackendKind::Shards { endpoints: endpoints(urls), databases });
        }
        (None, None, None) if errors.iter().any(|error| section.names_its_backend(error)) => return None,
        (None, None, None) if section.alone && section.name == DEFAULT_CLUSTER => ConfigError::NoBackend,
        (None, None, None) => ConfigError::NoBackendIn { section: section.path() },
    };
    errors.push(error);
    None
}

impl Section {
    /// Whether the operator did name its backend, only wrongly.
    fn names_its_backend(&self, error: &ConfigError) -> bool {
        let (ConfigError::BadValue { key, .. } | ConfigError::BadUrl { key, .. }) = error else {
            return false;
        };
        ["seeds", "standalone", "shards"].iter().any(|name| key.starts_with(&self.key(name)))
    }
}

/// One user and password for all backends: from the keys, or from the URLs.
fn check_login(
    section: &Section,
    backend: &BackendFile,
    mut login: LoginFile,
    errors: &mut Vec<ConfigError>,
) -> (Option<String>, Option<Secret>) {
    let user = login.user.take();
    let sources = [
        (section.key("password"), login.password.is_some()),
        (section.key("password_file"), login.password_file.is_some()),
        (section.key("password_env"), login.password_env.is_some()),
        (IN_URL.to_owned(), backend.urls().any(|(_, url)| url.password.is_some())),
    ];
    let mut set = sources.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name);
    let source = set.next();
    let second = set.next();
    match (source, second, user) {
        (Some(first), Some(second), _) => {
            errors.push(ConfigError::Conflict { first, second });
            (None, None)
        }
        (None, _, Some(user)) => {
            errors.push(ConfigError::UserWithoutPassword { key: section.key("user"), user });
            (None, None)
        }
        (Some(source), None, user) if source == IN_URL => check_url_login(section, backend, user, errors),
        (_, _, user) => (user, check_password(section, login, errors)),
    }
}

const IN_URL: &str = "a password in a backend's URL";

/// The login of the first URL that has one, which all others that have one must share.
fn check_url_login(
    section: &Section,
    backend: &BackendFile,
    user: Option<String>,
    errors: &mut Vec<ConfigError>,
) -> (Option<String>, Option<Secret>) {
    let mut logins = backend.urls().filter(|(_, url)| url.password.is_some());
    let Some((key, first)) = logins.next() else { return (user, None) };
    if logins.any(|(_, url)| (&url.user, &url.password) != (&first.user, &first.password)) {
        errors.push(ConfigError::LoginsDiffer { key: section.key(key) });
    }
    if user.is_some() && first.user.is_some() {
        let (first, second) = (section.key("user"), "a user in a backend's URL".to_owned());
        errors.push(ConfigError::Conflict { first, second });
    }
    (user.or_else(|| first.user.clone()), first.password.clone())
}

fn check_password(section: &Section, login: LoginFile, errors: &mut Vec<ConfigError>) -> Option<Secret> {
    if let Some(file) = login.password_file {
        return check_password_file(section, &file, errors);
    }
    let Some(variable) = login.password_env else { return login.password };
    match env::var(&variable) {
        Ok(password) if !password.is_empty() => Some(Secret::new(password)),
        _ => {
            errors.push(ConfigError::PasswordEnv { key: section.key("password_env"), variable });
            None
        }
    }
}

/// The file's first line; editors end it with a newline that is no part of the password.
fn check_password_file(section: &Section, file: &Path, errors: &mut Vec<ConfigError>) -> Option<Secret> {
    let mut fail = |reason: String| {
        let (key, file) = (section.key("password_file"), file.display().to_string());
        errors.push(ConfigError::PasswordFile { key, file, reason });
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
    /// All URLs, each with the key of its section that it stands under.
    pub(super) fn urls(&self) -> impl Iterator<Item = (&'static str, &BackendUrl)> {
        let seeds = self.seeds.iter().flatten().map(|url| ("seeds", url));
        let standalone = self.standalone.iter().map(|url| ("standalone", url));
        let shards = self.shards.iter().flatten().map(|url| ("shards", url));
        seeds.chain(standalone).chain(shards)
    }

    /// All URLs, to be changed.
    pub(super) fn urls_mut(&mut self) -> impl Iterator<Item = &mut BackendUrl> {
        self.seeds.iter_mut().flatten().chain(&mut self.standalone).chain(self.shards.iter_mut().flatten())
    }
}
