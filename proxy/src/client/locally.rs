//! Commands that are answered here and not by a backend: what they change about their client, and how their answers go
//! out. What the answers are is [`super::local`]'s.

use super::connection::Client;
use super::dispatch::{Flow, Turn, refuse};
use super::local::{self, Answer};
use super::send::{open_plain, send_everywhere};
use super::{logins, monitor, subscribe};
use crate::backend::lane::{Lane, LoginId};
use crate::command::spec::{self, Spec};
use crate::refusal::Refusal;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;

/// Whether a client may be served by another worker behind this: nothing of it may be under way then.
fn may_change_cluster(which: spec::Local, turn: &Turn<'_>) -> bool {
    use spec::Local::{Auth, Hello, Reset};
    turn.shared.process.has_several_clusters() && matches!(which, Auth | Hello | Reset)
}

/// Whether it asks for a count in which it may be itself, by what it says in front of this.
fn is_about_own(which: spec::Local, client: &Client) -> bool {
    which == spec::Local::Pubsub && client.is_subscriber()
}

/// The client is another tenant's from here on: it keeps nothing of what it had as the old one's.
fn leave_tenant(client: &mut Client, turn: &mut Turn<'_>) {
    client.end_watch(turn);
    client.end_tracking(turn);
    monitor::stop(client, turn);
    subscribe::leave_all(client, turn);
    // Its next request may go over other connections, where it could overtake those in flight.
    client.congested = true;
}

/// What a client keeps that took this lane until now, and may take another.
fn leave_lane(client: &mut Client, lane: Lane, turn: &mut Turn<'_>) {
    let own = turn.lane(client);
    if own == lane {
        return;
    }
    client.leave_tracked(own.protocol != lane.protocol, turn);
    if own.protocol != lane.protocol {
        client.break_watch();
    }
    // Over other connections the next request could overtake those in flight.
    client.congested = true;
}

/// Answers a command that needs no backend, or that all workers answer.
///
/// # Errors
/// The refusal that is the answer.
pub(super) fn answer(
    client: &mut Client,
    which: spec::Local,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    use spec::Local::{Auth, Hello, Reset};
    if !client.replies.is_empty() && (may_change_cluster(which, turn) || is_about_own(which, client)) {
        return Ok(Flow::Later);
    }
    if logins::has_to_wait(client, which, request, turn) {
        return Ok(Flow::Paused);
    }
    turn.metrics.commands_local.add(1);
    if which == Reset {
        client.end_watch(turn);
        client.end_tracking(turn);
    }
    let login = matches!(which, Auth | Hello | Reset).then(|| client.session.login().clone());
    let mut reply = Vec::new();
    let lane = turn.lane(client);
    let status = client.status();
    let answer = local::answer(&mut client.session, &status, which, spec, request, turn, &mut reply)?;
    if which == Reset {
        let door = client.session.door.tenant.as_deref();
        let login = turn.shared.process.first_login(door, client.peer_identity());
        client.session.log_in(login);
        monitor::stop(client, turn);
        subscribe::leave_all(client, turn);
    }
    let goes = login.is_some() && client.session.login().cluster().is_some_and(|to| to != turn.shared.id);
    if goes || login.is_some_and(|before| !before.is_same_tenant(client.session.login())) {
        client.walled = client.session.login().backend() != LoginId::PROXY;
        leave_tenant(client, turn);
        if let Err(refusal) = client.join_tenant(turn.limits) {
            refuse(client, &refusal, turn);
            client.close_after_replies();
            return Ok(Flow::Done);
        }
    }
    leave_lane(client, lane, turn);
    match answer {
        Answer::Reply => client.answer(&reply, turn.spares),
        Answer::Text(text) => {
            ReplyWriter::new(&mut reply, client.session.protocol).verbatim(&text);
            client.answer(&reply, turn.spares);
        }
        Answer::Silence => {}
        Answer::ReplyAndClose => {
            client.answer(&reply, turn.spares);
            client.close_after_replies();
        }
        Answer::Merged(kind, frame) => send_everywhere(client, &frame, kind, turn)?,
        Answer::Question(ask) => {
            // What all workers say is large, and counts only once it is there: one question at a time.
            client.congested = true;
            let origin = open_plain(client, turn);
            turn.questions.push(local::Question { origin, protocol: client.session.protocol, ask });
        }
    }
    if goes {
        client.leave();
    }
    Ok(Flow::Done)
}
