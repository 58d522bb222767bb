//! Shows what clients say to the monitors of all workers.

use std::sync::Arc;

use super::Worker;
use super::message::Message;

impl Worker {
    /// Shows what this worker's clients said in this turn: to its own monitors, then to the others'.
    pub(super) fn show_feed(&mut self) {
        let count = self.clients.feed.monitors.len();
        if count != self.watching {
            self.watching = count;
            self.shared.monitors.set(self.index, count);
            self.metrics.monitors.set(count as u64);
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
        if self.clients.feed.lines.is_empty() {
            return;
        }
        let lines: Arc<[u8]> = std::mem::take(&mut self.clients.feed.lines).into();
        self.clients.show(&lines);
        for (index, peer) in self.peers.iter().enumerate() {
            if index != self.index && self.shared.monitors.offer(index, lines.len()) {
                peer.tell(Message::Feed(lines.clone()));
            }
        }
    }

    /// What another worker's clients said.
    pub(super) fn on_feed(&mut self, lines: &[u8]) {
        if self.shared.monitors.take(self.index, lines.len()) {
            self.clients.show(lines);
        } else {
            self.clients.close_monitors();
        }
    }
}
