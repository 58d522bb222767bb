//! A worker's share of what tenants are limited in: cells of a rate taken in advance, bytes that the others are not told
//! of yet, and the clients that wait until there is room. Pure.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::limits::{Action, Limit};
use crate::private::pool::Asker;
use crate::tenant::limits::{Limits, Used};
use crate::tenant::rate::Rate;

/// The shares of all tenants with limits, and the clients that wait for a time.
#[derive(Debug)]
pub struct Quotas {
    by_tenant: HashMap<usize, Rc<Share>>,
    /// Clients whose next login is looked at later.
    timers: BTreeSet<(u64, Asker)>,
    /// Makes the worker's next tick come soon.
    wake_tick: Rc<Notify>,
}

/// What a client may have to wait at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Gate {
    /// Before a request is handled: requests a second.
    Requests,
    /// Before more is read: bytes a second.
    BytesIn,
    /// Before a request is handled: reply bytes a second.
    BytesOut,
    /// Before a request is handled: bytes under way.
    Open,
    /// Before more is read: the same with what was read and not handled.
    Unread,
    /// Before a blocking command is handled: clients that block.
    Blocked,
    /// Before a private connection is taken.
    Private,
}

/// One tenant's.
#[derive(Debug)]
pub struct Share {
    limits: Arc<Limits>,
    /// Requests and bytes that were taken of the rates in advance.
    requests: Cell<u64>,
    bytes_in: Cell<u64>,
    /// Reply bytes that were written and not taken of the rate yet.
    bytes_out: Cell<u64>,
    /// How many requests of this worker are under way, and how large a reply is of late.
    pending: Cell<u64>,
    reply_size: Cell<u64>,
    /// Differences that the others are not told of yet.
    unread: Cell<i64>,
    open: Cell<i64>,
    queue: RefCell<Queue>,
}

/// A client's place in a queue.
pub(super) type Place = (Gate, u32);

#[derive(Default, Debug)]
struct Queue {
    /// In the order in which they came.
    waiting: BTreeMap<Place, Waiter>,
    /// How many of them sleep, by gate.
    asleep: [usize; Gate::ALL.len()],
    next: u32,
}

#[derive(Debug)]
struct Waiter {
    asker: Asker,
    /// Of what there was when it was woken, so much is its; `None` while it sleeps.
    granted: Option<u64>,
}

// What a reply is taken for before there was one.
const FIRST_REPLY: u64 = 16 * 1024;

// Who waits for bytes is woken where there is so much for each: less is not worth waking for.
const WORTH_WAKING: u64 = 4 * 1024;

// A worker may be so far from telling the others the truth, and a 64th of the limit at most.
const MOST_UNTOLD: u64 = 64 * 1024;

impl Gate {
    const ALL: [Self; 7] = [
        Self::Requests,
        Self::BytesIn,
        Self::BytesOut,
        Self::Open,
        Self::Unread,
        Self::Blocked,
        Self::Private,
    ];

    /// The limit that it keeps.
    pub(super) fn limit(self) -> Limit {
        match self {
            Self::Requests => Limit::RequestsPerSecond,
            Self::BytesIn => Limit::BytesInPerSecond,
            Self::BytesOut => Limit::BytesOutPerSecond,
            Self::Open | Self::Unread => Limit::BytesInFlight,
            Self::Blocked => Limit::BlockedClients,
            Self::Private => Limit::PrivateConnections,
        }
    }

    fn counts_bytes(self) -> bool {
        matches!(self, Self::BytesIn | Self::BytesOut | Self::Open | Self::Unread)
    }
}

impl Quotas {
    /// No tenant's yet.
    #[must_use]
    pub fn new(wake_tick: Rc<Notify>) -> Self {
        Self { by_tenant: HashMap::new(), timers: BTreeSet::new(), wake_tick }
    }

    /// This worker's share of these limits, the same for all its clients.
    pub(super) fn of(&mut self, limits: &Arc<Limits>) -> Rc<Share> {
        // A share holds the limits, so that no others can come to stand there.
        let share = self.by_tenant.entry(Arc::as_ptr(limits) as usize);
        share.or_insert_with(|| Rc::new(Share::new(limits.clone()))).clone()
    }

    /// Lets a client go on at this time.
    pub(super) fn set_timer(&mut self, at: u64, asker: Asker) {
        self.timers.insert((at, asker));
        self.hurry();
    }

    /// Somebody waits: ticks must not come too seldom for it.
    pub(super) fn hurry(&self) {
        self.wake_tick.notify_one();
    }

