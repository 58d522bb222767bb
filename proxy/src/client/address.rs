//! Clients' addresses in few bytes: each client has its own, while one of ours is shared by all that came in by it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::rc::Rc;
use std::sync::Arc;

use crate::entry::traffic::{Meter, Traffic};

/// Where a client connects from: half the size of a [`SocketAddr`], as most are of IPv4.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// IPv4.
    V4(SocketAddrV4),
    /// IPv6.
    V6(Box<SocketAddrV6>),
}

impl Address {
    /// Without the port.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        match self {
            Self::V4(address) => IpAddr::V4(*address.ip()),
            Self::V6(address) => IpAddr::V6(*address.ip()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address),
            SocketAddr::V6(address) => Self::V6(Box::new(address)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(out),
            Self::V6(address) => address.fmt(out),
        }
    }
}

/// Where clients came in.
#[derive(Debug)]
pub struct Door {
    /// The address that they connected to.
    pub address: SocketAddr,
    /// The tenant whose own it is: they are nobody else's.
    pub tenant: Option<Arc<str>>,
    /// The balancer that they came by.
    pub entry: Option<Entry>,
}

/// A balancer that clients of a worker come by.
#[derive(Debug)]
pub struct Entry {
    /// Its id in the settings.
    pub id: Arc<str>,
    /// Where what this worker carries of it is counted.
    pub traffic: Arc<Traffic>,
}

impl Door {
    /// A client has come in, or has gone (and is not with another worker of this thread).
    pub fn count_client(&self, came: bool) {
        let Some(Entry { traffic, .. }) = &self.entry else { return };
        if came {
            traffic.connections.add(1);
            traffic.accepted.add(1);
        } else {
            traffic.connections.sub(1);
        }
    }

    /// So many bytes came from a client.
    #[inline]
    pub fn count_received(&self, bytes: usize) {
        if let Some(entry) = &self.entry {
            entry.traffic.received.add(bytes as u64);
        }
    }

    /// So many bytes went to a client.
    #[inline]
    pub fn count_sent(&self, bytes: usize) {
        if let Some(entry) = &self.entry {
            entry.traffic.sent.add(bytes as u64);
        }
    }
}

/// What tells doors apart: address, tenant, id of the entry.
type Name = (SocketAddr, Option<Arc<str>>, Option<Arc<str>>);

/// The doors that clients of a worker came in by.
#[derive(Default, Debug)]
pub struct Doors {
    known: BTreeMap<Name, Rc<Door>>,
    /// How many there may be before those without a client are forgotten.
    limit: usize,
}

// Below this nothing is worth looking for.
const FEW: usize = 16;

impl Doors {
    /// The one that all clients share that came to this address, as this tenant's own, by this entry; what the latter
    /// carries is counted by `meter`.
    pub fn share(
        &mut self,
        address: SocketAddr,
        tenant: Option<Arc<str>>,
        entry: Option<&str>,
        meter: &Meter,
    ) -> Rc<Door> {
        let name: Name = (address, tenant, entry.map(Arc::from));
        if let Some(known) = self.known.get(&name) {
            return known.clone();
        }
        if self.known.len() >= self.limit {
            self.known.retain(|_, known| Rc::strong_count(known) > 1);
            self.limit = FEW.max(self.known.len() * 2);
        }
        let (_, tenant, id) = name.clone();
        let entry = id.map(|id| Entry { traffic: meter.open(&id), id });
        let shared = Rc::new(Door { address, tenant, entry });
        self.known.insert(name, shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(doors: &mut Doors, port: u16, tenant: Option<&str>, entry: Option<&str>) -> Rc<Door> {
        doors.share(([127, 0, 0, 1], port).into(), tenant.map(Arc::from), entry, &Meter::default())
    }

    #[test]
    fn an_address_reads_as_the_standard_one() {
        for text in ["10.1.2.3:6379", "[::1]:6379", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::from(address).to_string(), text);
        }
    }

    #[test]
    fn clients_of_one_door_share_it() {
        let mut own = Doors::default();
        let (one, other) = (share(&mut own, 1, None, None), share(&mut own, 2, None, None));
        assert!(Rc::ptr_eq(&one, &share(&mut own, 1, None, None)) && !Rc::ptr_eq(&one, &other));
        let tenants = share(&mut own, 1, Some("shop"), None);
        assert!(!Rc::ptr_eq(&one, &tenants), "by a name of its own, at the same address");
        let entered = share(&mut own, 1, None, Some("a"));
        assert!(!Rc::ptr_eq(&one, &entered) && !Rc::ptr_eq(&entered, &share(&mut own, 1, None, Some("b"))));
    }

    #[test]
    fn doors_without_a_client_are_forgotten() {
        let mut own = Doors::default();
        let kept = share(&mut own, 1, None, Some("a"));
        for port in 2..10_000 {
            drop(share(&mut own, port, None, None));
        }
        assert!(own.known.len() <= FEW, "{} are kept", own.known.len());
        assert!(Rc::ptr_eq(&kept, &share(&mut own, 1, None, Some("a"))));
    }

    #[test]
    fn what_comes_by_an_entry_is_counted_as_its() {
        let (mut own, meter) = (Doors::default(), Meter::default());
        let door = own.share(([127, 0, 0, 1], 1).into(), None, Some("a"), &meter);
        door.count_client(true);
        door.count_client(true);
        door.count_client(false);
        door.count_received(3);
        door.count_sent(5);
        let counted = meter.totals()["a"];
        assert_eq!((counted.connections, counted.accepted, counted.received, counted.sent), (1, 2, 3, 5));
        share(&mut own, 2, None, None).count_client(true);
    }
}
