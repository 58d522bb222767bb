//! The handshake: what a new connection to a backend says first, and what the answers mean. Used by the
//! workers' connections and by discovery.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cluster::replication::Replication;
use crate::config::settings::Secret;
use crate::config::tenants::BackendLogin;
use crate::resp::command::append;
use crate::resp::protocol::Protocol;
use crate::resp::value::{Value, ValueError};

/// What a connection should be once its handshake is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The protocol to speak.
    pub protocol: Protocol,
    /// Log in as this user; `None`: with the password only.
    pub user: Option<String>,
    /// Log in with this; `None`: not at all.
    pub password: Option<Secret>,
    /// The numbered database to select.
    pub database: u16,
    /// Become this user behind all that, which needs no right of its own for any of it.
    tenant: Option<BackendLogin>,
    /// Whether to ask for the number that the server knows the connection by.
    asks_id: bool,
    /// Whether to say READONLY, without which a cluster's replica redirects reads too, and to see to it that the
    /// replica has its data.
    reads: bool,
    id: Option<u64>,
    steps: VecDeque<Step>,
    identity: Option<ServerIdentity>,
}

/// What server we talk to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerIdentity {
    /// `redis`, `valkey` or another; empty where not known.
    pub name: Arc<str>,
    /// Its version as it says it; empty where not known.
    pub version: Arc<str>,
}

/// How far a handshake is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More replies are to come.
    Pending,
    /// The connection may be used.
    Done,
}

/// Why a connection cannot be used. Each text is for the operator and holds the server's own words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The server takes the user or password for wrong, or has none.
    #[error("backend refused the user or password: {0}")]
    Credentials(String),
    /// The server wants a password and none is set.
    #[error("backend wants a password and none is set: {0}")]
    PasswordMissing(String),
    /// The server takes a tenant's user or password for wrong.
    #[error("backend refused the tenant's user or password: {0}")]
    Tenant(String),
    /// The server does not speak the protocol, or has no HELLO (before Redis 6).
    #[error("backend does not speak the protocol: {0}")]
    Protocol(String),
    /// The server has no such database; a cluster has only database 0.
    #[error("backend refused the database: {0}")]
    Database(String),
    /// The server takes no connection at present: too many clients, protected mode, loading.
    #[error("backend refused the connection: {0}")]
    Refused(String),
    /// The server refused READONLY, as one without cluster mode does, or INFO.
    #[error("backend does not serve reads from a replica: {0}")]
    ReadOnly(String),
    /// A replica that was started a moment ago and has not been given its data: it would say that there is none.
    /// Or it is none (any more).
    #[error("replica has lost its primary or has not all of its data")]
    Unlinked,
    /// The reply cannot be read.
    #[error("unreadable handshake: {0}")]
    Malformed(#[from] ValueError),
    /// A reply to nothing that was asked.
    #[error("backend sent a reply that was not asked for")]
    Unexpected,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Hello,
    Auth,
    Select,
    /// From here on it is a tenant's.
    Become,
    ReadOnly,
    /// How its replication is.
    Replication,
    /// The number that CLIENT UNBLOCK wants.
    ClientId,
    /// Only makes the connection easy to find in CLIENT LIST: its failure does not matter.
    SetName,
}

impl Handshake {
    /// A handshake that has not begun.
    #[must_use]
    pub fn new(protocol: Protocol, user: Option<&str>, password: Option<&Secret>, database: u16) -> Self {
        let (user, password) = (user.map(str::to_owned), password.cloned());
        let steps = VecDeque::new();
        Self {
            protocol,
            user,
            password,
            database,
            tenant: None,
            asks_id: false,
            reads: false,
            id: None,
            steps,
            identity: None,
        }
    }

    /// The same, asking for the connection's number too, see [`Self::id`].
    #[must_use]
    pub fn asking_id(self) -> Self {
        Self { asks_id: true, ..self }
    }

    /// The same, as a tenant's user in the end.
    #[must_use]
    pub fn becoming(self, tenant: BackendLogin) -> Self {
        Self { tenant: Some(tenant), ..self }
    }

    /// The same, for reads from a cluster's replica.
    #[must_use]
    pub fn reading_from_replica(self) -> Self {
        Self { reads: true, ..self }
    }

