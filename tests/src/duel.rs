//! The same commands said to a plain server and to the proxy, pipelined, and the first reply that differs.

use std::collections::BTreeMap;

use crate::argv::frame;
use crate::generate::unit::{Expect, Step, Unit, plain, prelude};
use crate::generate::universe::all_keys;
use crate::generate::writer::Command;
use crate::mark::Mark;
use crate::raw::Raw;
use crate::value::Value;

/// Two clients of each side, who speak one protocol.
#[derive(Debug)]
pub struct Duel {
    addrs: [String; 2],
    protocol: u8,
    /// Whom the proxy's clients log in as, into a namespace.
    user: Option<String>,
    plain: [Raw; 2],
    proxied: [Raw; 2],
    /// First words of commands, and how often the plain server answered them with an error and without.
    pub answered: BTreeMap<String, [usize; 2]>,
}

/// A step whose replies are not equal.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which step.
    pub step: Step,
    /// What the plain server replied; nothing where it was not asked.
    pub expected: Vec<u8>,
    /// What the proxy replied.
    pub got: Vec<u8>,
}

/// How many requests are written at once.
const PIPELINE: usize = 100;

impl Duel {
    /// Between a server and a proxy at these addresses.
    #[track_caller]
    #[must_use]
    pub fn new(plain: &str, proxied: &str, protocol: u8) -> Self {
        Self::as_user(plain, proxied, protocol, None)
    }

    /// The same where the proxy's clients log in as a user in a namespace, with any password. Scripts and functions are
    /// then not forgotten in between.
    #[track_caller]
    #[must_use]
    pub fn as_user(plain: &str, proxied: &str, protocol: u8, user: Option<&str>) -> Self {
        let addrs = [plain.to_owned(), proxied.to_owned()];
        Self {
            plain: pair(plain, protocol, None),
            proxied: pair(proxied, protocol, user),
            addrs,
            protocol,
            user: user.map(str::to_owned),
            answered: BTreeMap::new(),
        }
    }

    /// Empties both sides, loads the scripts and plays `units` with the census at the end.
    pub fn replay(&mut self, units: &[Unit]) -> Option<Difference> {
        self.reset().or_else(|| self.play(units)).or_else(|| self.census())
    }

    /// Empties both sides and loads the scripts. New clients, since a difference may have left these in a transaction.
    pub fn reset(&mut self) -> Option<Difference> {
        self.plain = pair(&self.addrs[0], self.protocol, None);
        self.proxied = pair(&self.addrs[1], self.protocol, self.user.as_deref());
        let mut steps = vec![plain(&["FLUSHALL"])];
        if self.user.is_none() {
            steps.extend([plain(&["FUNCTION", "FLUSH"]), plain(&["SCRIPT", "FLUSH"])]);
        }
        self.steps(&steps.iter().chain(&prelude().0).collect::<Vec<_>>())
    }

    /// Plays `units` up to the first that differs.
    pub fn play(&mut self, units: &[Unit]) -> Option<Difference> {
        self.steps(&units.iter().flat_map(|unit| &unit.0).collect::<Vec<_>>())
    }

    /// Compares what both sides hold: the type, the time to live and the content of every key; and a whole SCAN.
    pub fn census(&mut self) -> Option<Difference> {
        let keys = all_keys();
        keys.iter().for_each(|key| self.plain[0].send(&["TYPE", key]));
        let types = self.plain[0].read_many(keys.len());
        let steps: Vec<Step> =
            keys.iter().zip(types).flat_map(|(key, kind)| reads(key, &kind.text())).collect();
        let all = [plain(&["DBSIZE"]), unordered(&["KEYS", "*"])];
        self.steps(&all.iter().chain(&steps).collect::<Vec<_>>()).or_else(|| self.walk())
    }

    fn steps(&mut self, steps: &[&Step]) -> Option<Difference> {
        let runs = steps.chunk_by(|a, b| a.client == b.client);
        runs.flat_map(|run| run.chunks(PIPELINE)).find_map(|run| self.run(run))
    }

