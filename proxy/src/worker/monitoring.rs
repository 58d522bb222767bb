//! Shows what clients say to the monitors of all workers.

use std::sync::Arc;

use super::Worker;
use super::message::Message;
use crate::client::monitor::Said;

impl Worker {
    /// Shows what this worker's clients said in this turn: to its own monitors, then to the others'.
    pub(super) fn show_feed(&mut self) {
        let tenants = self.clients.monitoring_tenants();
        if tenants != self.watching {
            self.metrics.monitors.set(tenants.len() as u64);
            self.shared.monitors.set(self.index, tenants.clone());
            self.watching = tenants;
        }
        if std::mem::take(&mut self.clients.feed.too_long) {
            // A line above the hard limit of anybody's output would close whoever it is shown to.
            for (index, peer) in self.peers.iter().enumerate().filter(|(index, _)| *index != self.index) {
                if self.shared.monitors.offer(index, 0) {
                    peer.tell(Message::CloseMonitors);
                }
            }
            self.clients.close_monitors();
        }
        if self.clients.feed.said.is_empty() {
            return;
        }
        let said = Arc::new(std::mem::take(&mut self.clients.feed.said));
        self.clients.show(&said);
        for (index, peer) in self.peers.iter().enumerate() {
            if index != self.index && self.shared.monitors.offer(index, said.len()) {
                peer.tell(Message::Feed(said.clone()));
            }
        }
    }

    /// What another worker's clients said.
    pub(super) fn on_feed(&mut self, said: &Said) {
        if self.shared.monitors.take(self.index, said.len()) {
            self.clients.show(said);
        } else {
            self.clients.close_monitors();
        }
    }
}
