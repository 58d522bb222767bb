//! EXEC of a client whose watched keys and queued commands are not all in one place. First every connection that
//! watches is asked whether a key was changed: if so, nothing is run anywhere. Then each runs the share of its node,
//! guarded by its own WATCH, one behind the other; shares where nothing is watched come last, over the shared
//! connections.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::connection::Client;
use super::super::dispatch::Turn;
use super::super::replies::Piece;
use super::job::{Kind, Stage};
use super::outcome::Progress;
use super::watch::Watch;
use super::{seek, start};
use crate::backend::framing::Cut;
use crate::backend::in_flight::Ticket;
use crate::cluster::slot::Slot;
use crate::private::pool::NodeId;
use crate::refusal::Refusal;
use crate::resp::elements::{is_error, is_nil};
use crate::route::plan::per_shard;
use crate::route::plan::shares::{Sent, Shares};

/// How far such a transaction is.
#[derive(Debug)]
pub struct Several {
    shares: Rc<Shares>,
    /// What each share answered; empty where it did not.
    replies: Vec<Vec<u8>>,
    /// Nodes that are still to be asked whether keys were changed.
    checks: Vec<NodeId>,
    /// Shares that are still to be run where keys are watched, the next one last.
    runs: Vec<(NodeId, usize)>,
    step: Step,
    /// What came of the answer to this step.
    reply: Vec<u8>,
    /// More came than may be held.
    too_large: bool,
    /// Replies that follow the answer: to WATCH of what the node's further shares are guarded by.
    trailing: u32,
    /// One of them was an error.
    unguarded: bool,
    /// The next step is to be chosen.
    due: bool,
    /// Some shares ran and others did not, or may not have: its client is told.
    torn: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// It is seen whether everything can be queued.
    Probe,
    /// This node is asked whether keys were changed.
    Check(NodeId),
    /// This node runs this share.
    Run(NodeId, usize),
}

const CLIENT_INFO: &[u8] = b"*2\r\n$6\r\nCLIENT\r\n$4\r\nINFO\r\n";
/// Answers whether keys were changed, and forgets them.
const EMPTY: &[u8] = b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n";

/// Begins for a client that watches keys, all of which are where they are watched as far as is known.
pub(in super::super) fn begin(client: &mut Client, shares: Shares, turn: &mut Turn<'_>) {
    let Some(checks) = watch_of(client).map(Watch::nodes) else { return };
    let map = turn.pool.slot_map().clone();
    // In the same order for every client: of two that conflict, one finds that at its first share.
    let mut order: Vec<(Slot, usize)> =
        (0..shares.len()).filter_map(|index| Some((shares.slot(index)?, index))).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let mut runs = Vec::new();
    for (slot, index) in order {
        let node = map.owner_endpoint(slot).map(|endpoint| turn.private.node(endpoint));
        runs.extend(node.filter(|node| checks.contains(node)).map(|node| (node, index)));
    }
    let fixed = turn.fixed_slot(client);
    let origin = start::begin(client, Kind::Step { leads: 0 }, fixed, Box::default(), turn);
    let protocol = client.session.protocol;
    let shares = Rc::new(shares);
    let probes = shares.writes && shares.len() > 1;
    if shares.len() > 1 {
        turn.metrics.transactions_per_shard.add(1);
    }
    if probes {
        let node = |slot: Slot| map.owner(slot).map(|owner| owner.0);
        let begun = per_shard::begin_probe(Rc::clone(&shares), protocol, node);
        turn.plans.start(origin, turn.lane(client), begun);
    }
    let Some(job) = client.job_mut() else { return };
    if probes {
        job.stage = Stage::Planned;
    }
    job.extra_mut().several = Some(Box::new(Several {
        replies: vec![Vec::new(); shares.len()],
        shares,
        checks,
        runs,
        step: Step::Probe,
        reply: Vec::new(),
        too_large: false,
        trailing: 0,
        unguarded: false,
        due: !probes,
        torn: false,
    }));
}

