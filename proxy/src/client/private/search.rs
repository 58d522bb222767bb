//! A blocking command whose keys are in several slots. No server can wait for all of them, and to wait at several
//! servers for one element could take two. So the groups of keys are asked in the caller's order for what there
//! is, without waiting; and between two rounds the servers are asked to tell of changes (CLIENT TRACKING), over
//! private connections, which takes nothing away. An element is only ever taken by the one request that is under
//! way.

use super::super::connection::Client;
use super::super::cross::read_streams;
use super::super::dispatch::Turn;
use super::super::send;
use super::job::{Job, Stage};
use super::seek;
use crate::backend::in_flight::Origin;
use crate::backend::lane::Lane;
use crate::cluster::slot::Slot;
use crate::command::blocking;
use crate::command::groups::{self, Group, with_request};
use crate::command::spec::Keys;
use crate::command::table::Lookup;
use crate::command::twin::Shape;
use crate::private::pool::{Lease, NodeId};
use crate::refusal::Refusal;
use crate::resp::protocol::Protocol;
use crate::resp::request::Request;
use crate::route::plan::temporary::Names;
use crate::route::plan::{Begun, element};

/// How far such a command is.
#[derive(Default, Debug)]
pub struct Search {
    /// What is asked; empty until every `$` is known.
    pub(super) groups: Vec<Group>,
    /// Which group is asked now.
    pub(super) at: usize,
    /// Whether the servers tell of changes since this round began.
    pub(super) armed: bool,
    /// Replies that are still to come from those that were asked to tell.
    pub(super) expected: u32,
    /// One of them refused.
    pub(super) failed: bool,
    /// A change was told before this round: of that key no further one will be.
    pub(super) told: bool,
    /// Arguments that are `$`, whose meaning is asked first.
    pub(super) unknown: Vec<usize>,
    /// The last plan that asked all groups.
    pub(super) plan: Option<Origin>,
}

/// Milliseconds until servers are asked again that can't tell of changes, or where no connection was free.
const POLL: u64 = 100;
/// Milliseconds until they are asked again in any case: a slot may have moved away from who was to tell.
const ROUND: u64 = 1_000;

const TRACKING_ON: &[u8] = b"*3\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n";

/// Goes on with the next group, or with what follows the last one. True where the job is to be looked at again.
pub(super) fn go_on(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let Some(job) = client.job_mut() else { return false };
    let is_over = job.until <= turn.now;
    // A server gives what is there however short the time is: the first round is always whole.
    if is_over && job.blocked {
        return seek::answer_nil(client, turn);
    }
    let Some(search) = job.search_mut() else { return false };
    if let Some(index) = search.unknown.last().copied() {
        return ask_last_id(client, index, turn);
    }
    if search.groups.is_empty() && !cut(job, turn) {
        return seek::refuse(client, &Refusal::CrossSlot, turn);
    }
    let Some(search) = job.search_mut() else { return false };
    if search.at == 0
        && let Some(begun) = plan(client, turn)
    {
        return ask_by_plan(client, begun, turn);
    }
    let Some(search) = client.job_mut().and_then(Job::search_mut) else { return false };
    if let Some(group) = search.groups.get(search.at) {
        let (slot, shape, frame) = (group.slot, group.twin.shape, group.twin.frame.clone());
        return ask(client, slot, shape, &frame, turn);
    }
    if is_over {
        return seek::answer_nil(client, turn);
    }
    let armed = search.armed && !search.told;
    let Some(job) = client.job_mut() else { return false };
    job.begin_waiting(turn.metrics);
    if armed { watch(client, ROUND, turn) } else { arm(client, turn) }
}

/// Cuts the request into groups, once its ids are known.
fn cut(job: &mut Job, turn: &Turn<'_>) -> bool {
    let groups = with_request(&job.request, |request| match turn.commands.find(request) {
        Lookup::Found(spec) => groups::of(spec, request, |a, b| turn.are_together(a, b)),
        _ => None,
    });
    let (Some(groups), Some(search)) = (groups, job.search_mut()) else { return false };
    search.groups = groups;
    !search.groups.is_empty()
}

/// Asks over a shared connection.
fn ask(client: &mut Client, slot: Slot, shape: Shape, frame: &[u8], turn: &mut Turn<'_>) -> bool {
    let generation = client.generation;
    let Some(job) = client.job_mut() else { return false };
    job.stage = Stage::Trying(shape);
    let origin = Origin { client: turn.key, generation, ticket: job.ticket, part: 0 };
    let lane = turn.lane(client);
    send::send_part(client, origin, slot, lane, frame, turn);
    false
}

