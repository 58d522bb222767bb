//! How requests go to shards: whole, in parts, or to all; each with its place in the reply order. Pure: they are
//! queued on links, or parked.

use super::connection::Client;
use super::dispatch::{Turn, slot_of, unsupported};
use super::fairness;
use super::reads;
use super::replies::{Expect, Piece};
use super::retry::{Parked, Target};
use crate::backend::in_flight::{Charge, Origin, Pending};
use crate::backend::lane::Lane;
use crate::backend::pool::Sent;
use crate::cluster::slot::Slot;
use crate::command::spec::{Merge as Policy, Refused, Spec, Split};
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::route::cursor::{self, Place};
use crate::route::merge::{Merge, MergeKind};
use crate::route::plan::Begun;
use crate::route::split::{self, Cut};
use crate::tenant::namespace::Namespace;

/// Sends a request as it came to where its keys are: to a replica where that may answer it.
#[inline(always)]
pub(super) fn send_to_keys(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let slot = slot_of(spec, request, turn)?;
    send_keyed(client, spec, slot, request.frame(), turn);
    Ok(())
}

/// Sends a request as it came to the node of `slot`.
#[inline]
pub(super) fn send(client: &mut Client, slot: Slot, frame: &[u8], turn: &mut Turn<'_>) {
    let origin = open_plain(client, turn);
    let lane = turn.lane(client);
    send_part(client, origin, slot, lane, frame, turn);
}

/// Sends a request whose keys are in `slot`, if it has any: to a replica where that may answer it.
#[inline(always)]
pub(super) fn send_keyed(
    client: &mut Client,
    spec: &Spec,
    slot: Option<Slot>,
    frame: &[u8],
    turn: &mut Turn<'_>,
) {
    match slot {
        Some(slot) if reads::may_leave_primary(client, spec, turn) => send_read(client, slot, frame, turn),
        slot => send(client, slot.unwrap_or_else(|| turn.fixed_slot(client)), frame, turn),
    }
}

/// Sends a read to the replica that its client reads `slot` from, where there is one.
fn send_read(client: &mut Client, slot: Slot, frame: &[u8], turn: &mut Turn<'_>) {
    let origin = open_plain(client, turn);
    if !reads::send_part(client, origin, slot, frame, turn) {
        let lane = turn.lane(client);
        send_part(client, origin, slot, lane, frame, turn);
    }
}

pub(super) fn send_split(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    split: Split,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    if !split::takes(split, request.len()) {
        return Err(Refusal::WrongArity { name: spec.name.to_string() });
    }
    match split::cut(request, split, turn.shared.together, turn.pool.slot_map()) {
        Cut::Whole(slot) => send_keyed(client, spec, Some(slot), request.frame(), turn),
        Cut::Undivided => send_to_keys(client, spec, request, turn)?,
        Cut::Parts { parts, kind } => {
            turn.metrics.commands_split.add(1);
            let lane = turn.lane(client);
            let reads = reads::may_leave_primary(client, spec, turn);
            let origin = open_merged(client, kind, parts.len(), turn);
            for (part, cut) in (0..).zip(parts) {
                let origin = Origin { part, ..origin };
                if !reads || !reads::send_part(client, origin, cut.slot, &cut.frame, turn) {
                    send_part(client, origin, cut.slot, lane, &cut.frame, turn);
                }
            }
        }
    }
    Ok(())
}

/// What asks for the time series of every shard. Groups would have to be reduced over all of them.
pub(super) fn send_series(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let groups = request.args_from(1).any(|arg| arg.eq_ignore_ascii_case(b"GROUPBY"));
    if groups && turn.pool.slot_map().shard_slots().len() > 1 {
        return Err(unsupported(spec, Refused::EveryShard));
    }
    send_everywhere(client, request.frame(), MergeKind::Policy(Policy::Concat), turn)
}

pub(super) fn send_everywhere(
    client: &mut Client,
    frame: &[u8],
    kind: MergeKind,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let map = turn.pool.slot_map().clone();
    let slots = map.shard_slots();
    if slots.is_empty() {
        return Err(Refusal::NotReady);
    }
    if slots.len() > 1 {
        turn.metrics.commands_split.add(1);
    }
    let mut lane = turn.lane(client);
    if kind == MergeKind::Policy(Policy::OneSucceeded) {
        // SCRIPT KILL and FUNCTION KILL: behind the script on its own connection they would wait for its end.
        lane.number = turn.shared.connections_per_node;
    }
    let origin = open_merged(client, kind, slots.len(), turn);
    for (part, slot) in (0..).zip(slots) {
        send_part(client, Origin { part, ..origin }, *slot, lane, frame, turn);
    }
    Ok(())
}

