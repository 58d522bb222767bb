//! `[[tenants]]` and `[[users]]` of the file: every key, and what they become.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::{env, fs};

use sha2::{Digest, Sha256};

use super::backend_user::{self, BackendUserFile};
use super::error::ConfigError;
use super::item::{Item, Key, NAME, is_name, put};
use super::limit_file::read_limits;
use super::limits::LimitsSettings;
use super::settings::DEFAULT_CLUSTER;
use super::tenants::{
    DEFAULT_TENANT, DEFAULT_WEIGHT, NamespaceId, NamespaceSettings, Placement, SubjectName, TenantSettings,
    User,
};
use super::tls::is_host;
use crate::command::access::Rules;
use crate::command::table::Table;

/// One `[[tenants]]` as written.
#[derive(Default)]
pub(super) struct TenantFile {
    /// `None`: not written.
    name: Option<String>,
    users: Vec<User>,
    cluster: Option<String>,
    namespace: Option<NamespaceId>,
    placement: Option<Placement>,
    databases: Option<u16>,
    commands: Option<Rules>,
    backend: BackendUserFile,
    listen: Vec<SocketAddr>,
    tls_names: Vec<String>,
    limits: LimitsSettings,
    weight: Option<u16>,
}

/// Every key of a tenant.
pub(super) const TENANT_KEYS: &[Key<TenantFile>] = &[
    row("name", |tenant, item| {
        let name = item.parse(NAME, |name| is_name(name).then(|| name.to_owned()));
        tenant.name = Some(name.unwrap_or_default());
    }),
    row("users", |tenant, item| put(&mut tenant.users, item.list(read_user))),
    row("cluster", |tenant, item| put(&mut tenant.cluster, item.text().map(Some))),
    row("namespace", |tenant, item| {
        let allowed = "8 characters of a-z and 0-9, chosen at random: `openssl rand -hex 4` prints such";
        put(&mut tenant.namespace, item.parse(allowed, NamespaceId::parse).map(Some));
    }),
    row("placement", |tenant, item| put(&mut tenant.placement, read_placement(item).map(Some))),
    row("databases", |tenant, item| put(&mut tenant.databases, item.whole(1..=10_000).map(Some))),
    row("commands", |tenant, item| put(&mut tenant.commands, read_rules(item).map(Some))),
    row("backend.user", |tenant, item| tenant.backend.read_user(item)),
    row("backend.password", |tenant, item| tenant.backend.read_password(item)),
    row("backend.password_file", |tenant, item| tenant.backend.read_password_file(item)),
    row("backend.password_env", |tenant, item| tenant.backend.read_password_env(item)),
    row("connections", |tenant, item| tenant.backend.read_connections(item)),
    row("listen", |tenant, item| put(&mut tenant.listen, item.list(|item| item.address()))),
    row("tls_names", |tenant, item| put(&mut tenant.tls_names, item.list(read_tls_name))),
    row("limits", |tenant, item| tenant.limits = read_limits(item)),
    row("weight", |tenant, item| put(&mut tenant.weight, item.whole(1..=1_000).map(Some))),
];

/// One `[[users]]` as written.
#[derive(Default)]
pub(super) struct UserFile {
    name: String,
    passwords: Option<Vec<[u8; 32]>>,
    file: Option<PathBuf>,
    env: Option<String>,
    nopass: bool,
    subjects: Option<Vec<SubjectName>>,
}

/// Every key of a user.
pub(super) const USER_KEYS: &[Key<UserFile>] = &[
    row("name", |user, item| {
        let allowed = "a name of 1 to 128 characters without spaces";
        let fits = |name: &str| (1..=128).contains(&name.len()) && !name.contains(char::is_whitespace);
        put(&mut user.name, item.parse(allowed, |name| fits(name).then(|| name.to_owned())));
    }),
    // The hash of a weak password is nearly the password: not shown either.
    row("passwords_sha256", |user, item| {
        user.passwords = Some(item.hidden().list(|item| item.sha256()).unwrap_or_default());
    }),
    row("passwords_file", |user, item| put(&mut user.file, item.file().map(Some))),
    row("passwords_env", |user, item| put(&mut user.env, item.text().map(Some))),
    row("nopass", |user, item| put(&mut user.nopass, item.flag())),
    row("tls_subjects", |user, item| user.subjects = Some(item.list(read_subject).unwrap_or_default())),
];

