//! A tenant's namespace: the prefix that its keys and channels have on servers that others share. It is made of an
//! internal id of fixed length and the number of a database, never of text that a tenant chose, so that no prefix is the
//! beginning of another one, and it has no character that means something in the servers' patterns.

use std::fmt;

use crate::cluster::slot::Slot;
use crate::config::tenants::{NamespaceId, NamespaceSettings, Placement};

/// Longest prefix: braces, the id, a dot, five digits, a colon.
const LONGEST: usize = size_of::<NamespaceId>() + 2 + 1 + 5 + 1;

/// A namespace. Small and copied freely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace {
    settings: NamespaceSettings,
}

/// What the names of one database's keys begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; LONGEST],
    len: u8,
}

impl Namespace {
    /// The namespace of these settings.
    #[must_use]
    pub fn new(settings: NamespaceSettings) -> Self {
        Self { settings }
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.settings.id
    }

    /// How many numbered databases it has.
    #[must_use]
    pub fn databases(&self) -> u16 {
        self.settings.databases
    }

    /// The slot of all its keys, where they are together.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        (self.settings.placement == Placement::Together).then(|| Slot::of(&self.settings.id.0))
    }

    /// The prefix of a database's keys: `id:` for database 0, `id.3:` for database 3, the id in braces where keys are
    /// together.
    #[must_use]
    pub fn prefix(&self, database: u16) -> Prefix {
        let mut prefix = self.stem();
        if database > 0 {
            prefix.push(b'.');
            let mut digits = [0; 5];
            let (mut rest, mut at) = (database, digits.len());
            while rest > 0 {
                at -= 1;
                digits[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            digits[at..].iter().for_each(|digit| prefix.push(*digit));
        }
        prefix.push(b':');
        prefix
    }

    /// The prefix of its channels. They have no database, as with the servers.
    #[must_use]
    pub fn channel_prefix(&self) -> Prefix {
        self.prefix(0)
    }

    /// The database of a key of this namespace, and the key's name in it.
    #[must_use]
    pub fn split<'n>(&self, name: &'n [u8]) -> Option<(u16, &'n [u8])> {
        let rest = name.strip_prefix(self.stem().as_bytes())?;
        let (database, len) = database(rest)?;
        (database < self.settings.databases).then(|| (database, &rest[len..]))
    }

    /// A name without the prefix of any of its databases; `None` where it has none, which is then somebody else's.
    #[must_use]
    pub fn strip<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        self.split(name).map(|(_, name)| name)
    }

    /// Appends `text` without any of the prefixes that stand in it.
    pub fn strip_text(&self, text: &[u8], out: &mut Vec<u8>) {
        let stem = self.stem();
        let mut rest = text;
        while let Some(found) = memchr::memmem::find(rest, stem.as_bytes()) {
            let behind = &rest[found + stem.as_bytes().len()..];
            let cut = database(behind).map(|(_, len)| len);
            // Not a prefix of ours, though it looks like one: a client may write the id that it does not know.
            let kept = if cut.is_some() { found } else { found + stem.as_bytes().len() };
            out.extend_from_slice(&rest[..kept]);
            rest = &behind[cut.unwrap_or(0)..];
        }
        out.extend_from_slice(rest);
    }

    /// What all its prefixes begin with: the id, in braces where keys are together.
    #[must_use]
    pub fn stem(&self) -> Prefix {
        let mut stem = Prefix { bytes: [0; LONGEST], len: 0 };
        let together = self.settings.placement == Placement::Together;
        if together {
            stem.push(b'{');
        }
        self.settings.id.0.iter().for_each(|byte| stem.push(*byte));
        if together {
            stem.push(b'}');
        }
        stem
    }
}

/// Whether a name has the form of one in a namespace, whosever it is.
#[must_use]
pub fn is_named(name: &[u8]) -> bool {
    let stem = size_of::<NamespaceId>();
    let (id, behind) = match name.strip_prefix(b"{") {
        None => (name.get(..stem), name.get(stem..)),
        Some(rest) => (rest.get(..stem), rest.get(stem..).and_then(|rest| rest.strip_prefix(b"}"))),
    };
    let is_id = |id| str::from_utf8(id).ok().and_then(NamespaceId::parse).is_some();
    id.is_some_and(is_id) && behind.and_then(database).is_some()
}

/// The database that the bytes behind a stem name, and how many bytes do: `:` or `.3:`. Only as it is written by
/// [`Namespace::prefix`].
fn database(behind: &[u8]) -> Option<(u16, usize)> {
    let (first, rest) = behind.split_first()?;
    if *first == b':' {
        return Some((0, 1));
    }
    let digits = rest.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    let number = str::from_utf8(rest.get(..digits)?).ok()?;
    let is_canonical = *first == b'.' && !number.starts_with('0') && rest.get(digits) == Some(&b':');
    let number = number.parse().ok().filter(|_| is_canonical)?;
    Some((number, digits + 2))
}

