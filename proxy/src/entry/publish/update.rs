//! The messages that are sent to a DNS server: questions for a name's addresses, and the one update that replaces them if
//! they still are what was seen (RFC 2136). Pure.

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::records::{AddressSet, Records};

/// The name that is published and the zone it is in; both with all their labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    zone: Name,
    name: Name,
}

impl Target {
    /// `None` where one is no name of DNS, or the name is not in the zone.
    #[must_use]
    pub fn try_new(zone: &str, name: &str) -> Option<Self> {
        let read = |text: &str| {
            let mut name = Name::from_ascii(text).ok()?;
            name.set_fqdn(true);
            Some(name)
        };
        let (zone, name) = (read(zone)?, read(name)?);
        zone.zone_of(&name).then_some(Self { zone, name })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Asks for the name's records of this type.
    #[must_use]
    pub fn question(&self, of: RecordType, id: u16) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = false;
        message.add_query(Query::query(self.name.clone(), of));
        message
    }

    /// Has the name resolve to `wanted`, all at once, if it still resolves to `seen`. Not for a `wanted` without any
    /// address.
    #[must_use]
    pub fn update(&self, seen: &Records, wanted: &Records, id: u16) -> Message {
        debug_assert!(!wanted.is_empty(), "the name never resolves to nothing");
        let mut message = Message::new(id, MessageType::Query, OpCode::Update);
        message.metadata.recursion_desired = false;
        message.add_query(Query::query(self.zone.clone(), RecordType::SOA));
        self.replace(&mut message, RecordType::A, &seen.v4, &wanted.v4, |address| RData::A(A(address)));
        self.replace(&mut message, RecordType::AAAA, &seen.v6, &wanted.v6, |address| {
            RData::AAAA(AAAA(address))
        });
        message
    }

    /// Both families are required to be what was seen, the one that changes is replaced.
    fn replace<T: Ord + Copy>(
        &self,
        message: &mut Message,
        of: RecordType,
        seen: &AddressSet<T>,
        wanted: &AddressSet<T>,
        data: fn(T) -> RData,
    ) {
        // Answers are prerequisites in an update, authorities are what is done (RFC 2136, 2).
        if seen.is_empty() {
            message.add_answer(self.set(of, DNSClass::NONE));
        }
        message
            .add_answers(seen.iter().map(|address| Record::from_rdata(self.name.clone(), 0, data(address))));
        if seen == wanted {
            return;
        }
        if !seen.is_empty() {
            message.add_authority(self.set(of, DNSClass::ANY));
        }
        let ttl = wanted.ttl();
        message.add_authorities(
            wanted.iter().map(|address| Record::from_rdata(self.name.clone(), ttl, data(address))),
        );
    }

    /// The whole set: not to be there as a prerequisite of the class NONE, deleted as an update of the class ANY.
    fn set(&self, of: RecordType, class: DNSClass) -> Record {
        let mut record = Record::update0(self.name.clone(), 0, of);
        record.dns_class = class;
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(addresses: &[&str], ttl: u32) -> Records {
        Records::new(addresses.iter().map(|address| address.parse().unwrap()), ttl)
    }

    /// What a server reads: the prerequisites and the updates, one a line.
    fn read(message: &Message) -> (Vec<String>, Vec<String>) {
        let bytes = message.to_vec().unwrap();
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(message.metadata.op_code, OpCode::Update);
        assert_eq!(message.queries[0].to_string(), "example.com. IN SOA");
        let lines = |records: &[Record]| {
            let line = |record: &Record| {
                let (name, ttl, class) = (&record.name, record.ttl, record.dns_class);
                let (of, data) = (record.record_type(), &record.data);
                let data = if matches!(data, RData::Update0(_)) { String::new() } else { data.to_string() };
                format!("{name} {ttl} {class} {of} {data}").trim().to_owned()
            };
            records.iter().map(line).collect()
        };
        (lines(&message.answers), lines(&message.authorities))
    }

    fn target() -> Target {
        Target::try_new("example.com", "redis.example.com").unwrap()
    }

    #[test]
    fn a_name_that_resolves_to_nothing_must_still_do_so() {
        let update = target().update(&Records::default(), &records(&["192.0.2.1", "2001:db8::1"], 15), 1);
        let (prerequisites, updates) = read(&update);
        assert_eq!(prerequisites, ["redis.example.com. 0 NONE A", "redis.example.com. 0 NONE AAAA"]);
        assert_eq!(
            updates,
            ["redis.example.com. 15 IN A 192.0.2.1", "redis.example.com. 15 IN AAAA 2001:db8::1"]
        );
    }

    #[test]
    fn a_set_is_replaced_whole_if_it_is_what_was_seen() {
        let seen = records(&["192.0.2.1", "192.0.2.2"], 15);
        let (prerequisites, updates) = read(&target().update(&seen, &records(&["192.0.2.2"], 15), 1));
        assert_eq!(
            prerequisites,
            [
                "redis.example.com. 0 IN A 192.0.2.1",
                "redis.example.com. 0 IN A 192.0.2.2",
                "redis.example.com. 0 NONE AAAA"
            ]
        );
        assert_eq!(updates, ["redis.example.com. 0 ANY A", "redis.example.com. 15 IN A 192.0.2.2"]);
    }

    #[test]
    fn a_family_that_leaves_is_deleted_and_another_ttl_is_a_change() {
        let seen = records(&["192.0.2.1", "2001:db8::1"], 60);
        let (_, updates) = read(&target().update(&seen, &records(&["192.0.2.1"], 60), 1));
        assert_eq!(updates, ["redis.example.com. 0 ANY AAAA"]);
        let (_, updates) = read(&target().update(&seen, &records(&["192.0.2.1", "2001:db8::1"], 30), 1));
        assert_eq!(updates.len(), 4);
    }

    #[test]
    fn a_name_is_in_its_zone() {
        assert_eq!(Target::try_new("example.org", "redis.example.com"), None);
        assert_eq!(Target::try_new("example.com.", "redis..example.com"), None);
        assert!(Target::try_new("redis.example.com.", "redis.example.com").is_some(), "the zone's own name");
    }
}
