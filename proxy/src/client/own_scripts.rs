//! SCRIPT, as a client in a namespace says it: of its own tenant's scripts, whatever the servers keep. Pure.

use super::connection::Client;
use super::dispatch::Turn;
use super::scripted;
use crate::command::digest::Digest;
use crate::refusal::Refusal;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;
use crate::tenant::namespace::Namespace;

/// `SCRIPT EXISTS sha1 ...`.
pub(super) fn exist(client: &mut Client, whose: &Namespace, request: &Request<'_>, turn: &mut Turn<'_>) {
    let is_known = |name| {
        Digest::parse(name)
            .is_some_and(|digest| turn.shared.process.script_names.of(whose.id(), digest).is_some())
    };
    let mut reply = Vec::new();
    let mut writer = ReplyWriter::new(&mut reply, client.session.protocol);
    writer.array(request.len().saturating_sub(2));
    request.args_from(2).for_each(|name| writer.integer(is_known(name).into()));
    client.answer(&reply, turn.spares);
}

/// `SCRIPT FLUSH [ASYNC | SYNC]`. The servers keep what others may have said too.
///
/// # Errors
/// For any other option.
pub(super) fn forget(
    client: &mut Client,
    whose: &Namespace,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    if !scripted::is_flush(request) {
        return Err(Refusal::Keys("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    turn.shared.process.script_names.forget(whose.id());
    client.answer(b"+OK\r\n", turn.spares);
    Ok(())
}

/// What SCRIPT LOAD is answered where the servers took the script: the name by which its author knows it.
pub(super) fn loaded(script: &[u8]) -> Box<[u8]> {
    let name = Digest::of(script).to_string();
    format!("${}\r\n{name}\r\n", name.len()).into_bytes().into()
}
