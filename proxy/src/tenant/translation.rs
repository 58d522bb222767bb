//! A reply as clients in a namespace get it: names lose the prefix, at the places that the command's row names, and
//! errors wherever they say one. The reply is whole, and one of a server or of the proxy itself.

use super::namespace::Namespace;
use super::slow_log::SlowLog;
use crate::command::reviewed::Tells;
use crate::resp::elements::is_error;

/// What is done to a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Translation {
    /// As a command's row says.
    Of(Tells),
    /// EXEC: each element as the row of what was queued says.
    Exec(Box<[Tells]>),
    /// Anything but an error becomes this.
    Instead(Box<[u8]>),
    /// SLOWLOG, COMMANDLOG: entries of the servers.
    Log(Box<SlowLog>),
}

impl Translation {
    /// Whether only errors need a look, so that any other reply may pass as it comes, in pieces too.
    #[must_use]
    pub fn is_of_errors(&self) -> bool {
        match self {
            Self::Of(tells) => *tells == Tells::Nothing,
            Self::Exec(_) | Self::Instead(_) | Self::Log(_) => false,
        }
    }

    /// Appends `reply` as it is told to clients in `namespace`. What is no whole reply, which the scanner lets nobody
    /// see, is appended as far as it is one.
    pub fn apply(&self, namespace: &Namespace, reply: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Instead(told) if !is_error(reply) => out.extend_from_slice(told),
            Self::Log(log) if !is_error(reply) => log.tell(namespace, reply, out),
            Self::Instead(_) | Self::Log(_) => translate(namespace, Tells::Nothing, reply, out),
            Self::Of(tells) => translate(namespace, *tells, reply, out),
            Self::Exec(queued) => {
                Walk { namespace, rest: reply, out, queued }.run(Place::Exec);
            }
        }
    }
}

/// A translation, and whose names it is about: what a request leaves behind for its reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Translating {
    /// Whose names lose their prefixes.
    pub namespace: Namespace,
    /// Which.
    pub translation: Translation,
}

impl Translating {
    /// `reply` as it is told.
    #[must_use]
    pub fn told(&self, reply: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(reply.len());
        self.translation.apply(&self.namespace, reply, &mut out);
        out
    }
}

fn translate(namespace: &Namespace, tells: Tells, reply: &[u8], out: &mut Vec<u8>) {
    Walk { namespace, rest: reply, out, queued: &[] }.run(Place::of(tells));
}

/// Goes through a reply once, without recursion.
struct Walk<'a> {
    namespace: &'a Namespace,
    rest: &'a [u8],
    out: &'a mut Vec<u8>,
    /// What the elements of EXEC tell.
    queued: &'a [Tells],
}

/// What an element may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// No name.
    Plain,
    /// A name.
    Name,
    /// A string that may be one.
    Maybe,
    /// An array whose first element is a name.
    First,
    /// An array of [`Self::First`], or a map whose keys are names.
    Streams,
    /// An array of names.
    Names,
    /// An array whose second element is [`Self::Names`].
    Scan,
    /// An array whose every second element is a name, from the first on.
    EverySecond,
    /// RENAMENX for MOVE.
    Moved,
    /// What was queued.
    Exec,
}

/// An array that is being gone through.
struct Level {
    place: Place,
    is_map: bool,
    /// Elements seen.
    seen: u64,
    /// Elements to come.
    left: u64,
    /// Where its head begins in the output, and how many elements of it were left out.
    head: usize,
    dropped: u64,
    /// Its first byte.
    kind: u8,
}

impl Place {
    fn of(tells: Tells) -> Self {
        match tells {
            Tells::Nothing => Self::Plain,
            Tells::First => Self::First,
            Tells::Streams => Self::Streams,
            Tells::Names => Self::Names,
            Tells::Scan => Self::Scan,
            Tells::Name => Self::Name,
            Tells::EverySecond => Self::EverySecond,
            Tells::Anywhere => Self::Maybe,
            Tells::Moved => Self::Moved,
        }
    }
}

