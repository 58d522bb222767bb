//! Writes replies of our own. What RESP2 has no type for becomes what the servers make of it there: a map
//! is a flat array, a double a bulk string.

use std::io::Write as _;

use super::protocol::Protocol;

/// Appends replies to a buffer.
#[derive(Debug)]
pub struct ReplyWriter<'b> {
    out: &'b mut Vec<u8>,
    protocol: Protocol,
}

impl<'b> ReplyWriter<'b> {
    /// A writer at the end of `out`.
    pub fn new(out: &'b mut Vec<u8>, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    /// What the reader speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// `+text`; line ends in it become blanks.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// `-text`, where `text` begins with its code; line ends in it become blanks.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    /// An integer.
    pub fn integer(&mut self, number: i64) {
        self.number(b':', number);
    }

    /// A string of any bytes.
    pub fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.length(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.end_line();
    }

    /// A text for people to read.
    pub fn verbatim(&mut self, text: &str) {
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text);
        }
        self.length(b'=', text.len() + 4);
        self.out.extend_from_slice(b"txt:");
        self.out.extend_from_slice(text.as_bytes());
        self.end_line();
    }

    /// Nothing, where a string would stand.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.protocol == Protocol::Resp2 { b"$-1\r\n" } else { b"_\r\n" });
    }

    /// Nothing, where an array would stand.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.protocol == Protocol::Resp2 { b"*-1\r\n" } else { b"_\r\n" });
    }

    /// Yes or no.
    pub fn boolean(&mut self, yes: bool) {
        match self.protocol {
            Protocol::Resp2 => self.integer(yes.into()),
            Protocol::Resp3 => self.out.extend_from_slice(if yes { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A floating point number.
    pub fn double(&mut self, number: f64) {
        let text = if number.is_nan() { "nan".to_owned() } else { number.to_string() };
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.line(b',', &text),
        }
    }

    /// The head of an array, whose `len` elements are to follow.
    pub fn array(&mut self, len: usize) {
        self.length(b'*', len);
    }

    /// The head of a push, whose `len` elements are to follow.
    pub fn push(&mut self, len: usize) {
        self.length(if self.protocol == Protocol::Resp2 { b'*' } else { b'>' }, len);
    }

    /// The head of a map, whose `len` keys, each with its value, are to follow.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length(b'*', len.saturating_mul(2)),
            Protocol::Resp3 => self.length(b'%', len),
        }
    }

    /// The head of a set, whose `len` members are to follow.
    pub fn set(&mut self, len: usize) {
        self.length(if self.protocol == Protocol::Resp2 { b'*' } else { b'~' }, len);
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.out.push(kind);
        self.out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.end_line();
    }

    fn length(&mut self, kind: u8, len: usize) {
        self.number(kind, i64::try_from(len).unwrap_or(i64::MAX));
    }

    fn number(&mut self, kind: u8, number: i64) {
        self.out.push(kind);
        let _a_vec_takes_all = write!(self.out, "{number}");
        self.end_line();
    }

    fn end_line(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl Fn(&mut ReplyWriter<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut ReplyWriter::new(&mut out, protocol));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn types_that_both_versions_have_look_the_same() {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            assert_eq!(written(protocol, |w| w.simple("OK")), "+OK\r\n");
            assert_eq!(written(protocol, |w| w.error("ERR no")), "-ERR no\r\n");
            assert_eq!(written(protocol, |w| w.integer(i64::MIN)), ":-9223372036854775808\r\n");
            assert_eq!(written(protocol, |w| w.bulk("a\r\n")), "$3\r\na\r\n\r\n");
            assert_eq!(written(protocol, |w| w.array(2)), "*2\r\n");
        }
    }

    #[test]
    fn types_of_resp3_fall_back_in_resp2() {
        let both = |write: &dyn Fn(&mut ReplyWriter<'_>)| {
            (written(Protocol::Resp2, write), written(Protocol::Resp3, write))
        };
        let pair = |two: &str, three: &str| (two.to_owned(), three.to_owned());
        assert_eq!(both(&|w| w.null()), pair("$-1\r\n", "_\r\n"));
        assert_eq!(both(&|w| w.null_array()), pair("*-1\r\n", "_\r\n"));
        assert_eq!(both(&|w| w.map(2)), pair("*4\r\n", "%2\r\n"));
        assert_eq!(both(&|w| w.set(2)), pair("*2\r\n", "~2\r\n"));
        assert_eq!(both(&|w| w.boolean(true)), pair(":1\r\n", "#t\r\n"));
        assert_eq!(both(&|w| w.double(1.5)), pair("$3\r\n1.5\r\n", ",1.5\r\n"));
        assert_eq!(both(&|w| w.double(f64::NEG_INFINITY)), pair("$4\r\n-inf\r\n", ",-inf\r\n"));
        assert_eq!(both(&|w| w.double(f64::NAN)), pair("$3\r\nnan\r\n", ",nan\r\n"));
        assert_eq!(both(&|w| w.verbatim("hi\n")), pair("$3\r\nhi\n\r\n", "=7\r\ntxt:hi\n\r\n"));
    }

    #[test]
    fn no_text_breaks_out_of_its_line() {
        assert_eq!(written(Protocol::Resp2, |w| w.error("ERR a\r\n+OK\r\n")), "-ERR a  +OK  \r\n");
    }
}
