//! A reply as a tree of values, RESP2 and RESP3 alike: for the few replies whose content the proxy itself
//! must understand (topology, handshakes). Off the path of commands.
//!
//! Not redis-protocol's decoder: that one recurses without a limit, and has two frame types where
//! readers want one (a map of RESP3 is the flat array that RESP2 gives).

use std::str;

/// A value that lies in its reply's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// Any of `_`, `$-1`, `*-1`.
    Null,
    /// An integer.
    Integer(i64),
    /// A string of any kind, a double, a big number, or a boolean (`t`, `f`).
    Text(&'a [u8]),
    /// An error reply, its code first.
    Error(&'a [u8]),
    /// An array, a set, a push, or a map (key, value, key, value, as RESP2 has it).
    List(Vec<Self>),
}

/// Why bytes are not one complete value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ValueError {
    /// The bytes end before the value does.
    #[error("reply ends early")]
    Incomplete,
    /// Bytes follow the value.
    #[error("bytes after the reply")]
    Trailing,
    /// More than [`MAX_DEPTH`] lists in each other.
    #[error("reply nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More than [`MAX_VALUES`] values.
    #[error("reply of more than {MAX_VALUES} values")]
    TooMany,
    /// A first byte that begins no value.
    #[error("unknown reply type 0x{0:02x}")]
    UnknownType(u8),
    /// A length or an integer that is none.
    #[error("bad number in reply")]
    BadNumber,
    /// A string not followed by CR LF.
    #[error("string without an end")]
    BadEnd,
}

/// Most lists in each other. CLUSTER SHARDS of today has 4.
pub const MAX_DEPTH: usize = 32;

/// Most values of one reply. The largest cluster there can be, 16,384 shards of 3 nodes, needs a million.
pub const MAX_VALUES: usize = 4 << 20;

impl<'a> Value<'a> {
    /// The value that `bytes` are, whole.
    ///
    /// # Errors
    /// Where they are not exactly one value within the limits.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ValueError> {
        let mut walk = Walk { rest: bytes, budget: MAX_VALUES };
        let value = walk.value(0)?;
        if walk.rest.is_empty() { Ok(value) } else { Err(ValueError::Trailing) }
    }

    /// The bytes of a text, `None` of anything else.
    #[must_use]
    pub fn text(&self) -> Option<&'a [u8]> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// An integer, also one written as a text.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The items of a list, `None` of anything else.
    #[must_use]
    pub fn list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// What stands behind `key` in a list of keys and values.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&Self> {
        let pairs = self.list()?.chunks_exact(2);
        pairs.filter(|pair| pair[0].text() == Some(key.as_bytes())).map(|pair| &pair[1]).next()
    }
}

/// What is left to read, and how many values may still come.
struct Walk<'a> {
    rest: &'a [u8],
    budget: usize,
}