/// The plan that asks all groups at once, where there is one: that of an element that goes to another slot, and that of
/// streams, all of which are told that have something.
fn plan(client: &mut Client, turn: &Turn<'_>) -> Option<Begun> {
    let protocol = client.session.protocol;
    let names = Names::new(&turn.shared.process.node_id.0, client.session.id, client.session.commands());
    let job = client.job_mut()?;
    let moved =
        job.search_mut()?.groups.first().filter(|group| group.moves).map(|group| group.twin.frame.clone());
    if let Some(frame) = moved {
        return with_request(&frame, |request| element::begin(request, &names).ok());
    }
    let (together, map) = (turn.shared.together, turn.pool.slot_map().clone());
    let find = |request: &Request<'_>| match turn.commands.find(request) {
        Lookup::Found(spec) if spec.keys == Keys::Streams => Some(spec),
        _ => None,
    };
    let twin = with_request(&job.request, |request| blocking::twin(find(request)?, request))?;
    with_request(&twin.frame, |request| {
        let runs = groups::runs(find(request)?, request, |slot| together.place(slot, &map))?;
        Some(read_streams(protocol, request, runs))
    })
}

/// Has a plan ask all groups; its answer stands in the place of the last one's.
fn ask_by_plan(client: &mut Client, begun: Begun, turn: &mut Turn<'_>) -> bool {
    let (generation, lane) = (client.generation, turn.plan_lane(client));
    let Some(job) = client.job_mut() else { return false };
    job.stage = Stage::Trying(Shape::Same);
    let origin = Origin { client: turn.key, generation, ticket: job.ticket, part: 0 };
    let plan = turn.plans.start(origin, lane, begun);
    if let Some(search) = job.search_mut() {
        search.at = search.groups.len().saturating_sub(1);
        search.plan = Some(plan);
    }
    false
}

/// Asks for the last entry of the stream whose `$` stands in argument `index`.
fn ask_last_id(client: &mut Client, index: usize, turn: &mut Turn<'_>) -> bool {
    let Some(job) = client.job_mut() else { return false };
    let asked = with_request(&job.request, |request| {
        let stream = groups::stream_of_id(request, index)?;
        let mut frame = b"*6\r\n$9\r\nXREVRANGE\r\n".to_vec();
        frame.extend_from_slice(request.raw_arg(stream));
        frame.extend_from_slice(b"$1\r\n+\r\n$1\r\n-\r\n$5\r\nCOUNT\r\n$1\r\n1\r\n");
        Some((Slot::of(request.arg(stream)?), frame))
    });
    let Some((slot, frame)) = asked else { return seek::refuse(client, &Refusal::CrossSlot, turn) };
    ask(client, slot, Shape::Same, &frame, turn)
}

/// Puts the id of the last entry in the place of `$`; false where the reply is none.
pub(super) fn on_last_id(job: &mut Job, reply: &[u8]) -> bool {
    let id = || {
        // The id is text; what stands behind it, the entry's fields, may be any bytes.
        let text = String::from_utf8_lossy(reply.get(..64.min(reply.len()))?);
        if text.starts_with("*0\r\n") {
            return Some("0-0".to_owned());
        }
        let mut lines = text.strip_prefix("*1\r\n*2\r\n$")?.split("\r\n");
        lines.next()?;
        lines.next().map(str::to_owned)
    };
    let Some(index) = job.search_mut().and_then(|search| search.unknown.pop()) else { return false };
    let Some(id) = id() else { return false };
    let Some(request) = with_request(&job.request, |request| Some(groups::with_arg(request, index, &id)))
    else {
        return false;
    };
    job.request = request.into();
    true
}

