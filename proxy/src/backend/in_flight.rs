//! What a backend connection still has to answer: a FIFO of requests together with their bytes, which stay
//! until the answer is there, so that a request that provably did not run can be sent again.

use std::collections::VecDeque;

use crate::cluster::slot::Slot;

/// A request's place in its client's reply order. Wraps; only differences mean anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ticket(pub u32);

/// Whom a reply is for. The backend only carries it: what it points to may be gone when the reply comes,
/// and the reply is then swallowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The record of whoever asked.
    pub client: u32,
    /// Tells that record from an earlier one in the same place.
    pub generation: u32,
    /// Place in the asker's reply order.
    pub ticket: Ticket,
    /// Which part of a split request this is.
    pub part: u16,
}

impl Origin {
    /// Where [`Self::client`] of a client's record would stand: no client asked, the owner itself did.
    pub const OWN: u32 = u32::MAX;

    /// The same for a plan of the owner's: see [`Self::plan`].
    pub const PLAN: u32 = u32::MAX - 1;

    /// Part `part` of what the plan in place `key` asks for, which this ticket tells from earlier ones.
    #[must_use]
    pub fn plan(key: u32, ticket: Ticket, part: u16) -> Self {
        Self { client: Self::PLAN, generation: key, ticket, part }
    }
    /// A script that the owner tells a node, in front of a request that calls it.
    pub const TELLING: Self = Self { client: Self::OWN, generation: 0, ticket: Ticket(0), part: 1 };

    /// A request of the owner's own, which tells it by this number.
    #[must_use]
    pub fn own(token: u32) -> Self {
        Self { client: Self::OWN, generation: token, ticket: Ticket::default(), part: 0 }
    }

    /// The number given to [`Self::own`], where it was.
    #[must_use]
    pub fn token(&self) -> Option<u32> {
        (self.client == Self::OWN).then_some(self.generation)
    }
}

/// What somebody's account was charged for a request, until it is over. The backend only carries it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Charge {
    /// Whose.
    pub account: u16,
    /// How much; 0: nothing.
    pub cost: u16,
}

/// One request on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Whom the reply is for; `None` for what the connection asked for itself (ASKING, subscriptions).
    pub origin: Option<Origin>,
    /// Where the request belongs, so that it can be routed again.
    pub slot: Slot,
    /// How often it was redirected or tried again.
    pub attempts: u8,
    /// It was sent again because the server lacked what it calls, which was then given to it: once.
    pub repaired: bool,
    /// An answer other than an error proves that the node knows what it has to, see [`super::told`].
    pub probes: bool,
    /// When to give up, in milliseconds of the worker's clock.
    pub deadline: u64,
    /// What it was charged.
    pub charge: Charge,
    /// Bytes of the request.
    len: u32,
    /// Replies that come in front of the one it waits for: MULTI's and those of what is queued behind it.
    leads: u32,
}

impl Pending {
    /// A request for `slot` that was not tried before.
    #[must_use]
    pub fn new(origin: Origin, slot: Slot, deadline: u64) -> Self {
        Self { origin: Some(origin), ..Self::own(slot, deadline) }
    }

    /// The same request, which is several to the server: so many replies come in front of its own.
    #[must_use]
    pub fn led_by(self, leads: u32) -> Self {
        Self { leads, ..self }
    }

    /// The same request, tried once more; what it was charged was settled.
    #[must_use]
    pub fn again(self) -> Self {
        Self { attempts: self.attempts.saturating_add(1), charge: Charge::default(), ..self }
    }

    /// The same request, for the last time: the server was given what it lacked.
    #[must_use]
    pub fn repaired(self) -> Self {
        Self { repaired: true, ..self }
    }

    /// The same request, whose answer tells of its connection, see [`super::told::Told::proven`].
    #[must_use]
    pub fn probing(self) -> Self {
        Self { probes: true, ..self }
    }

    /// Its own request, whose reply nobody waits for.
    #[must_use]
    pub fn own(slot: Slot, deadline: u64) -> Self {
        Self {
            origin: None,
            slot,
            attempts: 0,
            repaired: false,
            probes: false,
            deadline,
            charge: Charge::default(),
            len: 0,
            leads: 0,
        }
    }
}

// One of these for each request in flight: what a charge takes was padding.
const _: () = assert!(size_of::<Pending>() <= 48);

/// How far a request had come when its connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// The server was not sent it whole: it can't have run.
    Queue,
    /// It may have run.
    Server,
    /// Pieces of its reply were passed on already.
    Reply,
}

