//! The section `[fleet.responder]` of the file: every key, and what they must agree on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::error::ConfigError;
use super::fleet::ResponderSettings;
use super::fleet_file::{read_host, read_ip};
use super::item::{Item, Key, put};

/// The section as written.
#[derive(Clone, Debug)]
pub(super) struct ResponderFile {
    listen: Vec<SocketAddr>,
    servers: Vec<(String, Vec<IpAddr>)>,
    contact: Option<String>,
    ttl: Duration,
    records: usize,
    rate: Option<u32>,
}

/// Every key of the section.
pub(super) const RESPONDER_KEYS: &[Key<ResponderFile>] = &[
    row("listen", |file, item| put(&mut file.listen, item.list(|item| item.address()))),
    row("nameservers", |file, item| put(&mut file.servers, item.list(read_server))),
    row("contact", |file, item| put(&mut file.contact, read_host(item).map(Some))),
    row("ttl", |file, item| put(&mut file.ttl, item.duration(LEAST_TTL..=MOST_TTL))),
    row("records", |file, item| put(&mut file.records, item.whole(1..=MOST_RECORDS))),
    row("rate", |file, item| put(&mut file.rate, item.or_off(|item| item.whole(1..=1_000_000)))),
];

/// One of `nameservers` as written.
#[derive(Default)]
pub(super) struct ServerFile {
    name: Option<String>,
    addresses: Vec<IpAddr>,
}

/// Every key of a name server.
pub(super) const SERVER_KEYS: &[Key<ServerFile>] = &[
    row("name", |server, item| server.name = Some(read_host(item).unwrap_or_default())),
    row("addresses", |server, item| put(&mut server.addresses, item.list(read_ip))),
];

// Below it resolvers ask more than clients connect; above it a full entry stays in answers for long.
const LEAST_TTL: Duration = Duration::from_secs(5);
const MOST_TTL: Duration = Duration::from_secs(300);
// As many as Route 53 gives: 8 records with their names are some 200 bytes, which fit into any answer.
const MOST_RECORDS: usize = 8;

const fn row<T>(path: &'static str, set: fn(&mut T, &mut Item<'_>)) -> Key<T> {
    Key { path, set }
}

impl Default for ResponderFile {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            servers: Vec::new(),
            contact: None,
            ttl: Duration::from_secs(15),
            // With one a few resolvers place all clients; eight entries behind eight resolvers then use 0.4 of their caps.
            records: 4,
            // A resolver asks for two types once in a time to live: 750 of one network are served, and whoever asks in a
            // network's name has some 20 KB a second sent to it.
            rate: Some(100),
        }
    }
}

fn read_server(item: &mut Item<'_>) -> Option<(String, Vec<IpAddr>)> {
    let mut server = ServerFile::default();
    item.table(SERVER_KEYS, &mut server);
    let Some(name) = server.name else {
        item.report(|place, key| ConfigError::NameServer { place, key });
        return None;
    };
    (!name.is_empty()).then_some((name, server.addresses))
}

/// What the section means for the zone `zone`; `None` where something is wrong.
pub(super) fn check(
    file: ResponderFile,
    zone: Option<&str>,
    errors: &mut Vec<ConfigError>,
) -> Option<ResponderSettings> {
    let told = errors.len();
    let ResponderFile { listen, servers, contact, ttl, records, rate } = file;
    let mut wrong = |wrong: String| errors.push(ConfigError::Fleet { wrong: format!("responder: {wrong}") });
    if listen.is_empty() {
        wrong("listen is not written, must be the addresses where DNS is answered".to_owned());
    }
    if servers.is_empty() {
        wrong("nameservers is not written, must be the names that the zone is delegated to".to_owned());
    }
    let zone = zone.unwrap_or_default();
    let is_within =
        |name: &str| name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'));
    for (name, addresses) in &servers {
        if is_within(name) && addresses.is_empty() {
            wrong(format!("nameservers: {name} is within the zone, must have addresses"));
        }
    }
    let contact = contact.unwrap_or_else(|| format!("hostmaster.{zone}"));
    (errors.len() == told).then_some(ResponderSettings { listen, servers, contact, ttl, records, rate })
}