pub(super) fn send_scan(
    client: &mut Client,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let (slot, cursor) = cursor::parse(request.arg(1).unwrap_or_default()).ok_or(Refusal::BadCursor)?;
    let (slot, next) = cursor::shards(turn.pool.slot_map(), slot, cursor);
    // All keys of a namespace may be in one slot.
    let home = client.session.namespace().and_then(Namespace::slot);
    let place = home.map_or(Place { slot, next }, |slot| Place { slot, next: None });
    let (slot, kind) = (place.slot, MergeKind::Cursor { shard: place });
    let cursor = cursor.to_string();
    let mut frame = format!("*{}\r\n", request.len()).into_bytes();
    // SCAN, or a module's command of the same form.
    frame.extend_from_slice(request.raw_arg(0));
    frame.extend_from_slice(format!("${}\r\n{cursor}\r\n", cursor.len()).as_bytes());
    for index in 2..request.len() {
        frame.extend_from_slice(request.raw_arg(index));
    }
    let origin = open_merged(client, kind, 1, turn);
    let lane = turn.lane(client);
    send_part(client, origin, slot, lane, &frame, turn);
    Ok(())
}

fn open_merged(client: &mut Client, kind: MergeKind, parts: usize, turn: &mut Turn<'_>) -> Origin {
    let merge = Box::new(Merge::new(kind, parts, client.session.protocol));
    let muted = client.session.take_mute();
    open(client, Expect::Merged { merge, muted, translating: None }, turn)
}

#[inline]
/// Begins to answer the request at hand by a plan.
pub(super) fn start_plan(client: &mut Client, begun: Begun, lane: Lane, turn: &mut Turn<'_>) {
    let origin = open_plain(client, turn);
    // What its client asks next must see it.
    client.congested = true;
    client.routed_by = turn.pool.generation();
    turn.plans.start(origin, lane, begun);
}

pub(super) fn open_plain(client: &mut Client, turn: &mut Turn<'_>) -> Origin {
    let expect = if client.session.take_mute() { Expect::Nothing } else { Expect::Plain };
    open(client, expect, turn)
}

/// Gives the request its place in the reply order.
#[inline]
pub(super) fn open(client: &mut Client, expect: Expect, turn: &mut Turn<'_>) -> Origin {
    let expect = match turn.translating.take() {
        None => expect,
        Some(translating) => expect.told(translating),
    };
    let ticket = client.replies.open(expect, turn.spares);
    Origin { client: turn.key, generation: client.generation, ticket, part: 0 }
}

/// Queues one part on its link.
pub(super) fn send_part(
    client: &mut Client,
    origin: Origin,
    slot: Slot,
    lane: Lane,
    frame: &[u8],
    turn: &mut Turn<'_>,
) {
    let pending = Pending::new(origin, slot, turn.now + turn.shared.command_timeout);
    send_pending(client, origin, pending, lane, frame, turn);
}

/// Queues a request on its link; what can't be sent now is parked.
#[inline(always)]
pub(super) fn send_pending(
    client: &mut Client,
    origin: Origin,
    mut pending: Pending,
    lane: Lane,
    frame: &[u8],
    turn: &mut Turn<'_>,
) {
    client.routed_by = turn.pool.generation();
    turn.metrics.backend_requests.add(1);
    let charge = if turn.contended { fairness::charge(client, frame, turn) } else { Charge::default() };
    pending.charge = charge;
    match turn.pool.send(lane, pending, frame) {
        Sent::Queued { bytes } => {
            client.congested |= bytes > turn.shared.cluster.backend_high_watermark;
        }
        Sent::Refused => {
            fairness::settle(turn.shares, pending.charge);
            refuse(client, origin, &Refusal::BackendLogin, turn);
        }
        Sent::Down { since } => keep(client, (origin, &pending), Some(since), lane, frame, turn),
        Sent::Unserved => keep(client, (origin, &pending), None, lane, frame, turn),
    }
}

/// Parks what can't be sent. Where its node has been down (since then) for longer than a command may take, it is refused.
#[cold]
fn keep(
    client: &mut Client,
    (origin, pending): (Origin, &Pending),
    down: Option<u64>,
    lane: Lane,
    frame: &[u8],
    turn: &mut Turn<'_>,
) {
    fairness::settle(turn.shares, pending.charge);
    if down.is_some_and(|since| turn.now.saturating_sub(since) > turn.shared.command_timeout) {
        refuse(client, origin, &Refusal::ShardDown, turn);
    } else {
        client.hold_back();
        turn.retries.push(Parked::again(origin, pending, lane, Target::Slot, frame, None));
    }
}

/// Answers a request that has its place already.
#[cold]
fn refuse(client: &mut Client, origin: Origin, refusal: &Refusal, turn: &mut Turn<'_>) {
    turn.metrics.refusals.add(1);
    let error = refusal.reply();
    let piece = Piece { ticket: origin.ticket, part: origin.part, bytes: &error, more: false };
    client.fill_own(piece, turn.spares);
}
