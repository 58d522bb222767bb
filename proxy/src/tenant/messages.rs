//! Messages of Pub/Sub as those in a namespace are told them.

use super::channels;
use super::namespace::Namespace;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::value::Value;

/// The push `message` as clients in `namespace` are told it, or as it is where they are in none; `None` where it is not
/// for them.
#[must_use]
pub fn told(namespace: Option<&Namespace>, message: &[u8]) -> Option<Vec<u8>> {
    let Some(namespace) = namespace else { return Some(message.to_vec()) };
    let push = Value::parse(message).ok()?;
    let words: Vec<&[u8]> = push.list()?.iter().map(Value::text).collect::<Option<_>>()?;
    // The kind, a pattern where one listens to it, the channel, the message.
    let (kind, names, payload) = match words.as_slice() {
        [kind, names @ .., payload] if matches!(names.len(), 1 | 2) => (*kind, names, *payload),
        _ => return None,
    };
    let about_key = channels::is_keyevent(names.last()?);
    let payload = if about_key { own_key(namespace, payload)? } else { payload };
    let mut out = Vec::with_capacity(message.len());
    let mut writer = ReplyWriter::new(&mut out, Protocol::Resp3);
    writer.push(words.len());
    writer.bulk(kind);
    for name in names {
        writer.bulk(channels::incoming(namespace, name)?);
    }
    writer.bulk(payload);
    Some(out)
}

/// The key that an event is about, where it is one of the namespace's database 0, which the channel names.
fn own_key<'m>(namespace: &Namespace, key: &'m [u8]) -> Option<&'m [u8]> {
    namespace.split(key).filter(|(database, _)| *database == 0).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::namespace::tests::{spread, together};

    fn push(words: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ReplyWriter::new(&mut out, Protocol::Resp3);
        writer.push(words.len());
        words.iter().for_each(|word| writer.bulk(word));
        out
    }

    #[test]
    fn channels_and_patterns_are_told_as_they_were_written() {
        for (sent, heard) in [
            (&["message", "k3m9x2ab:c", "k3m9x2ab:m"][..], &["message", "c", "k3m9x2ab:m"][..]),
            (&["smessage", "k3m9x2ab:c", "m"], &["smessage", "c", "m"]),
            (&["pmessage", "k3m9x2ab:c*", "k3m9x2ab:cd", "m"], &["pmessage", "c*", "cd", "m"]),
            (&["message", "__keyspace@0__:k3m9x2ab.2:k", "del"], &["message", "__keyspace@2__:k", "del"]),
            (&["message", "__keyevent@0__:del", "k3m9x2ab:k"], &["message", "__keyevent@0__:del", "k"]),
            (
                &["pmessage", "__keyevent@0__:*", "__keyevent@0__:del", "k3m9x2ab:k"],
                &["pmessage", "__keyevent@0__:*", "__keyevent@0__:del", "k"],
            ),
        ] {
            assert_eq!(told(Some(&spread()), &push(sent)), Some(push(heard)), "{sent:?}");
            assert_eq!(told(Some(&together()), &push(sent)), None, "{sent:?}");
            assert_eq!(told(None, &push(sent)), Some(push(sent)));
        }
    }

    #[test]
    fn of_keys_only_the_own_ones_are_heard() {
        for key in ["k3m9x2ac:k", "k", "k3m9x2ab.2:k", ""] {
            assert_eq!(told(Some(&spread()), &push(&["message", "__keyevent@0__:del", key])), None, "{key}");
        }
        assert_eq!(told(Some(&spread()), b">1\r\n$1\r\na\r\n"), None);
    }
}
