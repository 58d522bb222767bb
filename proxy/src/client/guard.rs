//! What a guarded client's request has to pass before it is handled. Pure.

use super::connection::Client;
use super::dispatch::{Flow, Turn};
use super::limited;
use crate::command::spec::Flags;
use crate::command::table::Lookup;
use crate::refusal::Refusal;
use crate::resp::request::Request;

/// Whether this client may say this, and now.
///
/// # Errors
/// The limit that refuses it, NOAUTH where it has to log in first, NOPERM where its tenant may not say this.
#[cold]
pub(super) fn admit(
    client: &mut Client,
    found: &Lookup<'_>,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
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
    if !member.tenant.may_say(spec) {
        return Err(Refusal::NoPerm { user: member.user.to_string(), command: spec.name.to_string() });
    }
    Ok(Flow::Done)
}
