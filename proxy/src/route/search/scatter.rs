//! A search as a plan: every shard is asked once, and what they say is merged.
//!
//! The nodes of a cluster look at the slot of an index's name, so each shard is asked by one of its own slots. Where that
//! slot is just leaving (ASK) or has left (MOVED), the shard is asked again by another: to follow the redirect would ask
//! one shard twice and another not at all.

use std::sync::Arc;

use super::gathering::Gathering;
use super::outgoing::Outgoing;
use super::refused::Refused;
use super::schema::Schema;
use crate::cluster::slot::{SLOT_COUNT, Slot};
use crate::cluster::slot_map::{Endpoint, NodeIndex, SlotMap};
use crate::resp::protocol::Protocol;
use crate::route::plan::{Begun, CHANGING, Call, Next, Plan};
use crate::route::redirect::Redirect;

/// How often a shard is asked by another of its slots: a slot leaves in moments, and they leave one by one.
const ATTEMPTS: u16 = 6;

/// A request to all shards, under way.
#[derive(Debug)]
pub struct Scatter {
    outgoing: Outgoing,
    map: Arc<SlotMap>,
    /// Whether nodes look at slots.
    by_slot: bool,
    protocol: Protocol,
    shards: Vec<Asked>,
    phase: Phase,
    schema: Option<Schema>,
}

/// ```text
/// (Fields ->) Shards (-> KeyType) (-> Documents) -> the reply
/// ```
#[derive(Debug)]
enum Phase {
    /// FT.INFO is asked, to know whether the search can be done without reading documents.
    Fields,
    /// These shards are asked.
    Shards(Vec<usize>),
    /// FT.INFO is asked, to know what the rows are sorted by.
    KeyType,
    /// The documents of this page are read.
    Documents(Vec<u8>),
}

#[derive(Debug)]
struct Asked {
    slot: Slot,
    attempts: u16,
    reply: Vec<u8>,
}

impl Scatter {
    /// Asks every shard of `map`; there is at least one.
    ///
    /// # Errors
    /// Where an index's name fixes a slot, and `by_slot` the nodes look at that.
    pub fn begin(
        outgoing: Outgoing,
        map: Arc<SlotMap>,
        by_slot: bool,
        protocol: Protocol,
    ) -> Result<Begun, Refused> {
        let shards = shards_of(&map);
        let asks_fields = outgoing.contents.is_some() || !outgoing.needs.is_empty();
        let phase = if asks_fields { Phase::Fields } else { Phase::Shards((0..shards.len()).collect()) };
        let scatter = Self { outgoing, map, by_slot, protocol, shards, phase, schema: None };
        let calls = scatter.calls()?;
        Ok((Box::new(scatter), calls))
    }

    /// The calls of the phase under way.
    fn calls(&self) -> Result<Vec<Call>, Refused> {
        let call = |outgoing: &Outgoing, slot: Slot, primary: Option<Endpoint>| {
            let frame = outgoing.frame(self.by_slot.then_some(slot))?;
            Ok(Call { slot, primary, frame, leads: 0 })
        };
        match &self.phase {
            Phase::Fields | Phase::KeyType => {
                Ok(vec![call(&self.outgoing.info(), self.map.fixed_slot(), None)?])
            }
            Phase::Shards(asking) => {
                let asked = asking.iter().filter_map(|shard| self.shards.get(*shard));
                let primary = |slot| self.map.owner_endpoint(slot).cloned();
                asked.map(|asked| call(&self.outgoing, asked.slot, primary(asked.slot))).collect()
            }
            Phase::Documents(_) => Ok(Vec::new()),
        }
    }

    fn go_on(&mut self, phase: Phase) -> Next {
        self.phase = phase;
        self.calls().map_or_else(|_| Next::Reply(CHANGING.to_vec()), Next::Calls)
    }

    fn gathering(&self) -> &Gathering {
        &self.outgoing.gathering
    }

