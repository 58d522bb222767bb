//! How the answers of all shards to one FT command become one reply.

use super::groups::Groups;
use super::info;
use super::ranked::Ranked;
use super::rows::Rows;
use crate::command::spec::Change;
use crate::resp::elements::{Elements, is_error};
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

/// What is made of the shards' answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gathering {
    /// FT.SEARCH
    Ranked(Ranked),
    /// FT.AGGREGATE without GROUPBY
    Rows(Rows),
    /// FT.AGGREGATE with GROUPBY
    Groups(Groups),
    /// FT.INFO
    Info,
    /// FT.TAGVALS: each value once.
    TagValues,
    /// A change of what every shard has.
    Change(Change),
}

impl Gathering {
    /// Whether the merge has to know if what rows are sorted by is a number.
    #[must_use]
    pub fn is_ambiguous(&self, replies: &[&[u8]], protocol: Protocol) -> bool {
        matches!(self, Self::Ranked(ranked) if ranked.is_ambiguous(replies, protocol))
    }

    /// The reply; `None` where a shard's answer has an unexpected shape. A shard's error is the reply: what the others
    /// say would be a part that looks whole.
    #[must_use]
    pub fn merge(&self, replies: &[&[u8]], protocol: Protocol, numbers: bool) -> Option<Vec<u8>> {
        if let Self::Change(change) = self {
            return changed(*change, replies);
        }
        if let Some(error) = replies.iter().find(|reply| is_error(reply)) {
            return Some(error.to_vec());
        }
        match self {
            Self::Ranked(ranked) => ranked.merge(replies, protocol, numbers),
            Self::Rows(rows) => rows.merge(replies, protocol),
            Self::Groups(groups) => groups.merge(replies, protocol),
            Self::Info => info::merge(replies, protocol),
            Self::TagValues => tag_values(replies, protocol),
            Self::Change(_) => None,
        }
    }
}

fn changed(change: Change, replies: &[&[u8]]) -> Option<Vec<u8>> {
    let done = replies.iter().find(|reply| !is_error(reply));
    let Some(done) = done else { return replies.first().map(|error| error.to_vec()) };
    let says =
        |error: &[u8], words: &[&[u8]]| words.iter().any(|word| memchr::memmem::find(error, word).is_some());
    // The worst first: an error that does not only say that a shard has it already, or not any more.
    let errors = || replies.iter().filter(|reply| is_error(reply));
    let there: &[&[u8]] = &[b"already exists", b"Duplicate field"];
    let gone: &[&[u8]] = &[b"Unknown Index name", b"Unknown index name", b"no such index", b"does not exist"];
    let is_harmless = |error: &[u8]| match change {
        Change::Adds => says(error, there),
        Change::Takes => says(error, gone),
        Change::Sets => false,
    };
    if let Some(error) = errors().find(|error| !is_harmless(error)) {
        let count = replies.len() - errors().count();
        let text = String::from_utf8_lossy(error.trim_ascii_end());
        let text = text.trim_start_matches(['-', '!']);
        let mut out = Vec::new();
        let text = format!(
            "ERR slotway: done on {count} of {} shards, say it again; elsewhere: {text}",
            replies.len()
        );
        ReplyWriter::new(&mut out, Protocol::Resp2).error(&text);
        return Some(out);
    }
    match (change, errors().next()) {
        (Change::Adds, Some(error)) => Some(error.to_vec()),
        _ => Some(done.to_vec()),
    }
}

fn tag_values(replies: &[&[u8]], protocol: Protocol) -> Option<Vec<u8>> {
    let mut values = Vec::new();
    for reply in replies {
        values.extend(Elements::new(reply)?);
    }
    values.sort_unstable();
    values.dedup();
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, protocol).set(values.len());
    values.iter().for_each(|value| out.extend_from_slice(value));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(gathering: &Gathering, replies: &[&str]) -> String {
        let replies: Vec<_> = replies.iter().map(|reply| reply.as_bytes()).collect();
        String::from_utf8(gathering.merge(&replies, Protocol::Resp2, false).unwrap()).unwrap()
    }

    #[test]
    fn a_change_that_failed_half_way_says_so_and_is_repaired_by_saying_it_again() {
        let adds = Gathering::Change(Change::Adds);
        let (ok, there) = ("+OK\r\n", "-Index already exists\r\n");
        assert_eq!(merge(&adds, &[ok, ok]), ok);
        assert_eq!(merge(&adds, &[there, there]), there);
        assert_eq!(merge(&adds, &[ok, there]), there);
        let lost = "-ERR slotway: timed out, the command may have run\r\n";
        assert_eq!(
            merge(&adds, &[ok, lost, there]),
            "-ERR slotway: done on 1 of 3 shards, say it again; elsewhere: ERR slotway: timed out, the command may have run\r\n"
        );
        assert_eq!(merge(&adds, &[lost, lost]), lost);
    }

    #[test]
    fn what_is_gone_from_one_shard_is_gone_once_the_others_have_dropped_it() {
        let takes = Gathering::Change(Change::Takes);
        let (ok, gone) = ("+OK\r\n", "-Unknown Index name\r\n");
        assert_eq!(merge(&takes, &[gone, ok]), ok);
        assert_eq!(merge(&takes, &[gone, gone]), gone);
        assert!(merge(&takes, &[ok, "-LOADING x\r\n"]).starts_with("-ERR slotway: done on 1 of 2"));
    }

    #[test]
    fn each_tag_value_stands_once() {
        let parts = ["*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*0\r\n", "*1\r\n$1\r\nb\r\n"];
        assert_eq!(merge(&Gathering::TagValues, &parts), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    }
}
