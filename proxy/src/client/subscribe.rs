//! SUBSCRIBE and its like for one client: what it listens to, what it is told, and what a RESP2 client that
//! listens may still say.

use super::connection::Client;
use super::dispatch::Turn;
use super::monitor;
use super::namespaced;
use super::replies::{Expect, Piece};
use super::send::open;
use crate::backend::in_flight::Origin;
use crate::command::spec::{Local, Spec, TopicKind, Treatment};
use crate::pubsub::subscriptions::Subscriptions;
use crate::refusal::Refusal;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;

/// `SUBSCRIBE name ...`: one ticket, whose reply is one confirmation a name. It goes out once all names are
/// subscribed to at a backend. As with the servers, CLIENT REPLY does not silence confirmations.
pub(super) fn subscribe(client: &mut Client, kind: TopicKind, request: &Request<'_>, turn: &mut Turn<'_>) {
    client.session.take_mute();
    let origin = open(client, Expect::Plain, turn);
    let protocol = client.session.protocol;
    let own = client.subscriptions.get_or_insert_with(|| Box::new(Subscriptions::new(turn.now)));
    let (mut reply, mut topics) = (Vec::new(), Vec::with_capacity(request.len() - 1));
    let namespace = client.session.namespace();
    for name in request.args_from(1) {
        let topic = turn.pubsub.subscribe(own, turn.key, origin.ticket, kind, name);
        if namespace.is_some() {
            turn.pubsub.note_namespaced(topic);
        }
        topics.push(topic);
        let shown = namespaced::channel(namespace, name);
        write(&mut reply, protocol, kind.command(true), Some(&shown), own.told(kind));
    }
    let deadline = turn.now + turn.shared.command_timeout;
    let is_large = reply.len() > LARGE_REPLY;
    match turn.pubsub.confirm(origin, topics, reply, deadline) {
        Some(reply) => answer(client, origin, &reply, turn),
        None => client.congested |= is_large,
    }
}

// Confirmations that wait are kept: behind many of them no further request of the client is handled.
const LARGE_REPLY: usize = 1024;

/// `UNSUBSCRIBE [name ...]`: without a name from all of this kind.
pub(super) fn unsubscribe(client: &mut Client, kind: TopicKind, request: &Request<'_>, turn: &mut Turn<'_>) {
    client.session.take_mute();
    let origin = open(client, Expect::Plain, turn);
    let (protocol, word) = (client.session.protocol, kind.command(false));
    let mut reply = Vec::new();
    let own = client.subscriptions.get_or_insert_with(|| Box::new(Subscriptions::new(turn.now)));
    let all = if request.len() > 1 { Vec::new() } else { turn.pubsub.names_of(own, kind) };
    let namespace = client.session.namespace();
    for name in request.args_from(1).chain(all.iter().map(|name| &**name)) {
        turn.pubsub.unsubscribe(own, turn.key, kind, name);
        let shown = namespaced::channel(namespace, name);
        write(&mut reply, protocol, word, Some(&shown), own.told(kind));
    }
    if reply.is_empty() {
        write(&mut reply, protocol, word, None, own.told(kind));
    }
    client.drop_unused_subscriptions();
    answer(client, origin, &reply, turn);
}

/// RESET: listens to nothing any more.
pub(super) fn leave_all(client: &mut Client, turn: &mut Turn<'_>) {
    if let Some(own) = &mut client.subscriptions {
        turn.pubsub.leave(own, turn.key);
    }
    client.drop_unused_subscriptions();
}

/// Whether the request was handled because the client is a RESP2 subscriber (or a monitor), whose replies could not be told
/// from messages: PING is answered as a message would be.
///
/// # Errors
/// Where such a client may not say this.
pub(super) fn restrict(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<bool, Refusal> {
    monitor::restrict(client, spec)?;
    if client.session.protocol != Protocol::Resp2 || !client.is_subscriber() {
        return Ok(false);
    }
    match spec.treatment {
        Treatment::Subscribe(_)
        | Treatment::Unsubscribe(_)
        | Treatment::Local(Local::Quit | Local::Reset) => Ok(false),
        Treatment::Local(Local::Ping) if request.len() <= 2 => {
            let mut reply = Vec::new();
            let mut writer = ReplyWriter::new(&mut reply, Protocol::Resp2);
            writer.array(2);
            writer.bulk("pong");
            writer.bulk(request.arg(1).unwrap_or_default());
            client.answer(&reply, turn.spares);
            Ok(true)
        }
        Treatment::Local(Local::Ping) => Ok(false),
        _ => Err(Refusal::SubscribersOnly { name: spec.name.to_string() }),
    }
}

fn answer(client: &mut Client, origin: Origin, reply: &[u8], turn: &mut Turn<'_>) {
    client.fill_own(Piece { ticket: origin.ticket, part: 0, bytes: reply, more: false }, turn.spares);
}

fn write(reply: &mut Vec<u8>, protocol: Protocol, word: &str, name: Option<&[u8]>, count: u32) {
    let mut writer = ReplyWriter::new(reply, protocol);
    writer.push(3);
    writer.bulk(word);
    match name {
        Some(name) => writer.bulk(name),
        None => writer.null(),
    }
    writer.integer(i64::from(count));
}