/// The requests of one connection, oldest first.
///
/// Invariant: `answered <= sent <= bytes.len()`, and the lengths of `queue` add up to `bytes.len() - answered`.
#[derive(Default, Debug)]
pub struct InFlight {
    queue: VecDeque<Pending>,
    bytes: Vec<u8>,
    /// Bytes at the front whose requests were answered.
    answered: usize,
    /// Bytes at the front that were given to the socket.
    sent: usize,
    /// Whether pieces of the front request's reply were passed on.
    begun: bool,
    /// Whether one was since the last [`Self::is_overdue`] that asked.
    progressed: bool,
    /// How many of the front request's leading replies have come, and the first error among them.
    swallowed: u32,
    lead_error: Option<Box<[u8]>>,
}

// Below this, moving the rest to the front costs more than the room is worth.
const COMPACT_ABOVE: usize = 64 * 1024;
// Milliseconds: a large reply of which nothing comes for this long has stopped.
const MORE_TIME: u64 = 1_000;
// Of an error that is kept until the reply it belongs to has come.
const LONGEST_ERROR: usize = 1_024;
// What an idle connection may keep.
const IDLE_CAPACITY: usize = 4 * 1024;

impl InFlight {
    /// Adds a request behind all others.
    #[inline(always)]
    pub fn push(&mut self, mut pending: Pending, request: &[u8]) {
        pending.len = request.len() as u32;
        self.bytes.extend_from_slice(request);
        self.queue.push_back(pending);
    }

    /// Adds a request that the node serves although the slot is not (yet) its own.
    pub fn push_asking(&mut self, pending: Pending, request: &[u8]) {
        self.push(Pending::own(pending.slot, pending.deadline), b"*1\r\n$6\r\nASKING\r\n");
        self.push(pending, request);
    }

    /// Bytes that the socket was not given yet.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Notes that the socket took `count` bytes of [`Self::unsent`].
    pub fn advance_sent(&mut self, count: usize) {
        self.sent += count;
        self.check_invariants();
    }

    /// The request that the next reply answers, with its bytes; `None` where nothing was asked. A reply to
    /// a request that was not sent whole is as unasked for as one to none.
    #[inline]
    #[must_use]
    pub fn front(&self) -> Option<(&Pending, &[u8])> {
        let pending = self.queue.front()?;
        let end = self.answered + pending.len as usize;
        (end <= self.sent).then(|| (pending, &self.bytes[self.answered..end]))
    }

    /// Whether the next reply comes in front of the one that the front request waits for; it is then taken note
    /// of. Such a reply may come before the request was sent whole.
    pub fn swallow(&mut self, reply: &[u8]) -> bool {
        let begun = self.sent > self.answered;
        let leads = begun && self.queue.front().is_some_and(|pending| self.swallowed < pending.leads);
        if leads {
            self.swallowed += 1;
            self.progressed = true;
            if reply.first() == Some(&b'-') && self.lead_error.is_none() {
                self.lead_error = Some(reply[..reply.len().min(LONGEST_ERROR)].into());
            }
        }
        leads
    }

    /// The first error among the replies that came in front.
    #[must_use]
    pub fn lead_error(&self) -> Option<&[u8]> {
        self.lead_error.as_deref()
    }

    /// Notes that a piece of the front request's reply was passed on, and others are to follow.
    pub fn begin_reply(&mut self) {
        self.begun = true;
        self.progressed = true;
    }

    /// Notes that the node says something, though nothing of the front request's reply: it is alive.
    pub fn note_sign_of_life(&mut self) {
        self.progressed = !self.queue.is_empty();
    }

    /// Drops the front request: its reply is complete.
    #[inline]
    pub fn pop(&mut self) {
        let Some(pending) = self.queue.pop_front() else { return };
        self.begun = false;
        self.swallowed = 0;
        self.lead_error = None;
        self.answered += pending.len as usize;
        if self.answered == self.bytes.len() {
            self.progressed = false;
            self.bytes.clear();
            self.answered = 0;
            self.sent = 0;
        } else if self.answered >= COMPACT_ABOVE && self.answered * 2 >= self.bytes.len() {
            // At least as many bytes were answered as are moved: constant cost a byte.
            self.bytes.drain(..self.answered);
            self.sent -= self.answered;
            self.answered = 0;
        }
        self.check_invariants();
    }

    /// Empties the queue after its connection ended. Calls `each` for every request, oldest first.
    pub fn drain(&mut self, mut each: impl FnMut(&Pending, &[u8], Reached)) {
        let mut start = self.answered;
        for pending in &self.queue {
            let end = start + pending.len as usize;
            let reached = match end <= self.sent {
                true if std::mem::take(&mut self.begun) => Reached::Reply,
                true => Reached::Server,
                false => Reached::Queue,
            };
            each(pending, &self.bytes[start..end], reached);
            start = end;
        }
        *self = Self::default();
    }

