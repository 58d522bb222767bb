//! Clients that move together, and what they are told. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::fleet::{EntrySettings, FleetSettings};

/// Entry, address, library and tenant of a group.
pub type Name = (Arc<str>, IpAddr, Box<str>, Option<Arc<str>>);

/// Clients that one push moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Which ones.
    pub name: Name,
    /// How many.
    pub connections: usize,
    /// What they carried since they were looked at last.
    pub bytes: u64,
    /// The one to be told; `None` where none of them takes it.
    pub teller: Option<Teller>,
}

/// A client of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Teller {
    /// Its place.
    pub key: u32,
    /// Which one in this place.
    pub generation: u32,
    /// What it wants to be told.
    pub named: Named,
}

/// How an endpoint is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// By its address.
    Address,
    /// By its host name.
    Host,
    /// Not at all: the client connects to the name it was given.
    Nothing,
}

impl Group {
    /// Nobody yet.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self { name, connections: 0, bytes: 0, teller: None }
    }
}

/// What clients are told: where to connect from now on and for how long, in seconds. `None`: where they did at first.
#[must_use]
pub fn moving(number: u64, seconds: u64, endpoint: Option<&str>) -> Vec<u8> {
    let mut push = format!(">4\r\n$6\r\nMOVING\r\n:{number}\r\n:{seconds}\r\n").into_bytes();
    match endpoint {
        None => push.extend_from_slice(b"_\r\n"),
        Some(endpoint) => push.extend_from_slice(format!("${}\r\n{endpoint}\r\n", endpoint.len()).as_bytes()),
    }
    push
}

/// What an entry is called for those who want it so. IPv4 first: Lettuce cuts at the first colon.
#[must_use]
pub fn endpoint(fleet: &FleetSettings, entry: &EntrySettings, named: Named) -> Option<String> {
    let port = fleet.port;
    match named {
        Named::Nothing => None,
        // The fleet's name would lead anywhere: no name of its own is no name.
        Named::Host => entry.host.as_ref().map(|host| format!("{host}:{port}")),
        Named::Address => {
            let first = entry.addresses.iter().find(|address| address.is_ipv4());
            let address = first.or_else(|| entry.addresses.first())?;
            Some(std::net::SocketAddr::new(*address, port).to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::fixtures::fleet;

    #[test]
    fn an_entry_is_told_as_it_was_asked_for() {
        let mut fleet = fleet(&[1, 1]);
        let told = |fleet: &FleetSettings, named| endpoint(fleet, &fleet.entries[0], named);
        assert_eq!(told(&fleet, Named::Address).as_deref(), Some("192.0.2.1:6379"));
        assert_eq!(told(&fleet, Named::Host), None);
        assert_eq!(told(&fleet, Named::Nothing), None);
        fleet.entries[0].host = Some("a.example.com".to_owned());
        fleet.entries[0].addresses.insert(0, "2001:db8::1".parse().unwrap());
        assert_eq!(told(&fleet, Named::Host).as_deref(), Some("a.example.com:6379"));
        assert_eq!(told(&fleet, Named::Address).as_deref(), Some("192.0.2.1:6379"), "IPv4 first");
        fleet.entries[0].addresses.pop();
        assert_eq!(told(&fleet, Named::Address).as_deref(), Some("[2001:db8::1]:6379"));
    }

    #[test]
    fn the_push_is_as_clients_read_it() {
        assert_eq!(
            moving(7, 30, Some("192.0.2.1:6379")),
            b">4\r\n$6\r\nMOVING\r\n:7\r\n:30\r\n$14\r\n192.0.2.1:6379\r\n"
        );
        assert_eq!(moving(8, 30, None), b">4\r\n$6\r\nMOVING\r\n:8\r\n:30\r\n_\r\n");
    }
}
