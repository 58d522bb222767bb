//! Makes one reply of the parts of a split or scattered request, by the command's response policy.

use super::parts::Parts;
use super::{cursor, keyspace};
use crate::command::spec::Merge as Policy;
use crate::resp::elements::{Elements, integer, is_error, is_nil};
use crate::resp::protocol::Protocol;

/// How parts become one reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MergeKind {
    /// Array elements in the caller's order: `order[i]` is the part that holds element i, and each part
    /// holds its elements in that order.
    Gather {
        /// One part a key.
        order: Vec<u16>,
    },
    /// By the command's response policy.
    Policy(Policy),
    /// SCRIPT EXISTS: on every shard, or known here, so that a shard which lacks it is given it.
    Exist {
        /// Which of the scripts asked for are known here.
        known: Box<[bool]>,
    },
    /// FUNCTION DELETE: done where one shard had it, whichever had not.
    Deleted,
    /// RANDOMKEY: one of the replies that is not nil, by this random number.
    AnyNotNil {
        /// Chooses among them.
        pick: u32,
    },
    /// INFO keyspace: the databases' counts added up, behind this text.
    Keyspace {
        /// The sections before it.
        before: String,
    },
    /// SCAN of one shard: its cursor becomes ours.
    Cursor {
        /// The shard that was asked, and the one to come after it.
        shard: cursor::Place,
    },
}

/// The parts of one request that have come, and what they become.
#[derive(Debug)]
pub struct Merge {
    kind: MergeKind,
    protocol: Protocol,
    parts: Parts,
}

impl Merge {
    /// Waits for `parts` parts of a reply in `protocol`, which is the request's: a HELLO behind it changes nothing.
    #[must_use]
    pub fn new(kind: MergeKind, parts: usize, protocol: Protocol) -> Self {
        Self { kind, protocol, parts: Parts::new(parts) }
    }

    /// Takes a piece of part `part`; true once every part is complete.
    pub fn fill(&mut self, part: u16, piece: &[u8], more: bool) -> bool {
        self.parts.fill(part, piece, more)
    }

    /// The reply, once [`Self::fill`] said that it is complete. An error in a part that the policy can't do
    /// without is the reply.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let protocol = self.protocol;
        let replies = self.parts.replies();
        let error = replies.iter().copied().find(|reply| is_error(reply));
        let merged = match (&self.kind, error) {
            (MergeKind::Policy(Policy::OneSucceeded), _) => {
                replies.iter().copied().find(|r| !is_error(r)).map(<[u8]>::to_vec)
            }
            (MergeKind::Deleted, _) => deleted(&replies),
            (MergeKind::AnyNotNil { pick }, _) => any_not_nil(&replies, *pick),
            // A shard that can't be asked is left out of the sums: INFO is asked when things go wrong.
            (MergeKind::Keyspace { before }, _) => Some(keyspace::merge(before, &replies, protocol)),
            (_, Some(error)) => Some(error.to_vec()),
            (MergeKind::Gather { order }, None) => gather(&replies, order),
            (MergeKind::Policy(Policy::Sum), None) => fold_integers(&replies, i64::saturating_add),
            (MergeKind::Policy(Policy::Min), None) => fold_integers(&replies, i64::min),
            (MergeKind::Policy(Policy::And), None) => and(&replies),
            (MergeKind::Exist { known }, None) => exist(&replies, known),
            (MergeKind::Policy(Policy::AllSucceeded), None) => replies.first().map(|reply| reply.to_vec()),
            (MergeKind::Policy(Policy::Concat), None) => concat(&replies, protocol),
            (MergeKind::Cursor { shard }, None) => replies.first().and_then(|r| cursor::translate(r, *shard)),
        };
        merged
            .or_else(|| error.map(<[u8]>::to_vec))
            .unwrap_or_else(|| b"-ERR slotway: a backend's reply has an unexpected shape\r\n".to_vec())
    }

    /// Bytes kept for parts.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.parts.held_bytes()
    }
}

fn write_integer(value: i64) -> Vec<u8> {
    format!(":{value}\r\n").into_bytes()
}

fn fold_integers(replies: &[&[u8]], fold: impl Fn(i64, i64) -> i64) -> Option<Vec<u8>> {
    let mut values = replies.iter().map(|reply| integer(reply));
    let first = values.next()??;
    let folded = values.try_fold(first, |folded, value| value.map(|value| fold(folded, value)))?;
    Some(write_integer(folded))
}

