//! Why `slotway dev` cannot go on, in words that say what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use slotway::config::error::ConfigErrors;

use crate::cli::EXIT_USAGE;

/// Exit status when something that must be installed is not (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;

/// What ended it.
#[derive(Debug, thiserror::Error)]
pub(super) enum DevError {
    /// No server binary in PATH.
    #[error(
        "slotway dev needs a Redis or Valkey server, and there is neither redis-server nor valkey-server in PATH\n\
         install one of them:\n\
         \x20 Debian, Ubuntu   sudo apt-get install redis-server\n\
         \x20 Fedora, RHEL     sudo dnf install valkey\n\
         \x20 macOS            brew install redis\n\
         or name one:\n\
         \x20 SLOTWAY_SERVER=/path/to/redis-server slotway dev"
    )]
    NoServer,
    /// SLOTWAY_SERVER names no program.
    #[error("SLOTWAY_SERVER is {0:?}, must be the path of a redis-server or valkey-server program")]
    NotAServer(PathBuf),
    /// The server binary does not run, or not as a server.
    #[error("{program:?} --version fails: {reason}")]
    BadServer {
        /// The program.
        program: PathBuf,
        /// What came instead of a version.
        reason: String,
    },
    /// A flag has a wrong value.
    #[error("{0}")]
    Settings(#[from] ConfigErrors),
    /// The address for clients cannot be had.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The system's words.
        source: io::Error,
    },
    /// Too few free ports whose number plus 10,000 is free too.
    #[error("found only {found} of {wanted} free ports for nodes")]
    NoPorts {
        /// How many there were.
        found: usize,
        /// How many it takes.
        wanted: usize,
    },
    /// The temporary folder cannot be made or used.
    #[error("cannot write to {path:?}: {source}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A node ended, or never came up.
    #[error("the node at port {port} {what}\n{log}")]
    Node {
        /// Its port.
        port: u16,
        /// What it did.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// The nodes do not become a cluster.
    #[error("cannot form the cluster: node {node}, {command}: {reason}")]
    Form {
        /// Which node was asked.
        node: SocketAddr,
        /// What it was told.
        command: String,
        /// What came of it.
        reason: String,
    },
    /// The cluster was formed but does not settle.
    #[error("the cluster is not ready after {seconds} s: {reason}")]
    NotSettled {
        /// How long it was waited for.
        seconds: u64,
        /// What was still missing.
        reason: String,
    },
    /// The proxy does not answer.
    #[error("the proxy does not answer at {0}")]
    NotReady(SocketAddr),
    /// The proxy ended with an error.
    #[error("the proxy ended: {0}")]
    Proxy(io::Error),
    /// The proxy's thread ended without a word.
    #[error("the proxy's thread ended unexpectedly")]
    ProxyGone,
    /// Threads, signals or the runtime.
    #[error("the system refused: {0}")]
    System(io::Error),
}

impl DevError {
    /// The exit status that tells a script which kind it was.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoServer => ExitCode::from(EXIT_UNAVAILABLE),
            Self::Settings(_) | Self::NotAServer(_) => ExitCode::from(EXIT_USAGE),
            _ => ExitCode::FAILURE,
        }
    }
}
