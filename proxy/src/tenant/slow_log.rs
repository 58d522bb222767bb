//! What a tenant in a namespace is shown of the servers' logs of slow and large commands, SLOWLOG and COMMANDLOG: the
//! entries of its own commands, as it said them. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::namespace::{self, Namespace};
use super::script;
use crate::command::digest::Digest;
use crate::resp::elements::{Elements, bulk, integer};
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

/// What to make of the entries that the servers gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SlowLog {
    /// GET: the newest entries come first.
    Newest {
        /// How many at most.
        most: usize,
        /// The names that the tenant's scripts have at the servers, with those that it knows.
        scripts: HashMap<Digest, Digest>,
    },
    /// LEN: how many there are.
    Count,
}

/// One entry: id, time, duration or size, arguments, address, name.
struct Entry<'r> {
    fields: Vec<&'r [u8]>,
    arguments: Vec<&'r [u8]>,
    /// Seconds since 1970.
    at: i64,
}

/// Where the arguments stand in an entry.
const ARGUMENTS: usize = 3;

impl SlowLog {
    /// Appends what the client is told of `reply`, an array of entries.
    pub fn tell(&self, namespace: &Namespace, reply: &[u8], out: &mut Vec<u8>) {
        let entries = Elements::new(reply).into_iter().flatten().filter_map(Entry::read);
        let mut own: Vec<_> = entries.filter(|entry| is_own(namespace, &entry.arguments)).collect();
        match self {
            Self::Count => writer(out).integer(own.len() as i64),
            Self::Newest { most, scripts } => {
                own.sort_by_key(|entry| Reverse(entry.at));
                own.truncate(*most);
                writer(out).array(own.len());
                own.iter().for_each(|entry| entry.write(namespace, scripts, out));
            }
        }
    }
}

/// Nothing that is written here differs between the protocols.
fn writer(out: &mut Vec<u8>) -> ReplyWriter<'_> {
    ReplyWriter::new(out, Protocol::Resp2)
}

impl<'r> Entry<'r> {
    fn read(entry: &'r [u8]) -> Option<Self> {
        let fields: Vec<_> = Elements::new(entry)?.collect();
        let arguments = Elements::new(fields.get(ARGUMENTS)?)?.map(bulk).collect::<Option<_>>()?;
        let at = integer(fields.get(1)?)?;
        Some(Self { fields, arguments, at })
    }

    fn write(&self, namespace: &Namespace, scripts: &HashMap<Digest, Digest>, out: &mut Vec<u8>) {
        writer(out).array(self.fields.len());
        for (place, field) in self.fields.iter().enumerate() {
            match place {
                0..ARGUMENTS => out.extend_from_slice(field),
                ARGUMENTS => self.write_arguments(namespace, scripts, out),
                // The connection is the proxy's, and so are its address and name.
                _ => writer(out).bulk(""),
            }
        }
    }

    fn write_arguments(&self, namespace: &Namespace, scripts: &HashMap<Digest, Digest>, out: &mut Vec<u8>) {
        let names = Names::of(&self.arguments);
        let (said, more) = match names.is_script() {
            true => without_prefix(namespace, &self.arguments),
            false => (&*self.arguments, None),
        };
        let mut writer = writer(out);
        writer.array(said.len() + usize::from(more.is_some()));
        for (place, argument) in said.iter().enumerate() {
            let own_name = || Some(scripts.get(&Digest::parse(argument)?)?.to_string().into_bytes());
            let shown = match names {
                Names::Called if place == 1 => own_name(),
                Names::Said if place == 1 => unwrapped(argument),
                _ => None,
            };
            let stripped = || {
                let mut stripped = Vec::with_capacity(argument.len());
                namespace.strip_text(argument, &mut stripped);
                stripped
            };
            writer.bulk(shown.unwrap_or_else(stripped));
        }
        more.iter().for_each(|more| writer.bulk(more));
    }
}

/// From where on a command's arguments can be names. Before it stand words of its grammar, numbers, or text that its
/// client chose: a script, a consumer's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Names {
    /// Right behind its own name.
    FromStart,
    /// Behind the word STREAMS.
    Streams,
    /// EVAL: behind a script and a number.
    Said,
    /// EVALSHA, the same.
    Called,
    /// FCALL, the same.
    Function,
}

