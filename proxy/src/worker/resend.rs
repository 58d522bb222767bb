//! Sends again what is to be sent again: behind a redirect, to a node that can be reached by now.

use super::Worker;
use crate::backend::owner::Owner;
use crate::backend::pool::Sent;
use crate::client::retry::{Parked, Target};
use crate::client::scripted;
use crate::refusal::Refusal;
use crate::route::redirect;

impl Worker {
    /// Sends parked requests on, or puts them back, or refuses what is overdue.
    pub(super) fn resend(&mut self, parked: Vec<Parked>) {
        let now = self.now();
        let mut unsent = Vec::new();
        for parked in parked {
            if parked.pending.deadline <= now {
                self.refuse_overdue(&parked);
                continue;
            }
            let Parked { pending, lane, request, .. } = &parked;
            let target = self.allowed(&parked);
            let link = match target {
                Target::Node { endpoint, .. } => self.pool.link_to(endpoint, *lane),
                Target::Slot => self.pool.link_of(pending.slot, *lane),
            };
            if let Some(link) = link {
                let scripts = &mut self.clients.scripts;
                scripted::tell_again(scripts, link, (request, pending, now), &self.metrics);
            }
            let sent = match target {
                Target::Node { endpoint, asking } => {
                    self.pool.send_to(endpoint, *asking, *lane, *pending, request)
                }
                Target::Slot => self.pool.send(*lane, *pending, request),
            };
            match sent {
                Sent::Queued { .. } => self.clients.unpark(parked.origin),
                Sent::Down { .. } => unsent.push(parked),
                Sent::Unserved if self.shared.topology.is_ready() => {
                    unsent.push(parked.because(&Refusal::Unserved));
                }
                Sent::Unserved => unsent.push(parked.because(&Refusal::NotReady)),
            }
        }
        self.clients.topology_doubt |= !unsent.is_empty();
        self.clients.retries.put_back(unsent, now);
        self.metrics.requests_parked.set(self.clients.retries.len() as u64);
    }

    /// Where it goes: to the node that a redirect named only where that can be trusted.
    fn allowed<'a>(&self, parked: &'a Parked) -> &'a Target {
        match &parked.target {
            Target::Node { endpoint, .. }
                if !self.pool.is_in_topology(endpoint) && redirect::may_be_forged(&parked.request) =>
            {
                &Target::Slot
            }
            target => target,
        }
    }

    fn refuse_overdue(&mut self, parked: &Parked) {
        self.metrics.timeouts.add(1);
        match &parked.last_error {
            // The server's own words say best why the command did not run.
            Some(error) => self.clients.answer(parked.origin, error),
            None => self.clients.refuse(parked.origin, &Refusal::DeadlineNotRun),
        }
        self.clients.unpark(parked.origin);
    }
}
