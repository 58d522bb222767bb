//! The small world that commands are about: few keys of each type, few members, fields, scores, ids, so that they
//! meet each other again and again.

use fastrand::Rng;

use super::scripts::{FUNCTION_DUMP, LIBRARIES, SCRIPTS};

/// Types that keys are named by. What a key really holds is mostly that. Beside them there are `lex` keys, sorted
/// sets whose scores are all 0 since ranges by name mean nothing in others: no command for any key touches them.
pub const TYPES: &[&str] =
    &["string", "number", "bits", "hll", "list", "set", "zset", "geo", "hash", "stream"];

/// Behind these tags keys share a slot; those without one are each in a slot of their own.
pub const TAGS: &[&str] = &["{a}", "{b}"];

/// Where the keys of one command may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Anywhere.
    Any,
    /// In the slot of this tag.
    Tag(&'static str),
}

/// What random words come from.
#[derive(Clone, Debug)]
pub struct Universe {
    rng: Rng,
    /// The milliseconds of the last stream id, so that most new ones are larger.
    clock: u64,
    /// How many times to live there were.
    times: u64,
    /// Where the next keys are.
    scope: Scope,
}

impl Universe {
    /// The world of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), clock: 1, times: 0, scope: Scope::Any }
    }

    /// The random numbers.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Decides where the next keys are.
    pub fn scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Any of the tags.
    pub fn tag(&mut self) -> Scope {
        Scope::Tag(self.of(TAGS))
    }

    /// Whether there are words of `kind`.
    #[must_use]
    pub fn knows(kind: &str) -> bool {
        is_key(kind) || constants(kind).is_some() || Self::new(0).drawn(kind).is_some()
    }

    /// A word of `kind`.
    ///
    /// # Panics
    /// Where there is no such kind.
    pub fn word(&mut self, kind: &str) -> Vec<u8> {
        if is_key(kind) {
            return self.key(kind).into_bytes();
        }
        if let Some(words) = constants(kind) {
            return self.of(words).as_bytes().to_vec();
        }
        self.drawn(kind).unwrap_or_else(|| panic!("no kind <{kind}>"))
    }

    /// One of `items`.
    pub fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.rng.usize(..items.len())]
    }

    /// True once in `many` times.
    pub fn once_in(&mut self, many: usize) -> bool {
        self.rng.usize(..many) == 0
    }

    /// A key that mostly holds `kind`: now and then it is another type's, so that the types of keys meet theirs.
    fn key(&mut self, kind: &str) -> String {
        let kind = match kind {
            "any" => self.of(TYPES),
            "lex" if self.once_in(12) => self.of(&["string", "list", "set", "hash"]),
            "lex" => "lex",
            _ if self.once_in(12) => self.of(TYPES),
            _ => kind,
        };
        match self.scope {
            Scope::Tag(tag) => format!("{tag}{kind}{}", self.rng.u8(1..=2)),
            Scope::Any => {
                let keys = keys_of(kind);
                keys[self.rng.usize(..keys.len())].clone()
            }
        }
    }

    /// Words of kinds that are more than a list.
    fn drawn(&mut self, kind: &str) -> Option<Vec<u8>> {
        Some(match kind {
            "value" => self.value(),
            "member" | "field" => self.member(),
            "minscore" | "maxscore" => self.score_bound(),
            "minlex" | "maxlex" => self.lex_bound(),
            "newid" => self.new_id(),
            "id" | "startid" | "endid" => self.id(kind),
            "soundid" => {
                format!("{}-{}", self.clock.saturating_sub(self.rng.u64(..20)), self.rng.u8(..9)).into()
            }
            "at" => (4_000_000_000 * self.rng.u64(1..=3)).to_string().into(),
            "atms" => (4_000_000_000_000 * self.rng.u64(1..=3)).to_string().into(),
            "far" => self.far().to_string().into(),
            "farms" => (1_000 * self.far()).to_string().into(),
            "script" => self.of(SCRIPTS).0.into(),
            "sha" => self.of(SCRIPTS).1.into(),
            "library" => self.of(LIBRARIES).1.into(),
            "libraryname" => self.of(LIBRARIES).0.into(),
            "functiondump" => FUNCTION_DUMP.to_vec(),
            "dump" => self.of(DUMPS).to_vec(),
            _ => return None,
        })
    }

    /// Seconds that no test waits for, never the same twice: which of two equal times is later (GT) would be a matter
    /// of milliseconds.
    fn far(&mut self) -> u64 {
        self.times += 1;
        // A prime, so that they come in no order and come back only after 100,003.
        100_000 + 100 * (self.times * 7_919 % 100_003)
    }

    fn member(&mut self) -> Vec<u8> {
        match self.rng.u8(..20) {
            0 => Vec::new(),
            // It begins with a letter, since SORT ALPHA takes a zero for the end and could not tell it from none.
            1 => b"n\x00\r\n\xff".to_vec(),
            2 => vec![b'm'; 80],
            3..8 => self.of(constants("int").expect("a list")).into(),
            _ => vec![self.of(b"abcdefgh")],
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.u8(..16) {
            0 => vec![b'v'; self.rng.usize(1..300)],
            1..4 => "some longer text".as_bytes()[..self.rng.usize(..16)].to_vec(),
            4..6 => self.of(constants("float").expect("a list")).into(),
            _ => self.member(),
        }
    }

    fn score_bound(&mut self) -> Vec<u8> {
        let open = if self.once_in(4) { "(" } else { "" };
        let ends = ["-inf", "+inf"];
        let score =
            if self.once_in(3) { self.of(&ends) } else { self.of(constants("score").expect("a list")) };
        format!("{open}{score}").into_bytes()
    }

    fn lex_bound(&mut self) -> Vec<u8> {
        match self.rng.u8(..5) {
            0 => b"-".to_vec(),
            1 => b"+".to_vec(),
            2 => [b"(".as_slice(), &self.member()].concat(),
            _ => [b"[".as_slice(), &self.member()].concat(),
        }
    }

    fn new_id(&mut self) -> Vec<u8> {
        if self.once_in(8) {
            return self.id("id");
        }
        self.clock += self.rng.u64(..2);
        let sequence = if self.once_in(4) { "*".to_owned() } else { self.rng.u8(..9).to_string() };
        format!("{}-{sequence}", self.clock).into_bytes()
    }

    fn id(&mut self, kind: &str) -> Vec<u8> {
        let open = if kind != "id" && self.once_in(5) { "(" } else { "" };
        let milliseconds = self.clock.saturating_sub(self.rng.u64(..20));
        let id = match self.rng.u8(..6) {
            0 => "0".to_owned(),
            1 => milliseconds.to_string(),
            2 => return self.of(&["-", "+", "0-0", "18446744073709551615-18446744073709551615"]).into(),
            _ => format!("{milliseconds}-{}", self.rng.u8(..9)),
        };
        format!("{open}{id}").into_bytes()
    }
}

