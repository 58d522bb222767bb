//! ◆ Shakes hands: with a client that has connected, or with a backend that we have connected to. Bounded in bytes;
//! its user bounds the time.

#![expect(clippy::disallowed_types, reason = "I/O: reads from and writes to a socket")]

use std::io;

use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor as Hello, UnbufferedServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::acceptor::Acceptor;
use super::connector::Connector;
use super::failure::HandshakeFailure;
use super::identity::{PeerIdentity, Subject};
use super::session::{Session, Step};
use super::stream::TlsStream;

// Both directions' certificates are some KiB; OpenSSL takes 100 KiB of them at most.
const LARGEST_HANDSHAKE: usize = 128 * 1024;
// What is read at once: the client's first words are mostly less.
const READ: usize = 4 * 1024;
// A record of a handshake begins with this; a request does not.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Shakes hands with a client.
///
/// # Errors
/// Why that failed; the client was told, as far as TLS has words for it.
pub async fn accept(mut tcp: TcpStream, acceptor: &Acceptor) -> Result<Box<TlsStream>, HandshakeFailure> {
    let (hello, name) = read_hello(&mut tcp).await?;
    let session = UnbufferedServerConnection::new(acceptor.config(name.as_deref()).clone())?;
    let mut stream = Box::new(TlsStream::new(tcp, Session::Server(session)));
    shake_hands(&mut stream, hello).await?;
    let shown = stream.session().common().peer_certificates().and_then(<[CertificateDer<'_>]>::first);
    let certificate = shown.and_then(|shown| Subject::of(shown)).map(Box::new);
    stream.set_identity(PeerIdentity { server_name: name, certificate });
    Ok(stream)
}

/// Shakes hands with the backend that the topology calls `host`.
///
/// # Errors
/// Why that failed.
pub async fn connect(
    tcp: TcpStream,
    connector: &Connector,
    host: &str,
) -> Result<Box<TlsStream>, HandshakeFailure> {
    let session = connector.session(host)?;
    let mut stream = Box::new(TlsStream::new(tcp, Session::Client(session)));
    shake_hands(&mut stream, Vec::new()).await?;
    Ok(stream)
}

/// The bytes of a client's first message, with which the handshake begins, and the name that it asks for.
async fn read_hello(tcp: &mut TcpStream) -> Result<(Vec<u8>, Option<Box<str>>), HandshakeFailure> {
    let (mut bytes, mut hello) = (Vec::with_capacity(READ), Hello::default());
    loop {
        let start = read(tcp, &mut bytes).await?;
        if bytes[0] != HANDSHAKE_RECORD {
            return Err(HandshakeFailure::NotTls);
        }
        let mut new = &bytes[start..];
        while !new.is_empty() {
            // It says so where it wants no more before it was looked at.
            if hello.read_tls(&mut new).is_err() {
                return Err(HandshakeFailure::TooLong);
            }
            match hello.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                    return Ok((bytes, name.map(String::into_boxed_str)));
                }
                Err((error, mut alert)) => {
                    let mut words = Vec::new();
                    let _ = alert.write_all(&mut words);
                    return Err(refuse(tcp, &words, error.into()).await);
                }
            }
        }
    }
}

/// Goes on to the handshake's end, from what has come so far.
async fn shake_hands(stream: &mut TlsStream, mut new: Vec<u8>) -> Result<(), HandshakeFailure> {
    let (mut out, mut total) = (Vec::new(), 0);
    loop {
        total += new.len();
        if total > LARGEST_HANDSHAKE {
            return Err(HandshakeFailure::TooLong);
        }
        let step = stream.take_in(&new, &mut out);
        let step = match step {
            Ok(step) => step,
            Err(error) => return Err(refuse(stream.tcp_mut(), &out, error.into()).await),
        };
        stream.tcp_mut().write_all(&out).await?;
        out.clear();
        match step {
            Step::Done => return Ok(()),
            Step::PeerClosed if !stream.session().common().is_handshaking() => return Ok(()),
            Step::PeerClosed | Step::Closed => return Err(ended()),
            Step::Handshaking | Step::Again => {}
        }
        new.clear();
        read(stream.tcp_mut(), &mut new).await?;
    }
}

/// Tells the peer why, as far as its socket takes that at once: nobody waits for who does not keep to the rules.
async fn refuse(tcp: &mut TcpStream, words: &[u8], failure: HandshakeFailure) -> HandshakeFailure {
    let _ = tcp.try_write(words);
    // With unread bytes in our socket, its end would be a reset that destroys what was said.
    let mut rest = [0; READ];
    while matches!(tcp.try_read(&mut rest), Ok(count) if count > 0) {}
    let _ = tcp.shutdown().await;
    failure
}

/// Reads behind `bytes`; tells where the new ones begin.
async fn read(tcp: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<usize, HandshakeFailure> {
    let start = bytes.len();
    if start > LARGEST_HANDSHAKE {
        return Err(HandshakeFailure::TooLong);
    }
    bytes.reserve(READ);
    if tcp.read_buf(bytes).await? == 0 {
        return Err(ended());
    }
    Ok(start)
}

fn ended() -> HandshakeFailure {
    HandshakeFailure::Lost(io::ErrorKind::UnexpectedEof.into())
}
