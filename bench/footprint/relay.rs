//! A relay between a proxy and a real server that notes when the proxy closes a connection. It reads the key
//! of a blocked command as it passes, so that each end can be told from the others. ◆

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "I/O: owns both connections of each pair and reads the clock when one ends"
)]

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use slotway_bench::failure::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::leaving::number_in;

/// Bytes that are passed on at once.
const CHUNK: usize = 4096;

/// A connection that the proxy closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    /// The number in the last key that passed; `None`: no such key passed.
    pub(crate) number: Option<usize>,
    /// When its FIN was read.
    pub(crate) at: Instant,
}

/// A relay on a thread of its own, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Hears of each connection that the other side closed, in order.
    pub(crate) closed: Receiver<Closed>,
    _end: oneshot::Sender<()>,
}

impl Relay {
    /// Relays to `server`.
    pub(crate) fn start(server: SocketAddr) -> Result<Self, Failure> {
        let doing = "starting a relay";
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::io(doing))?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(Failure::io(doing))?;
        let address = listener.local_addr().map_err(Failure::io(doing))?;
        let (tell, closed) = channel();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, server, tell) => {}
                    // Only ever by being dropped.
                    _ = ended => {}
                }
            });
        });
        Ok(Self { address, closed, _end: end })
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, tell: Sender<Closed>) {
    while let Ok((proxy, _)) = listener.accept().await {
        let tell = tell.clone();
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(server).await {
                pass(proxy, server, &tell).await;
            }
        });
    }
}

/// Passes bytes both ways until the proxy's side ends; the server's end is not told apart from it then, since
/// the proxy closes too.
async fn pass(proxy: TcpStream, server: TcpStream, tell: &Sender<Closed>) {
    // As small requests should go: it is the proxy's close that is timed, but it is not to wait for its request.
    let _ = (proxy.set_nodelay(true), server.set_nodelay(true));
    let (mut from_proxy, mut to_proxy) = proxy.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_proxy).await });
    let mut number = None;
    let mut buf = [0; CHUNK];
    let at = loop {
        match from_proxy.read(&mut buf).await {
            Ok(0) | Err(_) => break Instant::now(),
            Ok(len) => {
                number = number_in(&buf[..len]).or(number);
                if to_server.write_all(&buf[..len]).await.is_err() {
                    break Instant::now();
                }
            }
        }
    };
    // Nobody listens once the run is over.
    let _ = tell.send(Closed { number, at });
    back.abort();
}