fn and(replies: &[&[u8]]) -> Option<Vec<u8>> {
    if replies.first()?.starts_with(b":") {
        let all = replies.iter().map(|reply| integer(reply)).collect::<Option<Vec<_>>>()?;
        return Some(write_integer(i64::from(all.iter().all(|value| *value != 0))));
    }
    let mut columns = replies.iter().map(|reply| Elements::new(reply)).collect::<Option<Vec<_>>>()?;
    let count = columns.iter().map(|column| column.count).min()?;
    let mut out = format!("*{count}\r\n").into_bytes();
    for _ in 0..count {
        let mut all = true;
        for column in &mut columns {
            all &= integer(column.next()?)? != 0;
        }
        out.extend_from_slice(&write_integer(i64::from(all)));
    }
    Some(out)
}

fn deleted(replies: &[&[u8]]) -> Option<Vec<u8>> {
    let lacks_it = |reply: &[u8]| reply.starts_with(b"-ERR Library not found");
    let failed = replies.iter().find(|reply| is_error(reply) && !lacks_it(reply));
    let done = || replies.iter().find(|reply| !is_error(reply));
    failed.or_else(done).or_else(|| replies.first()).map(|reply| reply.to_vec())
}

fn exist(replies: &[&[u8]], known: &[bool]) -> Option<Vec<u8>> {
    let everywhere = and(replies)?;
    let mut told = Elements::new(&everywhere)?;
    let mut out = format!("*{}\r\n", told.count).into_bytes();
    for index in 0..told.count {
        let is_there = integer(told.next()?)? != 0 || known.get(index).is_some_and(|known| *known);
        out.extend_from_slice(&write_integer(i64::from(is_there)));
    }
    Some(out)
}

fn gather(replies: &[&[u8]], order: &[u16]) -> Option<Vec<u8>> {
    let mut columns = replies.iter().map(|reply| Elements::new(reply)).collect::<Option<Vec<_>>>()?;
    let mut out = Vec::with_capacity(16 + replies.iter().map(|reply| reply.len()).sum::<usize>());
    out.extend_from_slice(format!("*{}\r\n", order.len()).as_bytes());
    for part in order {
        out.extend_from_slice(columns.get_mut(usize::from(*part))?.next()?);
    }
    Some(out)
}

/// Joins arrays, sets or maps; the shape is that of the first that has anything, which RESP2 writes as an array always.
fn concat(replies: &[&[u8]], protocol: Protocol) -> Option<Vec<u8>> {
    let columns = replies.iter().map(|reply| Elements::new(reply)).collect::<Option<Vec<_>>>()?;
    let count: usize = columns.iter().map(|column| column.count).sum();
    let filled = replies.iter().zip(&columns).filter(|(_, column)| column.count > 0);
    let mut kinds = filled.filter_map(|(reply, _)| reply.first().copied());
    let kind = kinds.next().or_else(|| replies.first()?.first().copied())?;
    let (kind, count) = match (kind, protocol) {
        _ if kinds.any(|other| (other == b'%') != (kind == b'%')) => return None,
        (_, Protocol::Resp2) => (b'*', count),
        (b'%', Protocol::Resp3) => (kind, count / 2),
        (_, Protocol::Resp3) => (kind, count),
    };
    let mut out = vec![kind];
    out.extend_from_slice(format!("{count}\r\n").as_bytes());
    for column in &columns {
        out.extend_from_slice(column.rest);
    }
    Some(out)
}

