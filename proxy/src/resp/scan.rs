//! Finds the end of a request and where its arguments lie, without copying and without looking at a
//! payload twice. Strict: what it accepts is canonical RESP, so the bytes may be forwarded as they came.

use thiserror::Error;

use super::request::{ArgRange, Request};

/// How large a request may be. Tighter before a client has authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestLimits {
    /// Most arguments.
    pub args: usize,
    /// Largest argument in bytes.
    pub bulk: usize,
    /// Largest whole frame in bytes; below 4 GiB.
    pub frame: usize,
    /// The same as [`Self::bulk`] where that is a tenant's own limit, and what is larger is told so.
    pub value: usize,
}

impl RequestLimits {
    /// What a client may send before AUTH: the servers' own numbers (10 arguments of 16 KiB).
    pub const UNAUTHENTICATED: Self = Self { args: 10, bulk: 16_384, frame: 65_536, value: usize::MAX };
}

/// Longest inline command: the servers' PROTO_INLINE_MAX_SIZE.
pub const INLINE_LIMIT: usize = 65_536;

/// Longest line that holds a length: a sign, 19 digits, CRLF and the type byte.
const LENGTH_LINE_LIMIT: usize = 32;

/// Bytes that no request can start or go on with. The text is what the client is told, as the servers
/// word it; the connection is closed after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProtocolError {
    /// A count that is no number or above the limit.
    #[error("invalid multibulk length")]
    InvalidMultibulkLength,
    /// A count above what an unauthenticated client may send.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// A count's line that doesn't end.
    #[error("too big mbulk count string")]
    EndlessMultibulkLength,
    /// An argument that is no bulk string.
    #[error("expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    /// A length that is no number, negative or above the limit.
    #[error("invalid bulk length")]
    InvalidBulkLength,
    /// A length above what an unauthenticated client may send.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// An argument above its tenant's limit.
    #[error("argument larger than max_value of the tenant's limits")]
    TooBigValue,
    /// A length's line that doesn't end.
    #[error("too big bulk count string")]
    EndlessBulkLength,
    /// An argument longer than its length says.
    #[error("expected CRLF after bulk")]
    ExpectedCrlf,
    /// A whole request above the limit.
    #[error("too big request")]
    TooBigRequest,
    /// An inline command above the limit.
    #[error("too big inline request")]
    TooBigInline,
    /// An inline command with an open quote.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// An HTTP request: somebody lets a browser talk to us.
    #[error("possible cross protocol scripting")]
    CrossProtocol,
}

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' }
}

/// What a scan found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    /// A request of this many bytes; [`RequestScanner::request`] shows it.
    Request(usize),
    /// An inline command: a line of this many bytes, its end included.
    Inline(usize),
    /// This many bytes that ask nothing: an empty array.
    Nothing(usize),
    /// More bytes are needed: the frame is known to be at least this long.
    Incomplete(usize),
}

/// Scans one request at a time; keeps its place between reads.
#[derive(Default, Debug)]
pub struct RequestScanner {
    /// Where the next argument begins; everything before it was scanned.
    at: usize,
    /// Arguments still to come; `None` before the count was read.
    missing: Option<usize>,
    argv: Vec<ArgRange>,
}

// Argument tables above this are given back after their request, so that one large MSET doesn't pin memory.
const KEPT_ARGS: usize = 1024;

impl RequestScanner {
    /// Looks at `buf`, which begins where this request begins and holds at least what the last call saw.
    ///
    /// # Errors
    /// A [`ProtocolError`] where no further bytes can make this a request.
    pub fn scan(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Scan, ProtocolError> {
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => match buf.first() {
                None => return Ok(Scan::Incomplete(1)),
                Some(b'*') => match self.scan_count(buf, limits)? {
                    Count::Args(count) => count,
                    Count::None => return Ok(Scan::Nothing(self.at)),
                    Count::Unknown => return Ok(Scan::Incomplete(buf.len() + 1)),
                },
                Some(_) => return self.scan_inline(buf),
            },
        };
        while missing > 0 {
            let Some((start, len)) = bulk_header(buf, self.at, limits)? else {
                self.missing = Some(missing);
                return Ok(Scan::Incomplete(buf.len() + 1));
            };
            let end = start + len + 2;
            if end > limits.frame {
                return Err(ProtocolError::TooBigRequest);
            }
            let Some(tail) = buf.get(start + len..end) else {
                self.missing = Some(missing);
                return Ok(Scan::Incomplete(end));
            };
            if tail != b"\r\n" {
                return Err(ProtocolError::ExpectedCrlf);
            }
            self.argv.push(ArgRange { start: start as u32, len: len as u32 });
            self.at = end;
            missing -= 1;
        }
        self.missing = Some(0);
        Ok(Scan::Request(self.at))
    }

