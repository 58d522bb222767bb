//! A client's private side: the connections that are its own for now, the one job that is under way on them,
//! and what they remember for it. A client that needs none of it has no such record.

pub mod drive;
pub mod job;
pub mod outcome;
pub mod seek;
pub mod start;
pub mod tried;

use self::job::Job;
use super::connection::Client;
use super::dispatch::Turn;
use crate::backend::lane::Lane;
use crate::private::pool::{Asker, NodeId};
use crate::private::table::Table;

/// Exists only while there is something in it.
#[derive(Default, Debug)]
pub struct Private {
    /// Its own connections.
    pub(super) table: Table,
    /// What is under way; nothing else of the client is meanwhile.
    pub(super) job: Option<Job>,
    /// The keys it watches.
    pub(super) watch: Option<Watch>,
}

/// Keys that a client watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watch {
    /// Where: all of them are one node's.
    pub(super) node: NodeId,
    /// Since when, in milliseconds of the worker's clock.
    pub(super) since: u64,
    /// How many WATCH named.
    pub(super) keys: u32,
    /// The connection that watched is gone: nobody knows whether the keys were changed.
    pub(super) broken: bool,
}

/// Why a client is pinned to private connections, or to state of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pin {
    /// It waits in a blocking command.
    Blocked,
    /// It watches keys.
    Watch,
}

impl Pin {
    /// As CLIENT LIST shows it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Watch => "watch",
        }
    }
}

impl Private {
    /// Why its client is pinned, and since when.
    #[must_use]
    pub fn pin(&self) -> Option<(Pin, u64)> {
        match (&self.job, self.watch) {
            (Some(job), _) if job.blocked => Some((Pin::Blocked, job.began)),
            (_, Some(watch)) => Some((Pin::Watch, watch.since)),
            _ => None,
        }
    }

    /// How many keys are watched.
    #[must_use]
    pub fn watched(&self) -> u32 {
        self.watch.map_or(0, |watch| watch.keys)
    }

    fn is_empty(&self) -> bool {
        self.job.is_none() && self.watch.is_none() && self.table.is_empty()
    }
}

impl Client {
    pub(super) fn private_mut(&mut self) -> &mut Private {
        self.private.get_or_insert_default()
    }

    /// The job under way.
    pub(super) fn job_mut(&mut self) -> Option<&mut Job> {
        self.private.as_mut()?.job.as_mut()
    }

    /// Whether it waits in a blocking command.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.private.as_ref().is_some_and(|private| matches!(private.pin(), Some((Pin::Blocked, _))))
    }

    /// Whether a connection speaks as it does now.
    pub(super) fn speaks(&self, lane: Lane) -> bool {
        (lane.protocol, lane.database) == (self.session.protocol, self.session.database)
    }

    pub(super) fn asker(&self, turn: &Turn<'_>) -> Asker {
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
    pub(super) fn end_job(&mut self, clean: bool, turn: &mut Turn<'_>) {
        let asker = self.asker(turn);
        let Some(private) = &mut self.private else { return };
        let Some(mut job) = private.job.take() else { return };
        job.leave(asker, turn.private);
        if job.blocked {
            turn.metrics.blocked_clients.sub(1);
        }
        if let Some(node) = job.node() {
            let held = private.watch.is_some_and(|watch| watch.node == node && !watch.broken);
            if !(held && clean) && let Some(connection) = private.table.remove(node) {
                turn.metrics.private_connections.sub(1);
                if clean {
                    turn.private.give_back(connection, turn.now);
                } else {
                    turn.metrics.private_dirty.add(1);
                }
            }
        }
        if private.is_empty() {
            self.private = None;
        }
    }

    /// The watched keys are forgotten; the connection goes with them unless the job that ends cleans it.
    pub(super) fn end_watch(&mut self, turn: &mut Turn<'_>) {
        let Some(private) = &mut self.private else { return };
        if let Some(watch) = private.watch.take() {
            turn.metrics.pinned_watch.sub(1);
            let in_use = private.job.as_ref().and_then(Job::node) == Some(watch.node);
            if !in_use && private.table.remove(watch.node).is_some() {
                turn.metrics.private_connections.sub(1);
                turn.metrics.private_dirty.add(1);
            }
        }
        if private.is_empty() {
            self.private = None;
        }
    }

    /// The client goes: so does all that is its own, at once.
    pub(super) fn end_private(&mut self, turn: &mut Turn<'_>) {
        self.end_watch(turn);
        let clean = false;
        self.end_job(clean, turn);
        debug_assert!(self.private.is_none(), "a connection without a reason");
    }
}