    /// Has shard `shard` asked by another slot; false where it has none that was not tried, or where `redirect` leads
    /// to a node that was not asked.
    fn ask_again(&mut self, shard: usize, redirect: &Redirect) -> bool {
        let (Redirect::Moved(node) | Redirect::Ask(node)) = redirect else { return false };
        let is_known = self.map.is_primary(node);
        let Some(asked) = self.shards.get_mut(shard) else { return false };
        let Some(owner) = self.map.owner(asked.slot).filter(|_| is_known && asked.attempts < ATTEMPTS) else {
            return false;
        };
        asked.attempts += 1;
        asked.slot = another_slot(&self.map, owner, asked.attempts);
        true
    }
}

impl Plan for Scatter {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        match std::mem::replace(&mut self.phase, Phase::KeyType) {
            Phase::Fields => self.on_fields(replies),
            Phase::Shards(asking) => self.on_shards(asking, replies),
            Phase::KeyType => {
                let Some(schema) = replies.first().and_then(|info| Schema::read(info)) else {
                    return replies
                        .first()
                        .map_or_else(Next::unexpected, |error| Next::Reply(error.to_vec()));
                };
                let sort = self.outgoing.sort.as_deref().unwrap_or_default();
                let numbers = schema.is_number(sort);
                self.schema = Some(schema);
                self.merge(numbers)
            }
            Phase::Documents(page) => self.on_documents(&page, replies),
        }
    }

    /// Shards that were not asked yet are those of the newest map; once they are, each is that of the map it was
    /// found in.
    fn on_map(&mut self, map: &Arc<SlotMap>) {
        if matches!(self.phase, Phase::Fields) {
            self.map = map.clone();
            self.shards = shards_of(&self.map);
        }
    }
}

/// All shards, none asked yet.
fn shards_of(map: &SlotMap) -> Vec<Asked> {
    let asked = |slot: &Slot| Asked { slot: *slot, attempts: 0, reply: Vec::new() };
    map.shard_slots().iter().map(asked).collect()
}

impl Scatter {
    fn on_fields(&mut self, replies: &[&[u8]]) -> Next {
        let Some(reply) = replies.first() else { return Next::unexpected() };
        let Some(schema) = Schema::read(reply) else {
            return match reply {
                // As a search says it.
                [b'-', text @ ..] if memchr::memmem::find(text, b"nknown").is_some() => {
                    Next::Reply(format!("-{}: no such index\r\n", self.outgoing.name()).into_bytes())
                }
                [b'-', ..] => Next::Reply(reply.to_vec()),
                _ => Next::unexpected(),
            };
        };
        let returns = self.outgoing.contents.as_ref().is_some_and(|contents| contents.returned.is_some());
        let checked = match schema.check(&self.outgoing.needs) {
            Ok(()) if schema.json && returns => Err(Refused::Documents("RETURN of an index of JSON")),
            checked => checked,
        };
        if let Err(refused) = checked {
            return Next::error(&refused.to_string());
        }
        self.schema = Some(schema);
        self.go_on(Phase::Shards((0..self.shards.len()).collect()))
    }

    fn on_shards(&mut self, asking: Vec<usize>, replies: &[&[u8]]) -> Next {
        let mut again = Vec::new();
        for (shard, reply) in asking.into_iter().zip(replies) {
            match self.redirect(shard, reply) {
                Some(redirect) if self.ask_again(shard, &redirect) => again.push(shard),
                Some(_) => return Next::Reply(CHANGING.to_vec()),
                None => {
                    if let Some(asked) = self.shards.get_mut(shard) {
                        asked.reply = reply.to_vec();
                    }
                }
            }
        }
        if !again.is_empty() {
            return self.go_on(Phase::Shards(again));
        }
        if self.schema.is_none() && self.gathering().is_ambiguous(&self.replies(), self.protocol) {
            return self.go_on(Phase::KeyType);
        }
        self.merge(false)
    }

    fn replies(&self) -> Vec<&[u8]> {
        self.shards.iter().map(|asked| asked.reply.as_slice()).collect()
    }

