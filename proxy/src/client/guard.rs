//! What a guarded client's request has to pass before it is handled: whether it may be said, and whom it goes as at the
//! backends. Pure.
//!
//! A tenant's own backend user is a second wall: what the proxy cannot rewrite, as a script's text, the servers keep
//! within that user's rights.

use super::connection::Client;
use super::dispatch::{self, Flow, Turn};
use super::limited;
use crate::backend::lane::LoginId;
use crate::command::spec::{Flags, Local, Spec, Transaction, Treatment};
use crate::command::table::Lookup;
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::tenant::directory::Tenant;

/// Whether this client may say this now, and over which connections. [`Flow::Later`]: over others than those of its
/// requests in flight, which have to be answered first, lest it overtakes them.
///
/// # Errors
/// The limit that refuses it, NOAUTH where it has to log in first, NOPERM where its tenant may not say this.
#[inline(never)]
pub(super) fn admit(
    client: &mut Client,
    found: &Lookup<'_>,
    request: &Request<'_>,
    turn: &Turn<'_>,
) -> Result<Flow, Refusal> {
    if limited::admit(client, request, turn)? == Flow::Paused {
        return Ok(Flow::Paused);
    }
    // What is wrong with a request in itself is said first, as the servers do.
    let Lookup::Found(spec) = found else { return Ok(Flow::Done) };
    if !spec.takes(request.len()) {
        return Ok(Flow::Done);
    }
    let Some(member) = client.session.login().member() else {
        return if spec.flags.contains(Flags::NO_AUTH) { Ok(Flow::Done) } else { Err(Refusal::NoAuth) };
    };
    let tenant = &member.tenant;
    if !tenant.may_say(spec) {
        return Err(Refusal::NoPerm { user: member.user.to_string(), command: spec.name.to_string() });
    }
    if is_scripted(spec) && tenant.has_namespace() && !tenant.has_wall() {
        return Err(Refusal::ScriptWithoutWall { name: spec.name.to_string() });
    }
    if client.session.transaction.is_some() && dispatch::is_queued(spec) {
        // Nothing is sent before EXEC.
        return Ok(Flow::Done);
    }
    let Some(backend) = backend(client, tenant, spec, request) else { return Ok(Flow::Done) };
    if backend != client.backend() {
        if !client.replies.is_empty() {
            return Ok(Flow::Later);
        }
        client.walled = backend != LoginId::PROXY;
    }
    Ok(Flow::Done)
}

/// Whom a request goes as; `None` where it does not go to a backend, or over a connection that is its client's already.
fn backend(client: &Client, tenant: &Tenant, spec: &Spec, request: &Request<'_>) -> Option<LoginId> {
    let waits = dispatch::blocks(spec, request) || matches!(spec.treatment, Treatment::Blocking);
    let is_walled = match spec.treatment {
        Treatment::Local(Local::Info) => false,
        Treatment::Local(_)
        | Treatment::Subscribe(_)
        | Treatment::Unsubscribe(_)
        | Treatment::Monitor
        | Treatment::Refused(_)
        | Treatment::Transaction(Transaction::Multi | Transaction::Discard | Transaction::Unwatch) => {
            return None;
        }
        Treatment::Transaction(Transaction::Exec | Transaction::Watch) | Treatment::Tracking => true,
        _ if is_scripted(spec) || client.tracking().is_some() => true,
        _ => tenant.has_namespace() && waits,
    };
    Some(match is_walled {
        true => tenant.walled(),
        // What no key restricts may not be said by the tenant's user. The proxy asks for it, and shows of the answer
        // what is the tenant's.
        false if tenant.has_namespace() && is_keyless(spec) => LoginId::PROXY,
        false => tenant.ordinary(),
    })
}

/// Whether it runs, or concerns, scripts or functions.
fn is_scripted(spec: &Spec) -> bool {
    let concerns = ["script|", "function|"].iter().any(|container| spec.name.starts_with(container));
    matches!(spec.treatment, Treatment::Scripted) || (concerns && !spec.name.ends_with("|help"))
}

/// Whether it concerns all keys of a server.
fn is_keyless(spec: &Spec) -> bool {
    matches!(
        spec.treatment,
        Treatment::EveryShard(_) | Treatment::RandomKey | Treatment::Scan | Treatment::Local(Local::Info)
    )
}
