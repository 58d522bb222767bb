//! A reply: where its frame ends, and what is in it. RESP2 and RESP3, iterative, so that depth costs no stack.

use std::fmt;

/// A decoded reply. The three spellings of "nothing" are one [`Value::Nil`]; compare raw frames where the
/// difference matters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR ...`, without the minus; RESP3 blob errors too.
    Error(Vec<u8>),
    /// `:1`
    Int(i64),
    /// `$1`; verbatim strings too, with their three letters of type.
    Bulk(Vec<u8>),
    /// `$-1`, `*-1`, `_`
    Nil,
    /// `#t`
    Bool(bool),
    /// `,1.5` or `(123`: as written.
    Number(Vec<u8>),
    /// `*`
    Array(Vec<Self>),
    /// `~`
    Set(Vec<Self>),
    /// `%`: keys and values by turns.
    Map(Vec<Self>),
    /// `>`
    Push(Vec<Self>),
}

impl Value {
    /// Decodes `frame`.
    ///
    /// # Panics
    /// Where `frame` is not exactly one frame.
    #[must_use]
    pub fn decode(frame: &[u8]) -> Self {
        let mut open: Vec<Open> = Vec::new();
        let mut at = 0;
        loop {
            let mut value = match Element::next(frame, &mut at) {
                Element::Opens(aggregate) => {
                    open.push(aggregate);
                    continue;
                }
                Element::Whole(value) => value,
            };
            loop {
                let Some(parent) = open.last_mut() else {
                    assert_eq!(at, frame.len(), "bytes behind the frame {}", frame.escape_ascii());
                    return value;
                };
                parent.items.push(value);
                if parent.items.len() < parent.count {
                    break;
                }
                let parent = open.pop().expect("it was there a line ago");
                value = parent.close();
            }
        }
    }

    /// Whether this is an error reply.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// The error's text; empty where this is no error.
    #[must_use]
    pub fn error(&self) -> String {
        if self.is_error() { self.text() } else { String::new() }
    }

    /// The bytes of a string of any kind, or an integer in digits, as text; for others what Debug says.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Simple(bytes) | Self::Error(bytes) | Self::Bulk(bytes) | Self::Number(bytes) => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            Self::Int(number) => number.to_string(),
            other => format!("{other:?}"),
        }
    }

    /// The integer.
    ///
    /// # Panics
    /// Where this is none.
    #[track_caller]
    #[must_use]
    pub fn int(&self) -> i64 {
        let Self::Int(number) = self else { panic!("not an integer: {self:?}") };
        *number
    }

    /// The elements of an aggregate of any kind.
    ///
    /// # Panics
    /// Where this is none.
    #[track_caller]
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Map(items) | Self::Push(items) => items,
            other => panic!("not an aggregate: {other:?}"),
        }
    }

    /// The value behind `name` in a map, or in an array of names and values by turns.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    #[must_use]
    pub fn field(&self, name: &str) -> &Self {
        let found = self.items().chunks_exact(2).find(|pair| pair[0].text() == name);
        &found.unwrap_or_else(|| panic!("no {name:?} in {self:?}"))[1]
    }
}

impl fmt::Debug for Value {
    /// Short and readable: a failing test prints these.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(bytes) => write!(f, "+{}", bytes.escape_ascii()),
            Self::Error(bytes) => write!(f, "-{}", bytes.escape_ascii()),
            Self::Int(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Nil => f.write_str("nil"),
            Self::Bool(truth) => write!(f, "#{truth}"),
            Self::Number(bytes) => write!(f, ",{}", bytes.escape_ascii()),
            Self::Array(items) => f.debug_list().entries(items).finish(),
            Self::Set(items) => f.write_str("~").and_then(|()| f.debug_list().entries(items).finish()),
            Self::Map(items) => f.write_str("%").and_then(|()| f.debug_list().entries(items).finish()),
            Self::Push(items) => f.write_str(">").and_then(|()| f.debug_list().entries(items).finish()),
        }
    }
}

/// Finds the end of the frame at the start of a growing buffer, looking at each element once.
#[derive(Debug)]
pub struct FrameEnd {
    at: usize,
    left: usize,
}

impl Default for FrameEnd {
    fn default() -> Self {
        Self { at: 0, left: 1 }
    }
}

