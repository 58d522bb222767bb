//! ◆ Socket options that every connection of ours has, whichever side it is on.

#![expect(clippy::disallowed_types, reason = "I/O: sets socket options")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::config::settings::ClientSettings;

/// A silent backend is asked after this, and thrice a third of it apart; who vanished is found after [`given_up`]:
/// commands have their own, shorter, timeout.
const BACKEND_KEEPALIVE: Duration = Duration::from_secs(12);
/// Probes that may go unanswered.
const PROBES: u32 = 3;

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
    configure(stream, Some(BACKEND_KEEPALIVE), Some(given_up(BACKEND_KEEPALIVE)))
}

/// How long a peer is silent until its last probe is not answered either. The kernel closes a silent connection
/// also once TCP_USER_TIMEOUT is over and *one* probe was not answered: with a shorter one a lost packet is enough.
fn given_up(idle: Duration) -> Duration {
    idle + probes_apart(idle) * PROBES
}

fn probes_apart(idle: Duration) -> Duration {
    // What the servers set; whole seconds, as the kernel counts.
    Duration::from_secs((idle.as_secs() / 3).max(1))
}

/// Up to a quarter earlier: of thousands of connections that were opened together the kernel sends all probes
/// together, and what its queue (`net.core.netdev_max_backlog`) does not hold it drops, each time the same.
fn spread(idle: Duration) -> Duration {
    idle - Duration::from_secs(fastrand::u64(0..=idle.as_secs() / 4))
}

fn configure(
    stream: &TcpStream,
    keepalive: Option<Duration>,
    user_timeout: Option<Duration>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if let Some(idle) = keepalive {
        let probes = TcpKeepalive::new().with_time(spread(idle));
        socket.set_tcp_keepalive(&probes.with_interval(probes_apart(idle)).with_retries(PROBES))?;
    }
    socket.set_tcp_user_timeout(user_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "I/O: a connection whose options are looked at")]
    async fn stream() -> TcpStream {
        let listener = listen("127.0.0.1:0".parse().expect("an address"), 1).expect("bound");
        TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected")
    }

    /// The longest silence that ends with the last probe, and the kernel's own limit.
    fn limits(stream: &TcpStream) -> (Duration, Duration) {
        let socket = SockRef::from(stream);
        let (idle, apart) = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval());
        let probes = socket.tcp_keepalive_retries().expect("set");
        let user_timeout = socket.tcp_user_timeout().expect("set").expect("not off");
        (idle.expect("set") + apart.expect("set") * probes, user_timeout)
    }

    #[tokio::test]
    async fn one_lost_probe_closes_no_connection() {
        let backend = stream().await;
        configure_backend(&backend).expect("set");
        let client = stream().await;
        configure_client(&client, &ClientSettings::default()).expect("set");
        for (silence, user_timeout) in [limits(&backend), limits(&client)] {
            assert!(user_timeout >= silence, "{user_timeout:?} cuts {silence:?} short");
        }
    }

    #[test]
    fn probes_of_connections_that_were_opened_together_are_spread() {
        let times: std::collections::BTreeSet<_> = (0..1_000).map(|_| spread(BACKEND_KEEPALIVE)).collect();
        assert_eq!(times.first(), Some(&Duration::from_secs(9)));
        assert_eq!((times.last(), times.len()), (Some(&BACKEND_KEEPALIVE), 4));
        assert_eq!(spread(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
