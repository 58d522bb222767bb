//! MULTI to EXEC: commands are kept here until EXEC sends them all at once, so that nobody else's command can
//! come between them on a shared connection.

use std::collections::HashSet;
use std::num::NonZeroU16;

use super::connection::Client;
use super::dispatch::{self, Flow, Turn};
use super::exec;
use super::private::job::Kind;
use super::private::start;
use super::private::watch::Watch;
use super::scripted;
use crate::cluster::slot::Slot;
use crate::command::reviewed::Tells;
use crate::command::spec::{Flags, Local, Spec, Split, Transaction as Command, Treatment};
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::resp::scan::parse_number;
use crate::route::merge::MergeKind;
use crate::route::plan::shares::Shares;
use crate::route::split::{self, Cut, Part, Together};

/// What a client has queued since MULTI.
#[derive(Default, Debug)]
pub struct Transaction {
    /// The requests, one behind the other.
    frames: Vec<u8>,
    /// How many those are.
    pub queued: u32,
    /// Where they go; `None` while none says.
    pub(super) slot: Option<Slot>,
    /// In the place of `frames`, once they go to several shards, or slots where nodes insist.
    pub(super) shares: Option<Box<Shares>>,
    /// One of them may change data.
    writes: bool,
    /// One could not be queued: EXEC will not run any.
    pub(super) aborted: bool,
    /// The database of the last SELECT among them.
    pub(super) selected: Option<u16>,
    /// Which names the replies tell, of a client in a namespace: one for each that is queued.
    pub(super) tells: Vec<Tells>,
    /// The numbers of the commands among them, each once: rules may change before they run.
    said: Vec<NonZeroU16>,
}

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";

impl Transaction {
    /// Bytes that it keeps.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.frames.capacity()
            + self.tells.capacity()
            + self.shares.as_ref().map_or(0, |shares| shares.bytes())
    }

    fn bytes(&self) -> usize {
        self.frames.len() + self.shares.as_ref().map_or(0, |shares| shares.bytes())
    }

    /// Adds a command, where it has to run. It is here that what is kept of it may differ from what was said.
    fn add(&mut self, place: Place, frame: &[u8], turn: &Turn<'_>) {
        match place {
            Place::Anywhere => match &mut self.shares {
                Some(shares) => shares.push_anywhere(frame),
                None => self.frames.extend_from_slice(frame),
            },
            Place::Slot(slot) if self.is_with(slot, turn) => {
                self.slot = self.slot.or(Some(slot));
                self.frames.extend_from_slice(frame);
            }
            Place::Slot(slot) => {
                let place = turn.place(slot);
                self.cut_by_shares(slot, turn).push((slot, place), frame);
            }
            Place::Parts(parts, kind) => {
                let first = parts.first().map_or(Slot::FIXED, |part| part.slot);
                let parts = parts.into_iter().map(|part| ((part.slot, turn.place(part.slot)), part.frame));
                self.cut_by_shares(first, turn).push_cut(parts, kind);
            }
        }
    }

    /// Whether a command of `slot` can run with the others in one transaction.
    fn is_with(&self, slot: Slot, turn: &Turn<'_>) -> bool {
        self.shares.is_none() && self.slot.is_none_or(|own| turn.are_together(own, slot))
    }

    /// From here on by shares; what there is goes where it has to, or to `slot`.
    fn cut_by_shares(&mut self, slot: Slot, turn: &Turn<'_>) -> &mut Shares {
        let queued = self.queued;
        let slot = self.slot.unwrap_or(slot);
        self.shares.get_or_insert_with(|| {
            let mut shares = Box::<Shares>::default();
            shares.push_all((slot, turn.place(slot)), &std::mem::take(&mut self.frames), queued);
            shares
        })
    }

    /// Everything by shares.
    pub(super) fn into_shares(mut self, slot: Slot, turn: &Turn<'_>) -> Shares {
        let writes = self.writes;
        if self.queued > 0 {
            self.cut_by_shares(slot, turn);
        }
        let mut shares = self.shares.map(|shares| *shares).unwrap_or_default();
        shares.writes = writes;
        shares
    }

    /// Whether one of these commands is among them.
    pub(super) fn has_any(&self, commands: &HashSet<NonZeroU16>) -> bool {
        self.said.iter().any(|number| commands.contains(number))
    }

    /// As one request.
    pub(super) fn whole(&self) -> Vec<u8> {
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
    let watches = watch_of(client).is_some();
    let within = client.session.transaction.is_some();
    let is_alone = client.replies.is_empty();
    match command {
        Command::Multi if within => return Err(Refusal::NestedMulti),
        Command::Multi => {
            client.session.transaction = Some(Box::default());
            client.answer(b"+OK\r\n", turn.spares);
        }
        Command::Exec => return exec::exec(client, watches, turn),
        Command::Discard if !within => return Err(Refusal::DiscardWithoutMulti),
        Command::Watch if within => return Err(Refusal::WatchInMulti),
        Command::Watch | Command::Discard | Command::Unwatch
            if (watches || command == Command::Watch) && !is_alone =>
        {
            return Ok(Flow::Later);
        }
        Command::Watch => watch(client, spec, request, turn)?,
        // Inside MULTI nothing runs at once.
        Command::Unwatch if within => return queue(client, spec, request, turn),
        Command::Discard | Command::Unwatch => {
            client.session.transaction = None;
            match watch_of(client).map(Watch::only_node) {
                Some(Some(_)) => on_watching_node(client, Kind::Unwatch, UNWATCH.into(), turn),
                Some(None) => {
                    // Their connections close, which is as good.
                    client.end_watch(turn);
                    client.answer(b"+OK\r\n", turn.spares);
                }
                None => client.answer(b"+OK\r\n", turn.spares),
            }
        }
    }
    Ok(Flow::Done)
}

