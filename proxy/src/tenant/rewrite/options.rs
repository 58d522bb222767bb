//! Commands whose options name something. They are read strictly: an option that is not known is refused, as a newer
//! server might take what follows it for something else than is taken here.

use super::{Asker, Rewriter, Unwritable};
use crate::resp::request::Request;

/// Most keys that one step of SCAN looks at: the keys of others are among them.
const MOST_SCANNED: i64 = 1_000;

/// The streams of XREAD and XREADGROUP. Where there are not as many ids as streams, all of what follows STREAMS: the
/// servers refuse it, whichever are which.
pub(super) fn streams(request: &Request<'_>) -> Option<std::ops::Range<usize>> {
    let mut index = 1;
    loop {
        let word = request.arg(index)?;
        let is = |option: &[u8]| word.eq_ignore_ascii_case(option);
        index += match () {
            () if is(b"STREAMS") => break,
            () if is(b"BLOCK") || is(b"COUNT") || is(b"CLAIM") => 2,
            () if is(b"GROUP") => 3,
            () if is(b"NOACK") => 1,
            () => return None,
        };
    }
    let (first, count) = (index + 1, request.len() - index - 1);
    let streams = if count.is_multiple_of(2) { count / 2 } else { count };
    Some(first..first + streams)
}

/// The keys and patterns of SORT and SORT_RO, in order. GET # is the element itself, and BY without a star does not
/// sort: neither names a key.
pub(super) fn sort(request: &Request<'_>, named: &mut Vec<usize>) -> Option<()> {
    named.push(1);
    let mut index = 2;
    while let Some(word) = request.arg(index) {
        let is = |option: &[u8]| word.eq_ignore_ascii_case(option);
        let arguments = match () {
            () if is(b"ASC") || is(b"DESC") || is(b"ALPHA") => 0,
            () if is(b"LIMIT") => 2,
            () if is(b"STORE") || is(b"BY") || is(b"GET") => 1,
            () => return None,
        };
        if index + arguments >= request.len() {
            return None;
        }
        let argument = request.arg(index + 1).unwrap_or_default();
        let names = match () {
            () if is(b"STORE") => true,
            () if is(b"GET") => argument != b"#",
            () => is(b"BY") && argument.contains(&b'*'),
        };
        if names {
            named.push(index + 1);
        }
        index += 1 + arguments;
    }
    Some(())
}

impl Rewriter {
    /// `COPY source destination [DB n] [REPLACE]`: the database is part of the destination's name.
    pub(super) fn write_copy(&mut self, asker: &Asker, request: &Request<'_>) -> Result<(), Unwritable> {
        let (mut database, mut replaces, mut index) = (asker.database, false, 3);
        while let Some(word) = request.arg(index) {
            match request.arg(index + 1) {
                _ if word.eq_ignore_ascii_case(b"REPLACE") => replaces = true,
                Some(number) if word.eq_ignore_ascii_case(b"DB") => {
                    database = database_of(number, asker)?;
                    index += 1;
                }
                _ => return Err(Unwritable::Syntax),
            }
            index += 1;
        }
        self.begin(3 + usize::from(replaces));
        self.keep(request, 0);
        self.name(&asker.prefix(), request, 1)?;
        self.name(&asker.namespace.prefix(database), request, 2)?;
        if replaces {
            self.push(&[b"REPLACE"]);
        }
        Ok(())
    }

    /// `MOVE key n` is a RENAMENX to the same name in another database.
    pub(super) fn write_move(&mut self, asker: &Asker, request: &Request<'_>) -> Result<(), Unwritable> {
        let database = database_of(request.arg(2).unwrap_or_default(), asker)?;
        if database == asker.database {
            return Err(Unwritable::SameObject);
        }
        self.begin(3);
        self.push(&[b"RENAMENX"]);
        self.name(&asker.prefix(), request, 1)?;
        self.name(&asker.namespace.prefix(database), request, 1)
    }

    /// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`: always with a pattern, and not too far at a time.
    pub(super) fn write_scan(&mut self, asker: &Asker, request: &Request<'_>) -> Result<(), Unwritable> {
        let option =
            |index: usize, word: &[u8]| request.arg(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
        let options = (2..request.len()).step_by(2);
        let is_known =
            |index: usize| [&b"MATCH"[..], b"COUNT", b"TYPE"].iter().any(|word| option(index, word));
        if !request.len().is_multiple_of(2) || !options.clone().all(is_known) {
            return Err(Unwritable::Syntax);
        }
        let matches = options.clone().any(|index| option(index, b"MATCH"));
        let prefix = asker.prefix();
        self.begin(request.len() + if matches { 0 } else { 2 });
        self.keep(request, 0);
        self.keep(request, 1);
        for index in options {
            self.keep(request, index);
            let argument = request.arg(index + 1).unwrap_or_default();
            if option(index, b"MATCH") {
                self.name(&prefix, request, index + 1)?;
            } else if option(index, b"COUNT") && integer(argument).is_some_and(|count| count > MOST_SCANNED) {
                self.push(&[MOST_SCANNED.to_string().as_bytes()]);
            } else {
                self.keep(request, index + 1);
            }
        }
        if !matches {
            self.push(&[b"MATCH"]);
            self.push(&[prefix.as_bytes(), b"*"]);
        }
        Ok(())
    }

    /// `CLIENT TRACKING ON ... [PREFIX prefix ...] [BCAST]`: a prefix is of names in the selected database; without
    /// any, BCAST means all of these.
    pub(super) fn write_tracking(&mut self, asker: &Asker, request: &Request<'_>) -> Result<(), Unwritable> {
        let is =
            |index: usize, word: &[u8]| request.arg(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
        let (mut index, mut broadcasts) = (3, false);
        self.mark([]);
        while index < request.len() {
            broadcasts |= is(index, b"BCAST");
            if is(index, b"PREFIX") && index + 1 < request.len() {
                self.named.push(index + 1);
                index += 1;
            } else if is(index, b"REDIRECT") {
                index += 1;
            }
            index += 1;
        }
        if !is(2, b"ON") || !broadcasts || !self.named.is_empty() {
            return self.write_named(asker, request);
        }
        self.begin(request.len() + 2);
        (0..request.len()).for_each(|index| self.keep(request, index));
        self.push(&[b"PREFIX"]);
        self.push(&[asker.prefix().as_bytes()]);
        Ok(())
    }
}

/// The database that a client names.
fn database_of(number: &[u8], asker: &Asker) -> Result<u16, Unwritable> {
    let number = integer(number).and_then(|number| i32::try_from(number).ok());
    let database = u16::try_from(number.ok_or(Unwritable::NotAnInteger)?).ok();
    database.filter(|database| *database < asker.namespace.databases()).ok_or(Unwritable::NoDatabase)
}

/// An integer as the servers write it.
fn integer(text: &[u8]) -> Option<i64> {
    let number = str::from_utf8(text).ok()?.parse::<i64>().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}
