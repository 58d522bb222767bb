//! Cuts a multi-key request into one part a shard, or one a slot where the servers insist on it.

use hashbrown::HashMap;

use super::merge::MergeKind;
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::SlotMap;
use crate::command::spec::{Merge as Policy, Split};
use crate::resp::request::Request;
use crate::resp::scan::parse_number;

/// One shard's share of a request.
#[derive(Debug)]
pub struct Part {
    /// Where it goes: the slot of its first key.
    pub slot: Slot,
    /// The request to be sent.
    pub frame: Vec<u8>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Cut {
    /// One part is enough: it goes to this slot as it is.
    Whole(Slot),
    /// It can't be cut, by what it asks for: all its keys have to be in one slot.
    Undivided,
    /// Several parts.
    Parts {
        /// At least two.
        parts: Vec<Part>,
        /// How their replies become one.
        kind: MergeKind,
    },
}

/// What keys may share a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Together {
    /// Keys of one slot: Redis Cluster nodes refuse requests over several, also over several of their own.
    Slot,
    /// Keys of one shard: standalone servers take all their keys in one request.
    Shard,
}

impl Together {
    /// A number that slots share whose keys may share a part.
    #[must_use]
    pub fn place(self, slot: Slot, map: &SlotMap) -> u16 {
        match self {
            Self::Slot => slot.number(),
            // Above all slots, which stand for themselves where nobody serves them.
            Self::Shard => map.owner(slot).map_or_else(|| slot.number(), |owner| u16::MAX - owner.0),
        }
    }
}

struct Group {
    slot: Slot,
    /// Argument numbers of its keys.
    keys: Vec<u32>,
}

/// Where the keys of a request stand, and what goes with each part.
struct Form {
    /// The first key.
    first: usize,
    /// From one key to the next; what stands between goes with the key.
    step: usize,
    /// Behind the last key and what goes with it. Further arguments go with every part.
    end: usize,
    /// Whether the argument in front of the first key counts the keys.
    counts: bool,
}

impl Form {
    /// `None` for what stays whole: MSETEX with a condition, or with a count that the server is to judge.
    fn of(request: &Request<'_>, split: Split) -> Option<Self> {
        let len = request.len();
        let form = |first, step, end| Self { first, step, end, counts: false };
        match split {
            Split::Gather | Split::Sum => Some(form(1, 1, len)),
            Split::Pairs => Some(form(1, 2, len)),
            Split::Triples | Split::GatherTriples => Some(form(1, 3, len)),
            Split::GatherPath => Some(form(1, 1, len.max(2) - 1)),
            Split::Counted => {
                let count =
                    usize::try_from(parse_number(request.arg(1)?)?).ok().filter(|count| *count > 0)?;
                let end = count.checked_mul(2)?.checked_add(2).filter(|end| *end <= len)?;
                let conditional =
                    |arg: &[u8]| arg.eq_ignore_ascii_case(b"nx") || arg.eq_ignore_ascii_case(b"xx");
                let divides = !request.args_from(end).any(conditional);
                divides.then_some(Self { first: 2, step: 2, end, counts: true })
            }
        }
    }
}

/// Whether so many arguments, the name included, are whole keys with what goes with each.
#[must_use]
pub fn takes(split: Split, len: usize) -> bool {
    match split {
        Split::Gather | Split::Sum | Split::Counted => true,
        Split::GatherPath => len > 2,
        Split::Pairs => len % 2 == 1,
        Split::Triples | Split::GatherTriples => len > 3 && len % 3 == 1,
    }
}

fn gathers(split: Split) -> bool {
    matches!(split, Split::Gather | Split::GatherPath | Split::GatherTriples)
}

/// Cuts `request`, whose arguments are as many as `split` [takes].
pub fn cut(request: &Request<'_>, split: Split, together: Together, map: &SlotMap) -> Cut {
    let Some(form) = Form::of(request, split) else { return Cut::Undivided };
    let mut groups: Vec<Group> = Vec::new();
    // Which group holds a shard, or a slot where slots are kept apart.
    let mut places: HashMap<u16, usize> = HashMap::new();
    let mut order = Vec::with_capacity(if gathers(split) { request.len() } else { 0 });
    let keys = request.args_from(form.first).take(form.end - form.first).enumerate();
    for (index, key) in keys.step_by(form.step) {
        let slot = Slot::of(key);
        let id = together.place(slot, map);
        let place = *places.entry(id).or_insert_with(|| {
            groups.push(Group { slot, keys: Vec::new() });
            groups.len() - 1
        });
        groups[place].keys.push((index + form.first) as u32);
        if gathers(split) {
            order.push(place as u16);
        }
    }
    match &groups[..] {
        [] => Cut::Whole(Slot::FIXED),
        [only] => Cut::Whole(only.slot),
        _ => assemble(request, split, &form, &groups, order),
    }
}

fn assemble(request: &Request<'_>, split: Split, form: &Form, groups: &[Group], order: Vec<u16>) -> Cut {
    let kind = match split {
        Split::Gather | Split::GatherPath | Split::GatherTriples => MergeKind::Gather { order },
        Split::Sum => MergeKind::Policy(Policy::Sum),
        Split::Pairs | Split::Triples | Split::Counted => MergeKind::Policy(Policy::AllSucceeded),
    };
    let parts =
        groups.iter().map(|group| Part { slot: group.slot, frame: part_frame(request, &group.keys, form) });
    Cut::Parts { parts: parts.collect(), kind }
}

