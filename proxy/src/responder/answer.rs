//! From a query's bytes to an answer's. Pure.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::HINFO;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::Zone;
use crate::entry::plan::Plan;

/// How a query came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// The answer is as small as the asker wants it.
    Udp,
    /// The answer is whole.
    Tcp,
}

/// What is sent, and how it is counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The message.
    pub bytes: Vec<u8>,
    /// How it went.
    pub code: ResponseCode,
    /// Whether it says that there is more.
    pub truncated: bool,
}

/// The largest UDP message: it passes everywhere without being cut (DNS flag day 2020).
pub const MOST_UDP: u16 = 1_232;
// Without EDNS: RFC 1035.
const PLAIN_UDP: u16 = 512;
// RFC 8482 says how an answer to ANY may be that is none.
const ANY_TTL: u32 = 3_600;
const HEADER: usize = 12;

/// Answers `query`; `None` where nothing is to be sent: it is no query, so to answer could go on for ever.
pub fn answer(
    zone: &Zone,
    plan: &Plan,
    query: &[u8],
    transport: Transport,
    random: impl FnMut(u32) -> u32,
) -> Option<Answer> {
    // The bit that tells an answer from a query.
    if query.len() < HEADER || query[2] & 0x80 != 0 {
        return None;
    }
    let message = match Message::from_vec(query) {
        // Several questions are not said again: names that pointers made short could be long then.
        Ok(message) if message.queries.len() < 2 => message,
        Ok(_) | Err(_) => return Some(malformed(query)),
    };
    let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.add_queries(message.queries.iter().cloned());
    let most = size(&message, transport);
    if let Some(edns) = &message.edns {
        let mut own = Edns::new();
        own.set_max_payload(MOST_UDP).set_version(0);
        own.set_dnssec_ok(edns.flags().dnssec_ok);
        reply.set_edns(own);
    }
    reply.metadata.response_code = fill(&mut reply, &message, zone, plan, random);
    finish(&reply, most)
}

/// Fills the sections in; gives the code.
fn fill(
    reply: &mut Message,
    message: &Message,
    zone: &Zone,
    plan: &Plan,
    random: impl FnMut(u32) -> u32,
) -> ResponseCode {
    if message.metadata.op_code != OpCode::Query {
        return ResponseCode::NotImp;
    }
    let [query] = &message.queries[..] else { return ResponseCode::FormErr };
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return ResponseCode::BADVERS;
    }
    let (name, wanted) = (query.name(), query.query_type());
    let is_transfer = matches!(wanted, RecordType::AXFR | RecordType::IXFR);
    if query.query_class() != DNSClass::IN || !zone.apex.zone_of(name) || is_transfer {
        return ResponseCode::Refused;
    }
    reply.metadata.authoritative = true;
    let Some(place) = zone.find(name) else {
        reply.add_authority(zone.authority(plan));
        return ResponseCode::NXDomain;
    };
    let records = match wanted {
        RecordType::ANY => vec![no_any(name)],
        _ => zone.records(place, (name, wanted), plan, random),
    };
    if records.is_empty() {
        reply.add_authority(zone.authority(plan));
    }
    if wanted == RecordType::NS {
        reply.add_additionals(zone.glue());
    }
    reply.add_answers(records);
    ResponseCode::NoError
}

fn no_any(name: &Name) -> Record {
    let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
    Record::from_rdata(name.clone(), ANY_TTL, data)
}

/// How large the answer may be.
fn size(message: &Message, transport: Transport) -> usize {
    match (transport, &message.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => PLAIN_UDP.into(),
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP, MOST_UDP).into(),
    }
}

/// The bytes; where they are too many, those of an answer that says to ask by TCP.
fn finish(reply: &Message, most: usize) -> Option<Answer> {
    let code = reply.metadata.response_code;
    let bytes = reply.to_vec().ok()?;
    if bytes.len() <= most {
        return Some(Answer { bytes, code, truncated: false });
    }
    let bytes = reply.truncate().to_vec().ok()?;
    Some(Answer { bytes, code, truncated: true })
}

