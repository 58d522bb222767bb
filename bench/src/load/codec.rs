//! A workload as bytes: its requests, and what must come back. Everything a key holds is a function of its number, so
//! a reply that belongs to another request is noticed, not only one of the wrong shape.

use std::io::Write;

use super::workload::{Content, Workload};
use super::{sets, vectors};
use crate::failure::Failure;

/// Digits of a key's number: `redis-benchmark -r` writes the same, so both generators ask for the same keys.
const DIGITS: usize = 12;

/// Longest beginning of an unexpected reply that an error quotes.
const QUOTED: usize = 80;

/// Of every user that logs in.
pub const PASSWORD: &str = "secret";
/// What EVALSHA runs.
pub const SCRIPT: &str = "return redis.call('GET', KEYS[1])";
/// How servers call it; who loads it learns that it is so.
pub const SCRIPT_SHA: &str = "d3c21d0c2b9ca22f82737626a27bcaf5d288f99f";

/// A part of a reply with a length known beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// What AUTH says.
    LoggedIn,
    /// What storing a key's content says.
    Stored,
    /// The value of this key.
    Value(u32),
    /// The head of an array of this many values.
    Head(usize),
    /// This number, as an integer.
    Count(usize),
    /// This number, as a member of a set.
    Member(u32),
    /// The name of this key.
    Name(u32),
}

/// Writes a workload's requests and checks its replies.
#[derive(Debug)]
pub struct Codec {
    prefix: &'static str,
    content: Content,
    key_bytes: usize,
    value_bytes: usize,
    /// `$<length>\r\n` of a value.
    value_head: Vec<u8>,
    /// What follows the digits in a value, CRLF included.
    value_tail: Vec<u8>,
}

impl Codec {
    /// The codec of `workload`'s keys and values.
    #[must_use]
    pub fn new(workload: &Workload) -> Self {
        let value_bytes =
            if let Content::Value(bytes) = workload.content { bytes.max(DIGITS) } else { DIGITS };
        let mut value_tail = vec![b'x'; value_bytes - DIGITS];
        value_tail.extend_from_slice(b"\r\n");
        let tag_bytes = if workload.content == Content::TaggedSet { "{}0".len() } else { 0 };
        Self {
            prefix: workload.prefix,
            content: workload.content,
            key_bytes: workload.prefix.len() + DIGITS + tag_bytes,
            value_bytes,
            value_head: format!("${value_bytes}\r\n").into_bytes(),
            value_tail,
        }
    }

