//! Commands whose keys are in several slots: which plan carries them out, see [`crate::route::plan`]. In one slot they
//! go as any other.

use super::connection::Client;
use super::dispatch::{Flow, Turn, slot_of};
use super::send::{send_keyed, start_plan};
use crate::cluster::slot::Slot;
use crate::command::groups::{self, Run};
use crate::command::keys;
use crate::command::spec::{Cross, Spec};
use crate::refusal::Refusal;
use crate::resp::protocol::Protocol;
use crate::resp::request::Request;
use crate::route::plan::frame::Block;
use crate::route::plan::temporary::Names;
use crate::route::plan::{Begun, Call, Unplanned};
use crate::route::plan::{all_or_none, element, first, gather, member, streams, transfer};

/// Sends a request whole where its keys are together, else begins its plan.
///
/// # Errors
/// The refusal that is the answer.
pub(super) fn route(
    client: &mut Client,
    cross: Cross,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    let slot = match slot_of(spec, request, turn) {
        // Standalone servers take keys of any slots together.
        Err(Refusal::CrossSlot) => one_place(spec, request, turn),
        slot => Some(slot?.unwrap_or_else(|| turn.fixed_slot(client))),
    };
    if let Some(slot) = slot {
        send_keyed(client, spec, Some(slot), request.frame(), turn);
        return Ok(Flow::Done);
    }
    if !turn.shared.crosses_slots() {
        return Err(Refusal::CrossSlot);
    }
    if !client.replies.is_empty() {
        // What its client asked before must have happened.
        return Ok(Flow::Later);
    }
    let (together, map) = (turn.shared.together, turn.pool.slot_map().clone());
    let place = |slot| together.place(slot, &map);
    let names = Names::new(&turn.shared.process.node_id.0, client.session.id, client.session.commands());
    let begun = begin(client, cross, spec, request, (place, &names)).map_err(|why| match why {
        Unplanned::Syntax if cross == Cross::AllOrNone => Refusal::WrongArity { name: spec.name.to_string() },
        Unplanned::Syntax => Refusal::Syntax,
        Unplanned::CrossSlot => Refusal::CrossSlot,
    })?;
    turn.metrics.commands_cross_slot.add(1);
    let lane = turn.plan_lane(client);
    start_plan(client, begun, lane, turn);
    Ok(Flow::Done)
}

/// The slot of the first key, where a server takes all of them in one request.
fn one_place(spec: &Spec, request: &Request<'_>, turn: &Turn<'_>) -> Option<Slot> {
    let mut slots = keys::positions(spec, request).ok()?.filter_map(|index| request.arg(index)).map(Slot::of);
    let first = slots.next()?;
    slots.all(|slot| turn.are_together(first, slot)).then_some(first)
}

fn begin(
    client: &Client,
    cross: Cross,
    spec: &Spec,
    request: &Request<'_>,
    (place, names): (impl Fn(Slot) -> u16 + Copy, &Names),
) -> Result<Begun, Unplanned> {
    match cross {
        Cross::Gather(_) if reads_by_pattern(spec, request) => Err(Unplanned::CrossSlot),
        Cross::Gather(target) => {
            let keys: Vec<usize> = keys::positions(spec, request).map_err(|_| Unplanned::Syntax)?.collect();
            gather::begin(request, &keys, target, names, place).ok_or(Unplanned::CrossSlot)
        }
        Cross::Transfer(kind) => transfer::begin(request, kind, client.session.backend_database()),
        Cross::Member => Ok(member::begin(request)),
        Cross::Element => element::begin(request, names),
        Cross::AllOrNone if request.len().is_multiple_of(2) => Err(Unplanned::Syntax),
        Cross::AllOrNone => Ok(all_or_none::begin(request, place)),
        Cross::First => {
            let runs = groups::runs(spec, request, place).ok_or(Unplanned::CrossSlot)?;
            first::begin(runs.into_iter().map(call).collect()).ok_or(Unplanned::CrossSlot)
        }
        Cross::Streams => {
            let runs = groups::runs(spec, request, place).ok_or(Unplanned::CrossSlot)?;
            Ok(read_streams(client.session.protocol, request, runs))
        }
    }
}

/// SORT's BY and GET name keys by patterns, which may lead to any slot.
fn reads_by_pattern(spec: &Spec, request: &Request<'_>) -> bool {
    let is_pattern = |arg: &[u8]| arg.eq_ignore_ascii_case(b"by") || arg.eq_ignore_ascii_case(b"get");
    &*spec.name == "sort" && request.args_from(2).any(is_pattern)
}

fn call(run: Run) -> Call {
    Call { slot: run.slot, primary: None, frame: run.frame, leads: 0 }
}

/// The plan that reads streams of several slots.
pub(super) fn read_streams(protocol: Protocol, request: &Request<'_>, mut runs: Vec<Run>) -> Begun {
    if let Some(index) = runs.iter().position(|run| !run.ids_are_whole) {
        // It will refuse; the others must not give what nobody would get.
        runs = vec![runs.swap_remove(index)];
    }
    let group = groups::group_name(request).and_then(|index| request.arg(index));
    let looks = match group.filter(|_| runs.len() > 1) {
        Some(group) => runs.iter().map(|run| look_for_group(request, run, group)).collect(),
        None => Vec::new(),
    };
    streams::begin(looks, runs.into_iter().map(call).collect(), protocol)
}

/// Asks whether the group is there, which takes no entry.
fn look_for_group(request: &Request<'_>, run: &Run, group: &[u8]) -> Call {
    let mut block = Block::new();
    for key in &run.keys {
        block.push(&[b"XINFO", b"CONSUMERS", request.arg(*key).unwrap_or_default(), group]);
    }
    block.call(run.slot)
}