impl<'a> Walk<'a> {
    /// Recursion ends at [`MAX_DEPTH`].
    fn value(&mut self, depth: usize) -> Result<Value<'a>, ValueError> {
        self.budget = self.budget.checked_sub(1).ok_or(ValueError::TooMany)?;
        let (kind, line) = self.line()?;
        Ok(match kind {
            b'+' | b',' | b'#' | b'(' => Value::Text(line),
            b'-' => Value::Error(line),
            b':' => Value::Integer(number(line)?),
            b'_' => Value::Null,
            b'$' => self.string(line)?.map_or(Value::Null, Value::Text),
            // The first four bytes name a format: `txt:`.
            b'=' => self.string(line)?.map_or(Value::Null, |text| Value::Text(text.get(4..).unwrap_or(text))),
            b'!' => self.string(line)?.map_or(Value::Null, Value::Error),
            b'*' | b'~' | b'>' => self.list(line, 1, depth)?,
            b'%' => self.list(line, 2, depth)?,
            b'|' => {
                self.list(line, 2, depth)?;
                self.value(depth + 1)?
            }
            other => return Err(ValueError::UnknownType(other)),
        })
    }

    fn list(&mut self, count: &[u8], factor: usize, depth: usize) -> Result<Value<'a>, ValueError> {
        let Some(count) = length(count)? else { return Ok(Value::Null) };
        if depth >= MAX_DEPTH {
            return Err(ValueError::TooDeep);
        }
        let count = count.checked_mul(factor).filter(|&count| count <= self.budget);
        // Grows as items come: a count that no items follow costs nothing.
        let mut items = Vec::new();
        for _ in 0..count.ok_or(ValueError::TooMany)? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn string(&mut self, len: &[u8]) -> Result<Option<&'a [u8]>, ValueError> {
        let Some(len) = length(len)? else { return Ok(None) };
        let (text, rest) = self.rest.split_at_checked(len).ok_or(ValueError::Incomplete)?;
        let (end, rest) = rest.split_at_checked(2).ok_or(ValueError::Incomplete)?;
        self.rest = rest;
        if end == b"\r\n" { Ok(Some(text)) } else { Err(ValueError::BadEnd) }
    }

    /// The next line's first byte and the rest of it.
    fn line(&mut self) -> Result<(u8, &'a [u8]), ValueError> {
        let feed = memchr::memchr(b'\n', self.rest).ok_or(ValueError::Incomplete)?;
        let (line, rest) = self.rest.split_at(feed + 1);
        self.rest = rest;
        let line = line.strip_suffix(b"\r\n").ok_or(ValueError::BadEnd)?;
        line.split_first().map(|(&kind, line)| (kind, line)).ok_or(ValueError::BadEnd)
    }
}

/// A length; `None` for -1, the null of RESP2.
fn length(digits: &[u8]) -> Result<Option<usize>, ValueError> {
    match number(digits)? {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| ValueError::BadNumber),
    }
}

fn number(digits: &[u8]) -> Result<i64, ValueError> {
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(ValueError::BadNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_give_the_same_tree() {
        let old = Value::parse(b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n$-1\r\n").unwrap();
        let new = Value::parse(b"%2\r\n$1\r\na\r\n:1\r\n+b\r\n_\r\n").unwrap();
        assert_eq!(old, new);
        assert_eq!(new.field("a").and_then(Value::integer), Some(1));
        assert_eq!(new.field("b"), Some(&Value::Null));
        assert_eq!(new.field("c"), None);
    }

    #[test]
    fn an_attribute_is_passed_over() {
        assert_eq!(Value::parse(b"|1\r\n+a\r\n:1\r\n=5\r\ntxt:x\r\n"), Ok(Value::Text(b"x")));
    }

    #[test]
    fn every_cut_of_a_value_is_incomplete() {
        let whole = b"%1\r\n$1\r\na\r\n*2\r\n:1\r\n$3\r\n\r\n\r\r\n";
        assert!(Value::parse(whole).is_ok());
        for cut in 0..whole.len() {
            assert_eq!(Value::parse(&whole[..cut]), Err(ValueError::Incomplete), "cut at {cut}");
        }
        assert_eq!(Value::parse(b":1\r\n:2\r\n"), Err(ValueError::Trailing));
    }

    #[test]
    fn hostile_shapes_are_refused_not_followed() {
        let nested = b"*1\r\n".repeat(100_000);
        assert_eq!(Value::parse(&nested), Err(ValueError::TooDeep));
        assert_eq!(Value::parse(&b"|0\r\n".repeat(100_000)), Err(ValueError::TooDeep));
        assert_eq!(Value::parse(b"*9223372036854775807\r\n"), Err(ValueError::TooMany));
        assert_eq!(Value::parse(b"%4611686018427387905\r\n"), Err(ValueError::TooMany));
        assert_eq!(Value::parse(b"$-2\r\n"), Err(ValueError::BadNumber));
        assert_eq!(Value::parse(b"$1\r\nabc"), Err(ValueError::BadEnd));
        assert_eq!(Value::parse(b"?\r\n"), Err(ValueError::UnknownType(b'?')));
        assert_eq!(Value::parse(b"\r\n"), Err(ValueError::BadEnd));
    }
}
