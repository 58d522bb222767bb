//! What a client of a tenant with limits costs it, and what these do to the client: it waits, unread, or its requests
//! are refused. Pure.

use std::collections::VecDeque;
use std::rc::Rc;

use tracing::info;

use super::clients::Clients;
use super::connection::Client;
use super::dispatch::{Flow, Turn};
use super::gate::{Gate, Place};
use super::quota::Quota;
use super::quotas::Quotas;
use super::session::{Login, ReplyMode};
use crate::config::limits::{Action, Limit};
use crate::private::pool::Asker;
use crate::refusal::Refusal;
use crate::resp::request::Request;
use crate::tenant::limits::Used;

/// What exists only for such clients.
#[derive(Debug)]
pub struct Limited {
    quota: Rc<Quota>,
    /// Where it waits, or was woken.
    place: Option<Place>,
    /// Bytes of each request under way, the oldest first.
    requests: VecDeque<u32>,
    /// What they are together.
    request_bytes: usize,
    /// How many requests were answered before these.
    answered: u32,
    /// Bytes of the request that was handled last.
    last: u32,
    /// The request at hand was counted: it comes again, having been put off behind that.
    is_admitted: bool,
    /// Bytes of refusals that are not written yet: at its limit of reply bytes a tenant would get nothing but these.
    refusals: usize,
    told: Told,
}

/// What the tenant is told that this client uses.
#[derive(Clone, Copy, Default, Debug)]
struct Told {
    unread: usize,
    open: usize,
    blocked: usize,
    private: usize,
}

/// Why a client is not read at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wait {
    /// It is.
    #[default]
    No,
    /// Its tenant is at a limit.
    Tenant,
    /// It is itself at a limit of its tenant's clients.
    Own,
    /// Logins from its address failed.
    Login,
    /// It waited for that: its login is looked at now.
    LoginOver,
}

impl Limited {
    /// What a client that is to be its tenant's needs; `None` where the tenant has no limits.
    ///
    /// # Errors
    /// Where the tenant has as many clients as it may.
    pub fn enter(login: &Login, answered: u32, shares: &mut Quotas) -> Result<Option<Box<Self>>, Refusal> {
        let Some(limits) = login.member().and_then(|member| member.tenant.limits()) else {
            return Ok(None);
        };
        if !limits.admit(Limit::Clients, Used::Clients) {
            limits.usage().note_acted(Limit::Clients);
            return Err(Refusal::MaxClients);
        }
        Ok(Some(Box::new(Self::new(shares.of(limits), answered))))
    }

    /// The same of a client that is there already: new limits close nobody's connection.
    fn stay(login: &Login, answered: u32, shares: &mut Quotas) -> Option<Box<Self>> {
        let limits = login.member()?.tenant.limits()?;
        limits.usage().add(Used::Clients, 1);
        Some(Box::new(Self::new(shares.of(limits), answered)))
    }

    /// Counted by its tenant already.
    fn new(quota: Rc<Quota>, answered: u32) -> Self {
        Self {
            quota,
            place: None,
            requests: VecDeque::new(),
            request_bytes: 0,
            answered,
            last: 0,
            is_admitted: false,
            refusals: 0,
            told: Told::default(),
        }
    }

    /// Takes notice of the requests that were begun and answered since the last time; how many were answered.
    fn follow(&mut self, (answered, opened): (u32, u32)) -> (usize, usize) {
        // Those that were under way when it came are not its own, and may not be answered yet.
        let ahead = |of: u32, than: u32| u32::try_from(of.wrapping_sub(than) as i32).unwrap_or(0);
        let begun = ahead(opened, self.answered.wrapping_add(self.requests.len() as u32));
        for place in 0..begun {
            let bytes = if place == 0 { self.last } else { 0 };
            self.requests.push_back(bytes);
            self.request_bytes += bytes as usize;
        }
        let done = ahead(answered, self.answered);
        for _ in 0..done {
            self.request_bytes -= self.requests.pop_front().unwrap_or(0) as usize;
        }
        self.answered = self.answered.wrapping_add(done);
        if self.requests.is_empty() && self.requests.capacity() > KEPT_REQUESTS {
            self.requests = VecDeque::new();
        }
        (begun as usize, done as usize)
    }

