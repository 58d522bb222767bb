//! Which arguments of a request are keys. Follows the servers' own rules, command by command from its key
//! specs; for the few commands whose options can't be described by key specs, from their grammar.

use super::facts::FlaggedKeySpec;
use super::key_count::{KeysError, parse_count};
use super::options;
use super::spec::{BeginSearch, FindKeys, KeySpec, Keys, Spec};
use crate::resp::request::Request;

/// A command has at most this many key specs (GEORADIUS has 3); each adds at most one span.
pub const MAX_SPANS: usize = 4;

/// The argument numbers of a request's keys, in the order of the command's key specs. No allocation: a few
/// spans of evenly spaced arguments. Every number is below the request's length, and none comes twice (save
/// in MIGRATE with a key named like its option; it is never served).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Positions {
    /// Consumed spans have `first > last`.
    spans: [Span; MAX_SPANS],
    /// How many of `spans` were added.
    used: usize,
    /// The span that [`Iterator::next`] takes from.
    current: usize,
}

/// Arguments `first`, `first + step` ... up to `last`; empty where `first > last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    first: usize,
    last: usize,
    /// At least 1.
    step: usize,
}

impl Default for Span {
    fn default() -> Self {
        Self { first: 1, last: 0, step: 1 }
    }
}

/// The arguments of `request` that are keys of `spec`.
///
/// A request that lacks arguments, or an option's argument, has fewer keys or none; the server will refuse
/// it for its syntax.
///
/// # Errors
/// Where the command carries a count of keys and this count can't be right.
#[inline]
pub fn positions(spec: &Spec, request: &Request<'_>) -> Result<Positions, KeysError> {
    let mut found = Positions::default();
    match &spec.keys {
        Keys::None => {}
        Keys::First => found.push_one(1, request.len()),
        Keys::Streams => found.push_share(options::streams_begin(request), request.len()),
        Keys::Sort => {
            found.push_one(1, request.len());
            found.push_one(options::sort_store(request).unwrap_or(usize::MAX), request.len());
        }
        Keys::Georadius(from) => {
            found.push_one(1, request.len());
            found.push_one(
                options::georadius_store(request, usize::from(*from)).unwrap_or(usize::MAX),
                request.len(),
            );
        }
        Keys::Specs(specs) => {
            for spec in specs {
                found.push_spec(spec, request)?;
            }
        }
    }
    Ok(found)
}

/// How the keys of the command `name` are found, given its key specs.
pub(super) fn keys_of(name: &str, specs: &[FlaggedKeySpec]) -> Keys {
    let from = |specs: &[FlaggedKeySpec]| {
        specs.iter().find_map(|flagged| match flagged.spec.begin {
            BeginSearch::Keyword { from, .. } => u16::try_from(from).ok(),
            BeginSearch::Index(_) | BeginSearch::Unknown => None,
        })
    };
    match (name, specs) {
        (_, []) => Keys::None,
        ("xread" | "xreadgroup", _) => Keys::Streams,
        ("sort" | "sort_ro", _) => Keys::Sort,
        ("georadius" | "georadiusbymember", specs) => Keys::Georadius(from(specs).unwrap_or(6)),
        (_, [only]) if only.spec == FIRST => Keys::First,
        _ => Keys::Specs(specs.iter().take(MAX_SPANS).map(|flagged| flagged.spec.clone()).collect()),
    }
}

const FIRST: KeySpec =
    KeySpec { begin: BeginSearch::Index(1), find: FindKeys::Range { last: 0, step: 1, limit: 0 } };

impl Positions {
    /// The first key's argument number.
    #[must_use]
    pub fn first(&self) -> Option<usize> {
        let mut rest = *self;
        rest.next()
    }

    /// How many keys are left to give.
    #[must_use]
    pub fn count_left(&self) -> usize {
        self.spans.iter().map(|span| span.len()).sum()
    }

    fn push_one(&mut self, index: usize, argc: usize) {
        if index < argc {
            self.push(Span { first: index, last: index, step: 1 });
        }
    }

    /// The first half of the arguments from `begin` on: streams, which their ids follow. Where there are not as many
    /// ids as streams the servers find no key either, and say so.
    fn push_share(&mut self, begin: Option<usize>, argc: usize) {
        let Some(first) = begin else { return };
        let count = argc.saturating_sub(first);
        let half = count / 2;
        if half > 0 && count.is_multiple_of(2) {
            self.push(Span { first, last: first + half - 1, step: 1 });
        }
    }

    fn push(&mut self, span: Span) {
        if let Some(free) = self.spans.get_mut(self.used) {
            *free = span;
            self.used += 1;
        }
    }

