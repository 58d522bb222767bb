//! FT.INFO over shards: the first shard's words, with what can be counted added up. Averages, statistics of the collector
//! and the cursors, and what an index is made of, are the first shard's.

use super::arguments::number;
use super::reply::{integer, pairs, text};
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

/// How values of one field become one.
#[derive(Clone, Copy)]
enum Fold {
    Sum,
    Most,
    Least,
}

/// What is not the first shard's. A term is known to several shards: no sum is right, the most of one is the least there
/// can be.
const FIELDS: &[(&[u8], Fold)] = &[
    (b"num_docs", Fold::Sum),
    (b"max_doc_id", Fold::Sum),
    (b"num_terms", Fold::Most),
    (b"num_records", Fold::Sum),
    (b"inverted_sz_mb", Fold::Sum),
    (b"vector_index_sz_mb", Fold::Sum),
    (b"total_inverted_index_blocks", Fold::Sum),
    (b"offset_vectors_sz_mb", Fold::Sum),
    (b"doc_table_size_mb", Fold::Sum),
    (b"sortable_values_size_mb", Fold::Sum),
    (b"key_table_size_mb", Fold::Sum),
    (b"tag_overhead_sz_mb", Fold::Sum),
    (b"text_overhead_sz_mb", Fold::Sum),
    (b"total_index_memory_sz_mb", Fold::Sum),
    (b"geoshapes_sz_mb", Fold::Sum),
    (b"hash_indexing_failures", Fold::Sum),
    (b"total_indexing_time", Fold::Sum),
    (b"indexing", Fold::Most),
    (b"percent_indexed", Fold::Least),
    (b"number_of_uses", Fold::Most),
    (b"cleaning", Fold::Most),
];

/// The reply; `None` where a shard's has an unexpected shape.
pub(super) fn merge(replies: &[&[u8]], protocol: Protocol) -> Option<Vec<u8>> {
    let all = replies.iter().map(|reply| pairs(reply)).collect::<Option<Vec<_>>>()?;
    let first = all.first()?;
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, protocol).map(first.len());
    for (key, value) in first {
        out.extend_from_slice(key);
        let name = text(key)?;
        match FIELDS.iter().find(|(field, _)| *field == name) {
            Some((_, fold)) => {
                let values = all.iter().map(|shard| read(shard, name)).collect::<Option<Vec<_>>>()?;
                write(&mut out, value, folded(&values, *fold), protocol);
            }
            None => out.extend_from_slice(value),
        }
    }
    Some(out)
}

fn read(shard: &[(&[u8], &[u8])], name: &[u8]) -> Option<f64> {
    let (_, value) = shard.iter().find(|(key, _)| text(key) == Some(name))?;
    number(text(value)?)
}

fn folded(values: &[f64], fold: Fold) -> f64 {
    match fold {
        Fold::Sum => values.iter().sum(),
        Fold::Most => values.iter().copied().fold(f64::MIN, f64::max),
        Fold::Least => values.iter().copied().fold(f64::MAX, f64::min),
    }
}

/// Writes `folded` as the first shard wrote `like`: as an integer or as a double.
fn write(out: &mut Vec<u8>, like: &[u8], folded: f64, protocol: Protocol) {
    let mut writer = ReplyWriter::new(out, protocol);
    if like.first() == Some(&b':') && integer(like).is_some() {
        writer.integer(folded as i64);
    } else {
        writer.double(folded);
    }
}