impl Names {
    fn of(arguments: &[&[u8]]) -> Self {
        match arguments.first().map(|name| name.to_ascii_lowercase()).as_deref() {
            Some(b"xread" | b"xreadgroup") => Self::Streams,
            Some(b"eval" | b"eval_ro") => Self::Said,
            Some(b"evalsha" | b"evalsha_ro") => Self::Called,
            Some(b"fcall" | b"fcall_ro") => Self::Function,
            _ => Self::FromStart,
        }
    }

    fn is_script(self) -> bool {
        matches!(self, Self::Said | Self::Called)
    }

    fn begin(self, arguments: &[&[u8]]) -> usize {
        match self {
            Self::FromStart => 1,
            Self::Streams => {
                let is_word = |argument: &&[u8]| argument.eq_ignore_ascii_case(b"streams");
                arguments.iter().position(is_word).map_or(usize::MAX, |word| word + 1)
            }
            Self::Said | Self::Called | Self::Function => 3,
        }
    }
}

/// Whether a command is of this namespace. What a request names first is a key, a channel or a pattern, and those of every
/// namespace begin with its prefix: the first argument that has the form of a prefix decides. An entry that has none is
/// nobody's that can be told.
fn is_own(namespace: &Namespace, arguments: &[&[u8]]) -> bool {
    let behind = Names::of(arguments).begin(arguments);
    let named = arguments.iter().skip(behind).find(|argument| namespace::is_named(argument));
    named.is_some_and(|name| namespace.strip(name).is_some())
}