    /// The request that the last [`Self::scan`] found at the beginning of `buf`.
    #[must_use]
    pub fn request<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        Request::new(&buf[..self.at], &self.argv)
    }

    /// Gets ready for the next request.
    pub fn reset(&mut self) {
        self.at = 0;
        self.missing = None;
        self.argv.clear();
        if self.argv.capacity() > KEPT_ARGS {
            self.argv = Vec::new();
        }
    }

    /// Bytes that the argument table holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.argv.capacity() * size_of::<ArgRange>()
    }

    fn scan_count(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Count, ProtocolError> {
        let line = match length_line(&buf[1..]) {
            Line::Unfinished => return Ok(Count::Unknown),
            Line::Endless => return Err(ProtocolError::EndlessMultibulkLength),
            Line::Invalid => return Err(ProtocolError::InvalidMultibulkLength),
            Line::Number(line) => line,
        };
        self.at = 1 + line.size;
        match usize::try_from(line.value) {
            Err(_) | Ok(0) => Ok(Count::None),
            Ok(count) if count <= limits.args => Ok(Count::Args(count)),
            Ok(_) if limits.args == RequestLimits::UNAUTHENTICATED.args => {
                Err(ProtocolError::UnauthenticatedMultibulkLength)
            }
            Ok(_) => Err(ProtocolError::InvalidMultibulkLength),
        }
    }

    fn scan_inline(&mut self, buf: &[u8]) -> Result<Scan, ProtocolError> {
        // `at` remembers how far the line was searched.
        match memchr::memchr(b'\n', &buf[self.at.min(buf.len())..]) {
            Some(found) if self.at + found < INLINE_LIMIT => Ok(Scan::Inline(self.at + found + 1)),
            None if buf.len() < INLINE_LIMIT => {
                self.at = buf.len();
                Ok(Scan::Incomplete(buf.len() + 1))
            }
            _ => Err(ProtocolError::TooBigInline),
        }
    }
}

enum Count {
    Args(usize),
    None,
    Unknown,
}

/// Start and length of the payload whose header stands at `at`; `None` where the header is cut off.
#[inline]
fn bulk_header(
    buf: &[u8],
    at: usize,
    limits: &RequestLimits,
) -> Result<Option<(usize, usize)>, ProtocolError> {
    let line = match buf.get(at) {
        None => return Ok(None),
        Some(b'$') => match length_line(&buf[at + 1..]) {
            Line::Unfinished => return Ok(None),
            Line::Endless => return Err(ProtocolError::EndlessBulkLength),
            Line::Invalid => return Err(ProtocolError::InvalidBulkLength),
            Line::Number(line) => line,
        },
        Some(&other) => return Err(ProtocolError::ExpectedBulk(other)),
    };
    match usize::try_from(line.value) {
        Ok(len) if len <= limits.bulk => Ok(Some((at + 1 + line.size, len))),
        Ok(_) if limits.bulk == RequestLimits::UNAUTHENTICATED.bulk => {
            Err(ProtocolError::UnauthenticatedBulkLength)
        }
        Ok(_) if limits.bulk == limits.value => Err(ProtocolError::TooBigValue),
        _ => Err(ProtocolError::InvalidBulkLength),
    }
}

/// A number and its CRLF, as they stand behind a type byte.
pub(super) struct LengthLine {
    pub(super) value: i64,
    /// Bytes of the number and its CRLF.
    pub(super) size: usize,
}

pub(super) enum Line {
    Number(LengthLine),
    Unfinished,
    Endless,
    Invalid,
}

/// Reads `-?(0|[1-9][0-9]*)\r\n`: digits only, no plus sign, no leading zero, nothing that would overflow.
#[inline(always)]
pub(super) fn length_line(buf: &[u8]) -> Line {
    // One and two digits are nearly all there is on a hot path.
    match *buf {
        [digit @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Line::Number(LengthLine { value: i64::from(digit - b'0'), size: 3 })
        }
        [tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
            let value = i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            Line::Number(LengthLine { value, size: 4 })
        }
        _ => long_length_line(buf),
    }
}