/// Has every server that holds keys tell of their changes.
fn arm(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let asker = client.asker(turn);
    let lane = Lane { protocol: Protocol::Resp3, number: 0, ..turn.lane(client) };
    let Some(nodes) = nodes(client, turn) else {
        return seek::rest(client, Some(&Refusal::Unserved), turn);
    };
    for Told { node, .. } in &nodes {
        let Some(private) = &mut client.private else { return false };
        let Some(job) = &mut private.job else { return false };
        if private.table.get_mut(*node).is_some() {
            continue;
        }
        let (lease, refusal) = seek::lease(&mut client.session, (*node, lane), (asker, job.began), turn);
        match lease {
            Lease::Idle(connection) => {
                private.table.insert(connection, turn.private.table_buckets());
                turn.metrics.private_connections.add(1);
            }
            Lease::Opening => {
                job.stage = Stage::Opening(*node);
                job.set_timer(job.until, asker, turn.private);
                return false;
            }
            Lease::Full => {
                // Two that hold what the other wants would wait for ever: it looks from time to time instead.
                turn.private.leave_queue(*node, asker, job.began);
                if let Some(refusal) = refusal {
                    turn.metrics.private_refused.add(1);
                    return seek::refuse(client, &refusal, turn);
                }
                client.drop_connections(turn);
                return watch(client, POLL, turn);
            }
            Lease::Down { until } => return seek::rest_until(client, Some(&Refusal::ShardDown), until, turn),
        }
    }
    tell_us(client, &nodes, turn)
}

/// A node that is to tell of changes.
struct Told {
    node: NodeId,
    /// What it is asked.
    request: Vec<u8>,
    /// How many replies that has.
    replies: u32,
}

/// The nodes of all groups.
fn nodes(client: &mut Client, turn: &mut Turn<'_>) -> Option<Vec<Told>> {
    let map = turn.pool.slot_map().clone();
    let search = client.job_mut()?.search_mut()?;
    let mut nodes: Vec<Told> = Vec::new();
    for group in &search.groups {
        let node = turn.private.node(map.owner_endpoint(group.slot)?);
        let place = nodes.iter().position(|own| own.node == node).unwrap_or_else(|| {
            nodes.push(Told { node, request: TRACKING_ON.to_vec(), replies: 1 });
            nodes.len() - 1
        });
        for key in &group.keys {
            // A read of the key is what makes its changes told; also of one that does not exist.
            nodes[place].request.extend_from_slice(b"*2\r\n$6\r\nEXISTS\r\n");
            nodes[place].request.extend_from_slice(key);
            nodes[place].replies += 1;
        }
    }
    Some(nodes)
}

fn tell_us(client: &mut Client, nodes: &[Told], turn: &mut Turn<'_>) -> bool {
    let asker = client.asker(turn);
    let Some(private) = &mut client.private else { return false };
    let Some(job) = &mut private.job else { return false };
    for Told { node, request, .. } in nodes {
        let Some(connection) = private.table.get_mut(*node) else { return false };
        // A broken one shows when it is read.
        let _ = connection.send(request);
    }
    job.stage = Stage::Arming;
    job.set_timer(job.until, asker, turn.private);
    if let Some(search) = job.search_mut() {
        search.expected = nodes.iter().map(|node| node.replies).sum();
        (search.failed, search.told) = (false, false);
    }
    true
}

/// Waits to be told of a change, at most `pause` milliseconds.
fn watch(client: &mut Client, pause: u64, turn: &mut Turn<'_>) -> bool {
    let asker = client.asker(turn);
    let Some(job) = client.job_mut() else { return false };
    job.stage = Stage::Watching;
    job.set_timer(job.until.min(turn.now + pause), asker, turn.private);
    true
}

/// Begins the next round; `armed` where the servers tell of what happens from here on.
pub(super) fn next_round(job: &mut Job, armed: bool) {
    job.stage = Stage::Ready;
    if let Some(search) = job.search_mut() {
        (search.at, search.armed) = (0, armed);
    }
}

/// What one of the servers said: a change, or a reply to what it was asked. True where the job goes on.
pub(super) fn on_told(client: &mut Client, bytes: &[u8], turn: &mut Turn<'_>) -> bool {
    let Some(job) = client.job_mut() else { return false };
    let watching = job.stage == Stage::Watching;
    let Some(search) = job.search_mut() else { return false };
    if bytes.first() == Some(&b'>') {
        search.told = true;
        if watching {
            next_round(job, false);
        }
        return watching;
    }
    search.failed |= bytes.first() == Some(&b'-');
    search.expected = search.expected.saturating_sub(1);
    if search.expected > 0 || watching {
        return false;
    }
    if std::mem::take(&mut search.failed) {
        // It can't, or not any more: a slot has moved. It is asked from time to time instead.
        turn.private.topology_doubt = true;
        client.drop_connections(turn);
        return watch(client, POLL, turn);
    }
    next_round(job, true);
    true
}

/// A server that was to tell is lost: again, with whoever serves the keys then.
pub(super) fn on_lost(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    turn.metrics.private_lost.add(1);
    turn.private.topology_doubt = true;
    client.drop_connections(turn);
    watch(client, POLL, turn)
}
