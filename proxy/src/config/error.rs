//! What can be wrong with what the operator wrote: where, which key, which value, and what is allowed.

use std::fmt;
use std::sync::Arc;

use super::settings::ReadFrom;
use super::url::UrlError;
use crate::command::access::RulesError;
use crate::tls::error::CertificateError;

/// Every mistake of one start, in the order of their places. Never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// Where something was written: a file and a line, a flag, or an environment variable.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The file's name, `--flag`, or the variable's name.
    pub source: Arc<str>,
    /// The line in a file, from 1.
    pub line: Option<usize>,
}

/// One mistake. Values of secrets are never part of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("{place}: cannot be read: {reason}")]
    Unreadable {
        /// The file.
        place: Place,
        /// The system's words.
        reason: String,
    },
    /// The file is not TOML here.
    #[error("{place}: not TOML: {reason}")]
    Syntax {
        /// The line.
        place: Place,
        /// The parser's words, without the line itself: it may hold a password.
        reason: String,
    },
    /// No setting has this name.
    #[error("{place}: unknown key {key}, known here: {known}")]
    UnknownKey {
        /// Where it is written.
        place: Place,
        /// The whole path.
        key: String,
        /// The names that this section knows.
        known: String,
    },
    /// The value is of another type, out of range, or not in the form wanted.
    #[error("{place}: {key} is {value}, must be {allowed}")]
    BadValue {
        /// Where it is written.
        place: Place,
        /// The whole path.
        key: String,
        /// As written; hidden where it may be a secret.
        value: String,
        /// What would have been right.
        allowed: String,
    },
    /// The value is no backend URL.
    #[error("{place}: {key} is {value}: {reason}")]
    BadUrl {
        /// Where it is written.
        place: Place,
        /// The whole path.
        key: String,
        /// As written, without user and password.
        value: String,
        /// What is wrong with it.
        reason: UrlError,
    },
    /// A user with no way to log in that was asked for.
    #[error(
        "{place}: {key} must have either nopass = true or passwords in passwords_sha256, passwords_file or \
         passwords_env, or tls_subjects"
    )]
    UserLogin {
        /// Where the user is written.
        place: Place,
        /// Which user: `users[1]`.
        key: String,
    },
    /// Passwords that stand elsewhere can't be read.
    #[error("{place}: {key}: {source_name} {reason}")]
    Passwords {
        /// Where the user is written.
        place: Place,
        /// Which user.
        key: String,
        /// The setting and the file's or variable's name.
        source_name: String,
        /// What is wrong with it; never a part of it.
        reason: String,
    },
    /// A tenant has to be called something.
    #[error("{place}: {key} has no name")]
    TenantName {
        /// Where it is written.
        place: Place,
        /// Which tenant: `tenants[1]`.
        key: String,
    },
    /// A setting of a namespace for a tenant that has none.
    #[error("{place}: {key} has {setting} without namespace")]
    NoNamespace {
        /// Where the tenant is written.
        place: Place,
        /// Which tenant.
        key: String,
        /// The setting.
        setting: &'static str,
    },
    /// A tenant's backend user that is not whole, or too much.
    #[error("{place}: {key} has {wrong}")]
    BackendUser {
        /// Where the tenant is written.
        place: Place,
        /// Which tenant.
        key: String,
        /// What is wrong.
        wrong: &'static str,
    },
    /// What happens at a limit that is not set.
    #[error("{place}: {key} has {limit}_action without {limit}")]
    NoLimit {
        /// Where the limits are written.
        place: Place,
        /// Whose: `tenants[1].limits`.
        key: String,
        /// The limit.
        limit: &'static str,
    },
    /// Rules for commands that can't be read.
    #[error("{place}: {key}: {reason}")]
    Rules {
        /// Where they are written.
        place: Place,
        /// The whole path.
        key: String,
        /// What is wrong.
        reason: RulesError,
    },
    /// Two tenants of one name.
    #[error("tenants: the name {name:?} stands more than once, must be unique")]
    DuplicateTenant {
        /// The name.
        name: String,
    },
    /// An entry without what every entry has.
    #[error("{place}: {key} must have id, addresses and cap")]
    Entry {
        /// Where it is written.
        place: Place,
        /// Which entry: `fleet.entries[1]`.
        key: String,
    },
    /// A name server has to be called something.
    #[error("{place}: {key} has no name")]
    NameServer {
        /// Where it is written.
        place: Place,
        /// Which one: `fleet.responder.nameservers[0]`.
        key: String,
    },
    /// What keys of a fleet do not agree on.
    #[error("fleet: {wrong}")]
    Fleet {
        /// Which, and what they must be.
        wrong: String,
    },
    /// Two tenants whose keys would be the same.
    #[error("tenants: the namespace {id:?} stands more than once, must be unique")]
    DuplicateNamespace {
        /// The id.
        id: String,
    },
    /// Two tenants, one of them with a namespace, that would have each other's rights.
    #[error(
        "tenants: the backend user {user:?} is of more than one tenant, must be one's own with a namespace"
    )]
    DuplicateBackendUser {
        /// The user.
        user: String,
    },
    /// Two users that one certificate would be.
    #[error("tls_subjects: {subject:?} stands more than once in all users, must be unique")]
    DuplicateSubject {
        /// Whom the certificate speaks of.
        subject: String,
    },
    /// Two users of one name.
    #[error("users: the name {name:?} stands more than once in all tenants, must be unique")]
    DuplicateUser {
        /// The name.
        name: String,
    },
    /// One address twice among all listeners.
    #[error(
        "{key}: the address {address} stands more than once in listen, tls.listen, admin, tenants and fleet, must be unique"
    )]
    DuplicateAddress {
        /// The key of the second one.
        key: &'static str,
        /// The address.
        address: String,
    },
    /// Nowhere to connect.
    #[error(
        "listen is \"off\", must be a list of addresses where neither tls, a tenant nor an entry has any"
    )]
    NoListener,
    /// A key that another one needs.
    #[error("{lacks} is not written, must be where {why}")]
    TlsLacks {
        /// The key.
        lacks: String,
        /// Because of what.
        why: String,
    },
    /// Backends with and without TLS.
    #[error("{key}: the URLs have both redis:// and rediss://, must be one of them for all backends")]
    SchemesDiffer {
        /// The key of the URLs.
        key: String,
    },
    /// A name of TLS without its certificate.
    #[error("{place}: {key} must have name, certificate and key")]
    TlsName {
        /// Where the name is written.
        place: Place,
        /// Which: `tls.names[1]`.
        key: String,
    },
    /// Two certificates for one name.
    #[error("tls.names: the name {name:?} stands more than once, must be unique")]
    DuplicateTlsName {
        /// The name.
        name: String,
    },
    /// A file of certificates or keys that can't be used.
    #[error("{section}: {error}")]
    Certificate {
        /// The section that names it.
        section: String,
        /// What is wrong.
        error: CertificateError,
    },
    /// One server twice among the shards.
    #[error("{key}: {shard} stands more than once, must be unique")]
    DuplicateShard {
        /// The key of the shards.
        key: String,
        /// The server.
        shard: String,
    },
    /// Nothing says what stands behind the proxy.
    #[error(
        "no backend: give --cluster redis://HOST:PORT (repeatable), --standalone URL or --shard URL (repeatable), \
         or --config FILE with seeds, standalone or shards in its section [cluster]; \
         to try things out, `slotway dev` starts a cluster of its own"
    )]
    NoBackend,
    /// The same of one of several clusters.
    #[error("{section} has no backend, must have one of seeds, standalone and shards")]
    NoBackendIn {
        /// The section.
        section: String,
    },
    /// A cluster has to be called something.
    #[error(
        "{place}: {key} must be called by 1 to 64 letters, digits, _ and -, and not \"default\", which is [cluster]"
    )]
    ClusterName {
        /// Where it is written.
        place: Place,
        /// The section.
        key: String,
    },
    /// A tenant of a cluster that is not there.
    #[error("tenants: the cluster of {tenant} is {cluster:?}, must be one of: {known}")]
    UnknownCluster {
        /// The tenant.
        tenant: String,
        /// What it names.
        cluster: String,
        /// The names that there are.
        known: String,
    },
    /// Two settings that cannot both hold.
    #[error("{first} and {second} are both set, only one of them may be")]
    Conflict {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// Reads from replicas of servers that tell of none.
    #[error("{key} is \"{value}\", must be \"primary\" with {backend}: its replicas are not known")]
    NoReplicas {
        /// The setting.
        key: String,
        /// What is set.
        value: ReadFrom,
        /// The key of the backend.
        backend: String,
    },
    /// A pair of settings in the wrong order.
    #[error("{low} is {low_value}, must not be above {high}, which is {high_value}")]
    Order {
        /// The setting that must be the smaller one.
        low: String,
        /// Its value.
        low_value: String,
        /// The setting that must be the larger one.
        high: String,
        /// Its value.
        high_value: String,
    },
    /// Backend URLs with different logins.
    #[error("{key}: the URLs name different users or passwords, must be one login for all backends")]
    LoginsDiffer {
        /// The key of the URLs.
        key: String,
    },
    /// A backend user without any password.
    #[error("{key} is {user:?} without a password, must come with password, password_file or password_env")]
    UserWithoutPassword {
        /// The setting.
        key: String,
        /// The user.
        user: String,
    },
    /// The file with the backend password cannot be read, or holds none.
    #[error("{key} is {file:?}: {reason}")]
    PasswordFile {
        /// The setting.
        key: String,
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The environment variable with the backend password is not set, empty or not UTF-8.
    #[error("{key} is {variable:?}, must name an environment variable that holds a password")]
    PasswordEnv {
        /// The setting.
        key: String,
        /// The variable's name.
        variable: String,
    },
}

impl ConfigError {
    /// Where it was written, for those that have one place.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Unreadable { place, .. }
            | Self::Syntax { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::BadValue { place, .. }
            | Self::BadUrl { place, .. }
            | Self::UserLogin { place, .. }
            | Self::TlsName { place, .. }
            | Self::Passwords { place, .. }
            | Self::TenantName { place, .. }
            | Self::Entry { place, .. }
            | Self::NameServer { place, .. }
            | Self::ClusterName { place, .. }
            | Self::NoNamespace { place, .. }
            | Self::BackendUser { place, .. }
            | Self::NoLimit { place, .. }
            | Self::Rules { place, .. } => Some(place),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}
