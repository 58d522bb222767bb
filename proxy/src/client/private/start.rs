//! How jobs begin: what a blocking command, WATCH and a transaction that needs its own connection set in motion.

use super::super::connection::Client;
use super::super::dispatch::Turn;
use super::super::replies::Expect;
use super::super::send;
use super::job::{Job, Kind, Stage};
use super::search::Search;
use crate::backend::in_flight::{Origin, Ticket};
use crate::cluster::slot::Slot;
use crate::command::blocking::{self, Patience};
use crate::command::groups::{self, Group, with_request};
use crate::command::spec::Spec;
use crate::command::table::Lookup;
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::route::plan::element;

/// Begins a command that waits for data, all of whose keys are in `slot`.
pub(in super::super) fn block(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    slot: Slot,
    turn: &mut Turn<'_>,
) {
    turn.metrics.blocking_commands.add(1);
    let patience = blocking::patience(spec, request);
    let twin = match patience {
        // The server says what is wrong with it.
        Patience::Unclear => None,
        _ if !turn.private.tries_first() || client.tracking().is_some() => None,
        _ => blocking::twin(spec, request),
    };
    let kind = Kind::Blocking { destructive: blocking::is_destructive(spec) };
    let origin = begin(client, kind, slot, request.frame().into(), turn);
    let Some(job) = client.job_mut() else { return };
    job.until = until(patience, turn.now);
    match twin {
        Some(twin) => {
            job.stage = Stage::Trying(twin.shape);
            let lane = turn.lane(client);
            send::send_part(client, origin, slot, lane, &twin.frame, turn);
        }
        None => job.begin_waiting(turn.metrics),
    }
}

/// Asks once more whether there is data by now, for a client that waits at a limit. True where the job goes on at
/// once.
pub(super) fn try_again(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let generation = client.generation;
    let Some(job) = client.job_mut() else { return false };
    let origin = origin(turn, generation, job.ticket);
    let find = |request: &Request<'_>| match turn.commands.find(request) {
        Lookup::Found(spec) if turn.private.tries_first() => blocking::twin(spec, request),
        _ => None,
    };
    let Some(twin) = with_request(&job.request, find) else {
        job.stage = Stage::Ready;
        return true;
    };
    job.stage = Stage::Trying(twin.shape);
    let slot = job.slot;
    let lane = turn.lane(client);
    send::send_part(client, origin, slot, lane, &twin.frame, turn);
    false
}

/// Begins a command that waits for data, whose keys are in several slots.
///
/// # Errors
/// CROSSSLOT where it is too long, or the client watches keys, or moves between slots are refused.
pub(in super::super) fn search(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let together = |a, b| turn.are_together(a, b);
    let unknown = groups::last_ids(spec, request);
    let cut = groups::of(spec, request, together);
    let moved = cut.as_ref().and_then(|groups| groups.iter().find(|group| group.moves));
    let moves = moved.is_none() || turn.shared.crosses_slots();
    let can_be_cut = !unknown.is_empty() || (cut.is_some() && moves);
    let is_wrong = |group: &Group| with_request(&group.twin.frame, element::ends).is_none();
    if can_be_cut && moved.is_some_and(is_wrong) {
        return Err(Refusal::Syntax);
    }
    let patience = blocking::patience(spec, request);
    let watches = client.status().watched > 0;
    let tracks = client.tracking().is_some();
    if !can_be_cut || watches || tracks || patience == Patience::Unclear {
        return Err(Refusal::CrossSlot);
    }
    turn.metrics.blocking_commands.add(1);
    let kind = Kind::Blocking { destructive: blocking::is_destructive(spec) };
    begin(client, kind, turn.fixed_slot(client), request.frame().into(), turn);
    let Some(job) = client.job_mut() else { return Ok(()) };
    job.until = until(patience, turn.now);
    job.extra_mut().search = Some(Search { unknown, ..Search::default() });
    Ok(())
}

fn until(patience: Patience, now: u64) -> u64 {
    match patience {
        Patience::Millis(millis) => now.saturating_add(millis),
        Patience::Endless | Patience::Unclear => u64::MAX,
    }
}

/// Begins a WATCH: of the keys in `slot`, and then of those of other slots, each with its request.
///
/// # Errors
/// Where the keys that are watched take more room than a request may.
pub(in super::super) fn watch(
    client: &mut Client,
    (slot, request): (Slot, Box<[u8]>),
    others: Vec<(Slot, Box<[u8]>)>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let watched = client.watched_bytes() + request.len() + others.iter().map(|it| it.1.len()).sum::<usize>();
    if watched > turn.shared.process.settings.clients.max_request_bytes {
        return Err(Refusal::LargeTransaction);
    }
    begin(client, Kind::Watch, slot, request, turn);
    if let Some(job) = client.job_mut().filter(|_| !others.is_empty()) {
        job.extra_mut().watches = others;
        job.extra_mut().watches.reverse();
    }
    Ok(())
}

/// Whom replies to this ticket are for.
pub(super) fn origin(turn: &Turn<'_>, generation: u32, ticket: Ticket) -> Origin {
    Origin { client: turn.key, generation, ticket, part: 0 }
}

/// Begins the one job that a client can have: the next request is handled when it is answered.
pub(in super::super) fn begin(
    client: &mut Client,
    kind: Kind,
    slot: Slot,
    request: Box<[u8]>,
    turn: &mut Turn<'_>,
) -> Origin {
    debug_assert!(client.replies.is_empty() && client.job_mut().is_none(), "a job is alone");
    let expect = if client.session.take_mute() { Expect::Nothing } else { Expect::Plain };
    let origin = send::open(client, expect, turn);
    client.congested = true;
    let mut job = Job::new(kind, origin.ticket, slot, request, turn.now);
    job.until = turn.now + turn.shared.command_timeout;
    client.private_mut().job = Some(job);
    origin
}
