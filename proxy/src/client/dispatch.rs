//! One request's way: what it is, whether this client may, and where it goes. Pure: requests are queued on
//! links and replies in the client's output; the tasks do the rest.

use super::connection::Client;
use super::cross;
use super::guard;
use super::limited;
use super::local;
use super::locally;
use super::monitor::{self, Feed};
use super::namespaced;
use super::plans::Plans;
use super::quotas::Quotas;
use super::retry::Retries;
use super::send::{send, send_everywhere, send_scan, send_series, send_split, send_to_keys};
use super::spares::Spares;
use super::{private, scripted, search, subscribe, transaction};
use crate::backend::lane::{Lane, LoginId};
use crate::backend::pool::Pool;
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::Generation;
use crate::command::key_count::KeysError;
use crate::command::keys;
use crate::command::spec::{Flags, Refused, Spec, Treatment};
use crate::command::table::{Lookup, Table};
use crate::command::{blocking, spec};
use crate::metrics::WorkerMetrics;
use crate::moment::Moment;
use crate::private::pool::PrivatePool;
use crate::pubsub::registry::Registry;
use crate::refusal::{Refusal, printable};
use crate::resp::request::Request;
use crate::route::merge::MergeKind;
use crate::route::split::Together;
use crate::scripts::known::Known;
use crate::shared::Shared;
use crate::tenant::namespace::Namespace;
use crate::tenant::shares::Shares;
use crate::tenant::translation::Translating;

/// What handling requests needs of the worker.
pub struct Turn<'a> {
    /// Settings and identity: the same for all workers.
    pub shared: &'a Shared,
    /// Every command, learned ones included.
    pub commands: &'a Table,
    /// The way to the backends.
    pub pool: &'a mut Pool,
    /// Connections that belong to one client.
    pub private: &'a mut PrivatePool,
    /// Memory that clients use in turns.
    pub spares: &'a mut Spares,
    /// Requests to be sent again.
    pub retries: &'a mut Retries,
    /// Requests that take several steps.
    pub plans: &'a mut Plans,
    /// What the worker's clients listen to.
    pub pubsub: &'a mut Registry,
    /// What is shown to monitors.
    pub feed: &'a mut Feed,
    /// What the worker knows of scripts.
    pub scripts: &'a mut Known,
    /// What tenants may still have, and who waits for it.
    pub limits: &'a mut Quotas,
    /// What tenants may have under way.
    pub shares: &'a mut Shares,
    /// Whether several tenants ask.
    pub contended: bool,
    /// Questions to all workers that local commands raise.
    pub questions: &'a mut Vec<local::Question>,
    /// The worker's numbers.
    pub metrics: &'a WorkerMetrics,
    /// A random number for this turn.
    pub random: u32,
    /// Milliseconds of the worker's clock.
    pub now: u64,
    /// The client's place among the clients.
    pub key: u32,
    /// What is done to the reply of the request at hand, where names in it lose a prefix.
    pub translating: Option<Box<Translating>>,
}

impl Turn<'_> {
    /// Whether all keys are one standalone server's.
    fn has_one_server(&self) -> bool {
        self.shared.together == Together::Shard && self.pool.slot_map().shard_slots().len() == 1
    }

    /// Whether keys are on several servers that know nothing of each other.
    fn are_apart(&self) -> bool {
        self.shared.together == Together::Shard && self.pool.slot_map().shard_slots().len() > 1
    }

    /// Whether a server takes keys of both slots in one request.
    pub(super) fn are_together(&self, a: Slot, b: Slot) -> bool {
        let map = self.pool.slot_map();
        match self.shared.together {
            Together::Slot => a == b,
            Together::Shard => a == b || map.owner(a) == map.owner(b),
        }
    }

    /// A number that slots share whose keys a server takes in one request.
    pub(super) fn place(&self, slot: Slot) -> u16 {
        self.shared.together.place(slot, self.pool.slot_map())
    }

    /// The connections that this client's requests take.
    pub(super) fn lane(&self, client: &Client) -> Lane {
        client.session.lane(client.backend(), self.shared.connections_per_node)
    }

    /// The connections that plans for this client take. What those do beside the client's keys, and by scripts of the
    /// proxy's own, is no right of a tenant's user. Plans are alone, so they overtake nothing.
    pub(super) fn plan_lane(&self, client: &Client) -> Lane {
        let lane = self.lane(client);
        match client.session.login().member() {
            Some(member) if member.tenant.has_wall() => lane.of(LoginId::PROXY),
            _ => lane,
        }
    }

    /// Where requests without a key go: always to the same shard, the one of the lowest slot that is served; to its
    /// client's own, where all keys of its tenant are together.
    pub(super) fn fixed_slot(&self, client: &Client) -> Slot {
        let home = client.session.namespace().and_then(Namespace::slot);
        home.unwrap_or_else(|| self.pool.slot_map().fixed_slot())
    }
}

/// Whether a request was handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// It was: it is answered, or will be.
    Done,
    /// Nothing was done: it has to be the only one under way, so it comes again when all others are answered.
    Later,
    /// Nothing was done: its client is paused, and it comes again when that is over.
    Paused,
}

