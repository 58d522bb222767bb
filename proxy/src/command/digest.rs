//! A script's name: the SHA-1 of its body, which the servers call it by.

use std::fmt;

use sha1::{Digest as _, Sha1};

/// Twenty bytes that stand for a script.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Digest(pub [u8; 20]);

impl Digest {
    /// The name of this body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha1::digest(body).into())
    }

    /// Reads forty hexadecimal digits, in either case as the servers do; `None` for what names no script.
    #[must_use]
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let (pairs, []) = hex.as_chunks::<2>() else { return None };
        let mut digest = [0; 20];
        if pairs.len() != digest.len() {
            return None;
        }
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = (nibble(*high)? << 4) | nibble(*low)?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_named_as_the_servers_name_it() {
        let name = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        assert_eq!(Digest::of(b"return 1").to_string(), name);
        assert_eq!(Digest::parse(name.as_bytes()), Some(Digest::of(b"return 1")));
        assert_eq!(Digest::parse(name.to_uppercase().as_bytes()), Some(Digest::of(b"return 1")));
    }

    #[test]
    fn what_is_no_name_is_none() {
        let name = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        for bad in ["", "x", &name[1..], &name.replace('0', "g"), &format!("{name}0"), &format!("{name}00")] {
            assert_eq!(Digest::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
