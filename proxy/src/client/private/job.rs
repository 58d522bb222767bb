//! A job: the one request of a client that goes over a private connection, and how far it is. Pure.

use std::num::NonZeroU32;

use super::super::retry::Target;
use super::search::Search;
use super::several::Several;
use crate::backend::in_flight::Ticket;
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::Endpoint;
use crate::command::twin::Shape;
use crate::metrics::WorkerMetrics;
use crate::moment::Moment;
use crate::private::pool::{Asker, NodeId, PrivatePool};

/// One request on its way. While it is, it is the only one of its client.
#[derive(Debug)]
pub struct Job {
    /// Its place in the client's reply order.
    pub(in super::super) ticket: Ticket,
    pub(in super::super) kind: Kind,
    pub(in super::super) stage: Stage,
    pub(in super::super) slot: Slot,
    /// How often it was sent elsewhere.
    pub(in super::super) attempts: u8,
    /// Whether its client counts as blocked: a blocking command that found nothing at first.
    pub(in super::super) blocked: bool,
    /// Whether a server took it in and let it wait.
    pub(in super::super) waited: bool,
    /// The last CLIENT UNBLOCK that its server was told.
    pub(in super::super) told: Option<NonZeroU32>,
    /// How it is to end before its time, if it is.
    pub(in super::super) ending: Option<Ending>,
    /// The request as the client sent it, or as it is to be sent.
    pub(in super::super) request: Box<[u8]>,
    /// When it began, in milliseconds of the worker's clock.
    pub(in super::super) began: u64,
    /// When it gets the answer that there is nothing; [`u64::MAX`] never.
    pub(in super::super) until: u64,
    /// When its client is to be woken; [`u64::MAX`] not by time.
    pub(in super::super) timer: u64,
    /// When a server was asked last.
    pub(in super::super) asked: Moment,
    /// Since when it has been kept from running, see [`Self::note_trouble`].
    pub(in super::super) troubled: Moment,
    /// What few jobs need.
    pub(in super::super) extra: Option<Box<Extra>>,
}

// So that its client's private side keeps to its class, see there.
const _: () = assert!(size_of::<Job>() <= 88);

/// What a job is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A command that waits for data.
    Blocking {
        /// Whether a lost answer may be a lost element.
        destructive: bool,
    },
    /// WATCH.
    Watch,
    /// UNWATCH, or DISCARD, whose answer is the same.
    Unwatch,
    /// A command with keys, of a client whose reads are tracked.
    Tracked,
    /// Every primary is told to tell of changes.
    Track {
        /// The client asked for it and waits; otherwise a primary has to be told again.
        asked: bool,
    },
    /// A transaction, MULTI to EXEC.
    Exec {
        /// The database that is selected when it ran.
        database: u16,
        /// How many commands it queues.
        queued: u32,
    },
    /// A step of a transaction over several nodes, see [`super::several`].
    Step {
        /// Replies that come in front of the one that counts.
        leads: u32,
    },
}

impl Kind {
    /// Whether it is to happen only on connections that watched since WATCH.
    pub(super) fn needs_watch(self) -> bool {
        matches!(self, Self::Exec { .. } | Self::Unwatch | Self::Step { .. })
    }
}

/// How far a job is.
///
/// ```text
/// Trying ──nothing there──▶ Ready ──idle one──▶ Asked ──answer──▶ over
///    │                      │ ▲ ▲                 │
///    └──answer──▶ over      │ │ └─due─ Resting ◀──┘ redirect, lost before it ran
///                opened ◀─ Opening   │
///                           Queued ──┘ room
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Its twin is asked over a shared connection.
    Trying(Shape),
    /// It needs a connection to go on.
    Ready,
    /// One is being opened to this node.
    Opening(NodeId),
    /// No more may be opened to this node at present.
    Queued(NodeId),
    /// It waits for its timer, and tries again then.
    Resting,
    /// This node was sent it.
    Asked(NodeId),
    /// Servers were asked to tell of changes, see [`super::search`].
    Arming,
    /// Servers tell of changes.
    Watching,
    /// A plan over the shared connections is under way for it.
    Planned,
}

/// How a job ends before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// CLIENT UNBLOCK TIMEOUT.
    Nil,
    /// CLIENT UNBLOCK ERROR.
    Error,
    /// The proxy ends: what the server gives is passed on, else the connection is closed without a word.
    Close,
}

/// See [`Job::extra`].
#[derive(Default, Debug)]
pub struct Extra {
    /// Where a redirect sent it.
    pub(in super::super) target: Option<Target>,
    /// Replies that come in front of the answer (ASKING, MULTI, the queued commands).
    pub(in super::super) lead: u32,
    /// The first error among them.
    pub(in super::super) lead_error: Option<Box<[u8]>>,
    /// The server's last words on why it did not run.
    pub(in super::super) last_error: Option<Box<[u8]>>,
    /// Its answer tells that its connection remembers something.
    pub(in super::super) unclean: bool,
    /// A node does not let the tenant's own backend user in.
    pub(in super::super) refused: bool,
    /// What was sent is not the request, but that reads are to be tracked.
    pub(in super::super) arming: bool,
    /// For keys in several slots.
    pub(in super::super) search: Option<Search>,
    /// WATCH of keys in several slots: those that are to follow, the next one last.
    pub(in super::super) watches: Vec<(Slot, Box<[u8]>)>,
    /// A transaction over several nodes.
    pub(in super::super) several: Option<Box<Several>>,
}