impl Walk<'_> {
    fn run(mut self, place: Place) {
        let mut levels: Vec<Level> = Vec::new();
        let mut place = place;
        while let Some(level) = self.element(place, levels.last_mut()) {
            levels.extend(level);
            while let Some(done) = levels.pop_if(|level| level.left == 0) {
                self.close(&done);
            }
            let Some(level) = levels.last_mut() else { break };
            place = level.next(self.queued);
        }
    }

    /// Copies one element's line, and its payload. `None` where there is none any more; an array's level where it is
    /// one.
    fn element(&mut self, place: Place, around: Option<&mut Level>) -> Option<Option<Level>> {
        let feed = memchr::memchr(b'\n', self.rest)?;
        let (line, rest) = self.rest.split_at(feed + 1);
        self.rest = rest;
        let (kind, text) = (*line.first()?, line.get(1..feed - 1)?);
        match kind {
            b'$' | b'!' | b'=' => {
                let Some(len) = number(text) else {
                    self.out.extend_from_slice(line);
                    return Some(None);
                };
                let payload = self.rest.get(..len)?;
                self.rest = self.rest.get(len + 2..)?;
                self.string(kind, payload, place, around);
            }
            b'-' if place == Place::Moved && is_missing(text) => self.out.extend_from_slice(b":0\r\n"),
            b'-' => {
                self.out.push(b'-');
                self.namespace.strip_text(text, self.out);
                self.out.extend_from_slice(b"\r\n");
            }
            b'+' if matches!(place, Place::Name | Place::Maybe) => {
                let name = self.namespace.strip(text).unwrap_or(text);
                self.out.push(b'+');
                self.out.extend_from_slice(name);
                self.out.extend_from_slice(b"\r\n");
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let head = self.out.len();
                self.out.extend_from_slice(line);
                let Some(count) = number(text) else { return Some(None) };
                let is_map = matches!(kind, b'%' | b'|');
                let left = (count as u64).checked_mul(1 + u64::from(is_map))?;
                // An attribute stands in front of the element that it speaks of.
                let place = if kind == b'|' {
                    if let Some(around) = around {
                        around.give_back();
                    }
                    Place::Plain
                } else {
                    place
                };
                return Some(Some(Level { place, is_map, seen: 0, left, head, dropped: 0, kind }));
            }
            _ => self.out.extend_from_slice(line),
        }
        Some(None)
    }

    fn string(&mut self, kind: u8, payload: &[u8], place: Place, around: Option<&mut Level>) {
        match (kind, place) {
            (b'!', _) => {
                let mut text = Vec::with_capacity(payload.len());
                self.namespace.strip_text(payload, &mut text);
                self.put(b'!', b"", &text);
            }
            // The first four bytes name a format: `txt:`.
            (b'=', Place::Maybe) if payload.len() >= 4 => {
                let (format, text) = payload.split_at(4);
                self.put(b'=', format, self.namespace.strip(text).unwrap_or(text));
            }
            (b'$', Place::Name | Place::Maybe) => match self.namespace.strip(payload) {
                Some(name) => self.put(b'$', b"", name),
                None => match around {
                    // Not of this namespace: what it was asked for it is not.
                    Some(around) if around.place == Place::Names && !around.is_map => around.dropped += 1,
                    _ => self.put(b'$', b"", payload),
                },
            },
            _ => self.put(kind, b"", payload),
        }
    }

    fn put(&mut self, kind: u8, format: &[u8], text: &[u8]) {
        self.head(kind, (format.len() + text.len()) as u64);
        self.out.extend_from_slice(format);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    fn head(&mut self, kind: u8, number: u64) {
        use std::io::Write as _;
        self.out.push(kind);
        let _a_vec_takes_all = write!(self.out, "{number}\r\n");
    }

    /// Puts an array's count right, where elements were left out.
    fn close(&mut self, level: &Level) {
        if level.dropped == 0 {
            return;
        }
        let elements = self.out.split_off(level.head);
        let line = memchr::memchr(b'\n', &elements).map_or(0, |feed| feed + 1);
        self.head(level.kind, level.seen - level.dropped);
        self.out.extend_from_slice(&elements[line..]);
    }
}

impl Level {
    /// The place of the next element.
    fn next(&mut self, queued: &[Tells]) -> Place {
        let index = self.seen;
        self.seen += 1;
        self.left -= 1;
        match self.place {
            Place::Maybe => Place::Maybe,
            Place::Names => Place::Name,
            Place::First if index == 0 => Place::Name,
            Place::Streams if !self.is_map => Place::First,
            Place::Streams | Place::EverySecond if index.is_multiple_of(2) => Place::Name,
            Place::Scan if index == 1 => Place::Names,
            Place::Exec => {
                let told = usize::try_from(index).ok().and_then(|index| queued.get(index));
                // One more than was queued: nobody knows what it is, so names are looked for everywhere.
                told.map_or(Place::Maybe, |tells| Place::of(*tells))
            }
            _ => Place::Plain,
        }
    }

    /// The last element was none.
    fn give_back(&mut self) {
        self.seen -= 1;
        self.left += 1;
    }
}

/// What RENAMENX says where there is no such key.
fn is_missing(text: &[u8]) -> bool {
    text == b"ERR no such key"
}

