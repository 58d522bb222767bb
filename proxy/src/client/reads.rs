//! Reads that replicas answer: which requests may go there, and how one that was lost there comes back. Pure.
//!
//! A read is safe to repeat. So one that a replica lost with its connection, or refused, goes once to the primary,
//! where it is a request like any other. What may change something never gets here.

use super::clients::Clients;
use super::connection::Client;
use super::dispatch::Turn;
use super::fairness;
use super::retry::{Parked, Target};
use crate::backend::in_flight::{Charge, Origin, Pending};
use crate::backend::lane::Lane;
use crate::cluster::slot::Slot;
use crate::command::spec::Spec;
use crate::route::redirect::Redirect;

/// Milliseconds for which a replica that refused a read is left alone: until the watch has asked it.
pub(super) const REST: u64 = 1_500;

/// Whether a request of this command may be answered by a replica. Not inside a transaction, which is not handled
/// by here; nor where the client has connections of its own: what it watches, or its cache, speaks of primaries.
#[inline]
pub(super) fn may_leave_primary(client: &Client, spec: &Spec, turn: &Turn<'_>) -> bool {
    turn.shared.reads_leave_primary && spec.reads && client.private.is_none()
}

/// Queues a read, or a part of one, at the replica that this client reads `slot` from. False where there is
/// none: nothing was done.
pub(super) fn send_part(
    client: &mut Client,
    origin: Origin,
    slot: Slot,
    frame: &[u8],
    turn: &mut Turn<'_>,
) -> bool {
    let lane = turn.lane(client);
    let kept_back = turn.shared.read_time_kept_back();
    let mut pending = Pending::new(origin, slot, turn.now + turn.shared.command_timeout - kept_back);
    let charge = if turn.contended { fairness::charge(client, frame, turn) } else { Charge::default() };
    pending.charge = charge;
    let Some(bytes) = turn.pool.send_read(lane, client.session.id, turn.now, pending, frame) else {
        fairness::settle(turn.shares, pending.charge);
        return false;
    };
    client.routed_by = turn.pool.generation();
    client.congested |= bytes > turn.shared.cluster.backend_high_watermark;
    turn.metrics.backend_requests.add(1);
    turn.metrics.reads_to_replicas.add(1);
    true
}

impl Clients {
    /// A read that its replica has lost, or refused, goes to the primary, with the time that was kept back for that.
    /// There it is a request like any other, so this happens once.
    pub(super) fn ask_primary(
        &mut self,
        origin: Origin,
        pending: &Pending,
        (lane, target): (Lane, Target),
        request: &[u8],
        error: Option<&[u8]>,
    ) {
        self.metrics.reads_retried.add(1);
        let mut pending = *pending;
        pending.deadline += self.read_time_kept_back;
        self.park(Parked::again(origin, &pending, lane, target, request, error));
    }
}

/// Whether what a replica said is about the replica rather than about one slot: other reads would fare no better
/// there.
pub(super) fn is_unwell(redirect: &Redirect) -> bool {
    !matches!(redirect, Redirect::Ask(_) | Redirect::TryAgain)
}
