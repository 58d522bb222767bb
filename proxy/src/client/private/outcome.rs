//! What came of a job: what the pieces of its answer mean, and what the end of its connection does.

use super::super::connection::Client;
use super::super::dispatch::Turn;
use super::super::replies::Piece;
use super::super::retry::{Parked, Target};
use super::super::state::State;
use super::job::{Ending, Job, Kind, Stage};
use super::watch::Watch;
use super::{seek, several, tracked};
use crate::backend::framing::Cut;
use crate::backend::owner::Reply;
use crate::command::groups::with_request;
use crate::command::twin;
use crate::refusal::Refusal;
use crate::route::redirect::Redirect;
use crate::route::split::Together;

/// What a piece means for its job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// More is to come.
    Pending,
    /// That was the answer.
    Answered,
    /// Its connection tracks now, and the request can follow.
    Armed,
    /// That was one step of it, and the next one follows.
    Next,
    /// It did not run, and goes elsewhere.
    Elsewhere,
    /// Nothing that could be an answer: the connection is useless.
    Useless,
}

/// Takes a piece of what the node said.
pub(super) fn on_piece(client: &mut Client, buf: &[u8], cut: &Cut, turn: &mut Turn<'_>) -> Progress {
    let bytes = &buf[cut.range.clone()];
    if let Some(node) = client.job_mut().and_then(|job| job.node())
        && tracked::push(client, node, buf, cut, turn)
    {
        return Progress::Pending;
    }
    if cut.first && bytes.first() == Some(&b'>') {
        // Nobody asked for pushes on it.
        return if cut.more { Progress::Useless } else { Progress::Pending };
    }
    let Some(job) = client.job_mut() else { return Progress::Useless };
    if job.is_arming() {
        return on_told_to_track(client, bytes, cut, turn);
    }
    if let Some(extra) = job.extra.as_mut().filter(|extra| extra.lead > 0) {
        if cut.more {
            return Progress::Useless;
        }
        extra.lead -= 1;
        if bytes.first() == Some(&b'-') && extra.lead_error.is_none() {
            extra.lead_error = Some(bytes.into());
        }
        return Progress::Pending;
    }
    if matches!(job.kind, Kind::Step { .. }) {
        return several::on_piece(client, bytes, cut, turn);
    }
    let whole = cut.first && !cut.more;
    if whole && bytes.first() == Some(&b'-') && redirect(client, bytes, turn) {
        return Progress::Elsewhere;
    }
    let Some(job) = client.job_mut() else { return Progress::Useless };
    let ticket = job.ticket;
    if whole && job.ending == Some(Ending::Close) && twin::is_empty(bytes) {
        client.state = State::Broken;
        return Progress::Answered;
    }
    if job.kind == Kind::Watch
        && bytes == b"+OK\r\n"
        && job.extra.as_ref().is_some_and(|it| !it.watches.is_empty())
    {
        return Progress::Next;
    }
    if cut.first {
        note_success(client, bytes);
    }
    let refused = client.job_mut().and_then(|job| refused_before(job, bytes));
    if let Some(error) = refused.filter(|_| whole) {
        client.fill_own(Piece { ticket, part: 0, bytes: &error, more: false }, turn.spares);
        return Progress::Answered;
    }
    let reply = Reply { buf, range: cut.range.clone(), first: cut.first, more: cut.more, lead_error: None };
    client.fill(Piece { ticket, part: 0, bytes, more: cut.more }, &reply, turn.spares);
    if cut.more { Progress::Pending } else { Progress::Answered }
}

/// What the node said to CLIENT TRACKING ON. An error is the answer to the request in front of which it was sent.
fn on_told_to_track(client: &mut Client, bytes: &[u8], cut: &Cut, turn: &mut Turn<'_>) -> Progress {
    let Some(private) = &mut client.private else { return Progress::Useless };
    let Some(job) = &mut private.job else { return Progress::Useless };
    if !cut.first || cut.more {
        return Progress::Useless;
    }
    job.extra_mut().arming = false;
    if bytes.first() == Some(&b'-') {
        job.extra_mut().unclean = true;
        let piece = Piece { ticket: job.ticket, part: 0, bytes, more: false };
        client.fill_own(piece, turn.spares);
        return Progress::Answered;
    }
    if let Some(connection) = job.node().and_then(|node| private.table.get_mut(node)) {
        connection.tracks = true;
    }
    Progress::Armed
}

/// The connection tracks: what it was told for follows.
pub(super) fn on_armed(client: &mut Client) -> bool {
    if let Some(job) = client.job_mut() {
        job.stage = Stage::Ready;
    }
    true
}

/// A step is over: of WATCH, or of a transaction over several nodes.
pub(super) fn on_step(client: &mut Client, turn: &Turn<'_>) -> bool {
    if client.job_mut().is_some_and(|job| job.kind == Kind::Watch) {
        note_watched(client, turn);
    }
    let Some(job) = client.job_mut() else { return false };
    job.stage = Stage::Ready;
    job.until = turn.now + turn.shared.command_timeout;
    if let Some(extra) = &mut job.extra
        && let Some((slot, request)) = extra.watches.pop()
    {
        (job.slot, job.request, extra.target) = (slot, request, None);
    }
    true
}