fn watch_of(client: &Client) -> Option<&Watch> {
    client.private.as_ref()?.pinned.watch()
}

impl Several {
    /// Whether [`go_on`] is to choose the next step.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Whether shares ran and others did not, of which its client was not told.
    pub(super) fn is_torn_unheard(&self) -> bool {
        !self.torn && self.has_run() && self.replies.iter().any(Vec::is_empty)
    }

    fn has_run(&self) -> bool {
        self.replies.iter().any(|reply| !reply.is_empty())
    }

    /// Whether shares of this node are still to be run.
    fn has_runs_at(&self, node: NodeId) -> bool {
        self.runs.iter().any(|(own, _)| *own == node)
    }
}

impl Client {
    /// Takes the end of a plan: true where it was a probe and all shares can be queued, so that its job goes on.
    pub(in super::super) fn on_probed(&mut self, ticket: Ticket, reply: &[u8]) -> bool {
        let job = self.job_mut().filter(|job| job.ticket == ticket && job.stage == Stage::Planned);
        let Some(job) = job else { return false };
        let Some(several) = job.several_mut().filter(|_| reply == b"+OK\r\n") else { return false };
        several.due = true;
        job.stage = Stage::Ready;
        self.wake();
        true
    }
}

/// Chooses the next step. True where the job is to be looked at again.
pub(super) fn go_on(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    if let Some(node) = finished_node(client) {
        release(client, node, turn);
    }
    let Some(private) = &mut client.private else { return false };
    let (Some(job), Some(watch)) = (&mut private.job, private.pinned.watch()) else { return false };
    let Some(several) = job.several_mut() else { return false };
    let (node, request, leads) = if let Some(node) = several.checks.pop() {
        several.step = Step::Check(node);
        let (request, leads) = check(watch, node, several.has_runs_at(node));
        (node, request, leads)
    } else if let Some((node, index)) = several.runs.pop() {
        several.step = Step::Run(node, index);
        let (request, leads) = several.run(watch, node, index);
        (node, request, leads)
    } else {
        return finish(client, turn);
    };
    several.due = false;
    let Some(endpoint) = turn.private.endpoint(node).cloned() else { return on_broken(client, turn) };
    job.request = request.into();
    job.kind = Kind::Step { leads };
    job.until = turn.now + turn.shared.command_timeout;
    job.go_to(endpoint);
    true
}

/// The node of the last step, where nothing else is to be asked of it.
fn finished_node(client: &mut Client) -> Option<NodeId> {
    let several = client.job_mut()?.several_mut()?;
    match several.step {
        Step::Probe => None,
        Step::Check(node) | Step::Run(node, _) => (!several.has_runs_at(node)).then_some(node),
    }
}

/// Gives the connection to a node back, which watches nothing any more.
fn release(client: &mut Client, node: NodeId, turn: &mut Turn<'_>) {
    let Some(connection) = client.private.as_mut().and_then(|private| private.table.remove(node)) else {
        return;
    };
    turn.metrics.private_connections.sub(1);
    if connection.is_quiet() {
        turn.private.give_back(connection, turn.now);
    } else {
        turn.metrics.private_dirty.add(1);
    }
}

/// Asks whether watched keys were changed, and how many replies come in front of the answer. EXISTS has keys be
/// removed whose time is over, which is a change, and shows whether their slots are still the node's.
fn check(watch: &Watch, node: NodeId, runs_follow: bool) -> (Vec<u8>, u32) {
    let mut request = Vec::new();
    let mut leads = 0;
    for place in watch.places().iter().filter(|place| place.node == node) {
        request.extend_from_slice(&place.frame("EXISTS"));
        leads += 1;
    }
    request.extend_from_slice(if runs_follow { CLIENT_INFO } else { EMPTY });
    (request, leads + u32::from(!runs_follow))
}

