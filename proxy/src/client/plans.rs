//! The plans under way in a worker: requests that take several steps, see [`crate::route::plan`]. What they ask for
//! is taken by the worker and sent; what comes back decides how they go on. They belong to no client's record:
//! one whose client has left still comes to its end, unless it is given up.

use std::sync::Arc;

use slab::Slab;

use super::retry::Target;
use crate::backend::in_flight::{Origin, Ticket};
use crate::backend::lane::Lane;
use crate::cluster::slot_map::{Endpoint, SlotMap};
use crate::route::parts::Parts;
use crate::route::plan::{Begun, Call, Next, Plan};

/// All plans of a worker.
#[derive(Debug)]
pub struct Plans {
    running: Slab<Running>,
    /// Calls that are to be sent.
    outbox: Vec<Outgoing>,
    /// Tells calls of a plan from those of an earlier one in the same place.
    next_ticket: u32,
    /// Bytes of replies that all of them hold.
    held: usize,
    /// How many they may hold.
    limit: usize,
    /// Transactions that ran in part only since [`Self::take_torn`].
    torn: u64,
}

#[derive(Debug)]
struct Running {
    /// Who is answered in the end.
    asker: Origin,
    lane: Lane,
    ticket: Ticket,
    plan: Box<dyn Plan>,
    /// What has come of this step.
    parts: Parts,
    /// For which primary each of its calls is; empty where they are for none.
    primaries: Vec<Option<Endpoint>>,
}

/// A call on its way to the worker's links.
#[derive(Debug)]
pub struct Outgoing {
    /// By which its reply is known.
    pub origin: Origin,
    /// The connections that it takes.
    pub lane: Lane,
    /// What is asked, and where.
    pub call: Call,
}

/// In the place of a reply that is too large.
const TOO_LARGE: &[u8] =
    b"-ERR slotway: too much of several slots has to be held, see cluster.cross_slot_memory\r\n";

/// A plan that asks for nothing and says nothing would never end.
const ENDLESS: &[u8] = b"-ERR slotway: the command could not be carried out\r\n";