/// The keys of a WATCH are watched from here on; false where those from before are not any more.
fn note_watched(client: &mut Client, turn: &Turn<'_>) -> bool {
    let Some(private) = &mut client.private else { return false };
    let Some((job, node)) = private.job.as_ref().and_then(|job| Some((job, job.node()?))) else {
        return false;
    };
    if private.pinned.watch().is_none() {
        turn.metrics.pinned_watch.add(1);
    }
    let watch = private.pinned.watch_or(Watch::new(turn.now));
    let together = turn.shared.together == Together::Shard;
    with_request(&job.request, |request| {
        watch.add(node, job.slot, together, request);
        Some(())
    });
    !watch.broken
}

/// The error that says more than the last one: by which MULTI itself was refused, or by which a reader was told
/// that its stream is gone, before it was asked once more and was refused.
fn refused_before(job: &mut Job, answer: &[u8]) -> Option<Box<[u8]>> {
    let extra = job.extra.as_mut()?;
    if answer.starts_with(b"-ERR EXEC without MULTI") {
        return extra.lead_error.take();
    }
    let said = extra.last_error.take()?;
    (answer.starts_with(b"-") && said.starts_with(b"-UNBLOCKED")).then_some(said)
}

/// What the beginning of an answer tells of the connection: a transaction that ran has selected its last database,
/// and an error that is not its own may have left keys watched.
fn note_success(client: &mut Client, first: &[u8]) {
    let Some(job) = client.job_mut() else { return };
    let is_error = first.first() == Some(&b'-');
    match job.kind {
        Kind::Exec { .. } | Kind::Unwatch if is_error && !first.starts_with(b"-EXECABORT") => {
            job.extra_mut().unclean = true;
        }
        Kind::Exec { database, .. } if first.first() == Some(&b'*') && !first.starts_with(b"*-1") => {
            client.session.select_at_backend(database);
        }
        _ => {}
    }
}

/// Whether an error proves that the job did not run and is to run elsewhere; its way is then set.
fn redirect(client: &mut Client, error: &[u8], turn: &mut Turn<'_>) -> bool {
    let Some(private) = &mut client.private else { return false };
    let Some(job) = &mut private.job else { return false };
    let Some(node) = job.node().and_then(|node| turn.private.endpoint(node)).cloned() else { return false };
    let lead_error = job.extra.as_ref().and_then(|extra| extra.lead_error.as_deref());
    // An aborted transaction did not run for the reason that its first refused command tells.
    let error = if error.starts_with(b"-EXECABORT") { lead_error.unwrap_or(error) } else { error };
    let Some(redirect) = Redirect::parse(error, &node) else { return false };
    job.waited |= error.starts_with(b"-UNBLOCKED");
    let error: Box<[u8]> = error.into();
    let quick = job.attempts < Parked::QUICK_ATTEMPTS;
    let extra = job.extra_mut();
    // The server closes a connection that it unblocks because its role changed.
    extra.unclean |= error.starts_with(b"-UNBLOCKED force");
    extra.lead_error = None;
    extra.target = None;
    match redirect {
        Redirect::Moved(endpoint) => {
            turn.metrics.redirects_moved.add(1);
            turn.private.topology_doubt = true;
            extra.target = quick.then_some(Target::Node { endpoint, asking: false });
        }
        Redirect::Ask(endpoint) => {
            turn.metrics.redirects_ask.add(1);
            extra.target = quick.then_some(Target::Node { endpoint, asking: true });
        }
        _ => {
            turn.metrics.redirects_again.add(1);
            extra.last_error = Some(error);
        }
    }
    if private.pinned.watch().is_some() && matches!(job.kind, Kind::Exec { .. }) {
        // The node that the keys went to did not watch them.
        if let Some(watch) = private.pinned.watch_mut() {
            watch.broken = true;
        }
    }
    true
}

/// The job goes elsewhere: its connection is clean and becomes idle, unless keys are watched on it.
pub(super) fn go_elsewhere(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let Some(private) = &mut client.private else { return false };
    let Some(job) = &mut private.job else { return false };
    if let Some(node) = job.node()
        && !private.pinned.watch().is_some_and(|watch| watch.is_at(node))
        && private.pinned.tracking().is_none()
        && let Some(connection) = private.table.remove(node)
    {
        turn.metrics.private_connections.sub(1);
        if job.extra.as_ref().is_some_and(|extra| extra.unclean) {
            turn.metrics.private_dirty.add(1);
        } else {
            turn.private.give_back_after(job.told, connection, turn.now);
        }
    }
    if private.pinned.watch().is_some_and(|watch| watch.broken) && matches!(job.kind, Kind::Exec { .. }) {
        return on_watch_broken(client, turn);
    }
    let follows = job.extra.as_ref().is_some_and(|extra| extra.target.is_some());
    if !follows {
        return seek::rest(client, None, turn);
    }
    job.note_trouble(turn.now);
    job.stage = Stage::Ready;
    true
}

