//! The options of the commands whose keys or blocking depend on them: XREAD, XREADGROUP, SORT, GEORADIUS.
//! Read as the servers' own parsers read them, so that a key, group or consumer that happens to be called
//! `STORE` or `BLOCK` is not taken for the option.

use crate::resp::request::Request;

/// Where the streams of XREAD or XREADGROUP begin: behind STREAMS.
pub(super) fn streams_begin(request: &Request<'_>) -> Option<usize> {
    StreamOptions { request, next: 1 }
        .find(|(_, option)| *option == StreamOption::Streams)
        .map(|(i, _)| i + 1)
}

/// The group's name of XREADGROUP: behind GROUP.
pub(super) fn group(request: &Request<'_>) -> Option<usize> {
    StreamOptions { request, next: 1 }.find(|(_, option)| *option == StreamOption::Group).map(|(i, _)| i + 1)
}

/// The BLOCK options of XREAD or XREADGROUP, each with its argument behind it; the last one counts.
pub(super) fn blocks<'r>(request: &'r Request<'_>) -> impl Iterator<Item = usize> + 'r {
    StreamOptions { request, next: 1 }
        .filter(|(_, option)| *option == StreamOption::Block)
        .map(|(index, _)| index)
}

/// The key behind SORT's STORE; the last one counts.
pub(super) fn sort_store(request: &Request<'_>) -> Option<usize> {
    last_option(request, 2, &[b"STORE"], &[(b"LIMIT", 2), (b"BY", 1), (b"GET", 1)])
}

/// The key behind the STORE or STOREDIST of GEORADIUS, whose options begin at `from`; the last one counts.
pub(super) fn georadius_store(request: &Request<'_>, from: usize) -> Option<usize> {
    last_option(request, from, &[b"STORE", b"STOREDIST"], &[(b"COUNT", 1)])
}

/// The argument behind the last of the options `wanted`, each of which takes one; `skipped` are other
/// options with how many arguments they take. Every other word stands alone.
fn last_option(
    request: &Request<'_>,
    from: usize,
    wanted: &[&[u8]],
    skipped: &[(&[u8], usize)],
) -> Option<usize> {
    let (mut index, mut found) = (from, None);
    while let Some(arg) = request.arg(index) {
        let takes = skipped.iter().find(|(word, _)| arg.eq_ignore_ascii_case(word)).map(|(_, takes)| *takes);
        let is_wanted = wanted.iter().any(|word| arg.eq_ignore_ascii_case(word));
        if is_wanted && index + 1 < request.len() {
            found = Some(index + 1);
        }
        index += 1 + takes.unwrap_or_else(|| usize::from(is_wanted));
    }
    found
}

/// The options of XREAD and XREADGROUP with their places, up to STREAMS.
struct StreamOptions<'r, 'a> {
    request: &'r Request<'a>,
    next: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StreamOption {
    Block,
    Group,
    Streams,
    Other,
}

impl Iterator for StreamOptions<'_, '_> {
    type Item = (usize, StreamOption);

    /// What isn't known here is passed over one argument at a time: newer servers may know it, and a BLOCK
    /// behind it must be seen.
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next;
        let arg = self.request.arg(index)?;
        let is = |word: &[u8]| arg.eq_ignore_ascii_case(word);
        let (option, arguments) = match () {
            () if is(b"STREAMS") => (StreamOption::Streams, self.request.len()),
            () if is(b"BLOCK") => (StreamOption::Block, 1),
            () if is(b"COUNT") || is(b"CLAIM") => (StreamOption::Other, 1),
            () if is(b"GROUP") => (StreamOption::Group, 2),
            () => (StreamOption::Other, 0),
        };
        self.next = index + 1 + arguments;
        Some((index, option))
    }
}
