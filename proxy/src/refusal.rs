//! Every error text that the proxy itself says, in one table. Where a server has words for the case they
//! are the server's, since clients match on them; `slotway:` marks what only a proxy can say.

use std::fmt;

use crate::config::limits::Limit;
use crate::resp::scan::ProtocolError;

/// A request that is answered with an error by the proxy. The session goes on, unless said otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No such command.
    UnknownCommand {
        /// As the client wrote it, cut and made printable.
        name: String,
        /// The arguments' beginning, as the servers show it.
        args: String,
    },
    /// No such subcommand.
    UnknownSubcommand {
        /// As the client wrote it.
        name: String,
        /// The container, upper case.
        container: String,
    },
    /// Too few or too many arguments.
    WrongArity {
        /// Lower case; `container|sub` for a subcommand.
        name: String,
    },
    /// Not logged in.
    NoAuth,
    /// HELLO before AUTH, without AUTH.
    HelloNoAuth,
    /// A command that the user's tenant may not say.
    NoPerm {
        /// The user.
        user: String,
        /// The command.
        command: String,
    },
    /// A wrong user or password.
    WrongPass,
    /// AUTH where no password is set.
    AuthUnneeded,
    /// Keys of several slots in a command that can't be split.
    CrossSlot,
    /// HELLO with a protocol that we don't speak.
    NoProto,
    /// SELECT of a database that there isn't.
    DbIndex,
    /// A number that is none.
    NotAnInteger,
    /// Arguments that don't fit.
    Syntax,
    /// A client name with spaces or control characters.
    BadClientName,
    /// CLIENT KILL of nobody.
    NoSuchClient,
    /// More clients than allowed; the connection is closed.
    MaxClients,
    /// A RESP2 subscriber says something else than such a client may.
    SubscribersOnly {
        /// Lower case; `container|sub` for a subcommand.
        name: String,
    },
    /// Bytes that are no request; the connection is closed.
    Protocol(ProtocolError),
    /// A key argument can't be found: the servers' text.
    Keys(&'static str),
    /// The slot has no node, or its node did not answer, until the deadline.
    Unserved,
    /// The shard has been unreachable for longer than a command may wait.
    ShardDown,
    /// The deadline passed before the command could be sent or run.
    DeadlineNotRun,
    /// The deadline passed; the command may have run.
    TimedOut,
    /// The connection was lost; the command may have run.
    Lost,
    /// The connection that a blocking command waited on was lost; an element may be lost with it.
    LostBlocked,
    /// CLIENT UNBLOCK ERROR.
    Unblocked,
    /// No more private connections may be opened.
    NoPrivate,
    /// The tenant is at one of its limits.
    Limit(Limit),
    /// CLIENT TRACKING in RESP2.
    TrackingResp2,
    /// CLIENT TRACKING REDIRECT.
    TrackingRedirect,
    /// CLIENT TRACKING OPTIN or OPTOUT.
    TrackingOpt,
    /// CLIENT TRACKING with more prefixes than are kept.
    TrackingPrefixes,
    /// The node refuses the tenant's own backend user.
    BackendLogin,
    /// A script of a tenant with a namespace that has no backend user, whose rights would keep it there.
    ScriptWithoutWall {
        /// Lower case.
        name: String,
    },
    /// EXEC behind a command that could not be queued.
    ExecAbort,
    /// EXEC without MULTI.
    ExecWithoutMulti,
    /// DISCARD without MULTI.
    DiscardWithoutMulti,
    /// MULTI inside MULTI.
    NestedMulti,
    /// WATCH inside MULTI.
    WatchInMulti,
    /// A command that the servers don't queue.
    NotInMulti,
    /// A command whose meaning inside a transaction can't be kept.
    NotQueued {
        /// Lower case.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A transaction larger than a request may be.
    LargeTransaction,
    /// No topology yet.
    NotReady,
    /// A command whose kind is not served.
    Unsupported {
        /// Lower case.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A search over shards that no merge would make right.
    Search {
        /// Lower case.
        name: String,
        /// Why.
        why: String,
    },
    /// A SCAN cursor that the proxy did not give.
    BadCursor,
    /// A server's text that the proxy repeats as it is, code included.
    Said(String),
}

impl fmt::Display for Refusal {
    /// The error line without its `-` and CRLF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCommand { name, args } => {
                write!(f, "ERR unknown command '{name}', with args beginning with: {args}")
            }
            Self::UnknownSubcommand { name, container } => {
                write!(f, "ERR unknown subcommand '{name}'. Try {container} HELP.")
            }
            Self::WrongArity { name } => write!(f, "ERR wrong number of arguments for '{name}' command"),
            Self::SubscribersOnly { name } => write!(
                f,
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
                     are allowed in this context"
            ),
            Self::NoPerm { user, command } => {
                write!(f, "NOPERM User {user} has no permissions to run the '{command}' command")
            }
            Self::Limit(limit) => {
                write!(
                    f,
                    "ERR slotway: the tenant is at its limit of {}, the command did not run",
                    limit.name()
                )
            }
            Self::Protocol(error) => write!(f, "ERR Protocol error: {error}"),
            Self::Unsupported { name, why } => write!(f, "ERR slotway: '{name}' is not supported: {why}"),
            Self::ScriptWithoutWall { name } => {
                write!(f, "NOPERM slotway: '{name}' needs a backend user of the tenant, which has none")
            }
            Self::Search { name, why } => write!(f, "ERR slotway: '{name}' over shards: {why}"),
            Self::NotQueued { name, why } => {
                write!(f, "ERR slotway: '{name}' can't be queued in a transaction: {why}")
            }
            Self::Said(text) => f.write_str(text),
            Self::Keys(text) => f.write_str(text),
            _ => f.write_str(self.fixed()),
        }
    }
}

