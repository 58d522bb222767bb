//! A blocking request's twin: the request that takes the same where there is something to take, answers empty
//! where the other would wait, and so may share a connection.

use std::ops::Range;

use super::options;
use super::spec::Spec;
use crate::resp::request::Request;

/// What to ask first, and how its answer becomes the blocking command's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Twin {
    /// The request.
    pub frame: Vec<u8>,
    /// How its reply differs.
    pub shape: Shape,
}

/// How the twin's reply becomes the blocking command's. Popped values are never looked at, so a reply may be
/// reshaped by its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// They are the same.
    Same,
    /// LPOP: `value` for `[key, value]`.
    Value,
    /// LMPOP: `[key, [value]]` for `[key, value]`.
    KeyedValue,
    /// ZPOPMIN: `[member, score]` for `[key, member, score]`.
    Member,
    /// ZMPOP: `[key, [[member, score]]]` for `[key, member, score]`.
    KeyedMember,
}

/// Keys above this are not tried first: what is to be rewritten of a reply must stand in its first piece.
const LONGEST_KEYS: usize = 4 * 1024;

/// The twin of a request that blocks, where there is one: not for a stream's last id, `$`, which means the
/// moment at which the server reads it.
pub(super) fn of(spec: &Spec, request: &Request<'_>) -> Option<Twin> {
    if request.frame().len() > LONGEST_KEYS {
        return None;
    }
    let rest = |range: Range<usize>, word| (frame(&[word], &args(request, range), &[]), Shape::Same);
    let (frame, shape) = match &*spec.name {
        "blpop" => pop(request, ("LPOP", Shape::Value), ("LMPOP", "LEFT", Shape::KeyedValue)),
        "brpop" => pop(request, ("RPOP", Shape::Value), ("LMPOP", "RIGHT", Shape::KeyedValue)),
        "bzpopmin" => pop(request, ("ZPOPMIN", Shape::Member), ("ZMPOP", "MIN", Shape::KeyedMember)),
        "bzpopmax" => pop(request, ("ZPOPMAX", Shape::Member), ("ZMPOP", "MAX", Shape::KeyedMember)),
        "brpoplpush" => rest(1..3, "RPOPLPUSH"),
        "blmove" => rest(1..5, "LMOVE"),
        "blmpop" => rest(2..request.len(), "LMPOP"),
        "bzmpop" => rest(2..request.len(), "ZMPOP"),
        "xread" | "xreadgroup" => (without_block(request)?, Shape::Same),
        _ => return None,
    };
    Some(Twin { frame, shape })
}

/// The twin of a command that pops from the first of its keys that has something: by `one` where there is one
/// key, by `many` (the word, which end, the shape) where there are several.
fn pop(request: &Request<'_>, one: (&str, Shape), many: (&str, &str, Shape)) -> (Vec<u8>, Shape) {
    let keys = args(request, 1..request.len() - 1);
    match keys.len() {
        1 => (frame(&[one.0], &keys, &[]), one.1),
        count => (frame(&[many.0, &count.to_string()], &keys, &[many.1]), many.2),
    }
}

fn without_block(request: &Request<'_>) -> Option<Vec<u8>> {
    let streams = options::streams_begin(request)?;
    if request.args_from(streams).any(|id| id == b"$") {
        return None;
    }
    let blocks: Vec<usize> = options::blocks(request).collect();
    let dropped = |index: &usize| blocks.iter().any(|block| index == block || *index == block + 1);
    let kept: Vec<_> =
        (0..request.len()).filter(|index| !dropped(index)).map(|index| request.raw_arg(index)).collect();
    Some(frame(&[], &kept, &[]))
}

fn args<'a>(request: &Request<'a>, range: Range<usize>) -> Vec<&'a [u8]> {
    range.map(|index| request.raw_arg(index)).collect()
}

fn frame(before: &[&str], raw: &[&[u8]], behind: &[&str]) -> Vec<u8> {
    let mut frame = format!("*{}\r\n", before.len() + raw.len() + behind.len()).into_bytes();
    let word = |frame: &mut Vec<u8>, word: &str| {
        frame.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    };
    before.iter().for_each(|it| word(&mut frame, it));
    raw.iter().for_each(|it| frame.extend_from_slice(it));
    behind.iter().for_each(|it| word(&mut frame, it));
    frame
}

