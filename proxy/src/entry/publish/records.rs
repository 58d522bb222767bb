//! What a name resolves to.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of one family. Without any it has a TTL of 0, so that two that say the same are equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressSet<A> {
    addresses: BTreeSet<A>,
    ttl: u32,
}

impl<A: Ord + Copy> AddressSet<A> {
    /// These, to be kept for `ttl` seconds.
    pub fn new(addresses: impl IntoIterator<Item = A>, ttl: u32) -> Self {
        let addresses: BTreeSet<_> = addresses.into_iter().collect();
        let ttl = if addresses.is_empty() { 0 } else { ttl };
        Self { addresses, ttl }
    }

    /// The addresses, in order.
    pub fn iter(&self) -> impl Iterator<Item = A> {
        self.addresses.iter().copied()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// How long they may be kept, in seconds.
    #[must_use]
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    fn contains(&self, address: &A) -> bool {
        self.addresses.contains(address)
    }
}

impl<A: Ord + Copy> Default for AddressSet<A> {
    fn default() -> Self {
        Self::new([], 0)
    }
}

/// The A and the AAAA records of one name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Records {
    /// A.
    pub v4: AddressSet<Ipv4Addr>,
    /// AAAA.
    pub v6: AddressSet<Ipv6Addr>,
}

impl Records {
    /// These addresses, to be kept for `ttl` seconds.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>, ttl: u32) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(address),
                IpAddr::V6(address) => v6.push(address),
            }
        }
        Self { v4: AddressSet::new(v4, ttl), v6: AddressSet::new(v6, ttl) }
    }

    /// Whether the name resolves to nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether both have the same addresses, however long they may be kept.
    #[must_use]
    pub fn has_addresses_of(&self, other: &Self) -> bool {
        self.v4.addresses == other.v4.addresses && self.v6.addresses == other.v6.addresses
    }

    /// Whether the name resolves to this address.
    #[must_use]
    pub fn has(&self, address: &IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address),
            IpAddr::V6(address) => self.v6.contains(address),
        }
    }
}

/// Addresses only, as a line of the log has them.
impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        let all = self.v4.iter().map(IpAddr::from).chain(self.v6.iter().map(IpAddr::from));
        f.write_str(&all.map(|address| address.to_string()).collect::<Vec<_>>().join(" "))
    }
}
