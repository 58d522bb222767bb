//! Rows of all shards, merged in their order.
//!
//! Rows that are equal have the order of their insertion in one server, which shards don't know of one another. Here
//! each shard's own order is kept, and where two shards' next rows are equal the smaller id comes first (the shorter;
//! of equally long ones by bytes, which is the order of ids that count up); behind DESC the larger one, as one server turns
//! equal rows around too. What comes next depends on what each shard has next only, so pages fit together.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::arguments::number;
use super::query::Page;
use super::reply::{Answer, Columns, Row, text, write_map};
use crate::resp::elements::{Elements, is_nil};
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

/// How rows of FT.SEARCH become one reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ranked {
    pub(super) order: Order,
    /// Only so many of all rows count: those with the smallest distance.
    pub(super) nearest: Option<u64>,
    /// The sort key is the distance.
    pub(super) by_distance: bool,
    pub(super) page: Page,
    pub(super) columns: Columns,
}

/// What rows are ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// The key of SORTBY; rows without one come last either way.
    Key { descending: bool },
    /// The score, highest first.
    Score,
    /// The score without the part that all rows of a shard have in common.
    ScoreByWords,
}

/// What the rows' keys can't be.
const MIXED: &[u8] = b"-ERR slotway: numbers and texts in one sort key can't be merged\r\n";

impl Ranked {
    /// The reply; `None` where a shard's has an unexpected shape.
    pub(super) fn merge(&self, replies: &[&[u8]], protocol: Protocol, numbers: bool) -> Option<Vec<u8>> {
        let answers = replies.iter().map(|reply| Answer::read(reply, &self.columns, protocol));
        let mut answers = answers.collect::<Option<Vec<_>>>()?;
        let mut total = answers.iter().fold(0u64, |total, answer| total.saturating_add(answer.total));
        if let Some(count) = self.nearest {
            total = total.min(count);
            self.keep_nearest(&mut answers, usize::try_from(count).ok()?)?;
        }
        let columns =
            answers.iter().map(|answer| self.ranks(&answer.rows, numbers)).collect::<Option<Vec<_>>>()?;
        let kinds = |is: fn(&Rank<'_>) -> bool| columns.iter().flatten().any(is);
        if kinds(|rank| matches!(rank, Rank::Number(_))) && kinds(|rank| matches!(rank, Rank::Text(_))) {
            return Some(MIXED.to_vec());
        }
        let offset = usize::try_from(self.page.offset).ok()?;
        let count = usize::try_from(self.page.count).ok()?;
        let rows: Vec<_> = Heads::new(&answers, &columns, self.order).skip(offset).take(count).collect();
        Some(write(&answers, &rows, total, protocol))
    }

    /// Whether texts among the sort keys could be numbers: where whole documents are read, servers that sorted by a number
    /// show it as the document has it.
    pub(super) fn is_ambiguous(&self, replies: &[&[u8]], protocol: Protocol) -> bool {
        let is_asked = matches!(self.order, Order::Key { .. }) && self.columns.shown.content;
        if !is_asked {
            return false;
        }
        let answers = replies.iter().filter_map(|reply| Answer::read(reply, &self.columns, protocol));
        let ranks: Vec<_> = answers.filter_map(|answer| self.ranks(&answer.rows, false)).flatten().collect();
        let is_text = |rank: &Rank<'_>| matches!(rank, Rank::Text(_));
        ranks.iter().any(is_text) && !ranks.iter().any(|rank| is_text(&rank.as_number(true)))
    }

    fn keep_nearest(&self, answers: &mut [Answer<'_>], count: usize) -> Option<()> {
        let mut all = Vec::new();
        for (shard, answer) in answers.iter().enumerate() {
            for (place, row) in answer.rows.iter().enumerate() {
                let distance = if self.by_distance { row.sort_key } else { row.distance };
                let Rank::Number(distance) = Rank::of_key(distance?)? else { return None };
                all.push((distance, row.id, shard, place));
            }
        }
        if all.len() <= count {
            return Some(());
        }
        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| compare_ids(a.1, b.1)));
        let mut stays: Vec<Vec<bool>> = answers.iter().map(|answer| vec![false; answer.rows.len()]).collect();
        for (_, _, shard, place) in all.into_iter().take(count) {
            stays[shard][place] = true;
        }
        for (answer, stays) in answers.iter_mut().zip(stays) {
            let mut stays = stays.into_iter();
            answer.rows.retain(|_| stays.next().unwrap_or(false));
        }
        Some(())
    }

