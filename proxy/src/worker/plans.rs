//! Sends what plans ask for, see [`crate::client::plans`].

use super::Worker;
use crate::backend::in_flight::Pending;
use crate::backend::owner::Owner;
use crate::backend::pool::Sent;
use crate::client::plans::Outgoing;
use crate::client::retry::{Parked, Target};
use crate::refusal::Refusal;

impl Worker {
    /// Queues every call that waits; one that can't be sent now is parked. Each has a deadline of its own.
    pub(super) fn send_plans(&mut self) {
        let deadline = self.now() + self.shared.command_timeout;
        for Outgoing { origin, lane, call } in self.clients.plans.take_outbox() {
            let pending = Pending::new(origin, call.slot, deadline).led_by(call.leads);
            self.metrics.backend_requests.add(1);
            match self.pool.send(lane, pending, &call.frame) {
                Sent::Queued { .. } => {}
                Sent::Down { since } if self.now().saturating_sub(since) > self.shared.command_timeout => {
                    self.clients.refuse(origin, &Refusal::ShardDown);
                }
                Sent::Refused => self.clients.refuse(origin, &Refusal::BackendLogin),
                Sent::Down { .. } | Sent::Unserved => {
                    self.clients.park(Parked::again(origin, &pending, lane, Target::Slot, &call.frame, None));
                }
            }
        }
    }
}