fn any_not_nil(replies: &[&[u8]], pick: u32) -> Option<Vec<u8>> {
    let keys: Vec<_> = replies.iter().filter(|reply| !is_nil(reply) && !is_error(reply)).collect();
    if keys.is_empty() {
        // Nil, unless a shard could not be asked: then nobody knows, and its error is the answer.
        let answer = replies.iter().find(|reply| is_error(reply)).or_else(|| replies.first())?;
        return Some(answer.to_vec());
    }
    keys.get(pick as usize % keys.len()).map(|key| key.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(kind: MergeKind, parts: &[&str]) -> String {
        let mut merge = Merge::new(kind, parts.len(), Protocol::Resp2);
        for (i, part) in parts.iter().enumerate().rev() {
            let complete = merge.fill(i as u16, part.as_bytes(), false);
            assert_eq!(complete, i == 0);
        }
        String::from_utf8(merge.finish()).unwrap()
    }

    #[test]
    fn array_elements_go_back_to_the_callers_order() {
        let order = vec![1, 0, 1, 2];
        let parts = ["*1\r\n$1\r\nb\r\n", "*2\r\n$1\r\na\r\n$-1\r\n", "*1\r\n$2\r\ndd\r\n"];
        let merged = merge(MergeKind::Gather { order }, &parts);
        assert_eq!(merged, "*4\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n$2\r\ndd\r\n");
    }

    #[test]
    fn integers_follow_their_policy() {
        assert_eq!(merge(MergeKind::Policy(Policy::Sum), &[":1\r\n", ":2\r\n", ":-5\r\n"]), ":-2\r\n");
        assert_eq!(merge(MergeKind::Policy(Policy::Min), &[":3\r\n", ":2\r\n"]), ":2\r\n");
        assert_eq!(merge(MergeKind::Policy(Policy::And), &[":1\r\n", ":0\r\n"]), ":0\r\n");
        assert_eq!(
            merge(MergeKind::Policy(Policy::And), &["*2\r\n:1\r\n:1\r\n", "*2\r\n:1\r\n:0\r\n"]),
            "*2\r\n:1\r\n:0\r\n"
        );
    }

    #[test]
    fn a_library_is_deleted_where_one_had_it_and_none_failed() {
        let (ok, lacks, lost) = ("+OK\r\n", "-ERR Library not found\r\n", "-ERR lost\r\n");
        assert_eq!(merge(MergeKind::Deleted, &[lacks, ok]), ok);
        assert_eq!(merge(MergeKind::Deleted, &[lacks, lacks]), lacks);
        assert_eq!(merge(MergeKind::Deleted, &[ok, lost, lacks]), lost);
    }

    #[test]
    fn a_script_exists_where_all_have_it_or_it_is_known_here() {
        let kind = MergeKind::Exist { known: [false, true, false].into() };
        let parts = ["*3\r\n:1\r\n:0\r\n:0\r\n", "*3\r\n:1\r\n:1\r\n:1\r\n"];
        assert_eq!(merge(kind, &parts), "*3\r\n:1\r\n:1\r\n:0\r\n");
    }

    #[test]
    fn one_parts_error_is_the_answer_unless_one_success_is_enough() {
        assert_eq!(merge(MergeKind::Policy(Policy::Sum), &[":1\r\n", "-ERR x\r\n"]), "-ERR x\r\n");
        assert_eq!(merge(MergeKind::Policy(Policy::AllSucceeded), &["+OK\r\n", "-ERR x\r\n"]), "-ERR x\r\n");
        assert_eq!(merge(MergeKind::Policy(Policy::OneSucceeded), &["-ERR x\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(
            merge(MergeKind::Policy(Policy::OneSucceeded), &["-ERR x\r\n", "-ERR y\r\n"]),
            "-ERR x\r\n"
        );
    }

    #[test]
    fn arrays_are_joined() {
        let parts = ["*1\r\n$1\r\na\r\n", "*0\r\n", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"];
        assert_eq!(
            merge(MergeKind::Policy(Policy::Concat), &parts),
            "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
        );
    }

    #[test]
    fn maps_are_joined_and_an_empty_shard_does_not_change_the_shape() {
        let joined = |parts: &[&str]| {
            let mut merge = Merge::new(MergeKind::Policy(Policy::Concat), parts.len(), Protocol::Resp3);
            for (part, bytes) in (0..).zip(parts) {
                merge.fill(part, bytes.as_bytes(), false);
            }
            String::from_utf8(merge.finish()).unwrap()
        };
        assert_eq!(
            joined(&["%0\r\n", "%1\r\n+a\r\n:1\r\n", "%1\r\n+b\r\n:2\r\n"]),
            "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n"
        );
        assert_eq!(joined(&["*0\r\n", "%1\r\n+a\r\n:1\r\n"]), "%1\r\n+a\r\n:1\r\n");
        assert!(joined(&["*1\r\n:1\r\n", "%1\r\n+a\r\n:1\r\n"]).starts_with("-ERR slotway:"));
        assert_eq!(joined(&["%0\r\n", "%0\r\n"]), "%0\r\n");
    }

    #[test]
    fn a_random_key_comes_from_a_shard_that_has_one() {
        assert_eq!(merge(MergeKind::AnyNotNil { pick: 7 }, &["$-1\r\n", "$1\r\nk\r\n"]), "$1\r\nk\r\n");
        assert_eq!(merge(MergeKind::AnyNotNil { pick: 7 }, &["$-1\r\n", "$-1\r\n"]), "$-1\r\n");
        assert_eq!(merge(MergeKind::AnyNotNil { pick: 7 }, &["$-1\r\n", "-ERR x\r\n"]), "-ERR x\r\n");
    }

    #[test]
    fn a_shape_that_does_not_fit_is_an_error_not_a_panic() {
        for parts in [["+OK\r\n", ":1\r\n"], ["*1\r\n:1\r\n", ":1\r\n"], ["*2\r\n:1\r\n", "$1\r\na\r\n"]] {
            for kind in [
                MergeKind::Policy(Policy::Sum),
                MergeKind::Policy(Policy::And),
                MergeKind::Gather { order: vec![0, 0, 1] },
            ] {
                assert!(merge(kind, &parts).starts_with("-ERR slotway:"), "{parts:?}");
            }
        }
    }
}
