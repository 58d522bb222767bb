//! Commands that the proxy answers itself: for its clients it is the server.

pub mod client;
pub mod info;
pub mod list;
pub mod login;
pub mod pubsub;
mod slotway;

use std::sync::Arc;

use self::list::Status;
use super::dispatch::Turn;
use super::session::Session;
use crate::backend::in_flight::Origin;
use crate::command::local::{cluster, command};
use crate::command::spec::{Local, Spec};
use crate::refusal::Refusal;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;
use crate::route::merge::MergeKind;

/// How a local command goes on.
#[derive(Debug)]
pub enum Answer {
    /// The reply was written.
    Reply,
    /// This text is the reply: INFO's.
    Text(String),
    /// There is no reply (CLIENT REPLY OFF).
    Silence,
    /// The reply was written; the connection ends behind it.
    ReplyAndClose,
    /// The shards are asked this first.
    Merged(MergeKind, Vec<u8>),
    /// All workers are asked this first.
    Question(Ask),
}

/// A question that all workers have to answer for one reply.
#[derive(Debug)]
pub struct Question {
    /// The request that raised it.
    pub origin: Origin,
    /// The protocol of its reply: the request's, whatever HELLO came behind it.
    pub protocol: Protocol,
    /// What is asked.
    pub ask: Ask,
}

/// What a worker can be asked about its clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// CLIENT LIST.
    List(list::Filter),
    /// CLIENT KILL: close those that match.
    Kill {
        /// Which.
        filter: list::Filter,
        /// The old form, CLIENT KILL addr:port: OK or an error, instead of a number.
        one: bool,
        /// The client that asks: it is told before it is closed.
        asker: u64,
    },
    /// CLIENT UNBLOCK.
    Unblock {
        /// Which.
        filter: list::Filter,
        /// Whether it gets an error, and not what a timeout gives.
        with_error: bool,
    },
    /// PUBSUB, as this tenant sees it.
    Topics(pubsub::Topics, Option<Arc<str>>),
    /// INFO of a tenant that sees its own clients only.
    Info(info::Own),
}

/// Answers a local command into `out`.
///
/// # Errors
/// The refusal that is the answer.
pub fn answer(
    session: &mut Session,
    status: &Status,
    which: Local,
    spec: &Spec,
    request: &Request<'_>,
    turn: &Turn<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let mut writer = ReplyWriter::new(out, session.protocol);
    match which {
        Local::Ping => match request.arg(1) {
            None => writer.simple("PONG"),
            Some(text) if request.len() == 2 => writer.bulk(text),
            Some(_) => return Err(Refusal::WrongArity { name: "ping".into() }),
        },
        Local::Echo => writer.bulk(request.arg(1).unwrap_or_default()),
        Local::Time => {
            let micros = (turn.shared.process.wall_clock)();
            writer.array(2);
            writer.bulk((micros / 1_000_000).to_string().as_bytes());
            writer.bulk((micros % 1_000_000).to_string().as_bytes());
        }
        Local::Role => {
            // A primary without replicas: what one big server would be.
            writer.array(3);
            writer.bulk(b"master");
            writer.integer(0);
            writer.array(0);
        }
        Local::Lolwut => writer.verbatim(&format!("Slotway ver. {}\n", env!("CARGO_PKG_VERSION"))),
        Local::Pubsub => return pubsub::answer(spec, request, session),
        Local::Hello => return login::hello(session, request, turn, out),
        Local::Auth => return login::auth(session, request, turn, out),
        Local::Select => return login::select(session, request, turn, out),
        Local::Quit => {
            writer.simple("OK");
            return Ok(Answer::ReplyAndClose);
        }
        Local::Reset => {
            session.reset();
            ReplyWriter::new(out, session.protocol).simple("RESET");
        }
        Local::Accept => writer.simple("OK"),
        Local::Info => return Ok(info::info(session, request, turn)),
        Local::Command => command::answer(turn.commands, spec, request, &mut writer),
        Local::Client => return client::answer(session, status, spec, request, turn, out),
        Local::Cluster => {
            cluster::answer(spec, request, &turn.shared.own_node(session.door.address), &mut writer);
        }
        Local::Slotway => slotway::answer(spec, request, turn, &mut writer)?,
        Local::Acl => writer.bulk(session.login().user_name().as_bytes()),
    }
    Ok(Answer::Reply)
}
