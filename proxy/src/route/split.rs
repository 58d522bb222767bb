//! Cuts a multi-key request into one part a shard, or one a slot where the servers insist on it.

use hashbrown::HashMap;

use super::merge::MergeKind;
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::SlotMap;
use crate::command::spec::{Merge as Policy, Split};
use crate::resp::request::Request;

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

/// Cuts `request`, whose keys are every argument from 1 on, or every second one for [`Split::Pairs`].
pub fn cut(request: &Request<'_>, split: Split, together: Together, map: &SlotMap) -> Cut {
    let step = if split == Split::Pairs { 2 } else { 1 };
    let mut groups: Vec<Group> = Vec::new();
    // Which group holds a shard, or a slot where slots are kept apart.
    let mut places: HashMap<u16, usize> = HashMap::new();
    let mut order = Vec::with_capacity(if split == Split::Gather { request.len() } else { 0 });
    for (index, key) in request.args_from(1).enumerate().step_by(step) {
        let slot = Slot::of(key);
        let id = together.place(slot, map);
        let place = *places.entry(id).or_insert_with(|| {
            groups.push(Group { slot, keys: Vec::new() });
            groups.len() - 1
        });
        groups[place].keys.push(index as u32 + 1);
        if split == Split::Gather {
            order.push(place as u16);
        }
    }
    match &groups[..] {
        [] => Cut::Whole(Slot::FIXED),
        [only] => Cut::Whole(only.slot),
        _ => assemble(request, split, &groups, order),
    }
}

fn assemble(request: &Request<'_>, split: Split, groups: &[Group], order: Vec<u16>) -> Cut {
    let kind = match split {
        Split::Gather => MergeKind::Gather { order },
        Split::Sum => MergeKind::Policy(Policy::Sum),
        Split::Pairs => MergeKind::Policy(Policy::AllSucceeded),
    };
    let per_key = if split == Split::Pairs { 2 } else { 1 };
    let parts = groups
        .iter()
        .map(|group| Part { slot: group.slot, frame: part_frame(request, &group.keys, per_key) });
    Cut::Parts { parts: parts.collect(), kind }
}

fn part_frame(request: &Request<'_>, keys: &[u32], per_key: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(64 + keys.len() * per_key * 32);
    frame.extend_from_slice(format!("*{}\r\n", 1 + keys.len() * per_key).as_bytes());
    frame.extend_from_slice(request.raw_arg(0));
    for &key in keys {
        for offset in 0..per_key {
            frame.extend_from_slice(request.raw_arg(key as usize + offset));
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot_map::{Endpoint, Generation, Shard};
    use crate::resp::scan::{RequestLimits, RequestScanner};

    const LIMITS: RequestLimits = RequestLimits { args: 100, bulk: 100, frame: 10_000 };

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
}