/// Whether a reply says that there was nothing to take.
#[must_use]
pub fn is_empty(reply: &[u8]) -> bool {
    matches!(reply, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n" | b"*0\r\n")
}

impl Shape {
    /// What stands in the place of the first bytes of the twin's reply, and how many those are. `key` is the
    /// request's first key as it stands in a frame.
    #[must_use]
    pub fn head(self, reply: &[u8], key: &[u8]) -> (Vec<u8>, usize) {
        match self {
            Self::Same => (Vec::new(), 0),
            Self::Value => ([b"*2\r\n", key].concat(), 0),
            Self::Member => ([b"*3\r\n", key].concat(), b"*2\r\n".len()),
            Self::KeyedValue => keyed(reply, b"*2\r\n", b"*1\r\n"),
            Self::KeyedMember => keyed(reply, b"*3\r\n", b"*1\r\n*2\r\n"),
        }
    }
}

/// `*2`, the key, `skipped`: the new count and the key instead. A reply that is not so is left as it is.
fn keyed(reply: &[u8], count: &[u8], skipped: &[u8]) -> (Vec<u8>, usize) {
    let key = || {
        let bulk = reply.strip_prefix(b"*2\r\n$")?;
        let line = memchr::memchr(b'\r', bulk)?;
        let len: usize = std::str::from_utf8(&bulk[..line]).ok()?.parse().ok()?;
        let end = b"*2\r\n$".len() + line + 2 + len + 2;
        reply.get(end..)?.starts_with(skipped).then(|| &reply[b"*2\r\n".len()..end])
    };
    key().map_or_else(
        || (Vec::new(), 0),
        |key| ([count, key].concat(), b"*2\r\n".len() + key.len() + skipped.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::keys::tests::with_line;

    fn twin_of(line: &str) -> Option<(String, Shape)> {
        with_line(line, |spec, request| {
            let twin = of(spec, &request)?;
            let text = String::from_utf8(twin.frame).unwrap();
            let words = text.split("\r\n").filter(|word| !word.starts_with(['*', '$']) && !word.is_empty());
            Some((words.collect::<Vec<_>>().join(" "), twin.shape))
        })
    }

    #[test]
    fn each_blocking_command_has_its_twin() {
        use Shape::{KeyedMember, KeyedValue, Member, Same, Value};
        for (line, twin, shape) in [
            ("BLPOP k 1", "LPOP k", Value),
            ("BRPOP k 1", "RPOP k", Value),
            ("BLPOP a b 1", "LMPOP 2 a b LEFT", KeyedValue),
            ("BRPOP a b 1", "LMPOP 2 a b RIGHT", KeyedValue),
            ("BZPOPMIN k 1", "ZPOPMIN k", Member),
            ("BZPOPMAX k 1", "ZPOPMAX k", Member),
            ("BZPOPMIN a b 1", "ZMPOP 2 a b MIN", KeyedMember),
            ("BZPOPMAX a b 1", "ZMPOP 2 a b MAX", KeyedMember),
            ("BRPOPLPUSH a b 1", "RPOPLPUSH a b", Same),
            ("BLMOVE a b LEFT RIGHT 1", "LMOVE a b LEFT RIGHT", Same),
            ("BLMPOP 1 2 a b LEFT COUNT 3", "LMPOP 2 a b LEFT COUNT 3", Same),
            ("BZMPOP 1 2 a b MIN", "ZMPOP 2 a b MIN", Same),
            ("XREAD BLOCK 5 COUNT 1 STREAMS BLOCK 0", "XREAD COUNT 1 STREAMS BLOCK 0", Same),
            (
                "XREADGROUP GROUP block BLOCK block 5 NOACK STREAMS k >",
                "XREADGROUP GROUP block BLOCK NOACK STREAMS k >",
                Same,
            ),
        ] {
            assert_eq!(twin_of(line), Some((twin.to_owned(), shape)), "{line}");
        }
        assert_eq!(twin_of("XREAD BLOCK 5 STREAMS k $"), None, "the last id is that of the moment");
    }

    #[test]
    fn the_twins_reply_becomes_the_commands() {
        let key = b"$1\r\nk\r\n";
        for (shape, reply, expected) in [
            (Shape::Same, "$1\r\nv\r\n", "$1\r\nv\r\n"),
            (Shape::Value, "$1\r\nv\r\n", "*2\r\n$1\r\nk\r\n$1\r\nv\r\n"),
            (Shape::KeyedValue, "*2\r\n$2\r\nkk\r\n*1\r\n$1\r\nv\r\n", "*2\r\n$2\r\nkk\r\n$1\r\nv\r\n"),
            (Shape::Member, "*2\r\n$1\r\nm\r\n$1\r\n1\r\n", "*3\r\n$1\r\nk\r\n$1\r\nm\r\n$1\r\n1\r\n"),
            (Shape::Member, "*2\r\n$1\r\nm\r\n,1\r\n", "*3\r\n$1\r\nk\r\n$1\r\nm\r\n,1\r\n"),
            (
                Shape::KeyedMember,
                "*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$1\r\nm\r\n,1\r\n",
                "*3\r\n$1\r\nk\r\n$1\r\nm\r\n,1\r\n",
            ),
            (Shape::KeyedValue, "+odd\r\n", "+odd\r\n"),
        ] {
            let (mut head, skip) = shape.head(reply.as_bytes(), key);
            head.extend_from_slice(&reply.as_bytes()[skip..]);
            assert_eq!(String::from_utf8(head).unwrap(), expected, "{shape:?}");
        }
    }
}
