//! The clients of one worker: their records, what they share, and who among them is closed for what it holds.

use std::sync::Arc;

use slab::Slab;
use tracing::warn;

use super::address::Doors;
use super::connection::{Client, Watermarks};
use super::delivery::close_subscriber;
use super::local::pubsub::{Counted, Topics};
use super::monitor::Feed;
use super::plans::Plans;
use super::retry::Retries;
use super::spares::Spares;
use crate::backend::in_flight::Origin;
use crate::cluster::slot_map::Endpoint;
use crate::metrics::WorkerMetrics;
use crate::pubsub::registry::Registry;
use crate::scripts::known::Known;
use crate::scripts::repairs::Repairs;
use crate::shared::Shared;
use crate::tenant::shares::Shares;

// Milliseconds without a byte taken after which a client's mark is doubled: several round trips.
const PATIENCE: u64 = 200;

// Closing a client that holds less gives back too little to be worth its connection.
const WORTH_SHEDDING: u64 = 16 * 1024;

/// All clients of a worker.
#[derive(Debug)]
pub struct Clients {
    // Boxed: a record is given back alone when its client leaves, whatever else the slab holds.
    pub(super) records: Slab<Box<Client>>,
    /// Generation of the next record.
    next_generation: u32,
    /// Clients to be written to at the end of the batch.
    pub(super) touched: Vec<u32>,
    /// Clients whose socket did not take everything, see [`Self::relent`].
    pub(super) stuck: Vec<u32>,
    /// When they are next looked at.
    next_look: u64,
    /// Memory that clients use in turns.
    pub spares: Spares,
    /// Requests to be sent again.
    pub retries: Retries,
    /// Requests that take several steps.
    pub plans: Plans,
    /// Where clients reached us.
    pub doors: Doors,
    /// What clients listen to.
    pub pubsub: Registry,
    /// What is shown to monitors.
    pub feed: Feed,
    /// What the worker knows of scripts.
    pub scripts: Known,
    /// Nodes that lack functions.
    pub repairs: Repairs,
    /// What tenants may have under way.
    pub shares: Shares,
    /// Requests of the worker's own that are over, and whether they were answered.
    pub settled: Vec<(u32, bool)>,
    /// Replicas that refused a read, and until when they are left alone.
    pub unwell: Vec<(Endpoint, u64)>,
    /// See [`Shared::read_time_kept_back`].
    pub(super) read_time_kept_back: u64,
    /// A redirect, or its want of success, made it likely that the topology changed.
    pub topology_doubt: bool,
    pub(super) marks: Watermarks,
    /// Milliseconds of the worker's clock, as of the last tick.
    pub(super) now: u64,
    /// When clients are next looked at for having been silent too long.
    next_sweep: u64,
    /// Clients were told the end, and may be there still.
    pub(super) has_retired: bool,
    pub(super) metrics: Arc<WorkerMetrics>,
}

/// A client, and what it shares with the others.
pub struct Parts<'a> {
    /// The client.
    pub client: &'a mut Client,
    /// See [`Clients::spares`].
    pub spares: &'a mut Spares,
    /// See [`Clients::retries`].
    pub retries: &'a mut Retries,
    /// See [`Clients::plans`].
    pub plans: &'a mut Plans,
    /// See [`Clients::pubsub`].
    pub pubsub: &'a mut Registry,
    /// See [`Clients::feed`].
    pub feed: &'a mut Feed,
    /// See [`Clients::scripts`].
    pub scripts: &'a mut Known,
    /// See [`Clients::shares`].
    pub shares: &'a mut Shares,
}

impl Clients {
    /// No clients yet; `worker` is its place among the workers.
    #[must_use]
    pub fn new(worker: usize, shared: &Shared, metrics: Arc<WorkerMetrics>) -> Self {
        let marks = shared.marks;
        let plans_limit = shared.cluster.cross_slot_memory;
        Self {
            records: Slab::new(),
            next_generation: 0,
            touched: Vec::new(),
            stuck: Vec::new(),
            next_look: 0,
            spares: Spares::default(),
            retries: Retries::default(),
            plans: Plans::new(plans_limit),
            doors: Doors::default(),
            pubsub: Registry::default(),
            feed: Feed { worker, ..Feed::default() },
            scripts: Known::new(shared.scripts.clone(), metrics.clone()),
            repairs: Repairs::default(),
            shares: Shares::default(),
            settled: Vec::new(),
            unwell: Vec::new(),
            read_time_kept_back: shared.read_time_kept_back(),
            topology_doubt: false,
            marks,
            now: 0,
            next_sweep: 0,
            has_retired: false,
            metrics,
        }
    }

    /// Takes over a new generation's limits.
    pub fn follow(&mut self, shared: &Shared) {
        self.marks = shared.marks;
        self.plans.set_limit(shared.cluster.cross_slot_memory);
        self.read_time_kept_back = shared.read_time_kept_back();
        // New limits of time hold at once.
        self.next_sweep = 0;
    }

    /// Adds a client; returns its key and generation.
    pub fn insert(&mut self, mut client: Box<Client>) -> (u32, u32) {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        client.generation = generation;
        let is_stuck = client.stuck;
        self.metrics.tls_clients.add(u64::from(client.stream.is_tls()));
        let key = self.records.insert(client) as u32;
        if is_stuck {
            self.note_stuck(key);
        }
        self.metrics.clients.set(self.records.len() as u64);
        (key, generation)
    }

