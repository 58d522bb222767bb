//! The PROXY header, version 1 or 2, by which a balancer says where a connection comes from and which of its addresses
//! it was made to (HAProxy's proxy-protocol.txt). Pure: how many bytes to read next, and what they say. Not one byte
//! behind the header is asked for: those are somebody else's, a TLS handshake's perhaps.

use std::net::SocketAddr;

use ppp::{v1, v2};
use thiserror::Error;

/// Where a connection comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The client's address.
    pub client: SocketAddr,
    /// The address that it connected to: an entry's.
    pub entry: SocketAddr,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// At least so many more bytes belong to the header, one or more.
    More(usize),
    /// The header is whole. `None` where it tells of no address: the balancer's own connections, a health check say.
    Whole(Option<Origin>),
}

/// The connection begins with no PROXY header.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum HeaderError {
    /// Something else.
    #[error("no PROXY header")]
    Missing,
    /// It begins as one, and is none.
    #[error("PROXY header: {0}")]
    Malformed(String),
    /// It is longer than any with addresses and the usual extensions.
    #[error("PROXY header of {0} bytes")]
    TooLong(usize),
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version, family and length.
const FIXED: usize = 16;
/// Extensions carry certificates' names and the like; the specification's own advice for receivers is some hundred.
const LONGEST: usize = 4_096;

const WORD: &[u8] = b"PROXY ";
/// The shortest ones of version 1: of an unknown family, and with addresses.
const SHORTEST: usize = "PROXY UNKNOWN\r\n".len();
const SHORTEST_4: usize = "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".len();
const SHORTEST_6: usize = "PROXY TCP6 :: :: 1 1\r\n".len();
/// The longest by the specification.
const LONGEST_LINE: usize = 107;

/// What the first bytes of a connection say.
///
/// # Errors
/// Where they are no header.
pub fn read(bytes: &[u8]) -> Result<Step, HeaderError> {
    if begins(bytes, SIGNATURE) {
        read_binary(bytes)
    } else if begins(bytes, WORD) {
        read_line(bytes)
    } else {
        Err(HeaderError::Missing)
    }
}

fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

