//! A shard's reply to FT.SEARCH, seen in place: RESP2's flat array or RESP3's maps, cut into rows.

use super::query::Shown;
use crate::resp::elements::Elements;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::scan::parse_number;

/// What stands behind each row's id: what the client wants to see, and what it is merged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Columns {
    pub(super) shown: Shown,
    pub(super) score: bool,
    pub(super) sort_key: bool,
    pub(super) distance: bool,
    /// The distance is passed on too.
    pub(super) keeps_distance: bool,
}

/// One document of a shard's answer. All are elements as they lie in the reply.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) id: &'a [u8],
    pub(super) score: Option<&'a [u8]>,
    pub(super) payload: Option<&'a [u8]>,
    pub(super) sort_key: Option<&'a [u8]>,
    pub(super) distance: Option<&'a [u8]>,
    /// What is passed on: elements, or in RESP3 keys with their values.
    pub(super) passed_on: Vec<&'a [u8]>,
}

/// A shard's answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) total: u64,
    pub(super) rows: Vec<Row<'a>>,
    /// Keys and values of RESP3's map.
    pub(super) pairs: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Answer<'a> {
    /// The answer of these columns. `None` where it has another shape.
    pub(super) fn read(reply: &'a [u8], columns: &Columns, protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Resp2 => Self::flat(reply, columns),
            Protocol::Resp3 => {
                let pairs = pairs(reply)?;
                let of = |key: &[u8]| pairs.iter().find(|(k, _)| text(k) == Some(key)).map(|(_, v)| *v);
                let total = u64::try_from(integer(of(b"total_results")?)?).ok()?;
                let results = Elements::new(of(b"results")?)?;
                let rows = results.map(|row| Row::named(row, columns)).collect::<Option<_>>()?;
                Some(Self { total, rows, pairs })
            }
        }
    }

    fn flat(reply: &'a [u8], columns: &Columns) -> Option<Self> {
        let mut items = Elements::new(reply)?;
        let total = u64::try_from(integer(items.next()?)?).ok()?;
        let mut rows = Vec::new();
        while items.count > 0 {
            rows.push(Row::flat(&mut items, columns)?);
        }
        Some(Self { total, rows, pairs: Vec::new() })
    }
}

impl<'a> Row<'a> {
    fn of(id: &'a [u8]) -> Self {
        Self { id, score: None, payload: None, sort_key: None, distance: None, passed_on: Vec::new() }
    }

    fn flat(items: &mut Elements<'a>, columns: &Columns) -> Option<Self> {
        let mut row = Self::of(items.next()?);
        let shown = &columns.shown;
        row.passed_on.push(row.id);
        let mut take = |is_there: bool, is_shown: bool| -> Option<Option<&'a [u8]>> {
            if !is_there {
                return Some(None);
            }
            let item = items.next()?;
            if is_shown {
                row.passed_on.push(item);
            }
            Some(Some(item))
        };
        let score = take(columns.score, shown.scores)?;
        let payload = take(shown.payloads, true)?;
        let sort_key = take(columns.sort_key, shown.sort_keys)?;
        let distance = take(columns.distance, columns.keeps_distance)?;
        take(shown.content, true)?;
        (row.score, row.payload, row.sort_key, row.distance) = (score, payload, sort_key, distance);
        Some(row)
    }

    fn named(map: &'a [u8], columns: &Columns) -> Option<Self> {
        let pairs = pairs(map)?;
        let id = pairs.iter().find(|(key, _)| text(key) == Some(b"id"))?.1;
        let mut row = Self::of(id);
        for (key, value) in pairs {
            let is_shown = match text(key)? {
                b"score" => {
                    row.score = Some(value);
                    columns.shown.scores
                }
                b"sortkey" => {
                    row.sort_key = Some(value);
                    columns.shown.sort_keys
                }
                b"required_fields" => {
                    row.distance = Some(self::pairs(value)?.first()?.1);
                    columns.keeps_distance
                }
                b"payload" => {
                    row.payload = Some(value);
                    true
                }
                _ => true,
            };
            if is_shown {
                row.passed_on.extend([key, value]);
            }
        }
        Some(row)
    }
}

/// The keys and values of a map, or of the flat array that RESP2 has for it.
pub(super) fn pairs(map: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut items = Elements::new(map)?;
    let mut pairs = Vec::new();
    while items.count > 0 {
        pairs.push((items.next()?, items.next()?));
    }
    Some(pairs)
}

/// The text of a string or a number. `None` of nil and of what holds others.
pub(super) fn text(item: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\r', item)?;
    match item.first()? {
        b'+' | b':' | b',' | b'#' => item.get(1..end),
        b'$' if item.get(1) != Some(&b'-') => item.get(end + 2..item.len() - 2),
        _ => None,
    }
}

/// An integer.
pub(super) fn integer(item: &[u8]) -> Option<i64> {
    parse_number(text(item)?)
}

/// RESP3's map: what the first shard says, but for the total, the rows, and everybody's warnings.
pub(super) fn write_map(
    out: &mut Vec<u8>,
    maps: &[&[(&[u8], &[u8])]],
    total: i64,
    rows: impl Fn(&mut Vec<u8>),
) {
    let Some(first) = maps.first() else { return };
    ReplyWriter::new(out, Protocol::Resp3).map(first.len());
    for (key, value) in *first {
        out.extend_from_slice(key);
        match text(key) {
            Some(b"total_results") => ReplyWriter::new(out, Protocol::Resp3).integer(total),
            Some(b"results") => rows(out),
            Some(b"warning") => {
                let warnings = warnings(maps);
                ReplyWriter::new(out, Protocol::Resp3).array(warnings.len());
                warnings.iter().for_each(|warning| out.extend_from_slice(warning));
            }
            _ => out.extend_from_slice(value),
        }
    }
}

/// What any shard warns of, once: a search that ran out of time says so here.
fn warnings<'a>(maps: &[&[(&[u8], &'a [u8])]]) -> Vec<&'a [u8]> {
    let told = maps.iter().copied().flatten().filter(|(key, _)| text(key) == Some(b"warning"));
    let mut warnings: Vec<_> = told.filter_map(|(_, list)| Elements::new(list)).flatten().collect();
    warnings.sort_unstable();
    warnings.dedup();
    warnings
}
