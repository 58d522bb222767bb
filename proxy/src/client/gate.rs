//! Where clients of a tenant with limits may have to wait, and who waits there: who came first is woken first, and no more
//! than there is room for. Pure.

use std::collections::BTreeMap;

use crate::config::limits::Limit;
use crate::private::pool::Asker;

/// What a client may have to wait at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Gate {
    /// Before a request is handled: requests a second.
    Requests,
    /// Before more is read: bytes a second.
    BytesIn,
    /// Before a request is handled: reply bytes a second.
    BytesOut,
    /// Before a request is handled: bytes under way.
    Open,
    /// Before more is read of a request of which some was: the same with what was read and not handled.
    Rest,
    /// Before anything is read: the same.
    Unread,
    /// Before a blocking command is handled: clients that block.
    Blocked,
    /// Before a private connection is taken.
    Private,
}

/// A client's place in a queue.
pub(super) type Place = (Gate, u32);

/// Who waits at the gates of one limit's keeper.
#[derive(Default, Debug)]
pub(super) struct Queue {
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

impl Gate {
    pub(super) const ALL: [Self; 8] = [
        Self::Requests,
        Self::BytesIn,
        Self::BytesOut,
        Self::Open,
        Self::Rest,
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
            Self::Open | Self::Rest | Self::Unread => Limit::BytesInFlight,
            Self::Blocked => Limit::BlockedClients,
            Self::Private => Limit::PrivateConnections,
        }
    }

    /// Whether there is room for a part of what is asked.
    pub(super) fn counts_bytes(self) -> bool {
        matches!(self, Self::BytesIn | Self::BytesOut | Self::Open | Self::Rest | Self::Unread)
    }
}

impl Queue {
    /// What the one at this place was granted when he was woken.
    pub(super) fn granted(&self, place: Place) -> Option<u64> {
        self.waiting.get(&place)?.granted
    }

    /// Whether somebody stands there, awake or not.
    pub(super) fn has(&self, place: Place) -> bool {
        self.waiting.contains_key(&place)
    }

    /// How many sleep at a gate.
    pub(super) fn asleep(&self, gate: Gate) -> usize {
        self.asleep[gate as usize]
    }

    /// Whether anybody sleeps at any.
    pub(super) fn is_waiting(&self) -> bool {
        self.asleep.iter().any(|asleep| *asleep > 0)
    }

    /// Somebody begins to wait.
    pub(super) fn push(&mut self, gate: Gate, asker: Asker) -> Place {
        let place = (gate, self.next);
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(place, Waiter { asker, granted: None });
        self.asleep[gate as usize] += 1;
        place
    }

    /// Nobody stands there any longer.
    pub(super) fn remove(&mut self, place: Place) {
        if let Some(waiter) = self.waiting.remove(&place)
            && waiter.granted.is_none()
        {
            self.asleep[place.0 as usize] -= 1;
        }
    }

    /// Who was woken waits again, at his place.
    pub(super) fn sleep(&mut self, place: Place) {
        if let Some(waiter) = self.waiting.get_mut(&place)
            && waiter.granted.take().is_some()
        {
            self.asleep[place.0 as usize] += 1;
        }
    }

    /// Of what he was granted so much is left.
    pub(super) fn grant(&mut self, place: Place, left: u64) {
        if let Some(waiter) = self.waiting.get_mut(&place) {
            waiter.granted = Some(left);
        }
    }

    /// Wakes so many, the longest waiting first, each for so much.
    pub(super) fn wake(&mut self, gate: Gate, clients: usize, granted: u64, woken: &mut Vec<Asker>) {
        let waiting = self.waiting.range_mut((gate, 0)..=(gate, u32::MAX));
        let asleep = waiting.map(|(_, waiter)| waiter).filter(|waiter| waiter.granted.is_none());
        for waiter in asleep.take(clients) {
            waiter.granted = Some(granted);
            woken.push(waiter.asker);
            self.asleep[gate as usize] -= 1;
        }
    }

    /// Whether somebody reads on although there is no room.
    pub(super) fn reads_on(&self) -> bool {
        let mut waiting = self.waiting.range((Gate::Rest, 0)..=(Gate::Rest, u32::MAX));
        waiting.any(|(_, waiter)| waiter.granted == Some(u64::MAX))
    }
}
