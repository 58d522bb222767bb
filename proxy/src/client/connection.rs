//! ◆ One client's record: its socket, its session, the replies it waits for and what is still to be written
//! to it. Everything that grows with traffic is borrowed from the worker and given back.

use std::io;
use std::task::Waker;

use tracing::info;

use super::delivery::close_subscriber;
use super::fairness::Place;
use super::limited::Wait;
use super::namespaced;
use super::output::Output;
use super::private::state::Private;
use super::replies::{Drained, Expect, Piece, Replies};
use super::session::Session;
use super::spares::Spares;
use super::state::State;
use crate::backend::lane::LoginId;
use crate::backend::owner::Reply;
use crate::cluster::slot_map::Generation;
use crate::metrics::WorkerMetrics;
use crate::permit::Permit;
use crate::pubsub::subscriptions::Subscriptions;
use crate::resp::scan::RequestScanner;
use crate::stream::Stream;
use crate::tls::identity::PeerIdentity;

/// A client of this worker.
#[derive(Debug)]
pub struct Client {
    pub(super) stream: Stream,
    /// Tells this client from an earlier one in the same place.
    pub(super) generation: u32,
    pub(super) state: State,
    /// The client's task: woken for what can't be done from where the replies come in.
    pub(super) waker: Option<Waker>,
    /// The replies it waits for.
    pub replies: Replies,
    pub(super) output: Output,
    /// The beginning of a request that was cut off, or requests that had to wait.
    pub(super) rest: Option<Box<Rest>>,
    /// Requests that wait to be sent again, see [`super::retry`]; one more while it is paused.
    pub(super) parked: u32,
    /// The slot map that the requests in flight were routed by.
    pub(super) routed_by: Generation,
    /// Whether its requests go as its tenant's own user at the backends: those in flight, and the next one unless the
    /// guard changes it.
    pub(super) walled: bool,
    /// What it said of itself.
    pub session: Session,
    /// Backend connections of its own, and what goes over them.
    pub(super) private: Option<Box<Private>>,
    /// Bytes wait in its socket of which the runtime does not know any more, see [`super::private::drive`].
    pub(super) unread: bool,
    /// Its tenant has limits, see [`super::limited`].
    pub(super) is_limited: bool,
    /// Why it is not read, see [`Self::pause`].
    pub(super) wait: Wait,
    /// What it listens to; nothing for most clients.
    pub(super) subscriptions: Option<Box<Subscriptions>>,
    /// Whether it is listed to be written to at the end of this batch.
    pub(super) touched: bool,
    /// The socket did not take everything: the task waits for it and writes the rest.
    pub(super) stuck: bool,
    /// Its next request waits for all replies: a backend connection had too much queued, a request was
    /// parked, or those in flight were routed otherwise than the next would be. Over once none is in flight.
    pub(super) congested: bool,
    /// The task handles no request until there is room, see [`Self::has_room`].
    pub(super) stopped: bool,
    /// How it took its replies of late, see [`Self::relent`].
    pub(super) patience: Patience,
    /// What was put out last is a piece of a reply, whose rest is to come: nothing else may go out now.
    pub(super) within_reply: bool,
    /// Where it stands among its tenant's clients, while tenants share.
    pub(super) place: Place,
    /// Its place under the client limit.
    _permit: Permit,
}

/// How often a client's mark for reply bytes was doubled, in the lower bits, and in the highest one whether its socket
/// took bytes since [`Client::relent`] last looked.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Patience(u8);

impl Patience {
    const TOOK_BYTES: u8 = 1 << 7;

    pub(super) fn note_bytes(&mut self) {
        self.0 |= Self::TOOK_BYTES;
    }

    /// Whether bytes were taken, which counts once.
    fn forget_bytes(&mut self) -> bool {
        let took = self.0 & Self::TOOK_BYTES != 0;
        self.0 &= !Self::TOOK_BYTES;
        took
    }

    fn doubled(self) -> u8 {
        self.0 & !Self::TOOK_BYTES
    }

    fn double(&mut self) {
        self.0 += 1;
    }
}

/// Request bytes that were read and not handled.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) bytes: Vec<u8>,
    /// How far the first request was scanned.
    pub(super) scanner: RequestScanner,
    /// How long the first request is known to be at least; 0 where it may be whole and had to wait.
    pub(super) need: usize,
}

