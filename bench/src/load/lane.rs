//! One connection of the generator: requests to send, and the pieces of replies that are due in order. ◆

#![expect(clippy::disallowed_types, reason = "I/O: owns the connection to the target")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::codec::{Codec, Piece};
use crate::failure::Failure;

/// How long a new connection's first request may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection and what is in flight on it.
#[derive(Debug)]
pub(super) struct Lane {
    stream: mio::net::TcpStream,
    /// Requests not yet written: `out[sent..]`.
    out: Vec<u8>,
    sent: usize,
    /// Pieces due, each with its request's place in the client's batch.
    due: VecDeque<(usize, Piece)>,
    /// The beginning of a piece whose end has not come.
    tail: Vec<u8>,
}

impl Lane {
    /// Connects and has `key` stored, so that the target has accepted the connection, and
    /// holds for it whatever it holds for a client that once said something.
    pub(super) fn open(
        node: SocketAddr,
        codec: &Codec,
        user: Option<&str>,
        key: u32,
    ) -> Result<Self, Failure> {
        let doing = || format!("greeting {node}");
        let mut stream = TcpStream::connect(node).map_err(Failure::io(format!("connecting to {node}")))?;
        stream.set_nodelay(true).map_err(Failure::io(doing()))?;
        stream.set_read_timeout(Some(GREETING_TIMEOUT)).map_err(Failure::io(doing()))?;
        let mut request = Vec::new();
        let mut reply = Vec::new();
        if let Some(user) = user {
            codec.log_in(user, &mut request);
            stream.write_all(&request).map_err(Failure::io(doing()))?;
            while codec.check(Piece::LoggedIn, &reply)?.is_none() {
                read_some(&mut stream, &mut reply).map_err(Failure::io(doing()))?;
            }
            request.clear();
            reply.clear();
        }
        codec.store(key, &mut request);
        stream.write_all(&request).map_err(Failure::io(doing()))?;
        while codec.check(Piece::Stored, &reply)?.is_none() {
            read_some(&mut stream, &mut reply).map_err(Failure::io(doing()))?;
        }
        stream.set_nonblocking(true).map_err(Failure::io(doing()))?;
        let stream = mio::net::TcpStream::from_std(stream);
        Ok(Self { stream, out: Vec::new(), sent: 0, due: VecDeque::new(), tail: Vec::new() })
    }

    /// The socket, for the poll.
    pub(super) fn stream_mut(&mut self) -> &mut mio::net::TcpStream {
        &mut self.stream
    }

    /// The buffer that requests are appended to; [`flush`](Self::flush) sends it.
    pub(super) fn out_mut(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Notes that these pieces of the reply to request `place` follow the ones noted before, and counts them.
    pub(super) fn expect(&mut self, place: usize, pieces: impl IntoIterator<Item = Piece>) -> usize {
        let before = self.due.len();
        self.due.extend(pieces.into_iter().map(|piece| (place, piece)));
        self.due.len() - before
    }

    /// Writes what there is, as far as the socket takes it; the poll tells when to go on.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Failure::Io { doing: "sending requests".to_owned(), source }),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads until a short read and appends to `done` the place of each piece that came whole.
    ///
    /// Stopping at a short read is enough with an edge-triggered poll: bytes that come later are a new edge.
    pub(super) fn fill(
        &mut self,
        scratch: &mut [u8],
        codec: &Codec,
        done: &mut Vec<usize>,
    ) -> Result<(), Failure> {
        loop {
            let n = match self.stream.read(scratch) {
                Ok(0) => return Err(Failure::Closed { open: self.due.len() }),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Failure::Io { doing: "reading replies".to_owned(), source }),
            };
            self.take_in(&scratch[..n], codec, done)?;
            if n < scratch.len() {
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8], codec: &Codec, done: &mut Vec<usize>) -> Result<(), Failure> {
        if self.tail.is_empty() {
            let used = self.match_pieces(bytes, codec, done)?;
            self.tail.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.tail);
            whole.extend_from_slice(bytes);
            let used = self.match_pieces(&whole, codec, done)?;
            whole.drain(..used);
            self.tail = whole;
        }
        Ok(())
    }

    /// How many of `bytes` were whole pieces that were due.
    fn match_pieces(&mut self, bytes: &[u8], codec: &Codec, done: &mut Vec<usize>) -> Result<usize, Failure> {
        let mut at = 0;
        while at < bytes.len() {
            let Some(&(place, piece)) = self.due.front() else {
                let got = String::from_utf8_lossy(&bytes[at..]).chars().take(80).collect();
                return Err(Failure::WrongReply { wanted: "nothing more".to_owned(), got });
            };
            let Some(len) = codec.check(piece, &bytes[at..])? else { break };
            at += len;
            self.due.pop_front();
            done.push(place);
        }
        Ok(at)
    }
}

/// Appends what comes next.
fn read_some(stream: &mut TcpStream, reply: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 64];
    let count = stream.read(&mut chunk)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    reply.extend_from_slice(&chunk[..count]);
    Ok(())
}
