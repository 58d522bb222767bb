//! How a job comes to its connection: which node, which connection, what is sent, and what happens meanwhile.

use std::num::NonZeroU32;

use super::super::connection::Client;
use super::super::dispatch::Turn;
use super::super::replies::Piece;
use super::super::retry::Target;
use super::super::session::Session;
use super::super::state::State;
use super::job::{Ending, Job, Kind, Stage};
use super::{search, several, start, tracked};
use crate::backend::in_flight::{Origin, Pending};
use crate::backend::lane::Lane;
use crate::backend::pool::Sent;
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::Endpoint;
use crate::command::blocking;
use crate::command::groups::with_request;
use crate::command::table::Lookup;
use crate::config::limits::{Action, Limit};
use crate::moment::Moment;
use crate::private::pool::{Asker, Lease, NodeId};
use crate::refusal::Refusal;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

/// Milliseconds between looks for data of a client that waits at a limit.
const LOOK_AGAIN: u64 = 1_000;
/// Milliseconds by which a server may be late with what it should have answered.
pub(super) const LATE: u64 = 2_000;
/// Milliseconds until a server is told once more to unblock a client: it may have been told before it was asked.
const TELL_AGAIN: u64 = 50;

/// Finds a connection for a job in stage [`Stage::Ready`], or notes what it waits for. True where the job is to
/// be looked at again at once.
pub(super) fn seek(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let asker = client.asker(turn);
    let lane = Lane { number: 0, ..turn.lane(client) };
    if client.job_mut().is_some_and(|job| job.search_mut().is_some()) {
        return search::go_on(client, turn);
    }
    if client.job_mut().is_some_and(|job| job.several_mut().is_some_and(|several| several.is_due())) {
        return several::go_on(client, turn);
    }
    if tracked::is_told(client, turn) {
        return answer(client, b"+OK\r\n", true, turn);
    }
    let Some(private) = &mut client.private else { return false };
    let Some(job) = &mut private.job else { return false };
    let Some(endpoint) = destination(job, turn) else {
        let why = if turn.shared.topology.is_ready() { Refusal::Unserved } else { Refusal::NotReady };
        return rest(client, Some(&why), turn);
    };
    let node = turn.private.node(&endpoint);
    if job.stage != Stage::Queued(node) {
        // It may have waited at a node that serves the slot no more.
        job.leave_queue(asker, turn.private);
    }
    private.give_back_all_but(Some(node), turn);
    if private.table.get_mut(node).is_some_and(|connection| connection.is_quiet()) {
        return ask(client, node, turn);
    }
    private.discard(node, turn.metrics);
    let Some(job) = &mut private.job else { return false };
    if let Some(watch) = private.pinned.watch_mut().filter(|watch| watch.is_at(node)) {
        // Never again on a connection that did not watch.
        watch.broken = true;
    }
    if job.kind.needs_watch() && private.pinned.watch().is_some_and(|watch| watch.broken) {
        // What was watched may have changed: the transaction is not run; there is nothing to unwatch.
        return super::outcome::on_watch_broken(client, turn);
    }
    let (lease, refusal) = lease(&mut client.session, (node, lane), (asker, job.began), turn);
    match lease {
        Lease::Idle(connection) => {
            private.table.insert(connection, turn.private.table_buckets());
            turn.metrics.private_connections.add(1);
            ask(client, node, turn)
        }
        Lease::Opening => {
            job.stage = Stage::Opening(node);
            job.set_timer(job.until, asker, turn.private);
            false
        }
        Lease::Full => wait_at_limit(client, node, refusal, turn),
        Lease::Down { until } => rest_until(client, Some(&Refusal::ShardDown), until, turn),
    }
}

/// No connection is to be had at present: the job waits for one, or is refused.
fn wait_at_limit(client: &mut Client, node: NodeId, refusal: Option<Refusal>, turn: &mut Turn<'_>) -> bool {
    let (asker, now) = (client.asker(turn), turn.now);
    let tracks = client.tracking().is_some();
    let Some(job) = client.job_mut() else { return false };
    job.stage = Stage::Queued(node);
    // What came before was no trouble with a node.
    job.troubled = Moment::of(now);
    if refusal.is_some() || job.kind == (Kind::Track { asked: false }) {
        turn.metrics.private_refused.add(1);
        return refuse(client, &refusal.unwrap_or(Refusal::NoPrivate), turn);
    }
    let looks = matches!(job.kind, Kind::Blocking { .. }) && !tracks;
    let look = if looks { now + LOOK_AGAIN } else { u64::MAX };
    job.set_timer(job.until.min(look), asker, turn.private);
    false
}

/// Asks for a connection, as far as the client's tenant may have one more; and with what it is refused where there is
/// none to be had, if it does not wait.
pub(super) fn lease(
    session: &mut Session,
    (node, lane): (NodeId, Lane),
    (asker, began): (Asker, u64),
    turn: &mut Turn<'_>,
) -> (Lease, Option<Refusal>) {
    match session.limited_mut().map_or(Ok(()), |own| own.may_lease(asker, turn.limits, turn.now)) {
        Ok(()) => {
            let refusal = turn.private.refuses_at_limit().then_some(Refusal::NoPrivate);
            (turn.private.lease(node, lane, asker, began, turn.now), refusal)
        }
        Err(Action::Refuse) => (Lease::Full, Some(Refusal::Limit(Limit::PrivateConnections))),
        Err(Action::Delay) => (Lease::Full, None),
    }
}

