//! Sends again what is to be sent again: behind a redirect, to a node that can be reached by now.

use super::Worker;
use crate::backend::owner::Owner;
use crate::backend::pool::Sent;
use crate::client::retry::{Parked, Target};
use crate::client::scripted;
use crate::refusal::Refusal;
use crate::route::plan::CHANGING;
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
            if !self.is_trusted(&parked) {
                // By its slot, once the topology says who serves it: at once it would stand behind what its client
                // sent after it and is still under way there.
                unsent.push(parked);
                continue;
            }
            let Parked { pending, lane, request, target, .. } = &parked;
            let link = match target {
                Target::Node { endpoint, .. } => self.pool.link_to(endpoint, *lane),
                // Of a plan that calls no script.
                Target::Primary(_) => None,
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
                Target::Primary(node) => match self.pool.send_for(Some(node), *lane, *pending, request) {
                    Some(sent) => sent,
                    None => {
                        self.clients.answer(parked.origin, CHANGING);
                        continue;
                    }
                },
                Target::Slot => self.pool.send(*lane, *pending, request),
            };
            match sent {
                Sent::Queued { .. } => self.clients.unpark(parked.origin),
                Sent::Down { .. } => unsent.push(parked),
                Sent::Refused => {
                    self.clients.refuse(parked.origin, &Refusal::BackendLogin);
                    self.clients.unpark(parked.origin);
                }
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

    /// Whether it may go to the node that a redirect named, if one did: a script can name any.
    fn is_trusted(&self, parked: &Parked) -> bool {
        match &parked.target {
            Target::Node { endpoint, .. } => {
                self.pool.is_in_topology(endpoint) || !redirect::may_be_forged(&parked.request)
            }
            Target::Slot | Target::Primary(_) => true,
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
