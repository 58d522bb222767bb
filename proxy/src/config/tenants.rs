//! Checked settings of tenants: who they are, what they may say, where their keys stand.

use std::fmt;
use std::net::SocketAddr;

use super::limits::LimitsSettings;
use super::settings::{DEFAULT_CLUSTER, Secret};
use crate::command::access::Rules;

/// The name of the tenant that `[[users]]` outside of any tenant belong to, and everybody where there are no users.
pub const DEFAULT_TENANT: &str = "default";

/// One tenant of the proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantSettings {
    /// What it is called in logs and metrics; 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// Who may log in as this tenant. No name is in two tenants.
    pub users: Vec<User>,
    /// Which of the settings' clusters has its keys.
    pub cluster: String,
    /// Where its keys stand on a cluster that others use too; `None`: its keys are the cluster's.
    pub namespace: Option<NamespaceSettings>,
    /// What it may say; `None`: whatever the proxy serves.
    pub commands: Option<Rules>,
    /// Whom it is at the backends; `None`: the proxy itself.
    pub backend: Option<BackendUser>,
    /// Addresses of its own: whoever connects there is this tenant.
    pub listen: Vec<SocketAddr>,
    /// Names of its own (SNI), in lower case: whoever asks for one over TLS is this tenant.
    pub tls_names: Vec<String>,
    /// How much of everything it may have.
    pub limits: LimitsSettings,
    /// Its share where several tenants want more than there is, in the ratio of their weights; 1 to 1,000.
    pub weight: u16,
}

/// The weight of a tenant that is given none.
pub const DEFAULT_WEIGHT: u16 = 100;

impl TenantSettings {
    /// A tenant with a name and nothing else.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            users: Vec::new(),
            cluster: DEFAULT_CLUSTER.to_owned(),
            namespace: None,
            commands: None,
            backend: None,
            listen: Vec::new(),
            tls_names: Vec::new(),
            limits: LimitsSettings::default(),
            weight: DEFAULT_WEIGHT,
        }
    }
}

/// A tenant's own user at the backends, by whose rights the servers keep it within its keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendUser {
    /// How it logs in.
    pub login: BackendLogin,
    /// Which of its requests go over connections of that user.
    pub connections: Connections,
}

/// How to log in at a backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendLogin {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Which requests of a tenant go over connections of its own backend user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Connections {
    /// Scripts, functions, transactions and what waits; the rest goes over those that all tenants share.
    #[default]
    Shared,
    /// All.
    Own,
}

/// One user of the proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name given to AUTH; `default` for AUTH with a password only.
    pub name: String,
    /// SHA-256 of each password; any of them lets the user in.
    pub passwords: Vec<[u8; 32]>,
    /// Certificates of clients over TLS that are this user without more ado, as [`SubjectName`] writes whom they speak
    /// of. Without these and without passwords nobody has to show anything.
    pub subjects: Vec<SubjectName>,
}

impl User {
    /// Whether nobody has to show anything to be this user.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.passwords.is_empty() && self.subjects.is_empty()
    }
}

/// Whom a client's certificate speaks of: `CN=app`, `DNS:app.example.com`, `URI:spiffe://example/app`,
/// `email:app@example.com`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SubjectName(String);

impl SubjectName {
    /// Reads one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let kinds = ["CN=", "DNS:", "URI:", "email:"];
        let rest = kinds.iter().find_map(|kind| text.strip_prefix(kind))?;
        let host = text.starts_with("DNS:").then(|| text.to_ascii_lowercase().replacen("dns:", "DNS:", 1));
        (!rest.is_empty()).then(|| Self(host.unwrap_or_else(|| text.to_owned())))
    }

    /// As it is compared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tenant's part of a shared cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamespaceSettings {
    /// What its keys begin with at the backends: of a fixed length, so that none begins another, and never what
    /// a user chose.
    pub id: NamespaceId,
    /// Over which slots its keys go.
    pub placement: Placement,
    /// How many numbered databases it has; at least 1.
    pub databases: u16,
}

/// A namespace's name at the backends: 8 of `a-z 0-9`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NamespaceId(pub [u8; 8]);

/// Over which slots a tenant's keys go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Placement {
    /// All: each key by itself.
    #[default]
    Spread,
    /// One: the id is a hash tag, so that scripts, transactions and set operations over any of its keys are those of
    /// a single server.
    Together,
}

impl NamespaceId {
    /// Reads an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = text.as_bytes().try_into().ok()?;
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()).then_some(Self(id))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Says how many users and what it is; no secrets.
impl fmt::Display for TenantSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match self.users.as_slice() {
            [] => f.write_str("no users")?,
            [first, rest @ ..] => {
                write!(f, "users {}", first.name)?;
                rest.iter().try_for_each(|user| write!(f, ", {}", user.name))?;
            }
        }
        if self.cluster != DEFAULT_CLUSTER {
            write!(f, "; cluster {}", self.cluster)?;
        }
        if let Some(NamespaceSettings { id, placement, databases }) = self.namespace {
            write!(f, "; namespace {} {placement}, databases {databases}", id.as_str())?;
        }
        if self.commands.is_some() {
            f.write_str("; commands by rules")?;
        }
        if let Some(BackendUser { login, connections }) = &self.backend {
            write!(f, "; backend user {}, connections {connections}", login.user)?;
        }
        for address in &self.listen {
            write!(f, "; listens on {address}")?;
        }
        for name in &self.tls_names {
            write!(f, "; TLS name {name}")?;
        }
        if !self.limits.is_empty() {
            write!(f, "; limits {}", self.limits)?;
        }
        if self.weight != DEFAULT_WEIGHT {
            write!(f, "; weight {}", self.weight)?;
        }
        Ok(())
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Own => "own",
        })
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spread => "spread",
            Self::Together => "together",
        })
    }
}

/// A hash of a weak password is nearly the password.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passwords = format_args!("[{} hidden]", self.passwords.len());
        f.debug_struct("User")
            .field("name", &self.name)
            .field("passwords", &passwords)
            .field("subjects", &self.subjects)
            .finish()
    }
}
