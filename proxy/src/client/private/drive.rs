//! ◆ Drives a client's job from the client's own task: polls its private connection, and looks whether the
//! client is still there without reading from it.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::io::Interest;

use super::super::connection::Client;
use super::super::dispatch::Turn;
use super::super::state::State;
use super::job::{Ending, Job, Kind, Stage};
use super::outcome::{self, Progress};
use super::{search, seek, tracked};
use crate::private::pool::NodeId;
use crate::refusal::Refusal;

// What one connection may say before others have their turn, in reads of the scratch buffer.
const READS_PER_TURN: usize = 8;

/// Takes the job as far as it goes now.
pub(in super::super) fn poll(
    client: &mut Client,
    turn: &mut Turn<'_>,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) {
    while step(client, turn, scratch, cx) {}
    tracked::poll(client, turn, scratch, cx);
    // Those of a tracking client are over in time, and it may want the answer to its last one.
    // A transaction over several nodes is not left half-way.
    let waits = |job: &mut Job| !matches!(job.kind, Kind::Tracked | Kind::Track { .. } | Kind::Step { .. });
    if client.job_mut().is_some_and(waits) && is_gone(client, cx) {
        // Nothing is taken from the server for it any more: its connection closes with it.
        client.state = State::Broken;
    }
}

/// One step; true where another may follow at once.
fn step(client: &mut Client, turn: &mut Turn<'_>, scratch: &mut [u8], cx: &mut Context<'_>) -> bool {
    if client.state == State::Broken {
        return false;
    }
    let drains = matches!(client.state, State::Draining | State::Revoked);
    let Some(job) = client.job_mut() else { return false };
    if drains && job.blocked && job.ending.is_none() {
        job.ending = Some(Ending::Close);
    }
    if let (Stage::Asked(_), Kind::Blocking { .. }) = (job.stage, job.kind)
        && job.until <= turn.now
        && job.timer != job.until.saturating_add(seek::LATE)
    {
        // Its time is over, and the server has not noticed yet.
        job.ending.get_or_insert(Ending::Nil);
    }
    if let Some(ending) = job.ending
        && seek::end_early(client, ending, turn)
    {
        return true;
    }
    let Some(job) = client.job_mut() else { return false };
    match job.stage {
        Stage::Trying(_) => {
            // Answered over the shared connection: there was none of its own.
            if client.replies.is_empty() {
                client.end_job(true, turn);
            }
            false
        }
        Stage::Planned => {
            // Answered by a plan.
            if client.replies.is_empty() {
                client.end_watch(turn);
                client.end_job(true, turn);
            }
            false
        }
        Stage::Ready if job.is_refused() => seek::refuse(client, &Refusal::BackendLogin, turn),
        Stage::Ready => seek::seek(client, turn),
        Stage::Opening(_) | Stage::Queued(_) | Stage::Resting => seek::on_wake(client, turn),
        Stage::Asked(node) => poll_answer(client, node, turn, scratch, cx),
        Stage::Arming | Stage::Watching => {
            poll_told(client, turn, scratch, cx) || seek::on_wake(client, turn)
        }
    }
}

/// Looks at every connection on which changes are told.
fn poll_told(client: &mut Client, turn: &mut Turn<'_>, scratch: &mut [u8], cx: &mut Context<'_>) -> bool {
    let nodes: Vec<NodeId> = match &mut client.private {
        Some(private) => private.table.iter_mut().map(|connection| connection.node).collect(),
        None => return false,
    };
    for node in nodes {
        while let Some(connection) = client.private.as_mut().and_then(|it| it.table.get_mut(node)) {
            if connection.poll_send(cx).is_ready() {
                return search::on_lost(client, turn);
            }
            let filled = match connection.poll_read(scratch, cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(filled)) => filled,
                Poll::Ready(Err(_)) => return search::on_lost(client, turn),
            };
            match each_told(client, node, &scratch[..filled], turn) {
                Some(true) => return true,
                Some(false) => {}
                None => return search::on_lost(client, turn),
            }
        }
    }
    false
}