impl Several {
    /// The request that runs a share. EXEC forgets all watched keys: those by which further shares of the node are
    /// guarded are watched again right behind it, in the same write.
    fn run(&mut self, watch: &Watch, node: NodeId, index: usize) -> (Vec<u8>, u32) {
        let call = self.shares.call(index, Sent::Run);
        let mut request = call.frame;
        let further = self.runs.iter().filter(|(own, _)| *own == node);
        let slots: BTreeSet<Slot> = further.filter_map(|(_, index)| self.shares.slot(*index)).collect();
        self.trailing = 0;
        for place in watch.places().iter().filter(|it| it.node == node && slots.contains(&it.slot)) {
            request.extend_from_slice(&place.frame("WATCH"));
            self.trailing += 1;
        }
        (request, call.leads)
    }
}

/// Where nothing is left but shares for which no key is watched, or nothing at all.
fn finish(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let (protocol, generation) = (client.session.protocol, client.generation);
    let lane = turn.lane(client);
    let Some(job) = client.job_mut() else { return false };
    let ticket = job.ticket;
    let Some(several) = job.extra_mut().several.take() else { return false };
    if several.replies.iter().any(Vec::is_empty) {
        job.stage = Stage::Planned;
        let begun = per_shard::run(several.shares, several.replies, protocol);
        turn.plans.start(start::origin(turn, generation, ticket), lane, begun);
        return false;
    }
    let merged = several.shares.merge(&several.replies, protocol).unwrap_or_else(per_shard::unexpected);
    client.end_watch(turn);
    seek::answer(client, &merged, true, turn)
}

/// Takes a piece of what the step's node said, behind what comes in front.
pub(super) fn on_piece(client: &mut Client, bytes: &[u8], cut: &Cut, turn: &mut Turn<'_>) -> Progress {
    let most = turn.shared.cluster.cross_slot_memory;
    let Some(several) = client.job_mut().and_then(|job| job.several_mut()) else { return Progress::Useless };
    let is_trailing = cut.first && (several.too_large || !several.reply.is_empty());
    if is_trailing {
        several.unguarded |= is_error(bytes);
        several.trailing = several.trailing.saturating_sub(1);
    } else if several.reply.len() + bytes.len() > most {
        several.too_large = true;
    } else {
        several.reply.extend_from_slice(bytes);
    }
    if cut.more || several.trailing > 0 {
        return Progress::Pending;
    }
    on_answer(client, turn)
}

/// A step is over.
fn on_answer(client: &mut Client, turn: &mut Turn<'_>) -> Progress {
    let Some(job) = client.job_mut() else { return Progress::Useless };
    let lead_error = job.extra.as_mut().and_then(|extra| extra.lead_error.take());
    let Some(several) = job.several_mut() else { return Progress::Useless };
    let reply = std::mem::take(&mut several.reply);
    several.due = true;
    match several.step {
        Step::Probe => Progress::Useless,
        Step::Check(_) if is_changed(&reply, lead_error.as_deref()) => {
            answer(client, seek::nil(client.session.protocol), turn)
        }
        Step::Check(_) => Progress::Next,
        Step::Run(..) if several.too_large => torn(client, TOO_LARGE, turn),
        Step::Run(node, index) if reply.starts_with(b"*") && !is_nil(&reply) => {
            several.replies[index] = reply;
            if std::mem::take(&mut several.unguarded) && several.has_runs_at(node) {
                return torn(client, CHANGED, turn);
            }
            Progress::Next
        }
        Step::Run(..) if is_nil(&reply) && several.has_run() => torn(client, CHANGED, turn),
        Step::Run(..) => {
            let why = lead_error.unwrap_or_else(|| reply.clone().into());
            if several.has_run() {
                return torn(client, &why, turn);
            }
            // A slot that has moved was not watched where it is now.
            if is_nil(&reply) || per_shard::is_elsewhere(&why) {
                return answer(client, seek::nil(client.session.protocol), turn);
            }
            turn.metrics.transactions_aborted.add(1);
            answer(client, &per_shard::abort(&why), turn)
        }
    }
}

