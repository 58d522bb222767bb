//! Finds the end of a reply without decoding it: RESP2 and RESP3, iterative, bounded in depth. It can be
//! fed a reply in pieces whose scanned beginning is already gone, which is how large replies are streamed.

use thiserror::Error;

use super::scan::{Line, length_line};

/// How deep replies may nest: what hiredis and libvalkey take.
pub const DEPTH_LIMIT: usize = 1024;

/// Longest line of a simple string, error, double or big number: far above any that a server writes.
const LINE_LIMIT: usize = 64 * 1024;

/// Bytes that no reply can contain: the connection they came from is useless from here on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ReplyError {
    /// A type byte that RESP doesn't have.
    #[error("unknown reply type 0x{0:02x}")]
    UnknownType(u8),
    /// A length that is no number, or negative where that means nothing.
    #[error("invalid length in a reply")]
    InvalidLength,
    /// A payload or line without its CRLF.
    #[error("missing CRLF in a reply")]
    MissingCrlf,
    /// A line above 64 KiB.
    #[error("endless line in a reply")]
    EndlessLine,
    /// More than [`DEPTH_LIMIT`] levels.
    #[error("reply nested too deep")]
    TooDeep,
}

/// What a scan found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyScan {
    /// The reply ends at this offset.
    Complete(usize),
    /// More bytes are needed; [`ReplyScanner::scanned`] tells what may be passed on already.
    Incomplete,
}

/// Scans one reply at a time; keeps its place between reads.
#[derive(Default, Debug)]
pub struct ReplyScanner {
    /// Everything before this offset was scanned and may be dropped with [`Self::forget`].
    at: usize,
    /// Bytes of a payload and its CRLF that are still to be skipped.
    skip: u64,
    /// Elements still to come on the innermost level; 1 before anything was seen.
    missing: u64,
    /// Elements still to come on the levels around it.
    outer: Vec<u64>,
    /// Whether a reply has begun: false between replies.
    begun: bool,
}

impl ReplyScanner {
    /// Looks at `buf`, whose first byte is where the reply begins, or where [`Self::forget`] cut it.
    ///
    /// # Errors
    /// A [`ReplyError`] where no further bytes can make this a reply.
    pub fn scan(&mut self, buf: &[u8]) -> Result<ReplyScan, ReplyError> {
        if !self.begun {
            if buf.is_empty() {
                return Ok(ReplyScan::Incomplete);
            }
            if let Some(len) = whole_bulk(buf) {
                return Ok(ReplyScan::Complete(len));
            }
            self.begun = true;
            self.missing = 1;
        }
        loop {
            if self.skip > 0 && !self.skip_payload(buf)? {
                return Ok(ReplyScan::Incomplete);
            }
            while self.missing == 0 {
                match self.outer.pop() {
                    Some(missing) => self.missing = missing,
                    None => return Ok(ReplyScan::Complete(self.at)),
                }
            }
            if !self.scan_element(buf)? {
                return Ok(ReplyScan::Incomplete);
            }
        }
    }

    /// How many bytes of the buffer belong to this reply and need not be seen again.
    #[must_use]
    pub fn scanned(&self) -> usize {
        self.at
    }

    /// Tells that the first `bytes` of the buffer, all of them scanned, are gone.
    pub fn forget(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.at, "only scanned bytes may be dropped");
        self.at -= bytes;
    }

    /// Gets ready for the next reply.
    pub fn reset(&mut self) {
        self.at = 0;
        self.begun = false;
        debug_assert!(self.skip == 0 && self.outer.is_empty(), "reset only behind a complete reply");
    }

    /// Skips what is there of a payload and its CRLF; false where more is to come.
    fn skip_payload(&mut self, buf: &[u8]) -> Result<bool, ReplyError> {
        let there = (buf.len() - self.at) as u64;
        // The CRLF is looked at only when whole, so the last two bytes are not skipped alone.
        if there < self.skip {
            let step = there.min(self.skip.saturating_sub(2));
            self.at += step as usize;
            self.skip -= step;
            return Ok(false);
        }
        self.at += self.skip as usize;
        self.skip = 0;
        if buf[..self.at].ends_with(b"\r\n") { Ok(true) } else { Err(ReplyError::MissingCrlf) }
    }

    /// Scans one element's line; false where it is cut off.
    #[inline]
    fn scan_element(&mut self, buf: &[u8]) -> Result<bool, ReplyError> {
        let Some((&kind, rest)) = buf.get(self.at..).and_then(<[u8]>::split_first) else { return Ok(false) };
        match kind {
            b'$' | b'!' | b'=' => self.scan_bulk(rest),
            b':' | b'+' | b'-' | b',' | b'(' | b'#' | b'_' => self.scan_line(rest),
            b'*' | b'~' | b'>' => self.scan_aggregate(rest, 1),
            b'%' => self.scan_aggregate(rest, 2),
            // An attribute is a map that stands before the reply it speaks of: one element more.
            b'|' => {
                let scanned = self.scan_aggregate(rest, 2)?;
                if scanned {
                    let around = self.outer.last_mut().unwrap_or(&mut self.missing);
                    *around += 1;
                }
                Ok(scanned)
            }
            other => Err(ReplyError::UnknownType(other)),
        }
    }

    fn scan_bulk(&mut self, rest: &[u8]) -> Result<bool, ReplyError> {
        let Some((len, size)) = length(rest)? else { return Ok(false) };
        self.at += 1 + size;
        self.missing -= 1;
        self.skip = len.map_or(0, |len| len + 2);
        Ok(true)
    }

    fn scan_line(&mut self, rest: &[u8]) -> Result<bool, ReplyError> {
        let Some(end) = memchr::memchr(b'\r', &rest[..rest.len().min(LINE_LIMIT)]) else {
            return if rest.len() < LINE_LIMIT { Ok(false) } else { Err(ReplyError::EndlessLine) };
        };
        match rest.get(end + 1) {
            None => return Ok(false),
            Some(b'\n') => {}
            Some(_) => return Err(ReplyError::MissingCrlf),
        }
        self.at += 1 + end + 2;
        self.missing -= 1;
        Ok(true)
    }

    fn scan_aggregate(&mut self, rest: &[u8], per_entry: u64) -> Result<bool, ReplyError> {
        let Some((count, size)) = length(rest)? else { return Ok(false) };
        self.at += 1 + size;
        self.missing -= 1;
        let elements = count.unwrap_or(0).checked_mul(per_entry).ok_or(ReplyError::InvalidLength)?;
        if self.outer.len() >= DEPTH_LIMIT {
            return Err(ReplyError::TooDeep);
        }
        self.outer.push(self.missing);
        self.missing = elements;
        Ok(true)
    }
}