fn read_binary(bytes: &[u8]) -> Result<Step, HeaderError> {
    // As long as it may be either, no more than the shorter one has.
    if bytes.len() < SHORTEST {
        return Ok(Step::More(SHORTEST - bytes.len()));
    }
    let Some(length) = bytes.get(FIXED - 2..FIXED) else { return Ok(Step::More(FIXED - bytes.len())) };
    let whole = FIXED + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if whole > LONGEST {
        return Err(HeaderError::TooLong(whole));
    }
    if bytes.len() < whole {
        return Ok(Step::More(whole - bytes.len()));
    }
    let header = v2::Header::try_from(bytes).map_err(|error| HeaderError::Malformed(error.to_string()))?;
    let origin = match (header.command, &header.addresses) {
        (v2::Command::Local, _) => None,
        (_, v2::Addresses::IPv4(of)) => {
            let client = (of.source_address, of.source_port).into();
            Some(Origin { client, entry: (of.destination_address, of.destination_port).into() })
        }
        (_, v2::Addresses::IPv6(of)) => {
            let client = (of.source_address, of.source_port).into();
            Some(Origin { client, entry: (of.destination_address, of.destination_port).into() })
        }
        (_, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
    };
    Ok(Step::Whole(origin))
}

fn read_line(bytes: &[u8]) -> Result<Step, HeaderError> {
    if bytes.ends_with(b"\r\n") {
        // The parser cuts text by bytes, which panics within a character that is no ASCII; nor may a line end twice.
        let line = &bytes[..bytes.len() - 2];
        let text = std::str::from_utf8(bytes).ok().filter(|_| line.is_ascii() && !line.contains(&b'\r'));
        let text = text.ok_or_else(|| HeaderError::Malformed("no line of ASCII".to_owned()))?;
        let header = v1::Header::try_from(text).map_err(|error| HeaderError::Malformed(error.to_string()))?;
        return Ok(Step::Whole(match header.addresses {
            v1::Addresses::Tcp4(of) => Some(Origin {
                client: (of.source_address, of.source_port).into(),
                entry: (of.destination_address, of.destination_port).into(),
            }),
            v1::Addresses::Tcp6(of) => Some(Origin {
                client: (of.source_address, of.source_port).into(),
                entry: (of.destination_address, of.destination_port).into(),
            }),
            v1::Addresses::Unknown => None,
        }));
    }
    if bytes.len() >= LONGEST_LINE {
        return Err(HeaderError::TooLong(bytes.len()));
    }
    let shortest = match bytes.get(WORD.len()..WORD.len() + 4) {
        Some(b"TCP4") => SHORTEST_4,
        Some(b"TCP6") => SHORTEST_6,
        _ => SHORTEST,
    };
    let end = if bytes.ends_with(b"\r") { 1 } else { 2 };
    Ok(Step::More(shortest.saturating_sub(bytes.len()).max(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads as a connection would, by the steps that are told; gives what was said and how much was read.
    fn follow(stream: &[u8]) -> Result<(Option<Origin>, usize), HeaderError> {
        let mut taken = 0;
        loop {
            match read(&stream[..taken])? {
                Step::Whole(origin) => return Ok((origin, taken)),
                Step::More(more) => {
                    assert!(more > 0);
                    if taken == stream.len() {
                        return Err(HeaderError::Malformed("cut off".to_owned()));
                    }
                    taken = stream.len().min(taken + more);
                }
            }
        }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn both_versions_are_read_to_their_last_byte_and_no_further() {
        let origin = |client: &str, entry: &str| Origin {
            client: client.parse().unwrap(),
            entry: entry.parse().unwrap(),
        };
        let v4 = origin("10.1.2.3:40000", "192.0.2.1:6379");
        let v6 = origin("[2001:db8::5]:40000", "[2001:db8::1]:6379");
        let addresses4 = [10, 1, 2, 3, 192, 0, 2, 1, 0x9c, 0x40, 0x18, 0xeb];
        let mut addresses6 = Vec::new();
        for address in ["2001:db8::5", "2001:db8::1"] {
            addresses6.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
        }
        addresses6.extend([0x9c, 0x40, 0x18, 0xeb]);
        // An extension behind the addresses: NOOP with three bytes.
        let extended = [&addresses4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        for (header, said) in [
            (b"PROXY TCP4 10.1.2.3 192.0.2.1 40000 6379\r\n".to_vec(), Some(v4)),
            (b"PROXY TCP6 2001:db8::5 2001:db8::1 40000 6379\r\n".to_vec(), Some(v6)),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (binary(1, 0x11, &addresses4), Some(v4)),
            (binary(1, 0x11, &extended), Some(v4)),
            (binary(1, 0x21, &addresses6), Some(v6)),
            (binary(0, 0x00, &[]), None),
            (binary(0, 0x11, &addresses4), None),
        ] {
            let stream = [&header[..], b"PING\r\n"].concat();
            assert_eq!(follow(&stream), Ok((said, header.len())), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        for bytes in [&b"PING\r\nPING\r\nPING\r\n"[..], b"*1\r\n$4\r\nPING\r\n", b"GET / HTTP/1.1\r\n"] {
            assert_eq!(follow(bytes), Err(HeaderError::Missing), "{}", bytes.escape_ascii());
        }
        for bytes in [
            b"PROXY TCP4 10.1.2.3 192.0.2.1 40000 99999\r\n".to_vec(),
            b"PROXY TCP4 10.1.2.3 nonsense 40000 6379\r\nxxxxxxxx".to_vec(),
            // What fuzzing found.
            b"PROXY 2001\r\xc6\x9b(\r\n\xff\xff\xff\xff".to_vec(),
            binary(5, 0x11, &[0; 12]),
            binary(1, 0x11, &[0; 3]),
        ] {
            assert!(matches!(follow(&bytes), Err(HeaderError::Malformed(_))), "{}", bytes.escape_ascii());
        }
        assert!(matches!(follow(&binary(1, 0x11, &[0; 5_000])), Err(HeaderError::TooLong(_))));
        let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
        assert!(matches!(follow(&endless), Err(HeaderError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(prefix in 0..3_usize, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let stream = [[SIGNATURE, WORD, b""][prefix], &bytes].concat();
            let _ = follow(&stream);
        }
    }
}