    /// What the shards said, made one; `numbers`: what rows are sorted by is one.
    fn merge(&mut self, numbers: bool) -> Next {
        let Some(page) = self.gathering().merge(&self.replies(), self.protocol, numbers) else {
            return Next::unexpected();
        };
        let (Some(contents), Some(schema)) = (&self.outgoing.contents, &self.schema) else {
            return Next::Reply(page);
        };
        if page.first() == Some(&b'-') {
            return Next::Reply(page);
        }
        match contents.calls(&page, schema, self.protocol) {
            None => Next::unexpected(),
            Some(calls) if calls.is_empty() => self.on_documents(&page, &[]),
            Some(calls) => {
                self.phase = Phase::Documents(page);
                Next::Calls(calls)
            }
        }
    }

    fn on_documents(&self, page: &[u8], replies: &[&[u8]]) -> Next {
        if let Some(error) = replies.iter().find(|reply| matches!(reply.first(), Some(b'-' | b'!'))) {
            return Next::Reply(error.to_vec());
        }
        let (Some(contents), Some(schema)) = (&self.outgoing.contents, &self.schema) else {
            return Next::unexpected();
        };
        contents.write(page, replies, schema, self.protocol).map_or_else(Next::unexpected, Next::Reply)
    }

    fn redirect(&self, shard: usize, reply: &[u8]) -> Option<Redirect> {
        let node = self.map.owner_endpoint(self.shards.get(shard)?.slot)?;
        let redirect = Redirect::parse(reply, node)?;
        matches!(redirect, Redirect::Moved(_) | Redirect::Ask(_)).then_some(redirect)
    }
}

