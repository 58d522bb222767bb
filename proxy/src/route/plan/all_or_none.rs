//! MSETNX over several slots: nothing is written where any of the keys is there. Should a key come up between the
//! look and the writing, what was written is taken back, where it is still what was written.

use hashbrown::HashMap;

use super::{Begun, Call, Next, Plan};
use crate::cluster::slot::Slot;
use crate::resp::elements::{integer, is_error};
use crate::resp::request::Request;

/// Pairs of several slots.
#[derive(Debug)]
pub struct AllOrNone {
    groups: Vec<Group>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The keys are counted.
    Looking,
    /// Each slot's are set, all or none.
    Setting,
    /// Those that were set are taken back; the answer.
    Undoing(Vec<u8>),
}

#[derive(Debug)]
struct Group {
    slot: Slot,
    /// Keys and values in turn.
    pairs: Vec<Box<[u8]>>,
}

/// Removes each of KEYS that has the value that stands in ARGV in its place.
const REMOVE: &[u8] = b"local n = 0 for i = 1, #KEYS do if redis.call('GET', KEYS[i]) == ARGV[i] then \
    n = n + redis.call('UNLINK', KEYS[i]) end end return n";

/// Begins for the pairs from argument 1 on; `place` gives slots whose keys a server takes together the same number.
#[must_use]
pub fn begin(request: &Request<'_>, place: impl Fn(Slot) -> u16) -> Begun {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_place: HashMap<u16, usize> = HashMap::new();
    let words: Vec<&[u8]> = request.args_from(1).collect();
    for pair in words.chunks_exact(2) {
        let slot = Slot::of(pair[0]);
        let index = *by_place.entry(place(slot)).or_insert_with(|| {
            groups.push(Group { slot, pairs: Vec::new() });
            groups.len() - 1
        });
        groups[index].pairs.extend(pair.iter().map(|word| Box::from(*word)));
    }
    let calls = groups.iter().map(|group| group.call(b"EXISTS", group.keys())).collect();
    (Box::new(AllOrNone { groups, stage: Stage::Looking }), calls)
}

impl Plan for AllOrNone {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        let error = replies.iter().find(|reply| is_error(reply)).map(|reply| reply.to_vec());
        match std::mem::replace(&mut self.stage, Stage::Looking) {
            Stage::Looking if error.is_some() => Next::Reply(error.unwrap_or_default()),
            Stage::Looking if replies.iter().any(|reply| integer(reply) != Some(0)) => Next::integer(0),
            Stage::Looking => {
                self.stage = Stage::Setting;
                Next::Calls(self.groups.iter().map(|it| it.call(b"MSETNX", it.pairs.iter())).collect())
            }
            Stage::Setting if replies.iter().all(|reply| integer(reply) == Some(1)) => Next::integer(1),
            Stage::Setting => self.undo(replies, error.unwrap_or_else(|| b":0\r\n".to_vec())),
            Stage::Undoing(answer) => Next::Reply(answer),
        }
    }
}

impl AllOrNone {
    /// Takes back what was set, or may have been.
    fn undo(&mut self, replies: &[&[u8]], answer: Vec<u8>) -> Next {
        let set = self.groups.iter().zip(replies).filter(|(_, reply)| integer(reply) != Some(0));
        let calls: Vec<Call> = set.map(|(group, _)| group.remove()).collect();
        if calls.is_empty() {
            return Next::Reply(answer);
        }
        self.stage = Stage::Undoing(answer);
        Next::Calls(calls)
    }
}

impl Group {
    fn keys(&self) -> impl Iterator<Item = &Box<[u8]>> {
        self.pairs.iter().step_by(2)
    }

    fn call<'a>(&'a self, name: &'a [u8], args: impl Iterator<Item = &'a Box<[u8]>>) -> Call {
        let words: Vec<&[u8]> = [name].into_iter().chain(args.map(|word| &**word)).collect();
        Call::of(self.slot, &words)
    }

    fn remove(&self) -> Call {
        let count = (self.pairs.len() / 2).to_string();
        let mut words: Vec<&[u8]> = vec![b"EVAL", REMOVE, count.as_bytes()];
        words.extend(self.keys().map(|word| &**word));
        words.extend(self.pairs.iter().skip(1).step_by(2).map(|word| &**word));
        Call::of(self.slot, &words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::plan::tests::Stepper;

    // Slots: a 15495, b 3300.

    fn plan() -> Stepper {
        Stepper::begin("MSETNX a 1 b 2 {a}2 3", |request| Some(begin(request, Slot::number)))
    }

    #[test]
    fn all_are_looked_at_before_one_is_set() {
        let mut plan = plan();
        assert_eq!(plan.calls(), ["15495 EXISTS a {a}2", "3300 EXISTS b"]);
        plan.step(&[":0\r\n", ":0\r\n"]);
        assert_eq!(plan.calls(), ["15495 MSETNX a 1 {a}2 3", "3300 MSETNX b 2"]);
        assert_eq!(plan.last(&[":1\r\n", ":1\r\n"]), ":1\r\n");
        assert_eq!(self::plan().last(&[":0\r\n", ":1\r\n"]), ":0\r\n");
    }

    #[test]
    fn what_was_set_is_taken_back_when_another_was_first() {
        let mut plan = plan();
        plan.step(&[":0\r\n", ":0\r\n"]);
        plan.step(&[":1\r\n", ":0\r\n"]);
        let calls = plan.calls();
        assert!(
            calls.len() == 1 && calls[0].starts_with("15495 EVAL") && calls[0].ends_with("2 a {a}2 1 3"),
            "{calls:?}"
        );
        assert_eq!(plan.last(&[":2\r\n"]), ":0\r\n");
    }

    #[test]
    fn an_error_is_told_when_the_rest_was_taken_back() {
        let mut plan = plan();
        plan.step(&[":0\r\n", ":0\r\n"]);
        plan.step(&[":1\r\n", "-OOM no\r\n"]);
        assert_eq!(plan.calls().len(), 2, "the one that refused may have run for all we know");
        assert_eq!(plan.last(&[":2\r\n", ":0\r\n"]), "-OOM no\r\n");
    }
}
