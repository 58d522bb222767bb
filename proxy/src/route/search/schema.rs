//! An index's fields, out of FT.INFO of any shard.
//!
//! Asked for where the nodes of a cluster do the search: a server of Redis 7.4 takes every key that a command reads for one
//! of the slot of the command's own key, so the module finds none of its documents but those of the slot of the index's
//! name, and takes what it can't read for missing. It knows what is SORTABLE without reading.

use super::refused::Refused;
use crate::resp::value::Value;

/// What is known of an index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Schema {
    /// Its documents are JSON, not hashes.
    pub(super) json: bool,
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Attribute {
    /// The field of a document.
    identifier: Vec<u8>,
    /// Its name in queries.
    name: Vec<u8>,
    is_number: bool,
    sortable: bool,
    /// What is kept for sorting is what the document has.
    exact: bool,
}

/// What a search takes from documents without their being read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// What servers keep for sorting.
    Sorted(Vec<u8>),
    /// The field as it is in the document.
    Exact(Vec<u8>),
}

impl Schema {
    /// `None` where `reply` is no FT.INFO.
    pub(super) fn read(reply: &[u8]) -> Option<Self> {
        let info = Value::parse(reply).ok()?;
        let kind = info.field("index_definition")?.field("key_type")?.text()?;
        let attributes = info.field("attributes")?.list()?.iter().map(attribute).collect::<Option<_>>()?;
        Some(Self { json: kind.eq_ignore_ascii_case(b"JSON"), attributes })
    }

    /// Whether all `needs` are met.
    ///
    /// # Errors
    /// The first that is not.
    pub(super) fn check(&self, needs: &[Need]) -> Result<(), Refused> {
        let unmet = needs.iter().find_map(|need| match need {
            Need::Sorted(name) => (!self.named(name).is_some_and(|a| a.sortable)).then_some(name),
            Need::Exact(name) => (!self.named(name).is_some_and(|a| a.sortable && a.exact)).then_some(name),
        });
        unmet.map_or(Ok(()), |name| Err(Refused::NotSortable(super::arguments::shown(name))))
    }

    /// The documents' field of this name in queries.
    pub(super) fn field_of<'s>(&'s self, name: &'s [u8]) -> &'s [u8] {
        self.named(name).map_or(name, |attribute| &attribute.identifier)
    }

    pub(super) fn is_number(&self, name: &[u8]) -> bool {
        self.named(name).is_some_and(|attribute| attribute.is_number)
    }

    fn named(&self, name: &[u8]) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// `identifier, x, attribute, x, type, x`, then more pairs and single words; RESP3 has a list of these, `flags`.
fn attribute(value: &Value<'_>) -> Option<Attribute> {
    let items = value.list()?;
    let flags = value.field("flags").and_then(Value::list).unwrap_or_default();
    let has = |word: &[u8]| items.iter().skip(6).chain(flags).any(|item| item.text() == Some(word));
    Some(Attribute {
        identifier: value.field("identifier")?.text()?.to_vec(),
        name: value.field("attribute")?.text()?.to_vec(),
        is_number: value.field("type")?.text() == Some(b"NUMERIC"),
        sortable: has(b"SORTABLE"),
        exact: has(b"UNF"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &[u8] = b"*4\r\n+index_definition\r\n*2\r\n+key_type\r\n+HASH\r\n+attributes\r\n*3\r\n\
        *8\r\n+identifier\r\n+p\r\n+attribute\r\n+price\r\n+type\r\n+NUMERIC\r\n+SORTABLE\r\n+UNF\r\n\
        *9\r\n+identifier\r\n+s\r\n+attribute\r\n+s\r\n+type\r\n+TEXT\r\n+WEIGHT\r\n$1\r\n1\r\n+SORTABLE\r\n\
        *6\r\n+identifier\r\n+m\r\n+attribute\r\n+m\r\n+type\r\n+NUMERIC\r\n";

    #[test]
    fn fields_tell_what_can_be_sorted_by_and_what_can_be_read() {
        let schema = Schema::read(INFO).unwrap();
        let need = |need: Need| schema.check(&[need]).is_ok();
        assert!(!schema.json && schema.is_number(b"m") && !schema.is_number(b"s"));
        assert_eq!((schema.field_of(b"price"), schema.field_of(b"other")), (&b"p"[..], &b"other"[..]));
        assert!(need(Need::Sorted(b"price".to_vec())) && need(Need::Exact(b"price".to_vec())));
        assert!(need(Need::Sorted(b"s".to_vec())) && !need(Need::Exact(b"s".to_vec())));
        assert!(!need(Need::Sorted(b"m".to_vec())) && !need(Need::Sorted(b"p".to_vec())));
        assert_eq!(Schema::read(b"+OK\r\n"), None);
    }
}
