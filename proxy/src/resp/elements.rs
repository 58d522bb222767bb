//! The elements of an array, set or map as they stand in a reply, without a copy.

use super::reply::{ReplyScan, ReplyScanner};
use super::scan::parse_number;

/// Goes through an aggregate's elements, each with its own type byte and end.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    /// How many are left; of a map keys and values count each.
    pub count: usize,
    /// Their bytes.
    pub rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The elements of `reply`; `None` where it is no aggregate.
    #[must_use]
    pub fn new(reply: &'a [u8]) -> Option<Self> {
        let (kind @ (b'*' | b'~' | b'%'), line) = reply.split_first()? else { return None };
        let end = memchr::memchr(b'\r', line)?;
        let count = usize::try_from(parse_number(&line[..end])?).ok()?;
        let count = if *kind == b'%' { count.checked_mul(2)? } else { count };
        Some(Self { count, rest: line.get(end + 2..)? })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        let Ok(ReplyScan::Complete(len)) = ReplyScanner::default().scan(self.rest) else { return None };
        let (element, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(element)
    }
}

/// Whether a reply is an error.
#[must_use]
pub fn is_error(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'-' | b'!'))
}

/// Whether a reply says that there is nothing.
#[must_use]
pub fn is_nil(reply: &[u8]) -> bool {
    matches!(reply, b"$-1\r\n" | b"_\r\n" | b"*-1\r\n")
}

/// The number of an integer reply.
#[must_use]
pub fn integer(reply: &[u8]) -> Option<i64> {
    parse_number(reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?)
}

/// The bytes of a bulk string; `None` of anything else, nil too.
#[must_use]
pub fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let rest = reply.strip_prefix(b"$")?;
    let end = memchr::memchr(b'\r', rest)?;
    let len = usize::try_from(parse_number(&rest[..end])?).ok()?;
    rest.get(end + 2..end + 2 + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_cut_where_they_end() {
        let words = |reply: &'static [u8]| Elements::new(reply).map(Iterator::collect::<Vec<_>>);
        assert_eq!(
            words(b"*2\r\n*1\r\n:1\r\n$2\r\nab\r\n").unwrap(),
            [&b"*1\r\n:1\r\n"[..], b"$2\r\nab\r\n"]
        );
        assert_eq!(words(b"%1\r\n+a\r\n:1\r\n").unwrap().len(), 2);
        assert_eq!(words(b"*-1\r\n"), None);
        assert_eq!(words(b":1\r\n"), None);
        assert_eq!(words(b"*2\r\n:1\r\n").unwrap().len(), 1, "what is cut off is not there");
    }

    #[test]
    fn scalars_are_read() {
        assert_eq!(bulk(b"$2\r\na\r\r\n"), Some(&b"a\r"[..]));
        assert_eq!((bulk(b"$-1\r\n"), bulk(b"+OK\r\n"), bulk(b"$9\r\nab\r\n")), (None, None, None));
        assert_eq!((integer(b":-3\r\n"), integer(b"+3\r\n")), (Some(-3), None));
    }
}
