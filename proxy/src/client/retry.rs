//! Requests that did not run and are to be sent again: after a redirect, behind a node that went away, or
//! in a while, when a slot has moved or a node has loaded. Pure; the worker asks for what is due.

use std::collections::{HashSet, VecDeque};

use crate::backend::in_flight::{Origin, Pending};
use crate::backend::lane::Lane;
use crate::cluster::slot_map::Endpoint;
use crate::refusal::Refusal;

/// A request on hold.
#[derive(Debug)]
pub struct Parked {
    /// Who asked.
    pub origin: Origin,
    /// Slot, deadline, and how often it was tried.
    pub pending: Pending,
    /// The connections that it may take.
    pub lane: Lane,
    /// Where to.
    pub target: Target,
    /// The request itself.
    pub request: Box<[u8]>,
    /// The server's own last words on it: the answer, should the deadline pass.
    pub last_error: Option<Box<[u8]>>,
    /// When to try again, in milliseconds of the worker's clock.
    pub due: u64,
    /// The node that is being given what this request calls: not before that is over, see [`Retries::release`].
    pub awaits: Option<Endpoint>,
}

/// Where a parked request goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// To whoever serves its slot by then.
    Slot,
    /// To this primary, whatever slots it serves by then: see [`crate::route::plan::Call::primary`].
    Primary(Endpoint),
    /// To the node that a redirect named.
    Node {
        /// That node.
        endpoint: Endpoint,
        /// Whether to say ASKING first.
        asking: bool,
    },
}

impl Parked {
    /// Redirects followed without a pause: a slot that moved is found after one, one that moves on
    /// meanwhile after a few; more look like nodes that disagree.
    pub const QUICK_ATTEMPTS: u8 = 5;

    /// A request that is to be tried once more.
    #[must_use]
    pub fn again(
        origin: Origin,
        pending: &Pending,
        lane: Lane,
        target: Target,
        request: &[u8],
        last_error: Option<&[u8]>,
    ) -> Self {
        let pending = pending.again();
        let last_error = match target {
            // Where a slot is now is the cluster's matter; the client must not learn of nodes.
            Target::Node { .. } => None,
            Target::Slot | Target::Primary(_) => {
                last_error.filter(|error| !names_a_node(error)).map(Box::from)
            }
        };
        // Once a replica did not answer, the primary has to.
        let lane = lane.to_primaries();
        Self { origin, pending, lane, target, request: request.into(), last_error, due: 0, awaits: None }
    }

    /// Whose it is.
    fn client(&self) -> (u32, u32) {
        (self.origin.client, self.origin.generation)
    }

    /// Notes why it could not be sent, for the answer at its deadline, unless a server said more.
    #[must_use]
    pub fn because(mut self, refusal: &Refusal) -> Self {
        if self.last_error.is_none() {
            self.last_error = Some(refusal.reply().into());
        }
        self
    }

    /// The same, once this node was given what it lacks.
    #[must_use]
    pub fn awaiting(self, node: &Endpoint) -> Self {
        Self { awaits: Some(node.clone()), ..self }
    }

    /// How long to wait before trying: at once for a redirect, else longer with each attempt.
    fn pause(&self) -> u64 {
        match self.target {
            _ if self.awaits.is_some() => u64::MAX,
            Target::Node { .. } => 0,
            Target::Slot | Target::Primary(_) => match self.pending.attempts {
                0 | 1 => 0,
                attempts => (5 << (attempts - 2).min(5)).min(LONGEST_PAUSE),
            },
        }
    }
}

fn names_a_node(error: &[u8]) -> bool {
    error.starts_with(b"-MOVED ") || error.starts_with(b"-ASK ")
}

/// Milliseconds: a failover takes a second or more, a TRYAGAIN some milliseconds.
const LONGEST_PAUSE: u64 = 100;
/// Milliseconds between looks at whether a node can be reached again.
const PAUSE_FOR_NODE: u64 = 20;

