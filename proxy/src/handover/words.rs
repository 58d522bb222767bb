//! What the two processes say to each other: a line each.

use std::fmt;
use std::net::SocketAddr;

use super::place::Place;

/// The version that is spoken here. Words are added without a new one where the other side may not know them.
pub const VERSION: u32 = 1;

/// Longest line with its end; an address has at most some sixty bytes, a tenant's name as many.
pub const MAX_LINE: usize = 1 << 10;

/// Most sockets of a process.
pub const MAX_SOCKETS: usize = 4_096;

// What is said of a failure has to fit a line.
const MAX_REASON: usize = 800;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// New: who asks.
    Hello {
        /// What it speaks.
        version: u32,
        /// Its process id.
        pid: u32,
    },
    /// Old: as many sockets follow.
    Sockets {
        /// Its process id.
        pid: u32,
        /// How many.
        count: usize,
    },
    /// Old: a socket, whose descriptor comes with the line.
    Socket(Place),
    /// New: could serve now.
    Ready,
    /// Old: accepts no more.
    Yours,
    /// New: accepts.
    Serving,
    /// Either: it comes to nothing, and why.
    Failed(String),
}

impl Word {
    /// Reads a line without its end; `None` where it is none of these.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let two = || rest.split_once(' ');
        Some(match verb {
            "hello" => {
                let (version, pid) = two()?;
                Self::Hello { version: version.parse().ok()?, pid: pid.parse().ok()? }
            }
            "sockets" => {
                let (pid, count) = two()?;
                let count = count.parse().ok().filter(|count| *count <= MAX_SOCKETS)?;
                Self::Sockets { pid: pid.parse().ok()?, count }
            }
            "socket" => {
                let mut parts = rest.splitn(3, ' ');
                let mut address = || parts.next()?.parse::<SocketAddr>().ok();
                let (wanted, bound) = (address()?, address()?);
                Self::Socket(Place { wanted, bound, role: parts.next()?.to_owned() })
            }
            "ready" => Self::Ready,
            "yours" => Self::Yours,
            "serving" => Self::Serving,
            "failed" => Self::Failed(rest.to_owned()),
            _ => return None,
        })
    }
}

/// The line without its end.
impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { version, pid } => write!(f, "hello {version} {pid}"),
            Self::Sockets { pid, count } => write!(f, "sockets {pid} {count}"),
            Self::Socket(Place { role, wanted, bound }) => write!(f, "socket {wanted} {bound} {role}"),
            Self::Ready => f.write_str("ready"),
            Self::Yours => f.write_str("yours"),
            Self::Serving => f.write_str("serving"),
            Self::Failed(why) => {
                let cut = why.floor_char_boundary(MAX_REASON);
                write!(f, "failed {}", why[..cut].replace(['\r', '\n'], " "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_said_is_understood() {
        let place = Place {
            role: "tenant the shop".to_owned(),
            wanted: "[::1]:0".parse().unwrap(),
            bound: "[::1]:6379".parse().unwrap(),
        };
        let words = [
            Word::Hello { version: 1, pid: 7 },
            Word::Sockets { pid: 8, count: 3 },
            Word::Socket(place.clone()),
            Word::Socket(Place { role: String::new(), ..place }),
            Word::Ready,
            Word::Yours,
            Word::Serving,
            Word::Failed("no such thing".to_owned()),
        ];
        for word in words {
            assert_eq!(Word::parse(&word.to_string()), Some(word));
        }
    }

    #[test]
    fn a_reason_fits_a_line_whatever_it_is() {
        let said = Word::Failed("ä\n".repeat(5_000)).to_string();
        assert!(said.len() < MAX_LINE && !said.contains('\n'));
    }

    #[test]
    fn nonsense_is_none_of_them() {
        for line in
            ["", "hello", "hello 1", "hello x 1", "sockets 1 99999999", "socket a b c", "socket 1.1.1.1:1"]
        {
            assert_eq!(Word::parse(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".*") {
            let _ = Word::parse(&line);
        }
    }
}