#[inline(never)]
fn long_length_line(buf: &[u8]) -> Line {
    let window = &buf[..buf.len().min(LENGTH_LINE_LIMIT)];
    let Some(end) = memchr::memchr(b'\r', window) else {
        // A number is at most 20 characters, so a longer line can only be wrong.
        let numeric = window.iter().enumerate().all(|(i, b)| b.is_ascii_digit() || (i == 0 && *b == b'-'));
        return match (numeric, window.len() < LENGTH_LINE_LIMIT) {
            (true, true) => Line::Unfinished,
            (true, false) => Line::Endless,
            (false, _) => Line::Invalid,
        };
    };
    // Behind the window, too: a line whose CR is its last byte is whole all the same.
    match buf.get(end + 1) {
        None => return Line::Unfinished,
        Some(b'\n') => {}
        Some(_) => return Line::Invalid,
    }
    parse_number(&window[..end])
        .map_or(Line::Invalid, |value| Line::Number(LengthLine { value, size: end + 2 }))
}

/// A canonical decimal: what `string2ll` of the servers takes.
#[must_use]
pub fn parse_number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] if !negative => return Some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    digits.iter().try_fold(0i64, |value, digit| {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if !(0..=9).contains(&digit) {
            return None;
        }
        let value = value.checked_mul(10)?;
        if negative { value.checked_sub(digit) } else { value.checked_add(digit) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits = RequestLimits { args: 1000, bulk: 1000, frame: 5000, value: usize::MAX };

    fn scan(buf: &[u8]) -> Result<Scan, ProtocolError> {
        RequestScanner::default().scan(buf, &LIMITS)
    }

    #[test]
    fn a_request_cut_at_every_byte_gives_the_same_arguments() {
        let frame = b"*3\r\n$3\r\nSET\r\n$10\r\nkey:000001\r\n$0\r\n\r\n";
        for cut in 0..frame.len() {
            let mut scanner = RequestScanner::default();
            let first = scanner.scan(&frame[..cut], &LIMITS).unwrap();
            assert!(
                matches!(first, Scan::Incomplete(need) if need > cut && need <= frame.len()),
                "{cut} {first:?}"
            );
            assert_eq!(scanner.scan(frame, &LIMITS), Ok(Scan::Request(frame.len())), "{cut}");
            let request = scanner.request(frame);
            assert_eq!(request.args_from(0).collect::<Vec<_>>(), [&b"SET"[..], b"key:000001", b""]);
        }
    }

    #[test]
    fn what_the_servers_refuse_is_refused_with_their_words() {
        for (bytes, text) in [
            (&b"*1000000000\r\n"[..], "invalid multibulk length"),
            (b"*+1\r\n", "invalid multibulk length"),
            (b"*1x\r\n", "invalid multibulk length"),
            (b"*99999999999999999999\r\n", "invalid multibulk length"),
            (b"*1111111111111111111111111111111\r\n", "invalid multibulk length"),
            (b"*1\r\n$1111111111111111111111111111111\r\n", "invalid bulk length"),
            (b"*1\r\n*1\r\n", "expected '$', got '*'"),
            (b"*1\r\n\x00", "expected '$', got '?'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$1001\r\n", "invalid bulk length"),
            (b"*1\r\n$03\r\nGET\r\n", "invalid bulk length"),
            (b"*1\r\n$3\r\nGETxx", "expected CRLF after bulk"),
            (b"*11111111111111111111111111111111111111", "too big mbulk count string"),
        ] {
            assert_eq!(scan(bytes).unwrap_err().to_string(), text, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn an_empty_array_asks_nothing() {
        assert_eq!(scan(b"*0\r\n"), Ok(Scan::Nothing(4)));
        assert_eq!(scan(b"*-1\r\n*1"), Ok(Scan::Nothing(5)));
    }

    #[test]
    fn a_frame_above_its_limit_is_refused_before_it_is_read() {
        let mut frame = b"*6\r\n".to_vec();
        for _ in 0..5 {
            frame.extend_from_slice(b"$990\r\n");
            frame.extend_from_slice(&[b'x'; 990]);
            frame.extend_from_slice(b"\r\n");
        }
        assert!(matches!(scan(&frame), Ok(Scan::Incomplete(_))));
        frame.extend_from_slice(b"$990\r\n");
        assert_eq!(scan(&frame), Err(ProtocolError::TooBigRequest));
    }

    #[test]
    fn numbers_are_those_of_string2ll() {
        for (text, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            ("", None),
            ("-", None),
            ("1 ", None),
        ] {
            assert_eq!(parse_number(text.as_bytes()), value, "{text}");
        }
    }
}