/// All parked requests of a worker.
///
/// Requests of one client are sent again in the order they were parked in, and a client with a parked
/// request sends no other, so that none overtakes another.
#[derive(Default, Debug)]
pub struct Retries {
    /// Parked since the last [`Self::take_fresh`]: many may go on at once.
    fresh: Vec<Parked>,
    /// Not before their time.
    waiting: VecDeque<Parked>,
    /// The clients that have requests in `waiting`.
    held: HashSet<(u32, u32)>,
}

impl Retries {
    /// Parks a request.
    pub(super) fn push(&mut self, parked: Parked) {
        self.fresh.push(parked);
    }

    /// Puts requests back whose nodes still can't be reached, in the order they were taken in: in front of
    /// whatever their clients parked later.
    pub fn put_back(&mut self, parked: Vec<Parked>, now: u64) {
        for mut parked in parked.into_iter().rev() {
            parked.target = Target::Slot;
            parked.awaits = None;
            parked.due = now + PAUSE_FOR_NODE.max(parked.pause());
            self.held.insert(parked.client());
            self.waiting.push_front(parked);
        }
    }

    /// Takes what was parked since the last call and may be sent again at once; the rest has to wait, and
    /// with it whatever its client parked behind it.
    pub fn take_fresh(&mut self, now: u64) -> Vec<Parked> {
        let mut at_once = Vec::new();
        for mut parked in std::mem::take(&mut self.fresh) {
            let pause = parked.pause();
            let is_behind = self.held.contains(&parked.client());
            if pause == 0 && !is_behind {
                at_once.push(parked);
            } else {
                if is_behind {
                    // As what it waits for, lest that goes to the slot's owner of old, and this past it.
                    parked.target = Target::Slot;
                }
                parked.due = now.saturating_add(pause);
                self.wait(parked);
            }
        }
        at_once
    }

    /// Takes what has waited long enough, or past its deadline; to be called once a tick. A request stays
    /// while an earlier one of its client does.
    pub fn take_due(&mut self, now: u64) -> Vec<Parked> {
        self.held.clear();
        let mut due = Vec::new();
        for parked in std::mem::take(&mut self.waiting) {
            let overdue = parked.pending.deadline <= now;
            if overdue || (parked.due <= now && !self.held.contains(&parked.client())) {
                due.push(parked);
            } else {
                self.wait(parked);
            }
        }
        due
    }

    /// The requests that wait for this node to be given what they call.
    pub fn awaiting<'a>(&'a self, node: &'a Endpoint) -> impl Iterator<Item = &'a Parked> {
        self.waiting.iter().chain(&self.fresh).filter(move |parked| parked.awaits.as_ref() == Some(node))
    }

    /// Takes out the requests that wait for this node and of which `is_over` says that they need not.
    pub fn take_awaiting(&mut self, node: &Endpoint, is_over: impl Fn(&Parked) -> bool) -> VecDeque<Parked> {
        let over = |parked: &Parked| parked.awaits.as_ref() == Some(node) && is_over(parked);
        let (taken, left) = std::mem::take(&mut self.waiting).into_iter().partition(over);
        self.waiting = left;
        taken
    }

    /// This node was given what it lacked: those that waited for that go again, for the last time.
    pub fn release(&mut self, node: &Endpoint) {
        for parked in self.waiting.iter_mut().chain(&mut self.fresh) {
            if parked.awaits.as_ref() == Some(node) {
                parked.awaits = None;
                parked.pending.repaired = true;
                parked.due = 0;
            }
        }
    }

    /// Takes everything: the topology has changed, and nobody need wait for it any longer.
    pub fn take_all(&mut self) -> Vec<Parked> {
        self.held.clear();
        let mut all: Vec<_> = std::mem::take(&mut self.waiting).into();
        all.append(&mut self.fresh);
        all
    }

    fn wait(&mut self, parked: Parked) {
        self.held.insert(parked.client());
        self.waiting.push_back(parked);
    }

    /// Whether [`Self::take_fresh`] would give any.
    #[must_use]
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// How many requests are parked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fresh.len() + self.waiting.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::in_flight::Ticket;
    use crate::cluster::slot::Slot;

