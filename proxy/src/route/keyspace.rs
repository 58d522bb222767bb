//! INFO's keyspace section over all shards: keys and expiring keys added up by database.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

#[derive(Default)]
struct Database {
    keys: u64,
    expires: u64,
    /// Weighted by expiring keys: the sum of all their times to live.
    ttl_sum: u64,
}

/// The reply: `before`, then the section made of the shards' own.
pub(super) fn merge(before: &str, replies: &[&[u8]], protocol: Protocol) -> Vec<u8> {
    let mut databases: BTreeMap<u32, Database> = BTreeMap::new();
    for reply in replies {
        for line in String::from_utf8_lossy(reply).lines() {
            add_line(line, &mut databases);
        }
    }
    let mut text = format!("{before}# Keyspace\r\n");
    for (number, database) in databases {
        let average = database.ttl_sum / database.expires.max(1);
        let _ = write!(
            text,
            "db{number}:keys={},expires={},avg_ttl={average}\r\n",
            database.keys, database.expires
        );
    }
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, protocol).verbatim(&text);
    out
}

/// Adds `db0:keys=1,expires=0,avg_ttl=0`; anything else is no database's line.
fn add_line(line: &str, databases: &mut BTreeMap<u32, Database>) {
    let Some((number, fields)) = line.strip_prefix("db").and_then(|line| line.split_once(':')) else {
        return;
    };
    let Ok(number) = number.parse() else { return };
    let field = |name: &str| -> u64 {
        let value = fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    let database = databases.entry(number).or_default();
    let expires = field("expires");
    database.keys = database.keys.saturating_add(field("keys"));
    database.expires = database.expires.saturating_add(expires);
    database.ttl_sum = database.ttl_sum.saturating_add(field("avg_ttl").saturating_mul(expires));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_added_up() {
        let replies: [&[u8]; 3] = [
            b"$52\r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=100\r\n\r\n",
            b"$52\r\n# Keyspace\r\ndb0:keys=4,expires=3,avg_ttl=200,subexpiry=0\r\ndb1:keys=1,expires=0,avg_ttl=0\r\n\r\n",
            b"-ERR gone\r\n",
        ];
        let merged = String::from_utf8(merge("", &replies, Protocol::Resp2)).unwrap();
        assert!(
            merged.ends_with(
                "# Keyspace\r\ndb0:keys=7,expires=4,avg_ttl=175\r\ndb1:keys=1,expires=0,avg_ttl=0\r\n\r\n"
            ),
            "{merged}"
        );
    }
}