    /// Appends the requests, all at once, and begins (again) to wait for their replies.
    pub fn request(&mut self, out: &mut Vec<u8>) {
        self.steps.clear();
        let password = self.password.as_ref().map(Secret::reveal);
        match (self.protocol, password, self.user.as_deref()) {
            (Protocol::Resp3, None, _) => self.ask(Step::Hello, &["HELLO", "3"], out),
            (Protocol::Resp3, Some(password), user) => {
                let user = user.unwrap_or("default");
                append(&["HELLO", "3", "AUTH", user, password], out);
                self.steps.push_back(Step::Hello);
            }
            (Protocol::Resp2, None, _) => {}
            (Protocol::Resp2, Some(password), user) => {
                let words = ["AUTH", user.unwrap_or(password), password];
                append(if user.is_some() { &words } else { &words[..2] }, out);
                self.steps.push_back(Step::Auth);
            }
        }
        if self.database > 0 {
            self.ask(Step::Select, &["SELECT", &self.database.to_string()], out);
        }
        if self.reads {
            self.ask(Step::ReadOnly, &["READONLY"], out);
            self.ask(Step::Replication, &["INFO", "replication"], out);
        }
        self.ask(Step::SetName, &["CLIENT", "SETNAME", "slotway"], out);
        if self.asks_id {
            self.ask(Step::ClientId, &["CLIENT", "ID"], out);
        }
        if let Some(tenant) = &self.tenant {
            append(&["AUTH", &tenant.user, tenant.password.reveal()], out);
            self.steps.push_back(Step::Become);
        }
    }

    /// Takes one complete reply.
    ///
    /// # Errors
    /// Where the connection must be closed.
    pub fn on_reply(&mut self, reply: &[u8]) -> Result<Progress, HandshakeError> {
        let step = self.steps.pop_front().ok_or(HandshakeError::Unexpected)?;
        match Value::parse(reply)? {
            Value::Error(text) => fail(step, text)?,
            info if step == Step::Replication => check_linked(&info)?,
            hello if step == Step::Hello => self.identity = ServerIdentity::from_hello(&hello),
            id if step == Step::ClientId => self.id = id.integer().and_then(|id| u64::try_from(id).ok()),
            _ => {}
        }
        Ok(if self.steps.is_empty() { Progress::Done } else { Progress::Pending })
    }

    /// What server it is, where HELLO's reply told.
    #[must_use]
    pub fn identity(&self) -> Option<&ServerIdentity> {
        self.identity.as_ref()
    }

    /// The number that the server knows the connection by, where it was asked and told.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.id
    }

    fn ask(&mut self, step: Step, words: &[&str], out: &mut Vec<u8>) {
        append(words, out);
        self.steps.push_back(step);
    }
}

impl ServerIdentity {
    /// Reads INFO's server section, for servers whose HELLO did not tell.
    #[must_use]
    pub fn from_info(info: &str) -> Option<Self> {
        let line = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        // Valkey keeps redis_version at 7.2.4 for old clients, and tells its own beside it.
        let named = line("server_name").zip(line("valkey_version"));
        let (name, version) = named.or_else(|| Some(("redis", line("redis_version")?)))?;
        Self::new(name.trim(), version.trim())
    }

    fn from_hello(hello: &Value<'_>) -> Option<Self> {
        let text = |key| std::str::from_utf8(hello.field(key)?.text()?).ok();
        Self::new(text("server")?, text("version")?)
    }

    /// Only short plain words: they go to logs and pages.
    fn new(name: &str, version: &str) -> Option<Self> {
        let plain = |word: &str| word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_graphic());
        (plain(name) && plain(version)).then(|| Self { name: name.into(), version: version.into() })
    }
}

/// The watch asks once a second, which a restart is quicker than. A replica that has just started takes itself for a
/// primary until its cluster's first turn, 100 ms on, and answers reads from an empty keyspace meanwhile: who is a
/// primary is not read from over such a connection.
fn check_linked(info: &Value<'_>) -> Result<(), HandshakeError> {
    let info = String::from_utf8_lossy(info.text().unwrap_or_default());
    match Replication::parse(&info) {
        Some(Replication::Replica { linked: true, .. }) => Ok(()),
        _ => Err(HandshakeError::Unlinked),
    }
}

