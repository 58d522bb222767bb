//! A client whose reads are tracked: what it asks goes over its own connections, and what these tell it is passed on,
//! in the order in which each of them said it.

use std::task::{Context, Poll};

use super::super::connection::Client;
use super::super::dispatch::{self, Flow, Turn};
use super::super::namespaced;
use super::super::replies::Expect;
use super::super::retry::Target;
use super::super::scripted;
use super::super::send;
use super::super::state::State;
use super::job::{Job, Kind, Stage};
use super::start;
use super::tracking::{self, FORGET_ALL, Options, Tracking};
use crate::backend::framing::Cut;
use crate::cluster::slot_map::Endpoint;
use crate::command::spec::{Local, Spec, Treatment};
use crate::private::pool::NodeId;
use crate::refusal::Refusal;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;
use crate::route::split;

/// Milliseconds until a primary that could not be told is tried again.
const RETRY: u64 = 1_000;
/// The same where the client waits for replies.
const BUSY: u64 = 20;
/// What one connection may tell before others have their turn, in reads of the scratch buffer.
const READS_PER_TURN: usize = 8;

/// CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR.
///
/// # Errors
/// The refusal that is the answer.
pub(in super::super) fn handle(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    const NOT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
                                or OPTOUT mode enabled";
    let mut reply = Vec::new();
    let mut writer = ReplyWriter::new(&mut reply, client.session.protocol);
    match &*spec.name {
        "client|tracking" if !client.replies.is_empty() => return Ok(Flow::Later),
        "client|tracking" => return switch(client, request, turn),
        "client|caching" if client.tracking().is_none() => return Err(Refusal::Keys(NOT_TRACKING)),
        "client|caching" => {
            let word = request.arg(2).unwrap_or_default();
            return Err(match word.to_ascii_lowercase().as_slice() {
                b"yes" => Refusal::Keys(
                    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
                ),
                b"no" => Refusal::Keys(
                    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
                ),
                _ => Refusal::Syntax,
            });
        }
        "client|getredir" => writer.integer(if client.tracking().is_some() { 0 } else { -1 }),
        _ => tracking::write_info(client.tracking(), &mut writer),
    }
    if let Some(translating) = turn.translating.take() {
        reply = translating.told(&reply);
    }
    turn.metrics.commands_local.add(1);
    client.answer(&reply, turn.spares);
    Ok(Flow::Done)
}

/// CLIENT TRACKING ON or OFF.
fn switch(client: &mut Client, request: &Request<'_>, turn: &mut Turn<'_>) -> Result<Flow, Refusal> {
    let own = client.tracking().map(|tracking| tracking.options.clone());
    let Some(options) = Options::parse(request, own.as_ref())? else {
        client.end_tracking(turn);
        client.answer(b"+OK\r\n", turn.spares);
        return Ok(Flow::Done);
    };
    if client.session.protocol != Protocol::Resp3 {
        return Err(Refusal::TrackingResp2);
    }
    if own.as_ref() == Some(&options) {
        client.answer(b"+OK\r\n", turn.spares);
        return Ok(Flow::Done);
    }
    // With other options all connections are told anew.
    client.leave_tracked(true, turn);
    let bcast = options.bcast;
    let tracking = Tracking::new(options, turn.now, turn.pool.generation());
    client.private_mut().pinned.track(tracking);
    turn.metrics.pinned_tracking.add(1);
    if bcast {
        let slot = turn.fixed_slot(client);
        start::begin(client, Kind::Track { asked: true }, slot, Box::default(), turn);
    } else {
        client.answer(b"+OK\r\n", turn.spares);
    }
    Ok(Flow::Done)
}

