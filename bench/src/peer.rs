//! A proxy that somebody else started.

use std::net::SocketAddr;

/// A proxy started by somebody else.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What the report calls it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process, for the accounting.
    pub pid: u32,
}

impl Peer {
    /// `NAME=HOST:PORT:PID`, as the flag takes it; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(name, rest)| Some((name, rest.rsplit_once(':')?)));
        let Some((name, (address, pid))) = parts else {
            return Err("expected NAME=HOST:PORT:PID".to_owned());
        };
        Ok(Self {
            name: name.to_owned(),
            address: address
                .replace("localhost", "127.0.0.1")
                .parse()
                .map_err(|error| format!("{address}: {error}"))?,
            pid: pid.parse().map_err(|error| format!("{pid}: {error}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_an_address_and_a_process() {
        let peer = Peer::parse("predixy=127.0.0.1:7617:4711").unwrap();
        assert_eq!((peer.name.as_str(), peer.address.port(), peer.pid), ("predixy", 7617, 4711));
        for wrong in ["predixy", "predixy=127.0.0.1", "predixy=127.0.0.1:7617:", "x=nowhere:1:1"] {
            assert!(Peer::parse(wrong).is_err(), "{wrong}");
        }
    }
}
