//! KEYS, DBSIZE, RANDOMKEY, FLUSHDB and FLUSHALL of a part of the keys: those whose names match a pattern. The servers
//! can do none of it for a part, so every shard is gone through by SCAN; what is found is kept, counted, or removed.
//! Each shard is read at moments of its own, and what comes or goes meanwhile may be missed, as with SCAN. A cursor means
//! something to the node alone that gave it, so each shard is read at the node that it began at, whatever slots leave it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::{Begun, CHANGING, Call, Next, Plan};
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::{Endpoint, SlotMap};
use crate::resp::elements::{Elements, bulk, is_error};
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

/// Keys that one step looks at on each shard: as long as a server may be busy with it at a time.
const AT_A_TIME: &[u8] = b"1000";

/// Most names that are removed in one step.
const MOST_REMOVED: usize = 4_096;

/// Most steps: 10^9 keys of a shard. A walk that does not end by itself ends here.
const MOST_STEPS: u32 = 1_000_000;

/// What a name costs beside its bytes.
const PER_NAME: usize = 48;

/// What is wanted of what is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The names.
    Names,
    /// How many there are.
    Count,
    /// One of them.
    Any {
        /// Chooses among those that are found first.
        pick: u32,
    },
    /// That they are gone.
    Removal,
}

/// A walk through shards.
pub struct Walk<P> {
    wanted: Wanted,
    /// The one under way comes last.
    patterns: Vec<Vec<u8>>,
    shards: Vec<Shard>,
    /// The shards that are not through, each with its cursor, in the order of the last step's calls.
    open: Vec<(Shard, Vec<u8>)>,
    /// All keys are of one slot, which has left the node that is read.
    has_left: bool,
    /// How many calls of the last step stand in front of theirs.
    removals: usize,
    names: BTreeSet<Box<[u8]>>,
    /// To be removed.
    doomed: VecDeque<Box<[u8]>>,
    count: i64,
    /// Bytes that may be held.
    most: usize,
    held: usize,
    steps: u32,
    protocol: Protocol,
    /// What slots share whose keys a server takes in one request.
    place: P,
}

/// What a walk goes through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shard {
    /// One of its slots.
    pub slot: Slot,
    /// Its primary.
    pub primary: Option<Endpoint>,
    /// Whether all keys are of that slot: where it leaves, so do they.
    pub is_of_slot: bool,
}

/// Begins a walk through `shards`; `None` where there are none. It may hold `most` bytes of names.
pub fn begin<P: Fn(Slot) -> u16 + 'static>(
    wanted: Wanted,
    patterns: Vec<Vec<u8>>,
    shards: Vec<Shard>,
    (most, protocol): (usize, Protocol),
    place: P,
) -> Option<Begun> {
    let mut walk = Walk {
        wanted,
        patterns,
        open: Vec::new(),
        has_left: false,
        shards,
        removals: 0,
        names: BTreeSet::new(),
        doomed: VecDeque::new(),
        count: 0,
        most,
        held: 0,
        steps: 0,
        protocol,
        place,
    };
    walk.start_over();
    let calls = walk.calls();
    (!calls.is_empty()).then(|| (Box::new(walk) as Box<dyn Plan>, calls))
}

impl<P: Fn(Slot) -> u16> Plan for Walk<P> {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        if let Some(error) = replies.iter().find(|reply| is_error(reply)) {
            return Next::Reply(error.to_vec());
        }
        if self.has_left {
            return Next::Reply(CHANGING.to_vec());
        }
        let pages = replies.get(self.removals..).unwrap_or_default();
        let open = std::mem::take(&mut self.open);
        for ((shard, _), page) in open.into_iter().zip(pages) {
            let Some((cursor, names)) = read(page) else { return Next::unexpected() };
            if cursor != b"0" {
                self.open.push((shard, cursor.to_vec()));
            }
            if let Some(over) = self.take(names) {
                return over;
            }
        }
        if self.open.is_empty() {
            self.patterns.pop();
            self.start_over();
        }
        self.steps += 1;
        match self.calls() {
            calls if calls.is_empty() => Next::Reply(self.reply()),
            _ if self.steps > MOST_STEPS => Next::error("there are too many keys to go through"),
            calls => Next::Calls(calls),
        }
    }

    fn on_map(&mut self, map: &Arc<SlotMap>) {
        self.has_left |= self
            .shards
            .iter()
            .any(|shard| shard.is_of_slot && map.owner_endpoint(shard.slot) != shard.primary.as_ref());
    }
}

impl<P: Fn(Slot) -> u16> Walk<P> {
    /// All shards from their beginnings, for the next pattern if there is one.
    fn start_over(&mut self) {
        if !self.patterns.is_empty() {
            self.open = self.shards.iter().map(|shard| (shard.clone(), b"0".to_vec())).collect();
        }
    }

