//! How replies, and what stands in for them, find whoever asked: a client, a plan, the worker itself; and which errors
//! have a request sent again.

use super::clients::{Clients, Parts};
use super::connection::Client;
use super::fairness;
use super::reads;
use super::replies::Piece;
use super::retry::{Parked, Target};
use crate::backend::in_flight::{Origin, Pending};
use crate::backend::lane::Lane;
use crate::backend::link::Closing;
use crate::backend::owner::{Replies, Reply, Subscription, Unanswered};
use crate::backend::pool::LinkKey;
use crate::cluster::slot_map::Endpoint;
use crate::refusal::Refusal;
use crate::route::redirect::Redirect;

/// [`Refusal::Lost`], as a plan is told it.
const BROKEN_OFF: &[u8] = b"-ERR slotway: the backend connection was lost, the command may have run\r\n";

impl Clients {
    /// Answers a request with bytes of the proxy's own; [`Replies::flush`] then writes them.
    pub fn answer(&mut self, origin: Origin, bytes: &[u8]) {
        if origin.client == Origin::PLAN {
            return self.on_call_answered(origin, bytes, false);
        }
        let Some(Parts { client, spares, .. }) = self.parts(origin.client, origin.generation) else { return };
        client.fill_own(Piece { ticket: origin.ticket, part: origin.part, bytes, more: false }, spares);
        self.touch(origin.client);
    }

    /// Answers a request with an error of the proxy's own.
    pub fn refuse(&mut self, origin: Origin, refusal: &Refusal) {
        self.metrics.refusals.add(1);
        self.answer(origin, &refusal.reply());
    }

    /// Takes a piece of the reply to a plan's call; what that comes to may be the answer to its client.
    fn on_call_answered(&mut self, call: Origin, bytes: &[u8], more: bool) {
        if let Some((asker, reply)) = self.plans.fill(call, bytes, more) {
            self.end_plan(asker, &reply);
        }
    }

    /// Answers whoever asked with what a plan has come to, unless that was a step of a job only.
    fn end_plan(&mut self, asker: Origin, reply: &[u8]) {
        let metrics = self.metrics.clone();
        metrics.transactions_torn.add(self.plans.take_torn());
        metrics.transactions_aborted.add(u64::from(reply.starts_with(b"-EXECABORT")));
        let Some(Parts { client, spares, .. }) = self.parts(asker.client, asker.generation) else { return };
        let piece = Piece { ticket: asker.ticket, part: asker.part, bytes: reply, more: false };
        if client.on_probed(asker.ticket, reply) {
            return;
        }
        if client.is_trying(asker.ticket) {
            client.on_tried_by_plan(piece, spares, &metrics);
        } else {
            client.fill_own(piece, spares);
        }
        self.touch(asker.client);
    }

