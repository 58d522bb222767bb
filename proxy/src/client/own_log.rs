//! SLOWLOG and COMMANDLOG, as a client in a namespace says them: every shard is asked for its entries, and shown are those
//! of the namespace's own commands. Pure.

use super::connection::Client;
use super::dispatch::Turn;
use super::namespaced::translating;
use super::send::send_everywhere;
use crate::command::spec::{Merge as Policy, Spec};
use crate::refusal::Refusal;
use crate::resp::command;
use crate::resp::request::Request;
use crate::resp::scan::parse_number;
use crate::route::merge::MergeKind;
use crate::tenant::rewrite::Asker;
use crate::tenant::slow_log::SlowLog;
use crate::tenant::translation::Translation;

// Of each shard: servers keep 128 by themselves, each of 4 KiB at most.
const LOOKED_AT: &str = "1024";

// As the servers have it.
const NEWEST: usize = 10;

/// `SLOWLOG GET [count]`, `SLOWLOG LEN`, `COMMANDLOG GET count type`, `COMMANDLOG LEN type`.
///
/// # Errors
/// For another count or type, in the servers' words; where no shard is known yet.
pub(super) fn ask(
    client: &mut Client,
    asker: &Asker,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let is_get = spec.name.ends_with("|get");
    let behind = 2 + usize::from(is_get);
    let log = match is_get {
        true => SlowLog::Newest {
            most: count(request.arg(2))?,
            scripts: turn.shared.process.script_names.all_of(asker.namespace.id()),
        },
        false => SlowLog::Count,
    };
    let mut frame = Vec::new();
    if spec.name.starts_with("commandlog") {
        let kind = kind(request.arg(behind).unwrap_or_default())?;
        command::append(&["COMMANDLOG", "GET", LOOKED_AT, kind], &mut frame);
    } else if request.len() > behind {
        return Err(Refusal::Syntax);
    } else {
        command::append(&["SLOWLOG", "GET", LOOKED_AT], &mut frame);
    }
    turn.translating = Some(translating(asker, Translation::Log(Box::new(log))));
    send_everywhere(client, &frame, MergeKind::Policy(Policy::Concat), turn)
}

/// How many entries; -1 is all.
fn count(written: Option<&[u8]>) -> Result<usize, Refusal> {
    let Some(written) = written else { return Ok(NEWEST) };
    match parse_number(written).ok_or(Refusal::NotAnInteger)? {
        -1 => Ok(usize::MAX),
        count => usize::try_from(count)
            .map_err(|_| Refusal::Keys("ERR count should be greater than or equal to -1")),
    }
}

fn kind(written: &[u8]) -> Result<&'static str, Refusal> {
    let kinds = ["slow", "large-request", "large-reply"];
    let known = kinds.into_iter().find(|kind| kind.as_bytes().eq_ignore_ascii_case(written));
    known.ok_or(Refusal::Keys("ERR type should be one of the following: slow, large-request, large-reply"))
}