/// The arguments of a script without the prefix, which stands behind them for what the proxy puts in front of the script;
/// and what to say in the place of those that the log cut off.
fn without_prefix<'r>(namespace: &Namespace, arguments: &'r [&'r [u8]]) -> (&'r [&'r [u8]], Option<String>) {
    let Some((last, rest)) = arguments.split_last() else { return (arguments, None) };
    if namespace.strip(last) == Some(b"") {
        return (rest, None);
    }
    match left_out(last, b" more arguments)") {
        Some((_, count)) => (rest, Some(format!("... ({} more arguments)", count.saturating_sub(1)))),
        None => (arguments, None),
    }
}

/// A script, of which the log keeps the beginning, without what the proxy put in front: that is longer than what is
/// kept, so what remains is a first line (`#!lua ...`), and how long the rest was.
fn unwrapped(kept: &[u8]) -> Option<Vec<u8>> {
    let (head, prologue) = script::before_prologue(kept)?;
    let (beginning, count) = left_out(kept, b" more bytes)")?;
    let behind = beginning.len().checked_sub(head.len())?.checked_add(count)?;
    let own = behind.saturating_sub(prologue);
    Some([head, format!("... ({own} more bytes)").as_bytes()].concat())
}

/// Of a text from which the log cut the rest and says so, as in `what is kept... (12 more bytes)`: what is kept, and the
/// number.
fn left_out<'t>(text: &'t [u8], ending: &[u8]) -> Option<(&'t [u8], usize)> {
    let text = text.strip_suffix(ending)?;
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = text.split_at(text.len() - digits);
    let count = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((before.strip_suffix(b"... (")?, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::namespace::tests::{spread, together};

    /// Logs as servers write them: of each entry its time and its arguments.
    fn log(entries: &[(i64, &[&str])]) -> Vec<u8> {
        let mut out = Vec::new();
        writer(&mut out).array(entries.len());
        for (at, arguments) in entries {
            out.extend_from_slice(format!("*6\r\n:7\r\n:{at}\r\n:15\r\n*{}\r\n", arguments.len()).as_bytes());
            [*arguments, &["10.0.0.1:4711", "proxy"]]
                .concat()
                .iter()
                .for_each(|text| writer(&mut out).bulk(text));
        }
        out
    }

    fn told(log: &SlowLog, namespace: &Namespace, reply: &[u8]) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        log.tell(namespace, reply, &mut out);
        let entries =
            Elements::new(&out).expect("an array").map(|entry| Entry::read(entry).expect("an entry"));
        let text = |word: &&[u8]| String::from_utf8_lossy(word).into_owned();
        let told = entries.map(|entry| {
            assert_eq!(entry.fields[4..], [b"$0\r\n\r\n"; 2]);
            entry.arguments.iter().map(text).collect()
        });
        told.collect()
    }

    fn newest(most: usize) -> SlowLog {
        SlowLog::Newest { most, scripts: HashMap::new() }
    }

    #[test]
    fn own_commands_are_told_as_they_were_said() {
        let entries: &[(i64, &[&str])] = &[
            (1, &["SET", "k3m9x2ab:k", "k3m9x2ab:v"]),
            (2, &["SET", "{k3m9x2ac}:k", "k3m9x2ab:v"]),
            (3, &["CONFIG", "SET", "maxmemory", "1"]),
            (4, &["XREADGROUP", "GROUP", "abcdefgh:g", "c", "STREAMS", "k3m9x2ab.3:s", ">"]),
            (5, &["XREADGROUP", "GROUP", "k3m9x2ab:g", "c", "STREAMS", "{k3m9x2ac}:s", ">"]),
            (6, &["SET", "plain", "x"]),
            (7, &["XREAD", "k3m9x2ab:s"]),
            (8, &["ZUNION", "2", "k3m9x2ab:a", "k3m9x2ab:b"]),
        ];
        let log = log(entries);
        assert_eq!(
            told(&newest(9), &spread(), &log),
            [
                &["ZUNION", "2", "a", "b"][..],
                &["XREADGROUP", "GROUP", "abcdefgh:g", "c", "STREAMS", "s", ">"],
                &["SET", "k", "v"]
            ]
        );
        assert_eq!(told(&newest(1), &spread(), &log), [["ZUNION", "2", "a", "b"]]);
        assert_eq!(told(&newest(9), &together(), &log).len(), 2);
        let mut count = Vec::new();
        SlowLog::Count.tell(&spread(), &log, &mut count);
        assert_eq!(count, b":3\r\n");
    }

    /// As the servers keep an argument: 128 bytes of it.
    fn kept(argument: &str) -> String {
        match argument.len().checked_sub(128) {
            None | Some(0) => argument.to_owned(),
            Some(more) => format!("{}... ({more} more bytes)", &argument[..128]),
        }
    }

    fn wrap(script: &str) -> String {
        String::from_utf8(script::wrap(script.as_bytes())).unwrap()
    }

    #[test]
    fn scripts_lose_what_the_proxy_put_in_front_of_them() {
        for (script, shown) in [
            ("return 1", "... (8 more bytes)"),
            ("#!lua flags=no-writes\nreturn 1", "#!lua flags=no-writes\n... (8 more bytes)"),
        ] {
            let wrapped = kept(&wrap(script));
            let log = log(&[(1, &["EVAL", &wrapped, "1", "k3m9x2ab:k", "a", "k3m9x2ab:"])]);
            assert_eq!(told(&newest(1), &spread(), &log), [["EVAL", shown, "1", "k", "a"]]);
        }
        let (own, servers) = (Digest::of(b"return 1"), Digest::of(wrap("return 1").as_bytes()));
        let scripts = SlowLog::Newest { most: 5, scripts: [(servers, own)].into() };
        let called = log(&[
            (2, &["evalsha", &servers.to_string(), "1", "k3m9x2ab:k", "... (5 more arguments)"]),
            (1, &["FCALL", "k3m9x2ab:f", "1", "k3m9x2ab:k"]),
        ]);
        assert_eq!(
            told(&scripts, &spread(), &called),
            [
                &["evalsha", &own.to_string(), "1", "k", "... (4 more arguments)"][..],
                &["FCALL", "f", "1", "k"]
            ]
        );
    }

    #[test]
    fn what_only_looks_like_a_cut_script_stays_as_it_is() {
        let beginning = &wrap("")[..24];
        for script in
            [format!("{beginning}... ({} more bytes)", usize::MAX), format!("{beginning}... ( more bytes)")]
        {
            let log = log(&[(1, &["EVAL", &script, "1", "k3m9x2ab:k"])]);
            assert_eq!(told(&newest(1), &spread(), &log), [["EVAL", &*script, "1", "k"]]);
        }
    }

    #[test]
    fn what_has_another_shape_is_not_told() {
        for reply in [&b":1\r\n"[..], b"*1\r\n*2\r\n:1\r\n:2\r\n", b"*2\r\n*6\r\n", b"*-1\r\n", b""] {
            assert!(told(&newest(9), &spread(), reply).is_empty(), "{}", reply.escape_ascii());
        }
    }
}