/// WATCH: of keys in several slots, slot by slot.
fn watch(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    let spans = may_span(client, turn);
    let (slot, frame, others) = match dispatch::slot_of(spec, request, turn) {
        Err(Refusal::CrossSlot) if spans => {
            match split::cut(request, Split::Sum, turn.shared.together, turn.pool.slot_map()) {
                Cut::Whole(slot) => (slot, request.frame().into(), Vec::new()),
                Cut::Undivided => return Err(Refusal::CrossSlot),
                Cut::Parts { parts, .. } => {
                    let mut parts = parts.into_iter().map(|part| (part.slot, part.frame.into()));
                    let Some((slot, frame)) = parts.next() else { return Err(Refusal::CrossSlot) };
                    (slot, frame, parts.collect())
                }
            }
        }
        slot => (slot?.unwrap_or_else(|| turn.fixed_slot(client)), request.frame().into(), Vec::new()),
    };
    if !spans && let Some(watch) = watch_of(client).filter(|watch| !watch.broken) {
        let own = watch.only_node();
        let node = turn.pool.slot_map().owner_endpoint(slot).cloned();
        if node.map(|node| turn.private.node(&node)) != own {
            return Err(Refusal::CrossSlot);
        }
    }
    start::watch(client, (slot, frame), others, turn)
}

/// Whether a transaction of this client may have keys of several slots: one whose reads are tracked may not, since
/// all goes over its own connections, one at a time.
pub(super) fn may_span(client: &Client, turn: &Turn<'_>) -> bool {
    turn.shared.transacts_per_shard() && client.tracking().is_none()
}

pub(super) fn watch_of(client: &Client) -> Option<&Watch> {
    client.private.as_ref()?.pinned.watch()
}