impl Prefix {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
pub(in crate::tenant) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::tenant) fn namespace_of(id: &str, placement: Placement, databases: u16) -> Namespace {
        Namespace::new(NamespaceSettings { id: NamespaceId::parse(id).unwrap(), placement, databases })
    }

    /// Two namespaces that differ in their last character.
    pub(in crate::tenant) fn spread() -> Namespace {
        namespace_of("k3m9x2ab", Placement::Spread, 16)
    }

    pub(in crate::tenant) fn together() -> Namespace {
        namespace_of("k3m9x2ac", Placement::Together, 16)
    }

    #[test]
    fn prefixes_name_the_database() {
        let text = |namespace: Namespace, database| format!("{:?}", namespace.prefix(database));
        assert_eq!(text(spread(), 0), "k3m9x2ab:");
        assert_eq!(text(spread(), 3), "k3m9x2ab.3:");
        assert_eq!(text(together(), 0), "{k3m9x2ac}:");
        assert_eq!(text(together(), u16::MAX), "{k3m9x2ac}.65535:");
    }

    #[test]
    fn a_name_of_any_namespace_has_the_form_of_one() {
        for name in ["k3m9x2ab:k", "k3m9x2ab:", "abcdefgh.7:", "{00000000}:k", "{abcdefgh}.65535:{x}"] {
            assert!(is_named(name.as_bytes()), "{name}");
        }
        for name in
            ["", "k", "k3m9x2a:k", "k3m9x2abc:k", "K3m9x2ab:k", "{k3m9x2ab:k", "k3m9x2ab}:k", "abcdefgh.0:"]
        {
            assert!(!is_named(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn all_that_is_together_is_in_one_slot() {
        let slot = together().slot().unwrap();
        for (database, key) in [(0, "a"), (0, "{b}c"), (7, "}{d}"), (15, "")] {
            let name = [together().prefix(database).as_bytes(), key.as_bytes()].concat();
            assert_eq!(Slot::of(&name), slot, "{key}");
        }
        assert_eq!(spread().slot(), None);
    }

    #[test]
    fn only_prefixes_as_they_are_written_are_prefixes() {
        for name in [
            "k3m9x2ab",
            "k3m9x2ab.:k",
            "k3m9x2ab.0:k",
            "k3m9x2ab.01:k",
            "k3m9x2ab.16:k",
            "k3m9x2ab.99999999:k",
        ] {
            assert_eq!(spread().strip(name.as_bytes()), None, "{name}");
        }
        assert_eq!(spread().split(b"k3m9x2ab.15:k"), Some((15, &b"k"[..])));
        assert_eq!(spread().strip(b"k3m9x2ab:"), Some(&b""[..]));
    }

    #[test]
    fn texts_lose_every_prefix() {
        let stripped = |namespace: Namespace, text: &str| {
            let mut out = Vec::new();
            namespace.strip_text(text.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        let text = "NOGROUP No such key 'k3m9x2ab:k' or k3m9x2ab.3:k3m9x2ab:";
        assert_eq!(stripped(spread(), text), "NOGROUP No such key 'k' or ");
        assert_eq!(stripped(together(), text), text);
        assert_eq!(stripped(together(), "ERR {k3m9x2ac}:a k3m9x2ac:b"), "ERR a k3m9x2ac:b");
        assert_eq!(stripped(spread(), "ERR k3m9x2abk3m9x2ab: k3m9x2ab"), "ERR k3m9x2ab k3m9x2ab");
    }

    fn namespace() -> impl Strategy<Value = Namespace> {
        ("[a-z0-9]{8}", any::<bool>(), 1u16..).prop_map(|(id, together, databases)| {
            let placement = if together { Placement::Together } else { Placement::Spread };
            namespace_of(&id, placement, databases)
        })
    }

    proptest! {
        #[test]
        fn no_prefix_begins_another(a in namespace(), b in namespace(), x: u16, y: u16) {
            let (one, other) = (a.prefix(x), b.prefix(y));
            let differ = (a.stem(), x) != (b.stem(), y);
            prop_assert!(!differ || !other.as_bytes().starts_with(one.as_bytes()));
        }

        #[test]
        fn a_name_comes_back(namespace in namespace(), x: u16, name: Vec<u8>) {
            let database = x % namespace.databases();
            let whole = [namespace.prefix(database).as_bytes(), &name].concat();
            prop_assert_eq!(namespace.split(&whole), Some((database, &name[..])));
        }
    }
}
