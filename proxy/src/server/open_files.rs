//! The limit of open files, of which each client is one.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

// Backend connections, listeners, the runtimes' own: what a proxy needs beside its clients.
const OWN_FILES: u64 = 256;

/// Raises the limit of open files as far as it may be, and says where it stays below what the settings
/// promise.
pub(super) fn raise(max_clients: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
    let needed = max_clients as u64 + OWN_FILES;
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < needed) {
        warn!(limit, needed, "the limit of open files is below what clients.max_clients needs");
    }
}
