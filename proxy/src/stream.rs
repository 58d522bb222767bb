//! ◆ A connection, plain or TLS. What the plain one costs beside its system calls is one branch that is always taken
//! the same way.

#![expect(clippy::disallowed_types, reason = "I/O: owns a socket")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::receive;
use crate::tls::identity::PeerIdentity;
use crate::tls::stream::TlsStream;

/// A connection to a client or to a backend.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream>),
}

// Every client's and every private connection's record has one: as large as the socket alone.
const _: () = assert!(size_of::<Stream>() == size_of::<TcpStream>());

impl Stream {
    /// The socket.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }

    /// Whether something came that was not read.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_read_ready(cx)
    }

    /// Who the client is by TLS; `None` for plain ones, and for backends.
    #[must_use]
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.peer_identity(),
        }
    }

    /// Whether it is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Reads; 0 at the end. `unread` as in [`receive::poll_read`].
    ///
    /// # Errors
    /// The socket's, or those of TLS.
    #[inline]
    pub fn poll_receive(
        &mut self,
        unread: &mut bool,
        buf: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => receive::poll_read(tcp, unread, buf, cx),
            Self::Tls(tls) => tls.poll_read(unread, buf, cx),
        }
    }

    /// As [`Self::poll_receive`], where nothing waits that the runtime does not know of.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn poll_fresh(&mut self, buf: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => {
                let mut room = ReadBuf::new(buf);
                ready!(Pin::new(tcp).poll_read(cx, &mut room))?;
                Poll::Ready(Ok(room.filled().len()))
            }
            Self::Tls(tls) => tls.poll_read(&mut false, buf, cx),
        }
    }

    /// Writes what the socket takes now, which may be less. Where it would block the same bytes have to come again.
    ///
    /// # Errors
    /// The socket's, or those of TLS.
    #[inline]
    pub fn try_write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write(data),
            Self::Tls(tls) => tls.try_write(data),
        }
    }

    /// Tells the other side that this is the end, where that is not the socket's own to tell.
    pub fn close(&mut self) {
        if let Self::Tls(tls) = self {
            tls.close();
        }
    }

    /// Bytes that it holds beyond what an idle one holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.held_bytes(),
        }
    }

    /// Whether nothing was read from the socket that was not given on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_empty(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => {
                let count = ready!(tls.poll_read(&mut false, buf.initialize_unfilled(), cx))?;
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, data),
            Self::Tls(tls) => tls.poll_write(data, cx),
        }
    }

    /// A write tells nothing before the socket has it.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => {
                tls.close();
                tls.poll_shutdown(cx)
            }
        }
    }
}
