//! Channels of a namespace. They have its prefix, but for those that the servers themselves publish to: a
//! notification about a key tells the key in the channel's name (`__keyspace@0__:key`) or in the message
//! (`__keyevent@0__:del`).

use std::borrow::Cow;

use thiserror::Error;

use super::namespace::Namespace;

/// A channel that nobody in a namespace may listen to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadChannel {
    /// A name or pattern that may be of the servers' own channels, and is none of the forms that are known.
    #[error("channels that begin with __ are the servers'")]
    Reserved,
    /// A notification of a database that there is not.
    #[error("no such database")]
    NoDatabase,
}

impl BadChannel {
    /// The reason, as a client is told it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Reserved => {
                "of the channels that begin with __ it has its own __keyspace@n__ and __keyevent@0__"
            }
            Self::NoDatabase => "there is no such database to hear of",
        }
    }
}

const KEYSPACE: &[u8] = b"__keyspace@";
const KEYEVENT: &[u8] = b"__keyevent@";

/// The channel that `name`, as a client in the namespace wrote it, is on the servers. With patterns it is the same: a
/// prefix has no character that means something in them.
///
/// # Errors
/// Where it may not be listened to, or published to.
pub fn outgoing<'n>(namespace: &Namespace, name: &'n [u8]) -> Result<Cow<'n, [u8]>, BadChannel> {
    if !name.starts_with(b"__") {
        return Ok(Cow::Owned([namespace.channel_prefix().as_bytes(), name].concat()));
    }
    if let Some((database, key)) = parts(name, KEYSPACE) {
        let database = number(database, namespace)?;
        let prefix = namespace.prefix(database);
        return Ok(Cow::Owned([KEYSPACE, b"0__:", prefix.as_bytes(), key].concat()));
    }
    match parts(name, KEYEVENT) {
        // Whose keys a message is about is looked at when it comes.
        Some((b"0", _)) => Ok(Cow::Borrowed(name)),
        Some((b"*", event)) if namespace.databases() == 1 => {
            Ok(Cow::Owned([KEYEVENT, b"0__:", event].concat()))
        }
        Some(_) => Err(BadChannel::NoDatabase),
        None => Err(BadChannel::Reserved),
    }
}

/// The same of a channel that is published to. What the servers publish is not a client's to say: a made-up message
/// of the form of [`is_keyevent`] would reach whoever its text names.
///
/// # Errors
/// Where it may not be published to.
pub fn published<'n>(namespace: &Namespace, name: &'n [u8]) -> Result<Cow<'n, [u8]>, BadChannel> {
    if is_keyevent(name) { Err(BadChannel::Reserved) } else { outgoing(namespace, name) }
}

/// The name of a channel or pattern of the servers for clients in the namespace; `None` of what is not theirs.
#[must_use]
pub fn incoming<'n>(namespace: &Namespace, name: &'n [u8]) -> Option<Cow<'n, [u8]>> {
    if let Some((_, key)) = parts(name, KEYSPACE) {
        let (database, key) = namespace.split(key)?;
        return Some(Cow::Owned([KEYSPACE, database.to_string().as_bytes(), b"__:", key].concat()));
    }
    if is_keyevent(name) {
        return Some(Cow::Borrowed(name));
    }
    name.strip_prefix(namespace.channel_prefix().as_bytes()).map(Cow::Borrowed)
}

/// Whether messages of this channel are keys.
#[must_use]
pub fn is_keyevent(channel: &[u8]) -> bool {
    channel.starts_with(KEYEVENT)
}

/// The database and what stands behind it, of `<kind>3__:rest`.
fn parts<'n>(name: &'n [u8], kind: &[u8]) -> Option<(&'n [u8], &'n [u8])> {
    let rest = name.strip_prefix(kind)?;
    let end = memchr::memmem::find(rest, b"__:")?;
    Some((&rest[..end], &rest[end + 3..]))
}

/// The database that a client names; `*` means all where there is one.
fn number(text: &[u8], namespace: &Namespace) -> Result<u16, BadChannel> {
    if text == b"*" && namespace.databases() == 1 {
        return Ok(0);
    }
    let number = str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|number| number.parse().ok());
    number.filter(|number| *number < namespace.databases()).ok_or(BadChannel::NoDatabase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tenants::Placement;
    use crate::tenant::namespace::tests::{namespace_of, spread, together};

    fn out(namespace: &Namespace, name: &str) -> Result<String, BadChannel> {
        outgoing(namespace, name.as_bytes()).map(|name| String::from_utf8(name.into_owned()).unwrap())
    }

    fn back(namespace: &Namespace, name: &str) -> Option<String> {
        incoming(namespace, name.as_bytes()).map(|name| String::from_utf8(name.into_owned()).unwrap())
    }

    #[test]
    fn channels_have_the_prefix_and_lose_it() {
        for name in ["news", "", "_x", "a*", "k3m9x2ab:"] {
            let sent = out(&spread(), name).unwrap();
            assert_eq!(sent, format!("k3m9x2ab:{name}"));
            assert_eq!(back(&spread(), &sent).as_deref(), Some(name));
            assert_eq!(back(&together(), &sent), None);
        }
    }

    #[test]
    fn notifications_about_keys_are_of_the_own_ones() {
        assert_eq!(out(&spread(), "__keyspace@0__:k*").unwrap(), "__keyspace@0__:k3m9x2ab:k*");
        assert_eq!(out(&together(), "__keyspace@3__:k").unwrap(), "__keyspace@0__:{k3m9x2ac}.3:k");
        assert_eq!(back(&together(), "__keyspace@0__:{k3m9x2ac}.3:k").unwrap(), "__keyspace@3__:k");
        assert_eq!(back(&spread(), "__keyspace@0__:{k3m9x2ac}.3:k"), None);
        assert_eq!(out(&spread(), "__keyevent@0__:del").unwrap(), "__keyevent@0__:del");
        let one = namespace_of("abcdefgh", Placement::Spread, 1);
        assert_eq!(out(&one, "__keyspace@*__:*").unwrap(), "__keyspace@0__:abcdefgh:*");
        assert_eq!(out(&one, "__keyevent@*__:*").unwrap(), "__keyevent@0__:*");
    }

    #[test]
    fn what_would_show_keys_of_others_is_refused() {
        for name in [
            "__key*__:*",
            "__keyspace@0_*",
            "__*",
            "__redis__:invalidate",
            "__sentinel__:hello",
            "__keyspace@",
        ] {
            assert_eq!(out(&spread(), name), Err(BadChannel::Reserved), "{name}");
        }
        assert_eq!(published(&spread(), b"__keyevent@0__:del"), Err(BadChannel::Reserved));
        assert!(published(&spread(), b"news").is_ok());
        for name in [
            "__keyspace@16__:*",
            "__keyspace@*__:*",
            "__keyspace@?__:k",
            "__keyspace@__:k",
            "__keyevent@1__:x",
        ] {
            assert_eq!(out(&spread(), name), Err(BadChannel::NoDatabase), "{name}");
        }
    }
}