    /// Whether [`Self::tick`] has anybody to look at.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.timers.is_empty() || self.by_tenant.values().any(|share| share.is_waiting())
    }

    /// Who may go on at `now`. No more clients than there is room for: none is woken in vain.
    pub fn tick(&mut self, now: u64) -> Vec<Asker> {
        let mut woken = Vec::new();
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            woken.extend(self.timers.pop_first().map(|(_, asker)| asker));
        }
        self.by_tenant.retain(|_, share| {
            share.settle(now);
            share.wake(now, &mut woken);
            Rc::strong_count(share) > 1
        });
        woken
    }
}

impl Share {
    fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            requests: Cell::new(0),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            pending: Cell::new(0),
            reply_size: Cell::new(FIRST_REPLY),
            unread: Cell::new(0),
            open: Cell::new(0),
            queue: RefCell::default(),
        }
    }

    pub(super) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Whether the gate's limit is set, and is to be kept in this way.
    pub(super) fn acts(&self, gate: Gate, action: Action) -> bool {
        self.limits.bound(gate.limit()).is_some_and(|bound| bound.action == action)
    }

    /// How much of the gate's limit is left.
    pub(super) fn left(&self, gate: Gate, now: u64) -> u64 {
        let own = match gate {
            Gate::Requests => self.requests.get(),
            Gate::BytesIn => self.bytes_in.get(),
            _ => 0,
        };
        if own > 0 {
            return own;
        }
        match gate {
            Gate::Open => {
                let most = self.limits.bound(Limit::BytesInFlight).map_or(u64::MAX, |bound| bound.most);
                most.saturating_sub(self.limits.usage().used(Used::Open)).saturating_sub(self.expected())
            }
            Gate::BytesOut => {
                self.settle_out(now);
                self.limits.left(gate.limit(), now).saturating_sub(self.expected())
            }
            _ => self.limits.left(gate.limit(), now),
        }
    }

    /// Bytes of replies that are under way.
    fn expected(&self) -> u64 {
        self.pending.get().saturating_mul(self.reply_size.get())
    }

    /// Takes so much of a gate's limit, and of what its client was granted.
    pub(super) fn take(&self, gate: Gate, amount: u64, place: &mut Option<Place>, now: u64) {
        let own = place.filter(|(other, _)| *other == gate);
        let mut queue = self.queue.borrow_mut();
        if let Some(own) = own
            && let Some(granted) = queue.waiting.get(&own).and_then(|waiter| waiter.granted)
        {
            match granted.saturating_sub(amount) {
                0 => {
                    queue.remove(own);
                    *place = None;
                }
                left if granted < u64::MAX => queue.grant(own, left),
                _ => {}
            }
        }
        self.charge(gate, amount, now);
    }

    /// Takes cells of a rate, whether there are any or not.
    fn charge(&self, gate: Gate, cells: u64, now: u64) {
        let own = match gate {
            Gate::Requests => &self.requests,
            Gate::BytesIn => &self.bytes_in,
            _ => return,
        };
        let Some(bound) = self.limits.bound(gate.limit()) else { return };
        if let Some(left) = own.get().checked_sub(cells) {
            own.set(left);
        } else if let Some(bucket) = self.limits.usage().bucket(gate.limit()) {
            let (rate, needed) = (Rate::new(bound.most), cells - own.get());
            // In advance only of what there is: a debt must be seen by the next who comes.
            let advance = bucket.available(rate, now).saturating_sub(needed).min(rate.advance());
            bucket.charge(rate, needed + advance, now);
            own.set(advance);
        }
    }

    /// So many reply bytes were written.
    pub(super) fn note_written(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get().saturating_add(bytes as u64));
    }

    /// A client has so many more requests under way, or fewer: those were answered with so many bytes.
    pub(super) fn note_pending(&self, opened: usize, answered: usize, bytes: usize) {
        self.pending.set((self.pending.get() + opened as u64).saturating_sub(answered as u64));
        if answered > 0 && bytes > 0 {
            let size = (bytes / answered) as u64;
            // Soon larger, slowly smaller.
            let parts = if size > self.reply_size.get() { 2 } else { 8 };
            self.reply_size.set((self.reply_size.get() * (parts - 1) + size).div_ceil(parts));
        }
    }

    /// How large a reply is likely to be.
    pub(super) fn reply_size(&self) -> u64 {
        self.reply_size.get()
    }

    /// A client's bytes are so many more, or less. Which of its changes belong to each other the others need not see.
    pub(super) fn add(&self, used: Used, difference: i64) {
        let untold = match used {
            Used::Unread => &self.unread,
            Used::Open => &self.open,
            _ => return self.limits.usage().add(used, difference),
        };
        untold.set(untold.get() + difference);
        let most = self.limits.bound(Limit::BytesInFlight).map_or(u64::MAX, |bound| bound.most / 64);
        if untold.get().unsigned_abs() > most.min(MOST_UNTOLD) {
            self.limits.usage().add(used, untold.take());
        }
    }

    fn settle_out(&self, now: u64) {
        let written = self.bytes_out.take();
        if written > 0
            && let Some(bound) = self.limits.bound(Limit::BytesOutPerSecond)
            && let Some(bucket) = self.limits.usage().bucket(Limit::BytesOutPerSecond)
        {
            bucket.charge(Rate::new(bound.most), written, now);
        }
    }

    /// Tells the others everything.
    fn settle(&self, now: u64) {
        self.settle_out(now);
        for (untold, used) in [(&self.unread, Used::Unread), (&self.open, Used::Open)] {
            if untold.get() != 0 {
                self.limits.usage().add(used, untold.take());
            }
        }
    }

    /// Whether a client may pass a gate that delays: who came first passes first.
    pub(super) fn passes(&self, gate: Gate, place: Option<Place>, now: u64) -> bool {
        let queue = self.queue.borrow();
        let own = place.filter(|(other, _)| *other == gate);
        match own.and_then(|own| queue.waiting.get(&own)?.granted) {
            // Reads on whatever there is, see [`Self::wake`].
            Some(u64::MAX) => true,
            Some(_) => self.left(gate, now) > 0,
            None => queue.asleep[gate as usize] == 0 && self.left(gate, now) > 0,
        }
    }

    /// A client waits; who was woken and found no room keeps his place. True where it did not wait before.
    pub(super) fn wait(&self, gate: Gate, asker: Asker, place: &mut Option<Place>) -> bool {
        let mut queue = self.queue.borrow_mut();
        match *place {
            Some(own) if own.0 == gate && queue.waiting.contains_key(&own) => {
                queue.sleep(own);
                return false;
            }
            Some(own) => queue.remove(own),
            None => {}
        }
        *place = Some(queue.push(gate, asker));
        true
    }

    /// A client waits no longer.
    pub(super) fn leave(&self, place: &mut Option<Place>) {
        if let Some(place) = place.take() {
            self.queue.borrow_mut().remove(place);
        }
    }

    fn is_waiting(&self) -> bool {
        self.queue.borrow().asleep.iter().any(|asleep| *asleep > 0)
    }

    /// Wakes as many clients as there is room for, each for its part of that.
    fn wake(&self, now: u64, woken: &mut Vec<Asker>) {
        for gate in Gate::ALL {
            let asleep = self.queue.borrow().asleep[gate as usize] as u64;
            if asleep == 0 {
                continue;
            }
            let left = self.left(gate, now);
            let mut queue = self.queue.borrow_mut();
            if left > 0 {
                let room = if gate.counts_bytes() { left.div_ceil(WORTH_WAKING) } else { left };
                let clients = room.min(asleep);
                queue.wake(gate, clients as usize, (left / clients).clamp(1, u64::MAX - 1), woken);
            } else if gate == Gate::Unread && !queue.reads_on() && self.limits.usage().used(Used::Open) == 0 {
                // Nothing but requests that have not come whole: one of them is read on, else none ever would be.
                queue.wake(gate, 1, u64::MAX, woken);
            }
        }
    }
}

