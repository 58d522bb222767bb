//! ◆ A worker: one thread, one runtime, its own clients and its own backend connections. Everything on the
//! path of a command happens here, without a lock or a hop to another thread.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "I/O: runs the tasks and the clock of one thread"
)]

mod arrivals;
mod functions;
mod generations;
mod handshakes;
mod inbox;
mod leases;
pub mod message;
mod monitoring;
mod plans;
mod question;
mod resend;
mod siblings;
mod subscriptions;
mod ticks;

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local, yield_now};
use tokio::time::Instant;

use self::inbox::serve;
use self::message::{Inbox, WorkerHandle};
use self::question::ask_all;
use self::siblings::Siblings;
use self::ticks::tick;
use crate::backend::connect::Connector;
use crate::backend::owner::{Owner, Replies};
use crate::backend::pool::{LinkKey, Pool};
use crate::backend::task;
use crate::client::clients::{Clients, Parts};
use crate::client::connection::Client;
use crate::client::dispatch::Turn;
use crate::client::local::Question;
use crate::client::quotas::Quotas;
use crate::command::table::Table;
use crate::dns::resolver::Resolver;
use crate::latest::Latest;
use crate::metrics::WorkerMetrics;
use crate::private::pool::PrivatePool;
use crate::shared::Shared;

/// One thread's state. Borrowed whole by whichever task runs: the tasks of a thread take turns.
pub struct Worker {
    shared: Arc<Shared>,
    /// Every command, as last published.
    commands: Arc<Table>,
    /// The clients.
    pub clients: Clients,
    pool: Pool,
    private: PrivatePool,
    limits: Quotas,
    /// What every socket of this thread is read into; empty while a sibling has it.
    scratch: Box<[u8]>,
    /// All workers of this thread.
    siblings: Rc<Siblings>,
    /// Whether new clients are read once more only: the process ends.
    drains: bool,
    questions: Vec<Question>,
    metrics: Arc<WorkerMetrics>,
    connector: Rc<Connector>,
    peers: Arc<[WorkerHandle]>,
    started: Instant,
    /// Makes the next tick come at once: the worker had nothing to look at, and now has.
    wake_tick: Rc<Notify>,
    /// Clients did what is over with this turn, see [`turns`].
    spent: Rc<Notify>,
    /// When idle private connections are next looked at.
    next_sweep: u64,
    /// Its place among the workers.
    index: usize,
    /// Whose monitors the others believe it to have, a tenant for each.
    watching: Vec<Arc<str>>,
    /// When links for subscriptions are next asked for a sign of life.
    next_pulse: u64,
    /// Itself, for the tasks that it starts.
    this: Weak<RefCell<Self>>,
}

/// What a thread needs to serve one cluster.
pub struct Part {
    /// The cluster.
    pub shared: Arc<Shared>,
    /// The cluster's workers on all threads.
    pub peers: Arc<[WorkerHandle]>,
    /// What the one of this thread is told.
    pub inbox: Inbox,
}

/// Runs a worker for each cluster on thread `index`, until all were told to drain and have.
pub fn run(index: usize, parts: Vec<Part>, latest: &Latest, resolver: Arc<Resolver>) {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, worker = index, "cannot start a worker's runtime");
            return;
        }
    };
    runtime.block_on(async {
        let siblings = Rc::new(Siblings::default());
        // One clock: clients that go from one worker to another keep their times.
        let started = Instant::now();
        let mut serving = JoinSet::new();
        for Part { shared, peers, inbox } in parts {
            let worker = Worker::new(index, shared, resolver.clone(), peers, siblings.clone(), started);
            siblings.add(&worker);
            spawn_local(generations::follow(worker.clone(), latest.watch()));
            spawn_local(follow_topology(worker.clone()));
            spawn_local(tick(worker.clone()));
            spawn_local(turns(worker.clone()));
            serving.spawn_local(serve(worker, inbox));
        }
        while let Some(served) = serving.join_next().await {
            // The thread ends as it would by a panic of its own, which the server tells of.
            served.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        }
    });
}