/// An answer to bytes that are no message: their id, and that they were not understood.
fn malformed(query: &[u8]) -> Answer {
    let code = ResponseCode::FormErr;
    let id = u16::from_be_bytes([query[0], query[1]]);
    let mut bytes = vec![0; HEADER];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    // An answer, with the operation that was asked for.
    bytes[2] = 0x80 | (query[2] & 0x78);
    bytes[3] = code.low();
    Answer { bytes, code, truncated: false }
}

/// An answer that only says to ask by TCP: what those get of whom too much came.
#[must_use]
pub fn slip(query: &[u8]) -> Option<Vec<u8>> {
    if query.len() < HEADER || query[2] & 0x80 != 0 {
        return None;
    }
    let message = Message::from_vec(query).ok().filter(|message| message.queries.len() < 2)?;
    let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
    reply.add_queries(message.queries);
    reply.metadata.truncation = true;
    reply.metadata.message_type = MessageType::Response;
    reply.to_vec().ok().filter(|bytes| bytes.len() <= query.len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hickory_proto::op::Query;
    use proptest::prelude::*;

    use super::*;
    use crate::config::fleet::ResponderSettings;
    use crate::entry::fixtures::fleet;
    use crate::entry::plan::Planned;

    fn zone() -> Zone {
        let mut fleet = fleet(&[1; 3]);
        fleet.entries[0].host = Some("first.redis.example.com".to_owned());
        fleet.entries[1].addresses.push("2001:db8::1".parse().unwrap());
        fleet.entries[2].host = Some("elsewhere.example.net".to_owned());
        Zone::new(&fleet, &responder())
    }

    fn responder() -> ResponderSettings {
        ResponderSettings {
            listen: Vec::new(),
            servers: vec![
                ("ns1.deep.redis.example.com".to_owned(), vec!["203.0.113.1".parse().unwrap()]),
                ("ns2.example.net".to_owned(), Vec::new()),
            ],
            contact: "hostmaster.example.com".to_owned(),
            ttl: Duration::from_secs(15),
            records: 4,
            rate: None,
        }
    }

    fn plan(weights: [u32; 3]) -> Plan {
        let entry = |(id, weight): (usize, u32)| Planned { id: id.to_string(), weight, ..Planned::default() };
        Plan {
            at: 1_700_000,
            entries: weights.into_iter().enumerate().map(entry).collect(),
            ..Plan::default()
        }
    }

    fn query(name: &str, wanted: RecordType, edns: Option<u16>) -> Message {
        let mut message = Message::query();
        message.metadata.id = 4_711;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), wanted));
        if let Some(size) = edns {
            let mut own = Edns::new();
            own.set_max_payload(size);
            message.set_edns(own);
        }
        message
    }

    fn asked(message: &Message, plan: &Plan, transport: Transport) -> Message {
        let bytes = message.to_vec().unwrap();
        let answer = answer(&zone(), plan, &bytes, transport, |_| 0).unwrap();
        let reply = Message::from_vec(&answer.bytes).unwrap();
        assert_eq!(reply.metadata.id, 4_711);
        assert_eq!(reply.queries, message.queries);
        assert_eq!(reply.edns.is_some(), message.edns.is_some());
        reply
    }

    fn ask(name: &str, wanted: RecordType) -> (ResponseCode, Vec<String>, usize) {
        let reply = asked(&query(name, wanted, None), &plan([1_000, 1_000, 0]), Transport::Udp);
        let data = reply.answers.iter().map(|record| record.data.to_string()).collect();
        (reply.metadata.response_code, data, reply.authorities.len())
    }

    #[test]
    fn the_service_is_the_entries_with_a_weight() {
        use ResponseCode::NoError;
        let (code, mut addresses, _) = ask("redis.example.com.", RecordType::A);
        addresses.sort();
        assert_eq!((code, addresses), (NoError, vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()]));
        assert_eq!(ask("redis.example.com.", RecordType::AAAA), (NoError, vec!["2001:db8::1".to_owned()], 0));
        // The one that has the family is named though its weight is 0: no answer is empty.
        let reply =
            asked(&query("redis.example.com.", RecordType::AAAA, None), &plan([1_000, 0, 0]), Transport::Udp);
        assert_eq!(reply.answers.len(), 1);
        let reply =
            asked(&query("redis.example.com.", RecordType::A, None), &Plan::default(), Transport::Udp);
        assert_eq!(reply.answers.len(), 3, "all, before there is a plan");
        assert!(reply.answers.iter().all(|record| record.ttl == 15));
    }

    #[test]
    fn entries_without_an_address_of_a_kind_take_no_place_of_one_that_has() {
        let mut fleet = fleet(&[1; 9]);
        fleet.entries[4].addresses.push("2001:db8::1".parse().unwrap());
        let zone = Zone::new(&fleet, &responder());
        let message = query("redis.example.com.", RecordType::AAAA, None).to_vec().unwrap();
        let entry = |id: usize| Planned {
            id: id.to_string(),
            weight: if id == 4 { 0 } else { 1_000 },
            ..Planned::default()
        };
        let plan = Plan { entries: (0..9).map(entry).collect(), ..Plan::default() };
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let answer = answer(&zone, &plan, &message, Transport::Udp, |below| random.u32(..below)).unwrap();
            assert_eq!(Message::from_vec(&answer.bytes).unwrap().answers.len(), 1, "{seed}");
        }
    }

    #[test]
    fn an_answer_grows_by_so_much_with_each_address() {
        let mut fleet = fleet(&[1; 12]);
        for (number, entry) in (1_u16..).zip(&mut fleet.entries) {
            entry.addresses.push([0x2001, 0xdb8, 0, 0, 0, 0, 0, number].into());
        }
        for records in [1, 4, 8] {
            let zone = Zone::new(&fleet, &ResponderSettings { records, ..responder() });
            for (wanted, each) in [(RecordType::A, 16), (RecordType::AAAA, 28)] {
                let bytes = query("redis.example.com.", wanted, None).to_vec().unwrap();
                let answer = answer(&zone, &Plan::default(), &bytes, Transport::Udp, |_| 0).unwrap();
                assert_eq!((bytes.len(), answer.bytes.len()), (35, 35 + records * each), "{wanted}");
            }
        }
    }

    #[test]
    fn several_questions_are_not_said_again() {
        let mut message = query("redis.example.com.", RecordType::A, None);
        message.add_query(Query::query(Name::from_ascii("a.redis.example.com.").unwrap(), RecordType::A));
        let bytes = message.to_vec().unwrap();
        let answer = answer(&zone(), &plan([1; 3]), &bytes, Transport::Udp, |_| 0).unwrap();
        assert_eq!((answer.code, answer.bytes.len()), (ResponseCode::FormErr, HEADER));
        assert_eq!(slip(&bytes), None);
    }

    #[test]
    fn entries_and_name_servers_have_names_of_their_own() {
        use ResponseCode::{NXDomain, NoError};
        for name in ["0.redis.example.com.", "first.redis.example.com.", "FIRST.Redis.example.com."] {
            assert_eq!(ask(name, RecordType::A), (NoError, vec!["192.0.2.1".to_owned()], 0), "{name}");
        }
        assert_eq!(ask("ns1.deep.redis.example.com.", RecordType::A).1, ["203.0.113.1"]);
        assert_eq!(ask("deep.redis.example.com.", RecordType::A), (NoError, Vec::new(), 1), "a name between");
        assert_eq!(ask("nobody.redis.example.com.", RecordType::A), (NXDomain, Vec::new(), 1));
        assert_eq!(ask("0.redis.example.com.", RecordType::MX), (NoError, Vec::new(), 1));
    }

    #[test]
    fn the_zone_tells_of_itself_and_of_nothing_else() {
        use ResponseCode::{NoError, Refused};
        let reply = asked(&query("redis.example.com.", RecordType::NS, None), &plan([1; 3]), Transport::Udp);
        assert_eq!((reply.answers.len(), reply.additionals.len()), (2, 1));
        let (code, soa, _) = ask("redis.example.com.", RecordType::SOA);
        assert_eq!(code, NoError);
        assert!(soa[0].starts_with("ns1.deep.redis.example.com. hostmaster.example.com. 1700 "), "{soa:?}");
        for (name, wanted) in [
            ("example.com.", RecordType::A),
            ("xredis.example.com.", RecordType::A),
            (".", RecordType::NS),
            ("redis.example.com.", RecordType::AXFR),
        ] {
            assert_eq!(ask(name, wanted), (Refused, Vec::new(), 0), "{name}");
        }
        assert_eq!(ask("redis.example.com.", RecordType::ANY).1.len(), 1);
    }

    #[test]
    fn other_questions_are_refused_in_the_words_of_dns() {
        let code = |change: &dyn Fn(&mut Message)| {
            let mut message = query("redis.example.com.", RecordType::A, Some(1_232));
            change(&mut message);
            let bytes = message.to_vec().unwrap();
            answer(&zone(), &plan([1; 3]), &bytes, Transport::Udp, |_| 0).unwrap().code
        };
        assert_eq!(code(&|message| message.metadata.op_code = OpCode::Status), ResponseCode::NotImp);
        assert_eq!(code(&|message| message.queries.clear()), ResponseCode::FormErr);
        assert_eq!(
            code(&|message| {
                message.edns.as_mut().unwrap().set_version(1);
            }),
            ResponseCode::BADVERS
        );
        assert_eq!(
            code(&|message| {
                message.queries[0].set_query_class(DNSClass::CH);
            }),
            ResponseCode::Refused
        );
        let mut cut = query("redis.example.com.", RecordType::A, None).to_vec().unwrap();
        cut.pop();
        let answer = answer(&zone(), &plan([1; 3]), &cut, Transport::Udp, |_| 0).unwrap();
        assert_eq!((answer.code, answer.bytes[3] & 0xf), (ResponseCode::FormErr, 1));
    }

    #[test]
    fn an_answer_is_never_answered() {
        let mut message = query("redis.example.com.", RecordType::A, None);
        message.metadata.message_type = MessageType::Response;
        assert_eq!(answer(&zone(), &plan([1; 3]), &message.to_vec().unwrap(), Transport::Udp, |_| 0), None);
        assert_eq!(answer(&zone(), &plan([1; 3]), b"short", Transport::Udp, |_| 0), None);
    }

    #[test]
    fn an_answer_is_at_most_a_few_times_the_query() {
        for wanted in [RecordType::A, RecordType::AAAA, RecordType::NS, RecordType::SOA, RecordType::ANY] {
            for edns in [None, Some(4_096)] {
                let bytes = query("redis.example.com.", wanted, edns).to_vec().unwrap();
                let answer = answer(&zone(), &plan([1_000; 3]), &bytes, Transport::Udp, |_| 0).unwrap();
                assert!(
                    answer.bytes.len() < bytes.len() * 4,
                    "{wanted}: {} of {}",
                    answer.bytes.len(),
                    bytes.len()
                );
            }
        }
        let bytes = query("redis.example.com.", RecordType::A, Some(4_096)).to_vec().unwrap();
        assert!(slip(&bytes).unwrap().len() <= bytes.len());
    }

    proptest! {
        #[test]
        fn any_packet_is_answered_by_a_message_or_not_at_all(
            packet in prop::collection::vec(any::<u8>(), 0..200),
            like in any::<bool>(),
            place in 0..40_usize,
        ) {
            let mut bytes = packet.clone();
            if like {
                bytes = query("redis.example.com.", RecordType::A, Some(1_232)).to_vec().unwrap();
                let place = place % bytes.len();
                bytes[place] = packet.first().copied().unwrap_or_default();
            }
            if let Some(answer) = answer(&zone(), &plan([1_000, 1, 0]), &bytes, Transport::Udp, |_| 0) {
                prop_assert!(answer.bytes.len() <= usize::from(MOST_UDP));
                prop_assert!(Message::from_vec(&answer.bytes).is_ok());
            }
            let _ = slip(&bytes);
        }
    }
}