impl Queue {
    fn push(&mut self, gate: Gate, asker: Asker) -> Place {
        let place = (gate, self.next);
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(place, Waiter { asker, granted: None });
        self.asleep[gate as usize] += 1;
        place
    }

    fn remove(&mut self, place: Place) {
        if let Some(waiter) = self.waiting.remove(&place)
            && waiter.granted.is_none()
        {
            self.asleep[place.0 as usize] -= 1;
        }
    }

    fn sleep(&mut self, place: Place) {
        if let Some(waiter) = self.waiting.get_mut(&place)
            && waiter.granted.take().is_some()
        {
            self.asleep[place.0 as usize] += 1;
        }
    }

    fn grant(&mut self, place: Place, left: u64) {
        if let Some(waiter) = self.waiting.get_mut(&place) {
            waiter.granted = Some(left);
        }
    }

    fn wake(&mut self, gate: Gate, clients: usize, granted: u64, woken: &mut Vec<Asker>) {
        let waiting = self.waiting.range_mut((gate, 0)..=(gate, u32::MAX));
        let asleep = waiting.map(|(_, waiter)| waiter).filter(|waiter| waiter.granted.is_none());
        for waiter in asleep.take(clients) {
            waiter.granted = Some(granted);
            woken.push(waiter.asker);
            self.asleep[gate as usize] -= 1;
        }
    }

    /// Whether somebody reads on although there is no room.
    fn reads_on(&self) -> bool {
        let mut waiting = self.waiting.range((Gate::Unread, 0)..=(Gate::Unread, u32::MAX));
        waiting.any(|(_, waiter)| waiter.granted == Some(u64::MAX))
    }
}
