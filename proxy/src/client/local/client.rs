//! CLIENT and its subcommands: they speak of the proxy's clients, in the proxy's ids.

use super::super::dispatch::Turn;
use super::super::moving;
use super::super::session::{ReplyMode, Session};
use super::list::{self, Filter, Status};
use super::{Answer, Ask};
use crate::command::spec::Spec;
use crate::refusal::Refusal;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;
use crate::resp::scan::parse_number;

/// Answers one CLIENT subcommand.
///
/// # Errors
/// The refusal that is the answer.
pub(super) fn answer(
    session: &mut Session,
    status: &Status,
    spec: &Spec,
    request: &Request<'_>,
    turn: &Turn<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let mut writer = ReplyWriter::new(out, session.protocol);
    match &*spec.name {
        "client|id" => writer.integer(session.id as i64),
        "client|getname" if session.name().is_empty() => writer.null(),
        "client|getname" => writer.bulk(session.name().as_bytes()),
        "client|setname" => {
            session.names_mut().name = checked_name(request.arg(2).unwrap_or_default())?;
            writer.simple("OK");
        }
        "client|setinfo" => {
            set_info(session, request)?;
            writer.simple("OK");
        }
        "client|info" => {
            let line = list::line(session, status, turn.commands, turn.now, 0);
            writer.verbatim(&line);
        }
        "client|list" => return Ok(Answer::Question(Ask::List(Filter::of_list(request, session)?))),
        "client|kill" => {
            let (filter, one) = Filter::of_kill(request, session)?;
            return Ok(Answer::Question(Ask::Kill { filter, one, asker: session.id }));
        }
        "client|reply" => return reply_mode(session, request, out),
        "client|no-evict" | "client|no-touch" => {
            // Accepted and without effect: the proxy evicts nobody, and reads touch keys as the backend says.
            on_or_off(request)?;
            writer.simple("OK");
        }
        "client|capa" => writer.simple("OK"),
        "client|maint_notifications" => {
            moving::set(session, request)?;
            writer.simple("OK");
        }
        "client|unblock" => {
            let id = request.arg(2).and_then(parse_number).ok_or(Refusal::NotAnInteger)?;
            let reason = request.arg(3).unwrap_or(b"timeout");
            let with_error = reason.eq_ignore_ascii_case(b"error");
            if !with_error && !reason.eq_ignore_ascii_case(b"timeout") {
                return Err(Refusal::Keys("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
            }
            let id = u64::try_from(id).unwrap_or(0);
            let filter = Filter::of_id(id, session);
            return Ok(Answer::Question(Ask::Unblock { filter, with_error }));
        }
        "client|help" => write_help(&mut writer),
        _ => return Err(Refusal::Unsupported { name: spec.name.to_string(), why: "not by this proxy" }),
    }
    Ok(Answer::Reply)
}

/// A name that CLIENT LIST can show: printable ASCII without spaces, the servers' rule. Empty takes the
/// name away.
///
/// # Errors
/// Where it is not.
pub(super) fn checked_name(name: &[u8]) -> Result<Box<str>, Refusal> {
    if name.len() > LONGEST_NAME || !name.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::BadClientName);
    }
    Ok(String::from_utf8_lossy(name).into())
}

// What one client may have us keep for it.
const LONGEST_NAME: usize = 1024;

fn set_info(session: &mut Session, request: &Request<'_>) -> Result<(), Refusal> {
    let option = request.arg(2).unwrap_or_default();
    let value = checked_name(request.arg(3).unwrap_or_default())?;
    if option.eq_ignore_ascii_case(b"lib-name") {
        session.names_mut().lib_name = value;
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        session.names_mut().lib_version = value;
    } else {
        let option = crate::refusal::printable(option, 64);
        return Err(Refusal::Said(format!("ERR Unrecognized option '{option}'")));
    }
    Ok(())
}

fn reply_mode(session: &mut Session, request: &Request<'_>, out: &mut Vec<u8>) -> Result<Answer, Refusal> {
    let mode = request.arg(2).unwrap_or_default();
    if mode.eq_ignore_ascii_case(b"on") {
        session.reply_mode = ReplyMode::On;
        ReplyWriter::new(out, session.protocol).simple("OK");
        return Ok(Answer::Reply);
    }
    if mode.eq_ignore_ascii_case(b"off") {
        session.reply_mode = ReplyMode::Off;
    } else if mode.eq_ignore_ascii_case(b"skip") {
        // Behind OFF a SKIP changes nothing, as with the servers.
        if session.reply_mode != ReplyMode::Off {
            session.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(Refusal::Syntax);
    }
    Ok(Answer::Silence)
}

fn on_or_off(request: &Request<'_>) -> Result<(), Refusal> {
    let word = request.arg(2).unwrap_or_default();
    if word.eq_ignore_ascii_case(b"on") || word.eq_ignore_ascii_case(b"off") {
        Ok(())
    } else {
        Err(Refusal::Syntax)
    }
}

fn write_help(writer: &mut ReplyWriter<'_>) {
    const HELP: &[&str] = &[
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection, which is the proxy's.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are: ADDR, LADDR, ID, USER, TYPE, SKIPME, MAXAGE.",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <id> [<id> ...]]",
        "    Return information about client connections of this proxy.",
        "MAINT_NOTIFICATIONS (ON [MOVING-ENDPOINT-TYPE <type>]|OFF)",
        "    Be told with the push MOVING when to connect elsewhere. Needs RESP3. Types: INTERNAL-IP, EXTERNAL-IP,",
        "    INTERNAL-FQDN, EXTERNAL-FQDN, NONE.",
        "NO-EVICT (ON|OFF)",
        "    Accepted, without effect.",
        "NO-TOUCH (ON|OFF)",
        "    Accepted, without effect.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "SETINFO <option> <value>",
        "    Set the client's library name (LIB-NAME) or version (LIB-VER).",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Unblock the specified blocked client.",
        "CACHING (YES|NO)",
        "    Refused: OPTIN and OPTOUT are not served.",
        "GETREDIR",
        "    Return -1 without tracking, 0 with it: invalidations are not redirected.",
        "TRACKING (ON|OFF) [BCAST] [PREFIX <prefix> [...]] [NOLOOP]",
        "    Control server assisted client side caching. Needs RESP3.",
        "TRACKINGINFO",
        "    Report tracking status for the current connection.",
        "HELP",
        "    Print this help.",
    ];
    writer.array(HELP.len());
    for line in HELP {
        writer.simple(line);
    }
}