/// One of `owner`'s slots, far from those of other attempts: slots that leave stand together.
fn another_slot(map: &SlotMap, owner: NodeIndex, attempt: u16) -> Slot {
    let slots: Vec<Slot> =
        (0..SLOT_COUNT).filter_map(Slot::new).filter(|slot| map.owner(*slot) == Some(owner)).collect();
    // The last first: tools move slots from the lowest on.
    let place = slots.len().saturating_sub(1) * usize::from(ATTEMPTS + 1 - attempt) / usize::from(ATTEMPTS);
    slots.get(place).copied().unwrap_or(Slot::FIXED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot_map::{Endpoint, Generation, Shard};
    use crate::route::search::outgoing::tests::with_request;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { host: "127.0.0.1".into(), port }
    }

    /// Two shards, each with half of the slots.
    fn begin(words: &[&str]) -> (Box<dyn Plan>, Vec<Call>) {
        let slot = |number| Slot::new(number).unwrap();
        let shard = |port, first, last| Shard {
            primary: endpoint(port),
            replicas: Vec::new(),
            slots: vec![(slot(first), slot(last))],
        };
        let map = SlotMap::new(Generation(1), &[shard(1, 0, 8_191), shard(2, 8_192, 16_383)]);
        let outgoing = with_request(words, |request| Outgoing::search(request, true).unwrap());
        Scatter::begin(outgoing, Arc::new(map), true, Protocol::Resp2).unwrap()
    }

    const INFO: &[u8] = b"*4\r\n+index_definition\r\n*2\r\n+key_type\r\n+HASH\r\n+attributes\r\n*0\r\n";
    const NUMBERS: &[&str] = &["FT.SEARCH", "i", "@n:[0 9]", "NOCONTENT", "LIMIT", "0", "2"];
    const FIRST: &[u8] = b"*5\r\n:3\r\n$3\r\nd:1\r\n$1\r\n1\r\n$3\r\nd:9\r\n$3\r\n0.5\r\n";
    const SECOND: &[u8] = b"*3\r\n:1\r\n$3\r\nd:4\r\n$1\r\n1\r\n";
    const MERGED: &[u8] = b"*3\r\n:4\r\n$3\r\nd:1\r\n$3\r\nd:4\r\n";

    #[test]
    fn a_shard_whose_slot_is_leaving_is_asked_by_another_and_no_redirect_is_followed() {
        let (mut plan, calls) = begin(NUMBERS);
        assert_eq!(calls.iter().map(|call| call.slot.number()).collect::<Vec<_>>(), [0, 8_192]);
        assert_eq!(
            calls.iter().map(|call| call.primary.clone()).collect::<Vec<_>>(),
            [1, 2].map(|n| Some(endpoint(n)))
        );
        let Next::Calls(again) = plan.next(&[b"-ASK 0 127.0.0.1:2\r\n", SECOND]) else {
            panic!("it is over")
        };
        assert_eq!(again.iter().map(|call| call.slot.number()).collect::<Vec<_>>(), [8_191]);
        assert_eq!(plan.next(&[FIRST]), Next::Reply(MERGED.to_vec()));
    }

    #[test]
    fn what_a_node_that_was_not_asked_has_is_not_left_out() {
        let (mut plan, _) = begin(NUMBERS);
        assert_eq!(plan.next(&[b"-MOVED 0 127.0.0.1:3\r\n", SECOND]), Next::Reply(CHANGING.to_vec()));
    }

    #[test]
    fn slots_that_leave_forever_end_in_an_error() {
        let (mut plan, _) = begin(NUMBERS);
        let moved = b"-MOVED 0 127.0.0.1:2\r\n";
        assert!(matches!(plan.next(&[moved, SECOND]), Next::Calls(_)));
        for _ in 1..ATTEMPTS {
            assert!(matches!(plan.next(&[moved]), Next::Calls(_)));
        }
        assert_eq!(plan.next(&[moved]), Next::Reply(CHANGING.to_vec()));
    }

    #[test]
    fn one_shards_error_is_the_reply() {
        let (mut plan, _) = begin(NUMBERS);
        let error = b"-i: no such index\r\n";
        assert_eq!(plan.next(&[FIRST, error]), Next::Reply(error.to_vec()));
    }

    #[test]
    fn shards_are_those_of_the_map_by_which_they_are_asked() {
        let (mut plan, _) = begin(&["FT.SEARCH", "i", "@n:[0 9]", "RETURN", "1", "p", "LIMIT", "0", "2"]);
        let slot = |number| Slot::new(number).unwrap();
        let of = |port, slots| Shard { primary: endpoint(port), replicas: Vec::new(), slots };
        let shards = [
            of(1, vec![(slot(1), slot(8_191))]),
            of(2, vec![(slot(0), slot(0)), (slot(8_192), slot(9_999))]),
            of(3, vec![(slot(10_000), slot(16_383))]),
        ];
        plan.on_map(&Arc::new(SlotMap::new(Generation(2), &shards)));
        let Next::Calls(calls) = plan.next(&[INFO]) else { panic!("it is over") };
        let asked =
            |calls: &[Call]| calls.iter().map(|it| it.primary.as_ref().unwrap().port).collect::<Vec<_>>();
        assert_eq!(asked(&calls), [2, 1, 3]);
        // Behind the calls it is too late: of the three that were asked one is asked by another slot.
        plan.on_map(&Arc::new(SlotMap::new(Generation(3), &shards[..1])));
        let Next::Calls(calls) = plan.next(&[b"-MOVED 0 127.0.0.1:1\r\n", FIRST, SECOND]) else {
            panic!("it is over")
        };
        assert_eq!((asked(&calls), calls[0].slot), (vec![2], slot(9_999)));
    }

    #[test]
    fn documents_are_read_where_they_are() {
        let (mut plan, calls) = begin(&["FT.SEARCH", "i", "@n:[0 9]", "RETURN", "1", "p", "LIMIT", "0", "2"]);
        assert_eq!(calls.len(), 1, "the fields are asked first");
        let Next::Calls(calls) = plan.next(&[INFO]) else { panic!("it is over") };
        assert_eq!(calls.len(), 2);
        let Next::Calls(calls) = plan.next(&[FIRST, SECOND]) else { panic!("it is over") };
        let wherever_its_slot_is = Call::of(Slot::of(b"d:1"), &[b"HMGET", b"d:1", b"p"]);
        assert_eq!(calls[0], wherever_its_slot_is);
        let replies: [&[u8]; 2] = [b"*1\r\n$1\r\n7\r\n", b"*1\r\n$-1\r\n"];
        let whole = b"*5\r\n:4\r\n$3\r\nd:1\r\n*2\r\n$1\r\np\r\n$1\r\n7\r\n$3\r\nd:4\r\n*0\r\n";
        assert_eq!(plan.next(&replies), Next::Reply(whole.to_vec()));
    }
}
