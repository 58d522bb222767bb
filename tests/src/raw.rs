//! A blocking client that shows raw bytes: what it sends and what it got are exactly what the test says.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::argv::{frame, words};
use crate::value::{FrameEnd, Value};

/// How long a reply may take before the test fails. Generous: it is no measurement.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a server or a proxy.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// Bytes read and not yet given to the test.
    unread: Vec<u8>,
}

impl Raw {
    /// Connects to `addr` (`host:port`).
    ///
    /// # Panics
    /// Where nobody listens there.
    #[track_caller]
    #[must_use]
    pub fn connect(addr: &str) -> Self {
        Self::try_connect(addr).unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"))
    }

    /// Connects to `addr`.
    ///
    /// # Errors
    /// The socket's.
    pub fn try_connect(addr: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::over(stream))
    }

    /// Speaks over an open connection, waiting for ever.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Connects and says `HELLO 3` where `protocol` is 3.
    #[track_caller]
    #[must_use]
    pub fn speaking(addr: &str, protocol: u8) -> Self {
        let mut raw = Self::connect(addr);
        if protocol == 3 {
            let hello = raw.cmd("HELLO 3");
            assert!(!hello.is_error(), "{hello:?}");
        }
        raw
    }

    /// How long [`Self::try_frame`] waits.
    ///
    /// # Panics
    /// Where the socket refuses.
    pub fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a time above zero");
    }

    /// Sends a command line (see [`words`]) and reads its reply.
    #[track_caller]
    pub fn cmd(&mut self, line: &str) -> Value {
        self.call(&words(line))
    }

    /// Sends `argv` and reads its reply.
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> Value {
        self.send(argv);
        self.read()
    }

    /// As [`Self::call`] for those who live with broken connections.
    ///
    /// # Errors
    /// The socket's, or `UnexpectedEof`.
    pub fn try_call<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> io::Result<Value> {
        self.try_send_bytes(&frame(argv))?;
        Ok(Value::decode(&self.try_frame()?))
    }

    /// Sends `argv`, waits for nothing.
    #[track_caller]
    pub fn send<A: AsRef<[u8]>>(&mut self, argv: &[A]) {
        self.send_bytes(&frame(argv));
    }

    /// Sends a command line, waits for nothing.
    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        self.send(&words(line));
    }

    /// Sends `bytes` as they are.
    ///
    /// # Panics
    /// Where the connection is broken.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends `bytes` as they are.
    ///
    /// # Errors
    /// The socket's.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one reply.
    #[track_caller]
    pub fn read(&mut self) -> Value {
        Value::decode(&self.read_frame())
    }

    /// Reads `count` replies.
    #[track_caller]
    pub fn read_many(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.read()).collect()
    }

    /// Reads one reply's bytes.
    ///
    /// # Panics
    /// Where none comes.
    #[track_caller]
    pub fn read_frame(&mut self) -> Vec<u8> {
        self.try_frame().unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// Reads one reply's bytes.
    ///
    /// # Errors
    /// The socket's; `UnexpectedEof` where the connection was closed; `InvalidData` where it is no reply.
    pub fn try_frame(&mut self) -> io::Result<Vec<u8>> {
        let mut end = FrameEnd::default();
        loop {
            let found =
                end.find(&self.unread).map_err(|text| io::Error::new(ErrorKind::InvalidData, text))?;
            if let Some(length) = found {
                let rest = self.unread.split_off(length);
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// One reply's bytes where they have come already; waits for nothing, and takes a closed connection for one
    /// that says nothing.
    ///
    /// # Panics
    /// Where the socket refuses to be asked.
    pub fn waiting_frame(&mut self) -> Option<Vec<u8>> {
        self.stream.set_nonblocking(true).expect("a socket");
        let frame = self.try_frame().ok();
        self.stream.set_nonblocking(false).expect("a socket");
        frame
    }

    /// Reads until the other side closes, and gives all that came. A reset counts as a close.
    ///
    /// # Panics
    /// Where it stays open.
    #[track_caller]
    pub fn read_to_close(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(0) => break,
                Ok(_) => (),
                Err(error) if is_gone(&error) => break,
                Err(error) => panic!("not closed ({error}); got {}", self.unread.escape_ascii()),
            }
        }
        std::mem::take(&mut self.unread)
    }

    /// Whether nothing at all comes for `time`.
    #[must_use]
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.set_patience(time);
        let silent = self.unread.is_empty() && self.fill().is_err_and(|error| is_late(&error));
        self.set_patience(PATIENCE);
        silent
    }

    /// Says that no more requests follow; replies can still be read.
    ///
    /// # Panics
    /// Where the connection is broken.
    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
    }

    /// A second handle of the same connection, to send from another thread.
    ///
    /// # Panics
    /// Where the process has no descriptor left.
    #[must_use]
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor")
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.unread.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}

/// Whether the other side ended the connection.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Whether the read's time was up.
#[must_use]
pub fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