/// Milliseconds after which a redirect is a new matter and not the last one going on: a server refuses at once.
const NEW_TROUBLE: u64 = 100;

impl Job {
    /// A job that needs a connection.
    #[must_use]
    pub(in super::super) fn new(
        kind: Kind,
        ticket: Ticket,
        slot: Slot,
        request: Box<[u8]>,
        now: u64,
    ) -> Self {
        Self {
            ticket,
            kind,
            stage: Stage::Ready,
            slot,
            attempts: 0,
            blocked: false,
            waited: false,
            told: None,
            ending: None,
            request,
            began: now,
            until: u64::MAX,
            timer: u64::MAX,
            asked: Moment::of(now),
            troubled: Moment::of(now),
            extra: None,
        }
    }

    /// From here on its client counts as blocked.
    pub(in super::super) fn begin_waiting(&mut self, metrics: &WorkerMetrics) {
        if !std::mem::replace(&mut self.blocked, true) {
            metrics.blocked_clients.add(1);
        }
    }

    /// The node whose connection it uses.
    #[must_use]
    pub(in super::super) fn node(&self) -> Option<NodeId> {
        match self.stage {
            Stage::Asked(node) => Some(node),
            _ => None,
        }
    }

    /// Has the client woken at `at`, and not at the time set before.
    pub(in super::super) fn set_timer(&mut self, at: u64, asker: Asker, pool: &mut PrivatePool) {
        if self.timer != at {
            self.clear_timer(asker, pool);
            self.timer = at;
            if at != u64::MAX {
                pool.set_timer(at, asker);
            }
        }
    }

    fn clear_timer(&mut self, asker: Asker, pool: &mut PrivatePool) {
        if self.timer != u64::MAX {
            pool.clear_timer(self.timer, asker);
            self.timer = u64::MAX;
        }
    }

    /// Takes back what the pool holds for it.
    pub(in super::super) fn leave(&mut self, asker: Asker, pool: &mut PrivatePool) {
        self.clear_timer(asker, pool);
        self.leave_queue(asker, pool);
    }

    /// It does not wait at a limit any more.
    pub(in super::super) fn leave_queue(&self, asker: Asker, pool: &mut PrivatePool) {
        if let Stage::Queued(node) = self.stage {
            pool.leave_queue(node, asker, self.began);
        }
    }

    /// Whether its node was sent no more than that reads are to be tracked.
    #[must_use]
    pub(in super::super) fn is_arming(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.arming)
    }

    /// Whether a node does not let the tenant's own backend user in.
    #[must_use]
    pub(in super::super) fn is_refused(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.refused)
    }

    /// Its search over several slots, if it is one.
    pub(in super::super) fn search_mut(&mut self) -> Option<&mut Search> {
        self.extra.as_mut()?.search.as_mut()
    }

    /// The transaction over several nodes that it is a step of.
    pub(in super::super) fn several_mut(&mut self) -> Option<&mut Several> {
        self.extra.as_mut()?.several.as_deref_mut()
    }

    /// Sends it to this node, whatever its slot.
    pub(in super::super) fn go_to(&mut self, endpoint: Endpoint) {
        self.extra_mut().target = Some(Target::Node { endpoint, asking: false });
    }

    pub(in super::super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// It did not run, once more. Returns for how many milliseconds that has been going on: a job that was asked in
    /// peace for a while begins to count anew.
    pub(in super::super) fn note_trouble(&mut self, now: u64) -> u64 {
        if matches!(self.stage, Stage::Asked(_)) && self.asked.until(now) > NEW_TROUBLE {
            (self.troubled, self.attempts, self.waited) = (Moment::of(now), 0, true);
        }
        self.attempts = self.attempts.saturating_add(1);
        self.troubled.until(now)
    }

    /// Milliseconds until it is tried again.
    #[must_use]
    pub(in super::super) fn pause(&self) -> u64 {
        match self.attempts {
            0 | 1 => 1,
            attempts => (5 << (attempts - 2).min(5)).min(LONGEST_PAUSE),
        }
    }
}

/// As for other requests that are sent again: a failover takes a second or more.
const LONGEST_PAUSE: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        let kind = Kind::Blocking { destructive: true };
        Job::new(kind, Ticket::default(), Slot::of(b"k"), Box::default(), 1_024)
    }

    #[test]
    fn trouble_begins_anew_once_a_server_let_it_wait() {
        let mut job = job();
        job.stage = Stage::Asked(NodeId(0));
        job.asked = Moment::of(1_024);
        assert_eq!(job.note_trouble(1_034), 10, "refused at once");
        assert!(!job.waited);
        job.asked = Moment::of(1_044);
        assert_eq!((job.note_trouble(1_049), job.attempts), (25, 2));
        job.asked = Moment::of(1_054);
        assert_eq!((job.note_trouble(9_024), job.attempts), (0, 1), "it had waited there for 8 s");
        assert!(job.waited);
    }

    #[test]
    fn the_pauses_grow_to_a_tenth_of_a_second() {
        let mut job = job();
        let pauses: Vec<_> = (0..10)
            .map(|attempts| {
                job.attempts = attempts;
                job.pause()
            })
            .collect();
        assert_eq!(pauses, [1, 1, 5, 10, 20, 40, 80, 100, 100, 100]);
    }
}
