//! Fleets and reports for tests.

use super::report::{Health, Load, Report};
use crate::config::fleet::{EntrySettings, FleetSettings};
use crate::config::publishers::PublisherSettings;

/// A fleet whose entries carry so many bytes a second, called `0`, `1` and so on.
pub(crate) fn fleet(caps: &[u64]) -> FleetSettings {
    let entries = caps.iter().enumerate().map(|(number, cap)| EntrySettings {
        id: number.to_string(),
        addresses: vec![std::net::IpAddr::from([192, 0, 2, number as u8 + 1])],
        host: None,
        cap: cap * 8,
        max_connections: None,
        drain: false,
        listen: Vec::new(),
    });
    FleetSettings {
        name: "redis.example.com".to_owned(),
        port: 6379,
        entries: entries.collect(),
        low_watermark: 70,
        high_watermark: 90,
        proxy_protocol: Vec::new(),
        responder: None,
        publishers: PublisherSettings::default(),
    }
}

/// What `proxy` says: bytes a second sent, and health, of each entry of [`fleet`].
pub(crate) fn report(proxy: &str, entries: &[(u64, Health)]) -> Report {
    let load = |(number, (sent, health)): (usize, &(u64, Health))| {
        let load =
            Load { sent: *sent, received: sent / 10, connections: 10, health: *health, ..Load::default() };
        (number.to_string(), load)
    };
    let entries = entries.iter().enumerate().map(load).collect();
    Report { proxy: proxy.to_owned(), at: 0, drains: false, entries }
}