    /// Adds the keys of one key spec. A span that isn't wholly inside the request is no key, as in the
    /// servers; only a wrong count is an error.
    fn push_spec(&mut self, spec: &KeySpec, request: &Request<'_>) -> Result<(), KeysError> {
        let Some(begin) = begin(&spec.begin, request) else { return Ok(()) };
        let span = match spec.find {
            FindKeys::Range { last, step, limit } => range(begin, last, step, limit, request.len()),
            FindKeys::KeyNum { count, first, step } => {
                let Some(number) = request.arg(begin.saturating_add(count.into())) else { return Ok(()) };
                key_num(parse_count(number)?, begin.saturating_add(first.into()), step, request.len())?
            }
            FindKeys::Unknown => None,
        };
        if let Some(span) = span {
            self.push(span);
        }
        Ok(())
    }
}

impl Iterator for Positions {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        loop {
            let span = self.spans.get_mut(self.current)?;
            if span.first <= span.last {
                let index = span.first;
                span.first = index.saturating_add(span.step);
                return Some(index);
            }
            self.current += 1;
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count_left(), Some(self.count_left()))
    }
}

impl ExactSizeIterator for Positions {}

impl Span {
    fn len(self) -> usize {
        if self.first > self.last { 0 } else { (self.last - self.first) / self.step + 1 }
    }
}

/// Where the keys of a spec begin; `None` where its word isn't among the arguments.
fn begin(search: &BeginSearch, request: &Request<'_>) -> Option<usize> {
    match search {
        BeginSearch::Index(position) => Some(usize::from(*position)),
        BeginSearch::Keyword { word, from } => keyword(word.as_bytes(), *from, request),
        BeginSearch::Unknown => None,
    }
}

/// The argument behind `word`. Forwards from argument `from` to the last; for a negative `from` backwards
/// from as many before the end (-1: the last) to argument 2, as the servers do.
fn keyword(word: &[u8], from: i16, request: &Request<'_>) -> Option<usize> {
    let is_word = |index: &usize| request.arg(*index).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
    let distance = usize::from(from.unsigned_abs());
    let found = if from >= 0 {
        (distance..request.len()).find(is_word)
    } else {
        (2..=request.len().checked_sub(distance)?).rev().find(is_word)
    };
    found.map(|index| index + 1)
}

fn range(first: usize, last: i16, step: u16, limit: u16, argc: usize) -> Option<Span> {
    let distance = usize::from(last.unsigned_abs());
    let last = match (last >= 0, limit) {
        (true, _) => first.checked_add(distance)?,
        (false, 0 | 1) => argc.checked_sub(distance)?,
        (false, limit) => {
            first.checked_add(argc.checked_sub(first)? / usize::from(limit))?.checked_sub(distance)?
        }
    };
    let inside = first <= last && last < argc;
    inside.then(|| Span { first, last, step: usize::from(step).max(1) })
}

