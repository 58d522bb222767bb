//! CLIENT LIST and CLIENT KILL: which clients, and how one is shown.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use super::super::private::state::Pin;
use super::super::session::Session;
use crate::command::table::Table;
use crate::pubsub::subscriptions::Counts;
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::resp::scan::parse_number;

/// Which clients a command means: all that every given condition is true of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Whoever asks sees, and closes, clients of its own tenant only.
    tenant: Option<Arc<str>>,
    /// A set: a client may name a million, and each is looked for with each client.
    ids: Option<BTreeSet<u64>>,
    peer: Option<String>,
    local: Option<String>,
    user: Option<String>,
    /// Clients of this type only.
    kind: Option<ClientType>,
    /// Not this client: the one that asks.
    skip: Option<u64>,
    /// Only those connected for at least this many seconds.
    max_age: Option<u64>,
}

/// The servers' types of clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClientType {
    Normal,
    PubSub,
    /// A replica or a primary: none of ours.
    Other,
}

impl Filter {
    /// All clients that this one may see.
    pub(super) fn of(session: &Session) -> Self {
        Self { tenant: session.login().tenant_name().cloned(), ..Self::default() }
    }

    /// The client of this id, as far as this one may see it.
    pub(super) fn of_id(id: u64, session: &Session) -> Self {
        Self { ids: Some([id].into()), ..Self::of(session) }
    }

    /// CLIENT LIST [TYPE type] [ID id ...].
    pub(super) fn of_list(request: &Request<'_>, session: &Session) -> Result<Self, Refusal> {
        let mut filter = Self::of(session);
        match request.arg(2) {
            None => {}
            Some(option) if option.eq_ignore_ascii_case(b"type") && request.len() == 4 => {
                filter.set_type(request.arg(3).unwrap_or_default())?;
            }
            Some(option) if option.eq_ignore_ascii_case(b"id") && request.len() > 3 => {
                filter.ids = Some(request.args_from(3).map(parse_id).collect::<Result<_, _>>()?);
            }
            Some(_) => return Err(Refusal::Syntax),
        }
        Ok(filter)
    }

    /// CLIENT KILL addr:port, or CLIENT KILL option value ...; true for the first form.
    pub(super) fn of_kill(request: &Request<'_>, session: &Session) -> Result<(Self, bool), Refusal> {
        if request.len() == 3 {
            let peer = Some(text(request.arg(2).unwrap_or_default()));
            return Ok((Self { peer, ..Self::of(session) }, true));
        }
        let mut filter = Self { skip: Some(session.id), ..Self::of(session) };
        if !request.len().is_multiple_of(2) {
            return Err(Refusal::Syntax);
        }
        for index in (2..request.len()).step_by(2) {
            let option = request.arg(index).unwrap_or_default().to_ascii_lowercase();
            let value = request.arg(index + 1).unwrap_or_default();
            filter.set_kill_option(&option, value, session)?;
        }
        Ok((filter, false))
    }

    fn set_kill_option(&mut self, option: &[u8], value: &[u8], session: &Session) -> Result<(), Refusal> {
        match option {
            b"id" => {
                self.ids.get_or_insert_default().insert(parse_id(value)?);
            }
            b"addr" => self.peer = Some(text(value)),
            b"laddr" => self.local = Some(text(value)),
            b"user" => self.user = Some(text(value)),
            b"type" => self.set_type(value)?,
            b"maxage" => {
                let seconds = parse_number(value).and_then(|age| u64::try_from(age).ok());
                self.max_age = Some(seconds.ok_or(Refusal::NotAnInteger)?);
            }
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => self.skip = Some(session.id),
            b"skipme" if value.eq_ignore_ascii_case(b"no") => self.skip = None,
            _ => return Err(Refusal::Syntax),
        }
        Ok(())
    }

    fn set_type(&mut self, name: &[u8]) -> Result<(), Refusal> {
        let kind = match name.to_ascii_lowercase().as_slice() {
            b"normal" => ClientType::Normal,
            b"pubsub" => ClientType::PubSub,
            b"master" | b"replica" | b"slave" => ClientType::Other,
            _ => {
                let name = crate::refusal::printable(name, 64);
                return Err(Refusal::Said(format!("ERR Unknown client type '{name}'")));
            }
        };
        self.kind = Some(kind);
        Ok(())
    }

    /// Whether it means this client.
    #[must_use]
    pub fn matches(&self, session: &Session, counts: Counts, now: u64) -> bool {
        let is = |wanted: &Option<String>, address: &dyn Display| {
            wanted.as_ref().is_none_or(|wanted| *wanted == address.to_string())
        };
        let kind = if counts.any() { ClientType::PubSub } else { ClientType::Normal };
        session.login().tenant_name() == self.tenant.as_ref()
            && self.kind.is_none_or(|wanted| wanted == kind)
            && self.skip != Some(session.id)
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&session.id))
            && is(&self.peer, &session.peer)
            && is(&self.local, &session.door.address)
            && self.user.as_ref().is_none_or(|wanted| wanted == session.login().user_name())
            && self.max_age.is_none_or(|age| session.since.until(now) / 1000 >= age)
    }
}

fn parse_id(text: &[u8]) -> Result<u64, Refusal> {
    let id = parse_number(text).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    id.ok_or(Refusal::Keys("ERR client-id should be greater than 0"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a client is at, beside what it said of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    /// What it listens to.
    pub counts: Counts,
    /// How many keys it watches.
    pub watched: u32,
    /// Whether its reads are tracked, and if so whether it hears of every key.
    pub tracking: Option<bool>,
    /// Why it has a connection or a state of its own, and since when.
    pub pin: Option<(Pin, u64)>,
}

/// A client as CLIENT LIST shows it, its line end included. Fields that a proxy has no value for are left
/// out: clients read them by name. `pin` tells why the client has a connection or a state of its own, `pin-age`
/// for how many seconds.
#[must_use]
pub fn line(session: &Session, status: &Status, commands: &Table, now: u64, output_bytes: usize) -> String {
    let empty = Default::default();
    let names = session.names().unwrap_or(&empty);
    let pin = status.pin;
    let multi = session.transaction.as_ref().map_or(-1, |transaction| i64::from(transaction.queued));
    format!(
        "id={} addr={} laddr={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={multi} watch={} \
         omem={} tot-cmds={} cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={} pin={} pin-age={}\n",
        session.id,
        session.peer,
        session.door.address,
        names.name,
        session.since.until(now) / 1000,
        session.last_active.until(now) / 1000,
        flags(status, multi >= 0),
        session.database,
        status.counts.channels,
        status.counts.patterns,
        status.counts.shards,
        status.watched,
        output_bytes,
        session.commands(),
        commands.name_of(session.last_command),
        session.login().user_name(),
        session.protocol.number(),
        names.lib_name,
        names.lib_version,
        pin.map_or("none", |(pin, _)| pin.word()),
        pin.map_or(0, |(_, since)| now.saturating_sub(since) / 1000),
    )
}

/// The servers' letters for what a client does.
fn flags(status: &Status, in_transaction: bool) -> String {
    let letters = [
        (status.counts.monitors, 'O'),
        (status.counts.any(), 'P'),
        (in_transaction, 'x'),
        (status.pin.is_some_and(|(pin, _)| pin == Pin::Blocked), 'b'),
        (status.tracking.is_some(), 't'),
        (status.tracking == Some(true), 'B'),
    ];
    let set: String = letters.iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}