    /// One client's steps, written at once to both sides.
    fn run(&mut self, steps: &[&Step]) -> Option<Difference> {
        let client = steps.first()?.client;
        let (plain, proxied) = (&mut self.plain[client], &mut self.proxied[client]);
        let is_asked = |step: &&&Step| matches!(step.expect, Expect::Same(_));
        plain.send_bytes(
            &steps.iter().filter(is_asked).flat_map(|step| frame(&step.command.argv)).collect::<Vec<_>>(),
        );
        proxied.send_bytes(&steps.iter().flat_map(|step| frame(&step.command.argv)).collect::<Vec<_>>());
        let mut first = None;
        for step in steps {
            let read = |raw: &mut Raw| {
                raw.try_frame().unwrap_or_else(|error| panic!("no reply to {}: {error}", line(&step.command)))
            };
            let got = read(proxied);
            let (expected, equal) = match &step.expect {
                Expect::Same(mark) => {
                    let expected = read(plain);
                    if !expected.starts_with(b"+QUEUED") {
                        let count = self.answered.entry(name(&step.command)).or_default();
                        count[usize::from(!expected.starts_with(b"-"))] += 1;
                    }
                    let equal = mark.agree(&expected, &got);
                    (expected, equal)
                }
                Expect::Refusal => (Vec::new(), Value::decode(&got).is_error()),
            };
            if !equal && first.is_none() {
                first = Some(Difference { step: (*step).clone(), expected, got });
            }
        }
        first
    }

    /// SCAN through the proxy finds every key, and none that is not there.
    fn walk(&mut self) -> Option<Difference> {
        let mut found = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let reply = self.proxied[0].call(&["SCAN", &cursor, "COUNT", "7"]);
            found.extend_from_slice(reply.items()[1].items());
            cursor = reply.items()[0].text();
            if cursor == "0" {
                break;
            }
        }
        found.sort();
        found.dedup();
        let mut keys = self.plain[0].call(&["KEYS", "*"]).items().to_vec();
        keys.sort();
        let show = |keys: Vec<Value>| format!("{keys:?}").into_bytes();
        (keys != found).then(|| Difference {
            step: plain(&["SCAN", "..."]),
            expected: show(keys),
            got: show(found),
        })
    }
}

#[track_caller]
fn pair(addr: &str, protocol: u8, user: Option<&str>) -> [Raw; 2] {
    [(); 2].map(|()| {
        let mut raw = Raw::speaking(addr, protocol);
        if let Some(user) = user {
            assert_eq!(raw.cmd(&format!("AUTH {user} any")).text(), "OK");
        }
        raw
    })
}

/// How a key that holds `kind` is compared.
fn reads(key: &str, kind: &str) -> Vec<Step> {
    let content = match kind {
        "string" => vec![plain(&["GET", key])],
        "list" => vec![plain(&["LRANGE", key, "0", "-1"])],
        "set" => vec![unordered(&["SMEMBERS", key])],
        "zset" => vec![plain(&["ZRANGE", key, "0", "-1", "WITHSCORES"])],
        "hash" => vec![marked(Mark::Pairs, &["HGETALL", key])],
        "stream" => {
            vec![
                plain(&["XRANGE", key, "-", "+"]),
                marked(Mark::Near, &["XINFO", "STREAM", key, "FULL", "COUNT", "0"]),
            ]
        }
        _ => Vec::new(),
    };
    let facts = [plain(&["TYPE", key]), marked(Mark::Near, &["PTTL", key])];
    facts.into_iter().chain(content).collect()
}

fn unordered(words: &[&str]) -> Step {
    marked(Mark::Unordered, words)
}

fn marked(mark: Mark, words: &[&str]) -> Step {
    Step { expect: Expect::Same(mark), ..plain(words) }
}

/// A command's first word in small letters.
#[must_use]
pub fn name(command: &Command) -> String {
    let word = command.argv.first().map_or(&[][..], Vec::as_slice);
    String::from_utf8_lossy(word).to_ascii_lowercase()
}

/// A command as redis-cli reads it.
#[must_use]
pub fn line(command: &Command) -> String {
    let word = |arg: &Vec<u8>| {
        let is_plain =
            !arg.is_empty() && arg.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte));
        if is_plain {
            return String::from_utf8_lossy(arg).into_owned();
        }
        let escaped = arg.iter().map(|byte| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(*byte)),
            b'\n' => "\\n".to_owned(),
            b' '..=b'~' => char::from(*byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        });
        format!("\"{}\"", escaped.collect::<String>())
    };
    command.argv.iter().map(word).collect::<Vec<_>>().join(" ")
}
