//! A client in a namespace: its requests get the prefix before they go any way that others go, what comes back loses
//! it, and what is asked of all keys is asked of its own. Pure.

use std::borrow::Cow;

use super::connection::Client;
use super::dispatch::{self, Flow, Turn};
use super::own_log;
use super::own_scripts;
use super::send::start_plan;
use super::session::Session;
use super::subscribe;
use crate::cluster::slot::Slot;
use crate::command::reviewed::{All, Asks, InNamespace, Tells};
use crate::command::spec::{Local, Spec, Transaction as Command, Treatment};
use crate::command::table::Lookup;
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::route::plan::walk::{self, Wanted};
use crate::tenant::channels;
use crate::tenant::namespace::Namespace;
use crate::tenant::rewrite::{Asker, Rewriting, Unwritable};
use crate::tenant::translation::{Translating, Translation};

/// Whose names a client's are; `None`: the cluster's own.
#[must_use]
pub(super) fn asker(session: &Session) -> Option<Asker> {
    let namespace = *session.namespace()?;
    Some(Asker { namespace, database: session.database })
}

/// Handles a request that may be said by its client.
///
/// # Errors
/// The refusal that is the answer.
pub(super) fn route(
    client: &mut Client,
    asker: &Asker,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    if is_another(spec) && !client.replies.is_empty() {
        // What is under way still loses this tenant's prefix.
        return Ok(Flow::Later);
    }
    let mut rewriter = turn.spares.take_rewriter();
    let rewritten = rewriter.rewrite(asker, spec, request, &turn.shared.process.script_names);
    let handled = match rewritten {
        Err(why) => Err(refusal(why, spec)),
        Ok(_) if is_unqueued(client, spec) => Err(not_queued(spec)),
        Ok(Rewriting::Unchanged) => handle(client, asker, spec, request, turn),
        Ok(_) if asks(spec) == Asks::Load => {
            let told = Translation::Instead(own_scripts::loaded(request.arg(2).unwrap_or_default()));
            turn.translating = Some(translating(asker, told));
            dispatch::route_on(client, spec, &rewriter.request(), turn)
        }
        Ok(Rewriting::Changed) => handle(client, asker, spec, &rewriter.request(), turn),
        Ok(Rewriting::Renamed) => match turn.commands.find(&rewriter.request()) {
            Lookup::Found(renamed) => {
                let tells = tells(spec);
                handle_as(client, asker, renamed, (tells, &rewriter.request()), turn)
            }
            _ => Err(Refusal::unknown_command(request.name(), request.args_from(1))),
        },
    };
    turn.translating = None;
    turn.spares.give_rewriter(rewriter);
    handled
}

/// Whether the client may be somebody else behind it.
fn is_another(spec: &Spec) -> bool {
    matches!(spec.treatment, Treatment::Local(Local::Auth | Local::Hello | Local::Reset))
}

fn asks(spec: &Spec) -> Asks {
    match spec.in_namespace {
        InNamespace::Served { asks, .. } => asks,
        InNamespace::Refused(_) => Asks::Nothing,
    }
}

fn tells(spec: &Spec) -> Tells {
    match spec.in_namespace {
        InNamespace::Served { tells, .. } => tells,
        InNamespace::Refused(_) => Tells::Nothing,
    }
}

fn handle(
    client: &mut Client,
    asker: &Asker,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    handle_as(client, asker, spec, (tells(spec), request), turn)
}

