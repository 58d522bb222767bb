//! Queries of DNS, PROXY headers, reports.

use std::sync::LazyLock;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use slotway::config::fleet::{EntrySettings, FleetSettings, ResponderSettings};
use slotway::config::publishers::PublisherSettings;
use slotway::entry::header::{self, Step};
use slotway::entry::plan::{Plan, Planned};
use slotway::entry::report::Report;
use slotway::responder::answer::{MOST_UDP, Transport, answer, slip};
use slotway::responder::zone::Zone;

static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let entry = |number: u8| EntrySettings {
        id: format!("e{number}"),
        addresses: vec![[192, 0, 2, number].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()].into()],
        host: (number == 1).then(|| "first.redis.example.com".to_owned()),
        cap: 1_000_000,
        max_connections: None,
        drain: false,
        listen: Vec::new(),
    };
    let responder = ResponderSettings {
        listen: Vec::new(),
        servers: vec![("ns1.deep.redis.example.com".to_owned(), vec![[203, 0, 113, 1].into()])],
        contact: "hostmaster.example.com".to_owned(),
        ttl: Duration::from_secs(15),
        records: 8,
        rate: None,
    };
    let fleet = FleetSettings {
        name: "redis.example.com".to_owned(),
        port: 6379,
        entries: (0..12).map(entry).collect(),
        low_watermark: 70,
        high_watermark: 90,
        proxy_protocol: Vec::new(),
        publishers: PublisherSettings::default(),
        responder: None,
    };
    Zone::new(&fleet, &responder)
});

/// The first byte chooses transport and weights, the others are a packet. Its answer is whole, small and a DNS message.
pub fn responder(bytes: &[u8]) {
    let Some((how, packet)) = bytes.split_first() else { return };
    let transport = if how & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let planned = |number: u8| Planned {
        id: format!("e{number}"),
        weight: u32::from(how.rotate_left(number.into())),
        ..Planned::default()
    };
    let plan = Plan { entries: (0..12).map(planned).collect(), ..Plan::default() };
    let is_query = packet.len() >= 12 && packet[2] & 0x80 == 0;
    if let Some(slip) = slip(packet) {
        assert!(is_query && slip.len() <= packet.len(), "a slip is larger than its query");
    }
    let Some(answer) = answer(&ZONE, &plan, packet, transport, |below| u32::from(*how) % below) else {
        assert!(!is_query, "a query without an answer");
        return;
    };
    assert!(is_query, "an answer to what is no query");
    let said = Message::from_vec(&answer.bytes).expect("an answer is a message");
    assert_eq!(said.metadata.message_type, MessageType::Response);
    assert_eq!(answer.bytes[..2], packet[..2], "its id");
    assert_eq!(answer.bytes[3] & 0xf, answer.code.low());
    assert!(said.answers.len() <= 8);
    if transport == Transport::Udp {
        assert!(answer.bytes.len() <= MOST_UDP.into());
        assert!(said.edns.is_some() || answer.bytes.len() <= 512);
    }
}

/// A header is read in steps, each of them one further, and not for ever.
pub fn proxy_header(bytes: &[u8]) {
    // All at once, as no connection does: still no panic.
    let _ = header::read(bytes);
    let mut taken = 0;
    while let Ok(Step::More(more)) = header::read(&bytes[..taken]) {
        assert!(more > 0 && taken + more <= 8_192, "{more} more than {taken}");
        if taken + more > bytes.len() {
            break;
        }
        taken += more;
    }
}

/// What is read is read alike once it was written.
pub fn report(bytes: &[u8]) {
    if let Some(report) = Report::decode("p", bytes) {
        assert!(report.entries.len() <= 1_000);
        assert_eq!(Report::decode("p", report.encode().as_bytes()), Some(report));
    }
}