/// Handles one request of `client`.
pub fn dispatch(client: &mut Client, request: &Request<'_>, turn: &mut Turn<'_>) -> Flow {
    let routed = route(client, request, turn);
    if let Ok(flow @ (Flow::Later | Flow::Paused)) = routed {
        return flow;
    }
    turn.metrics.commands.add(1);
    client.session.count_command();
    client.session.last_active = Moment::of(turn.now);
    if turn.contended {
        turn.shares.handled(client.session.account(), request.frame().len());
    }
    if turn.shared.monitors.any() {
        monitor::note(client, request, routed.as_ref().err(), turn);
    }
    if let Err(mut refusal) = routed {
        if request.name().eq_ignore_ascii_case(b"exec") {
            refusal = transaction::exec_refused(client, refusal);
        } else if !matches!(refusal, Refusal::NestedMulti | Refusal::WatchInMulti) {
            transaction::abort(client);
        }
        refuse(client, &refusal, turn);
    }
    Flow::Done
}

/// Answers with an error of our own, in the client's reply order.
pub fn refuse(client: &mut Client, refusal: &Refusal, turn: &mut Turn<'_>) {
    turn.metrics.refusals.add(1);
    client.answer(&refusal.reply(), turn.spares);
}

fn route(client: &mut Client, request: &Request<'_>, turn: &mut Turn<'_>) -> Result<Flow, Refusal> {
    let commands = turn.commands;
    let found = commands.find(request);
    if client.session.is_guarded() {
        return route_guarded(client, found, request, turn);
    }
    let spec = known(client, found, request, turn)?;
    route_on(client, spec, request, turn)
}

/// The way of a request that is looked at first.
#[inline(never)]
fn route_guarded(
    client: &mut Client,
    found: Lookup<'_>,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    let routed = route_admitted(client, found, request, turn);
    if !matches!(routed, Ok(Flow::Later | Flow::Paused)) {
        limited::settle(client);
    }
    routed
}

fn route_admitted(
    client: &mut Client,
    found: Lookup<'_>,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    match guard::admit(client, &found, request, turn)? {
        Flow::Done => {}
        other => return Ok(other),
    }
    let spec = known(client, found, request, turn)?;
    match namespaced::asker(&client.session) {
        Some(asker) => namespaced::route(client, &asker, spec, request, turn),
        None => route_on(client, spec, request, turn),
    }
}

/// The command of a request, which has as many arguments as that takes.
#[inline(always)]
fn known<'t>(
    client: &mut Client,
    found: Lookup<'t>,
    request: &Request<'_>,
    turn: &Turn<'_>,
) -> Result<&'t Spec, Refusal> {
    let spec = match found {
        Lookup::Found(spec) => spec,
        _ if !client.session.is_logged_in() => return Err(Refusal::NoAuth),
        lookup => return Err(unknown(lookup, request, turn)),
    };
    client.session.last_command = spec.number;
    if !spec.takes(request.len()) {
        return Err(Refusal::WrongArity { name: spec.name.to_string() });
    }
    Ok(spec)
}

/// The way of a request that may be said, its names as the servers have them.
#[inline]
pub(super) fn route_on(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    if client.subscriptions.is_some() && subscribe::restrict(client, spec, request, turn)? {
        return Ok(Flow::Done);
    }
    if client.session.transaction.is_some() && is_queued(spec) {
        return transaction::queue(client, spec, request, turn);
    }
    if client.tracking().is_some()
        && !blocks(spec, request)
        && let Some(flow) = private::tracked::route(client, spec, request, turn)?
    {
        return Ok(flow);
    }
    match spec.treatment {
        Treatment::Keyed | Treatment::Cross(_) if blocks(spec, request) => {
            return block(client, spec, request, turn);
        }
        Treatment::Keyed => send_to_keys(client, spec, request, turn)?,
        Treatment::Cross(cross) => return cross::route(client, cross, spec, request, turn),
        Treatment::Blocking => return block(client, spec, request, turn),
        Treatment::Transaction(command) => {
            return transaction::handle(client, command, spec, request, turn);
        }
        Treatment::FixedShard => send_fixed(client, spec, request, turn)?,
        Treatment::Split(split) => send_split(client, spec, request, split, turn)?,
        Treatment::Series => send_series(client, spec, request, turn)?,
        Treatment::Scripted => scripted::send(client, spec, request, turn)?,
        Treatment::EveryShard(policy) => {
            let kind = scripted::everywhere(spec, request, policy, turn);
            send_everywhere(client, request.frame(), kind, turn)?;
        }
        Treatment::RandomKey => {
            let pick = turn.random;
            send_everywhere(client, request.frame(), MergeKind::AnyNotNil { pick }, turn)?;
        }
        Treatment::Search(command) => search::route(client, command, spec, request, turn)?,
        Treatment::Scan => send_scan(client, request, turn)?,
        Treatment::Local(which) => return locally::answer(client, which, spec, request, turn),
        Treatment::Subscribe(kind) => subscribe::subscribe(client, kind, request, turn),
        Treatment::Unsubscribe(kind) => subscribe::unsubscribe(client, kind, request, turn),
        Treatment::Tracking => return private::tracked::handle(client, spec, request, turn),
        Treatment::Monitor => monitor::start(client, turn),
        Treatment::Refused(why) => return Err(unsupported(spec, why)),
    }
    Ok(Flow::Done)
}

