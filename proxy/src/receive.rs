//! ◆ One read from a socket, through the runtime or past it.

#![expect(clippy::disallowed_types, reason = "I/O: reads from a socket")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Reads. Where `unread` is set, bytes wait in the socket of which the runtime does not know any more: they are asked
/// for past it, until there are none.
///
/// # Errors
/// The socket's.
#[inline]
pub fn poll_read(
    stream: &mut TcpStream,
    unread: &mut bool,
    buf: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if *unread {
        match recv(&*stream, &mut *buf, RecvFlags::DONTWAIT) {
            Ok((count, _)) => {
                // Short of what there was room for: the queue is empty, and the runtime knows of what comes next.
                *unread = count == buf.len();
                return Poll::Ready(Ok(count));
            }
            Err(Errno::AGAIN) => *unread = false,
            Err(error) => return Poll::Ready(Err(error.into())),
        }
    }
    let mut room = ReadBuf::new(buf);
    ready!(Pin::new(stream).poll_read(cx, &mut room))?;
    Poll::Ready(Ok(room.filled().len()))
}
