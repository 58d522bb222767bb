//! ◆ A private connection: a socket to one node on which one request at a time is under way, for one client.
//! It is polled from that client's own task, so it needs none of its own, and holds no buffer while it waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::AsyncWrite;

use super::caps::Place;
use super::pool::NodeId;
use crate::backend::framing::{Cut, Framing};
use crate::backend::lane::Lane;
use crate::resp::reply::ReplyError;
use crate::stream::Stream;

/// A connection to one node.
#[derive(Debug)]
pub struct PrivateConnection {
    stream: Stream,
    /// The node it goes to.
    pub node: NodeId,
    /// The protocol and database it was opened with.
    pub lane: Lane,
    /// The number that the node knows it by, for CLIENT UNBLOCK; 0 where it does not tell.
    pub id: u64,
    /// It was told to tell its client of changed keys: pushes come at any time.
    pub tracks: bool,
    /// The rest of a push is on its way that is not passed on.
    pub skips: bool,
    /// What exists only while a request is half sent or a reply half read.
    partial: Option<Box<Partial>>,
    /// Its place under the limits.
    _place: Place,
}

// The allocator's class of 80 bytes; the next one is of 96.
const _: () = assert!(size_of::<PrivateConnection>() <= 80);

#[derive(Default, Debug)]
struct Partial {
    /// Request bytes that the socket did not take.
    unsent: Vec<u8>,
    framing: Framing,
}

impl PrivateConnection {
    /// A connection that has shaken hands and is clean.
    #[must_use]
    pub fn new(stream: Stream, node: NodeId, lane: Lane, id: u64, place: Place) -> Self {
        Self { stream, node, lane, id, tracks: false, skips: false, partial: None, _place: place }
    }

    /// Sends a request; what the socket does not take is kept for [`Self::poll_send`].
    ///
    /// # Errors
    /// Where the connection is broken; nothing of the request reached the node whole.
    pub fn send(&mut self, request: &[u8]) -> io::Result<()> {
        let sent = match self.stream.try_write(request) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if sent < request.len() {
            self.partial.get_or_insert_default().unsent.extend_from_slice(&request[sent..]);
        }
        Ok(())
    }

    /// Sends what is left. Ready only with an error.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(partial) = self.partial.as_mut().filter(|partial| !partial.unsent.is_empty()) {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &partial.unsent))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            partial.unsent.drain(..count);
        }
        Poll::Pending
    }

    /// Whether the node was sent the whole request, so that it may have run.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.partial.as_ref().is_none_or(|partial| partial.unsent.is_empty())
    }

    /// Reads into `scratch`, behind what was kept; the length of both together.
    ///
    /// # Errors
    /// Where the connection is broken or at its end.
    pub fn poll_read(&mut self, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let kept = self.partial.as_ref().map_or(0, |partial| {
            let kept = partial.framing.kept();
            scratch[..kept.len()].copy_from_slice(kept);
            kept.len()
        });
        match ready!(self.stream.poll_fresh(&mut scratch[kept..], cx))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            count => Poll::Ready(Ok(kept + count)),
        }
    }

    /// The next reply, or piece of one, in what was read; see [`Framing::next`].
    ///
    /// # Errors
    /// Where the bytes are no reply.
    pub fn next(&mut self, buf: &[u8], start: usize) -> Result<Option<Cut>, ReplyError> {
        if start == buf.len() {
            return Ok(None);
        }
        self.partial.get_or_insert_default().framing.next(buf, start)
    }

    /// Keeps what is behind the last piece.
    pub fn keep(&mut self, rest: &[u8]) {
        let Some(partial) = &mut self.partial else { return };
        partial.framing.keep(rest);
        if partial.unsent.is_empty() && partial.framing.is_at_rest() {
            self.partial = None;
        }
    }

    /// Whether pieces of a reply were passed on whose end has not come.
    #[must_use]
    pub fn is_within_reply(&self) -> bool {
        !self.skips && self.partial.as_ref().is_some_and(|partial| partial.framing.is_within_reply())
    }

    /// Whether nothing is under way on it and nothing lies unread: asked before every use, since a byte that
    /// nobody waited for would be taken for the answer, and a closed one would lose the request. What a
    /// connection tells that tracks is no dirt.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let mut byte = [0_u8];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(self.stream.tcp(), &mut byte, flags) {
            Err(Errno::AGAIN) => (self.partial.is_none() && self.stream.is_empty()) || self.tracks,
            // Pushes wait: they are passed on in front of the answer.
            Ok((count, _)) => self.tracks && count > 0,
            Err(_) => false,
        }
    }
}
