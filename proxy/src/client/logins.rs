//! Logins of addresses from which several failed: each waits before it is looked at, and its client is not read
//! meanwhile. Others are not touched. Pure.

use super::connection::Client;
use super::dispatch::Turn;
use super::limited::Wait;
use super::session::{Login, Session};
use crate::command::spec::Local;
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::tenant::directory::LoginError;
use crate::tenant::logins::Source;

/// Whether this request is a login that has to wait; its client then does.
pub(super) fn has_to_wait(
    client: &mut Client,
    which: Local,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> bool {
    let is_login = which == Local::Auth || (which == Local::Hello && request.len() > 2);
    if !is_login {
        return false;
    }
    if client.wait == Wait::LoginOver {
        client.wait = Wait::No;
        return false;
    }
    let delay = turn.shared.process.failed_logins.delay(Source::of(client.session.peer.ip()), turn.now);
    if delay == 0 {
        return false;
    }
    turn.metrics.logins_delayed.add(1);
    turn.limits.set_timer(turn.now + delay, client.asker(turn));
    client.pause(Wait::Login);
    true
}

/// Checks a password; what came of it counts for the address. By a door of a tenant's own only its users get in.
///
/// # Errors
/// WRONGPASS, whatever of the two was wrong.
pub(super) fn log_in(
    session: &Session,
    (user, password): (&[u8], &[u8]),
    turn: &Turn<'_>,
) -> Result<Login, Refusal> {
    let source = Source::of(session.peer.ip());
    let directory = &turn.shared.process.tenants;
    let failed = match directory.log_in(session.door.tenant.as_deref(), user, password) {
        Ok(member) => {
            turn.shared.process.failed_logins.note_success(source);
            return Ok(Login::As(member.clone()));
        }
        Err(LoginError::UnknownUser) => &turn.metrics.logins_failed_user,
        Err(LoginError::WrongPassword) => &turn.metrics.logins_failed_password,
    };
    failed.add(1);
    turn.shared.process.failed_logins.note_failure(source, turn.now);
    Err(Refusal::WrongPass)
}
