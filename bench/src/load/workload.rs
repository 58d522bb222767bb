//! What is asked, as bytes, and what must come back. Every value is a function of its key, so a reply that
//! belongs to another request is noticed, not only one of the wrong shape.

use std::io::Write;

use crate::failure::Failure;

/// Digits of a key's number: `redis-benchmark -r` writes the same, so both generators ask for the same keys.
const DIGITS: usize = 12;

/// Longest beginning of an unexpected reply that an error quotes.
const QUOTED: usize = 80;

/// The commands of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mix {
    /// SET of every key once, in order; run it with as many requests as there are keys.
    Fill,
    /// GET with this probability in percent, else SET; keys uniformly random.
    GetSet(u8),
    /// MGET of this many random keys.
    Mget(usize),
}

/// A key space and the commands on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// What stands before the number in a key.
    pub prefix: &'static str,
    /// How many keys there are.
    pub keys: u32,
    /// Length of a value in bytes, at least 12.
    pub value_bytes: usize,
    /// The commands.
    pub mix: Mix,
}

/// One command of a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// GET key
    Get(u32),
    /// SET key value
    Set(u32),
    /// MGET key ...
    Mget(Vec<u32>),
}

/// A part of a reply with a length known beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// `+OK`
    Stored,
    /// The value of this key.
    Value(u32),
    /// The head of an array of this many values.
    Head(usize),
}

/// Makes a workload's commands, one after the other; the same seed gives the same ones.
#[derive(Debug)]
pub struct Ops {
    workload: Workload,
    random: fastrand::Rng,
    /// The next key of [`Mix::Fill`].
    next: u32,
}

impl Ops {
    /// Begins anew.
    #[must_use]
    pub fn new(workload: Workload, seed: u64) -> Self {
        Self { workload, random: fastrand::Rng::with_seed(seed), next: 0 }
    }

    /// The next command.
    pub fn next_op(&mut self) -> Op {
        let keys = self.workload.keys;
        match self.workload.mix {
            Mix::Fill => {
                let key = self.next % keys;
                self.next = key + 1;
                Op::Set(key)
            }
            Mix::GetSet(percent) if self.random.u8(0..100) < percent => Op::Get(self.random.u32(0..keys)),
            Mix::GetSet(_) => Op::Set(self.random.u32(0..keys)),
            Mix::Mget(count) => Op::Mget((0..count).map(|_| self.random.u32(0..keys)).collect()),
        }
    }
}

/// Writes a workload's requests and checks its replies.
#[derive(Debug)]
pub struct Codec {
    prefix: &'static str,
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
        let mut value_tail = vec![b'x'; workload.value_bytes.saturating_sub(DIGITS)];
        value_tail.extend_from_slice(b"\r\n");
        Self {
            prefix: workload.prefix,
            key_bytes: workload.prefix.len() + DIGITS,
            value_bytes: workload.value_bytes.max(DIGITS),
            value_head: format!("${}\r\n", workload.value_bytes.max(DIGITS)).into_bytes(),
            value_tail,
        }
    }

    /// The name of key number `key`.
    #[must_use]
    pub fn key(&self, key: u32) -> Vec<u8> {
        let mut name = self.prefix.as_bytes().to_vec();
        name.extend_from_slice(&digits(key));
        name
    }

    /// Appends GET.
    pub fn get(&self, key: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
        self.push_key(key, out);
    }

    /// Appends SET.
    pub fn set(&self, key: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
        self.push_key(key, out);
        out.extend_from_slice(&self.value_head);
        out.extend_from_slice(&digits(key));
        out.extend_from_slice(&self.value_tail);
    }

    /// Appends MGET.
    pub fn mget(&self, keys: &[u32], out: &mut Vec<u8>) {
        // Writing to a Vec can't fail.
        let _ = write!(out, "*{}\r\n$4\r\nMGET\r\n", keys.len() + 1);
        for &key in keys {
            self.push_key(key, out);
        }
    }

    /// The length of `piece` where `bytes` begin with all of it, `None` where they end before it does.
    ///
    /// # Errors
    /// Where they are something else, noticed at the first byte that is.
    pub fn check(&self, piece: Piece, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let ok = match piece {
            Piece::Stored => walk(bytes, &[b"+OK\r\n"]),
            Piece::Value(key) => walk(bytes, &[&self.value_head, &digits(key), &self.value_tail]),
            Piece::Head(count) => walk(bytes, &[format!("*{count}\r\n").as_bytes()]),
        };
        ok.map_err(|()| Failure::WrongReply {
            wanted: self.describe(piece),
            got: String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED)]).into_owned(),
        })
    }

    fn push_key(&self, key: u32, out: &mut Vec<u8>) {
        // Writing to a Vec can't fail.
        let _ = write!(out, "${}\r\n{}", self.key_bytes, self.prefix);
        out.extend_from_slice(&digits(key));
        out.extend_from_slice(b"\r\n");
    }

    fn describe(&self, piece: Piece) -> String {
        match piece {
            Piece::Stored => "+OK".to_owned(),
            Piece::Value(key) => format!("the {} bytes of key {key}", self.value_bytes),
            Piece::Head(count) => format!("an array of {count}"),
        }
    }
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
    use super::*;

    const SMALL: Workload = Workload { prefix: "key:", keys: 100, value_bytes: 16, mix: Mix::GetSet(80) };

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        let codec = Codec::new(&SMALL);
        let mut out = Vec::new();
        codec.get(7, &mut out);
        codec.set(42, &mut out);
        codec.mget(&[1, 2], &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000007\r\n\
             *3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$16\r\n000000000042xxxx\r\n\
             *3\r\n$4\r\nMGET\r\n$16\r\nkey:000000000001\r\n$16\r\nkey:000000000002\r\n"
        );
        assert_eq!(codec.key(7), b"key:000000000007");
    }

    #[test]
    fn a_reply_is_complete_only_at_its_last_byte() {
        let codec = Codec::new(&SMALL);
        let reply = b"$16\r\n000000000042xxxx\r\n+OK\r\n";
        let len = reply.len() - 5;
        for cut in 0..len {
            assert_eq!(codec.check(Piece::Value(42), &reply[..cut]).unwrap(), None, "cut at {cut}");
        }
        assert_eq!(codec.check(Piece::Value(42), reply).unwrap(), Some(len));
        assert_eq!(codec.check(Piece::Head(10), b"*10\r\n$").unwrap(), Some(5));
    }

    #[test]
    fn errors_wrong_lengths_and_other_keys_values_are_noticed() {
        let codec = Codec::new(&SMALL);
        for wrong in ["-ERR no\r\n", "$15\r\n", "$-1\r\n", "$16\r\n000000000041xxxx\r\n", "+OK\r\n"] {
            assert!(codec.check(Piece::Value(42), wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(codec.check(Piece::Stored, b"-").is_err());
    }

    #[test]
    fn fill_sets_every_key_once_and_a_seed_repeats_itself() {
        let mut fill = Ops::new(Workload { mix: Mix::Fill, keys: 3, ..SMALL }, 0);
        let keys: Vec<Op> = (0..3).map(|_| fill.next_op()).collect();
        assert_eq!(keys, [Op::Set(0), Op::Set(1), Op::Set(2)]);
        let (mut one, mut two) = (Ops::new(SMALL, 9), Ops::new(SMALL, 9));
        assert!((0..100).all(|_| one.next_op() == two.next_op()));
    }
}