async fn follow_topology(worker: Rc<RefCell<Worker>>) {
    let topology = worker.borrow().shared.topology.clone();
    let (mut maps, mut tables) = (topology.watch(), topology.watch_commands());
    loop {
        // The commands first: whoever has the map finds them.
        worker.borrow_mut().switch_commands(tables.borrow_and_update().clone());
        worker.borrow_mut().switch_map();
        let changed = tokio::select! {
            changed = maps.changed() => changed,
            changed = tables.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Tells when the sockets were looked at behind what clients had done at once, while several tenants ask.
async fn turns(worker: Rc<RefCell<Worker>>) {
    let spent = worker.borrow().spent.clone();
    loop {
        spent.notified().await;
        // The runtime goes on behind its next look at the sockets.
        yield_now().await;
        let mut worker = worker.borrow_mut();
        worker.clients.shares.next_turn();
        worker.settle();
    }
}

impl Worker {
    fn new(
        index: usize,
        shared: Arc<Shared>,
        resolver: Arc<Resolver>,
        peers: Arc<[WorkerHandle]>,
        siblings: Rc<Siblings>,
        started: Instant,
    ) -> Rc<RefCell<Self>> {
        let metrics = shared.metrics.worker(index).clone();
        let wake_tick = Rc::<Notify>::default();
        let connector = Rc::new(Connector::new(
            shared.cluster.clone(),
            resolver,
            shared.dialer.clone(),
            shared.process.logins.clone(),
        ));
        Rc::new_cyclic(|this| {
            RefCell::new(Self {
                clients: Clients::new(index, &shared, metrics.clone()),
                pool: Pool::new(),
                private: PrivatePool::new(
                    shared.process.caps.clone(),
                    shared.process.settings.private.clone(),
                    metrics.clone(),
                ),
                next_sweep: 0,
                scratch: Box::default(),
                siblings,
                questions: Vec::new(),
                metrics,
                connector,
                peers,
                started,
                limits: Quotas::new(wake_tick.clone()),
                wake_tick,
                spent: Rc::default(),
                index,
                watching: Vec::new(),
                drains: false,
                next_pulse: 0,
                this: this.clone(),
                commands: shared.topology.commands(),
                shared,
            })
        })
    }

    /// A client together with what handling its requests needs, and the read buffer; `None` once it is gone.
    pub fn client_turn(&mut self, key: u32, generation: u32) -> Option<(&mut Client, Turn<'_>, &mut [u8])> {
        self.fetch_buffer();
        let now = self.now();
        let Self { shared, commands, clients, pool, private, limits, scratch, questions, metrics, .. } = self;
        let Parts { client, spares, retries, plans, pubsub, feed, scripts, shares } =
            clients.parts(key, generation)?;
        let random = fastrand::u32(..);
        let turn = Turn {
            shared,
            commands,
            pool,
            private,
            spares,
            retries,
            plans,
            pubsub,
            feed,
            scripts,
            limits,
            shares,
            contended: false,
            questions,
            metrics,
            random,
            now,
            key,
            translating: None,
        };
        Some((client, turn, scratch))
    }

    fn switch_commands(&mut self, commands: Arc<Table>) {
        if self.index == 0 {
            // Of the process, so one worker's number is enough.
            self.metrics.commands_learned.set(commands.learned() as u64);
        }
        self.commands = commands;
    }

    fn switch_map(&mut self) {
        let map = self.shared.topology.slot_map();
        if map.generation() == self.pool.generation() {
            return;
        }
        self.clients.plans.switch_map(&map);
        self.pool.switch_map(map);
        // Whatever waits may have a node now.
        let waiting = self.clients.retries.take_all();
        self.resend(waiting);
        self.follow_slots();
        self.clients.wake_tracking();
        self.settle();
    }

    /// Has clients go on whose tenants have room again.
    #[cold]
    #[inline(never)]
    fn settle_shares(&mut self) {
        self.clients.call_waiting();
        if self.clients.shares.has_spent() {
            self.spent.notify_one();
        }
    }

    fn drive(&self, key: LinkKey) {
        if let Some(this) = self.this.upgrade() {
            spawn_local(task::run(this, key, self.connector.clone()));
        }
    }
}

impl Owner for Worker {
    type Replies = Clients;

    fn parts(&mut self) -> (&mut Pool, &mut [u8], &mut Clients) {
        (&mut self.pool, &mut self.scratch, &mut self.clients)
    }

    #[inline]
    fn fetch_buffer(&mut self) {
        if self.scratch.is_empty() {
            self.borrow_scratch();
        }
    }

    fn settle(&mut self) {
        self.settle_scripts();
        while self.clients.retries.has_fresh() || self.clients.plans.has_outgoing() {
            self.send_plans();
            let fresh = self.clients.retries.take_fresh(self.now());
            self.resend(fresh);
            self.wake_tick.notify_one();
        }
        for (node, until) in self.clients.unwell.drain(..) {
            self.pool.rest(&node, until);
        }
        self.clients.settle_subscriptions();
        self.send_subscriptions();
        self.show_feed();
        self.clients.flush(&[]);
        if self.clients.shares.are_contended() {
            self.settle_shares();
        }
        self.end_unblocks();
        self.open_private();
        let (pubsub, metrics) = (&mut self.clients.pubsub, &self.metrics);
        metrics.plans.set(self.clients.plans.len() as u64);
        metrics.subscribed_clients.set(pubsub.clients());
        metrics.subscriptions_backend.set(pubsub.live_topics());
        metrics.pubsub_resubscribed.add(pubsub.take_resubscribed());
        if std::mem::take(&mut self.clients.topology_doubt) | std::mem::take(&mut self.private.topology_doubt)
        {
            self.shared.topology.request_refresh();
        }
        if self.pool.has_undriven() {
            for key in self.pool.take_undriven() {
                self.drive(key);
            }
        }
        for question in self.questions.drain(..) {
            if let Some(this) = self.this.upgrade() {
                spawn_local(ask_all(this, self.peers.clone(), question));
            }
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    fn on_login_refused(&mut self) {
        self.metrics.backend_logins_refused.add(1);
    }

    fn is_contended(&self) -> bool {
        self.clients.shares.are_contended()
    }

    fn on_round_trip(&mut self, micros: u64) {
        self.clients.shares.window.on_round_trip(micros);
    }

    fn on_node_lost(&mut self) {
        self.metrics.backend_unreachable.add(1);
        self.clients.topology_doubt = true;
    }
}
