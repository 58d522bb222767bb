//! ◆ A TLS connection over a socket. It holds keys, and bytes only while a record has come in part or the socket does
//! not take one: everything else happens in two buffers of the thread.
//!
//! A write is one record, and tells that bytes were written once the socket took all of it: of a record that went out
//! in part the other side can read nothing, so what was not told has not arrived. The caller comes again with the same
//! bytes, as with a plain socket, and what it has sent and not sent stays exact.

#![expect(clippy::disallowed_types, reason = "I/O: owns a socket")]

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Error;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::identity::PeerIdentity;
use super::session::{LARGEST_RECORD, Outgoing, Plain, Session, Step};
use crate::receive;

/// A TLS connection that has shaken hands, or is about to.
pub struct TlsStream {
    tcp: TcpStream,
    session: Session,
    /// The beginning of a record, or of a message in several, whose end has not come.
    carry: Vec<u8>,
    /// Decrypted for a reader that had no room for it.
    plain: Vec<u8>,
    /// Ciphertext that the socket did not take.
    unsent: Vec<u8>,
    /// How many bytes of the next write are in `unsent` already.
    promised: usize,
    state: State,
    /// Who the client is, of a connection to us.
    identity: Option<Box<PeerIdentity>>,
}

/// ```text
/// Open ──the other side says that it sends nothing more, or its socket does──▶ Ended
///   └──what came is no TLS──▶ Broken ◀──────────────────────────────────────────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// Nothing more comes; what is written may still be read.
    Ended,
    /// The session must not be asked anything any more.
    Broken,
}

/// What connections of a thread use in turns.
struct Buffers {
    /// Ciphertext as it is read; it is decrypted in place.
    incoming: Box<[u8]>,
    /// Ciphertext on its way out.
    outgoing: Vec<u8>,
}

thread_local! {
    // Of the thread and not of the worker, as the control thread has TLS connections too, and writes come from
    // wherever a reply does. Nothing stays in it between two calls.
    static BUFFERS: RefCell<Buffers> =
        RefCell::new(Buffers { incoming: vec![0; INCOMING].into_boxed_slice(), outgoing: Vec::new() });
}

// As large as the worker's own.
const INCOMING: usize = 128 * 1024;
// What is carried from one read to the next is less than a record, unless a message of the handshake is in several.
const LARGEST_CARRY: usize = INCOMING / 2;
// Room for a record with its overhead.
const SMALLEST_READ: usize = LARGEST_RECORD + 4 * 1024;
// Alerts and new keys that a peer has not taken before it is not read from.
const LARGEST_UNSENT: usize = 2 * LARGEST_RECORD;
// Reads without any data in them before others have their turn.
const EMPTY_READS: usize = 4;

impl TlsStream {
    /// A connection at its beginning.
    pub(super) fn new(tcp: TcpStream, session: Session) -> Self {
        Self {
            tcp,
            session,
            carry: Vec::new(),
            plain: Vec::new(),
            unsent: Vec::new(),
            promised: 0,
            state: State::Open,
            identity: None,
        }
    }

