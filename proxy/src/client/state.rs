//! What a client's connection is at, and how it comes to its end. Pure.

use super::connection::Client;
use super::fairness::Place;
use super::spares::Spares;
use crate::cluster::slot_map::Generation;
use crate::moment::Moment;
use crate::refusal::Refusal;

/// What a client's connection is at.
///
/// ```text
/// Open ──QUIT, EOF, protocol error──▶ Closing ──all replies written──▶ gone
///   ├──logged in at another cluster──▶ Leaving ──▶ Open, in another worker
///   ├──the proxy ends──▶ Draining ──what had arrived was read──▶ Closing
///   ├──it is to connect elsewhere──▶ Retiring ──it closes──▶ gone
///   ├──a reload took its login──▶ Revoked ──all replies written──▶ gone
///   └──killed, socket error, too slow──▶ Broken ──▶ gone
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Requests are read.
    Open,
    /// What had arrived before the proxy began to end is still read.
    Draining,
    /// What it says next is another worker's to handle: its record goes there at the end of this turn.
    Leaving,
    /// No further request is read; what is in flight is still answered.
    Closing,
    /// The same, and a blocking command does not wait any longer: nothing is taken from a server for it any more.
    Revoked,
    /// Nothing was under way when this was decided. The other side is told the end and may still say something, which is
    /// *never handled*: a client that sends it again elsewhere has it done once. Closed when it closes, or when its
    /// time is over.
    Retiring,
    /// To be closed at once.
    Broken,
}

impl Client {
    /// No further request is read; the task sees to the rest.
    pub fn close_after_replies(&mut self) {
        if self.reads_requests() {
            self.state = State::Closing;
        }
        self.rest = None;
        self.stopped = false;
        self.wake();
    }

    /// No further request is handled, nothing is under way: the other side is told, and what it says before it has heard
    /// is read and dropped, see [`State::Retiring`].
    pub(super) fn retire(&mut self, now: u64) {
        if self.reads_requests() {
            self.state = State::Retiring;
            self.session.last_active = Moment::of(now);
        }
        self.wake();
    }

    /// Whether it was told the end so long ago, and has not closed.
    pub(super) fn is_retired_for(&self, time: u64, now: u64) -> bool {
        self.state == State::Retiring && self.session.last_active.until(now) > time
    }

    /// Whether it was told the end.
    pub(super) fn is_retiring(&self) -> bool {
        self.state == State::Retiring
    }

    /// It may not be here any more: no further request is handled, those under way are answered, a blocking command
    /// ends. False where it is leaving already.
    pub fn revoke(&mut self) -> bool {
        if matches!(self.state, State::Revoked | State::Broken) {
            return false;
        }
        self.state = State::Revoked;
        self.rest = None;
        self.stopped = false;
        self.wake();
        true
    }

    /// Reads what has arrived, then closes behind its replies: the proxy ends.
    pub fn drain(&mut self) {
        if self.state == State::Open {
            self.state = State::Draining;
        }
        self.wake();
    }

    /// Further requests are handled by another worker. None is under way, and nothing at a backend is its own.
    pub(super) fn leave(&mut self) {
        if self.reads_requests() {
            self.state = State::Leaving;
        }
    }

    /// It is told why it may not be here, and closed.
    pub fn refuse(&mut self, refusal: &Refusal, spares: &mut Spares) {
        self.answer(&refusal.reply(), spares);
        self.close_after_replies();
    }

    /// Whether it goes to another worker.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.state == State::Leaving
    }

    /// It begins in a worker: with what it was sent and has sent, and nothing of another worker's.
    pub fn arrive(&mut self) {
        debug_assert!(self.replies.is_empty() && self.private.is_none() && self.subscriptions.is_none());
        debug_assert!(self.parked == 0, "nobody here would let it go");
        self.state = State::Open;
        self.place = Place::Free;
        self.waker = None;
        self.touched = false;
        self.congested = false;
        self.stopped = false;
        self.routed_by = Generation::default();
    }

    /// Whether further requests are handled.
    pub(super) fn reads_requests(&self) -> bool {
        matches!(self.state, State::Open | State::Draining)
    }

    /// Closes the connection at once: CLIENT KILL, or the end of the grace period.
    pub fn kill(&mut self) {
        self.state = State::Broken;
        self.wake();
    }
}
