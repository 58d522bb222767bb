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
    /// Whether `me` is the one of `proxies` that moves it. A pool's connections are spread over the proxies, and one push moves
    /// all of them: each pool is one proxy's, the same in the eyes of all (rendezvous hashing). One with a single connection
    /// here may be nowhere else.
    #[must_use]
    pub fn is_moved_by(&self, me: &str, proxies: &[String]) -> bool {
        let highest = proxies.iter().max_by_key(|proxy| (self.hash_with(proxy), *proxy));
        !self.is_spread() || highest.is_none_or(|proxy| proxy == me)
    }

    /// Whether other proxies most likely have a part of it.
    #[must_use]
    pub fn is_spread(&self) -> bool {
        self.connections > 1
    }

    /// FNV-1a, and mixed: the same in every process.
    fn hash_with(&self, proxy: &str) -> u64 {
        let (entry, address, library, tenant) = &self.name;
        let address = address.to_string();
        let parts = [&**entry, &address, library, tenant.as_deref().unwrap_or_default(), proxy];
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // What came last has to reach all bits (the end of MurmurHash3).
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^ (hash >> 33)
    }

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
    fn a_pool_is_moved_by_one_proxy_the_same_in_the_eyes_of_all() {
        let proxies: Vec<_> = ["p1", "p2", "p3"].map(str::to_owned).into();
        let mut each = [0; 3];
        for number in 0..300_u16 {
            let [high, low] = number.to_be_bytes();
            let mut group = Group::new(("a".into(), [10, 0, high, low].into(), "lib".into(), None));
            let movers = |group: &Group| proxies.iter().filter(|me| group.is_moved_by(me, &proxies)).count();
            assert_eq!(movers(&group), 3, "a single connection is everybody's own");
            group.connections = 2;
            assert_eq!(movers(&group), 1);
            each[proxies.iter().position(|me| group.is_moved_by(me, &proxies)).unwrap()] += 1;
        }
        assert!(each.iter().all(|count| (70..130).contains(count)), "{each:?}");
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
