//! A worker switches to a new generation of the settings, between two requests of its clients.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;

use super::Worker;
use crate::backend::owner::Owner;
use crate::shared::Shared;

/// Switches to each generation as it comes, until the process ends.
pub(super) async fn follow(
    worker: Rc<RefCell<Worker>>,
    mut generations: watch::Receiver<Arc<[Arc<Shared>]>>,
) {
    loop {
        // The one that the worker began with may be old by now.
        let newest = generations.borrow_and_update().clone();
        let id = worker.borrow().shared.id;
        worker.borrow_mut().switch(newest[id.place()].clone());
        if generations.changed().await.is_err() {
            return;
        }
    }
}

impl Worker {
    /// From here on everything is done by `next`: requests that are under way keep what they were given.
    fn switch(&mut self, next: Arc<Shared>) {
        if next.process.generation == self.shared.process.generation {
            return;
        }
        self.connector.follow(&next.cluster);
        self.private.follow(&next.process.settings.private);
        self.clients.follow(&next);
        if !Arc::ptr_eq(&next.process.tenants, &self.shared.process.tenants) {
            self.clients.succeed(&next, &self.commands, &mut self.limits);
        }
        self.shared = next;
        // Limits may be shorter now.
        self.wake_tick.notify_one();
        self.settle();
    }
}