const CHANGED: &[u8] = b"-ERR a watched key was changed meanwhile\r\n";
const TOO_LARGE: &[u8] = b"-ERR the replies are too large, see cluster.cross_slot_memory\r\n";

/// Whether a node's answer to a check says that keys were changed, or that nobody knows.
fn is_changed(reply: &[u8], lead_error: Option<&[u8]>) -> bool {
    if lead_error.is_some_and(per_shard::is_elsewhere) {
        return true;
    }
    if is_error(reply) {
        // Whoever may not ask is still guarded by WATCH when it runs.
        return !reply.starts_with(b"-NOPERM");
    }
    let mut rest = reply.strip_prefix(b"*").map_or(reply, |_| &[]);
    let flags = memchr::memmem::find(rest, b" flags=").map(|start| {
        rest = &rest[start + b" flags=".len()..];
        &rest[..memchr::memchr(b' ', rest).unwrap_or(rest.len())]
    });
    is_nil(reply) || flags.is_some_and(|flags| flags.contains(&b'd'))
}

/// Answers the client; the connections are of no further use.
fn answer(client: &mut Client, bytes: &[u8], turn: &mut Turn<'_>) -> Progress {
    let Some(job) = client.job_mut() else { return Progress::Useless };
    job.extra_mut().unclean = true;
    let piece = Piece { ticket: job.ticket, part: 0, bytes, more: false };
    client.fill_own(piece, turn.spares);
    Progress::Answered
}

fn torn(client: &mut Client, why: &[u8], turn: &mut Turn<'_>) -> Progress {
    note_torn(client, turn);
    answer(client, &per_shard::torn(why), turn)
}

fn note_torn(client: &mut Client, turn: &Turn<'_>) {
    turn.metrics.transactions_torn.add(1);
    if let Some(several) = client.job_mut().and_then(|job| job.several_mut()) {
        several.torn = true;
    }
}

/// A connection that watched is gone, and the node was not sent this step whole.
pub(super) fn on_broken(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let Some(several) = client.job_mut().and_then(|job| job.several_mut()) else { return false };
    let reply = if several.has_run() {
        note_torn(client, turn);
        per_shard::torn(&Refusal::ShardDown.reply())
    } else {
        seek::nil(client.session.protocol).to_vec()
    };
    client.end_watch(turn);
    seek::answer(client, &reply, false, turn)
}

/// A connection that watched is gone, or its node is late; `sent` where the node was sent this step whole.
pub(super) fn on_lost(client: &mut Client, sent: bool, turn: &mut Turn<'_>) -> bool {
    let Some(several) = client.job_mut().and_then(|job| job.several_mut()) else { return false };
    if !sent || !matches!(several.step, Step::Run(..)) {
        return on_broken(client, turn);
    }
    turn.metrics.lost.add(1);
    let lost = Refusal::Lost.reply();
    let reply = if several.shares.len() > 1 {
        note_torn(client, turn);
        per_shard::torn(&lost)
    } else {
        lost
    };
    client.end_watch(turn);
    turn.metrics.refusals.add(1);
    seek::answer(client, &reply, false, turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_in_several_ways_that_a_key_was_changed() {
        for (reply, lead_error, changed) in [
            ("$30\r\nid=3 name= flags=N db=0 sub=0\n\r\n", None, false),
            ("$30\r\nid=3 name= flags=d db=0 sub=0\n\r\n", None, true),
            ("=34\r\ntxt:id=3 name=d flags=xd db=0\n\r\n", None, true),
            ("*0\r\n", None, false),
            ("*-1\r\n", None, true),
            ("_\r\n", None, true),
            ("*0\r\n", Some("-MOVED 1 h:1\r\n"), true),
            ("*0\r\n", Some("-NOPERM no\r\n"), false),
            ("-NOPERM no\r\n", None, false),
            ("-LOADING Redis is loading the dataset in memory\r\n", None, true),
        ] {
            let told = is_changed(reply.as_bytes(), lead_error.map(str::as_bytes));
            assert_eq!(told, changed, "{reply}{lead_error:?}");
        }
    }
}
