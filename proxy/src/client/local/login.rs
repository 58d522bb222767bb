//! HELLO, AUTH, SELECT: who the client is and what its connection speaks.

use super::super::dispatch::Turn;
use super::super::logins;
use super::super::session::Session;
use super::Answer;
use super::client::checked_name;
use crate::refusal::Refusal;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;
use crate::resp::scan::parse_number;
use crate::tenant::namespace::Namespace;

/// `HELLO [2|3 [AUTH user password] [SETNAME name]]`.
///
/// # Errors
/// NOPROTO, WRONGPASS, NOAUTH, or a syntax error; nothing is changed then.
pub(super) fn hello(
    session: &mut Session,
    request: &Request<'_>,
    turn: &Turn<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let protocol = match request.arg(1).map(parse_number) {
        None => session.protocol,
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => return Err(Refusal::NoProto),
        Some(None) => {
            let text = "ERR Protocol version is not an integer or out of range";
            return Err(Refusal::Keys(text));
        }
    };
    let options = HelloOptions::parse(request)?;
    let login = match options.auth {
        Some(words) => logins::log_in(session, words, turn)?,
        None if session.is_logged_in() => session.login().clone(),
        None => return Err(Refusal::HelloNoAuth),
    };
    session.log_in(login);
    session.protocol = protocol;
    if let Some(name) = options.name {
        session.names_mut().name = name;
    }
    write_hello(session, turn, out);
    Ok(Answer::Reply)
}

#[derive(Default)]
struct HelloOptions<'a> {
    auth: Option<(&'a [u8], &'a [u8])>,
    name: Option<Box<str>>,
}

impl<'a> HelloOptions<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        let mut args = request.args_from(2);
        while let Some(option) = args.next() {
            if option.eq_ignore_ascii_case(b"auth") {
                let (Some(user), Some(password)) = (args.next(), args.next()) else {
                    return Err(Self::unknown(option));
                };
                options.auth = Some((user, password));
            } else if option.eq_ignore_ascii_case(b"setname") {
                options.name = Some(checked_name(args.next().ok_or_else(|| Self::unknown(option))?)?);
            } else {
                return Err(Self::unknown(option));
            }
        }
        Ok(options)
    }

    fn unknown(option: &[u8]) -> Refusal {
        Refusal::Said(format!("ERR Syntax error in HELLO option '{}'", crate::refusal::printable(option, 64)))
    }
}

fn write_hello(session: &Session, turn: &Turn<'_>, out: &mut Vec<u8>) {
    // Of the cluster that it is served by from here on.
    let server = turn.shared.process.server(session.login().cluster().unwrap_or(turn.shared.id));
    let mut writer = ReplyWriter::new(out, session.protocol);
    writer.map(7);
    writer.bulk(b"server");
    writer.bulk(server.name.as_bytes());
    writer.bulk(b"version");
    writer.bulk(server.version.as_bytes());
    writer.bulk(b"proto");
    writer.integer(i64::from(session.protocol.number()));
    writer.bulk(b"id");
    writer.integer(session.id as i64);
    writer.bulk(b"mode");
    writer.bulk(b"standalone");
    writer.bulk(b"role");
    writer.bulk(b"master");
    writer.bulk(b"modules");
    writer.array(0);
}

/// `AUTH [user] password`.
///
/// # Errors
/// WRONGPASS, or that no password is set. A session that was logged in stays so.
pub(super) fn auth(
    session: &mut Session,
    request: &Request<'_>,
    turn: &Turn<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let (user, password) = match (request.arg(1), request.arg(2), request.arg(3)) {
        (Some(_), None, None) if !turn.shared.process.tenants.has_users(session.door.tenant.as_deref()) => {
            return Err(Refusal::AuthUnneeded);
        }
        (Some(password), None, None) => (&b"default"[..], password),
        (Some(user), Some(password), None) => (user, password),
        _ => return Err(Refusal::Syntax),
    };
    let login = logins::log_in(session, (user, password), turn)?;
    session.log_in(login);
    ReplyWriter::new(out, session.protocol).simple("OK");
    Ok(Answer::Reply)
}

/// `SELECT index`: the lane that later requests take.
///
/// # Errors
/// Where there is no such database.
pub(super) fn select(
    session: &mut Session,
    request: &Request<'_>,
    turn: &Turn<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let index = request.arg(1).and_then(parse_number).ok_or(Refusal::NotAnInteger)?;
    let databases = session.namespace().map_or(turn.shared.databases, Namespace::databases);
    session.database =
        u16::try_from(index).ok().filter(|index| *index < databases).ok_or(Refusal::DbIndex)?;
    ReplyWriter::new(out, session.protocol).simple("OK");
    Ok(Answer::Reply)
}
