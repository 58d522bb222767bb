//! Cuts what a connection reads into replies. A reply that is not whole yet is kept until it is, a large one is
//! passed on in pieces as it comes. Pure.

use std::ops::Range;

use crate::resp::reply::{ReplyError, ReplyScan, ReplyScanner};

/// Reply bytes that are kept until the reply is whole; a larger one is passed on in pieces as it comes.
pub const STREAM_ABOVE: usize = 32 * 1024;

/// What a connection has read of the next reply.
#[derive(Default, Debug)]
pub struct Framing {
    scanner: ReplyScanner,
    /// The beginning of a reply that the last read cut off; at most [`STREAM_ABOVE`] or one line.
    tail: Vec<u8>,
    /// Pieces of the reply were passed on.
    begun: bool,
}

/// A reply, or a piece of one, in the buffer it was read into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Where it lies.
    pub range: Range<usize>,
    /// Whether it is the reply's first piece.
    pub first: bool,
    /// Whether further pieces follow.
    pub more: bool,
}

impl Framing {
    /// What the next read has to stand behind.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        &self.tail
    }

    /// The next piece in `buf`, which begins with [`Self::kept`], at or behind `start`; `None` where the rest
    /// is to be kept.
    ///
    /// # Errors
    /// Where the bytes are no reply: the connection is useless from here on.
    pub fn next(&mut self, buf: &[u8], start: usize) -> Result<Option<Cut>, ReplyError> {
        let bytes = &buf[start..];
        if let ReplyScan::Complete(len) = self.scanner.scan(bytes)? {
            self.scanner.reset();
            let first = !std::mem::take(&mut self.begun);
            return Ok(Some(Cut { range: start..start + len, first, more: false }));
        }
        let scanned = self.scanner.scanned();
        if scanned == 0 || !(self.begun || bytes.len() > STREAM_ABOVE) {
            return Ok(None);
        }
        self.scanner.forget(scanned);
        let first = !std::mem::replace(&mut self.begun, true);
        Ok(Some(Cut { range: start..start + scanned, first, more: true }))
    }

    /// Keeps `rest`, what is behind the last piece, for the next read.
    pub fn keep(&mut self, rest: &[u8]) {
        self.tail.clear();
        self.tail.extend_from_slice(rest);
        if self.tail.is_empty() {
            self.tail = Vec::new();
        }
    }

    /// Whether nothing of a further reply has come.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        !self.begun && self.tail.is_empty()
    }

    /// Whether pieces of a reply were passed on whose end has not come.
    #[must_use]
    pub fn is_within_reply(&self) -> bool {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in reads of `step`; returns the replies put together.
    fn replies(bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
        let (mut framing, mut replies) = (Framing::default(), Vec::new());
        let mut open = false;
        for read in bytes.chunks(step) {
            let buf = [framing.kept(), read].concat();
            let mut start = 0;
            while let Some(cut) = framing.next(&buf, start).unwrap() {
                assert_eq!(cut.first, !open);
                if cut.first {
                    replies.push(Vec::new());
                }
                replies.last_mut().unwrap().extend_from_slice(&buf[cut.range.clone()]);
                (open, start) = (cut.more, cut.range.end);
            }
            framing.keep(&buf[start..]);
            assert_eq!(framing.is_at_rest(), !open && start == buf.len());
        }
        assert!(framing.is_at_rest() && !framing.is_within_reply());
        replies
    }

    #[test]
    fn replies_are_the_same_however_they_are_read() {
        let large =
            [format!("${}\r\n", 3 * STREAM_ABOVE).into_bytes(), vec![b'x'; 3 * STREAM_ABOVE], b"\r\n".into()];
        let all = [b"+OK\r\n".to_vec(), large.concat(), b"*2\r\n:1\r\n$-1\r\n".to_vec()];
        for step in [1, 7, 1_000, STREAM_ABOVE, 1 << 20] {
            assert_eq!(replies(&all.concat(), step), all, "{step}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        assert!(Framing::default().next(b"HTTP/1.1 200 OK\r\n", 0).is_err());
    }
}