    /// The name of key number `key`; of tagged sets the number of the pair in braces, then which of the two.
    #[must_use]
    pub fn key(&self, key: u32) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.key_bytes);
        self.push_name(key, &mut name);
        name
    }

    /// The index of the vectors, as a proxy takes its name; or as the node does that serves `home`.
    ///
    /// A node looks for the slot of an index's name though it has an index of its own. The module reads the name up to
    /// its first zero byte only, so what stands behind one leads to the node and is no part of the name.
    #[must_use]
    pub fn index(&self, home: Option<u32>) -> Vec<u8> {
        let mut name = b"nearest".to_vec();
        if let Some(home) = home {
            name.extend_from_slice(b"\0{");
            name.extend_from_slice(&self.key(home));
            name.push(b'}');
        }
        name
    }

    /// Appends AUTH of a user whose password is [`PASSWORD`].
    pub fn log_in(&self, user: &str, out: &mut Vec<u8>) {
        push_head(3, b"AUTH", out);
        push_bulk(user.as_bytes(), out);
        push_bulk(PASSWORD.as_bytes(), out);
    }

    /// Appends GET.
    pub fn get(&self, key: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
        self.push_key(key, out);
    }

    /// Appends what stores a key's content: SET, SADD or HSET.
    pub fn store(&self, key: u32, out: &mut Vec<u8>) {
        match self.content {
            Content::Value(_) => {
                out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
                self.push_key(key, out);
                out.extend_from_slice(&self.value_head);
                out.extend_from_slice(&digits(key));
                out.extend_from_slice(&self.value_tail);
            }
            Content::Set | Content::TaggedSet => {
                push_head(sets::MEMBERS as usize + 2, b"SADD", out);
                self.push_key(key, out);
                sets::push_members(key, out);
            }
            Content::Vector => {
                push_head(4, b"HSET", out);
                self.push_key(key, out);
                push_bulk(b"v", out);
                push_bulk(&vectors::stored(key), out);
            }
        }
    }

    /// Appends MGET.
    pub fn mget(&self, keys: &[u32], out: &mut Vec<u8>) {
        push_head(keys.len() + 1, b"MGET", out);
        keys.iter().for_each(|&key| self.push_key(key, out));
    }

    /// Appends EVALSHA.
    pub fn script(&self, key: u32, out: &mut Vec<u8>) {
        push_head(4, b"EVALSHA", out);
        push_bulk(SCRIPT_SHA.as_bytes(), out);
        push_bulk(b"1", out);
        self.push_key(key, out);
    }

    /// Appends SUNION of the sets `first` and `first + 1`.
    pub fn union(&self, first: u32, out: &mut Vec<u8>) {
        push_head(3, b"SUNION", out);
        self.push_key(first, out);
        self.push_key(first + 1, out);
    }

    /// Appends FT.SEARCH in `index`; only ids come back, nearest first.
    pub fn nearest(&self, key: u32, index: &[u8], out: &mut Vec<u8>) {
        push_head(12, b"FT.SEARCH", out);
        push_bulk(index, out);
        push_bulk(format!("*=>[KNN {} @v $to AS far]", vectors::NEAREST).as_bytes(), out);
        for word in [&b"PARAMS"[..], b"2", b"to", &vectors::wanted(key)] {
            push_bulk(word, out);
        }
        for word in [&b"NOCONTENT"[..], b"SORTBY", b"far", b"DIALECT", b"2"] {
            push_bulk(word, out);
        }
    }

    /// The length of `piece` where `bytes` begin with all of it, `None` where they end before it does.
    ///
    /// # Errors
    /// Where they are something else, noticed at the first byte that is.
    pub fn check(&self, piece: Piece, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let ok = match piece {
            Piece::LoggedIn => walk(bytes, &[b"+OK\r\n"]),
            Piece::Stored => self.check_stored(bytes),
            Piece::Value(key) => walk(bytes, &[&self.value_head, &digits(key), &self.value_tail]),
            Piece::Head(count) => walk(bytes, &[format!("*{count}\r\n").as_bytes()]),
            Piece::Count(count) => walk(bytes, &[format!(":{count}\r\n").as_bytes()]),
            Piece::Member(member) => walk(bytes, &[&bulk(member.to_string().as_bytes())]),
            Piece::Name(key) => walk(bytes, &[&bulk(&self.key(key))]),
        };
        ok.map_err(|()| Failure::WrongReply {
            wanted: self.describe(piece),
            got: String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED)]).into_owned(),
        })
    }

    /// Of sets and hashes: that all is new, or that all was there, stored by somebody before.
    fn check_stored(&self, bytes: &[u8]) -> Result<Option<usize>, ()> {
        let new = match self.content {
            Content::Value(_) => return walk(bytes, &[b"+OK\r\n"]),
            Content::Set | Content::TaggedSet => format!(":{}\r\n", sets::MEMBERS),
            Content::Vector => ":1\r\n".to_owned(),
        };
        walk(bytes, &[new.as_bytes()]).or_else(|()| walk(bytes, &[b":0\r\n"]))
    }

    fn push_key(&self, key: u32, out: &mut Vec<u8>) {
        // Writing to a Vec can't fail.
        let _ = write!(out, "${}\r\n", self.key_bytes);
        self.push_name(key, out);
        out.extend_from_slice(b"\r\n");
    }

    fn push_name(&self, key: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        if self.content == Content::TaggedSet {
            out.push(b'{');
            out.extend_from_slice(&digits(key / 2));
            out.extend_from_slice(&[b'}', b'0' + (key % 2) as u8]);
        } else {
            out.extend_from_slice(&digits(key));
        }
    }

    fn describe(&self, piece: Piece) -> String {
        match piece {
            Piece::LoggedIn => "that it is logged in".to_owned(),
            Piece::Stored => "that it is stored".to_owned(),
            Piece::Value(key) => format!("the {} bytes of key {key}", self.value_bytes),
            Piece::Head(count) => format!("an array of {count}"),
            Piece::Count(count) => format!("the number {count}"),
            Piece::Member(member) => format!("the member {member}"),
            Piece::Name(key) => format!("the name of key {key}"),
        }
    }
}

/// Appends the head of a request of so many words, and the first of them.
fn push_head(words: usize, name: &[u8], out: &mut Vec<u8>) {
    // Writing to a Vec can't fail.
    let _ = write!(out, "*{words}\r\n");
    push_bulk(name, out);
}

/// Appends a bulk string.
pub(super) fn push_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    // Writing to a Vec can't fail.
    let _ = write!(out, "${}\r\n", bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    push_bulk(bytes, &mut out);
    out
}

/// Whether `bytes` begin with the parts, one behind the other: their length, or `None` if cut short.
fn walk(bytes: &[u8], parts: &[&[u8]]) -> Result<Option<usize>, ()> {
    let mut at = 0;
    for part in parts {
        let have = &bytes[at..bytes.len().min(at + part.len())];
        if *have != part[..have.len()] {
            return Err(());
        }
        if have.len() < part.len() {
            return Ok(None);
        }
        at += part.len();
    }
    Ok(Some(at))
}