    /// The refusal of a request at a limit, which comes in the place of its reply.
    fn refuse(&mut self, limit: Limit, is_muted: bool) -> Refusal {
        let refusal = Refusal::Limit(limit);
        self.quota.limits().usage().note_acted(limit);
        if !is_muted {
            self.refusals += refusal.reply().len();
        }
        refusal
    }

    fn tell(&mut self, now: Told) {
        let before = std::mem::replace(&mut self.told, now);
        for (used, before, now) in [
            (Used::Unread, before.unread, now.unread),
            (Used::Open, before.open, now.open),
            (Used::Blocked, before.blocked, now.blocked),
            (Used::Private, before.private, now.private),
        ] {
            if before != now {
                self.quota.add(used, now as i64 - before as i64);
            }
        }
    }

    /// Whether the tenant lets it have one more private connection; where it waits for that, it is woken.
    pub(super) fn may_lease(&mut self, asker: Asker, shares: &Quotas, now: u64) -> Result<(), Action> {
        let limits = self.quota.limits().clone();
        let Some(bound) = limits.bound(Limit::PrivateConnections) else { return Ok(()) };
        let delays = bound.action == Action::Delay;
        let passes = !delays || self.quota.passes(Gate::Private, self.place, now);
        if passes && limits.admit(Limit::PrivateConnections, Used::Private) {
            self.told.private += 1;
            self.quota.take(Gate::Private, 1, &mut self.place, now);
            return Ok(());
        }
        if !delays {
            limits.usage().note_acted(Limit::PrivateConnections);
        } else if self.quota.wait(Gate::Private, asker, &mut self.place) {
            limits.usage().note_acted(Limit::PrivateConnections);
            shares.hurry();
        }
        Err(bound.action)
    }
}

/// A table of requests larger than this is given back once it is empty.
const KEPT_REQUESTS: usize = 64;

/// The client leaves, or becomes another tenant's: the tenant has again what it used.
impl Drop for Limited {
    fn drop(&mut self) {
        self.quota.leave(&mut self.place);
        self.quota.note_pending(0, self.requests.len(), 0);
        self.tell(Told::default());
        self.quota.add(Used::Clients, -1);
    }
}

/// Whether this request may be handled now.
///
/// # Errors
/// The limit that refuses it.
pub(super) fn admit(client: &mut Client, request: &Request<'_>, turn: &Turn<'_>) -> Result<Flow, Refusal> {
    if !client.is_limited {
        return Ok(Flow::Done);
    }
    client.tell_tenant(0);
    let own = [(Limit::Pending, client.replies.len()), (Limit::ReplyBuffer, client.unwritten())];
    let (asker, now) = (client.asker(turn), turn.now);
    let is_muted = client.session.reply_mode != ReplyMode::On;
    let Some(limited) = client.session.limited_mut() else { return Ok(Flow::Done) };
    if limited.is_admitted {
        return Ok(Flow::Done);
    }
    let quota = limited.quota.clone();
    for (limit, used) in own {
        match quota.limits().bound(limit).filter(|bound| used as u64 >= bound.most) {
            None => {}
            Some(bound) => {
                if bound.action == Action::Refuse {
                    return Err(limited.refuse(limit, is_muted));
                }
                quota.limits().usage().note_acted(limit);
                client.pause(Wait::Own);
                return Ok(Flow::Paused);
            }
        }
    }
    let gates = [Gate::Open, Gate::BytesOut, Gate::BytesIn, Gate::Requests];
    for gate in gates {
        // What is delayed for its bytes was not read.
        if gate != Gate::BytesIn && quota.acts(gate, Action::Delay) && !quota.passes(gate, limited.place, now)
        {
            return Ok(wait(client, gate, asker, turn));
        }
    }
    for gate in gates {
        if quota.acts(gate, Action::Refuse) && quota.left(gate, now) == 0 {
            return Err(limited.refuse(gate.limit(), is_muted));
        }
    }
    let bytes = request.frame().len();
    for gate in gates {
        let amount = match gate {
            Gate::Requests => 1,
            Gate::BytesOut | Gate::Open => quota.reply_size().max(bytes as u64),
            Gate::BytesIn if quota.acts(gate, Action::Delay) => continue,
            _ => bytes as u64,
        };
        quota.take(gate, amount, &mut limited.place, now);
    }
    if limited.place.is_some_and(|(gate, _)| matches!(gate, Gate::Unread | Gate::Rest)) {
        // It came whole: whoever waits to read has his turn.
        quota.leave(&mut limited.place);
    }
    limited.last = bytes as u32;
    limited.is_admitted = true;
    Ok(Flow::Done)
}