fn key_num(count: usize, first: usize, step: u16, argc: usize) -> Result<Option<Span>, KeysError> {
    let Some(steps) = count.checked_sub(1) else { return Ok(None) };
    let step = usize::from(step).max(1);
    let last = steps.checked_mul(step).and_then(|way| way.checked_add(first));
    match last {
        Some(last) if last < argc => Ok(Some(Span { first, last, step })),
        _ => Err(KeysError::TooMany),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::blocking::is_blocking;
    use crate::command::table::{Lookup, Table};
    use crate::resp::request::ArgRange;

    /// Calls `check` with the request of these arguments.
    fn with_request<T>(args: &[Vec<u8>], check: impl FnOnce(Request<'_>) -> T) -> T {
        let mut frame = format!("*{}\r\n", args.len()).into_bytes();
        let mut argv = Vec::new();
        for arg in args {
            frame.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            let (start, len) = (u32::try_from(frame.len()).unwrap(), u32::try_from(arg.len()).unwrap());
            argv.push(ArgRange { start, len });
            frame.extend_from_slice(arg);
            frame.extend_from_slice(b"\r\n");
        }
        check(Request::new(&frame, &argv))
    }

    pub(in crate::command) fn with_line<T>(line: &str, check: impl FnOnce(&Spec, Request<'_>) -> T) -> T {
        let args: Vec<_> = line.split(' ').map(|arg| arg.as_bytes().to_vec()).collect();
        let table = Table::builtin();
        with_request(&args, |request| {
            let Lookup::Found(spec) = table.find(&request) else { panic!("{line}: no such command") };
            check(spec, request)
        })
    }

    fn keys(line: &str) -> Result<Vec<usize>, KeysError> {
        with_line(line, |spec, request| positions(spec, &request).map(Iterator::collect))
    }

    #[test]
    fn ranges_are_found() {
        for (line, expected) in [
            ("GET k", &[1][..]),
            ("MGET a b c", &[1, 2, 3]),
            ("MSET a 1 b 2", &[1, 3]),
            ("BLPOP a b 0", &[1, 2]),
            ("OBJECT FREQ k", &[2]),
            ("RENAME a b", &[1, 2]),
            ("BITOP AND d a b", &[2, 3, 4]),
            ("PFMERGE d", &[1]),
            ("LCS a b LEN", &[1, 2]),
            ("SPUBLISH c m", &[1]),
            ("MIGRATE h 1 k 0 5", &[3]),
            ("MIGRATE h 1 x 0 5 KEYS a b", &[3, 7, 8]),
            ("PING", &[]),
        ] {
            assert_eq!(keys(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn counted_keys_are_found() {
        for (line, expected) in [
            ("EVAL s 2 a b c", &[3, 4][..]),
            ("EVAL s 0 a", &[]),
            ("FCALL_RO f 1 a", &[3]),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", &[1, 3, 4]),
            ("LMPOP 1 a LEFT", &[2]),
            ("MSETEX 2 a 1 b 2 NX", &[2, 4]),
        ] {
            assert_eq!(keys(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn options_hold_keys_too() {
        for (line, expected) in [
            ("SORT k", &[1][..]),
            ("SORT k BY store GET # LIMIT 0 5 STORE d", &[1, 10]),
            ("SORT k STORE", &[1]),
            ("sort k store a store b", &[1, 5]),
            ("SORT_RO k BY x", &[1]),
            ("GEORADIUS k 1 2 3 km STORE d", &[1, 7]),
            ("GEORADIUSBYMEMBER k STORE 3 km COUNT 2 STOREDIST d", &[1, 8]),
            ("XREAD COUNT 1 STREAMS a b 0 0", &[4, 5]),
            ("XREAD STREAMS STREAMS 0", &[2]),
            ("XREADGROUP GROUP STREAMS c STREAMS k >", &[5]),
            ("XREADGROUP COUNT 1 GROUP g STREAMS NOACK STREAMS k >", &[8]),
            ("XREAD STREAMS", &[]),
            ("XREAD COUNT 1", &[]),
        ] {
            assert_eq!(keys(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn an_impossible_count_is_an_error() {
        assert_eq!(keys("EVAL s x k"), Err(KeysError::NotAnInteger));
        assert_eq!(keys("EVAL s 18446744073709551617 k"), Err(KeysError::NotAnInteger));
        assert_eq!(keys("EVAL s -1 k"), Err(KeysError::Negative));
        assert_eq!(keys("EVAL s 2 k"), Err(KeysError::TooMany));
        assert_eq!(keys("EVAL s 9223372036854775807 k"), Err(KeysError::TooMany));
    }

    #[test]
    fn only_the_option_blocks() {
        let blocks = |line: &str| with_line(line, |spec, request| is_blocking(spec, &request));
        for line in [
            "BLPOP k 0",
            "XREAD BLOCK 0 STREAMS k $",
            "xread count 1 block 0 streams k $",
            "XREADGROUP GROUP g c COUNT 1 BLOCK 0 NOACK STREAMS k >",
            "XREADGROUP BLOCK 0 GROUP g c STREAMS k >",
            "XREADGROUP GROUP g c FUTURE 5 BLOCK 0 STREAMS k >",
        ] {
            assert!(blocks(line), "{line}");
        }
        for line in [
            "LPOP k",
            "XREAD STREAMS BLOCK 0",
            "XREADGROUP GROUP BLOCK c STREAMS k >",
            "XREADGROUP GROUP g block STREAMS block >",
            "XREADGROUP GROUP STREAMS STREAMS NOACK STREAMS BLOCK >",
        ] {
            assert!(!blocks(line), "{line}");
        }
    }

    /// Words that lead into every branch, and any bytes.
    fn arg() -> impl Strategy<Value = Vec<u8>> {
        const WORDS: &[&str] =
            &["STORE", "streams", "BLOCK", "KEYS", "GROUP", "LIMIT", "COUNT", "0", "1", "2", "-1", "99", "k"];
        prop_oneof![
            4 => proptest::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..8),
        ]
    }

    proptest! {
        #[test]
        fn keys_of_any_request_lie_inside_it(args in proptest::collection::vec(arg(), 0..12)) {
            let table = Table::builtin();
            for spec in table.iter() {
                let mut argv: Vec<_> = spec.name.split('|').map(|part| part.as_bytes().to_vec()).collect();
                argv.extend(args.iter().cloned());
                with_request(&argv, |request| {
                    let _ = is_blocking(spec, &request);
                    let Ok(found) = positions(spec, &request) else { return };
                    let count = found.len();
                    let mut indices: Vec<_> = found.collect();
                    assert_eq!((indices.len(), indices.first().copied()), (count, found.first()));
                    assert!(indices.iter().all(|index| (1..argv.len()).contains(index)), "{spec:?} {indices:?}");
                    indices.sort_unstable();
                    indices.dedup();
                    assert!(indices.len() == count || &*spec.name == "migrate", "{}: a key twice", spec.name);
                });
            }
        }
    }
}