    /// Takes what a page has; what the whole comes to, where that is known by it.
    fn take<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>) -> Option<Next> {
        match self.wanted {
            Wanted::Count => self.count += names.count() as i64,
            Wanted::Any { pick } => {
                let names: Vec<_> = names.collect();
                let index = (pick as usize).checked_rem(names.len())?;
                return Some(self.tell(|writer| writer.bulk(names[index])));
            }
            Wanted::Removal => self.doomed.extend(names.map(Box::from)),
            Wanted::Names => {
                for name in names {
                    // A shard may show a name twice.
                    if self.names.insert(name.into()) {
                        self.held += name.len() + PER_NAME;
                    }
                }
                if self.held > self.most {
                    let why = "too much of several slots has to be held, see cluster.cross_slot_memory";
                    return Some(Next::error(why));
                }
            }
        }
        None
    }

    /// The next step: what is to be removed, then the next page of each shard.
    fn calls(&mut self) -> Vec<Call> {
        let mut calls = self.remove();
        self.removals = calls.len();
        // A walk that finds more than it removes waits for that.
        if self.doomed.is_empty() {
            let Some(pattern) = self.patterns.last() else { return calls };
            let scan = |(shard, cursor): &(Shard, Vec<u8>)| {
                let call = Call::of(shard.slot, &[b"SCAN", cursor, b"MATCH", pattern, b"COUNT", AT_A_TIME]);
                Call { primary: shard.primary.clone(), ..call }
            };
            calls.extend(self.open.iter().map(scan));
        }
        calls
    }

    fn remove(&mut self) -> Vec<Call> {
        let mut groups: HashMap<u16, Vec<Box<[u8]>>> = HashMap::new();
        for name in self.doomed.drain(..self.doomed.len().min(MOST_REMOVED)) {
            groups.entry((self.place)(Slot::of(&name))).or_default().push(name);
        }
        let unlink = |names: Vec<Box<[u8]>>| {
            let slot = names.first().map_or(Slot::FIXED, |name| Slot::of(name));
            let words: Vec<&[u8]> =
                std::iter::once(&b"UNLINK"[..]).chain(names.iter().map(|name| &**name)).collect();
            Call::of(slot, &words)
        };
        groups.into_values().map(unlink).collect()
    }

    /// What it came to.
    fn reply(&self) -> Vec<u8> {
        let told = self.tell(|writer| match self.wanted {
            Wanted::Count => writer.integer(self.count),
            Wanted::Any { .. } => writer.null(),
            Wanted::Removal => writer.simple("OK"),
            Wanted::Names => {
                writer.array(self.names.len());
                self.names.iter().for_each(|name| writer.bulk(name));
            }
        });
        if let Next::Reply(reply) = told { reply } else { Vec::new() }
    }

    fn tell(&self, write: impl FnOnce(&mut ReplyWriter<'_>)) -> Next {
        let mut reply = Vec::new();
        write(&mut ReplyWriter::new(&mut reply, self.protocol));
        Next::Reply(reply)
    }
}

/// A page: its cursor and its names.
fn read(page: &[u8]) -> Option<(&[u8], impl Iterator<Item = &[u8]>)> {
    let mut elements = Elements::new(page)?;
    let cursor = bulk(elements.next()?)?;
    Some((cursor, Elements::new(elements.next()?)?.filter_map(bulk)))
}

impl<P> std::fmt::Debug for Walk<P> {
    /// Says how far it is: keys are never logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("wanted", &self.wanted).field("steps", &self.steps).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot_map;
    use crate::route::plan::tests::Stepper;

    fn walk(wanted: Wanted, patterns: &[&str], most: usize) -> Stepper {
        let patterns = patterns.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        let limits = (most, Protocol::Resp2);
        Stepper::begin("X", |_| begin(wanted, patterns, shards(false), limits, Slot::number))
    }

    fn shards(is_of_slot: bool) -> Vec<Shard> {
        [0, 9_000].map(|slot| shard(Slot::new(slot).unwrap(), slot, is_of_slot)).to_vec()
    }

    fn shard(slot: Slot, port: u16, is_of_slot: bool) -> Shard {
        Shard { slot, primary: Some(Endpoint { host: "h".into(), port }), is_of_slot }
    }

    /// All slots at the node of this port.
    fn map(port: u16) -> Arc<SlotMap> {
        let slots = vec![(Slot::new(0).unwrap(), Slot::new(16_383).unwrap())];
        let primary = Endpoint { host: "h".into(), port };
        let shard = slot_map::Shard { primary, replicas: Vec::new(), slots };
        Arc::new(SlotMap::new(slot_map::Generation(1), &[shard]))
    }

