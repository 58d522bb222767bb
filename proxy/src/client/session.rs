//! What a client has said of itself: protocol, database, login, names, and how it wants its replies.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::sync::Arc;

use super::address::{Address, Door};
use super::limited::Limited;
use super::transaction::Transaction;
use crate::backend::lane::{Lane, LoginId, Purpose};
use crate::cluster::id::ClusterId;
use crate::entry::group::Named;
use crate::moment::Moment;
use crate::resp::protocol::Protocol;
use crate::tenant::directory::Member;
use crate::tenant::namespace::Namespace;
use crate::tenant::shares::Account;

/// One client's session. Pure; RESET brings it back to how it began.
#[derive(Debug)]
pub struct Session {
    /// The number that CLIENT ID tells; unique in the process.
    pub id: u64,
    /// Where it connects from.
    pub peer: Address,
    /// Where it came in.
    pub door: Rc<Door>,
    /// RESP2 or RESP3.
    pub protocol: Protocol,
    /// The numbered database, 0 unless SELECT said otherwise.
    pub database: u16,
    /// Whether it may send commands.
    login: Login,
    /// Whether its requests have to be looked at before they are handled: it has to log in, or its tenant may not
    /// say everything.
    guarded: bool,
    /// What not every client has.
    aside: Option<Box<Aside>>,
    /// What was queued since MULTI; nothing outside a transaction.
    pub transaction: Option<Box<Transaction>>,
    /// Whether replies are wanted.
    pub reply_mode: ReplyMode,
    /// When it connected.
    pub since: Moment,
    /// When it last sent a request.
    pub last_active: Moment,
    /// How many requests it sent, see [`Self::commands`].
    commands: u32,
    /// Bytes both ways, until somebody looks; see [`super::moving`].
    pub(super) carried: u32,
    /// The last command's number in the table.
    pub last_command: Option<NonZeroU16>,
}

/// Whether a client has shown who it is.
#[derive(Clone, Debug)]
pub enum Login {
    /// Has to AUTH first.
    Needed,
    /// Logged in, or nobody has to.
    As(Arc<Member>),
}

impl Login {
    /// Whether commands may be sent.
    #[must_use]
    pub fn is_in(&self) -> bool {
        matches!(self, Self::As(_))
    }

    /// Who it is.
    #[must_use]
    pub fn member(&self) -> Option<&Arc<Member>> {
        match self {
            Self::Needed => None,
            Self::As(member) => Some(member),
        }
    }

    /// Which cluster has its keys; none before it has logged in.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.member().map(|member| member.tenant.cluster)
    }

    /// The name that ACL WHOAMI tells.
    #[must_use]
    pub fn user_name(&self) -> &str {
        self.member().map_or("default", |member| &member.user)
    }

    /// Whose it is; nobody's before it has logged in.
    #[must_use]
    pub fn tenant_name(&self) -> Option<&Arc<str>> {
        self.member().map(|member| member.tenant.name())
    }

    /// Whether both may see the same.
    #[must_use]
    pub fn is_same_tenant(&self, other: &Self) -> bool {
        self.tenant_name() == other.tenant_name()
    }

    fn is_guarded(&self) -> bool {
        self.member().is_none_or(|member| member.tenant.is_guarded())
    }

    /// Whom its requests go as at the backends, unless the guard finds otherwise.
    #[must_use]
    pub fn backend(&self) -> LoginId {
        self.member().map_or(LoginId::PROXY, |member| member.tenant.ordinary())
    }

    /// Whom those of its requests go as that the servers are to keep within its tenant's rights.
    #[must_use]
    pub fn walled(&self) -> LoginId {
        self.member().map_or(LoginId::PROXY, |member| member.tenant.walled())
    }
}

/// See [`Session::names`], [`Session::takes_moves`] and [`Session::limited`].
#[derive(Default, Debug)]
struct Aside {
    /// How often the number of requests has begun anew.
    rounds: u32,
    names: Names,
    /// How it wants to be told to move, if it does.
    moves: Option<Named>,
    limited: Option<Box<Limited>>,
}

/// Names that a client gives itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// CLIENT SETNAME.
    pub name: Box<str>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Box<str>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_version: Box<str>,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyMode {
    /// Replies are sent.
    On,
    /// None are.
    Off,
    /// The next one is not (CLIENT REPLY SKIP was just read).
    SkipNext,
}

impl Session {
    /// A client that has just connected.
    #[must_use]
    pub fn new(id: u64, peer: SocketAddr, door: Rc<Door>, login: Login, now: u64) -> Self {
        Self {
            id,
            peer: peer.into(),
            door,
            protocol: Protocol::Resp2,
            database: 0,
            guarded: login.is_guarded(),
            login,
            aside: None,
            transaction: None,
            reply_mode: ReplyMode::On,
            since: Moment::of(now),
            last_active: Moment::of(now),
            commands: 0,
            carried: 0,
            last_command: None,
        }
    }

