//! ◆ Asks the admin port of a running proxy for a page: what a container's health check needs where there is no shell.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "I/O: connects, with the clock in sight"
)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

// Health checks have limits of their own, of some seconds.
const LIMIT: Duration = Duration::from_secs(2);

// A page that is asked for has a few lines.
const MAX_ANSWER: usize = 64 << 10;

/// The status and the page at `path` of the proxy whose setting `admin` is this.
///
/// # Errors
/// Where nobody answers in two seconds, or in other words than HTTP's.
pub fn page(admin: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let until = Instant::now() + LIMIT;
    let mut stream = TcpStream::connect_timeout(&reachable(admin), LIMIT)?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut bytes = [0; 4_096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() > MAX_ANSWER {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes)? {
            0 => break,
            read => answer.extend_from_slice(&bytes[..read]),
        }
    }
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::Error::other("no HTTP"))
}

/// Who listens at every address of a host is asked at its own.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_page() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\n";
        assert_eq!(parse(answer), Some((503, "draining\n".to_owned())));
        for other in ["", "-ERR unknown command\r\n", "HTTP/1.1 x\r\n\r\n", "SSH-2.0\r\n\r\n"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn whoever_listens_everywhere_is_asked_here() {
        let asked = |admin: &str| reachable(admin.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:9"), "127.0.0.1:9");
        assert_eq!(asked("[::]:9"), "[::1]:9");
        assert_eq!(asked("192.0.2.1:9"), "192.0.2.1:9");
    }
}