    /// Takes a client out. Replies that are still under way to it will be swallowed.
    pub fn take(&mut self, key: u32) -> Option<Box<Client>> {
        let mut client = self.records.try_remove(key as usize);
        let is_tls = client.as_ref().is_some_and(|client| client.stream.is_tls());
        self.metrics.tls_clients.sub(u64::from(is_tls));
        if let Some(mut subscriptions) = client.as_mut().and_then(|client| client.subscriptions.take()) {
            self.pubsub.leave(&mut subscriptions, key);
            if subscriptions.monitors {
                self.feed.monitors.retain(|other| *other != key);
            }
        }
        self.metrics.clients.set(self.records.len() as u64);
        if self.records.is_empty() {
            self.records.shrink_to_fit();
        }
        client
    }

    /// The client of this key and generation, with what it shares with the others.
    pub fn parts(&mut self, key: u32, generation: u32) -> Option<Parts<'_>> {
        let Self { records, spares, retries, plans, pubsub, feed, scripts, shares, .. } = self;
        let client = records.get_mut(key as usize).filter(|client| client.generation == generation)?;
        Some(Parts { client, spares, retries, plans, pubsub, feed, scripts, shares })
    }

    /// Whose client has this key.
    pub(super) fn tenant_name(&self, key: u32) -> Option<&Arc<str>> {
        self.records.get(key as usize)?.session.login().tenant_name()
    }

    /// What `topics` asks about those clients of this tenant that messages go to.
    #[must_use]
    pub fn count_topics(&self, topics: &Topics, tenant: Option<&Arc<str>>) -> Counted {
        topics.count(&self.pubsub, |subscriber| {
            let client = self.records.get(subscriber.client as usize);
            client.is_some_and(|it| it.session.login().tenant_name() == tenant && it.hears(subscriber))
        })
    }

    /// All clients.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.records.iter().map(|(_, client)| &**client)
    }

    /// All clients, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.records.iter_mut().map(|(_, client)| &mut **client)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A parked request leaves [`Retries`]: its client may go on when it was the last.
    pub fn unpark(&mut self, origin: Origin) {
        let Some(client) = self.find(origin) else { return };
        client.parked = client.parked.saturating_sub(1);
        self.touch(origin.client);
    }

    /// Gives up what has waited too long, and tells the numbers of subscriptions.
    pub fn tick_subscriptions(&mut self, now: u64) {
        self.now = now;
        self.pubsub.tick(now);
        self.settle_subscriptions();
    }

    /// Closes clients that were silent, or not logged in, for too long. Looks at all of them, at most once
    /// every `interval` milliseconds.
    pub fn sweep(&mut self, now: u64, interval: u64, shared: &Shared) {
        let settings = &shared.process.settings.clients;
        let must_log_in = shared.process.tenants.wants_logins();
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + interval;
        if self.has_retired {
            self.end_retired(now);
        }
        if let Some(age) = settings.max_age {
            self.retire_old(now, age.as_millis() as u64, settings.age_grace.as_millis() as u64);
        }
        if settings.idle_timeout.is_none() && !must_log_in {
            return;
        }
        let idle_limit = settings.idle_timeout.map_or(u64::MAX, |limit| limit.as_millis() as u64);
        let login_limit = settings.auth_timeout.as_millis() as u64;
        for client in self.records.iter_mut().map(|(_, client)| client) {
            let session = &client.session;
            let busy = !client.replies.is_empty() || client.output_bytes() > 0 || client.is_paused();
            let idle = !busy && client.subscriptions.is_none() && session.last_active.until(now) > idle_limit;
            let outside = !session.is_logged_in() && session.since.until(now) > login_limit;
            if client.reads_requests() && (idle || outside) {
                self.metrics.clients_idle_closed.add(1);
                client.close_after_replies();
            } else if outside {
                // Closed a sweep ago, and it does not take what is left.
                client.kill();
            }
        }
    }

    /// A client's socket did not take everything.
    pub(super) fn note_stuck(&mut self, key: u32) {
        self.stuck.push(key);
    }

    /// Looks at the clients that take no bytes, see [`Client::relent`]; true while there are any.
    pub fn relent(&mut self, now: u64) -> bool {
        if now >= self.next_look {
            self.next_look = now + PATIENCE;
            let Self { records, stuck, marks, metrics, .. } = self;
            stuck.sort_unstable();
            stuck.dedup();
            stuck.retain(|key| {
                let Some(client) = records.get_mut(*key as usize) else { return false };
                if client.is_above_soft_limit(now, marks) {
                    let why = "it was above the soft limit of unwritten output for too long";
                    close_subscriber(client, why, metrics);
                }
                client.relent(marks)
            });
        }
        !self.stuck.is_empty()
    }

    /// The clients that hold much, with how many bytes that is and their keys.
    pub fn holders(&self) -> impl Iterator<Item = (u64, u32)> {
        let held = self.records.iter().map(|(key, client)| (client.held_bytes() as u64, key as u32));
        held.filter(|(bytes, _)| *bytes >= WORTH_SHEDDING)
    }

    /// Closes a client that holds so many bytes: the process has too many.
    pub fn shed(&mut self, key: u32, bytes: u64) {
        if let Some(client) = self.records.get_mut(key as usize) {
            warn!(client.addr = %client.session.peer, bytes, "closing a client at the memory limit");
            self.metrics.clients_shed.add(1);
            client.kill();
        }
    }

    pub(super) fn find(&mut self, origin: Origin) -> Option<&mut Client> {
        self.parts(origin.client, origin.generation).map(|parts| parts.client)
    }

    pub(super) fn touch(&mut self, key: u32) {
        if let Some(client) = self.records.get_mut(key as usize) {
            client.touch(key, &mut self.touched);
        }
    }
}