/// The request that was admitted is handled: the next one is another.
pub(super) fn settle(client: &mut Client) {
    if let Some(limited) = client.session.limited_mut() {
        limited.is_admitted = false;
    }
}

/// Whether a blocking command may be handled now.
///
/// # Errors
/// Where the limit refuses it.
pub(super) fn admit_blocking(client: &mut Client, turn: &Turn<'_>) -> Result<Flow, Refusal> {
    let (asker, now) = (client.asker(turn), turn.now);
    let is_muted = client.session.reply_mode != ReplyMode::On;
    let Some(limited) = client.session.limited_mut() else { return Ok(Flow::Done) };
    let quota = limited.quota.clone();
    let delays = quota.acts(Gate::Blocked, Action::Delay);
    let passes = !delays || quota.passes(Gate::Blocked, limited.place, now);
    if passes && quota.limits().admit(Limit::BlockedClients, Used::Blocked) {
        limited.told.blocked += 1;
        quota.take(Gate::Blocked, 1, &mut limited.place, now);
        return Ok(Flow::Done);
    }
    if delays {
        return Ok(wait(client, Gate::Blocked, asker, turn));
    }
    Err(limited.refuse(Limit::BlockedClients, is_muted))
}

/// Whether more may be read from the client now, of which the beginning of a request of `need` bytes has come, or none;
/// how much at a time, if so.
pub(super) fn may_read(client: &mut Client, need: usize, turn: &Turn<'_>) -> Option<usize> {
    let (asker, now) = (client.asker(turn), turn.now);
    let is_large = need > SMALL_READ;
    let Some(limited) = client.session.limited_mut() else { return Some(usize::MAX) };
    let quota = limited.quota.clone();
    let unread = if need > 0 { Gate::Rest } else { Gate::Unread };
    for gate in [unread, Gate::BytesIn] {
        // What is refused has to come whole first; before that, too much of it waits.
        let acts = quota.acts(gate, Action::Delay) || (gate == Gate::Rest && is_large);
        let bound = quota.limits().bound(gate.limit()).is_some();
        if acts && bound && !quota.passes(gate, limited.place, now) {
            wait(client, gate, asker, turn);
            return None;
        }
    }
    Some(if is_large { usize::MAX } else { SMALL_READ })
}

impl Clients {
    /// Closes the clients that hold up others of their tenant with half a request, and send nothing more of it.
    pub fn close_stalled(&mut self, now: u64) {
        let Self { records, metrics, .. } = self;
        for (_, client) in records {
            if client.is_stalled(now) {
                let addr = &client.session.peer;
                info!(client.addr = %addr, "closing a client that stalls, at its tenant's limit of bytes in flight");
                metrics.clients_stalled.add(1);
                client.kill();
            }
        }
    }
}

/// Milliseconds that others wait for one who sends nothing more of his request.
const STALLED: u64 = 5_000;

/// What a client that may have to wait is read at a time, so that little waits with it.
const SMALL_READ: usize = 16 * 1024;

/// So much was read.
pub(super) fn note_read(client: &mut Client, bytes: usize, turn: &Turn<'_>) {
    let Some(limited) = client.session.limited_mut() else { return };
    let quota = limited.quota.clone();
    quota.take(Gate::Unread, bytes as u64, &mut limited.place, turn.now);
    quota.take(Gate::Rest, bytes as u64, &mut limited.place, turn.now);
    if quota.acts(Gate::BytesIn, Action::Delay) {
        quota.take(Gate::BytesIn, bytes as u64, &mut limited.place, turn.now);
    }
}