impl Refusal {
    /// The texts that are always the same; empty for the others.
    fn fixed(&self) -> &'static str {
        match self {
            Self::NoAuth => "NOAUTH Authentication required.",
            Self::HelloNoAuth => {
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                 <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
                 RESP protocol version at the same time"
            }
            Self::WrongPass => "WRONGPASS invalid username-password pair or user is disabled.",
            Self::AuthUnneeded => {
                "ERR AUTH <password> called without any password configured for the default user. Are you \
                 sure your configuration is correct?"
            }
            Self::CrossSlot => "CROSSSLOT Keys in request don't hash to the same slot",
            Self::NoProto => "NOPROTO unsupported protocol version",
            Self::DbIndex => "ERR DB index is out of range",
            Self::NotAnInteger => "ERR value is not an integer or out of range",
            Self::Syntax => "ERR syntax error",
            Self::BadClientName => "ERR Client names cannot contain spaces, newlines or special characters.",
            Self::NoSuchClient => "ERR No such client",
            Self::MaxClients => "ERR max number of clients reached",
            Self::Unserved => "CLUSTERDOWN Hash slot not served",
            Self::ShardDown => "CLUSTERDOWN slotway: the shard is unreachable",
            Self::DeadlineNotRun => "ERR slotway: timed out, the command did not run",
            Self::TimedOut => "ERR slotway: timed out, the command may have run",
            Self::Lost => "ERR slotway: the backend connection was lost, the command may have run",
            Self::LostBlocked => {
                "UNBLOCKED slotway: the backend connection was lost, the command may have run"
            }
            Self::Unblocked => "UNBLOCKED client unblocked via CLIENT UNBLOCK",
            Self::NoPrivate => "ERR slotway: no private connection is free",
            Self::BackendLogin => "ERR slotway: the backend refuses the tenant's user or its password",
            Self::TrackingResp2 | Self::TrackingRedirect | Self::TrackingOpt | Self::TrackingPrefixes => {
                self.tracking()
            }
            Self::ExecAbort => "EXECABORT Transaction discarded because of previous errors.",
            Self::ExecWithoutMulti => "ERR EXEC without MULTI",
            Self::DiscardWithoutMulti => "ERR DISCARD without MULTI",
            Self::NestedMulti => "ERR MULTI calls can not be nested",
            Self::WatchInMulti => "ERR WATCH inside MULTI is not allowed",
            Self::NotInMulti => "ERR Command not allowed inside a transaction",
            Self::LargeTransaction => "ERR slotway: the transaction is larger than a request may be",
            Self::NotReady => "LOADING slotway: the topology is not known yet",
            Self::BadCursor => "ERR invalid cursor",
            Self::UnknownCommand { .. }
            | Self::UnknownSubcommand { .. }
            | Self::WrongArity { .. }
            | Self::SubscribersOnly { .. }
            | Self::NoPerm { .. }
            | Self::Protocol(_)
            | Self::Limit(_)
            | Self::Unsupported { .. }
            | Self::NotQueued { .. }
            | Self::ScriptWithoutWall { .. }
            | Self::Search { .. }
            | Self::Said(_)
            | Self::Keys(_) => "",
        }
    }

    /// The same of CLIENT TRACKING.
    fn tracking(&self) -> &'static str {
        match self {
            Self::TrackingResp2 => {
                "ERR slotway: CLIENT TRACKING needs RESP3 (HELLO 3): invalidations are its pushes"
            }
            Self::TrackingRedirect => {
                "ERR slotway: CLIENT TRACKING is served without REDIRECT: invalidations go to the client that reads"
            }
            Self::TrackingOpt => {
                "ERR slotway: CLIENT TRACKING is served without OPTIN and OPTOUT: every key that is read is tracked"
            }
            Self::TrackingPrefixes => "ERR slotway: CLIENT TRACKING: the prefixes are too long together",
            _ => "",
        }
    }
}

/// The servers show at most this much of a name, and of the arguments together.
const SHOWN: usize = 128;

impl Refusal {
    /// The refusal of a command that nobody knows, worded as the servers word it.
    #[must_use]
    pub fn unknown_command<'a>(name: &[u8], args: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut shown = String::new();
        for arg in args {
            if shown.len() >= SHOWN {
                break;
            }
            let cut = printable(arg, SHOWN - shown.len());
            shown.push_str(&format!("'{cut}' "));
        }
        Self::UnknownCommand { name: printable(name, SHOWN), args: shown }
    }

    /// The error reply.
    #[must_use]
    pub fn reply(&self) -> Vec<u8> {
        let mut reply = Vec::new();
        self.write(&mut reply);
        reply
    }

    /// Appends the error reply: one line, whatever the text holds.
    pub fn write(&self, out: &mut Vec<u8>) {
        let text = self.to_string();
        out.push(b'-');
        out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        out.extend_from_slice(b"\r\n");
    }
}

/// At most `limit` bytes of `text`, with what is not printable replaced.
#[must_use]
pub fn printable(text: &[u8], limit: usize) -> String {
    let cut = &text[..text.len().min(limit)];
    String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