/// Where a bulk string ends that is there whole, as most replies are; nothing where `buf` begins with anything else.
#[inline(always)]
fn whole_bulk(buf: &[u8]) -> Option<usize> {
    let [b'$', rest @ ..] = buf else { return None };
    let Line::Number(line) = length_line(rest) else { return None };
    let payload = 1 + line.size;
    let end = usize::try_from(line.value).ok()?.checked_add(payload + 2)?;
    buf.get(payload..end)?.ends_with(b"\r\n").then_some(end)
}

/// A length (`None` for -1, null) and the bytes of its line; nothing where the line is cut off.
#[inline]
fn length(rest: &[u8]) -> Result<Option<(Option<u64>, usize)>, ReplyError> {
    // Keeps `len + 2` and the doubled count of a map far from overflowing.
    const LENGTH_LIMIT: i64 = 1 << 48;
    match length_line(rest) {
        Line::Unfinished => Ok(None),
        Line::Number(line) if line.value == -1 => Ok(Some((None, line.size))),
        Line::Number(line) if (0..LENGTH_LIMIT).contains(&line.value) => {
            Ok(Some((Some(line.value as u64), line.size)))
        }
        Line::Number(_) | Line::Endless | Line::Invalid => Err(ReplyError::InvalidLength),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$12\r\nhello\r\nworld\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*3\r\n:1\r\n$3\r\nabc\r\n*2\r\n+a\r\n*0\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",inf\r\n",
        b"(123456789012345678901234567890\r\n",
        b"!5\r\nERR x\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n:2\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
        b"|1\r\n+ttl\r\n:1\r\n*1\r\n:5\r\n",
        b"*2\r\n|1\r\n+ttl\r\n:1\r\n$1\r\na\r\n$1\r\nb\r\n",
    ];

    #[test]
    fn a_reply_cut_at_every_byte_ends_where_it_ends() {
        for reply in REPLIES {
            let mut stream = reply.to_vec();
            stream.extend_from_slice(b"+NEXT\r\n");
            for cut in 0..reply.len() {
                let mut scanner = ReplyScanner::default();
                assert_eq!(
                    scanner.scan(&stream[..cut]),
                    Ok(ReplyScan::Incomplete),
                    "{}",
                    reply.escape_ascii()
                );
                assert_eq!(
                    scanner.scan(&stream),
                    Ok(ReplyScan::Complete(reply.len())),
                    "{}",
                    reply.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn a_reply_streamed_in_pieces_loses_no_byte() {
        for reply in REPLIES {
            let (mut scanner, mut buf, mut passed) = (ReplyScanner::default(), Vec::new(), Vec::new());
            let mut complete = false;
            for byte in *reply {
                assert!(!complete, "complete too early");
                buf.push(*byte);
                let end = match scanner.scan(&buf).unwrap() {
                    ReplyScan::Complete(end) => {
                        complete = true;
                        end
                    }
                    ReplyScan::Incomplete => scanner.scanned(),
                };
                passed.extend(buf.drain(..end));
                scanner.forget(end);
            }
            assert!(complete && passed == *reply, "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let mut deep = b"*1\r\n".repeat(DEPTH_LIMIT);
        deep.extend_from_slice(b":1\r\n");
        assert_eq!(ReplyScanner::default().scan(&deep), Ok(ReplyScan::Complete(deep.len())));
        assert_eq!(ReplyScanner::default().scan(&b"*1\r\n".repeat(100_000)), Err(ReplyError::TooDeep));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        assert_eq!(ReplyScanner::default().scan(b"HTTP/1.1 400\r\n"), Err(ReplyError::UnknownType(b'H')));
        assert_eq!(ReplyScanner::default().scan(b"$-2\r\n"), Err(ReplyError::InvalidLength));
        assert_eq!(ReplyScanner::default().scan(b"$3\r\nabcde"), Err(ReplyError::MissingCrlf));
        assert_eq!(ReplyScanner::default().scan(b"*9999999999999999999\r\n"), Err(ReplyError::InvalidLength));
        assert_eq!(ReplyScanner::default().scan(&[b'+'; LINE_LIMIT + 2]), Err(ReplyError::EndlessLine));
    }
}