/// What is said to a command that is in no table. The servers may have learned it since they were last asked: they are
/// asked again, for the next time. Not for a subcommand of ours, such as what clients say of CLIENT when they connect.
fn unknown(lookup: Lookup<'_>, request: &Request<'_>, turn: &Turn<'_>) -> Refusal {
    let topology = &turn.shared.topology;
    if let Lookup::UnknownSubcommand { container } = lookup {
        if container.flags.contains(Flags::MODULE) {
            topology.request_commands();
        }
        return Refusal::UnknownSubcommand {
            name: printable(request.arg(1).unwrap_or_default(), 128),
            container: container.name.to_uppercase(),
        };
    }
    if !topology.knows_commands() || turn.pool.generation() == Generation::default() {
        return Refusal::NotReady;
    }
    topology.request_commands();
    Refusal::unknown_command(request.name(), request.args_from(1))
}

/// Whether a command waits for EXEC, once MULTI was said.
pub(super) fn is_queued(spec: &Spec) -> bool {
    use spec::Local::{Quit, Reset};
    use spec::Transaction::Unwatch;
    match spec.treatment {
        Treatment::Transaction(command) => command == Unwatch,
        Treatment::Local(Quit | Reset) => false,
        _ => true,
    }
}

/// Sends what no key leads to the fixed shard. Not where it has keys that nobody tells where to find: a cluster's node
/// says where they are, other servers don't.
fn send_fixed(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<(), Refusal> {
    if spec.flags.contains(Flags::MOVABLEKEYS) && spec.keys == spec::Keys::None && turn.are_apart() {
        return Err(unsupported(spec, Refused::HiddenKeys));
    }
    // Not the client's own: what is published has to reach those who listen there.
    send(client, turn.pool.slot_map().fixed_slot(), request.frame(), turn);
    Ok(())
}

/// Whether a request of a command that needn't block does.
#[inline(always)]
pub(super) fn blocks(spec: &Spec, request: &Request<'_>) -> bool {
    spec.flags.contains(Flags::BLOCKING) && blocking::is_blocking(spec, request)
}

fn block(
    client: &mut Client,
    spec: &Spec,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<Flow, Refusal> {
    let slot = slot_of(spec, request, turn);
    if !client.replies.is_empty() && matches!(slot, Ok(_) | Err(Refusal::CrossSlot)) {
        return Ok(Flow::Later);
    }
    if client.is_limited && limited::admit_blocking(client, turn)? == Flow::Paused {
        return Ok(Flow::Paused);
    }
    if slot == Err(Refusal::CrossSlot) {
        private::start::search(client, spec, request, turn)?;
        return Ok(Flow::Done);
    }
    let slot = slot?.unwrap_or_else(|| turn.fixed_slot(client));
    private::start::block(client, spec, request, slot, turn);
    Ok(Flow::Done)
}

/// The one slot of a request's keys; `None` where it has none.
#[inline(always)]
pub(super) fn slot_of(spec: &Spec, request: &Request<'_>, turn: &Turn<'_>) -> Result<Option<Slot>, Refusal> {
    match spec.keys {
        spec::Keys::First => Ok(request.arg(1).map(Slot::of)),
        _ => slot_of_all(spec, request, turn),
    }
}

fn slot_of_all(spec: &Spec, request: &Request<'_>, turn: &Turn<'_>) -> Result<Option<Slot>, Refusal> {
    let positions = keys::positions(spec, request).map_err(|error| keys_refusal(error, spec))?;
    let mut slots = positions.filter_map(|index| request.arg(index)).map(Slot::of);
    let Some(first) = slots.next() else { return Ok(None) };
    // One standalone server takes keys of any slots together: to it slots mean nothing.
    if !turn.has_one_server() && slots.any(|slot| slot != first) {
        return Err(Refusal::CrossSlot);
    }
    Ok(Some(first))
}

fn keys_refusal(error: KeysError, spec: &Spec) -> Refusal {
    Refusal::Said(error.text(spec).into_owned())
}

pub(super) fn unsupported(spec: &Spec, why: Refused) -> Refusal {
    let why = match why {
        Refused::Subscribe => "its subscriptions are of a kind that is not known here",
        Refused::Wait => "it speaks of the writes of one connection, and backend connections are shared",
        Refused::HiddenKeys => "its keys can't be told, and the servers don't say which of them has one",
        Refused::Connection => "it changes its connection, and backend connections are shared",
        Refused::EveryShard => "it concerns every shard, and their answers can't be made one",
        Refused::NodeAdmin => "it acts on one node or on the cluster's shape; send it to the node",
    };
    Refusal::Unsupported { name: spec.name.to_string(), why }
}