/// How much a client may have under way before the proxy stops reading from it.
#[derive(Clone, Copy, Debug)]
pub struct Watermarks {
    /// Requests in flight.
    pub pending: usize,
    /// Reply bytes not written.
    pub output: usize,
    /// Reply bytes, those that wait for their turn included, at which the client is closed.
    pub output_limit: usize,
    /// The same for a subscriber.
    pub pubsub_hard: usize,
    /// Bytes that a subscriber may have waiting for [`Self::pubsub_soft_time`] only.
    pub pubsub_soft: usize,
    /// In milliseconds.
    pub pubsub_soft_time: u64,
}

// The allocator's class of 224 bytes; the next one is of 256, then 320.
const _: () = assert!(size_of::<Client>() <= 224);

// A shift by this makes any mark reach any limit.
const MOST_RELENTED: u8 = 20;

impl Client {
    /// A client that has just connected.
    #[must_use]
    pub fn new(stream: Stream, session: Session, permit: Permit) -> Self {
        Self {
            is_limited: session.limited().is_some(),
            stream,
            generation: 0,
            state: State::Open,
            waker: None,
            replies: Replies::default(),
            output: Output::default(),
            rest: None,
            parked: 0,
            routed_by: Generation::default(),
            walled: session.login().backend() != LoginId::PROXY,
            session,
            private: None,
            unread: false,
            wait: Wait::No,
            subscriptions: None,
            touched: false,
            stuck: false,
            congested: false,
            stopped: false,
            patience: Patience::default(),
            within_reply: false,
            place: Place::Free,
            _permit: permit,
        }
    }

    /// Takes a reply that lies in the batch's buffer.
    pub(super) fn fill(&mut self, piece: Piece<'_>, reply: &Reply<'_>, spares: &mut Spares) {
        if reply.first
            && let Some(told) = namespaced::error(&self.session, piece.bytes)
        {
            return self.fill_beside(reply.buf, Piece { bytes: &told, ..piece }, spares);
        }
        let mut held = self.take_held(piece.more);
        let Self { replies, output, .. } = self;
        let within = replies.fill(piece, spares, |drained, spares| match drained {
            Drained::Direct => {
                output.push_range(reply.buf, reply.range.clone(), spares);
                if let Some(held) = held.take() {
                    output.push(reply.buf, &held, spares);
                }
            }
            Drained::Own(bytes) => output.push(reply.buf, bytes, spares),
        });
        self.note_within(within, held);
    }

    /// Takes a reply of the proxy's own, which lies in no batch.
    pub(super) fn fill_own(&mut self, piece: Piece<'_>, spares: &mut Spares) {
        let told = namespaced::error(&self.session, piece.bytes);
        let bytes = told.as_deref().unwrap_or(piece.bytes);
        self.fill_beside(&[], Piece { bytes, ..piece }, spares);
    }

    /// Takes a reply that lies in no batch, while replies may wait that lie in `batch`.
    fn fill_beside(&mut self, batch: &[u8], piece: Piece<'_>, spares: &mut Spares) {
        let mut held = self.take_held(piece.more);
        let Self { replies, output, .. } = self;
        let within = replies.fill(piece, spares, |drained, spares| match drained {
            Drained::Direct => {
                output.push(batch, piece.bytes, spares);
                if let Some(held) = held.take() {
                    output.push(batch, &held, spares);
                }
            }
            Drained::Own(bytes) => output.push(batch, bytes, spares),
        });
        self.note_within(within, held);
    }

    /// Answers the request that is being handled with bytes of the proxy's own.
    pub(super) fn answer(&mut self, bytes: &[u8], spares: &mut Spares) {
        if self.session.take_mute() {
            return;
        }
        let told = namespaced::error(&self.session, bytes);
        let bytes = told.as_deref().unwrap_or(bytes);
        if self.replies.is_empty() {
            self.output.push(&[], bytes, spares);
        } else {
            let ticket = self.replies.open(Expect::Plain, spares);
            self.fill_own(Piece { ticket, part: 0, bytes, more: false }, spares);
        }
    }

    /// Lists the client, whose key this is, among those to be written to at the end of the batch.
    #[inline]
    pub(super) fn touch(&mut self, key: u32, touched: &mut Vec<u32>) {
        if !self.touched {
            self.touched = true;
            touched.push(key);
        }
    }