/// Takes a tracking client's request that has keys, or has to be alone; `None` where it goes the usual way.
///
/// # Errors
/// CROSSSLOT where its keys are not in one slot.
pub(in super::super) fn route(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Option<Flow>, Refusal> {
    let is_alone = client.replies.is_empty();
    match spec.treatment {
        Treatment::Local(Local::Hello | Local::Select | Local::Reset) if !is_alone => Ok(Some(Flow::Later)),
        Treatment::Keyed | Treatment::Scripted | Treatment::Cross(_) | Treatment::Split(_) => {
            if let Treatment::Split(split) = spec.treatment
                && !split::takes(split, request.len())
            {
                return Err(Refusal::WrongArity { name: spec.name.to_string() });
            }
            let slot = dispatch::slot_of(spec, request, turn)?.unwrap_or_else(|| turn.fixed_slot(client));
            if !is_alone {
                return Ok(Some(Flow::Later));
            }
            let whole = scripted::with_body(request, turn);
            let frame = whole.map_or_else(|| request.frame().into(), Vec::into);
            start::begin(client, Kind::Tracked, slot, frame, turn);
            Ok(Some(Flow::Done))
        }
        _ => Ok(None),
    }
}

/// Whether a job that tells every primary is through; otherwise it goes to the next one.
pub(super) fn is_told(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    if !client.job_mut().is_some_and(|job| matches!(job.kind, Kind::Track { .. })) {
        return false;
    }
    let Some(endpoint) = untold(client, turn) else {
        let ready = turn.shared.topology.is_ready();
        if ready && let Some(tracking) = client.tracking_mut() {
            (tracking.confirmed, tracking.due) = (true, u64::MAX);
        }
        return ready;
    };
    if let Some(job) = client.job_mut() {
        job.extra_mut().target = Some(Target::Node { endpoint, asking: false });
    }
    false
}

/// A primary that is not told yet to tell of changes.
fn untold(client: &mut Client, turn: &mut Turn<'_>) -> Option<Endpoint> {
    let map = turn.pool.slot_map().clone();
    map.serving().find_map(|endpoint| {
        let node = turn.private.node(endpoint);
        let own = client.private.as_mut().and_then(|private| private.table.get_mut(node));
        (!own.is_some_and(|connection| connection.tracks)).then(|| endpoint.clone())
    })
}

/// Listens to the connections on which nothing is under way, and sees to it that there are as many as there shall be.
pub(super) fn poll(client: &mut Client, turn: &mut Turn<'_>, scratch: &mut [u8], cx: &mut Context<'_>) {
    if client.tracking().is_none() || client.state == State::Broken {
        return;
    }
    follow_map(client, turn);
    let busy = client.job_mut().and_then(|job| job.node());
    for node in nodes(client).into_iter().filter(|node| Some(*node) != busy) {
        if !listen(client, node, turn, scratch, cx) {
            drop_tracked(client, node, turn);
            turn.metrics.private_lost.add(1);
            turn.private.topology_doubt = true;
        }
    }
    if client.tracking_mut().is_some_and(|tracking| std::mem::take(&mut tracking.forget)) {
        client.push_tracked(&[], FORGET_ALL, turn.spares);
        client.flush(&[], &turn.shared.marks, turn.spares, turn.metrics);
    }
    tell_again(client, turn);
}

/// The nodes that were told.
fn nodes(client: &mut Client) -> Vec<NodeId> {
    let Some(private) = &mut client.private else { return Vec::new() };
    private.table.iter_mut().filter(|it| it.tracks).map(|connection| connection.node).collect()
}

/// Passes on what a node tells; false where its connection is of no use any more.
fn listen(
    client: &mut Client,
    node: NodeId,
    turn: &mut Turn<'_>,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> bool {
    for _ in 0..READS_PER_TURN {
        if client.unwritten() > turn.shared.marks.output {
            // It does not take what it is told: its task runs again when it does.
            return true;
        }
        let Some(connection) = client.private.as_mut().and_then(|it| it.table.get_mut(node)) else {
            return true;
        };
        let filled = match connection.poll_read(scratch, cx) {
            Poll::Pending => return true,
            Poll::Ready(Ok(filled)) => filled,
            Poll::Ready(Err(_)) => return false,
        };
        turn.metrics.backend_reads.add(1);
        turn.metrics.backend_bytes_in.add(filled as u64);
        let is_useful = pass_on(client, node, &scratch[..filled], 0, turn);
        client.flush(&[], &turn.shared.marks, turn.spares, turn.metrics);
        if !is_useful || client.state == State::Broken {
            return is_useful;
        }
    }
    cx.waker().wake_by_ref();
    true
}

/// Passes on every push in `buf` from `start` on; false where something else is there.
pub(super) fn pass_on(
    client: &mut Client,
    node: NodeId,
    buf: &[u8],
    mut start: usize,
    turn: &mut Turn<'_>,
) -> bool {
    loop {
        let Some(connection) = client.private.as_mut().and_then(|it| it.table.get_mut(node)) else {
            return true;
        };
        match connection.next(buf, start) {
            Ok(Some(cut)) => {
                start = cut.range.end;
                if !push(client, node, buf, &cut, turn) {
                    return false;
                }
            }
            Ok(None) => {
                connection.keep(&buf[start..]);
                return true;
            }
            Err(_) => return false,
        }
    }
}

/// Passes a piece on if it is a push's; false where it is not. Of a push too large to come whole nothing is kept:
/// to forget everything covers it.
pub(super) fn push(client: &mut Client, node: NodeId, buf: &[u8], cut: &Cut, turn: &mut Turn<'_>) -> bool {
    let bytes = &buf[cut.range.clone()];
    let Some(connection) = client.private.as_mut().and_then(|it| it.table.get_mut(node)) else {
        return false;
    };
    if !connection.tracks {
        return false;
    }
    let begins = cut.first && bytes.first() == Some(&b'>');
    if !begins && !connection.skips {
        return false;
    }
    let skips = connection.skips || cut.more;
    connection.skips = cut.more;
    match (begins, skips) {
        (true, true) => client.push_tracked(buf, FORGET_ALL, turn.spares),
        (true, false) => match namespaced::invalidation(&client.session, bytes) {
            Some(told) => client.push_tracked(buf, &told, turn.spares),
            None => client.push_tracked(buf, bytes, turn.spares),
        },
        (false, _) => {}
    }
    true
}

/// Closes the connection to a node.
fn drop_tracked(client: &mut Client, node: NodeId, turn: &Turn<'_>) {
    if let Some(private) = &mut client.private {
        private.discard(node, turn.metrics);
        client.break_watch_at(node);
    }
}

/// After a change of the slot map: who told of a key may not be who would know.
fn follow_map(client: &mut Client, turn: &mut Turn<'_>) {
    let generation = turn.pool.generation();
    match client.tracking_mut() {
        Some(tracking) if tracking.generation != generation => tracking.generation = generation,
        _ => return,
    }
    let map = turn.pool.slot_map().clone();
    let owners: Vec<NodeId> = map.serving().map(|endpoint| turn.private.node(endpoint)).collect();
    let busy = client.job_mut().and_then(|job| job.node());
    let nodes = nodes(client);
    for node in &nodes {
        if !owners.contains(node) && Some(*node) != busy {
            drop_tracked(client, *node, turn);
        }
    }
    if !nodes.is_empty() || client.tracking().is_some_and(Tracking::is_broadcast) {
        client.note_untracked();
    }
}

/// Has primaries told that are not, where the client asked to hear of every key.
fn tell_again(client: &mut Client, turn: &mut Turn<'_>) {
    let asker = client.asker(turn);
    let (now, alone) = (turn.now, client.replies.is_empty() && client.job_mut().is_none());
    if client.state != State::Open {
        return;
    }
    let Some(tracking) = client.tracking_mut() else { return };
    if tracking.due > now || !tracking.confirmed {
        return;
    }
    tracking.due = now + if alone { RETRY } else { BUSY };
    turn.private.set_timer(tracking.due, asker);
    client.congested = true;
    if alone {
        // Nobody waits for an answer.
        let origin = send::open(client, Expect::Nothing, turn);
        let mut job = Job::new(
            Kind::Track { asked: false },
            origin.ticket,
            turn.fixed_slot(client),
            Box::default(),
            now,
        );
        job.until = now + turn.shared.command_timeout;
        job.stage = Stage::Ready;
        client.private_mut().job = Some(job);
        client.wake();
    }
}