impl Plans {
    /// No plans yet; together they may hold `limit` bytes of replies.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { running: Slab::new(), outbox: Vec::new(), next_ticket: 0, held: 0, limit, torn: 0 }
    }

    /// From here on they may hold so much.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Begins a plan, whose calls go over `lane` and whose end answers `asker`. Gives its first call, by which it is
    /// known.
    pub fn start(&mut self, asker: Origin, lane: Lane, (plan, calls): Begun) -> Origin {
        debug_assert!(!calls.is_empty(), "a plan begins with a call");
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let parts = Parts::new(calls.len().max(1));
        let key = self.running.insert(Running { asker, lane, ticket, plan, parts, primaries: Vec::new() });
        self.send(key, calls);
        Origin::plan(key as u32, ticket, 0)
    }

    /// Nobody waits any more for the plan that [`Self::start`] gave this for: what it has not begun to change it
    /// leaves alone.
    pub fn give_up(&mut self, plan: Origin) {
        let key = plan.generation as usize;
        let running = self.running.get(key).filter(|running| running.ticket == plan.ticket);
        if running.is_some_and(|running| running.plan.only_looks()) {
            self.held -= self.running.remove(key).parts.held_bytes();
        }
    }

    /// The rest of a call's reply will not come: `error` stands in its place. Gives what [`Self::fill`] does.
    pub fn break_off(&mut self, origin: Origin, error: &'static [u8]) -> Option<(Origin, Vec<u8>)> {
        let running = self.running.get_mut(origin.generation as usize);
        let running = running.filter(|running| running.ticket == origin.ticket)?;
        let before = running.parts.held_bytes();
        running.parts.refuse(origin.part, error);
        self.held = self.held + running.parts.held_bytes() - before;
        self.fill(origin, b"", false)
    }

    /// Takes a piece of the reply to a call. Gives the answer and whom it is for, where that ends the plan.
    pub fn fill(&mut self, origin: Origin, piece: &[u8], more: bool) -> Option<(Origin, Vec<u8>)> {
        let key = origin.generation as usize;
        let running = self.running.get_mut(key).filter(|running| running.ticket == origin.ticket)?;
        let before = running.parts.held_bytes();
        if self.held + piece.len() > self.limit {
            running.parts.refuse(origin.part, TOO_LARGE);
        }
        let complete = running.parts.fill(origin.part, piece, more);
        self.held = self.held + running.parts.held_bytes() - before;
        if !complete {
            return None;
        }
        let next = running.plan.next(&running.parts.replies());
        self.torn += u64::from(matches!(next, Next::Torn(_)));
        match next {
            Next::Calls(calls) if !calls.is_empty() => {
                self.held -= running.parts.held_bytes();
                running.parts = Parts::new(calls.len());
                self.send(key, calls);
                None
            }
            over => {
                let reply = match over {
                    Next::Reply(reply) | Next::Torn(reply) => reply,
                    Next::Calls(_) => ENDLESS.to_vec(),
                };
                let over = self.running.remove(key);
                self.held -= over.parts.held_bytes();
                Some((over.asker, reply))
            }
        }
    }

    /// How many transactions ran in part only since the last call.
    pub fn take_torn(&mut self) -> u64 {
        std::mem::take(&mut self.torn)
    }

    /// Where a call goes that could not be sent.
    #[must_use]
    pub fn target(&self, call: Origin) -> Target {
        self.primary(call).cloned().map_or(Target::Slot, Target::Primary)
    }

    /// Where a call goes that an error sends to `target`; nowhere where it is for a node which the slot has left.
    #[must_use]
    pub fn keep(&self, call: Origin, target: Target) -> Option<Target> {
        match (self.primary(call), target) {
            (Some(_), Target::Node { .. }) => None,
            (Some(primary), _) => Some(Target::Primary(primary.clone())),
            (None, target) => Some(target),
        }
    }

    /// From here on calls are sent by this map.
    pub fn switch_map(&mut self, map: &Arc<SlotMap>) {
        self.running.iter_mut().for_each(|(_, running)| running.plan.on_map(map));
    }

    /// Puts back a call that could not be sent.
    pub fn put_back(&mut self, outgoing: Outgoing) {
        self.outbox.push(outgoing);
    }

    /// The calls that wait to be sent.
    #[must_use]
    pub fn take_outbox(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outbox)
    }

    /// Whether [`Self::take_outbox`] would give any.
    #[must_use]
    pub fn has_outgoing(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// How many are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The node that a call is for, where it is not for its slot; of what is no call there is none.
    fn primary(&self, call: Origin) -> Option<&Endpoint> {
        let running = self.running.get(call.generation as usize)?;
        let is_its = call.client == Origin::PLAN && running.ticket == call.ticket;
        running.primaries.get(usize::from(call.part)).filter(|_| is_its)?.as_ref()
    }

    fn send(&mut self, key: usize, calls: Vec<Call>) {
        let Some(Running { lane, ticket, primaries, .. }) = self.running.get_mut(key) else { return };
        primaries.clear();
        if calls.iter().any(|call| call.primary.is_some()) {
            primaries.extend(calls.iter().map(|call| call.primary.clone()));
        }
        let outgoing =
            |(part, call)| Outgoing { origin: Origin::plan(key as u32, *ticket, part), lane: *lane, call };
        self.outbox.extend((0..).zip(calls).map(outgoing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot::Slot;
    use crate::command::groups::with_request;
    use crate::route::plan::temporary::Names;
    use crate::route::plan::{element, first};

    fn asker() -> Origin {
        Origin { client: 1, generation: 2, ticket: Ticket(3), part: 0 }
    }

    fn begun(calls: usize) -> Begun {
        first::begin((0..calls).map(|_| Call::of(Slot::FIXED, &[b"x"])).collect()).unwrap()
    }

    #[test]
    fn a_plan_goes_from_step_to_step_and_answers_its_asker() {
        let mut plans = Plans::new(100);
        plans.start(asker(), Lane::default(), begun(2));
        let first = plans.take_outbox().remove(0).origin;
        assert_eq!(plans.fill(first, b"*-1\r\n", false), None);
        let second = plans.take_outbox().remove(0).origin;
        assert_eq!(plans.fill(second, b"+a", true), None);
        assert_eq!(plans.fill(second, b"b\r\n", false), Some((asker(), b"+ab\r\n".to_vec())));
        assert_eq!((plans.len(), plans.held), (0, 0));
        assert_eq!(plans.fill(second, b"+late\r\n", false), None, "nobody waits for it");
    }

    #[test]
    fn what_is_held_is_bounded_over_all_plans() {
        let mut plans = Plans::new(10);
        plans.start(asker(), Lane::default(), begun(1));
        plans.start(asker(), Lane::default(), begun(1));
        let [a, b] = &plans.take_outbox()[..] else { panic!("two calls") };
        assert_eq!(plans.fill(a.origin, b"$8\r\n1234", true), None);
        assert_eq!(plans.fill(b.origin, b"$8\r\n1234", true), None);
        assert_eq!(plans.held, 8, "the second is told that it is too much");
        assert_eq!(plans.fill(b.origin, b"5678\r\n", false), Some((asker(), TOO_LARGE.to_vec())));
        assert_eq!(plans.fill(a.origin, b"5678\r\n", false), Some((asker(), TOO_LARGE.to_vec())));
        assert_eq!(plans.held, 0);
    }

    #[test]
    fn a_plan_is_given_up_as_long_as_it_only_looks() {
        let names = Names::new(&[0; 8], 1, 1);
        let frame = b"*3\r\n$9\r\nRPOPLPUSH\r\n$1\r\na\r\n$1\r\nb\r\n";
        let begun = || with_request(frame, |request| element::begin(request, &names).ok()).unwrap();
        let mut plans = Plans::new(100);
        let looks = plans.start(asker(), Lane::default(), begun());
        let calls = plans.take_outbox();
        assert_eq!(plans.fill(calls[0].origin, b":1\r\n", false), None);
        plans.give_up(looks);
        assert_eq!((plans.len(), plans.held), (0, 0));
        let takes = plans.start(asker(), Lane::default(), begun());
        assert_eq!(plans.fill(calls[1].origin, b":0\r\n", false), None, "it was a call of the one before");
        plans.give_up(looks);
        for call in plans.take_outbox() {
            assert_eq!(plans.fill(call.origin, b":1\r\n", false), None);
        }
        plans.give_up(takes);
        assert_eq!(
            (plans.len(), plans.take_outbox().len()),
            (1, 1),
            "what may be taken is not left half way"
        );
    }

    #[test]
    fn a_call_for_a_node_goes_nowhere_else() {
        let node = |port| Endpoint { host: "h".into(), port };
        let call = |primary| Call { primary, ..Call::of(Slot::FIXED, &[b"x"]) };
        let mut plans = Plans::new(100);
        let begun = first::begin(vec![call(Some(node(1))), call(None)]).unwrap();
        plans.start(asker(), Lane::default(), begun);
        let bound = plans.take_outbox().remove(0).origin;
        let moved = || Target::Node { endpoint: node(2), asking: false };
        assert_eq!((plans.target(bound), plans.keep(bound, moved())), (Target::Primary(node(1)), None));
        assert_eq!(plans.keep(bound, Target::Slot), Some(Target::Primary(node(1))), "it is asked again");
        assert_eq!(plans.fill(bound, b"*-1\r\n", false), None);
        let free = plans.take_outbox().remove(0).origin;
        assert_eq!((plans.target(free), plans.keep(free, moved())), (Target::Slot, Some(moved())));
        assert_eq!(plans.target(asker()), Target::Slot, "which is no plan's");
    }

    #[test]
    fn a_reply_that_breaks_off_is_its_error() {
        let mut plans = Plans::new(100);
        plans.start(asker(), Lane::default(), begun(1));
        let call = plans.take_outbox().remove(0).origin;
        assert_eq!(plans.fill(call, b"$8\r\n12", true), None);
        assert_eq!(plans.break_off(call, b"-ERR lost\r\n"), Some((asker(), b"-ERR lost\r\n".to_vec())));
        assert_eq!((plans.len(), plans.held), (0, 0));
    }
}