const fn row<T>(path: &'static str, set: fn(&mut T, &mut Item<'_>)) -> Key<T> {
    Key { path, set }
}

/// Reads one of `[[users]]`.
pub(super) fn read_user(item: &mut Item<'_>) -> Option<User> {
    let mut user = UserFile { name: "default".to_owned(), ..UserFile::default() };
    item.table(USER_KEYS, &mut user);
    let has_password =
        user.passwords.is_some() || user.file.is_some() || user.env.is_some() || user.subjects.is_some();
    if has_password == user.nopass {
        item.report(|place, key| ConfigError::UserLogin { place, key });
        return None;
    }
    let mut passwords = user.passwords.unwrap_or_default();
    if let Some(file) = user.file {
        let text = fs::read_to_string(&file).map_err(|error| format!("cannot be read: {error}"));
        passwords.extend(secrets(item, &format!("passwords_file {}", file.display()), text)?);
    }
    if let Some(variable) = user.env {
        let text = env::var(&variable).map_err(|error| error.to_string());
        passwords.extend(secrets(item, &format!("passwords_env {variable}"), text)?);
    }
    Some(User { name: user.name, passwords, subjects: user.subjects.unwrap_or_default() })
}

/// The passwords in a text, one a line: as they are, or behind a `#` the SHA-256, as the servers' ACL files have it.
fn secrets(item: &mut Item<'_>, source: &str, text: Result<String, String>) -> Option<Vec<[u8; 32]>> {
    let read = text.and_then(|text| {
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let found: Option<Vec<_>> = lines.map(secret).collect();
        let found = found.ok_or("a line with # is not followed by the 64 hex digits of a SHA-256")?;
        if found.is_empty() { Err("holds no password".to_owned()) } else { Ok(found) }
    });
    match read {
        Ok(found) => Some(found),
        Err(reason) => {
            item.report(|place, key| {
                let (source, reason) = (source.to_owned(), reason.clone());
                ConfigError::Passwords { place, key, source_name: source, reason }
            });
            None
        }
    }
}

fn secret(line: &str) -> Option<[u8; 32]> {
    match line.strip_prefix('#') {
        Some(hex) => Item::digest_of(hex),
        None => Some(Sha256::digest(line).into()),
    }
}

/// Reads one of `[[tenants]]`.
pub(super) fn read_tenant(item: &mut Item<'_>) -> Option<TenantSettings> {
    let mut tenant = TenantFile::default();
    item.table(TENANT_KEYS, &mut tenant);
    let Some(name) = tenant.name else {
        item.report(|place, key| ConfigError::TenantName { place, key });
        return None;
    };
    let lonely = [("placement", tenant.placement.is_some()), ("databases", tenant.databases.is_some())];
    for (setting, _) in lonely.into_iter().filter(|(_, is_set)| *is_set && tenant.namespace.is_none()) {
        item.report(|place, key| ConfigError::NoNamespace { place, key, setting });
    }
    let namespace = tenant.namespace.map(|id| NamespaceSettings {
        id,
        placement: tenant.placement.unwrap_or_default(),
        databases: tenant.databases.unwrap_or(1),
    });
    let backend = tenant.backend.check(item)?;
    let cluster = tenant.cluster.unwrap_or_else(|| DEFAULT_CLUSTER.to_owned());
    let TenantFile { users, commands, listen, tls_names, limits, weight, .. } = tenant;
    let weight = weight.unwrap_or(DEFAULT_WEIGHT);
    Some(TenantSettings {
        name,
        users,
        cluster,
        namespace,
        commands,
        backend,
        listen,
        tls_names,
        limits,
        weight,
    })
}

