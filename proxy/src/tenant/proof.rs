//! What a client has shown to be let in as a user: what has to stay true for it to remain so.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::config::tenants::User;

/// What lets a client in. Kept for each member and not for each client, so that it costs a client nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nobody has to show anything.
    Unneeded,
    /// A password of this SHA-256.
    Password([u8; 32]),
    /// A certificate that speaks of whom has this SHA-256, written as in the settings.
    Certificate([u8; 32]),
}

impl Proof {
    /// Every way to show that one is this user.
    pub fn all_of(user: &User) -> impl Iterator<Item = Self> {
        let unneeded = user.is_open().then_some(Self::Unneeded);
        let passwords = user.passwords.iter().copied().map(Self::Password);
        let subjects = user.subjects.iter().map(|subject| Self::of_subject(subject.as_str()));
        unneeded.into_iter().chain(passwords).chain(subjects)
    }

    /// What a certificate proves that speaks of this.
    #[must_use]
    pub fn of_subject(subject: &str) -> Self {
        Self::Certificate(Sha256::digest(subject).into())
    }

    /// Whether a password of this SHA-256 is enough. Takes the same time whatever of it is right.
    #[must_use]
    pub fn fits(&self, digest: &[u8; 32]) -> bool {
        match self {
            Self::Unneeded => true,
            Self::Password(own) => same(own, digest),
            Self::Certificate(_) => false,
        }
    }
}

/// Compares in constant time: how much of a password's digest was right must not be measurable.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// The hash of a weak password is nearly the password.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unneeded => "Unneeded",
            Self::Password(_) => "Password(..)",
            Self::Certificate(_) => "Certificate(..)",
        })
    }
}
