//! The record of a client's private side, and how parts of it end. A client that needs none of it has none.

use super::super::connection::Client;
use super::super::dispatch::Turn;
use super::super::local::list::Status;
use super::job::{self, Job, Kind, Stage};
use super::pinned::Pinned;
use super::tracking::Tracking;
use crate::backend::lane::Lane;
use crate::metrics::WorkerMetrics;
use crate::private::pool::{Asker, NodeId};
use crate::private::table::Table;
use crate::resp::protocol::Protocol;

/// Exists only while there is something in it.
#[derive(Default, Debug)]
pub struct Private {
    /// Its own connections.
    pub(in super::super) table: Table,
    /// What is under way; nothing else of the client is meanwhile.
    pub(in super::super) job: Option<Job>,
    /// What they remember for it.
    pub(in super::super) pinned: Pinned,
}

// The allocator's class of 128 bytes; the next one is of 160.
const _: () = assert!(size_of::<Private>() <= 128);

/// Why a client is pinned to private connections, or to state of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pin {
    /// It waits in a blocking command.
    Blocked,
    /// It watches keys.
    Watch,
    /// Its reads are tracked.
    Tracking,
    /// It listens to channels.
    PubSub,
    /// It said MONITOR.
    Monitor,
}

/// See [`Private::uses`].
#[derive(Clone, Copy, Default, Debug)]
pub(in super::super) struct Uses {
    /// Blocking commands under way: none or one.
    pub(in super::super) blocked: usize,
    /// Connections in use, or being opened.
    pub(in super::super) connections: usize,
    /// Whether it waits for one at a limit.
    pub(in super::super) queues: bool,
}

impl Pin {
    /// As CLIENT LIST shows it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Watch => "watch",
            Self::Tracking => "tracking",
            Self::PubSub => "pubsub",
            Self::Monitor => "monitor",
        }
    }
}

impl Private {
    /// Why its client is pinned, and since when.
    #[must_use]
    pub fn pin(&self) -> Option<(Pin, u64)> {
        match (&self.job, self.pinned.watch()) {
            (Some(job), _) if job.blocked => Some((Pin::Blocked, job.began)),
            (_, Some(watch)) => Some((Pin::Watch, watch.since)),
            _ => self.pinned.tracking().map(|tracking| (Pin::Tracking, tracking.since)),
        }
    }

    /// How many keys are watched.
    #[must_use]
    pub fn watched(&self) -> u32 {
        self.pinned.watch().map_or(0, |watch| watch.named)
    }

    /// Closes the connection to `node`, where there is one.
    pub(super) fn discard(&mut self, node: NodeId, metrics: &WorkerMetrics) {
        let Some(connection) = self.table.remove(node) else { return };
        metrics.private_connections.sub(1);
        metrics.private_dirty.add(1);
        if let Some(tracking) = self.pinned.tracking_mut().filter(|_| connection.tracks) {
            tracking.note_untracked();
        }
    }

    /// Gives back what was opened for a job that goes to another node now, or rests: while it waits there, which may be
    /// for ever, nobody else would have them. Those that remember something for the client stay, and those of a job
    /// that needs several.
    pub(super) fn give_back_all_but(&mut self, node: Option<NodeId>, turn: &mut Turn<'_>) {
        let needs_several = |job: &mut Job| job.search_mut().is_some() || job.several_mut().is_some();
        if !self.pinned.is_empty() || self.job.as_mut().is_some_and(needs_several) {
            return;
        }
        for connection in self.table.remove_all_but(node) {
            turn.metrics.private_connections.sub(1);
            turn.private.give_back(connection, turn.now);
        }
    }

    /// What of it a tenant's limits count.
    #[must_use]
    pub(in super::super) fn uses(&self) -> Uses {
        let job = self.job.as_ref();
        let blocks = job.is_some_and(|job| matches!(job.kind, Kind::Blocking { .. }));
        let opens = job.is_some_and(|job| matches!(job.stage, Stage::Opening(_)));
        Uses {
            blocked: usize::from(blocks),
            connections: self.table.len() + usize::from(opens),
            queues: job.is_some_and(|job| matches!(job.stage, Stage::Queued(_))),
        }
    }

    fn is_empty(&self) -> bool {
        self.job.is_none() && self.pinned.is_empty() && self.table.is_empty()
    }
}

impl Client {
    pub(in super::super) fn private_mut(&mut self) -> &mut Private {
        self.private.get_or_insert_default()
    }

    /// The job under way.
    pub(in super::super) fn job_mut(&mut self) -> Option<&mut Job> {
        self.private.as_mut()?.job.as_mut()
    }

    /// What it is at.
    #[must_use]
    pub fn status(&self) -> Status {
        let counts = self.subscription_counts();
        let listens = self.subscriptions.as_ref().map(|own| {
            let pin = if own.monitors { Pin::Monitor } else { Pin::PubSub };
            (pin, own.since)
        });
        let private = self.private.as_deref();
        Status {
            counts,
            watched: private.map_or(0, Private::watched),
            tracking: self.tracking().map(Tracking::is_broadcast),
            pin: private.and_then(Private::pin).or(listens),
        }
    }

    /// Bytes of the keys that it watches.
    #[must_use]
    pub(in super::super) fn watched_bytes(&self) -> usize {
        let watch = self.private.as_ref().and_then(|private| private.pinned.watch());
        watch.map_or(0, |watch| watch.bytes)
    }

