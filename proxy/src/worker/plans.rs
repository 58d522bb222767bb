//! Sends what plans ask for, see [`crate::client::plans`].

use super::Worker;
use crate::backend::in_flight::Pending;
use crate::backend::owner::Owner;
use crate::backend::pool::Sent;
use crate::client::plans::Outgoing;
use crate::client::retry::Parked;
use crate::refusal::Refusal;
use crate::route::plan::CHANGING;

impl Worker {
    /// Queues every call that waits; one that can't be sent now is parked. Each has a deadline of its own.
    pub(super) fn send_plans(&mut self) {
        let deadline = self.now() + self.shared.command_timeout;
        for Outgoing { origin, lane, call } in self.clients.plans.take_outbox() {
            let pending = Pending::new(origin, call.slot, deadline).led_by(call.leads);
            self.metrics.backend_requests.add(1);
            match self.pool.send_for(call.primary.as_ref(), lane, pending, &call.frame) {
                Some(Sent::Queued { .. }) => {}
                Some(Sent::Down { since })
                    if self.now().saturating_sub(since) > self.shared.command_timeout =>
                {
                    self.clients.refuse(origin, &Refusal::ShardDown);
                }
                Some(Sent::Refused) => self.clients.refuse(origin, &Refusal::BackendLogin),
                Some(Sent::Down { .. } | Sent::Unserved) => {
                    let target = self.clients.plans.target(origin);
                    self.clients.park(Parked::again(origin, &pending, lane, target, &call.frame, None));
                }
                None => self.clients.answer(origin, CHANGING),
            }
        }
    }
}