impl FrameEnd {
    /// How long the frame at the start of `bytes` is, or `None` while it is incomplete. Until then
    /// `bytes` may only grow at its end.
    ///
    /// # Errors
    /// Where `bytes` cannot begin a frame.
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        while self.left > 0 {
            let Some(line) = line_at(bytes, self.at) else { return Ok(None) };
            let number = || digits(line).ok_or_else(|| format!("bad reply line {}", line.escape_ascii()));
            let mut next = self.at + line.len() + 2;
            let mut children = 0;
            match line.first() {
                Some(b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(') => (),
                Some(b'$' | b'=' | b'!') => next += usize::try_from(number()?).map_or(0, |len| len + 2),
                Some(b'*' | b'~' | b'>') => children = usize::try_from(number()?).unwrap_or(0),
                Some(b'%') => children = 2 * usize::try_from(number()?).unwrap_or(0),
                _ => return Err(format!("bad reply line {}", line.escape_ascii())),
            }
            if next > bytes.len() {
                return Ok(None);
            }
            self.at = next;
            self.left = self.left - 1 + children;
        }
        Ok(Some(self.at))
    }
}

/// What stands next in a frame.
enum Element {
    Opens(Open),
    Whole(Value),
}

/// An aggregate whose elements are still coming.
struct Open {
    sigil: u8,
    count: usize,
    items: Vec<Value>,
}

impl Open {
    fn close(self) -> Value {
        match self.sigil {
            b'~' => Value::Set(self.items),
            b'%' => Value::Map(self.items),
            b'>' => Value::Push(self.items),
            _ => Value::Array(self.items),
        }
    }
}

impl Element {
    fn next(frame: &[u8], at: &mut usize) -> Self {
        let line = line_at(frame, *at).unwrap_or_else(|| panic!("half a frame: {}", frame.escape_ascii()));
        *at += line.len() + 2;
        let (sigil, rest) = (line[0], line[1..].to_vec());
        let number = digits(line);
        Self::Whole(match sigil {
            b'+' => Value::Simple(rest),
            b'-' => Value::Error(rest),
            b':' => Value::Int(number.expect("an integer")),
            b',' | b'(' => Value::Number(rest),
            b'#' => Value::Bool(rest == b"t"),
            b'_' => Value::Nil,
            _ => return Self::with_length(sigil, number.expect("a length"), frame, at),
        })
    }

    fn with_length(sigil: u8, length: i64, frame: &[u8], at: &mut usize) -> Self {
        let Ok(length) = usize::try_from(length) else { return Self::Whole(Value::Nil) };
        if matches!(sigil, b'$' | b'=' | b'!') {
            let bytes = frame[*at..*at + length].to_vec();
            *at += length + 2;
            return Self::Whole(if sigil == b'!' { Value::Error(bytes) } else { Value::Bulk(bytes) });
        }
        let count = if sigil == b'%' { 2 * length } else { length };
        let aggregate = Open { sigil, count, items: Vec::new() };
        if count == 0 { Self::Whole(aggregate.close()) } else { Self::Opens(aggregate) }
    }
}

/// The line that begins at `at`, without its CRLF; `None` while its end is missing.
fn line_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&rest[..end])
}

fn digits(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line.get(1..)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_reply_is_decoded_whole() {
        let frame = b"*3\r\n%1\r\n+a\r\n*0\r\n~2\r\n:1\r\n$2\r\nxy\r\n*-1\r\n";
        let map = Value::Map(vec![Value::Simple(b"a".into()), Value::Array(vec![])]);
        let set = Value::Set(vec![Value::Int(1), Value::Bulk(b"xy".into())]);
        assert_eq!(Value::decode(frame), Value::Array(vec![map, set, Value::Nil]));
    }

    #[test]
    fn a_frame_ends_where_it_ends_however_it_is_cut() {
        let frame = b"*2\r\n$3\r\na\r\n\r\n%1\r\n_\r\n#t\r\n";
        for cut in 0..frame.len() {
            let mut end = FrameEnd::default();
            assert_eq!(end.find(&frame[..cut]), Ok(None), "{cut}");
            assert_eq!(end.find(&[frame, b"+more".as_slice()].concat()), Ok(Some(frame.len())), "{cut}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        assert!(FrameEnd::default().find(b"hello\r\n").is_err());
    }
}
