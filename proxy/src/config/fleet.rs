//! The section `[fleet]`: the balancers that clients come through, the name they are found by, and how much each bears.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::publishers::PublisherSettings;
use super::quantity::Bits;

/// A fleet of proxies behind several balancers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FleetSettings {
    /// The service's name in lower case, without a dot at its end: what clients are told to connect to.
    pub name: String,
    /// The port of every entry: clients that are moved keep theirs.
    pub port: u16,
    /// The entries, at least one; their ids and addresses differ.
    pub entries: Vec<EntrySettings>,
    /// Up to this much of its cap an entry gets its whole share of new clients, in percent.
    pub low_watermark: u32,
    /// From this much on it gets none, in percent.
    pub high_watermark: u32,
    /// Those of our own addresses where each connection begins with a PROXY header. A port of 0 is none of them.
    pub proxy_protocol: Vec<SocketAddr>,
    /// Whom the plan is handed to.
    pub publishers: PublisherSettings,
    /// The name server of our own; `None`: there is none.
    pub responder: Option<ResponderSettings>,
}

/// A name server for the fleet's name, as a delegated zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponderSettings {
    /// Where it answers, by UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// The zone's name servers, at least one, and the addresses of those within the zone.
    pub servers: Vec<(String, Vec<IpAddr>)>,
    /// Who is responsible, an address of mail with a dot for the @.
    pub contact: String,
    /// For how long answers are kept.
    pub ttl: Duration,
    /// How many addresses an answer has at most.
    pub records: usize,
    /// How many answers a network gets a second by UDP; `None`: as many as it asks for.
    pub rate: Option<u32>,
}

/// One balancer's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntrySettings {
    /// What it is called in reports, metrics and files.
    pub id: String,
    /// Where clients connect, at least one.
    pub addresses: Vec<IpAddr>,
    /// A name of its own, for clients that are to be told names.
    pub host: Option<String>,
    /// What it carries each way, in bits a second: as its operator says, never guessed.
    pub cap: u64,
    /// How many connections it carries; as many as come where that is not known.
    pub max_connections: Option<u64>,
    /// Whether it is to be left by everybody.
    pub drain: bool,
    /// Our own addresses that it alone leads to; one that is among those of TLS is a port for TLS. A connection is also
    /// known by what a PROXY header says.
    pub listen: Vec<SocketAddr>,
}

impl FleetSettings {
    /// The entry that a client came by which connected to `own`, one of our addresses, and before that to `announced`,
    /// as a PROXY header has it.
    #[must_use]
    pub fn entry_behind(&self, own: SocketAddr, announced: Option<IpAddr>) -> Option<&EntrySettings> {
        let named = announced.and_then(|address| {
            let address = address.to_canonical();
            self.entries.iter().find(|entry| entry.addresses.contains(&address))
        });
        named.or_else(|| {
            self.entries.iter().find(|entry| entry.listen.iter().any(|listen| accepts(*listen, own)))
        })
    }

    /// Whether who connects to the address that was bound as `listen` says first where it came from.
    #[must_use]
    pub fn expects_header(&self, listen: SocketAddr) -> bool {
        listen.port() != 0 && self.proxy_protocol.contains(&listen)
    }
}

impl fmt::Display for FleetSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fleet     {}, port {}", self.name, self.port)?;
        for entry in &self.entries {
            let addresses: Vec<_> = entry.addresses.iter().map(ToString::to_string).collect();
            let drain = if entry.drain { ", drain" } else { "" };
            write!(f, "\nentry     {}: {}, {}{drain}", entry.id, addresses.join(", "), Bits(entry.cap))?;
        }
        if let Some(rfc2136) = &self.publishers.rfc2136 {
            let servers: Vec<_> = rfc2136.servers.iter().map(ToString::to_string).collect();
            write!(f, "\nupdates   {} in the zone {} at {}", rfc2136.name, rfc2136.zone, servers.join(", "))?;
        }
        if let Some(responder) = &self.responder {
            let listen: Vec<_> = responder.listen.iter().map(ToString::to_string).collect();
            write!(f, "\ndns       answered at {}", listen.join(", "))?;
        }
        Ok(())
    }
}

impl EntrySettings {
    /// Bytes a second that it carries each way.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.cap / 8
    }
}

/// Whether a connection to `own` came in where `listen` was bound.
fn accepts(listen: SocketAddr, own: SocketAddr) -> bool {
    listen.port() == own.port()
        && (listen.ip().is_unspecified() || listen.ip() == own.ip().to_canonical())
        && (listen.is_ipv4() == own.ip().to_canonical().is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> FleetSettings {
        let entry = |id: &str, address: &str, listen: &str| EntrySettings {
            id: id.to_owned(),
            addresses: vec![address.parse().unwrap()],
            host: None,
            cap: 8_000,
            max_connections: None,
            drain: false,
            listen: vec![listen.parse().unwrap()],
        };
        FleetSettings {
            name: "redis.example.com".to_owned(),
            port: 6379,
            entries: vec![
                entry("a", "192.0.2.1", "127.0.0.1:7001"),
                entry("b", "192.0.2.2", "0.0.0.0:7002"),
                entry("c", "2001:db8::3", "[::]:7003"),
            ],
            low_watermark: 70,
            high_watermark: 90,
            proxy_protocol: vec!["127.0.0.1:7001".parse().unwrap()],
            responder: None,
            publishers: PublisherSettings::default(),
        }
    }

    #[test]
    fn a_client_is_known_by_our_own_address_or_by_what_was_announced() {
        let fleet = fleet();
        let behind = |own: &str, announced: Option<&str>| {
            let announced = announced.map(|address| address.parse().unwrap());
            fleet.entry_behind(own.parse().unwrap(), announced).map(|entry| entry.id.as_str())
        };
        assert_eq!(behind("127.0.0.1:7001", None), Some("a"));
        assert_eq!(behind("127.0.0.2:7001", None), None, "another address of ours");
        assert_eq!(behind("127.0.0.2:7002", None), Some("b"));
        assert_eq!(behind("[::1]:7003", None), Some("c"));
        assert_eq!(behind("127.0.0.1:7003", None), None);
        assert_eq!(behind("127.0.0.1:7001", Some("192.0.2.2")), Some("b"), "its words count more");
        assert_eq!(behind("127.0.0.1:7001", Some("::ffff:192.0.2.2")), Some("b"));
        assert_eq!(behind("127.0.0.1:7001", Some("10.0.0.1")), Some("a"), "an address that is no entry's");
        assert_eq!(behind("127.0.0.1:9", Some("10.0.0.1")), None);
    }

    #[test]
    fn headers_are_expected_where_the_settings_say_so() {
        let mut fleet = fleet();
        fleet.proxy_protocol.push("127.0.0.1:0".parse().unwrap());
        let expects = |listen: &str| fleet.expects_header(listen.parse().unwrap());
        assert!(expects("127.0.0.1:7001") && !expects("0.0.0.0:7002") && !expects("127.0.0.1:0"));
    }
}
