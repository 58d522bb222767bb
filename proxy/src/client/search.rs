//! FT.*: to every shard and merged, see [`crate::route::search`]. Where one server has all, or where the servers have a
//! coordinator of their own, requests go as they came.

use super::connection::Client;
use super::dispatch::Turn;
use super::send::{open_plain, send};
use crate::backend::in_flight::Pending;
use crate::backend::pool::Sent;
use crate::command::spec::{Search, Spec};
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::route::search::gathering::Gathering;
use crate::route::search::outgoing::Outgoing;
use crate::route::search::scatter::Scatter;
use crate::route::split::Together;

/// The command by which shards with a coordinator ask each other.
const COORDINATED: &[u8] = b"_ft.search";

/// Sends a request about an index.
///
/// # Errors
/// Where no merge of the shards' answers would be right.
pub(super) fn route(
    client: &mut Client,
    command: Search,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let map = turn.pool.slot_map().clone();
    match map.shard_slots().len() {
        0 => return Err(Refusal::NotReady),
        shards if shards == 1 || turn.commands.by_full_name(COORDINATED).is_some() => {
            send(client, turn.fixed_slot(client), request.frame(), turn);
            return Ok(());
        }
        _ => {}
    }
    let refuse = |why: &dyn ToString| Refusal::Search { name: spec.name.to_string(), why: why.to_string() };
    let outgoing = match command {
        Search::Query => Outgoing::search(request, by_slot(turn)).map_err(|why| refuse(&why))?,
        Search::Aggregate => Outgoing::aggregate(request, by_slot(turn)).map_err(|why| refuse(&why))?,
        Search::Info => Outgoing::same(request, 1..2, Gathering::Info),
        Search::TagValues => Outgoing::same(request, 1..2, Gathering::TagValues),
        Search::Change { change, names } => {
            Outgoing::same(request, 1..1 + usize::from(names), Gathering::Change(change))
        }
        Search::One => {
            let slot = turn.fixed_slot(client);
            let outgoing = Outgoing::same(request, 1..2, Gathering::Info);
            let frame = outgoing.frame(by_slot(turn).then_some(slot)).map_err(|why| refuse(&why))?;
            send(client, slot, &frame, turn);
            return Ok(());
        }
        Search::Alone => return Err(refuse(&"one server would have to hold the whole index")),
    };
    let begun =
        Scatter::begin(outgoing, map, by_slot(turn), client.session.protocol).map_err(|why| refuse(&why))?;
    turn.metrics.commands_split.add(1);
    let origin = open_plain(client, turn);
    client.routed_by = turn.pool.generation();
    turn.plans.start(origin, turn.lane(client), begun);
    send_at_once(client, turn);
    Ok(())
}

/// Whether nodes look at the slot of an index's name.
fn by_slot(turn: &Turn<'_>) -> bool {
    turn.shared.together == Together::Slot
}

/// Queues the calls now, so that what the client says next stands behind them on every link. What can't be sent is left
/// to the worker, and the client's next request waits.
fn send_at_once(client: &mut Client, turn: &mut Turn<'_>) {
    let deadline = turn.now + turn.shared.command_timeout;
    for outgoing in turn.plans.take_outbox() {
        let pending = Pending::new(outgoing.origin, outgoing.call.slot, deadline).led_by(outgoing.call.leads);
        let primary = outgoing.call.primary.as_ref();
        match turn.pool.send_for(primary, outgoing.lane, pending, &outgoing.call.frame) {
            Some(Sent::Queued { bytes }) => {
                turn.metrics.backend_requests.add(1);
                client.congested |= bytes > turn.shared.cluster.backend_high_watermark;
            }
            Some(Sent::Down { .. } | Sent::Unserved | Sent::Refused) | None => {
                client.congested = true;
                turn.plans.put_back(outgoing);
            }
        }
    }
}
