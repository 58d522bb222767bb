//! A request's arguments, read one after the other; words are compared in any case.

use std::ops::Range;
use std::str::{self, FromStr};

use super::refused::Refused;
use crate::resp::request::Request;

/// What is left of a request's arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arguments<'r> {
    request: &'r Request<'r>,
    next: usize,
}

impl<'r> Arguments<'r> {
    pub(super) fn new(request: &'r Request<'r>, first: usize) -> Self {
        Self { request, next: first }
    }

    /// The number of the argument that is read next.
    pub(super) fn position(&self) -> usize {
        self.next
    }

    pub(super) fn peek(&self) -> Option<&'r [u8]> {
        self.request.arg(self.next)
    }

    pub(super) fn next(&mut self) -> Option<&'r [u8]> {
        let argument = self.peek()?;
        self.next += 1;
        Some(argument)
    }

    /// Whether the next argument is `word`, which is read then.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let is_it = self.peek().is_some_and(|argument| argument.eq_ignore_ascii_case(word.as_bytes()));
        self.next += usize::from(is_it);
        is_it
    }

    /// The value of `option`.
    pub(super) fn value(&mut self, option: &'static str) -> Result<&'r [u8], Refused> {
        self.next().ok_or(Refused::BadOption(option))
    }

    /// A number that `option` takes.
    pub(super) fn number<N: FromStr>(&mut self, option: &'static str) -> Result<N, Refused> {
        let digits = self.value(option)?;
        number(digits).ok_or(Refused::BadOption(option))
    }

    /// Passes over `count` values of `option`, and says which arguments they are.
    pub(super) fn skip(&mut self, count: usize, option: &'static str) -> Result<Range<usize>, Refused> {
        let end = self.next.checked_add(count).filter(|end| *end <= self.request.len());
        let end = end.ok_or(Refused::BadOption(option))?;
        let passed = self.next..end;
        self.next = end;
        Ok(passed)
    }

    /// Passes over a count and as many values.
    pub(super) fn skip_counted(&mut self, option: &'static str) -> Result<Range<usize>, Refused> {
        let count = self.number(option)?;
        self.skip(count, option)
    }
}

/// A whole number or any other that Rust reads.
pub(super) fn number<N: FromStr>(digits: &[u8]) -> Option<N> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// At most 64 bytes of what a client wrote, made printable.
pub(super) fn shown(argument: &[u8]) -> String {
    let bytes = argument.iter().take(64);
    bytes.map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }).collect()
}
