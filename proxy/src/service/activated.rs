//! ◆ Listening sockets that the service manager bound before it started us (LISTEN_FDS).

#![expect(clippy::disallowed_types, reason = "I/O: takes listening sockets")]

use std::env;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process;

use listenfd::ListenFd;
use tracing::warn;

use crate::handover::place::Place;
use crate::handover::taker::Sockets;

/// What it gave us; nothing where it did not start us. To be called once, before there are threads: the variables are
/// taken out of the environment.
#[must_use]
pub fn sockets() -> Sockets {
    let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(process::id()));
    let mut given = if is_ours { ListenFd::from_env() } else { ListenFd::empty() };
    let count = given.len();
    let take = |index| match given.take_tcp_listener(index) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%error, index, "a socket of the service manager can't be used");
            None
        }
    };
    (0..count).filter_map(take).filter_map(with_place).collect()
}

fn with_place(listener: TcpListener) -> Option<(Place, OwnedFd)> {
    let bound = listener.local_addr().ok()?;
    Some((Place { role: String::new(), wanted: bound, bound }, listener.into()))
}