    fn ranks<'a>(&self, rows: &[Row<'a>], numbers: bool) -> Option<Vec<Rank<'a>>> {
        rows.iter()
            .map(|row| match self.order {
                Order::Key { .. } => Rank::of_key(row.sort_key?).map(|rank| rank.as_number(numbers)),
                Order::Score => Rank::of_score(row.score?, false),
                Order::ScoreByWords => Rank::of_score(row.score?, true),
            })
            .collect()
    }
}

/// What a row is compared by.
#[derive(Clone, Copy, Debug)]
enum Rank<'a> {
    Number(f64),
    Text(&'a [u8]),
    Missing,
}

impl<'a> Rank<'a> {
    /// `#number` or `$text`, as the servers write sort keys.
    fn of_key(key: &'a [u8]) -> Option<Self> {
        if is_nil(key) {
            return Some(Self::Missing);
        }
        match text(key)? {
            [b'#', digits @ ..] => number(digits).map(Self::Number),
            [b'$', text @ ..] => Some(Self::Text(text)),
            _ => None,
        }
    }

    /// The same, where texts `are` numbers.
    fn as_number(self, are: bool) -> Self {
        match self {
            Self::Text(digits) if are => number(digits).map_or(self, Self::Number),
            _ => self,
        }
    }

    fn of_score(score: &'a [u8], by_words: bool) -> Option<Self> {
        // With an explanation: the score, then the explanation.
        let Some(mut items) = Elements::new(score) else {
            return number(text(score)?).filter(|_| !by_words).map(Self::Number);
        };
        let score: f64 = number(text(items.next()?)?)?;
        if !by_words {
            return Some(Self::Number(score));
        }
        document_part(score, text(Elements::new(items.next()?)?.next()?)?).map(Self::Number)
    }

    fn compare(self, other: Self, order: Order) -> Ordering {
        let (first, second) = match order {
            Order::Key { descending: false } => (self, other),
            Order::Key { descending: true } | Order::Score | Order::ScoreByWords => (other, self),
        };
        match (first, second) {
            (Rank::Number(a), Rank::Number(b)) => a.total_cmp(&b),
            (Rank::Text(a), Rank::Text(b)) => a.cmp(b),
            (Rank::Missing, Rank::Missing) => Ordering::Equal,
            // Missing comes last, whichever way the others are turned.
            _ if matches!(self, Rank::Missing) => Ordering::Greater,
            _ => Ordering::Less,
        }
    }
}

/// The part of a score that is the document's own, out of `Final TFIDF : words TFIDF 2.00 * document score 1.00 / norm 2 /
/// slop 1`. Numbers that differ by rounding alone become one.
fn document_part(score: f64, explanation: &[u8]) -> Option<f64> {
    let rest = explanation.strip_prefix(b"Final TFIDF : words TFIDF ")?;
    let end = memchr::memchr(b' ', rest)?;
    let words: f64 = number(&rest[..end])?;
    let part = if words > 0.0 { score / words } else { score };
    Some((part * 1e12).round() / 1e12)
}

fn compare_ids(a: &[u8], b: &[u8]) -> Ordering {
    // The lengths come first in the elements too, but as texts.
    let (a, b) = (text(a).unwrap_or(a), text(b).unwrap_or(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The next row of each shard, the first of all on top.
struct Heads<'s, 'a> {
    heap: BinaryHeap<Head<'a>>,
    answers: &'s [Answer<'a>],
    ranks: &'s [Vec<Rank<'a>>],
    order: Order,
}

/// A row of a shard, by its place there.
#[derive(Debug)]
struct Head<'a> {
    rank: Rank<'a>,
    id: &'a [u8],
    order: Order,
    shard: usize,
    place: usize,
}

