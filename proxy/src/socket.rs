//! ◆ Socket options that every connection of ours has, whichever side it is on.

#![expect(clippy::disallowed_types, reason = "I/O: sets socket options")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::config::settings::ClientSettings;

/// A backend that vanished without a word is found after this: commands have their own, shorter, timeout.
const BACKEND_KEEPALIVE: Duration = Duration::from_secs(15);
const BACKEND_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// Binds a listening socket.
///
/// # Errors
/// What the kernel says: the address is in use, not ours, or forbidden.
pub fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // An IPv4 listener beside it keeps its own address.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Listens at a socket that another process bound.
///
/// # Errors
/// Where it is no socket that can listen, or out of descriptors.
pub fn adopt(socket: OwnedFd, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::from(socket);
    // It listens already; this is how many may wait.
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Options of a client's connection.
///
/// # Errors
/// What the kernel says; mostly that the client is gone already.
pub fn configure_client(stream: &TcpStream, settings: &ClientSettings) -> io::Result<()> {
    configure(stream, settings.keepalive, settings.tcp_user_timeout)
}

/// Options of a backend connection.
///
/// # Errors
/// What the kernel says.
pub fn configure_backend(stream: &TcpStream) -> io::Result<()> {
    configure(stream, Some(BACKEND_KEEPALIVE), Some(BACKEND_USER_TIMEOUT))
}

fn configure(
    stream: &TcpStream,
    keepalive: Option<Duration>,
    user_timeout: Option<Duration>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if let Some(idle) = keepalive {
        // Three probes, a third of the idle time apart: what the servers set.
        let interval = (idle / 3).max(Duration::from_secs(1));
        socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3),
        )?;
    }
    socket.set_tcp_user_timeout(user_timeout)
}