/// A host name, without a star: it is one tenant's.
fn read_tls_name(item: &mut Item<'_>) -> Option<String> {
    item.parse("a host name", |text| is_host(text).then(|| text.to_ascii_lowercase()))
}

fn read_subject(item: &mut Item<'_>) -> Option<SubjectName> {
    let allowed = "whom a certificate speaks of: CN=name, DNS:host, URI:uri or email:address";
    item.parse(allowed, SubjectName::parse)
}

fn read_placement(item: &mut Item<'_>) -> Option<Placement> {
    item.parse("\"spread\" or \"together\"", |text| match text {
        "spread" => Some(Placement::Spread),
        "together" => Some(Placement::Together),
        _ => None,
    })
}

fn read_rules(item: &mut Item<'_>) -> Option<Rules> {
    let text = item.parse("rules such as \"+@all -@dangerous\"", |text| Some(text.to_owned()))?;
    match Rules::parse(&text, &Table::builtin()) {
        Ok(rules) => Some(rules),
        Err(error) => {
            item.report(|place, key| ConfigError::Rules { place, key, reason: error.clone() });
            None
        }
    }
}

/// All tenants, the one of the top-level users first, and what they must agree on. That one may be missing where
/// others have all users: nobody can be it, so it needs no cluster.
pub(super) fn check(
    users: Vec<User>,
    mut tenants: Vec<TenantSettings>,
    clusters: &[String],
    errors: &mut Vec<ConfigError>,
) -> Vec<TenantSettings> {
    let others_have_users = tenants.iter().any(|tenant| !tenant.users.is_empty());
    let own = tenants.iter().position(|tenant| tenant.name == DEFAULT_TENANT);
    let mut default = own.map_or_else(|| TenantSettings::new(DEFAULT_TENANT), |index| tenants.remove(index));
    default.users.splice(0..0, users);
    let nobody_is_it = own.is_none() && default.users.is_empty() && others_have_users;
    if !nobody_is_it || clusters.contains(&default.cluster) {
        tenants.insert(0, default);
    }
    check_unique(&tenants, errors);
    backend_user::check_unique(&tenants, errors);
    check_clusters(&tenants, clusters, errors);
    tenants
}

/// Without any cluster that alone is the mistake, and told elsewhere.
fn check_clusters(tenants: &[TenantSettings], clusters: &[String], errors: &mut Vec<ConfigError>) {
    let lost = |tenant: &&TenantSettings| !clusters.is_empty() && !clusters.contains(&tenant.cluster);
    errors.extend(tenants.iter().filter(lost).map(|tenant| ConfigError::UnknownCluster {
        tenant: tenant.name.clone(),
        cluster: tenant.cluster.clone(),
        known: clusters.join(", "),
    }));
}

fn check_unique(tenants: &[TenantSettings], errors: &mut Vec<ConfigError>) {
    let (mut names, mut users, mut ids) = (HashSet::new(), HashSet::new(), HashSet::new());
    let (mut subjects, mut hosts) = (HashSet::new(), HashSet::new());
    for tenant in tenants {
        if !names.insert(tenant.name.as_str()) {
            errors.push(ConfigError::DuplicateTenant { name: tenant.name.clone() });
        }
        for user in &tenant.users {
            if !users.insert(user.name.as_str()) {
                errors.push(ConfigError::DuplicateUser { name: user.name.clone() });
            }
            for subject in user.subjects.iter().filter(|subject| !subjects.insert(subject.as_str())) {
                errors.push(ConfigError::DuplicateSubject { subject: subject.as_str().to_owned() });
            }
        }
        for name in tenant.tls_names.iter().filter(|name| !hosts.insert(name.as_str())) {
            errors.push(ConfigError::DuplicateTlsName { name: name.clone() });
        }
        if let Some(namespace) = tenant.namespace
            && !ids.insert(namespace.id)
        {
            errors.push(ConfigError::DuplicateNamespace { id: namespace.id.as_str().to_owned() });
        }
    }
}