    /// Whether it waits in a blocking command.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.private.as_ref().is_some_and(|private| matches!(private.pin(), Some((Pin::Blocked, _))))
    }

    /// Whether a connection speaks as its job needs it: changes are told in RESP3, whatever the client speaks.
    pub(in super::super) fn speaks(&mut self, lane: Lane) -> bool {
        let searches = self.job_mut().is_some_and(|job| job.search_mut().is_some());
        let protocol = if searches { Protocol::Resp3 } else { self.session.protocol };
        let database = self.session.backend_database();
        (lane.protocol, lane.database, lane.login) == (protocol, database, self.backend())
    }

    /// Closes all its connections.
    pub(in super::super) fn drop_connections(&mut self, turn: &Turn<'_>) {
        if let Some(private) = &mut self.private {
            let count = private.table.len() as u64;
            private.table = Table::default();
            turn.metrics.private_connections.sub(count);
            turn.metrics.private_dirty.add(count);
        }
    }

    pub(in super::super) fn asker(&self, turn: &Turn<'_>) -> Asker {
        Asker { client: turn.key, generation: self.generation }
    }

    /// CLIENT UNBLOCK; false where it is not blocked. The answer comes as the server's own, so that no element
    /// is lost that the server gives at the same moment.
    pub fn unblock(&mut self, with_error: bool) -> bool {
        let Some(job) = self.job_mut().filter(|job| job.blocked) else { return false };
        job.ending = Some(if with_error { job::Ending::Error } else { job::Ending::Nil });
        self.wake();
        true
    }

    /// The job is answered, or will not be: its connection becomes the next client's where it is clean and
    /// nothing holds it.
    pub(in super::super) fn end_job(&mut self, clean: bool, turn: &mut Turn<'_>) {
        let asker = self.asker(turn);
        let Some(private) = &mut self.private else { return };
        let Some(mut job) = private.job.take() else { return };
        job.leave(asker, turn.private);
        if job.several_mut().is_some_and(|several| several.is_torn_unheard()) {
            turn.metrics.transactions_torn.add(1);
        }
        if let Some(node) = job.node() {
            let watches = private.pinned.watch().is_some_and(|watch| watch.is_at(node));
            let held = watches && private.pinned.watch().is_some_and(|watch| !watch.broken);
            let held = (held || private.pinned.tracking().is_some()) && job.told.is_none();
            if !(held && clean)
                && let Some(connection) = private.table.remove(node)
            {
                turn.metrics.private_connections.sub(1);
                // What it tracks or watches is one client's; and told to unblock, it is not this one's until that is
                // over.
                if clean && !connection.tracks && !watches {
                    turn.private.give_back_after(job.told, connection, turn.now);
                    self.break_watch_at(node);
                } else {
                    turn.metrics.private_dirty.add(1);
                    self.break_watch_at(node);
                    if connection.tracks {
                        self.note_untracked();
                    }
                }
            }
        }
        if job.kind == (Kind::Track { asked: true }) && !self.tracking().is_some_and(|it| it.confirmed) {
            self.end_tracking(turn);
        }
        if self.private.as_ref().is_some_and(|it| it.pinned.is_empty()) {
            // Those that servers told of changes on.
            self.drop_connections(turn);
        }
        self.drop_empty_private();
        // Behind its connections: who sees that it does not wait any more can rely on it that they are closed.
        if job.blocked {
            turn.metrics.blocked_clients.sub(1);
        }
    }

    /// Gives the record of the private side back where nothing is in it.
    pub(super) fn drop_empty_private(&mut self) {
        if self.private.as_ref().is_some_and(|private| private.is_empty()) {
            self.private = None;
        }
    }

    /// The watched keys are forgotten; the connection goes with them unless the job that ends cleans it.
    pub(in super::super) fn end_watch(&mut self, turn: &Turn<'_>) {
        let Some(private) = &mut self.private else { return };
        if let Some(watch) = private.pinned.take_watch() {
            turn.metrics.pinned_watch.sub(1);
            let in_use = private.job.as_ref().and_then(Job::node);
            for node in watch.nodes().into_iter().filter(|node| Some(*node) != in_use) {
                private.discard(node, turn.metrics);
            }
        }
        self.drop_empty_private();
    }

    /// The connections that watch do not fit the client any more (HELLO): as if the keys had changed.
    pub(in super::super) fn break_watch(&mut self) {
        if let Some(watch) = self.private.as_mut().and_then(|private| private.pinned.watch_mut()) {
            watch.broken = true;
        }
    }

    /// The connection to `node` is gone, and with it whether keys changed that were watched there.
    pub(super) fn break_watch_at(&mut self, node: NodeId) {
        let watch = self.private.as_mut().and_then(|private| private.pinned.watch_mut());
        if let Some(watch) = watch.filter(|watch| watch.is_at(node)) {
            watch.broken = true;
        }
    }

    /// The client goes: so does all that is its own, at once.
    pub(in super::super) fn end_private(&mut self, turn: &mut Turn<'_>) {
        self.end_watch(turn);
        // A server takes nothing for a blocked client that has gone. One that was not blocked yet has asked for what
        // is there, which a server would give to nobody too.
        let job = self.job_mut().filter(|job| job.blocked);
        if let Some(plan) = job.and_then(|job| job.search_mut()?.plan) {
            turn.plans.give_up(plan);
        }
        let clean = false;
        self.end_job(clean, turn);
        self.end_tracking(turn);
        self.drop_connections(turn);
        self.private = None;
    }
}
