//! What a worker has of a tenant's limits: cells of a rate taken in advance, bytes that the other workers are not told of
//! yet, and the clients that wait until there is room. Pure.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::gate::{Gate, Place, Queue};
use crate::config::limits::{Action, Limit};
use crate::private::pool::Asker;
use crate::tenant::limits::{Limits, Used};
use crate::tenant::rate::Rate;

/// One tenant's, on this worker.
#[derive(Debug)]
pub(super) struct Quota {
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

// What a reply is taken for before there was one.
const FIRST_REPLY: u64 = 16 * 1024;

// Who waits for bytes is woken where there is so much for each: less is not worth waking for.
const WORTH_WAKING: u64 = 4 * 1024;

// A worker may be so far from telling the others the truth, and a 64th of the limit at most.
const MOST_UNTOLD: u64 = 64 * 1024;

impl Quota {
    /// Nothing is used yet.
    pub(super) fn new(limits: Arc<Limits>) -> Self {
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
            && let Some(granted) = queue.granted(own)
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
    pub(super) fn settle(&self, now: u64) {
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
        match own.and_then(|own| queue.granted(own)) {
            // Reads on whatever there is, see [`Self::wake`].
            Some(u64::MAX) => true,
            Some(_) => self.left(gate, now) > 0,
            None => queue.asleep(gate) == 0 && self.left(gate, now) > 0,
        }
    }

    /// A client waits; who was woken and found no room keeps his place. True where it did not wait before.
    pub(super) fn wait(&self, gate: Gate, asker: Asker, place: &mut Option<Place>) -> bool {
        let mut queue = self.queue.borrow_mut();
        match *place {
            Some(own) if own.0 == gate && queue.has(own) => {
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

    /// Whether anybody sleeps at one of its gates.
    pub(super) fn is_waiting(&self) -> bool {
        self.queue.borrow().is_waiting()
    }

    /// Whether nothing more may be read.
    pub(super) fn is_full(&self, now: u64) -> bool {
        self.limits.bound(Limit::BytesInFlight).is_some() && self.left(Gate::Unread, now) == 0
    }

    /// Wakes as many clients as there is room for, each for its part of that.
    pub(super) fn wake(&self, now: u64, woken: &mut Vec<Asker>) {
        for gate in Gate::ALL {
            let asleep = self.queue.borrow().asleep(gate) as u64;
            if asleep == 0 {
                continue;
            }
            let left = self.left(gate, now);
            let mut queue = self.queue.borrow_mut();
            if left > 0 {
                let room = if gate.counts_bytes() { left.div_ceil(WORTH_WAKING) } else { left };
                let clients = room.min(asleep);
                queue.wake(gate, clients as usize, (left / clients).clamp(1, u64::MAX - 1), woken);
            } else if gate == Gate::Rest && !queue.reads_on() && self.limits.usage().used(Used::Open) == 0 {
                // Nothing but requests that have not come whole: one of them is read on, else none ever would be.
                queue.wake(gate, 1, u64::MAX, woken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::{Bound, LimitsSettings};

    fn quota(bounds: &[(Limit, u64)]) -> Quota {
        let mut settings = LimitsSettings::default();
        for (limit, most) in bounds {
            settings.set(*limit, Bound { most: *most, action: Action::Delay });
        }
        Quota::new(Arc::new(Limits::new(settings, Arc::default())))
    }

    fn asker(client: u32) -> Asker {
        Asker { client, generation: 0 }
    }

    fn woken(quota: &Quota, now: u64) -> Vec<u32> {
        let mut woken = Vec::new();
        quota.wake(now, &mut woken);
        woken.into_iter().map(|asker| asker.client).collect()
    }

    #[test]
    fn as_many_are_woken_as_there_is_room_for_the_longest_waiting_first() {
        let quota = quota(&[(Limit::RequestsPerSecond, 40)]);
        assert_eq!(quota.left(Gate::Requests, 0), 10);
        quota.take(Gate::Requests, 10, &mut None, 0);
        let mut places = [None; 4];
        for (client, place) in (0..).zip(&mut places) {
            assert!(!quota.passes(Gate::Requests, *place, 0));
            assert!(quota.wait(Gate::Requests, asker(client), place));
        }
        assert!(woken(&quota, 0).is_empty() && quota.is_waiting());
        quota.leave(&mut places[1]);
        // 50 ms give two.
        assert_eq!(woken(&quota, 50), [0, 2]);
        assert!(quota.passes(Gate::Requests, places[0], 50));
        quota.take(Gate::Requests, 1, &mut places[0], 50);
        assert_eq!(places[0], None, "it had its part");
        assert!(!quota.passes(Gate::Requests, None, 50), "who comes now stands behind the fourth");
        assert!(quota.passes(Gate::Requests, places[2], 50));
        quota.take(Gate::Requests, 1, &mut places[2], 50);
        // Woken, and others were faster: it keeps its place.
        assert_eq!(woken(&quota, 75), [3]);
        quota.take(Gate::Requests, 1, &mut None, 75);
        assert!(!quota.passes(Gate::Requests, places[3], 75));
        assert!(!quota.wait(Gate::Requests, asker(3), &mut places[3]), "it waited before");
        assert_eq!(woken(&quota, 100), [3]);
    }

    #[test]
    fn replies_under_way_count_before_they_come() {
        let quota = quota(&[(Limit::BytesOutPerSecond, 400_000)]);
        assert_eq!(quota.left(Gate::BytesOut, 0), 100_000);
        quota.note_pending(2, 0, 0);
        assert_eq!(quota.left(Gate::BytesOut, 0), 100_000 - 2 * FIRST_REPLY);
        quota.note_written(60_000);
        quota.note_pending(0, 2, 60_000);
        assert_eq!(quota.left(Gate::BytesOut, 0), 40_000);
        assert!(quota.reply_size() > FIRST_REPLY);
        quota.note_pending(4, 0, 0);
        assert_eq!(quota.left(Gate::BytesOut, 0), 0);
        quota.note_pending(0, 4, 4);
        assert!(quota.left(Gate::BytesOut, 0) > 0, "they came, and were small");
    }

    #[test]
    fn a_debt_is_seen_whatever_was_taken_in_advance() {
        let quota = quota(&[(Limit::BytesInPerSecond, 1 << 20)]);
        quota.take(Gate::BytesIn, 1, &mut None, 0);
        assert!(quota.bytes_in.get() > 0, "some was taken in advance");
        quota.take(Gate::BytesIn, 10 << 20, &mut None, 0);
        assert_eq!((quota.left(Gate::BytesIn, 0), quota.bytes_in.get()), (0, 0));
        assert!(!quota.passes(Gate::BytesIn, None, 9_000));
        assert!(quota.passes(Gate::BytesIn, None, 10_000));
    }

    #[test]
    fn of_half_requests_that_fill_the_limit_one_is_read_on() {
        let quota = quota(&[(Limit::BytesInFlight, 100_000)]);
        quota.add(Used::Unread, 100_000);
        let mut places = [None; 3];
        for (client, place) in (0..).zip(&mut places) {
            let gate = if client == 0 { Gate::Unread } else { Gate::Rest };
            assert!(!quota.passes(gate, None, 0) && quota.wait(gate, asker(client), place));
        }
        quota.limits.usage().add(Used::Open, 1);
        assert!(woken(&quota, 0).is_empty(), "what is under way comes to its end");
        quota.limits.usage().add(Used::Open, -1);
        assert_eq!(woken(&quota, 0), [1]);
        quota.take(Gate::Rest, 1 << 30, &mut places[1], 0);
        assert!(quota.passes(Gate::Rest, places[1], 0), "until it is whole");
        assert!(woken(&quota, 0).is_empty(), "one at a time");
        quota.leave(&mut places[1]);
        assert_eq!(woken(&quota, 0), [2]);
        quota.limits.usage().add(Used::Unread, -50_000);
        assert_eq!(woken(&quota, 0), [0], "there is room again");
    }

    #[test]
    fn bytes_are_told_late_and_not_lost() {
        let quota = quota(&[(Limit::BytesInFlight, 64_000)]);
        quota.add(Used::Open, 1_000);
        assert_eq!(quota.limits.usage().used(Used::Open), 0);
        quota.add(Used::Open, 500);
        assert_eq!(quota.limits.usage().used(Used::Open), 1_500);
        quota.add(Used::Open, -600);
        quota.settle(0);
        assert_eq!(quota.limits.usage().used(Used::Open), 900);
    }
}
