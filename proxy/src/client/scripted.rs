//! Scripts and functions: bodies that pass are kept, and a node that was not told a script over this connection yet is
//! told it in front of its first call, so that no client learns which servers have forgotten it. Pure: queues on links.

use super::connection::Client;
use super::dispatch::{self, Turn};
use super::replies::Expect;
use super::send;
use crate::backend::in_flight::{Origin, Pending};
use crate::backend::link::Link;
use crate::cluster::slot::Slot;
use crate::command::digest::Digest;
use crate::command::groups::with_request;
use crate::command::scripted::{self, Scripted};
use crate::command::spec::{Merge as Policy, Spec};
use crate::metrics::WorkerMetrics;
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::route::merge::MergeKind;
use crate::scripts::known::Known;

/// Sends EVAL, EVALSHA, FCALL and their read-only forms to the node of their keys.
///
/// # Errors
/// CROSSSLOT where the keys are not in one slot.
pub(super) fn send(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let slot = dispatch::slot_of(spec, request, turn)?.unwrap_or_else(|| turn.fixed_slot(client));
    let lane = turn.lane(client);
    let deadline = turn.now + turn.shared.command_timeout;
    let called = Scripted::of(request);
    let mut unproven = false;
    match called {
        Some(Scripted::Body(body)) => turn.scripts.note_body(body, turn.now),
        Some(Scripted::Named(digest)) => {
            if let Some(link) = turn.pool.link_of(slot, lane) {
                tell(turn.scripts, digest, link, (slot, deadline, turn.now), turn.metrics);
            }
        }
        Some(Scripted::Function(_)) => {
            unproven = turn.pool.link_of(slot, lane).is_some_and(|link| !link.told.proven);
        }
        None => {}
    }
    let expect = match called {
        _ if client.session.take_mute() => Expect::Nothing,
        Some(called) => Expect::Alike(called.tag()),
        None => Expect::Plain,
    };
    let origin = send::open(client, expect, turn);
    let pending = Pending::new(origin, slot, deadline);
    let pending = if unproven { pending.probing() } else { pending };
    send::send_pending(client, origin, pending, lane, request.frame(), turn);
    // A node that has not run a function over this connection may lack it, as a new one does: until that is
    // known nothing of this client goes behind, which the call could not be sent again behind.
    client.congested |= unproven;
    Ok(())
}

/// In front of a request that is sent again: see [`tell`].
pub fn tell_again(
    scripts: &mut Known,
    link: &mut Link,
    (request, pending, now): (&[u8], &Pending, u64),
    metrics: &WorkerMetrics,
) {
    // Most are none: their first letter tells.
    let begins = request.split(|byte| *byte == b'\n').nth(2);
    if !begins.is_some_and(|name| name.len() > 7 && matches!(name.first(), Some(b'E' | b'e'))) {
        return;
    }
    let called = with_request(request, |request| match Scripted::of(request) {
        Some(Scripted::Named(digest)) => Some(digest),
        _ => None,
    });
    if let Some(digest) = called {
        tell(scripts, digest, link, (pending.slot, pending.deadline, now), metrics);
    }
}

/// Has a node told a script, in front of what is queued next on its link, unless it was told over this connection.
fn tell(
    scripts: &mut Known,
    digest: Digest,
    link: &mut Link,
    (slot, deadline, now): (Slot, u64, u64),
    metrics: &WorkerMetrics,
) {
    if link.is_down() {
        return;
    }
    if let Some(body) = scripts.body_to_tell(digest, &mut link.told, now) {
        metrics.scripts_told.add(1);
        metrics.backend_requests.add(1);
        link.push(false, Pending::new(Origin::TELLING, slot, deadline), &scripted::load(&body));
    }
}

/// The request with the script's body in the place of its name, where it has to be sure to run and can't be sent
/// again: inside a transaction, over a connection of the client's own. `None`: as it is.
pub(super) fn with_body(request: &Request<'_>, turn: &mut Turn<'_>) -> Option<Vec<u8>> {
    if request.name().eq_ignore_ascii_case(b"script")
        && request.arg(1).is_some_and(|word| word.eq_ignore_ascii_case(b"flush"))
        && is_flush(request)
    {
        // Queued: what is forgotten too early costs nobody anything.
        turn.scripts.flush();
    }
    match Scripted::of(request)? {
        Scripted::Body(body) => {
            turn.scripts.note_body(body, turn.now);
            None
        }
        Scripted::Named(digest) if turn.scripts.store().is_on() => {
            turn.scripts.store().body(digest).map(|body| scripted::with_body(request, &body))
        }
        _ => None,
    }
}

/// Takes note of a command to every shard, if it is of scripts or functions, and says how its replies become one.
pub(super) fn everywhere(spec: &Spec, request: &Request<'_>, policy: Policy, turn: &Turn<'_>) -> MergeKind {
    match &*spec.name {
        "script|load" => turn.scripts.note_load(request.arg(2).unwrap_or_default()),
        "script|flush" if is_flush(request) => turn.scripts.flush(),
        "script|exists" if turn.scripts.store().is_on() => {
            let known = |name| Digest::parse(name).is_some_and(|digest| turn.scripts.store().has(digest));
            return MergeKind::Exist { known: request.args_from(2).map(known).collect() };
        }
        "function|delete" => {
            turn.shared.note_removed_functions();
            return MergeKind::Deleted;
        }
        "function|flush" | "function|restore" => turn.shared.note_removed_functions(),
        _ => {}
    }
    MergeKind::Policy(policy)
}

/// Whether the servers take it.
pub(super) fn is_flush(request: &Request<'_>) -> bool {
    let is = |word: &[u8]| request.arg(2).is_none_or(|arg| arg.eq_ignore_ascii_case(word));
    request.len() <= 3 && (is(b"sync") || is(b"async"))
}
