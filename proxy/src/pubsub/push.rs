//! What a push on a connection for subscriptions says, read from its first elements in place.

use crate::command::spec::TopicKind;
use crate::resp::scan::parse_number;

/// A push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Push<'a> {
    /// A message was published to this topic.
    Message(TopicKind, &'a [u8]),
    /// The node takes us for a subscriber of this topic.
    Subscribed(TopicKind, &'a [u8]),
    /// It does not, or no longer: because we said so, or because a shard channel's slot moved away.
    Unsubscribed(TopicKind, &'a [u8]),
}

impl<'a> Push<'a> {
    /// Reads the beginning of a push; `None` for one that has nothing to do with subscriptions.
    #[must_use]
    pub fn parse(push: &'a [u8]) -> Option<Self> {
        use TopicKind::{Channel, Pattern, Shard};
        let rest = push.strip_prefix(b">")?;
        let (_, rest) = line(rest)?;
        let (word, rest) = bulk(rest)?;
        // Unsubscribing from all of nothing names none.
        let (name, _) = bulk(rest)?;
        Some(match word {
            b"message" => Self::Message(Channel, name),
            b"pmessage" => Self::Message(Pattern, name),
            b"smessage" => Self::Message(Shard, name),
            b"subscribe" => Self::Subscribed(Channel, name),
            b"psubscribe" => Self::Subscribed(Pattern, name),
            b"ssubscribe" => Self::Subscribed(Shard, name),
            b"unsubscribe" => Self::Unsubscribed(Channel, name),
            b"punsubscribe" => Self::Unsubscribed(Pattern, name),
            b"sunsubscribe" => Self::Unsubscribed(Shard, name),
            _ => return None,
        })
    }
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\r', bytes)?;
    Some((&bytes[..end], bytes.get(end + 2..)?))
}

fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = line(bytes.strip_prefix(b"$")?)?;
    let len = usize::try_from(parse_number(len)?).ok()?;
    Some((rest.get(..len)?, rest.get(len..)?.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_from_the_others() {
        use TopicKind::{Channel, Pattern, Shard};
        let parse = |text: &'static str| Push::parse(text.as_bytes());
        for (push, meaning) in [
            (">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", Push::Message(Channel, b"c")),
            (">4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$1\r\nc\r\n$1\r\nm\r\n", Push::Message(Pattern, b"c*")),
            (">3\r\n$8\r\nsmessage\r\n$0\r\n\r\n$1\r\nm\r\n", Push::Message(Shard, b"")),
            (">3\r\n$10\r\npsubscribe\r\n$1\r\nc\r\n:1\r\n", Push::Subscribed(Pattern, b"c")),
            (">3\r\n$12\r\nsunsubscribe\r\n$2\r\n\r\n\r\n:0\r\n", Push::Unsubscribed(Shard, b"\r\n")),
        ] {
            assert_eq!(parse(push), Some(meaning));
        }
        assert_eq!(parse(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"), None);
        assert_eq!(parse(">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n"), None);
    }

    #[test]
    fn a_push_cut_anywhere_is_read_without_panic() {
        let push = b">3\r\n$7\r\nmessage\r\n$3\r\nabc\r\n$1\r\nm\r\n";
        for cut in 0..push.len() {
            let whole = Push::parse(&push[..cut]);
            assert!(whole.is_none() || cut >= 26, "{cut}");
        }
        assert_eq!(Push::parse(b">3\r\n$99999999999999999999\r\nmessage\r\n"), None);
        assert_eq!(Push::parse(b">3\r\n$-1\r\n$-1\r\n"), None);
    }
}