/// Handles a request whose names are the servers', and notes what its reply tells.
fn handle_as(
    client: &mut Client,
    asker: &Asker,
    spec: &Spec,
    (tells, request): (Tells, &Request<'_>),
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    let asks = asks(spec);
    if matches!(asks, Asks::All(_) | Asks::Exist | Asks::Forget | Asks::Log) {
        if client.subscriptions.is_some() && subscribe::restrict(client, spec, request, turn)? {
            return Ok(Flow::Done);
        }
        let whose = &asker.namespace;
        match asks {
            Asks::All(all) => return walk_through(client, asker, (all, tells), request, turn),
            Asks::Log => own_log::ask(client, asker, spec, request, turn)?,
            Asks::Exist => own_scripts::exist(client, whose, request, turn),
            _ => own_scripts::forget(client, whose, request, turn)?,
        }
        return Ok(Flow::Done);
    }
    let queued = |client: &Client| client.session.transaction.as_ref().map_or(0, |it| it.queued);
    let before = queued(client);
    turn.translating = match spec.treatment {
        Treatment::Transaction(Command::Exec) => {
            let told = client.session.transaction.as_ref().map(|transaction| transaction.tells.clone());
            told.map(|told| translating(asker, Translation::Exec(told.into())))
        }
        _ => Some(translating(asker, Translation::Of(tells))),
    }
    .filter(|translating| !translating.translation.is_of_errors());
    let flow = dispatch::route_on(client, spec, request, turn)?;
    if queued(client) > before
        && let Some(transaction) = &mut client.session.transaction
    {
        transaction.tells.push(tells);
    }
    Ok(flow)
}

pub(super) fn translating(asker: &Asker, translation: Translation) -> Box<Translating> {
    Box::new(Translating { namespace: asker.namespace, translation })
}

/// What would be queued, but speaks of all keys or changes what names mean.
fn is_unqueued(client: &Client, spec: &Spec) -> bool {
    use Asks::{All, Exist, Forget, Load, Log};
    client.session.transaction.is_some()
        && (matches!(
            spec.in_namespace,
            InNamespace::Served { asks: All(_) | Exist | Forget | Load | Log, .. }
        ) || matches!(spec.treatment, Treatment::Local(Local::Select)))
}

fn not_queued(spec: &Spec) -> Refusal {
    let why = "it speaks of all keys, scripts or slow commands of a namespace, or of another part of it";
    Refusal::NotQueued { name: spec.name.to_string(), why }
}

/// KEYS, DBSIZE, RANDOMKEY, FLUSHDB, FLUSHALL: a plan goes through the keys of the namespace.
fn walk_through(
    client: &mut Client,
    asker: &Asker,
    (all, tells): (All, Tells),
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    if !client.replies.is_empty() {
        // What its client asked before must have happened.
        return Ok(Flow::Later);
    }
    let own = [asker.prefix().as_bytes(), b"*"].concat();
    let (patterns, wanted) = match all {
        All::Names => {
            let pattern = request.arg(1).unwrap_or_default();
            (vec![[asker.prefix().as_bytes(), pattern].concat()], Wanted::Names)
        }
        All::Count => (vec![own], Wanted::Count),
        All::Any => (vec![own], Wanted::Any { pick: turn.random }),
        All::Remove | All::RemoveEverywhere if !is_flush(request) => return Err(Refusal::Syntax),
        All::Remove => (vec![own], Wanted::Removal),
        All::RemoveEverywhere => {
            // Of database 0, and of all others.
            let stem = asker.namespace.stem();
            let patterns = [&b":*"[..], b".*:*"].map(|rest| [stem.as_bytes(), rest].concat());
            (patterns.into(), Wanted::Removal)
        }
    };
    let map = turn.pool.slot_map().clone();
    let home = asker.namespace.slot();
    let slots = home.map_or_else(|| map.shard_slots().to_vec(), |slot| vec![slot]);
    let shard =
        |slot| walk::Shard { slot, primary: map.owner_endpoint(slot).cloned(), is_of_slot: home.is_some() };
    let shards = slots.into_iter().map(shard).collect();
    let most = turn.shared.cluster.cross_slot_memory;
    let together = turn.shared.together;
    let place = move |slot: Slot| together.place(slot, &map);
    let begun = walk::begin(wanted, patterns, shards, (most, client.session.protocol), place);
    let begun = begun.ok_or(Refusal::NotReady)?;
    turn.translating = Some(translating(asker, Translation::Of(tells)));
    turn.metrics.commands_cross_slot.add(1);
    let lane = turn.plan_lane(client);
    start_plan(client, begun, lane, turn);
    Ok(Flow::Done)
}

/// Whether FLUSHDB or FLUSHALL has no option but the two that it takes.
fn is_flush(request: &Request<'_>) -> bool {
    let is = |word: &[u8]| request.arg(1).is_none_or(|arg| arg.eq_ignore_ascii_case(word));
    request.len() <= 2 && (is(b"SYNC") || is(b"ASYNC"))
}

/// What is said to a request that can't be written for the servers.
fn refusal(why: Unwritable, spec: &Spec) -> Refusal {
    let unsupported = |why| Refusal::Unsupported { name: spec.name.to_string(), why };
    match why {
        Unwritable::Refused(why) => unsupported(why.text()),
        Unwritable::Keys(error) => Refusal::Said(error.text(spec).into_owned()),
        Unwritable::Syntax => Refusal::Syntax,
        Unwritable::Channel(why) => unsupported(why.text()),
        Unwritable::TooLong => unsupported("a name is too long"),
        Unwritable::NotAnInteger => Refusal::NotAnInteger,
        Unwritable::NoDatabase => Refusal::DbIndex,
        Unwritable::SameObject => Refusal::Keys("ERR source and destination objects are the same"),
    }
}

/// An error as this client is told it; `None` of what is none, or may pass as it is.
#[inline]
pub(super) fn error(session: &Session, reply: &[u8]) -> Option<Vec<u8>> {
    if reply.first() != Some(&b'-') {
        return None;
    }
    let namespace = *session.namespace()?;
    Some(Translating { namespace, translation: Translation::Of(Tells::Nothing) }.told(reply))
}

/// A push that says which keys were changed, without those that are not the client's.
pub(super) fn invalidation(session: &Session, push: &[u8]) -> Option<Vec<u8>> {
    let namespace = *session.namespace()?;
    // As SCAN's pages: names stand in the second element.
    Some(Translating { namespace, translation: Translation::Of(Tells::Scan) }.told(push))
}

/// A channel's name as its subscribers wrote it.
pub(super) fn channel<'n>(namespace: Option<&Namespace>, name: &'n [u8]) -> Cow<'n, [u8]> {
    let told = namespace.and_then(|namespace| channels::incoming(namespace, name));
    told.unwrap_or(Cow::Borrowed(name))
}
