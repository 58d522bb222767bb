//! Clients' addresses in few bytes: each client has its own, while one of ours is shared by all that came in by it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::rc::Rc;
use std::sync::Arc;

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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Door {
    /// The address that they connected to.
    pub address: SocketAddr,
    /// The tenant whose own it is: they are nobody else's.
    pub tenant: Option<Arc<str>>,
}

/// The doors that clients of a worker came in by.
#[derive(Default, Debug)]
pub struct Doors {
    known: BTreeSet<Rc<Door>>,
    /// How many there may be before those without a client are forgotten.
    limit: usize,
}

// Below this nothing is worth looking for.
const FEW: usize = 16;

impl Doors {
    /// The one that all clients of this door share.
    pub fn share(&mut self, door: Door) -> Rc<Door> {
        if let Some(known) = self.known.get(&door) {
            return known.clone();
        }
        if self.known.len() >= self.limit {
            self.known.retain(|known| Rc::strong_count(known) > 1);
            self.limit = FEW.max(self.known.len() * 2);
        }
        let shared = Rc::new(door);
        self.known.insert(shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(port: u16) -> Door {
        Door { address: SocketAddr::from(([127, 0, 0, 1], port)), tenant: None }
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
        let (one, other) = (own.share(door(1)), own.share(door(2)));
        assert!(Rc::ptr_eq(&one, &own.share(door(1))));
        assert_eq!((&*one, &*other), (&door(1), &door(2)));
        let tenants = own.share(Door { tenant: Some("shop".into()), ..door(1) });
        assert!(!Rc::ptr_eq(&one, &tenants), "by a name of its own, at the same address");
    }

    #[test]
    fn doors_without_a_client_are_forgotten() {
        let mut own = Doors::default();
        let kept = own.share(door(1));
        for port in 2..10_000 {
            drop(own.share(door(port)));
        }
        assert!(own.known.len() <= FEW, "{} are kept", own.known.len());
        assert!(Rc::ptr_eq(&kept, &own.share(door(1))));
    }
}
