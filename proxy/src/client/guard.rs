//! What a guarded client's request has to pass before it is handled. Pure.

use super::session::Session;
use crate::command::spec::{Flags, Spec};
use crate::refusal::Refusal;

/// Whether this client may say this.
///
/// # Errors
/// NOAUTH where it has to log in first, NOPERM where its tenant may not say this.
#[cold]
pub(super) fn admit(session: &Session, spec: &Spec) -> Result<(), Refusal> {
    let Some(member) = session.login().member() else {
        return if spec.flags.contains(Flags::NO_AUTH) { Ok(()) } else { Err(Refusal::NoAuth) };
    };
    if !member.tenant.may_say(spec) {
        return Err(Refusal::NoPerm { user: member.user.to_string(), command: spec.name.to_string() });
    }
    Ok(())
}