/// Begins a job on the connection that watches.
pub(super) fn on_watching_node(client: &mut Client, kind: Kind, request: Box<[u8]>, turn: &mut Turn<'_>) {
    let node = watch_of(client).and_then(Watch::only_node);
    let endpoint = node.and_then(|node| turn.private.endpoint(node)).cloned();
    let slot = turn.fixed_slot(client);
    start::begin(client, kind, slot, request, turn);
    if let (Some(endpoint), Some(job)) = (endpoint, client.job_mut()) {
        job.go_to(endpoint);
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
    let may_span = may_span(client, turn);
    let place = place(spec, request, may_span, turn)?;
    let whole = scripted::with_body(request, turn);
    let frame = whole.as_deref().unwrap_or_else(|| request.frame());
    let limit = turn.shared.process.settings.clients.max_request_bytes;
    let selected = match spec.treatment {
        Treatment::Local(Local::Select) => selected(request, turn.shared.databases),
        _ => None,
    };
    let Some(transaction) = &mut client.session.transaction else { return Err(Refusal::ExecWithoutMulti) };
    if transaction.bytes() + frame.len() > limit {
        (transaction.frames, transaction.shares) = (Vec::new(), None);
        return Err(Refusal::LargeTransaction);
    }
    let spans = match &place {
        Place::Anywhere => transaction.shares.is_some(),
        Place::Slot(slot) => !transaction.is_with(*slot, turn),
        Place::Parts(..) => true,
    };
    let selects = transaction.selected.is_some() || matches!(spec.treatment, Treatment::Local(Local::Select));
    if spans && (!may_span || selects) {
        return Err(Refusal::CrossSlot);
    }
    if !transaction.aborted {
        transaction.add(place, frame, turn);
    }
    transaction.queued += 1;
    let new = spec.number.filter(|number| !transaction.said.contains(number));
    transaction.said.extend(new);
    transaction.writes |= !only_reads(spec);
    transaction.selected = selected.or(transaction.selected);
    client.answer(b"+QUEUED\r\n", turn.spares);
    Ok(Flow::Done)
}

/// Whether a shard that did not run it is none the worse.
fn only_reads(spec: &Spec) -> bool {
    spec.flags.contains(Flags::READONLY)
        || matches!(spec.treatment, Treatment::Local(Local::Ping | Local::Echo | Local::Time))
}

/// Where a queued command has to run.
#[derive(Debug)]
enum Place {
    Anywhere,
    Slot(Slot),
    /// In several slots, in parts.
    Parts(Vec<Part>, MergeKind),
}

impl Place {
    fn of(slot: Option<Slot>) -> Self {
        slot.map_or(Self::Anywhere, Self::Slot)
    }
}

fn place(spec: &Spec, request: &Request<'_>, may_span: bool, turn: &Turn<'_>) -> Result<Place, Refusal> {
    let refuse = |why| Err(Refusal::NotQueued { name: spec.name.to_string(), why });
    let one_shard = turn.pool.slot_map().shard_slots().len() == 1;
    match spec.treatment {
        Treatment::Split(split) if may_span => match dispatch::slot_of(spec, request, turn) {
            Err(Refusal::CrossSlot) => parts(split, spec, request, turn),
            slot => slot.map(Place::of),
        },
        Treatment::Keyed
        | Treatment::Scripted
        | Treatment::Cross(_)
        | Treatment::Blocking
        | Treatment::Split(_) => dispatch::slot_of(spec, request, turn).map(Place::of),
        // Published to the shard that everybody listens at.
        Treatment::FixedShard if turn.shared.together == Together::Shard => {
            Ok(Place::Slot(turn.pool.slot_map().fixed_slot()))
        }
        Treatment::FixedShard | Treatment::Transaction(Command::Unwatch) => Ok(Place::Anywhere),
        Treatment::EveryShard(_)
        | Treatment::Series
        | Treatment::Search(_)
        | Treatment::Scan
        | Treatment::RandomKey
            if one_shard =>
        {
            Ok(Place::Anywhere)
        }
        Treatment::EveryShard(_)
        | Treatment::Series
        | Treatment::Search(_)
        | Treatment::Scan
        | Treatment::RandomKey => refuse("it speaks of all shards, and a transaction runs on one"),
        Treatment::Local(Local::Ping | Local::Echo | Local::Time) => Ok(Place::Anywhere),
        Treatment::Local(Local::Select) if turn.shared.together == Together::Shard => Ok(Place::Anywhere),
        Treatment::Refused(why) => Err(dispatch::unsupported(spec, why)),
        _ => refuse("the proxy answers it, not the server that runs the transaction"),
    }
}

/// A command that is cut outside transactions, too.
fn parts(split: Split, spec: &Spec, request: &Request<'_>, turn: &Turn<'_>) -> Result<Place, Refusal> {
    if !split::takes(split, request.len()) {
        return Err(Refusal::WrongArity { name: spec.name.to_string() });
    }
    Ok(match split::cut(request, split, turn.shared.together, turn.pool.slot_map()) {
        Cut::Whole(slot) => Place::Slot(slot),
        Cut::Undivided => return Err(Refusal::CrossSlot),
        Cut::Parts { parts, kind } => Place::Parts(parts, kind),
    })
}

fn selected(request: &Request<'_>, databases: u16) -> Option<u16> {
    let index = request.arg(1).and_then(parse_number)?;
    u16::try_from(index).ok().filter(|index| *index < databases)
}