fn part_frame(request: &Request<'_>, keys: &[u32], form: &Form) -> Vec<u8> {
    let args = form.first + keys.len() * form.step + (request.len() - form.end);
    let mut frame = Vec::with_capacity(64 + args * 32);
    frame.extend_from_slice(format!("*{args}\r\n").as_bytes());
    frame.extend_from_slice(request.raw_arg(0));
    if form.counts {
        let count = keys.len().to_string();
        frame.extend_from_slice(format!("${}\r\n{count}\r\n", count.len()).as_bytes());
    }
    for &key in keys {
        for offset in 0..form.step {
            frame.extend_from_slice(request.raw_arg(key as usize + offset));
        }
    }
    for index in form.end..request.len() {
        frame.extend_from_slice(request.raw_arg(index));
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot_map::{Endpoint, Generation, Shard};
    use crate::resp::scan::{RequestLimits, RequestScanner};

    const LIMITS: RequestLimits = RequestLimits { args: 100, bulk: 100, frame: 10_000, value: usize::MAX };

    fn cut_words(words: &[&str], split: Split, together: Together) -> Result<Vec<String>, Slot> {
        let mut frame = format!("*{}\r\n", words.len());
        for word in words {
            frame += &format!("${}\r\n{word}\r\n", word.len());
        }
        let mut scanner = RequestScanner::default();
        scanner.scan(frame.as_bytes(), &LIMITS).unwrap();
        let shard = |port, first, last| Shard {
            primary: Endpoint { host: "h".into(), port },
            replicas: Vec::new(),
            slots: vec![(Slot::new(first).unwrap(), Slot::new(last).unwrap())],
        };
        let map = SlotMap::new(Generation(1), &[shard(1, 0, 8191), shard(2, 8192, 16_383)]);
        let text = |part: Part| String::from_utf8(part.frame).unwrap().replace("\r\n", " ");
        match cut(&scanner.request(frame.as_bytes()), split, together, &map) {
            Cut::Whole(slot) => Err(slot),
            Cut::Undivided => Err(Slot::new(16_383).unwrap()),
            Cut::Parts { parts, .. } => Ok(parts.into_iter().map(text).collect()),
        }
    }

    // Slots: a 15495, b 3300, c 7365, foo 12182.

    #[test]
    fn keys_of_one_shard_stay_together_in_the_callers_order() {
        let parts = cut_words(&["DEL", "a", "b", "foo", "c"], Split::Sum, Together::Shard).unwrap();
        assert_eq!(parts, ["*3 $3 DEL $1 a $3 foo ", "*3 $3 DEL $1 b $1 c "]);
    }

    #[test]
    fn a_cluster_gets_one_part_a_slot() {
        let parts = cut_words(&["MGET", "a", "b", "{a}2", "a"], Split::Gather, Together::Slot).unwrap();
        assert_eq!(parts, ["*4 $4 MGET $1 a $4 {a}2 $1 a ", "*2 $4 MGET $1 b "]);
    }

    #[test]
    fn values_go_with_their_keys() {
        let parts = cut_words(&["MSET", "a", "1", "b", "2", "a", "3"], Split::Pairs, Together::Slot).unwrap();
        assert_eq!(parts, ["*5 $4 MSET $1 a $1 1 $1 a $1 3 ", "*3 $4 MSET $1 b $1 2 "]);
    }

    #[test]
    fn one_part_is_sent_as_it_came() {
        assert_eq!(cut_words(&["DEL", "a", "{a}2"], Split::Sum, Together::Slot), Err(Slot::of(b"a")));
    }

    #[test]
    fn a_path_goes_with_every_part() {
        let parts = cut_words(&["JSON.MGET", "a", "b", "{a}2", "$.x"], Split::GatherPath, Together::Slot);
        assert_eq!(parts.unwrap(), ["*4 $9 JSON.MGET $1 a $4 {a}2 $3 $.x ", "*3 $9 JSON.MGET $1 b $3 $.x "]);
    }

    #[test]
    fn triples_stay_together() {
        let parts =
            cut_words(&["TS.MADD", "a", "1", "2", "b", "3", "4"], Split::GatherTriples, Together::Slot);
        assert_eq!(parts.unwrap(), ["*4 $7 TS.MADD $1 a $1 1 $1 2 ", "*4 $7 TS.MADD $1 b $1 3 $1 4 "]);
        assert!(takes(Split::Triples, 4) && !takes(Split::Triples, 6) && !takes(Split::GatherPath, 2));
    }

    #[test]
    fn counts_are_of_the_part_and_options_go_with_each() {
        let line = ["MSETEX", "3", "a", "1", "b", "2", "{a}2", "3", "EX", "10"];
        let parts = cut_words(&line, Split::Counted, Together::Slot).unwrap();
        assert_eq!(
            parts,
            [
                "*8 $6 MSETEX $1 2 $1 a $1 1 $4 {a}2 $1 3 $2 EX $2 10 ",
                "*6 $6 MSETEX $1 1 $1 b $1 2 $2 EX $2 10 "
            ]
        );
        for line in [
            &["MSETEX", "2", "a", "1", "b", "2", "nx"][..],
            &["MSETEX", "2", "a", "1", "b", "2", "EX", "1", "XX"],
            &["MSETEX", "9", "a", "1", "b", "2"],
            &["MSETEX", "x", "a", "1"],
            &["MSETEX", "0", "a", "1"],
        ] {
            assert_eq!(
                cut_words(line, Split::Counted, Together::Slot),
                Err(Slot::new(16_383).unwrap()),
                "{line:?}"
            );
        }
    }
}
