//! The section `[fleet]` of the file: every key, and what they must agree on.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::error::ConfigError;
use super::fleet::{EntrySettings, FleetSettings};
use super::item::{Item, Key, NAME, is_name, put};
use super::publishers_file::{self, PublishersFile, read_algorithm, read_path, read_server, read_ttl};
use super::responder_file::{self, RESPONDER_KEYS, ResponderFile};
use super::tls::is_host;

/// The section as written; `None` where a key is not.
#[derive(Clone, Debug)]
pub(super) struct FleetFile {
    name: Option<String>,
    port: u16,
    entries: Vec<EntrySettings>,
    low_watermark: u32,
    high_watermark: u32,
    proxy_protocol: Vec<SocketAddr>,
    responder: Option<ResponderFile>,
    publishers: PublishersFile,
}

/// Every key of the section.
pub(super) const FLEET_KEYS: &[Key<FleetFile>] = &[
    row("name", |fleet, item| fleet.name = Some(read_host(item).unwrap_or_default())),
    row("port", |fleet, item| put(&mut fleet.port, item.whole(1..=u16::MAX))),
    row("entries", |fleet, item| put(&mut fleet.entries, item.list(read_entry))),
    row("low_watermark", |fleet, item| put(&mut fleet.low_watermark, item.whole(1..=100))),
    row("high_watermark", |fleet, item| put(&mut fleet.high_watermark, item.whole(1..=100))),
    row("proxy_protocol", |fleet, item| {
        let addresses = item.or_off(|item| item.list(|item| item.address()));
        put(&mut fleet.proxy_protocol, addresses.map(Option::unwrap_or_default));
    }),
    row("responder", |fleet, item| item.table(RESPONDER_KEYS, fleet.responder.get_or_insert_default())),
    row("agent_check", |fleet, item| {
        put(&mut fleet.publishers.agent_check, item.or_off(|item| item.address()));
    }),
    row("rfc2136.servers", |fleet, item| {
        fleet.publishers.servers = Some(item.list(read_server).unwrap_or_default())
    }),
    row("rfc2136.zone", |fleet, item| fleet.publishers.zone = Some(read_domain(item).unwrap_or_default())),
    row("rfc2136.name", |fleet, item| put(&mut fleet.publishers.name, read_domain(item).map(Some))),
    row("rfc2136.key_name", |fleet, item| {
        fleet.publishers.key_name = Some(read_domain(item).unwrap_or_default());
    }),
    row("rfc2136.key", |fleet, item| put(&mut fleet.publishers.key, item.hidden().text().map(Some))),
    row("rfc2136.key_file", |fleet, item| put(&mut fleet.publishers.key_file, item.file().map(Some))),
    row("rfc2136.key_env", |fleet, item| put(&mut fleet.publishers.key_env, item.text().map(Some))),
    row("rfc2136.algorithm", |fleet, item| put(&mut fleet.publishers.algorithm, read_algorithm(item))),
    row("rfc2136.ttl", |fleet, item| put(&mut fleet.publishers.ttl, read_ttl(item))),
    row("rfc2136.verify_interval", |fleet, item| {
        let range = Duration::from_secs(1)..=Duration::from_secs(3_600);
        put(&mut fleet.publishers.verify_interval, item.duration(range));
    }),
    row("files.gdnsd", |fleet, item| put(&mut fleet.publishers.files.gdnsd, item.or_off(read_path))),
    row("files.coredns", |fleet, item| put(&mut fleet.publishers.files.coredns, item.or_off(read_path))),
    row("files.dnsendpoint", |fleet, item| {
        put(&mut fleet.publishers.files.dnsendpoint, item.or_off(read_path))
    }),
    row("files.ttl", |fleet, item| put(&mut fleet.publishers.files.ttl, read_ttl(item))),
];

/// One `[[fleet.entries]]` as written; `None` where a key is not.
#[derive(Default)]
pub(super) struct EntryFile {
    id: Option<String>,
    addresses: Option<Vec<IpAddr>>,
    host: Option<String>,
    cap: Option<u64>,
    max_connections: Option<u64>,
    drain: bool,
    listen: Vec<SocketAddr>,
}

/// Every key of an entry.
pub(super) const ENTRY_KEYS: &[Key<EntryFile>] = &[
    row("id", |entry, item| {
        let id = item.parse(NAME, |name| is_name(name).then(|| name.to_owned()));
        entry.id = Some(id.unwrap_or_default());
    }),
    row("addresses", |entry, item| {
        entry.addresses = Some(item.list(read_ip).unwrap_or_default());
    }),
    row("host", |entry, item| put(&mut entry.host, read_host(item).map(Some))),
    row("cap", |entry, item| entry.cap = Some(item.bits(LEAST_CAP..=MOST_CAP).unwrap_or_default())),
    row("max_connections", |entry, item| {
        put(&mut entry.max_connections, item.or_off(|item| item.whole(1..=1_000_000_000)));
    }),
    row("drain", |entry, item| put(&mut entry.drain, item.flag())),
    row("listen", |entry, item| put(&mut entry.listen, item.list(|item| item.address()))),
];

