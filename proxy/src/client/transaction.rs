//! MULTI to EXEC: commands are kept here until EXEC sends them all at once, so that nobody else's command can
//! come between them on a shared connection. Pure but for what it queues on links.

use super::connection::Client;
use super::dispatch::{self, Flow, Turn};
use super::private::job::Kind;
use super::private::start;
use super::retry::Target;
use super::send;
use crate::backend::in_flight::Pending;
use crate::cluster::slot::Slot;
use crate::command::spec::{Flags, Local, Spec, Transaction as Command, Treatment};
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::resp::scan::parse_number;
use crate::route::split::Together;

/// What a client has queued since MULTI.
#[derive(Default, Debug)]
pub struct Transaction {
    /// The requests, one behind the other.
    frames: Vec<u8>,
    /// How many those are.
    pub queued: u32,
    /// Where they go; `None` while none says.
    slot: Option<Slot>,
    /// One could not be queued: EXEC will not run any.
    aborted: bool,
    /// The database of the last SELECT among them.
    selected: Option<u16>,
}

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

impl Transaction {
    /// Bytes that it keeps.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.frames.capacity()
    }

    fn whole(&self) -> Vec<u8> {
        [MULTI, &self.frames, EXEC].concat()
    }
}

/// A command could not be queued.
pub(super) fn abort(client: &mut Client) {
    if let Some(transaction) = &mut client.session.transaction {
        transaction.aborted = true;
    }
}

/// EXEC itself was refused: as with the servers that ends the transaction, if there is one, and says so.
pub(super) fn exec_refused(client: &mut Client, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::WrongArity { .. } | Refusal::SubscribersOnly { .. } | Refusal::NoAuth => {
            client.session.transaction = None;
            client.break_watch();
            let text = refusal.to_string();
            let why = text.strip_prefix("ERR ").unwrap_or(&text);
            Refusal::Said(format!("EXECABORT Transaction discarded because of: {why}"))
        }
        other => other,
    }
}

/// MULTI, EXEC, DISCARD, WATCH, UNWATCH.
///
/// # Errors
/// The refusal that is the answer.
pub(super) fn handle(
    client: &mut Client,
    command: Command,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    let watches = client.private.as_ref().is_some_and(|private| private.pinned.watch().is_some());
    let within = client.session.transaction.is_some();
    let is_alone = client.replies.is_empty();
    match command {
        Command::Multi if within => return Err(Refusal::NestedMulti),
        Command::Multi => {
            client.session.transaction = Some(Box::default());
            client.answer(b"+OK\r\n", turn.spares);
        }
        Command::Exec => return exec(client, watches, turn),
        Command::Discard if !within => return Err(Refusal::DiscardWithoutMulti),
        Command::Watch if within => return Err(Refusal::WatchInMulti),
        Command::Watch | Command::Discard | Command::Unwatch
            if (watches || command == Command::Watch) && !is_alone =>
        {
            return Ok(Flow::Later);
        }
        Command::Watch => {
            let slot = dispatch::slot_of(spec, request, turn)?.unwrap_or_else(|| turn.fixed_slot());
            start::watch(client, request, slot, turn)?;
        }
        // Inside MULTI nothing runs at once.
        Command::Unwatch if within => return queue(client, spec, request, turn),
        Command::Discard | Command::Unwatch => {
            client.session.transaction = None;
            if watches {
                on_watching_node(client, Kind::Unwatch, b"*1\r\n$7\r\nUNWATCH\r\n".as_slice().into(), turn);
            } else {
                client.answer(b"+OK\r\n", turn.spares);
            }
        }
    }
    Ok(Flow::Done)
}

fn exec(client: &mut Client, watches: bool, turn: &mut Turn<'_>) -> Result<Flow, Refusal> {
    let Some(transaction) = &client.session.transaction else { return Err(Refusal::ExecWithoutMulti) };
    if transaction.aborted {
        turn.metrics.transactions_aborted.add(1);
        client.session.transaction = None;
        client.end_watch(turn);
        return Err(Refusal::ExecAbort);
    }
    let is_own = watches || client.tracking().is_some() || transaction.selected.is_some();
    if is_own && !client.replies.is_empty() {
        return Ok(Flow::Later);
    }
    let slot = transaction.slot.unwrap_or_else(|| turn.fixed_slot());
    if watches && !watches_node_of(client, transaction.slot, turn) {
        client.session.transaction = None;
        client.end_watch(turn);
        return Err(Refusal::CrossSlot);
    }
    let Some(transaction) = client.session.transaction.take() else { return Err(Refusal::ExecWithoutMulti) };
    if transaction.queued == 0 && !watches {
        client.answer(b"*0\r\n", turn.spares);
        return Ok(Flow::Done);
    }
    turn.metrics.transactions.add(1);
    let whole = transaction.whole();
    let queued = transaction.queued;
    if !is_own {
        let origin = send::open_plain(client, turn);
        let deadline = turn.now + turn.shared.command_timeout;
        // MULTI's and the queued commands' replies come in front of EXEC's.
        let pending = Pending::new(origin, slot, deadline).led_by(queued + 1);
        let lane = turn.lane(client);
        send::send_pending(client, origin, pending, lane, &whole, turn);
        return Ok(Flow::Done);
    }
    let kind = Kind::Exec { database: transaction.selected.unwrap_or(client.session.database), queued };
    if watches {
        on_watching_node(client, kind, whole.into(), turn);
    } else {
        start::begin(client, kind, slot, whole.into(), turn);
    }
    Ok(Flow::Done)
}