    /// Who the client is; `None` of our connections to backends.
    #[must_use]
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.identity.as_deref()
    }

    /// Notes who the client is.
    pub(super) fn set_identity(&mut self, identity: PeerIdentity) {
        self.identity = Some(Box::new(identity));
    }

    /// The socket below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Bytes that it holds beyond its keys.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.carry.capacity() + self.plain.capacity() + self.unsent.capacity()
    }

    /// Whether nothing lies here that was read and not given on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.carry.is_empty() && self.plain.is_empty()
    }

    /// Reads what was sent, decrypted; 0 once the other side sends nothing more. `unread` as in
    /// [`receive::poll_read`].
    ///
    /// # Errors
    /// The socket's; `InvalidData` where the bytes are no TLS of this connection.
    pub fn poll_read(
        &mut self,
        unread: &mut bool,
        buf: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if !self.plain.is_empty() {
            return Poll::Ready(Ok(self.take_plain(buf)));
        }
        if self.promised == 0 && !self.unsent.is_empty() {
            // Nobody else would send it. What was promised is sent by who told nothing of it yet.
            let sent = self.poll_flush(cx)?;
            if sent.is_pending() && self.unsent.len() > LARGEST_UNSENT {
                return Poll::Pending;
            }
        }
        for _ in 0..EMPTY_READS {
            match self.state {
                State::Open => {}
                State::Ended => return Poll::Ready(Ok(0)),
                State::Broken => return Poll::Ready(Err(broken())),
            }
            let count = ready!(self.poll_records(unread, buf, cx))?;
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes a record. `WouldBlock` where the socket did not take all of it: the next call has to come with the
    /// same bytes, to which more may have been added.
    ///
    /// # Errors
    /// The socket's.
    pub fn try_write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.unsent.is_empty() {
            self.flush()?;
            if self.promised > 0 {
                debug_assert!(data.len() >= self.promised, "other bytes than before");
                return Ok(mem::take(&mut self.promised));
            }
        }
        let data = &data[..data.len().min(LARGEST_RECORD)];
        if data.is_empty() {
            return Ok(0);
        }
        self.send(Outgoing::Data(data))?;
        if self.unsent.is_empty() {
            return Ok(data.len());
        }
        self.promised = data.len();
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// As [`Self::try_write`]; pending where that would block.
    pub fn poll_write(&mut self, data: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    /// Says that nothing more is sent, as far as the socket takes that now.
    pub fn close(&mut self) {
        if self.unsent.is_empty() && self.state != State::Broken {
            // Nobody is left to tell.
            let _ = self.send(Outgoing::Close);
        }
    }

    /// Ends the socket's sending side.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    /// Takes ciphertext that was read elsewhere; what is decrypted comes with the next read. What the peer is to be
    /// told is put behind `out`.
    pub(super) fn take_in(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Step, Error> {
        self.carry.extend_from_slice(bytes);
        let mut incoming = mem::take(&mut self.carry);
        let mut plain = Plain { buf: &mut [], filled: 0, rest: &mut self.plain };
        let (done, step) = self.session.take_in(&mut incoming, &mut plain, out);
        incoming.drain(..done);
        incoming.shrink_to_fit();
        self.carry = incoming;
        self.note(&step);
        step
    }

    fn note(&mut self, step: &Result<Step, Error>) {
        match step {
            Ok(Step::PeerClosed) => self.state = State::Ended,
            Ok(_) => {}
            Err(_) => self.state = State::Broken,
        }
    }

    /// The TLS of it.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The socket below, to be read from by a handshake.
    pub(super) fn tcp_mut(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    fn take_plain(&mut self, buf: &mut [u8]) -> usize {
        let count = self.plain.len().min(buf.len());
        buf[..count].copy_from_slice(&self.plain[..count]);
        if count == self.plain.len() {
            self.plain = Vec::new();
        } else {
            self.plain.drain(..count);
        }
        count
    }

    /// Reads once and decrypts all that is whole; how many bytes came of it.
    fn poll_records(
        &mut self,
        unread: &mut bool,
        buf: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        BUFFERS.with_borrow_mut(|Buffers { incoming, outgoing }| {
            let kept = self.carry.len();
            if kept > LARGEST_CARRY {
                return Poll::Ready(Err(invalid(Error::PeerSentOversizedRecord)));
            }
            incoming[..kept].copy_from_slice(&self.carry);
            // Decrypted it is shorter, so that so much fits.
            let room = buf.len().saturating_sub(kept).clamp(SMALLEST_READ, INCOMING - kept);
            let count =
                ready!(receive::poll_read(&mut self.tcp, unread, &mut incoming[kept..kept + room], cx))?;
            if count == 0 {
                self.state = State::Ended;
                return Poll::Ready(Ok(0));
            }
            let incoming = &mut incoming[..kept + count];
            outgoing.clear();
            let mut plain = Plain { buf, filled: 0, rest: &mut self.plain };
            let (done, step) = self.session.take_in(incoming, &mut plain, outgoing);
            let filled = plain.filled;
            self.carry = incoming[done..].to_vec();
            self.note(&step);
            let sent = self.put_out(outgoing);
            step.map_err(invalid)?;
            sent?;
            Poll::Ready(Ok(filled))
        })
    }

    /// Encrypts and sends; what the socket does not take is in `unsent`.
    fn send(&mut self, what: Outgoing<'_>) -> io::Result<()> {
        if self.state == State::Broken {
            return Err(broken());
        }
        BUFFERS.with_borrow_mut(|Buffers { outgoing, .. }| {
            outgoing.clear();
            let encrypted = self.session.encrypt(&mut self.carry, what, outgoing);
            if encrypted.is_err() {
                self.state = State::Broken;
            }
            encrypted.map_err(invalid)?;
            self.put_out(outgoing)
        })
    }

    /// Sends ciphertext behind what waits.
    fn put_out(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while self.unsent.is_empty() && sent < bytes.len() {
            match self.tcp.try_write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends what waits; `WouldBlock` where something is left of it.
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let count = self.tcp.try_write(&self.unsent)?;
            if count == self.unsent.len() {
                self.unsent = Vec::new();
            } else {
                self.unsent.drain(..count);
            }
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?;
                }
                flushed => return Poll::Ready(flushed),
            }
        }
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// No keys.
impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}
