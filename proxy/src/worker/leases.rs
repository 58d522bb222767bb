//! ◆ Opens the private connections that clients of this worker wait for, and hands them over.

#![expect(clippy::disallowed_methods, reason = "I/O: a task for each connection that is being opened")]

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::spawn_local;
use tracing::debug;

use super::Worker;
use crate::backend::connect::{ConnectError, Connector};
use crate::backend::owner::Owner;
use crate::private::connection::PrivateConnection;
use crate::private::open;
use crate::private::pool::{Asker, NodeId, Opening};

impl Worker {
    /// Connections whose nodes have answered a CLIENT UNBLOCK need not wait for that any longer.
    pub(super) fn end_unblocks(&mut self) {
        if self.clients.settled.is_empty() {
            return;
        }
        let now = self.now();
        for (token, answered) in self.clients.settled.drain(..) {
            self.private.on_unblock_over(token, answered, now);
        }
    }

    /// Opens the private connections that are wanted, a bounded number at a time.
    pub(super) fn open_private(&mut self) {
        if self.private.take_timer_set() {
            self.wake_tick.notify_one();
        }
        if !self.private.has_openings() {
            return;
        }
        let now = self.now();
        while let Some(opening) = self.private.next_opening(now) {
            let Some(this) = self.this.upgrade() else { return };
            match opening {
                Ok(opening) => drop(spawn_local(open_private(this, self.connector.clone(), opening))),
                Err(opening) => self.clients.on_open_failed(opening.asker, opening.node),
            }
        }
    }

    fn on_private_opened(
        &mut self,
        asker: Asker,
        node: NodeId,
        opened: Result<Box<PrivateConnection>, ConnectError>,
    ) {
        let now = self.now();
        match opened {
            Err(error) if error.is_tenants() => {
                self.private.on_refused();
                self.on_login_refused();
                self.clients.on_open_refused(asker, node);
            }
            Err(error) => {
                if error.is_out_of_files() {
                    self.private.close_idle();
                }
                self.private.on_opened(node, false, now);
                self.clients.on_open_failed(asker, node);
            }
            Ok(connection) => {
                self.private.on_opened(node, true, now);
                let buckets = self.private.table_buckets();
                if let Some(unwanted) = self.clients.hand_over(asker, connection, buckets) {
                    self.private.give_back(unwanted, now);
                }
            }
        }
        self.settle();
    }
}

async fn open_private(worker: Rc<RefCell<Worker>>, connector: Rc<Connector>, opening: Opening) {
    let (asker, node) = (opening.asker, opening.node);
    let endpoint = opening.endpoint.clone();
    let opened = open::open(&connector, opening).await;
    let opened =
        opened.inspect_err(|error| debug!(node.endpoint = %endpoint, %error, "no private connection"));
    worker.borrow_mut().on_private_opened(asker, node, opened);
}
