//! Many clients of one kind: each connects, says one thing, gets the reply that is due, and stays. ◆

#![expect(clippy::disallowed_types, reason = "I/O: owns the clients' sockets")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slotway_bench::failure::Failure;
use slotway_bench::terminal::progress;
use socket2::{Domain, Socket, Type};

use crate::case::Exchange;

/// An address has some 28,000 ports towards one listener: behind so many clients the next address follows.
pub(crate) const CLIENTS_PER_ADDRESS: usize = 20_000;
/// How long connecting and a reply may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a command that blocks gets to say that it does not.
const REFUSED_WITHIN: Duration = Duration::from_millis(500);
/// Every so many clients the line of progress is written.
const SHOWN: usize = 250;

/// Clients that are connected; they leave when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    streams: Vec<TcpStream>,
}

impl Crowd {
    /// Connects `count` clients to `address`; what each sends is made of its number.
    pub(crate) fn connect(
        address: SocketAddr,
        count: usize,
        place: &str,
        stop: &AtomicBool,
        exchange: impl Fn(usize) -> Exchange,
    ) -> Result<Self, Failure> {
        let mut streams = Vec::with_capacity(count);
        for number in 0..count {
            if number % SHOWN == 0 {
                progress(&format!("{place}: {number} of {count} clients"));
                if stop.load(Ordering::Relaxed) {
                    return Err(Failure::Interrupted);
                }
            }
            let Exchange { request, reply } = exchange(number);
            let mut stream =
                connect(address, number).map_err(Failure::io(format!("connecting client {number}")))?;
            stream.write_all(&request).map_err(Failure::io("sending a request"))?;
            if let Some(wanted) = reply {
                expect_reply(&mut stream, &wanted)?;
            }
            streams.push(stream);
        }
        progress(&format!("{place}: {count} clients"));
        Ok(Self { streams })
    }

    /// Lets the client that came last leave: its number, `None` when all have left. `at` is called right
    /// before.
    pub(crate) fn leave<T>(&mut self, at: impl FnOnce() -> T) -> Option<(usize, T)> {
        let stream = self.streams.pop()?;
        let began = at();
        drop(stream);
        Some((self.streams.len(), began))
    }
}

/// Why `address` does not do what `exchange` asks; `None` where it does.
pub(crate) fn refusal(address: SocketAddr, exchange: &Exchange) -> Result<Option<String>, Failure> {
    let doing = "trying what a target can do";
    let mut stream = connect(address, 0).map_err(Failure::io(doing))?;
    stream.write_all(&exchange.request).map_err(Failure::io(doing))?;
    if exchange.reply.is_none() {
        stream.set_read_timeout(Some(REFUSED_WITHIN)).map_err(Failure::io(doing))?;
    }
    let mut buf = [0; 512];
    match stream.read(&mut buf) {
        Ok(0) => Ok(Some("the connection was closed".to_owned())),
        Ok(len) if buf[0] == b'-' => Ok(Some(String::from_utf8_lossy(&buf[1..len]).trim_end().to_owned())),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(exchange.reply.as_ref().map(|_| "no reply".to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {
            Ok(Some("the connection was reset".to_owned()))
        }
        Err(error) => Err(Failure::Io { doing: doing.to_owned(), source: error }),
    }
}

fn connect(address: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // The first address is the kernel's choice: it gives ports by connection, which knows no shortage by those
    // that were closed a moment ago.
    if let (source @ 1.., true) = (number / CLIENTS_PER_ADDRESS, address.is_ipv4()) {
        socket.set_reuse_address(true)?;
        let last = u8::try_from(source + 1).map_err(|_| ErrorKind::AddrNotAvailable)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into())?;
    }
    socket.connect_timeout(&address.into(), TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(socket.into())
}

fn expect_reply(stream: &mut TcpStream, wanted: &[u8]) -> Result<(), Failure> {
    let mut got = vec![0; wanted.len()];
    let mut have = 0;
    while have < got.len() && got[..have] == wanted[..have] {
        match stream.read(&mut got[have..]).map_err(Failure::io("waiting for a reply"))? {
            0 => return Err(Failure::Closed { open: 1 }),
            len => have += len,
        }
    }
    if got[..have] == wanted[..have] {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(Failure::WrongReply { wanted: text(wanted), got: text(&got[..have]) })
}