/// The job is answered; its connection is `clean` as far as what was read of it tells.
pub(super) fn on_answered(client: &mut Client, clean: bool, turn: &mut Turn<'_>) {
    let Some(private) = &mut client.private else { return };
    let Some(job) = &private.job else { return };
    let mut clean = clean && job.extra.as_ref().is_none_or(|extra| !extra.unclean);
    match (job.kind, job.node()) {
        // Those from before are lost with their connection; this one must not go on to another client.
        (Kind::Watch, Some(_)) => clean &= note_watched(client, turn),
        (Kind::Exec { database, .. }, Some(node)) => {
            // Where it did not run, nobody knows which database is selected.
            clean &= private.table.get_mut(node).is_some_and(|it| it.lane.database == database);
            client.end_watch(turn);
        }
        (Kind::Unwatch | Kind::Step { .. }, _) => client.end_watch(turn),
        _ => {}
    }
    client.end_job(clean, turn);
}

/// What was watched is not watched any more, and nobody knows whether it changed: as if it had.
pub(super) fn on_watch_broken(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    if client.job_mut().is_some_and(|job| job.several_mut().is_some()) {
        return several::on_broken(client, turn);
    }
    let exec = client.job_mut().is_some_and(|job| matches!(job.kind, Kind::Exec { .. }));
    client.end_watch(turn);
    let reply = if exec { seek::nil(client.session.protocol) } else { b"+OK\r\n" };
    seek::answer(client, reply, false, turn)
}

/// The connection is gone, or useless. What the node was not sent whole did not run.
pub(super) fn on_lost(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let Some(private) = &mut client.private else { return false };
    let Some(job) = &mut private.job else { return false };
    let Some(connection) = job.node().and_then(|node| private.table.remove(node)) else { return false };
    turn.metrics.private_connections.sub(1);
    turn.metrics.private_lost.add(1);
    turn.private.topology_doubt = true;
    if let Some(watch) = private.pinned.watch_mut().filter(|watch| watch.is_at(connection.node)) {
        watch.broken = true;
    }
    let watched = private.pinned.watch().is_some();
    let arming = job.is_arming();
    let is_step = matches!(job.kind, Kind::Step { .. });
    if connection.is_within_reply() && !is_step {
        // The client would take an error for the rest of its reply.
        client.state = State::Broken;
        client.end_job(false, turn);
        return false;
    }
    if let Some(extra) = &mut job.extra {
        extra.target = None;
        extra.lead_error = None;
        extra.arming = false;
    }
    // Whoever was sent it and did not refuse it had let it wait.
    job.waited |= connection.is_sent();
    let kind = job.kind;
    if connection.tracks {
        client.note_untracked();
    }
    match kind {
        Kind::Step { .. } => several::on_lost(client, connection.is_sent(), turn),
        // What it was told for was not sent.
        Kind::Blocking { .. } | Kind::Tracked if arming => {
            seek::rest(client, Some(&Refusal::ShardDown), turn)
        }
        Kind::Exec { .. } if arming && !watched => seek::rest(client, Some(&Refusal::ShardDown), turn),
        Kind::Tracked if connection.is_sent() => {
            turn.metrics.lost.add(1);
            seek::refuse(client, &Refusal::Lost, turn)
        }
        Kind::Blocking { destructive: true } if connection.is_sent() => {
            turn.metrics.lost.add(1);
            seek::refuse(client, &Refusal::LostBlocked, turn)
        }
        Kind::Exec { .. } if connection.is_sent() => {
            turn.metrics.lost.add(1);
            client.end_watch(turn);
            seek::refuse(client, &Refusal::Lost, turn)
        }
        Kind::Exec { .. } | Kind::Unwatch if watched => on_watch_broken(client, turn),
        _ => seek::rest(client, Some(&Refusal::ShardDown), turn),
    }
}

/// The node is late with an answer that it should have given by itself.
pub(super) fn on_overdue(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    turn.metrics.timeouts.add(1);
    if client.job_mut().is_some_and(|job| job.several_mut().is_some()) {
        let sent = true;
        return several::on_lost(client, sent, turn);
    }
    client.end_watch(turn);
    turn.metrics.refusals.add(1);
    let is_within = client.private.as_mut().is_some_and(|private| {
        let node = private.job.as_ref().and_then(Job::node);
        node.and_then(|node| private.table.get_mut(node)).is_some_and(|it| it.is_within_reply())
    });
    if is_within {
        // The client would take an error for the rest of its reply.
        client.state = State::Broken;
        client.end_job(false, turn);
        return false;
    }
    let arming = client.job_mut().is_some_and(|job| job.is_arming());
    let why = if arming { Refusal::DeadlineNotRun } else { Refusal::TimedOut };
    seek::answer(client, &why.reply(), false, turn)
}