    fn parked(ticket: u32, attempts: u8, target: Target) -> Parked {
        let origin = Origin { client: ticket, generation: 0, ticket: Ticket(ticket), part: 0 };
        let mut pending = Pending::new(origin, Slot::of(b"k"), 1_000);
        pending.attempts = attempts;
        Parked::again(origin, &pending, Lane::default(), target, b"x", Some(b"-TRYAGAIN x\r\n"))
    }

    fn tickets(due: &[Parked]) -> Vec<u32> {
        due.iter().map(|parked| parked.origin.ticket.0).collect()
    }

    #[test]
    fn a_redirect_is_followed_at_once_and_a_refusal_later_and_later() {
        let mut retries = Retries::default();
        let node = Target::Node { endpoint: Endpoint { host: "h".into(), port: 1 }, asking: false };
        retries.push(parked(1, 0, node));
        retries.push(parked(2, 1, Target::Slot));
        retries.push(parked(3, 3, Target::Slot));
        assert_eq!(tickets(&retries.take_fresh(100)), [1]);
        assert_eq!(tickets(&retries.take_due(104)), []);
        assert_eq!(tickets(&retries.take_due(105)), [2]);
        assert_eq!(tickets(&retries.take_due(120)), [3]);
    }

    #[test]
    fn the_words_that_name_a_node_are_not_kept_for_the_client() {
        let origin = Origin { client: 0, generation: 0, ticket: Ticket(0), part: 0 };
        let pending = Pending::new(origin, Slot::of(b"k"), 1_000);
        for (error, kept) in [("-TRYAGAIN x", true), ("-MOVED 1 h:1", false), ("-ASK 1 h:1", false)] {
            let parked =
                Parked::again(origin, &pending, Lane::default(), Target::Slot, b"x", Some(error.as_bytes()));
            assert_eq!(parked.last_error.is_some(), kept, "{error}");
        }
    }

    #[test]
    fn a_clients_requests_are_sent_again_in_their_order() {
        let mut retries = Retries::default();
        let of_client = |ticket, attempts, target| {
            let mut parked = parked(ticket, attempts, target);
            parked.origin.client = 7;
            parked
        };
        let node = Target::Node { endpoint: Endpoint { host: "h".into(), port: 1 }, asking: true };
        retries.push(of_client(1, 1, Target::Slot));
        retries.push(of_client(2, 0, node));
        retries.push(parked(3, 0, Target::Slot));
        assert_eq!(tickets(&retries.take_fresh(100)), [3], "the second waits for the first");
        let due = retries.take_due(105);
        assert_eq!(tickets(&due), [1, 2]);
        assert!(due.iter().all(|parked| parked.target == Target::Slot), "by the same way");
        // Their nodes can't be reached.
        retries.push(of_client(4, 0, Target::Slot));
        retries.put_back(due, 105);
        assert!(retries.take_fresh(105).is_empty());
        assert_eq!(tickets(&retries.take_due(125)), [1, 2, 4]);
    }

    #[test]
    fn what_waits_for_a_node_goes_when_that_has_what_it_lacked() {
        let mut retries = Retries::default();
        let node = Endpoint { host: "h".into(), port: 1 };
        let mut first = parked(1, 0, Target::Slot).awaiting(&node);
        first.origin.client = 7;
        let mut second = parked(2, 0, Target::Slot);
        second.origin.client = 7;
        retries.push(first);
        retries.push(second);
        assert!(retries.take_fresh(100).is_empty());
        assert!(retries.take_due(500).is_empty(), "its client's other request waits behind it");
        assert_eq!(retries.awaiting(&node).count(), 1);
        assert!(retries.take_awaiting(&node, |_| false).is_empty());
        retries.release(&node);
        assert_eq!(retries.awaiting(&node).count(), 0);
        let due = retries.take_due(510);
        assert_eq!(tickets(&due), [1, 2]);
        assert!(due[0].pending.repaired && !due[1].pending.repaired);
    }

    #[test]
    fn what_is_overdue_is_given_back_to_be_refused() {
        let mut retries = Retries::default();
        retries.push(parked(1, 200, Target::Slot));
        assert!(retries.take_fresh(900).is_empty());
        assert!(retries.take_due(990).is_empty());
        assert_eq!(tickets(&retries.take_due(1_000)), [1]);
    }
}