/// Whether what was told has the job go on; `None` where it can't be read.
fn each_told(client: &mut Client, node: NodeId, buf: &[u8], turn: &mut Turn<'_>) -> Option<bool> {
    let (mut start, mut goes_on) = (0, false);
    loop {
        let Some(connection) = client.private.as_mut().and_then(|it| it.table.get_mut(node)) else {
            return Some(goes_on);
        };
        match connection.next(buf, start).ok()? {
            // What is told is a key's name: too long to come whole is no reason to miss it.
            Some(cut) => {
                start = cut.range.end;
                if cut.first {
                    goes_on |= search::on_told(client, &buf[cut.range], turn);
                }
            }
            None => {
                connection.keep(&buf[start..]);
                return Some(goes_on);
            }
        }
    }
}

/// Sends what is left and takes what has come.
fn poll_answer(
    client: &mut Client,
    node: NodeId,
    turn: &mut Turn<'_>,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> bool {
    for _ in 0..READS_PER_TURN {
        let Some(private) = &mut client.private else { return false };
        let Some(connection) = private.table.get_mut(node) else { return outcome::on_lost(client, turn) };
        if connection.poll_send(cx).is_ready() {
            return outcome::on_lost(client, turn);
        }
        let filled = match connection.poll_read(scratch, cx) {
            Poll::Ready(Ok(filled)) => filled,
            Poll::Ready(Err(_)) => return outcome::on_lost(client, turn),
            Poll::Pending => {
                let late = |job: &mut Job| seek::overdue_at(job) <= turn.now;
                let overdue = client.job_mut().is_some_and(late);
                return overdue && outcome::on_overdue(client, turn);
            }
        };
        turn.metrics.backend_reads.add(1);
        turn.metrics.backend_bytes_in.add(filled as u64);
        let (progress, excess) = pass_on(client, node, &scratch[..filled], turn);
        client.flush(&scratch[..filled], &turn.shared.marks, turn.spares, turn.metrics);
        match progress {
            Progress::Pending => {}
            Progress::Answered => {
                turn.metrics.backend_replies.add(1);
                outcome::on_answered(client, !excess, turn);
                return false;
            }
            Progress::Armed => return outcome::on_armed(client),
            Progress::Next => return outcome::on_step(client, turn),
            Progress::Elsewhere => return outcome::go_elsewhere(client, turn),
            Progress::Useless => return outcome::on_lost(client, turn),
        }
    }
    cx.waker().wake_by_ref();
    false
}

/// Passes on every piece in `buf` up to the end of the answer; and whether anything came behind it, for which
/// nobody asked.
fn pass_on(client: &mut Client, node: NodeId, buf: &[u8], turn: &mut Turn<'_>) -> (Progress, bool) {
    let mut start = 0;
    loop {
        let Some(connection) = client.private.as_mut().and_then(|private| private.table.get_mut(node)) else {
            return (Progress::Useless, false);
        };
        match connection.next(buf, start) {
            Ok(Some(cut)) => {
                start = cut.range.end;
                let progress = outcome::on_piece(client, buf, &cut, turn);
                if progress == Progress::Pending {
                    continue;
                }
                let Some(connection) = client.private.as_mut().and_then(|it| it.table.get_mut(node)) else {
                    return (progress, start < buf.len());
                };
                if connection.tracks {
                    return (progress, !tracked::pass_on(client, node, buf, start, turn));
                }
                connection.keep(&buf[start..]);
                return (progress, start < buf.len());
            }
            Ok(None) => {
                connection.keep(&buf[start..]);
                return (Progress::Pending, false);
            }
            Err(_) => return (Progress::Useless, false),
        }
    }
}

/// Whether the client closed its side or is gone. Nothing is read: what it sent behind its request stays in the
/// kernel's queue, which is what holds it back.
pub(in super::super) fn is_gone(client: &mut Client, cx: &mut Context<'_>) -> bool {
    loop {
        match client.stream.tcp().poll_read_ready(cx) {
            Poll::Pending => return false,
            Poll::Ready(Err(_)) => return true,
            Poll::Ready(Ok(())) => {}
        }
        match pin!(client.stream.tcp().ready(Interest::READABLE)).poll(cx) {
            Poll::Ready(Ok(ready)) if !ready.is_read_closed() => {}
            Poll::Ready(_) => return true,
            Poll::Pending => return false,
        }
        // Readable because bytes wait, not because it closed: only that is to be waited for.
        client.unread = true;
        let would_block = || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) };
        let _ = client.stream.tcp().try_io(Interest::READABLE, would_block);
    }
}
