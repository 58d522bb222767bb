//! ◆ The workers of one thread: one for each cluster. They lend each other the read buffer, and a client that becomes a
//! tenant of another cluster goes from one to the other.

#![expect(clippy::disallowed_methods, reason = "I/O: a task for each client that is served")]

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use tokio::task::spawn_local;
use tracing::debug;

use super::Worker;
use crate::client::connection::Client;
use crate::client::task::ClientTask;
use crate::cluster::id::ClusterId;

// Large enough that a reply of 16 KiB is rarely cut, small enough to stay in the second-level cache.
const SCRATCH: usize = 128 * 1024;

/// All workers of a thread, in the order of their clusters.
#[derive(Default)]
pub(super) struct Siblings {
    workers: RefCell<Vec<Weak<RefCell<Worker>>>>,
    /// Whose turn needed the read buffer last, and who therefore has it.
    reader: Cell<ClusterId>,
    /// The memory measurement that clients were last closed by.
    shed_by: Cell<u64>,
}

impl Siblings {
    /// One more, for the next cluster.
    pub(super) fn add(&self, worker: &Rc<RefCell<Worker>>) {
        self.workers.borrow_mut().push(Rc::downgrade(worker));
    }

    fn worker(&self, id: ClusterId) -> Option<Rc<RefCell<Worker>>> {
        self.workers.borrow().get(id.place())?.upgrade()
    }

    fn all(&self) -> impl Iterator<Item = Rc<RefCell<Worker>>> {
        let all: Vec<_> = self.workers.borrow().iter().filter_map(Weak::upgrade).collect();
        all.into_iter()
    }

    /// Whether no client of the thread is left to be served, and none could come back from a sibling.
    pub(super) fn are_idle(&self) -> bool {
        self.all().all(|worker| {
            let clients = &worker.borrow().clients;
            clients.is_empty() && clients.plans.is_empty()
        })
    }

    /// The read buffer, for `reader`; its content is nobody's: what is kept of a read is copied.
    fn lend(&self, reader: ClusterId) -> Box<[u8]> {
        let last = self.worker(self.reader.replace(reader));
        // Not borrowed: tasks of a thread take turns, and the one that runs has borrowed the reader.
        let lent = last.and_then(|last| Some(std::mem::take(&mut last.try_borrow_mut().ok()?.scratch)));
        lent.filter(|scratch| !scratch.is_empty()).unwrap_or_else(|| vec![0; SCRATCH].into_boxed_slice())
    }

    /// Closes the clients that hold most, whatever cluster they are of, where the process is above its memory limit.
    pub(super) fn shed(&self, (excess, measurement): (u64, u64)) {
        if excess == 0 || self.shed_by.replace(measurement) == measurement {
            return;
        }
        let workers: Vec<_> = self.all().collect();
        let mut holders = Vec::new();
        for (place, worker) in workers.iter().enumerate() {
            let worker = worker.borrow();
            holders.extend(worker.clients.holders().map(|(bytes, key)| (bytes, place, key)));
        }
        holders.sort_unstable_by(|a, b| b.cmp(a));
        let mut given_back = 0;
        for (bytes, place, key) in holders {
            if given_back >= excess {
                return;
            }
            given_back += bytes;
            workers[place].borrow_mut().clients.shed(key, bytes);
        }
    }
}

impl Worker {
    /// Has the read buffer: one that a sibling used last is taken from it.
    #[cold]
    pub(super) fn borrow_scratch(&mut self) {
        self.scratch = self.siblings.lend(self.shared.id);
    }

    /// Serves a client from here on, or has the sibling do so whose cluster it belongs to.
    pub(super) fn serve_client(&mut self, client: Box<Client>) {
        let id = client.session.login().cluster().unwrap_or(self.shared.id);
        if id == self.shared.id {
            return self.take_client(client);
        }
        // There is one for each cluster, and no task has borrowed two: else the client would be closed.
        if let Some(sibling) = self.siblings.worker(id)
            && let Ok(mut sibling) = sibling.try_borrow_mut()
        {
            sibling.take_client(client);
        }
    }

    fn take_client(&mut self, mut client: Box<Client>) {
        let Some(this) = self.this.upgrade() else { return };
        debug!(client.id = client.session.id, cluster = %self.shared.cluster.name, "serving a client");
        client.arrive();
        // Its tenant's limits are looked after by the worker that serves it.
        if let Err(refusal) = client.join_tenant(&mut self.limits) {
            self.metrics.clients_refused.add(1);
            client.refuse(&refusal, &mut self.clients.spares);
        }
        if self.drains {
            client.drain();
        }
        if self.clients.is_empty() {
            self.wake_tick.notify_one();
        }
        let (key, generation) = self.clients.insert(client);
        spawn_local(ClientTask::new(this, key, generation));
    }

    /// A client's task is over: its connection is closed, or it goes on at another cluster.
    pub fn end_client(&mut self, key: u32) {
        let Some(client) = self.clients.take(key) else { return };
        if client.is_leaving() {
            self.serve_client(client);
        } else {
            client.session.door.count_client(false);
        }
    }
}