impl<'s, 'a> Heads<'s, 'a> {
    fn new(answers: &'s [Answer<'a>], ranks: &'s [Vec<Rank<'a>>], order: Order) -> Self {
        let mut heads = Self { heap: BinaryHeap::with_capacity(answers.len()), answers, ranks, order };
        for shard in 0..answers.len() {
            heads.push(shard, 0);
        }
        heads
    }

    fn push(&mut self, shard: usize, place: usize) {
        let row = self.answers.get(shard).and_then(|answer| answer.rows.get(place));
        let rank = self.ranks.get(shard).and_then(|ranks| ranks.get(place));
        if let (Some(row), Some(rank)) = (row, rank) {
            self.heap.push(Head { rank: *rank, id: row.id, order: self.order, shard, place });
        }
    }
}

impl<'s, 'a> Iterator for Heads<'s, 'a> {
    type Item = &'s Row<'a>;

    fn next(&mut self) -> Option<&'s Row<'a>> {
        let Head { shard, place, .. } = self.heap.pop()?;
        self.push(shard, place + 1);
        self.answers.get(shard)?.rows.get(place)
    }
}

impl Ord for Head<'_> {
    /// The largest comes first out of a heap.
    fn cmp(&self, other: &Self) -> Ordering {
        let ids = compare_ids(self.id, other.id);
        let ids = if self.order == (Order::Key { descending: true }) { ids.reverse() } else { ids };
        let ranked = self.rank.compare(other.rank, self.order);
        ranked.then(ids).then(self.shard.cmp(&other.shard)).reverse()
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

fn write(answers: &[Answer<'_>], rows: &[&Row<'_>], total: u64, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    if protocol == Protocol::Resp2 {
        let mut writer = ReplyWriter::new(&mut out, protocol);
        writer.array(1 + rows.iter().map(|row| row.passed_on.len()).sum::<usize>());
        writer.integer(total);
        rows.iter().flat_map(|row| &row.passed_on).for_each(|item| out.extend_from_slice(item));
        return out;
    }
    let maps: Vec<_> = answers.iter().map(|answer| answer.pairs.as_slice()).collect();
    write_map(&mut out, &maps, total, |out| {
        ReplyWriter::new(out, protocol).array(rows.len());
        for row in rows {
            ReplyWriter::new(out, protocol).map(row.passed_on.len() / 2);
            row.passed_on.iter().for_each(|item| out.extend_from_slice(item));
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::search::gathering::Gathering;
    use crate::route::search::outgoing::Outgoing;
    use crate::route::search::outgoing::tests::with_request;

    fn gathering(words: &[&str]) -> Gathering {
        let words: Vec<_> = ["FT.SEARCH", "i"].into_iter().chain(words.iter().copied()).collect();
        with_request(&words, |request| Outgoing::search(request, false).unwrap().gathering)
    }

    fn merge(words: &[&str], replies: &[&[u8]], protocol: Protocol) -> String {
        let merged = gathering(words).merge(replies, protocol, false).unwrap();
        String::from_utf8(merged).unwrap()
    }

    #[test]
    fn rows_come_by_sort_key_missing_ones_last_and_the_keys_are_left_out_again() {
        let a = b"*5\r\n:2\r\n$1\r\na\r\n$20\r\n#0.10000000000000001\r\n$1\r\nb\r\n$-1\r\n";
        let c = b"*5\r\n:3\r\n$1\r\nd\r\n$2\r\n#3\r\n$1\r\nc\r\n$6\r\n#1e+20\r\n";
        let words = ["*", "SORTBY", "n", "NOCONTENT"];
        assert_eq!(
            merge(&words, &[a, c], Protocol::Resp2),
            "*5\r\n:5\r\n$1\r\na\r\n$1\r\nd\r\n$1\r\nc\r\n$1\r\nb\r\n"
        );
    }

    #[test]
    fn the_nearest_of_all_shards_are_kept_and_counted() {
        let a = b"*5\r\n:2\r\n$1\r\na\r\n$2\r\n#4\r\n$1\r\nb\r\n$2\r\n#9\r\n";
        let c = b"*5\r\n:2\r\n$1\r\nc\r\n$2\r\n#1\r\n$1\r\nd\r\n$2\r\n#5\r\n";
        let words = ["*=>[KNN 2 @v $B AS d]", "SORTBY", "d", "NOCONTENT"];
        assert_eq!(merge(&words, &[a, c], Protocol::Resp2), "*3\r\n:2\r\n$1\r\nc\r\n$1\r\na\r\n");
    }

    #[test]
    fn the_map_of_resp3_keeps_its_shape_and_everybodys_warnings() {
        let shard = |total: u8, rows: &str, warning: &str| {
            format!(
                "%5\r\n+attributes\r\n*0\r\n+total_results\r\n:{total}\r\n+format\r\n+STRING\r\n+results\r\n{rows}\
                 +warning\r\n{warning}"
            )
        };
        let row = |id: &str, key: &str| format!("%3\r\n+id\r\n$1\r\n{id}\r\n{key}+values\r\n*0\r\n");
        let a = shard(1, &format!("*1\r\n{}", row("a", "+sortkey\r\n$2\r\n$y\r\n")), "*0\r\n");
        let b = shard(1, &format!("*1\r\n{}", row("b", "+sortkey\r\n$2\r\n$x\r\n")), "*1\r\n+Timeout\r\n");
        let shown = |id: &str| row(id, "").replace("%3", "%2");
        let whole = shard(2, &format!("*2\r\n{}{}", shown("b"), shown("a")), "*1\r\n+Timeout\r\n");
        let words = ["*", "SORTBY", "t", "NOCONTENT"];
        assert_eq!(merge(&words, &[a.as_bytes(), b.as_bytes()], Protocol::Resp3), whole);
    }

    #[test]
    fn a_tags_weight_in_its_shard_does_not_rank_its_documents() {
        let row = |id: &str, score: &str, words: &str| {
            format!(
                "$1\r\n{id}\r\n*2\r\n${}\r\n{score}\r\n*2\r\n+Final TFIDF : words TFIDF {words} * document score 1.00 / \
                 norm 2 / slop 1\r\n*0\r\n",
                score.len()
            )
        };
        let a = format!("*3\r\n:1\r\n{}", row("b", "1.5", "3.00"));
        let b = format!("*5\r\n:2\r\n{}{}", row("a", "0.5", "1.00"), row("c", "0.25", "1.00"));
        let words = ["@g:{x}", "NOCONTENT"];
        assert_eq!(
            merge(&words, &[a.as_bytes(), b.as_bytes()], Protocol::Resp2),
            "*4\r\n:3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
        );
    }

    #[test]
    fn a_shape_that_does_not_fit_and_mixed_keys_are_errors() {
        let words = ["*", "SORTBY", "n", "NOCONTENT"];
        for odd in
            [&b"+OK\r\n"[..], b"*0\r\n", b"*2\r\n:1\r\n$1\r\na\r\n", b"*3\r\n:1\r\n$1\r\na\r\n$1\r\nx\r\n"]
        {
            assert_eq!(gathering(&words).merge(&[odd], Protocol::Resp2, false), None);
        }
        let text = b"*3\r\n:1\r\n$1\r\na\r\n$2\r\n$x\r\n";
        let number = b"*3\r\n:1\r\n$1\r\nb\r\n$2\r\n#1\r\n";
        assert!(
            merge(&words, &[text, number], Protocol::Resp2).starts_with("-ERR slotway: numbers and texts")
        );
    }
}