    /// RESET: everything but the connection itself begins anew.
    pub fn reset(&mut self) {
        self.protocol = Protocol::Resp2;
        self.database = 0;
        self.forget_names();
        self.take_moves(None);
        self.transaction = None;
        self.reply_mode = ReplyMode::On;
    }

    /// The lane that its requests take as `login`; `connections` is how many equal ones there are.
    #[inline]
    #[must_use]
    pub fn lane(&self, login: LoginId, connections: u16) -> Lane {
        // To divide is dear, and most have one.
        let number = if connections > 1 { (self.id % u64::from(connections)) as u16 } else { 0 };
        let database = self.backend_database();
        Lane { protocol: self.protocol, database, number, purpose: Purpose::Requests, login }
    }

    /// The numbered database that its requests are about at the backends: a namespace has those of its own in its
    /// keys' names.
    #[inline]
    #[must_use]
    pub fn backend_database(&self) -> u16 {
        if self.namespace().is_some() { 0 } else { self.database }
    }

    /// A transaction has selected a database at a backend. A namespace's are not there.
    pub fn select_at_backend(&mut self, database: u16) {
        if self.namespace().is_none() {
            self.database = database;
        }
    }

    /// Where its names stand; `None`: they are the cluster's.
    #[must_use]
    #[inline]
    pub fn namespace(&self) -> Option<&Namespace> {
        if !self.guarded {
            return None;
        }
        self.login.member()?.tenant.namespace()
    }

    /// Whether it has shown who it is.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// It is somebody from here on. What it said as another tenant is not remembered.
    pub fn log_in(&mut self, login: Login) {
        if !self.login.is_same_tenant(&login) {
            self.database = 0;
            self.forget_names();
        }
        self.guarded = login.is_guarded();
        self.login = login;
    }

    /// What its tenant's requests are counted by.
    #[inline]
    #[must_use]
    pub fn account(&self) -> Account {
        self.login.member().map(|member| member.tenant.account()).unwrap_or_default()
    }

    /// Its tenant's share where tenants share.
    #[must_use]
    pub fn weight(&self) -> Option<u16> {
        self.login.member().map(|member| member.tenant.settings.weight)
    }

    /// Whether a request has to be looked at before it is handled.
    #[inline]
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// Whether it may send commands other than AUTH, HELLO, QUIT and RESET.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        self.login.is_in()
    }

    /// Whether the reply to the request being handled is unwanted; a SKIP is thereby used up.
    pub fn take_mute(&mut self) -> bool {
        match self.reply_mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                self.reply_mode = ReplyMode::On;
                true
            }
        }
    }

    /// What CLIENT SETNAME and SETINFO told.
    #[must_use]
    pub fn names(&self) -> Option<&Names> {
        self.aside.as_ref().map(|aside| &aside.names)
    }

    /// The names, to be changed.
    pub fn names_mut(&mut self) -> &mut Names {
        &mut self.aside.get_or_insert_default().names
    }

    /// Nothing was told.
    pub fn forget_names(&mut self) {
        // The rest is not what it said of itself.
        if let Some(aside) = &mut self.aside {
            aside.names = Names::default();
            if aside.rounds == 0 && aside.moves.is_none() && aside.limited.is_none() {
                self.aside = None;
            }
        }
    }

    /// It sent one more request.
    #[inline]
    pub(super) fn count_command(&mut self) {
        let (commands, over) = self.commands.overflowing_add(1);
        self.commands = commands;
        if over {
            self.aside.get_or_insert_default().rounds += 1;
        }
    }

    /// How many requests it sent.
    #[must_use]
    pub fn commands(&self) -> u64 {
        let rounds = self.aside.as_ref().map_or(0, |aside| aside.rounds);
        u64::from(rounds) << 32 | u64::from(self.commands)
    }

    /// So many bytes came from it, or went to it.
    #[inline]
    pub(super) fn count_carried(&mut self, bytes: usize) {
        self.carried = self.carried.saturating_add(bytes as u32);
    }

    /// How it wants to be told to move to another entry; `None`: it does not.
    #[must_use]
    pub fn takes_moves(&self) -> Option<Named> {
        self.aside.as_ref()?.moves
    }

    /// From here on it is told so.
    pub fn take_moves(&mut self, moves: Option<Named>) {
        if moves.is_some() || self.aside.is_some() {
            self.aside.get_or_insert_default().moves = moves;
        }
    }

    /// What it costs its tenant; nothing where that has no limits.
    #[must_use]
    pub fn limited(&self) -> Option<&Limited> {
        self.aside.as_ref()?.limited.as_deref()
    }

    /// The same, to be changed.
    pub(super) fn limited_mut(&mut self) -> Option<&mut Limited> {
        self.aside.as_mut()?.limited.as_deref_mut()
    }

    /// From here on it costs its tenant this; what it did before.
    pub fn limit(&mut self, limited: Option<Box<Limited>>) -> Option<Box<Limited>> {
        match (&mut self.aside, limited) {
            (None, None) => None,
            (aside, limited) => std::mem::replace(&mut aside.get_or_insert_default().limited, limited),
        }
    }

    /// CLIENT GETNAME.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names().map_or("", |names| &names.name)
    }
}