    /// A reply to what no client asked for itself.
    #[inline(never)]
    fn on_own_reply(
        &mut self,
        pending: &Pending,
        request: &[u8],
        (node, lane): (&Endpoint, Lane),
        (origin, reply): (Origin, Reply<'_>),
    ) {
        if origin == Origin::TELLING {
            self.on_told(request, (node, lane), reply.bytes());
        } else if let Some(token) = origin.token() {
            if !reply.more {
                self.settled.push((token, true));
            }
        } else if reply.is_error()
            && let Some(target) = self.redirect(pending, &reply, (node, lane))
            && let Some(target) = self.plans.keep(origin, target)
        {
            self.park(Parked::again(origin, pending, lane, target, request, Some(reply.bytes())));
        } else {
            // Of a transaction that was refused, the first refusal says why.
            self.on_call_answered(origin, reply.lead_error.unwrap_or_else(|| reply.bytes()), reply.more);
        }
    }

    /// Keeps a request to be sent again, and holds its client's further requests back meanwhile, so that
    /// they don't overtake it.
    pub fn park(&mut self, parked: Parked) {
        let client = self.find(parked.origin);
        if client.is_some() || parked.origin.client == Origin::PLAN {
            client.into_iter().for_each(Client::hold_back);
            self.retries.push(parked);
            self.metrics.requests_parked.set(self.retries.len() as u64);
        }
    }

    /// Whether an error proves that its request did not run and is to be sent again; it is then kept.
    #[inline(never)]
    fn goes_again(
        &mut self,
        origin: Origin,
        pending: &Pending,
        request: &[u8],
        (node, lane): (&Endpoint, Lane),
        reply: &Reply<'_>,
    ) -> bool {
        match self.redirect(pending, reply, (node, lane)) {
            Some(target) if lane.reads() => {
                self.ask_primary(origin, pending, (lane, target), request, Some(reply.bytes()));
                true
            }
            Some(target) => {
                self.park(Parked::again(origin, pending, lane, target, request, Some(reply.bytes())));
                true
            }
            None => self.repair(origin, pending, request, (node, lane), reply.bytes()),
        }
    }

    /// What an error reply means for its request: where it goes next, or `None` where it is the answer.
    fn redirect(
        &mut self,
        pending: &Pending,
        reply: &Reply<'_>,
        (node, lane): (&Endpoint, Lane),
    ) -> Option<Target> {
        let metrics = &self.metrics;
        let redirect = Redirect::parse(reply.reason(), node)?;
        if lane.reads() && reads::is_unwell(&redirect) {
            self.unwell.push((node.clone(), self.now + reads::REST));
        }
        let target = match redirect {
            Redirect::Moved(endpoint) => {
                metrics.redirects_moved.add(1);
                self.topology_doubt = true;
                Target::Node { endpoint, asking: false }
            }
            Redirect::Ask(endpoint) => {
                metrics.redirects_ask.add(1);
                Target::Node { endpoint, asking: true }
            }
            again => {
                metrics.redirects_again.add(1);
                self.topology_doubt |= matches!(again, Redirect::ClusterDown | Redirect::ReadOnly);
                Target::Slot
            }
        };
        Some(if pending.attempts >= Parked::QUICK_ATTEMPTS { Target::Slot } else { target })
    }
}

impl Replies for Clients {
    fn on_reply(
        &mut self,
        pending: &Pending,
        request: &[u8],
        (node, lane): (&Endpoint, Lane),
        reply: Reply<'_>,
    ) {
        let Some(origin) = pending.origin else { return };
        if pending.charge.cost != 0 {
            self.on_charged_reply(pending.charge, reply.range.len(), reply.more);
        }
        if origin.client >= Origin::PLAN {
            return self.on_own_reply(pending, request, (node, lane), (origin, reply));
        }
        // Errors first: what is done about them looks the client up again.
        if reply.is_error()
            && self.find(origin).is_some()
            && self.goes_again(origin, pending, request, (node, lane), &reply)
        {
            return;
        }
        let Self { records, touched, spares, metrics, .. } = self;
        let Some(client) =
            records.get_mut(origin.client as usize).filter(|client| client.generation == origin.generation)
        else {
            metrics.backend_orphans.add(u64::from(reply.first));
            return;
        };
        let mut piece =
            Piece { ticket: origin.ticket, part: origin.part, bytes: reply.bytes(), more: reply.more };
        if client.is_trying(origin.ticket) {
            client.on_tried(&reply, piece, spares, metrics);
        } else if let Some(error) = reply.refused_before() {
            piece.bytes = error;
            client.fill_own(piece, spares);
        } else {
            client.fill(piece, &reply, spares);
        }
        client.touch(origin.client, touched);
    }

    fn on_unanswered(&mut self, pending: &Pending, request: &[u8], lane: Lane, unanswered: Unanswered) {
        let Some(origin) = pending.origin else { return };
        fairness::settle(&mut self.shares, pending.charge);
        if let Some(token) = origin.token() {
            if origin != Origin::TELLING {
                self.settled.push((token, false));
            }
            return;
        }
        let refusal = match unanswered {
            Unanswered::BrokenOff if origin.client == Origin::PLAN => {
                self.metrics.lost.add(1);
                if let Some((asker, reply)) = self.plans.break_off(origin, BROKEN_OFF) {
                    self.end_plan(asker, &reply);
                }
                return;
            }
            Unanswered::BrokenOff => {
                self.metrics.lost.add(1);
                // The client would take an error for the rest of its reply: only the end of the connection
                // tells it.
                if let Some(client) = self.find(origin) {
                    client.kill();
                }
                return;
            }
            _ if lane.reads() => {
                self.ask_primary(origin, pending, (lane, Target::Slot), request, None);
                return;
            }
            Unanswered::NeverSent => {
                let target = self.plans.target(origin);
                self.park(Parked::again(origin, pending, lane, target, request, None));
                return;
            }
            Unanswered::Refused => Refusal::BackendLogin,
            Unanswered::Closed(Closing::TimedOut) => {
                self.metrics.timeouts.add(1);
                Refusal::TimedOut
            }
            Unanswered::Lost | Unanswered::Closed(Closing::Retired) => {
                self.metrics.lost.add(1);
                Refusal::Lost
            }
        };
        self.refuse(origin, &refusal);
    }

    fn on_subscription(&mut self, link: LinkKey, event: Subscription<'_>) {
        self.take_subscription(link, event);
    }

    fn push_limit(&self) -> usize {
        self.marks.pubsub_hard
    }

    fn flush(&mut self, batch: &[u8]) {
        let Self { records, touched, stuck, spares, marks, metrics, .. } = self;
        for key in touched.drain(..) {
            if let Some(client) = records.get_mut(key as usize) {
                client.touched = false;
                let was_stuck = client.stuck;
                client.flush(batch, marks, spares, metrics);
                if client.stuck && !was_stuck {
                    stuck.push(key);
                }
            }
        }
    }
}
