//! Why a benchmark run ended early. Any of these aborts it: a figure from a run with errors means nothing.

use std::io;
use std::net::SocketAddr;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A reply was not the one the request must get.
    #[error("wrong reply: wanted {wanted}, got {got:?}")]
    WrongReply {
        /// The reply that was due.
        wanted: String,
        /// The beginning of what came.
        got: String,
    },
    /// A server or proxy answered a single question with an error, or something else that was not asked for.
    #[error("{node} answered {command} with {line:?}")]
    Answered {
        /// Who was asked.
        node: SocketAddr,
        /// The command's name.
        command: String,
        /// The first line of the answer.
        line: String,
    },
    /// The target closed a connection.
    #[error("the target closed a connection with {open} requests in flight")]
    Closed {
        /// Requests sent and not answered on that connection's client.
        open: usize,
    },
    /// No reply came for a long time.
    #[error("no reply for {seconds} s, {open} requests in flight")]
    Stalled {
        /// How long nothing came.
        seconds: u64,
        /// Requests sent and not answered.
        open: u64,
    },
    /// A process did not come up or ended.
    #[error("{name} {what}; its log: {log}")]
    Process {
        /// Which process.
        name: String,
        /// What it did.
        what: String,
        /// The end of what it printed.
        log: String,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// Any of these, with where it happened.
    #[error("{place}: {source}")]
    At {
        /// The case, the round and the target.
        place: String,
        /// What happened.
        source: Box<Self>,
    },
    /// Something unexpected, in words.
    #[error("{0}")]
    Unexpected(String),
}

impl Failure {
    /// Wraps an I/O error with what was being done, for `map_err`.
    pub fn io<D: Into<String>>(doing: D) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
    /// Says where it happened, for `map_err`.
    pub fn at(place: &str) -> impl FnOnce(Self) -> Self {
        move |source| Self::At { place: place.to_owned(), source: Box::new(source) }
    }
}