/// Whether the keys of `slot` are where keys are watched.
fn watches_node_of(client: &Client, slot: Option<Slot>, turn: &mut Turn<'_>) -> bool {
    let watch = client.private.as_ref().and_then(|private| private.pinned.watch().copied());
    let (Some(watch), Some(slot)) = (watch, slot) else { return true };
    let endpoint = turn.pool.slot_map().owner_endpoint(slot).cloned();
    watch.broken || endpoint.map(|endpoint| turn.private.node(&endpoint)) == Some(watch.node)
}

/// Begins a job on the connection that watches.
fn on_watching_node(client: &mut Client, kind: Kind, request: Box<[u8]>, turn: &mut Turn<'_>) {
    let watch = client.private.as_ref().and_then(|private| private.pinned.watch().copied());
    let endpoint = watch.and_then(|watch| turn.private.endpoint(watch.node)).cloned();
    let slot = turn.fixed_slot();
    start::begin(client, kind, slot, request, turn);
    if let (Some(endpoint), Some(job)) = (endpoint, client.job_mut()) {
        job.extra_mut().target = Some(Target::Node { endpoint, asking: false });
    }
}

/// Queues a command of an open transaction.
///
/// # Errors
/// Why it can't be: EXEC will then run none.
pub(super) fn queue(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    if spec.flags.contains(Flags::NO_MULTI) {
        return Err(Refusal::NotInMulti);
    }
    let slot = place(spec, request, turn)?;
    let limit = turn.shared.settings.clients.max_request_bytes;
    let selected = match spec.treatment {
        Treatment::Local(Local::Select) => selected(request, turn.shared.databases),
        _ => None,
    };
    let Some(transaction) = &mut client.session.transaction else { return Err(Refusal::ExecWithoutMulti) };
    if transaction.frames.len() + request.frame().len() > limit {
        transaction.frames = Vec::new();
        return Err(Refusal::LargeTransaction);
    }
    if let (Some(own), Some(slot)) = (transaction.slot, slot)
        && !turn.are_together(own, slot)
    {
        return Err(Refusal::CrossSlot);
    }
    if !transaction.aborted {
        transaction.frames.extend_from_slice(request.frame());
    }
    transaction.queued += 1;
    transaction.slot = transaction.slot.or(slot);
    transaction.selected = selected.or(transaction.selected);
    client.answer(b"+QUEUED\r\n", turn.spares);
    Ok(Flow::Done)
}

/// Where a queued command has to run; `None`: anywhere.
fn place(spec: &Spec, request: &Request<'_>, turn: &Turn<'_>) -> Result<Option<Slot>, Refusal> {
    let refuse = |why| Err(Refusal::NotQueued { name: spec.name.to_string(), why });
    let one_shard = turn.pool.slot_map().shard_slots().len() == 1;
    match spec.treatment {
        Treatment::Keyed | Treatment::Cross(_) | Treatment::Blocking | Treatment::Split(_) => {
            dispatch::slot_of(spec, request, turn)
        }
        // Published to the shard that everybody listens at.
        Treatment::FixedShard if turn.shared.together == Together::Shard => Ok(Some(turn.fixed_slot())),
        Treatment::FixedShard | Treatment::Transaction(Command::Unwatch) => Ok(None),
        Treatment::EveryShard(_) | Treatment::Series | Treatment::Scan | Treatment::RandomKey
            if one_shard =>
        {
            Ok(None)
        }
        Treatment::EveryShard(_) | Treatment::Series | Treatment::Scan | Treatment::RandomKey => {
            refuse("it speaks of all shards, and a transaction runs on one")
        }
        Treatment::Local(Local::Ping | Local::Echo | Local::Time) => Ok(None),
        Treatment::Local(Local::Select) if turn.shared.together == Together::Shard => Ok(None),
        Treatment::Refused(why) => Err(dispatch::unsupported(spec, why)),
        _ => refuse("the proxy answers it, not the server that runs the transaction"),
    }
}

fn selected(request: &Request<'_>, databases: u16) -> Option<u16> {
    let index = request.arg(1).and_then(parse_number)?;
    u16::try_from(index).ok().filter(|index| *index < databases)
}