// Bits a second. Below it a cap is a mistake of units, above it there is no balancer.
const LEAST_CAP: u64 = 1_000_000;
const MOST_CAP: u64 = 100_000_000_000_000;

/// More than one name can have in a sensible answer, by far.
const MAX_ENTRIES: usize = 1_000;

const fn row<T>(path: &'static str, set: fn(&mut T, &mut Item<'_>)) -> Key<T> {
    Key { path, set }
}

impl Default for FleetFile {
    fn default() -> Self {
        Self {
            name: None,
            port: 6379,
            entries: Vec::new(),
            // Half way between them an entry gets half of its share.
            low_watermark: 70,
            high_watermark: 90,
            proxy_protocol: Vec::new(),
            responder: None,
            publishers: PublishersFile::default(),
        }
    }
}

fn read_entry(item: &mut Item<'_>) -> Option<EntrySettings> {
    let mut entry = EntryFile::default();
    item.table(ENTRY_KEYS, &mut entry);
    let EntryFile { id: Some(id), addresses: Some(addresses), cap: Some(cap), .. } = entry else {
        item.report(|place, key| ConfigError::Entry { place, key });
        return None;
    };
    let EntryFile { host, max_connections, drain, listen, .. } = entry;
    // Where a key was written wrongly, that was told.
    let is_whole = !id.is_empty() && !addresses.is_empty() && cap > 0;
    is_whole.then_some(EntrySettings { id, addresses, host, cap, max_connections, drain, listen })
}

pub(super) fn read_ip(item: &mut Item<'_>) -> Option<IpAddr> {
    item.parse("an IP address such as \"192.0.2.1\" or \"2001:db8::1\", without a port", |text| {
        text.parse::<IpAddr>()
            .ok()
            .map(|address| address.to_canonical())
            .filter(|address| !address.is_unspecified() && !address.is_multicast())
    })
}

/// A host name of several labels, without the dot that may end it.
pub(super) fn read_host(item: &mut Item<'_>) -> Option<String> {
    item.parse("a host name such as \"redis.example.com\"", |text| {
        let name = text.strip_suffix('.').unwrap_or(text);
        (is_host(name) && name.parse::<IpAddr>().is_err()).then(|| name.to_ascii_lowercase())
    })
}

/// A name of one or more labels, without the dot that may end it.
fn read_domain(item: &mut Item<'_>) -> Option<String> {
    item.parse("a domain name such as \"example.com\"", |text| {
        let name = text.strip_suffix('.').unwrap_or(text);
        is_host(name).then(|| name.to_ascii_lowercase())
    })
}

/// What the section means; `None` where there is none, or where something is wrong.
pub(super) fn check(
    file: Option<FleetFile>,
    listeners: &[SocketAddr],
    errors: &mut Vec<ConfigError>,
) -> Option<FleetSettings> {
    let told = errors.len();
    let FleetFile {
        name,
        port,
        entries,
        low_watermark,
        high_watermark,
        proxy_protocol,
        publishers,
        responder,
    } = file?;
    let responder = responder.and_then(|file| responder_file::check(file, name.as_deref(), errors));
    let mut wrong = |wrong: String| errors.push(ConfigError::Fleet { wrong });
    if name.is_none() {
        wrong("name is not written, must be the name that clients connect to".to_owned());
    }
    if entries.is_empty() && told == 0 {
        wrong("entries is not written, must have at least one [[fleet.entries]]".to_owned());
    }
    if entries.len() > MAX_ENTRIES {
        wrong(format!("there are {} entries, must be at most {MAX_ENTRIES}", entries.len()));
    }
    if low_watermark >= high_watermark {
        wrong(format!("low_watermark is {low_watermark}, must be below high_watermark, {high_watermark}"));
    }
    let (mut ids, mut addresses) = (HashSet::new(), HashSet::new());
    for entry in &entries {
        if !ids.insert(&entry.id) {
            wrong(format!("entries: the id {:?} stands more than once, must be unique", entry.id));
        }
        for address in entry.addresses.iter().filter(|address| !addresses.insert(**address)) {
            wrong(format!("entries: the address {address} stands more than once, must be unique"));
        }
    }
    let own = entries.iter().flat_map(|entry| &entry.listen);
    let own: HashSet<_> = listeners.iter().chain(own).collect();
    for address in proxy_protocol.iter().filter(|address| !own.contains(address)) {
        wrong(format!(
            "proxy_protocol: {address} is none of our addresses, must be one that stands in a listen"
        ));
    }
    let publishers = publishers_file::check(publishers, name.as_deref(), errors);
    let name = name.filter(|_| errors.len() == told)?;
    Some(FleetSettings {
        name,
        port,
        entries,
        low_watermark,
        high_watermark,
        proxy_protocol,
        publishers,
        responder,
    })
}

impl FleetFile {
    /// Addresses to listen at for one entry each.
    pub(super) fn listen(&self) -> impl Iterator<Item = &SocketAddr> + Clone {
        self.entries.iter().flat_map(|entry| &entry.listen)
    }

    /// Where agent-checks are answered.
    pub(super) fn agent_check(&self) -> Option<&SocketAddr> {
        self.publishers.agent_check.as_ref()
    }
}
