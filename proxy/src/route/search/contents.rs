//! The documents of a page, where shards gave their ids only: they are read from wherever they are, and put into the
//! rows as a server would have.

use super::query::{Returned, Shown};
use super::reply::{Answer, Columns, Row, pairs, text, write_map};
use super::schema::Schema;
use crate::cluster::slot::Slot;
use crate::resp::elements::{Elements, is_nil};
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;
use crate::route::plan::Call;

/// What is read of documents, and what of rows is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Contents {
    /// RETURN; everything without it.
    pub(super) returned: Option<Vec<Returned>>,
    /// SORTBY, which comes first among a document's fields.
    pub(super) sort: Option<Vec<u8>>,
    /// Where KNN's distance is, which comes before it.
    pub(super) distance: Option<Vec<u8>>,
    /// The sort key is the distance.
    pub(super) by_distance: bool,
    /// What the merged page has.
    pub(super) columns: Columns,
    pub(super) shown: Shown,
}

/// A field's name and value, the value as an element of a reply.
type Field<'a> = (&'a [u8], Vec<u8>);

impl Contents {
    /// One call for each document of `page`. `None` where that is no page.
    pub(super) fn calls(&self, page: &[u8], schema: &Schema, protocol: Protocol) -> Option<Vec<Call>> {
        let answer = Answer::read(page, &self.columns, protocol)?;
        answer
            .rows
            .iter()
            .map(|row| {
                let id = text(row.id)?;
                Some(match &self.returned {
                    _ if schema.json => Call::of(Slot::of(id), &[b"JSON.GET", id]),
                    None => Call::of(Slot::of(id), &[b"HGETALL", id]),
                    Some(returned) => {
                        let mut words: Vec<&[u8]> = vec![b"HMGET", id];
                        words.extend(returned.iter().map(|field| schema.field_of(&field.field)));
                        // HMGET takes one at least.
                        words.extend((returned.is_empty()).then_some(&b""[..]));
                        Call::of(Slot::of(id), &words)
                    }
                })
            })
            .collect()
    }

    /// The page with its documents.
    pub(super) fn write(
        &self,
        page: &[u8],
        documents: &[&[u8]],
        schema: &Schema,
        protocol: Protocol,
    ) -> Option<Vec<u8>> {
        let answer = Answer::read(page, &self.columns, protocol)?;
        let mut rows = Vec::new();
        for (row, document) in answer.rows.iter().zip(documents) {
            self.write_row(&mut rows, row, document, schema, protocol)?;
        }
        let total = i64::try_from(answer.total).unwrap_or(i64::MAX);
        let mut out = Vec::new();
        if protocol == Protocol::Resp2 {
            let each = 2 + [self.shown.scores, self.shown.payloads, self.shown.sort_keys]
                .map(usize::from)
                .iter()
                .sum::<usize>();
            ReplyWriter::new(&mut out, protocol).array(1 + each * answer.rows.len());
            ReplyWriter::new(&mut out, protocol).integer(total);
            out.extend_from_slice(&rows);
            return Some(out);
        }
        write_map(&mut out, &[answer.pairs.as_slice()], total, |out| {
            ReplyWriter::new(out, protocol).array(answer.rows.len());
            out.extend_from_slice(&rows);
        });
        Some(out)
    }

    fn write_row(
        &self,
        out: &mut Vec<u8>,
        row: &Row<'_>,
        document: &[u8],
        schema: &Schema,
        protocol: Protocol,
    ) -> Option<()> {
        let shown = &self.shown;
        let columns = [
            ("id", true, Some(row.id)),
            ("score", shown.scores, row.score),
            ("payload", shown.payloads, row.payload),
            ("sortkey", shown.sort_keys, row.sort_key),
        ];
        let is_named = protocol == Protocol::Resp3;
        if is_named {
            let count = columns.iter().filter(|(_, is_shown, _)| *is_shown).count();
            ReplyWriter::new(out, protocol).map(count + 2);
        }
        for (name, _, value) in columns.into_iter().filter(|(_, is_shown, _)| *is_shown) {
            if is_named {
                ReplyWriter::new(out, protocol).simple(name);
            }
            out.extend_from_slice(value?);
        }
        if is_named {
            ReplyWriter::new(out, protocol).simple("extra_attributes");
        }
        match self.fields(row, document, schema)? {
            Some(fields) => {
                ReplyWriter::new(out, protocol).map(fields.len());
                for (name, value) in fields {
                    ReplyWriter::new(out, protocol).bulk(name);
                    out.extend_from_slice(&value);
                }
            }
            // It has gone since: as the servers say of such a one.
            None => ReplyWriter::new(out, protocol).null(),
        }
        if is_named {
            ReplyWriter::new(out, protocol).simple("values");
            ReplyWriter::new(out, protocol).array(0);
        }
        Some(())
    }

    /// A document's fields in the servers' order; `Some(None)` where it has gone.
    fn fields<'a>(
        &'a self,
        row: &Row<'_>,
        document: &'a [u8],
        schema: &Schema,
    ) -> Option<Option<Vec<Field<'a>>>> {
        let mut fields: Vec<Field<'a>> = match &self.returned {
            _ if schema.json && is_nil(document) => return Some(None),
            _ if schema.json => vec![(b"$", document.to_vec())],
            None => {
                let pairs = pairs(document)?;
                if pairs.is_empty() {
                    return Some(None);
                }
                pairs.into_iter().filter_map(|(name, value)| Some((text(name)?, value.to_vec()))).collect()
            }
            Some(returned) => {
                let values = returned.iter().zip(Elements::new(document)?);
                values
                    .filter(|(_, value)| !is_nil(value))
                    .map(|(field, value)| (field.name.as_slice(), value.to_vec()))
                    .collect()
            }
        };
        if let Some(sort) = self.sort.as_ref().filter(|_| !self.by_distance) {
            self.put_first(
                &mut fields,
                sort,
                |value| {
                    let number = row.sort_key.and_then(text).and_then(|key| key.strip_prefix(b"#"));
                    number.map_or(value, element)
                },
                schema.json.then(|| row.sort_key.and_then(text).and_then(|key| key.get(1..))).flatten(),
            );
        }
        if let Some(distance) = &self.distance {
            let key = if self.by_distance { row.sort_key } else { row.distance };
            let number = key.and_then(text).and_then(|key| key.strip_prefix(b"#"));
            self.put_first(&mut fields, distance, |value| value, number);
        }
        Some(Some(fields))
    }

    /// Moves the field `name` to the front, where it is shown; it is `known` where no document has it.
    fn put_first<'a>(
        &'a self,
        fields: &mut Vec<Field<'a>>,
        name: &'a [u8],
        change: impl Fn(Vec<u8>) -> Vec<u8>,
        known: Option<&[u8]>,
    ) {
        let shown_as = match &self.returned {
            None => Some(name),
            Some(returned) => {
                returned.iter().find(|field| field.field == name).map(|field| field.name.as_slice())
            }
        };
        let Some(shown_as) = shown_as else { return };
        let found =
            fields.iter().position(|(known, _)| *known == shown_as).map(|place| fields.remove(place).1);
        if let Some(value) = known.map(element).or_else(|| found.map(change)) {
            fields.insert(0, (shown_as, value));
        }
    }
}

/// A sort key's text as servers show it in a document.
fn element(key: &[u8]) -> Vec<u8> {
    let shown = super::arguments::number(key).map(super::groups::written);
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, Protocol::Resp2).bulk(shown.as_ref().map_or(key, String::as_bytes));
    out
}