    /// Whether the oldest request must be given up at `now`. While a large reply is coming in, it and those
    /// that wait behind it are given more time instead: the node answers, and closing would lose them all.
    pub fn is_overdue(&mut self, now: u64) -> bool {
        if self.queue.front().is_none_or(|pending| pending.deadline > now) {
            return false;
        }
        if std::mem::take(&mut self.progressed) {
            for pending in &mut self.queue {
                pending.deadline = pending.deadline.max(now + MORE_TIME);
            }
            return false;
        }
        true
    }

    /// Requests waiting for their replies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits for a reply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of requests that are kept, sent or not.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.bytes.len() - self.answered
    }

    /// Gives memory back; for a connection that has been idle for a moment.
    pub fn shrink_if_idle(&mut self) {
        if self.queue.is_empty() && self.bytes.capacity() > IDLE_CAPACITY {
            *self = Self::default();
        }
    }

    fn check_invariants(&self) {
        debug_assert!(self.answered <= self.sent, "answered {} of {} sent", self.answered, self.sent);
        debug_assert!(self.sent <= self.bytes.len(), "sent {} of {}", self.sent, self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(ticket: u32) -> Pending {
        let origin = Origin { client: 1, generation: 1, ticket: Ticket(ticket), part: 0 };
        Pending::new(origin, Slot::of(b"k"), 100)
    }

    fn ticket(pending: &Pending) -> Option<u32> {
        pending.origin.map(|origin| origin.ticket.0)
    }

    #[test]
    fn replies_answer_requests_in_the_order_they_were_sent() {
        let mut in_flight = InFlight::default();
        in_flight.push(pending(1), b"one");
        in_flight.push(pending(2), b"three");
        assert!(in_flight.front().is_none(), "nothing was sent");
        in_flight.advance_sent(8);
        assert_eq!(in_flight.front().map(|(p, bytes)| (ticket(p), bytes)), Some((Some(1), &b"one"[..])));
        in_flight.pop();
        assert_eq!(in_flight.front().map(|(p, bytes)| (ticket(p), bytes)), Some((Some(2), &b"three"[..])));
        in_flight.pop();
        assert!(in_flight.is_empty() && in_flight.queued_bytes() == 0);
    }

    #[test]
    fn what_was_not_sent_whole_cannot_have_run() {
        let mut in_flight = InFlight::default();
        for ticket in 1..=3 {
            in_flight.push(pending(ticket), b"abcd");
        }
        in_flight.advance_sent(6);
        let mut seen = Vec::new();
        in_flight.drain(|p, _, reached| seen.push((ticket(p), reached)));
        assert_eq!(seen, [(Some(1), Reached::Server), (Some(2), Reached::Queue), (Some(3), Reached::Queue)]);
        assert!(in_flight.is_empty() && in_flight.unsent().is_empty());
    }

    #[test]
    fn a_reply_that_broke_off_is_told_from_one_that_did_not_begin() {
        let mut in_flight = InFlight::default();
        for ticket in 1..=3 {
            in_flight.push(pending(ticket), b"abcd");
        }
        in_flight.advance_sent(12);
        in_flight.begin_reply();
        in_flight.pop();
        in_flight.begin_reply();
        let mut seen = Vec::new();
        in_flight.drain(|p, _, reached| seen.push((ticket(p), reached)));
        assert_eq!(seen, [(Some(2), Reached::Reply), (Some(3), Reached::Server)]);
    }

    #[test]
    fn a_reply_that_keeps_coming_is_not_overdue() {
        let mut in_flight = InFlight::default();
        in_flight.push(pending(1), b"x");
        in_flight.push(pending(2), b"x");
        in_flight.advance_sent(2);
        assert!(!in_flight.is_overdue(99));
        in_flight.begin_reply();
        assert!(!in_flight.is_overdue(100));
        in_flight.pop();
        assert!(!in_flight.is_overdue(1_099), "what waited behind it has the time too");
        assert!(in_flight.is_overdue(1_100));
    }

    #[test]
    fn bytes_of_answered_requests_are_given_back_while_others_wait() {
        let mut in_flight = InFlight::default();
        let request = vec![b'x'; 10_000];
        for ticket in 0..1_000 {
            in_flight.push(pending(ticket), &request);
            in_flight.advance_sent(request.len());
            if ticket >= 3 {
                in_flight.pop();
            }
        }
        assert_eq!(in_flight.len(), 3);
        assert!(in_flight.bytes.len() < 200_000, "{}", in_flight.bytes.len());
        assert_eq!(in_flight.front().map(|(p, _)| ticket(p)), Some(Some(997)));
    }
}