/// Every key there is.
#[must_use]
pub fn all_keys() -> Vec<String> {
    let keys = TYPES.iter().chain(&["lex"]).flat_map(|kind| keys_of(kind));
    keys.chain(JUNK.iter().map(|&word| word.to_owned())).collect()
}

/// Words that stand where something else should. None of them asks a server to wait or to use much memory.
pub const JUNK: &[&str] =
    &["", "x", "0", "-1", "1.5", "99999999999999999999", "-9223372036854775808", "nan", "\u{e4}", "LIMIT"];

/// Whether `kind` stands for a key.
#[must_use]
pub fn is_key(kind: &str) -> bool {
    matches!(kind, "any" | "lex") || TYPES.contains(&kind)
}

fn keys_of(kind: &str) -> [String; 6] {
    ["{a}@1", "{a}@2", "{b}@1", "@3", "@4", "@5"].map(|shape| shape.replace('@', kind))
}

/// Kinds that are a list of words.
fn constants(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "int" => &["0", "1", "2", "3", "7", "10", "-1", "-5", "100", "9223372036854775807"],
        "float" => &["0.1", "0.2", "-0.0", "3", "1e17", "-2.5", "3.0e3", "1e-5", "0.30000000000000004"],
        // No -0: small sorted sets keep it as 0, those that were large or sorted once as -0.
        "score" => &[
            "0",
            "1",
            "1",
            "2",
            "3",
            "0.1",
            "0.2",
            "1e17",
            "-1.5",
            "inf",
            "-inf",
            "1e-7",
            "12345678901234567",
        ],
        "weight" => &["1", "2", "0", "-1", "0.5", "inf", "1e3"],
        "index" => &["0", "1", "2", "3", "5", "-1", "-2", "-3", "100", "-100"],
        "count" => &["0", "1", "2", "3", "10"],
        "some" => &["1", "2", "3", "10"],
        "rank" => &["1", "2", "-1", "-2"],
        "offset" => &["0", "1", "3", "7", "8", "16", "25", "100"],
        "bit" => &["0", "1"],
        "bittype" => &["u1", "u8", "i8", "i16", "u32", "i64", "u63", "i5"],
        "bitoffset" => &["0", "3", "8", "#1", "#3", "50"],
        "group" => &["group1", "group1", "group1", "group2"],
        "consumer" => &["consumer1", "consumer2", "STREAMS"],
        "idle" => &["0", "0", "1000000"],
        "retries" => &["0", "1", "3"],
        "pattern" => &["*", "*1", "{a}*", "?ash3", "s*", "[hl]*", "none*", "list3"],
        "match" => &["*", "a*", "[a-d]", "?", "1*", "none"],
        "lon" => &["13.4", "13.5", "2.35", "-0.12", "180", "-180", "0", "13.361389"],
        "lat" => &["52.5", "52.6", "48.85", "51.5", "0", "85", "-85", "38.115556"],
        "unit" => &["m", "km", "ft", "mi"],
        "radius" => &["0", "1", "100", "1000", "20000", "200.5"],
        // Long enough for a client to be blocked, too short to cost time.
        "wait" => &["0.01"],
        "waitms" => &["10"],
        "function" => &["first", "arguments", "store", "reader", "restored_f", "nosuch"],
        _ => return None,
    })
}

/// What DUMP of Redis 7.0 said of a string, a list, a set of integers and a sorted set; and one that is broken.
const DUMPS: &[&[u8]] = &[
    b"\x00\x05hello\n\x00cr\xdfve4 \n",
    b"\x12\x01\x02\x10\x10\x00\x00\x00\x03\x00\x81a\x02\x81b\x02\x81c\x02\xff\n\x00\xc8\x18\xb9\x0c\x953R\x9e",
    b"\x0b\x0e\x02\x00\x00\x00\x03\x00\x00\x00\x01\x00\x02\x00\x03\x00\n\x00\xa5\x02\\\xe2mnM\x1b",
    b"\x11\x14\x14\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\x832.5\x04\xff\n\x00\xd4Ln\xa4\xf6D\xd9\xd7",
    b"\x00\x05hallo\n\x00cr\xdfve4 \n",
];