    /// Writes what there is, at the end of a batch, and wakes the client's task where only the task can go
    /// on: to wait for the socket, to handle further requests, or to close.
    pub(super) fn flush(
        &mut self,
        batch: &[u8],
        marks: &Watermarks,
        spares: &mut Spares,
        metrics: &WorkerMetrics,
    ) {
        let was_stuck = self.stuck;
        let before = self.output.len();
        if !was_stuck {
            self.write(batch, spares, metrics);
        }
        self.output.keep(batch, spares);
        let kept = self.unwritten();
        // One branch for both: most clients are neither.
        let is_special = self.subscriptions.is_some() | self.is_limited;
        if is_special && self.is_limited {
            self.tell_tenant(before - self.output.len());
        }
        if is_special
            && self.subscriptions.is_some()
            && kept > marks.pubsub_hard
            && self.state != State::Broken
        {
            close_subscriber(self, "it is above the hard limit of unwritten output", metrics);
        } else if kept > marks.output_limit && self.state != State::Broken {
            metrics.clients_killed_slow.add(1);
            info!(client.addr = %self.session.peer, bytes = kept, "closing a client at its reply limit");
            self.state = State::Broken;
        }
        let newly_stuck = self.stuck && !was_stuck;
        if newly_stuck || self.is_over() || (self.stopped && self.has_room(&marks.low())) {
            self.wake();
        }
    }

    fn write(&mut self, batch: &[u8], spares: &mut Spares, metrics: &WorkerMetrics) {
        while !self.output.is_empty() {
            metrics.client_writes.add(1);
            match self.stream.try_write(self.output.unsent(batch)) {
                Ok(count) => {
                    metrics.client_bytes_out.add(count as u64);
                    self.session.door.count_sent(count);
                    self.session.count_carried(count);
                    self.output.advance(count, spares);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck = true;
                    return;
                }
                Err(_) => {
                    self.state = State::Broken;
                    return;
                }
            }
        }
    }

    /// One of its requests was parked. Further ones wait until it was answered, not only until it was sent
    /// again: it may have to be once more.
    pub(super) fn hold_back(&mut self) {
        self.parked += 1;
        self.congested = true;
    }

    /// Whether another request may be handled.
    pub(super) fn has_room(&self, marks: &Watermarks) -> bool {
        self.parked == 0
            && (!self.congested || self.replies.is_empty())
            && self.replies.len() < marks.pending
            && self.output.len() + self.replies.held_bytes()
                < marks.output.saturating_mul(1 << self.patience.doubled()).min(marks.output_limit)
    }

    /// Whether nothing is left to do but to close the connection.
    pub(super) fn is_over(&self) -> bool {
        match self.state {
            State::Open | State::Draining | State::Retiring => false,
            State::Closing | State::Revoked => self.replies.is_empty() && self.output.is_empty(),
            State::Leaving | State::Broken => true,
        }
    }

    /// Looks at a client that is stuck, now and then. One that sends its whole pipeline before it reads takes
    /// no reply until it was read from: to stop reading for good would have both wait for ever. So the mark is
    /// doubled each time that nothing was taken; the limit at which the client is closed stays. False once the
    /// client is not stuck any more.
    pub(super) fn relent(&mut self, marks: &Watermarks) -> bool {
        if !self.stuck {
            self.patience = Patience::default();
            return false;
        }
        if self.stopped && !self.patience.forget_bytes() && self.patience.doubled() < MOST_RELENTED {
            self.patience.double();
            if self.has_room(marks) {
                self.wake();
            }
        }
        true
    }

    /// Has its task run in this turn.
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Whom its requests go as at the backends.
    #[inline]
    pub(super) fn backend(&self) -> LoginId {
        if self.walled { self.session.login().walled() } else { LoginId::PROXY }
    }

    /// Who it is by TLS: the name of ours that it asked for, and whom its certificate speaks of; `None` for plain
    /// clients.
    #[must_use]
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.stream.peer_identity()
    }

    /// Reply bytes that wait to be written.
    #[must_use]
    pub fn output_bytes(&self) -> usize {
        self.output.len()
    }

    /// Bytes held for it beyond its record: requests not handled, replies not sent.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.bytes.capacity() + rest.scanner.heap_bytes());
        let queued = self.session.transaction.as_ref().map_or(0, |transaction| transaction.held_bytes());
        let subscriptions = self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.held_bytes());
        let tracked = self.tracking().map_or(0, |tracking| tracking.held.capacity());
        let watched = self.watched_bytes();
        self.stream.held_bytes()
            + rest
            + self.output.capacity()
            + self.replies.held_bytes()
            + queued
            + subscriptions
            + tracked
            + watched
    }
}

impl Watermarks {
    /// Where a client that was stopped at the marks goes on: half way down, so that it is not stopped and
    /// woken for each reply.
    pub(super) fn low(&self) -> Self {
        Self { pending: self.pending.div_ceil(2), output: self.output.div_ceil(2), ..*self }
    }
}
