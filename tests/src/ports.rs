//! Free ports that stay ours: several test processes run at once, and a killed node must find its port free
//! when it comes back.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below the ephemeral range of Linux, so that no outgoing connection takes a port of a node that is down
/// just now. Only a range: which ports are taken from it is found out by binding.
const RANGE: std::ops::Range<u16> = 18_000..32_000;

/// A TCP port on loopback that no other test uses while this value lives.
///
/// The lease is the UDP port of the same number: bound by us, it excludes every other test process, and
/// the kernel gives it back whatever becomes of us. (A lock file would outlive a killed run.)
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lease: UdpSocket,
}

impl Port {
    /// Takes a free one.
    ///
    /// # Panics
    /// Where none is free.
    #[must_use]
    pub fn lease() -> Self {
        let attempts = usize::from(RANGE.end - RANGE.start);
        let found = (0..attempts).find_map(|_| Self::try_lease(fastrand::u16(RANGE)));
        found.expect("a port of the range is free")
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    fn try_lease(number: u16) -> Option<Self> {
        let lease = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _lease: lease })
    }
}