fn digits(key: u32) -> [u8; DIGITS] {
    let mut text = [b'0'; DIGITS];
    let mut rest = key;
    for place in text.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

#[cfg(test)]
mod tests {
    use slotway::cluster::slot::Slot;

    use super::*;
    use crate::load::workload::Mix;

    fn codec(content: Content) -> Codec {
        Codec::new(&Workload { prefix: "key:", keys: 100, content, mix: Mix::Fill })
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        let codec = codec(Content::Value(16));
        let text = text(|out| {
            codec.get(7, out);
            codec.store(42, out);
            codec.mget(&[1, 2], out);
        });
        assert_eq!(
            text,
            "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000007\r\n\
             *3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$16\r\n000000000042xxxx\r\n\
             *3\r\n$4\r\nMGET\r\n$16\r\nkey:000000000001\r\n$16\r\nkey:000000000002\r\n"
        );
        assert_eq!(codec.key(7), b"key:000000000007");
    }

    #[test]
    fn scripts_get_one_key_and_unions_a_pair() {
        assert_eq!(
            text(|out| codec(Content::Value(16)).script(7, out)),
            format!("*4\r\n$7\r\nEVALSHA\r\n$40\r\n{SCRIPT_SHA}\r\n$1\r\n1\r\n$16\r\nkey:000000000007\r\n")
        );
        assert_eq!(
            text(|out| codec(Content::TaggedSet).union(6, out)),
            "*3\r\n$6\r\nSUNION\r\n$19\r\nkey:{000000000003}0\r\n$19\r\nkey:{000000000003}1\r\n"
        );
        let stored = text(|out| codec(Content::Set).store(1, out));
        assert!(
            stored.starts_with("*12\r\n$4\r\nSADD\r\n$16\r\nkey:000000000001\r\n$8\r\n10000005\r\n"),
            "{stored}"
        );
        assert!(stored.ends_with("$8\r\n10000014\r\n"), "{stored}");
    }

    #[test]
    fn the_sets_of_a_pair_share_a_slot_where_they_are_tagged_and_only_there() {
        for first in (0..2_000).step_by(2) {
            let slots = |content| [first, first + 1].map(|key| Slot::of(&codec(content).key(key)));
            let ([one, two], [tagged, tagged_too]) = (slots(Content::Set), slots(Content::TaggedSet));
            assert_ne!(one, two, "set {first}");
            assert_eq!(tagged, tagged_too, "set {first}");
        }
    }

    #[test]
    fn a_search_names_the_index_such_that_the_node_asked_serves_its_slot() {
        let codec = codec(Content::Vector);
        assert_eq!(codec.index(None), b"nearest");
        assert_eq!(Slot::of(&codec.index(Some(9))), Slot::of(&codec.key(9)));
        let mut request = Vec::new();
        codec.nearest(3, b"nearest", &mut request);
        let start = b"*12\r\n$9\r\nFT.SEARCH\r\n$7\r\nnearest\r\n$25\r\n*=>[KNN 10 @v $to AS far]\r\n";
        assert!(request.starts_with(start), "{}", String::from_utf8_lossy(&request));
        assert_eq!(request.iter().filter(|&&byte| byte == b'$').count(), 12 + "$to".matches('$').count());
    }

    #[test]
    fn a_reply_is_complete_only_at_its_last_byte() {
        let codec = codec(Content::Value(16));
        let reply = b"$16\r\n000000000042xxxx\r\n+OK\r\n";
        let len = reply.len() - 5;
        for cut in 0..len {
            assert_eq!(codec.check(Piece::Value(42), &reply[..cut]).unwrap(), None, "cut at {cut}");
        }
        assert_eq!(codec.check(Piece::Value(42), reply).unwrap(), Some(len));
        assert_eq!(codec.check(Piece::Head(10), b"*10\r\n$").unwrap(), Some(5));
        assert_eq!(codec.check(Piece::Count(10), b":10\r\n$").unwrap(), Some(5));
        assert_eq!(codec.check(Piece::Member(10_000_007), b"$8\r\n10000007\r\n*").unwrap(), Some(14));
        assert_eq!(codec.check(Piece::Name(7), b"$16\r\nkey:000000000007\r\n$").unwrap(), Some(23));
    }

    #[test]
    fn errors_wrong_lengths_and_other_keys_values_are_noticed() {
        let codec = codec(Content::Value(16));
        for wrong in ["-ERR no\r\n", "$15\r\n", "$-1\r\n", "$16\r\n000000000041xxxx\r\n", "+OK\r\n"] {
            assert!(codec.check(Piece::Value(42), wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(codec.check(Piece::Stored, b"-").is_err());
        assert!(codec.check(Piece::Member(10_000_007), b"$8\r\n10000008\r\n").is_err());
        assert!(codec.check(Piece::Name(7), b"$16\r\nkey:000000000017\r\n").is_err());
    }

    #[test]
    fn a_set_is_stored_whole_or_was_there() {
        let codec = codec(Content::Set);
        assert_eq!(codec.check(Piece::Stored, b":10\r\n").unwrap(), Some(5));
        assert_eq!(codec.check(Piece::Stored, b":0\r\n").unwrap(), Some(4));
        assert_eq!(codec.check(Piece::Stored, b":").unwrap(), None);
        for wrong in [":1\r\n", ":9\r\n", "+OK\r\n", "-ERR no\r\n"] {
            assert!(codec.check(Piece::Stored, wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
