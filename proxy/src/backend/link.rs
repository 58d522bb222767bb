//! A link: one multiplexed connection's state, whether it is up or not. Pure; [`super::task`] drives it.

use std::task::Waker;

use super::in_flight::{InFlight, Pending};
use super::lane::Lane;
use super::told::Told;
use crate::cluster::slot_map::Endpoint;

/// One connection that many clients share.
#[derive(Debug)]
pub struct Link {
    /// The node it goes to.
    pub endpoint: Endpoint,
    /// What doesn't mix with it.
    pub lane: Lane,
    /// Requests waiting to be sent or answered.
    pub in_flight: InFlight,
    /// What the node was told over this connection. Of the next one nothing is known.
    pub told: Told,
    state: LinkState,
    /// The task that drives it, to be woken when there is something to send or to end.
    waker: Option<Waker>,
    /// The task was woken and has not run since.
    woken: bool,
    /// Why the task shall close the connection, where something other than the connection itself decided so.
    closing: Option<Closing>,
    /// Whether a request was queued since [`Self::is_unused`] last looked.
    used: bool,
    /// Since when it has not been used, as far as anybody looked.
    unused_since: Option<u64>,
}

/// ```text
/// Connecting ──ready──▶ Up ──lost──▶ Connecting
///     │  ▲                                │
///   failed └──────── backoff over ─┐      │
///     ▼                            │      │
///   Down, Refused ─────────────────┘ ◀────┘ failed again
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LinkState {
    /// On its way; requests queue up.
    Connecting,
    /// Serving.
    Up,
    /// The last attempt failed; requests are not taken. `since` is when the node was first found so, in
    /// milliseconds of the worker's clock; kept over further failed attempts.
    Down { since: u64 },
    /// The node did not let the lane's user in at the last attempt: it is well, and requests are refused at once.
    Refused,
}

/// Why a connection is closed by us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// The oldest request's deadline passed.
    TimedOut,
    /// The node left the topology and nothing is in flight, or the worker ends.
    Retired,
}

/// What became of a request that was given to a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Push {
    /// It is queued.
    Queued {
        /// How many bytes of requests wait or are unanswered now.
        bytes: usize,
    },
    /// The node can't be reached right now; it has been so since this time.
    Down {
        /// Milliseconds of the worker's clock.
        since: u64,
    },
    /// The node does not let the lane's user in.
    Refused,
}

impl Link {
    pub(super) fn new(endpoint: Endpoint, lane: Lane) -> Self {
        Self {
            endpoint,
            lane,
            in_flight: InFlight::default(),
            told: Told::default(),
            state: LinkState::Connecting,
            waker: None,
            woken: false,
            closing: None,
            used: false,
            unused_since: None,
        }
    }

    /// Queues a request, behind ASKING where an ASK reply sent it here, and sees to it that the link's task
    /// sends it at the end of this turn.
    #[inline(always)]
    pub fn push(&mut self, asking: bool, pending: Pending, request: &[u8]) -> Push {
        match self.state {
            LinkState::Connecting | LinkState::Up => {}
            LinkState::Down { since } => return Push::Down { since },
            LinkState::Refused => return Push::Refused,
        }
        self.used = true;
        if asking {
            self.in_flight.push_asking(pending, request);
        } else {
            self.in_flight.push(pending, request);
        }
        self.wake();
        Push::Queued { bytes: self.in_flight.queued_bytes() }
    }

    /// Tells the task to close the connection.
    pub fn close(&mut self, why: Closing) {
        self.closing = Some(why);
        self.wake();
    }

    /// Whether the node could not be reached at the last attempt.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.state, LinkState::Down { .. } | LinkState::Refused)
    }

    /// Whether nothing was queued for as long as `most`, in milliseconds. To be asked now and then.
    pub(super) fn is_unused(&mut self, now: u64, most: u64) -> bool {
        if std::mem::take(&mut self.used) || !self.in_flight.is_empty() {
            self.unused_since = None;
        }
        now.saturating_sub(*self.unused_since.get_or_insert(now)) > most
    }

    /// What it is at, for people.
    #[must_use]
    pub fn state_word(&self) -> &'static str {
        match self.state {
            LinkState::Connecting => "connecting",
            LinkState::Up => "up",
            LinkState::Down { .. } => "down",
            LinkState::Refused => "refused",
        }
    }

    /// Whether requests are being served.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == LinkState::Up
    }

    /// The task runs: later wakes count again. Takes the reason to close, if there is one.
    pub(super) fn on_poll(&mut self, waker: &Waker) -> Option<Closing> {
        self.woken = false;
        match &mut self.waker {
            Some(own) if own.will_wake(waker) => {}
            own => *own = Some(waker.clone()),
        }
        self.closing.take()
    }

    pub(super) fn on_up(&mut self) {
        self.told = Told::default();
        self.state = LinkState::Up;
    }

    pub(super) fn on_connecting(&mut self) {
        self.told = Told::default();
        // A node that was down stays so for its askers until it has answered a handshake.
        if self.state == LinkState::Up {
            self.state = LinkState::Connecting;
        }
    }

    pub(super) fn on_down(&mut self, now: u64) {
        self.told = Told::default();
        if !matches!(self.state, LinkState::Down { .. }) {
            self.state = LinkState::Down { since: now };
        }
    }

    pub(super) fn on_refused(&mut self) {
        self.told = Told::default();
        self.state = LinkState::Refused;
    }

    #[inline]
    fn wake(&mut self) {
        if !self.woken
            && let Some(waker) = &self.waker
        {
            self.woken = true;
            waker.wake_by_ref();
        }
    }
}
