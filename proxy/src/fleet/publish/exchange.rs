//! ◆ Sends a message to a DNS server and waits for the answer: over TCP, which carries any size and is hard to
//! forge; over UDP where TCP can't be had.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "I/O: opens sockets to DNS servers and limits how long answers take"
)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::config::publishers::NameServer;
use crate::dns::resolver::Resolver;
use crate::entry::publish::outcome::Failure;

/// How long TCP may take to connect, and each answer to come.
const PATIENCE: Duration = Duration::from_secs(2);
/// Larger messages are cut to pieces on some networks, and lost on others.
const MAX_DATAGRAM: usize = 1_232;
/// A server of many addresses is not tried for ever.
const MAX_ADDRESSES: usize = 4;

/// What `server` answers to `message`.
///
/// # Errors
/// Where there is no answer; whether it is a good one is not looked at.
pub(super) async fn ask(
    resolver: &Arc<Resolver>,
    server: &NameServer,
    message: &[u8],
) -> Result<Vec<u8>, Failure> {
    let unreachable = |why: String| Failure::Unreachable(format!("{server}: {why}"));
    let addresses = resolver.lookup(&server.host).await.map_err(|error| unreachable(error.to_string()))?;
    let mut last = unreachable("it has no address".to_owned());
    for address in addresses.into_iter().take(MAX_ADDRESSES) {
        let address = SocketAddr::new(address, server.port);
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = match connected {
            Ok(stream) => stream,
            Err(error) => match over_udp(address, message).await {
                Ok(answer) => return Ok(answer),
                Err(_) => {
                    last = unreachable(error.to_string());
                    continue;
                }
            },
        };
        match timeout(PATIENCE, over_tcp(stream, message)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = unreachable(error.to_string()),
            Err(_) => last = Failure::Timeout,
        }
    }
    Err(last)
}

/// Each message has its length in front of it.
async fn over_tcp(mut stream: TcpStream, message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// An answer is taken only from where the message was sent; one to another message says nothing.
async fn over_udp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    if message.len() > MAX_DATAGRAM {
        return Err(io::Error::other("too long for UDP"));
    }
    let own: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((own, 0)).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    let answered = async {
        loop {
            let length = socket.recv(&mut answer).await?;
            if length >= 2 && answer[..2] == message[..2] {
                return io::Result::Ok(length);
            }
        }
    };
    let length = timeout(PATIENCE, answered).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    answer.truncate(length);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::DnsSettings;
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;

    fn server(addr: SocketAddr) -> NameServer {
        NameServer { host: addr.ip().to_string(), port: addr.port() }
    }

    fn resolver() -> Arc<Resolver> {
        Resolver::new(&DnsSettings::default(), Handle::current()).unwrap()
    }

    #[tokio::test]
    async fn udp_is_taken_where_tcp_is_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = server(socket.local_addr().unwrap());
        let answers = async {
            let mut bytes = [0; 100];
            let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
            assert_eq!(&bytes[..length], b"\x01\x02question");
            // Of another question.
            socket.send_to(b"\x09\x09late", from).await.unwrap();
            socket.send_to(b"\x01\x02answer", from).await.unwrap();
        };
        let resolver = resolver();
        let (answer, ()) = tokio::join!(ask(&resolver, &server, b"\x01\x02question"), answers);
        assert_eq!(answer, Ok(b"\x01\x02answer".to_vec()));
        let long = vec![1; MAX_DATAGRAM + 1];
        assert!(matches!(ask(&resolver, &server, &long).await, Err(Failure::Unreachable(_))));
    }

    #[tokio::test]
    async fn an_answer_over_tcp_is_whole_or_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = server(listener.local_addr().unwrap());
        let answers = async {
            for answer in [&b"\x00\x06\x01\x02abcd"[..], b"\x00\x06\x01\x02ab"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut question = [0; 12];
                stream.read_exact(&mut question).await.unwrap();
                assert_eq!(&question, b"\x00\x0a\x01\x02question");
                stream.write_all(answer).await.unwrap();
            }
        };
        let resolver = resolver();
        let asks = async {
            assert_eq!(ask(&resolver, &server, b"\x01\x02question").await, Ok(b"\x01\x02abcd".to_vec()));
            let cut = ask(&resolver, &server, b"\x01\x02question").await;
            assert!(matches!(cut, Err(Failure::Unreachable(_))), "{cut:?}");
        };
        tokio::join!(asks, answers);
    }
}
