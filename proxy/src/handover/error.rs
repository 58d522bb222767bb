//! Why sockets were not handed over.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::words::VERSION;

/// What went wrong, for the operator of either process.
#[derive(thiserror::Error, Debug)]
pub enum HandoverError {
    /// No process listens there.
    #[error("nobody to take over from at {}: {error}", path.display())]
    Nobody {
        /// The Unix socket.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
    /// A process listens there, and nobody asked to replace it.
    #[error("a running process is at {}: start with --takeover to replace it", .0.display())]
    Taken(PathBuf),
    /// The Unix socket can't be made.
    #[error("cannot listen at {}: {error}", path.display())]
    Bind {
        /// The Unix socket.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
    /// The other process is somebody else's.
    #[error("the process at the other end belongs to user {theirs}, this one to user {ours}")]
    Stranger {
        /// The other's user id.
        theirs: u32,
        /// Our own.
        ours: u32,
    },
    /// The other process speaks something else.
    #[error("the other process speaks version {0} of the handover, this one {VERSION}")]
    Version(u32),
    /// It said something else than what is due.
    #[error("the other process said {said:?} where {due} was due")]
    Unexpected {
        /// Its line, cut.
        said: String,
        /// What was due.
        due: &'static str,
    },
    /// It said nothing in time.
    #[error("the other process did not say {due} within {within:?}")]
    Late {
        /// What was due.
        due: &'static str,
        /// The time it had.
        within: Duration,
    },
    /// It hung up.
    #[error("the other process hung up where {0} was due")]
    Gone(&'static str),
    /// It gave up.
    #[error("the other process says: {0}")]
    Failed(String),
    /// A socket came without its descriptor.
    #[error("the socket for {0:?} came without its descriptor")]
    NoDescriptor(String),
    /// The connection between the two.
    #[error("the connection to the other process: {0}")]
    Io(#[from] io::Error),
}