fn wait(client: &mut Client, gate: Gate, asker: Asker, turn: &Turn<'_>) -> Flow {
    if let Some(limited) = client.session.limited_mut()
        && limited.quota.wait(gate, asker, &mut limited.place)
    {
        limited.quota.limits().usage().note_acted(gate.limit());
    }
    turn.limits.hurry();
    client.pause(Wait::Tenant);
    Flow::Paused
}

impl Client {
    /// Takes no further request until [`Self::let_go`].
    pub(super) fn pause(&mut self, wait: Wait) {
        debug_assert!(!self.is_paused(), "paused twice");
        self.wait = wait;
        self.parked += 1;
        self.stopped = true;
    }

    /// Whether it is not read because of a limit, or of logins that failed.
    pub(super) fn is_paused(&self) -> bool {
        matches!(self.wait, Wait::Tenant | Wait::Own | Wait::Login)
    }

    /// There is room again, or its time is over.
    pub(super) fn let_go(&mut self) {
        if self.is_paused() {
            self.parked = self.parked.saturating_sub(1);
            self.wait = if self.wait == Wait::Login { Wait::LoginOver } else { Wait::No };
        }
        self.wake();
    }

    /// It is the tenant's that it logged in as from here on.
    ///
    /// # Errors
    /// Where that has as many clients as it may.
    pub fn join_tenant(&mut self, quotas: &mut Quotas) -> Result<(), Refusal> {
        self.session.limit(None);
        self.is_limited = false;
        let (_, opened) = self.replies.ends();
        let limited = Limited::enter(self.session.login(), opened, quotas)?;
        self.is_limited = limited.is_some();
        self.session.limit(limited);
        Ok(())
    }

    /// Its tenant has other limits from here on. Where it waits at one of the old ones it goes on, and may have to wait
    /// again.
    pub(super) fn take_limits(&mut self, shares: &mut Quotas) {
        self.session.limit(None);
        let (_, opened) = self.replies.ends();
        let limited = Limited::stay(self.session.login(), opened, shares);
        self.is_limited = limited.is_some();
        self.session.limit(limited);
        if matches!(self.wait, Wait::Tenant | Wait::Own) {
            self.let_go();
        }
        self.tell_tenant(0);
        // It may wait for a private connection.
        self.wake();
    }

    /// Tells its tenant what it uses now, and that so much was written to it. Lets it go on where it was at a limit of
    /// its own and is well below that now.
    #[inline(never)]
    pub(super) fn tell_tenant(&mut self, written: usize) {
        let uses = self.private.as_deref().map(|private| private.uses()).unwrap_or_default();
        let unwritten = self.unwritten();
        let ends = self.replies.ends();
        let unread = self.rest.as_ref().map_or(0, |rest| rest.bytes.len());
        let Some(limited) = self.session.limited_mut() else { return };
        let (begun, done) = limited.follow(ends);
        let excused = written.min(limited.refusals);
        limited.refusals -= excused;
        limited.quota.note_written(written - excused);
        limited.quota.note_pending(begun, done, written - excused);
        let (open, blocked, private) = (limited.request_bytes + unwritten, uses.blocked, uses.connections);
        limited.tell(Told { unread, open, blocked, private });
        if !uses.queues && limited.place.is_some_and(|(gate, _)| gate == Gate::Private) {
            limited.quota.leave(&mut limited.place);
        }
        if self.wait == Wait::Own {
            let limits = limited.quota.limits();
            let is_below =
                |limit, used: usize| limits.bound(limit).is_none_or(|bound| used as u64 <= bound.most / 2);
            if is_below(Limit::Pending, self.replies.len()) && is_below(Limit::ReplyBuffer, unwritten) {
                self.let_go();
            }
        }
    }

    /// Whether it holds half a request at its tenant's limit, and nothing keeps it from sending more.
    fn is_stalled(&self, now: u64) -> bool {
        let is_half = self.rest.as_ref().is_some_and(|rest| rest.need > 0) && !self.is_paused();
        let is_silent = self.session.last_active.until(now) > STALLED;
        is_half && is_silent && self.session.limited().is_some_and(|limited| limited.quota.is_full(now))
    }

    /// An argument of it was above the limit.
    pub(super) fn note_large_value(&self) {
        if let Some(limited) = self.session.limited() {
            limited.quota.limits().usage().note_acted(Limit::MaxValue);
        }
    }
}