/// Where a job goes: where it was sent, or to whoever serves its slot.
fn destination(job: &Job, turn: &Turn<'_>) -> Option<Endpoint> {
    match job.extra.as_ref().and_then(|extra| extra.target.as_ref()) {
        Some(Target::Node { endpoint, .. } | Target::Primary(endpoint)) => Some(endpoint.clone()),
        Some(Target::Slot) | None => turn.pool.slot_map().owner_endpoint(job.slot).cloned(),
    }
}

/// Sends the job over the client's connection to `node`.
fn ask(client: &mut Client, node: NodeId, turn: &mut Turn<'_>) -> bool {
    let (asker, database) = (client.asker(turn), client.session.backend_database());
    let Some(private) = &mut client.private else { return false };
    let (Some(job), Some(connection)) = (&mut private.job, private.table.get_mut(node)) else { return false };
    job.stage = Stage::Asked(node);
    job.asked = Moment::of(turn.now);
    job.told = None;
    if let Some(extra) = &mut job.extra {
        extra.unclean = false;
    }
    if let Some(tracking) = private.pinned.tracking().filter(|_| !connection.tracks) {
        job.extra_mut().arming = true;
        let sent = connection.send(&tracking.options.frame());
        job.set_timer(overdue_at(job), asker, turn.private);
        return sent.is_ok() || super::outcome::on_lost(client, turn);
    }
    let before = led_by(job, &mut connection.lane, database);
    let waited = turn.now > job.began && job.until != u64::MAX && matches!(job.kind, Kind::Blocking { .. });
    let left = if waited { with_left(&job.request, job.until.saturating_sub(turn.now), turn) } else { None };
    let request = left.as_deref().unwrap_or(&job.request);
    let sent = match before.is_empty() {
        true => connection.send(request),
        false => connection.send(&[&before, request].concat()),
    };
    // The servers look at their clocks ten times a second: at its time a blocked client is unblocked by us.
    // Not one that tracks or watches: it would lose its connection by that, and with it what that remembers.
    let is_unblocked = matches!(job.kind, Kind::Blocking { .. }) && connection.id != 0;
    let is_unblocked = is_unblocked && private.pinned.is_empty();
    let at = if is_unblocked { job.until } else { overdue_at(job) };
    job.set_timer(at, asker, turn.private);
    turn.metrics.backend_requests.add(1);
    if sent.is_err() {
        return super::outcome::on_lost(client, turn);
    }
    true
}

/// When a server that was asked is given up: what ends by itself may take longer than that.
pub(super) fn overdue_at(job: &Job) -> u64 {
    let late = if matches!(job.kind, Kind::Tracked | Kind::Track { .. }) { 0 } else { LATE };
    job.until.saturating_add(late)
}