/// What an error in reply to `step` means; `Ok` where it does not matter.
fn fail(step: Step, text: &[u8]) -> Result<(), HandshakeError> {
    let said = String::from_utf8_lossy(&text[..text.len().min(200)]).replace(char::is_control, " ");
    let code = said.split(' ').next().unwrap_or_default();
    // Whatever was asked, these are about the connection: sent before anything is read, or while loading. A
    // server that is busy with a script can still be told to kill it.
    let closed = matches!(code, "DENIED" | "LOADING" | "MASTERDOWN")
        || (code == "BUSY" && !matches!(step, Step::SetName | Step::ClientId))
        || said.starts_with("ERR max number of clients");
    if closed {
        return Err(HandshakeError::Refused(said));
    }
    Err(match (step, code) {
        (Step::Become, _) => HandshakeError::Tenant(said),
        (_, "NOAUTH") => HandshakeError::PasswordMissing(said),
        (Step::SetName | Step::ClientId, _) => return Ok(()),
        (Step::Auth, _) | (Step::Hello, "WRONGPASS") => HandshakeError::Credentials(said),
        (Step::Hello, _) if said.contains("without any password configured") => {
            HandshakeError::Credentials(said)
        }
        (Step::Hello, _) => HandshakeError::Protocol(said),
        (Step::Select, _) => HandshakeError::Database(said),
        (Step::ReadOnly | Step::Replication, _) => HandshakeError::ReadOnly(said),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS_HELLO: &[u8] = include_bytes!("../cluster/fixtures/redis-7.0.hello3");
    const VALKEY_HELLO: &[u8] = include_bytes!("../cluster/fixtures/valkey-9.1.hello3");

    fn handshake(protocol: Protocol, user: Option<&str>, password: Option<&str>, database: u16) -> Handshake {
        let password = password.map(|password| Secret::new(password.to_owned()));
        Handshake::new(protocol, user, password.as_ref(), database)
    }

    fn asked(handshake: &mut Handshake) -> String {
        let mut out = Vec::new();
        handshake.request(&mut out);
        let words = String::from_utf8(out).unwrap().replace("\r\n", " ");
        words.split(' ').filter(|word| !word.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_connection_asks_for_what_it_needs_only() {
        use Protocol::{Resp2, Resp3};
        let asks = |protocol, user, password, database| {
            asked(&mut handshake(protocol, user, password, database)).trim_end().to_owned()
        };
        assert_eq!(asks(Resp2, None, None, 0), "CLIENT SETNAME slotway");
        assert_eq!(asks(Resp2, None, Some("pw"), 0), "AUTH pw CLIENT SETNAME slotway");
        assert_eq!(asks(Resp2, Some("u"), Some("pw"), 2), "AUTH u pw SELECT 2 CLIENT SETNAME slotway");
        assert_eq!(asks(Resp3, None, None, 0), "HELLO 3 CLIENT SETNAME slotway");
        assert_eq!(asks(Resp3, None, Some("pw"), 0), "HELLO 3 AUTH default pw CLIENT SETNAME slotway");
        assert_eq!(asks(Resp3, Some("u"), Some("pw"), 0), "HELLO 3 AUTH u pw CLIENT SETNAME slotway");
    }

    #[test]
    fn a_connection_for_reads_from_a_replica_says_so_and_is_none_where_it_may_not() {
        let begin = || {
            let mut handshake = handshake(Protocol::Resp3, None, None, 0).reading_from_replica();
            assert_eq!(
                asked(&mut handshake).trim_end(),
                "HELLO 3 READONLY INFO replication CLIENT SETNAME slotway"
            );
            assert_eq!(handshake.on_reply(REDIS_HELLO), Ok(Progress::Pending));
            handshake
        };
        for (status, linked) in [("up", Ok(Progress::Pending)), ("down", Err(HandshakeError::Unlinked))] {
            let mut handshake = begin();
            assert_eq!(handshake.on_reply(b"+OK\r\n"), Ok(Progress::Pending));
            let info = format!("role:slave\r\nmaster_link_status:{status}\r\nslave_repl_offset:7\r\n");
            let reply = format!("${}\r\n{info}\r\n", info.len());
            assert_eq!(handshake.on_reply(reply.as_bytes()), linked);
        }
        let mut handshake = begin();
        assert_eq!(handshake.on_reply(b"+OK\r\n"), Ok(Progress::Pending));
        let started = b"$35\r\nrole:master\r\nmaster_repl_offset:0\r\n\r\n";
        assert_eq!(
            handshake.on_reply(started),
            Err(HandshakeError::Unlinked),
            "not told yet whom it follows"
        );
        let mut handshake = begin();
        let refused = "ERR This instance has cluster support disabled";
        let refusal = handshake.on_reply(format!("-{refused}\r\n").as_bytes());
        assert_eq!(refusal, Err(HandshakeError::ReadOnly(refused.into())));
    }

    #[test]
    fn a_tenants_connection_becomes_its_users_last_and_says_whose_login_was_wrong() {
        let tenant = BackendLogin { user: "shop".into(), password: Secret::new("s3cret".into()) };
        let begin = || {
            let own = handshake(Protocol::Resp3, Some("u"), Some("pw"), 2).reading_from_replica();
            let mut handshake = own.asking_id().becoming(tenant.clone());
            let said = "HELLO 3 AUTH u pw SELECT 2 READONLY INFO replication CLIENT SETNAME slotway CLIENT ID AUTH \
                        shop s3cret";
            assert_eq!(asked(&mut handshake).trim_end(), said);
            handshake
        };
        let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
        let error = format!("-{wrong}\r\n");
        assert_eq!(begin().on_reply(error.as_bytes()), Err(HandshakeError::Credentials(wrong.into())));
        let mut handshake = begin();
        let info = "$56\r\nrole:slave\r\nmaster_link_status:up\r\nslave_repl_offset:7\r\n\r\n";
        for reply in [REDIS_HELLO, b"+OK\r\n", b"+OK\r\n", info.as_bytes(), b"+OK\r\n", b":7\r\n"] {
            assert_eq!(handshake.on_reply(reply), Ok(Progress::Pending));
        }
        assert_eq!(handshake.clone().on_reply(b"+OK\r\n"), Ok(Progress::Done));
        assert_eq!(handshake.on_reply(error.as_bytes()), Err(HandshakeError::Tenant(wrong.into())));
        assert!(!format!("{handshake:?}").contains("s3cret"));
    }

    #[test]
    fn the_bytes_are_requests() {
        let mut out = Vec::new();
        handshake(Protocol::Resp2, None, Some("pä"), 0).request(&mut out);
        assert!(out.starts_with("*2\r\n$4\r\nAUTH\r\n$3\r\npä\r\n*3\r\n".as_bytes()));
    }

    #[test]
    fn hello_tells_the_server() {
        for (reply, name, version) in [(REDIS_HELLO, "redis", "7.0.15"), (VALKEY_HELLO, "valkey", "9.1.2")] {
            let mut handshake = handshake(Protocol::Resp3, None, None, 0);
            asked(&mut handshake);
            assert_eq!(handshake.on_reply(reply), Ok(Progress::Pending));
            assert_eq!(handshake.on_reply(b"+OK\r\n"), Ok(Progress::Done));
            let identity = ServerIdentity { name: name.into(), version: version.into() };
            assert_eq!(handshake.identity(), Some(&identity));
            assert_eq!(handshake.on_reply(b"+OK\r\n"), Err(HandshakeError::Unexpected));
        }
    }

    #[test]
    fn info_tells_the_server_where_hello_does_not() {
        let identity = |info| ServerIdentity::from_info(info).map(|it| format!("{}/{}", it.name, it.version));
        let valkey = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n";
        assert_eq!(identity(valkey).as_deref(), Some("valkey/9.1.2"));
        assert_eq!(identity("# Server\r\nredis_version:5.0.3\r\n").as_deref(), Some("redis/5.0.3"));
        assert_eq!(identity("# Server\r\n"), None);
    }

    #[test]
    fn failures_that_matter_say_what_is_wrong() {
        use HandshakeError as E;
        use Protocol::{Resp2, Resp3};
        let first = |protocol, password, reply: &str| {
            let mut handshake = handshake(protocol, None, password, 0);
            asked(&mut handshake);
            handshake.on_reply(format!("-{reply}\r\n").as_bytes()).unwrap_err()
        };
        let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
        assert_eq!(first(Resp2, Some("x"), wrong), E::Credentials(wrong.into()));
        assert_eq!(first(Resp3, Some("x"), wrong), E::Credentials(wrong.into()));
        let none = "ERR Client sent AUTH, but no password is set";
        assert_eq!(first(Resp2, Some("x"), none), E::Credentials(none.into()));
        let wants = "NOAUTH Authentication required.";
        assert_eq!(first(Resp2, None, wants), E::PasswordMissing(wants.into()));
        assert_eq!(first(Resp3, None, wants), E::PasswordMissing(wants.into()));
        let old = "ERR unknown command `HELLO`, with args beginning with: `3`, ";
        assert_eq!(first(Resp3, None, old), E::Protocol(old.into()));
        assert_eq!(first(Resp3, None, "NOPROTO unsupported"), E::Protocol("NOPROTO unsupported".into()));
        let full = "ERR max number of clients reached";
        assert_eq!(first(Resp2, None, full), E::Refused(full.into()));
        assert_eq!(first(Resp3, Some("x"), full), E::Refused(full.into()));
    }

    #[test]
    fn a_database_that_is_not_there_matters_and_a_name_does_not() {
        let mut handshake = handshake(Protocol::Resp2, None, None, 99);
        asked(&mut handshake);
        let refused = HandshakeError::Database("ERR DB index is out of range".into());
        assert_eq!(handshake.on_reply(b"-ERR DB index is out of range\r\n"), Err(refused));
        asked(&mut handshake);
        assert_eq!(handshake.on_reply(b"+OK\r\n"), Ok(Progress::Pending));
        assert_eq!(handshake.on_reply(b"-ERR unknown subcommand\r\n"), Ok(Progress::Done));
    }

    #[test]
    fn junk_is_an_error_and_secrets_are_not_printed() {
        let mut handshake = handshake(Protocol::Resp3, None, Some("hunter2"), 0);
        asked(&mut handshake);
        assert_eq!(
            handshake.on_reply(b"HTTP/1.1 400\r\n"),
            Err(HandshakeError::Malformed(ValueError::UnknownType(b'H')))
        );
        assert!(!format!("{handshake:?}").contains("hunter2"));
    }
}