/// A length or count; `None` for -1.
fn number(text: &[u8]) -> Option<usize> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resp::reply::{ReplyScan, ReplyScanner};
    use crate::tenant::namespace::tests::{spread, together};

    fn told(translation: &Translation, reply: &str) -> String {
        let mut out = Vec::new();
        translation.apply(&spread(), reply.replace(' ', "\r\n").as_bytes(), &mut out);
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    fn of(tells: Tells, reply: &str) -> String {
        told(&Translation::Of(tells), reply)
    }

    #[test]
    fn names_lose_the_prefix_where_the_row_says() {
        for (tells, reply, expected) in [
            (Tells::First, "*2 $10 k3m9x2ab:k $10 k3m9x2ab:v ", "*2 $1 k $10 k3m9x2ab:v "),
            (Tells::First, "*-1 ", "*-1 "),
            (Tells::First, "_ ", "_ "),
            (Tells::First, "*2 $10 k3m9x2ab:k *1 *2 $1 a ,1.5 ", "*2 $1 k *1 *2 $1 a ,1.5 "),
            (
                Tells::Streams,
                "*1 *2 $10 k3m9x2ab:k *1 *2 $3 1-0 *1 $10 k3m9x2ab:f ",
                "*1 *2 $1 k *1 *2 $3 1-0 *1 $10 k3m9x2ab:f ",
            ),
            (
                Tells::Streams,
                "%1 $10 k3m9x2ab:k *1 *2 $3 1-0 *1 $10 k3m9x2ab:f ",
                "%1 $1 k *1 *2 $3 1-0 *1 $10 k3m9x2ab:f ",
            ),
            (Tells::Names, "*2 $12 k3m9x2ab.1:k $10 k3m9x2ab:a ", "*2 $1 k $1 a "),
            (Tells::Names, "*3 $10 k3m9x2ac:k $10 k3m9x2ab:a $1 b ", "*1 $1 a "),
            (Tells::Scan, "*2 $1 0 *2 $10 k3m9x2ac:k $10 k3m9x2ab:a ", "*2 $1 0 *1 $1 a "),
            (Tells::Scan, "*2 $1 0 *0 ", "*2 $1 0 *0 "),
            (Tells::Name, "$10 k3m9x2ab:a ", "$1 a "),
            (Tells::Name, "$-1 ", "$-1 "),
            (Tells::EverySecond, "*4 $10 k3m9x2ab:a :1 $9 k3m9x2ab: :2 ", "*4 $1 a :1 $0  :2 "),
            (
                Tells::Anywhere,
                "*2 +k3m9x2ab:a *1 %1 $10 k3m9x2ab:a =14 txt:k3m9x2ab:a ",
                "*2 +a *1 %1 $1 a =5 txt:a ",
            ),
            (Tells::Anywhere, "$12 a k3m9x2ab: ", "$12 a k3m9x2ab: "),
            (Tells::Moved, "-ERR$no$such$key ", "-ERR$no$such$key "),
            (Tells::Moved, ":1 ", ":1 "),
            (Tells::Nothing, "$10 k3m9x2ab:a ", "$10 k3m9x2ab:a "),
        ] {
            // The blanks of two payloads.
            if reply.contains("a k3m9x2ab: ") && tells == Tells::Anywhere {
                continue;
            }
            assert_eq!(of(tells, reply), expected, "{tells:?}");
        }
    }

    fn raw(translation: &Translation, reply: &[u8]) -> String {
        let mut out = Vec::new();
        translation.apply(&spread(), reply, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn errors_lose_it_wherever_they_are() {
        let nothing = Translation::Of(Tells::Nothing);
        assert_eq!(raw(&nothing, b"-NOGROUP No such key 'k3m9x2ab:k'\r\n"), "-NOGROUP No such key 'k'\r\n");
        assert_eq!(raw(&nothing, b"!16\r\nERR k3m9x2ab.2:k\r\n"), "!5\r\nERR k\r\n");
        let exec = Translation::Exec([Tells::Nothing, Tells::First, Tells::Moved].into());
        let reply =
            b"*3\r\n-ERR k3m9x2ab:k\r\n*2\r\n$10\r\nk3m9x2ab:k\r\n$10\r\nk3m9x2ab:v\r\n-ERR no such key\r\n";
        assert_eq!(raw(&exec, reply), "*3\r\n-ERR k\r\n*2\r\n$1\r\nk\r\n$10\r\nk3m9x2ab:v\r\n:0\r\n");
        assert_eq!(raw(&exec, b"-EXECABORT k3m9x2ab:k\r\n"), "-EXECABORT k\r\n");
        assert_eq!(raw(&exec, b"*-1\r\n"), "*-1\r\n");
    }

    #[test]
    fn a_string_loses_it_only_where_it_begins_with_it() {
        let anywhere = Translation::Of(Tells::Anywhere);
        assert_eq!(raw(&anywhere, b"$11\r\n k3m9x2ab:x\r\n"), "$11\r\n k3m9x2ab:x\r\n");
        assert_eq!(raw(&Translation::Of(Tells::Moved), b"-ERR no such key\r\n"), ":0\r\n");
    }

    #[test]
    fn an_attribute_is_no_element() {
        let reply = b"*2\r\n|1\r\n+ttl\r\n:1\r\n$10\r\nk3m9x2ab:k\r\n$10\r\nk3m9x2ab:v\r\n";
        let told = raw(&Translation::Of(Tells::First), reply);
        assert_eq!(told, "*2\r\n|1\r\n+ttl\r\n:1\r\n$1\r\nk\r\n$10\r\nk3m9x2ab:v\r\n");
    }

    #[test]
    fn what_is_cut_off_harms_nobody() {
        let whole = b"*2\r\n$1\r\n0\r\n*2\r\n$10\r\nk3m9x2ac:k\r\n$10\r\nk3m9x2ab:a\r\n";
        for cut in 0..whole.len() {
            let mut out = Vec::new();
            Translation::Of(Tells::Scan).apply(&spread(), &whole[..cut], &mut out);
        }
        let mut out = Vec::new();
        Translation::Of(Tells::Anywhere).apply(&spread(), &b"*1\r\n".repeat(100_000), &mut out);
        Translation::Of(Tells::Anywhere).apply(&spread(), b"*99999999999999999999\r\n\n\n$5\r\n", &mut out);
    }

    const TELLS: [Tells; 9] = [
        Tells::Nothing,
        Tells::First,
        Tells::Streams,
        Tells::Names,
        Tells::Scan,
        Tells::Name,
        Tells::EverySecond,
        Tells::Anywhere,
        Tells::Moved,
    ];

    /// Replies of any shape, in which some strings are names of one namespace or the other.
    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof![
            "[a-z]{0,4}".prop_map(String::into_bytes),
            "[a-z]{0,4}".prop_map(|name| format!("k3m9x2ab:{name}").into_bytes()),
            "[a-z]{0,4}".prop_map(|name| format!("{{k3m9x2ac}}.2:{name}").into_bytes()),
        ];
        let leaf = prop_oneof![
            text.clone()
                .prop_map(|text| [format!("${}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat()),
            text.clone().prop_map(|text| [b"+", &text[..], b"\r\n"].concat()),
            text.prop_map(|text| [b"-ERR ", &text[..], b"\r\n"].concat()),
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            Just(b"$-1\r\n".to_vec()),
            Just(b"_\r\n".to_vec()),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            (proptest::collection::vec(inner, 0..5), 0..4usize).prop_map(|(elements, kind)| {
                let (kind, count) = match kind {
                    3 if elements.len().is_multiple_of(2) => ('%', elements.len() / 2),
                    2 => ('~', elements.len()),
                    _ => ('*', elements.len()),
                };
                [format!("{kind}{count}\r\n").into_bytes(), elements.concat()].concat()
            })
        })
    }

    proptest! {
        #[test]
        fn a_reply_stays_one_reply(reply in reply(), exec: bool) {
            for tells in TELLS {
                let translation = if exec { Translation::Exec([tells].into()) } else { Translation::Of(tells) };
                for namespace in [spread(), together()] {
                    let mut out = Vec::new();
                    translation.apply(&namespace, &reply, &mut out);
                    let mut scanner = ReplyScanner::default();
                    prop_assert_eq!(scanner.scan(&out), Ok(ReplyScan::Complete(out.len())), "{:?}", tells);
                }
            }
        }

        #[test]
        fn scripts_tell_no_name_with_its_prefix(reply in reply()) {
            let mut out = Vec::new();
            Translation::Of(Tells::Anywhere).apply(&spread(), &reply, &mut out);
            prop_assert!(!String::from_utf8(out).unwrap().contains("k3m9x2ab:"));
        }

        #[test]
        fn where_there_is_no_name_nothing_changes(reply in reply()) {
            let text = String::from_utf8(reply.clone()).unwrap();
            if !text.contains("k3m9x2ab:") {
                for tells in TELLS.into_iter().filter(|tells| !matches!(tells, Tells::Names | Tells::Scan)) {
                    let mut out = Vec::new();
                    Translation::Of(tells).apply(&spread(), &reply, &mut out);
                    prop_assert_eq!(&out, &reply, "{:?}", tells);
                }
            }
        }
    }
}
