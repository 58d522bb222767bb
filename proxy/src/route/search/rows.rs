//! Rows of FT.AGGREGATE: those of one shard behind those of another, or merged by SORTBY's properties. They have no id:
//! among equal ones those of the first shard come first.

use std::cmp::Ordering;

use super::arguments::number;
use super::query::Page;
use super::reply::{integer, pairs, text};
use crate::resp::elements::{Elements, is_nil};
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

/// How rows become one reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rows {
    /// SORTBY; empty for none.
    pub(super) keys: Vec<Key>,
    pub(super) page: Option<Page>,
    /// How properties begin that only we asked for: of each key whether it is a text.
    pub(super) hidden: &'static str,
}

/// A property that rows are sorted by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Key {
    pub(super) property: Vec<u8>,
    pub(super) descending: bool,
}

/// A property and its value, as they lie in the reply.
pub(super) type Property<'a> = (&'a [u8], &'a [u8]);

/// A shard's answer to FT.AGGREGATE.
pub(super) struct Table<'a> {
    pub(super) total: u64,
    pub(super) rows: Vec<Vec<Property<'a>>>,
    /// Keys and values of RESP3's map.
    pub(super) pairs: Vec<Property<'a>>,
}

impl<'a> Table<'a> {
    pub(super) fn read(reply: &'a [u8], protocol: Protocol) -> Option<Self> {
        if protocol == Protocol::Resp2 {
            let mut items = Elements::new(reply)?;
            let total = u64::try_from(integer(items.next()?)?).ok()?;
            let rows = items.map(pairs).collect::<Option<_>>()?;
            return Some(Self { total, rows, pairs: Vec::new() });
        }
        let all = pairs(reply)?;
        let of = |key: &[u8]| all.iter().find(|(k, _)| text(k) == Some(key)).map(|(_, value)| *value);
        let total = u64::try_from(integer(of(b"total_results")?)?).ok()?;
        let rows = Elements::new(of(b"results")?)?.map(|row| {
            pairs(row)?
                .into_iter()
                .find(|(key, _)| text(key) == Some(b"extra_attributes"))
                .and_then(|(_, map)| pairs(map))
        });
        let rows = rows.collect::<Option<_>>()?;
        Some(Self { total, rows, pairs: all })
    }
}

impl Rows {
    /// The reply; `None` where a shard's has an unexpected shape.
    pub(super) fn merge(&self, replies: &[&[u8]], protocol: Protocol) -> Option<Vec<u8>> {
        let tables = replies.iter().map(|reply| Table::read(reply, protocol)).collect::<Option<Vec<_>>>()?;
        let sum = tables.iter().fold(0u64, |total, table| total.saturating_add(table.total));
        let mut rows = Vec::new();
        for row in tables.iter().flat_map(|table| &table.rows) {
            let ranks = self.keys.iter().enumerate().map(|(number, key)| self.rank(row, number, key));
            rows.push((ranks.collect::<Option<Vec<_>>>()?, row));
        }
        // Stable: what is equal stays in the order of the shards, and of each its own.
        rows.sort_by(|(a, _), (b, _)| self.compare(a, b));
        let all = rows.len() as u64;
        let page = self.page.unwrap_or(Page { offset: 0, count: all });
        let shown: Vec<Vec<Property<'_>>> = rows
            .into_iter()
            .skip(usize::try_from(page.offset).ok()?)
            .take(usize::try_from(page.count).ok()?)
            .map(|(_, row)| row.iter().copied().filter(|(name, _)| !self.hides(name)).collect())
            .collect();
        // Without SORTBY a server has counted up to its first row only, when it writes the total.
        let total = match (self.keys.is_empty(), page.count, shown.len()) {
            (false, ..) | (true, 0, _) => sum,
            (true, _, 0) => all,
            (true, ..) => page.offset.saturating_add(1),
        };
        Some(write(&tables, &shown, total, protocol))
    }

    fn hides(&self, name: &[u8]) -> bool {
        text(name).is_some_and(|name| name.starts_with(self.hidden.as_bytes()))
    }

    fn rank<'a>(&self, row: &[Property<'a>], number: usize, key: &Key) -> Option<Rank<'a>> {
        let hidden = format!("{}{number}", self.hidden);
        let of =
            |name: &[u8]| row.iter().find(|(known, _)| text(known) == Some(name)).map(|(_, value)| *value);
        let is_text = of(hidden.as_bytes()).and_then(text)? == b"1";
        of(&key.property).map_or(Some(Rank::Missing), |value| Rank::of(value, is_text))
    }

    /// As the servers do: a row without a property comes last, whatever it has beside.
    fn compare(&self, a: &[Rank<'_>], b: &[Rank<'_>]) -> Ordering {
        for ((a, b), key) in a.iter().zip(b).zip(&self.keys) {
            match (a, b) {
                (Rank::Missing, Rank::Missing) => return Ordering::Equal,
                (Rank::Missing, _) => return Ordering::Greater,
                (_, Rank::Missing) => return Ordering::Less,
                _ => {}
            }
            let order = a.compare(b);
            let order = if key.descending { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}

/// What a row is compared by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rank<'a> {
    /// A group's property that its rows don't have: below all others.
    Null,
    Number(f64),
    Text(&'a [u8]),
    Missing,
}

impl<'a> Rank<'a> {
    /// `None` of what can't be compared.
    pub(super) fn of(value: &'a [u8], is_text: bool) -> Option<Self> {
        match text(value) {
            None => is_nil(value).then_some(Self::Null),
            Some(text) if is_text || text.is_empty() => Some(Self::Text(text)),
            Some(digits) => number(digits).map(Self::Number),
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.kind().cmp(&other.kind()),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
            Self::Missing => 3,
        }
    }
}

/// The reply of these rows.
pub(super) fn write(
    tables: &[Table<'_>],
    rows: &[Vec<Property<'_>>],
    total: u64,
    protocol: Protocol,
) -> Vec<u8> {
    let mut out = Vec::new();
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    if protocol == Protocol::Resp2 {
        let mut writer = ReplyWriter::new(&mut out, protocol);
        writer.array(1 + rows.len());
        writer.integer(total);
        rows.iter().for_each(|row| write_row(&mut out, row, protocol));
        return out;
    }
    let maps: Vec<_> = tables.iter().map(|table| table.pairs.as_slice()).collect();
    super::reply::write_map(&mut out, &maps, total, |out| {
        ReplyWriter::new(out, protocol).array(rows.len());
        for row in rows {
            let mut writer = ReplyWriter::new(out, protocol);
            writer.map(2);
            writer.simple("extra_attributes");
            write_row(out, row, protocol);
            let mut writer = ReplyWriter::new(out, protocol);
            writer.simple("values");
            writer.array(0);
        }
    });
    out
}

fn write_row(out: &mut Vec<u8>, row: &[Property<'_>], protocol: Protocol) {
    ReplyWriter::new(out, protocol).map(row.len());
    for (name, value) in row {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}