    const EMPTY: &str = "*2\r\n$1\r\n0\r\n*0\r\n";

    #[test]
    fn every_shard_is_gone_through_to_its_end() {
        let mut walk = walk(Wanted::Names, &["p:*"], 1_000);
        assert_eq!(walk.calls(), ["0 SCAN 0 MATCH p:* COUNT 1000", "9000 SCAN 0 MATCH p:* COUNT 1000"]);
        walk.step(&["*2\r\n$1\r\n7\r\n*2\r\n$3\r\np:b\r\n$3\r\np:a\r\n", EMPTY]);
        assert_eq!(walk.calls(), ["0 SCAN 7 MATCH p:* COUNT 1000"]);
        let names = "*2\r\n$1\r\n0\r\n*2\r\n$3\r\np:c\r\n$3\r\np:a\r\n";
        assert_eq!(walk.last(&[names]), "*3\r\n$3\r\np:a\r\n$3\r\np:b\r\n$3\r\np:c\r\n");
    }

    #[test]
    fn a_shard_is_read_at_the_node_that_it_began_at() {
        let begun = |is_of_slot| {
            let limits = (100, Protocol::Resp2);
            begin(Wanted::Count, vec![b"*".to_vec()], shards(is_of_slot), limits, Slot::number).unwrap()
        };
        let page = b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\na\r\n";
        let (mut plan, calls) = begun(false);
        assert_eq!(
            calls.iter().map(|call| call.primary.as_ref().unwrap().port).collect::<Vec<_>>(),
            [0, 9_000]
        );
        plan.on_map(&map(9_000));
        let Next::Calls(calls) = plan.next(&[page, EMPTY.as_bytes()]) else { panic!("it is over") };
        assert_eq!(calls.iter().map(|call| call.primary.as_ref().unwrap().port).collect::<Vec<_>>(), [0]);
        let (mut plan, _) = begun(true);
        plan.on_map(&map(9_000));
        assert_eq!(
            plan.next(&[page, page]),
            Next::Reply(CHANGING.to_vec()),
            "the keys have gone with their slot"
        );
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut walk = walk(Wanted::Names, &["*"], 100);
        let page = "*2\r\n$1\r\n7\r\n*2\r\n$3\r\np:b\r\n$3\r\np:a\r\n";
        assert!(walk.last(&[page, EMPTY]).contains("cross_slot_memory"));
    }

    #[test]
    fn keys_are_counted_and_any_is_picked() {
        let page = "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\na\r\n";
        assert_eq!(walk(Wanted::Count, &["*"], 0).last(&[page, page]), ":4\r\n");
        assert_eq!(walk(Wanted::Any { pick: 3 }, &["*"], 0).last(&[EMPTY, page]), "$1\r\na\r\n");
        assert_eq!(walk(Wanted::Any { pick: 3 }, &["*"], 0).last(&[EMPTY, EMPTY]), "$-1\r\n");
    }

    #[test]
    fn what_is_found_is_removed_where_its_slot_is() {
        // Slots: a 15495, b 3300, {a}x 15495.
        let mut walk = walk(Wanted::Removal, &["q*", "p*"], 0);
        assert_eq!(walk.calls()[0], "0 SCAN 0 MATCH p* COUNT 1000");
        walk.step(&[
            "*2\r\n$1\r\n7\r\n*2\r\n$1\r\na\r\n$4\r\n{a}x\r\n",
            "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n",
        ]);
        let mut calls = walk.calls();
        assert_eq!(calls.pop().unwrap(), "0 SCAN 7 MATCH p* COUNT 1000");
        calls.sort();
        assert_eq!(calls, ["15495 UNLINK a {a}x", "3300 UNLINK b"]);
        walk.step(&[":2\r\n", ":1\r\n", EMPTY]);
        assert_eq!(walk.calls(), ["0 SCAN 0 MATCH q* COUNT 1000", "9000 SCAN 0 MATCH q* COUNT 1000"]);
        walk.step(&[EMPTY, "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n"]);
        assert_eq!(walk.calls(), ["3300 UNLINK b"]);
        assert_eq!(walk.last(&[":1\r\n"]), "+OK\r\n");
    }

    #[test]
    fn an_error_of_a_shard_is_the_answer() {
        assert_eq!(walk(Wanted::Count, &["*"], 0).last(&[EMPTY, "-ERR x\r\n"]), "-ERR x\r\n");
        assert!(walk(Wanted::Count, &["*"], 0).last(&[EMPTY, "+OK\r\n"]).contains("unexpected shape"));
    }
}