/// What is said in front of the request, and how many replies come in front of its own.
fn led_by(job: &mut Job, lane: &mut Lane, database: u16) -> Vec<u8> {
    let mut before = Vec::new();
    let mut lead = match job.kind {
        Kind::Exec { queued, .. } => queued + 1,
        Kind::Step { leads } => leads,
        _ => 0,
    };
    // Keys are watched on it, and SELECT came after.
    if std::mem::replace(&mut lane.database, database) != database {
        let text = database.to_string();
        before.extend_from_slice(format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{text}\r\n", text.len()).as_bytes());
        lead += 1;
    }
    let target = job.extra.as_ref().and_then(|extra| extra.target.as_ref());
    if matches!(target, Some(Target::Node { asking: true, .. })) {
        before.extend_from_slice(b"*1\r\n$6\r\nASKING\r\n");
        lead += 1;
    }
    if lead > 0 {
        job.extra_mut().lead = lead;
    }
    before
}

/// The request with what is left of its time.
fn with_left(request: &[u8], left: u64, turn: &Turn<'_>) -> Option<Vec<u8>> {
    with_request(request, |request| match turn.commands.find(request) {
        Lookup::Found(spec) => Some(blocking::with_patience(spec, request, left)),
        _ => None,
    })
}

/// It can't run at present: again in a while, unless that has gone on for longer than a command may take. A client
/// that a server let wait already goes on waiting, for as long as it said.
pub(super) fn rest(client: &mut Client, why: Option<&Refusal>, turn: &mut Turn<'_>) -> bool {
    rest_until(client, why, 0, turn)
}

/// The same, not before `until`.
pub(super) fn rest_until(
    client: &mut Client,
    why: Option<&Refusal>,
    until: u64,
    turn: &mut Turn<'_>,
) -> bool {
    let asker = client.asker(turn);
    let Some(job) = client.job_mut() else { return false };
    let troubled = job.note_trouble(turn.now);
    turn.private.topology_doubt = true;
    if job.kind == (Kind::Track { asked: false }) {
        // Its client has other things to ask: again in a while.
        return refuse(client, &Refusal::ShardDown, turn);
    }
    let may_go_on = job.waited && matches!(job.kind, Kind::Blocking { .. });
    if !may_go_on && troubled > turn.shared.command_timeout {
        let said = job.extra.as_mut().and_then(|extra| extra.last_error.take());
        let reply = said.map_or_else(|| why.unwrap_or(&Refusal::ShardDown).reply(), Vec::from);
        turn.metrics.timeouts.add(1);
        return answer(client, &reply, true, turn);
    }
    job.leave_queue(asker, turn.private);
    job.stage = Stage::Resting;
    let at = (turn.now + job.pause()).max(until).min(job.until);
    job.set_timer(at, asker, turn.private);
    if let Some(private) = &mut client.private {
        private.give_back_all_but(None, turn);
    }
    false
}

/// A job that waits for its timer was woken, by that or by something else.
pub(super) fn on_wake(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let asker = client.asker(turn);
    let Some(job) = client.job_mut() else { return false };
    if job.until <= turn.now {
        return match (job.kind, job.stage) {
            (Kind::Blocking { .. }, _) => answer_nil(client, turn),
            (_, Stage::Queued(_)) => {
                turn.metrics.private_refused.add(1);
                refuse(client, &Refusal::NoPrivate, turn)
            }
            _ => refuse(client, &Refusal::DeadlineNotRun, turn),
        };
    }
    match job.stage {
        Stage::Watching if job.timer <= turn.now => search::next_round(job, false),
        Stage::Resting if job.timer <= turn.now => job.stage = Stage::Ready,
        Stage::Queued(_) if job.timer <= turn.now => {
            job.leave(asker, turn.private);
            return start::try_again(client, turn);
        }
        // There may be room.
        Stage::Queued(_) => return seek(client, turn),
        _ => return false,
    }
    true
}

/// A job that was asked to end does. False where it goes on until the server has answered.
pub(super) fn end_early(client: &mut Client, ending: Ending, turn: &mut Turn<'_>) -> bool {
    let asker = client.asker(turn);
    let Some(private) = &mut client.private else { return false };
    let Some(job) = &mut private.job else { return false };
    match (job.stage, ending) {
        (Stage::Trying(_), _) => return false,
        (Stage::Asked(node), _) => {
            let id = private.table.get_mut(node).map_or(0, |connection| connection.id);
            if id != 0 {
                let waits = job.told.is_some_and(|token| turn.private.is_unblocking(token));
                if !waits && (job.told.is_none() || job.timer <= turn.now) {
                    job.told = tell(job.slot, node, id, ending, turn);
                }
                if job.timer <= turn.now || job.timer == u64::MAX {
                    job.set_timer(turn.now + TELL_AGAIN, asker, turn.private);
                }
                return false;
            }
        }
        _ => {}
    }
    match ending {
        Ending::Nil => answer_nil(client, turn),
        Ending::Error => answer(client, &Refusal::Unblocked.reply(), false, turn),
        Ending::Close => {
            client.state = State::Broken;
            client.end_job(false, turn);
            true
        }
    }
}

/// Has the node unblock the connection, over the shared one; what its answer is known by.
fn tell(slot: Slot, node: NodeId, id: u64, ending: Ending, turn: &mut Turn<'_>) -> Option<NonZeroU32> {
    let endpoint = turn.private.endpoint(node).cloned()?;
    let id = id.to_string();
    let how = if ending == Ending::Error { "ERROR" } else { "TIMEOUT" };
    let mut request = Vec::new();
    let mut writer = ReplyWriter::new(&mut request, Protocol::Resp2);
    writer.array(4);
    ["CLIENT", "UNBLOCK", &id, how].iter().for_each(|word| writer.bulk(word));
    let token = turn.private.begin_unblock();
    let pending = Pending::new(Origin::own(token.get()), slot, turn.now + turn.shared.command_timeout);
    if !matches!(turn.pool.send_to(&endpoint, false, Lane::default(), pending, &request), Sent::Queued { .. })
    {
        turn.private.on_unblock_over(token.get(), false, turn.now);
    }
    Some(token)
}

/// The answer of a blocking command that found nothing, and of a transaction whose keys were changed.
pub(in super::super) fn nil(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Resp2 => b"*-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    }
}

pub(super) fn answer_nil(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    answer(client, nil(client.session.protocol), true, turn)
}

pub(super) fn refuse(client: &mut Client, refusal: &Refusal, turn: &mut Turn<'_>) -> bool {
    turn.metrics.refusals.add(1);
    answer(client, &refusal.reply(), true, turn)
}

/// Answers the job with bytes of the proxy's own; `clean` tells whether its connection, if it has one, may be
/// used again.
pub(super) fn answer(client: &mut Client, bytes: &[u8], clean: bool, turn: &mut Turn<'_>) -> bool {
    let Some(job) = client.job_mut() else { return false };
    let clean = clean && job.node().is_none();
    let piece = Piece { ticket: job.ticket, part: 0, bytes, more: false };
    client.fill_own(piece, turn.spares);
    client.end_job(clean, turn);
    true
}
