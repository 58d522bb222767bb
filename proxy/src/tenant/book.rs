//! What one tenant has under way on a worker, and what its requests cost. Pure; [`super::shares`] keeps the books.

use std::collections::VecDeque;

use super::shares::Waiter;
use super::window::UNIT;
use crate::config::tenants::DEFAULT_WEIGHT;

/// One tenant's account.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) weight: u64,
    /// When it last asked, in milliseconds of the worker's clock; only told while several do.
    pub(super) seen: u64,
    /// What its requests cost that are under way, in units.
    pub(super) under_way: u64,
    /// Of this, what is over with this turn.
    spent: u64,
    /// Bytes of its replies on average: as far as anybody can tell, what the next one will have.
    reply: u64,
    /// Bytes of the reply that is coming in.
    coming: u64,
    /// Its clients that wait, longest first.
    pub(super) waiting: VecDeque<Waiter>,
    /// One of them was called and has not come yet.
    pub(super) called: bool,
    /// Until when it counts as one that wants more than it has; 0: it does not.
    pub(super) backlogged_until: u64,
}

// What a request costs beside its bytes: a small one takes the thread as long as about so many bytes of a large one.
pub(super) const REQUEST: u64 = 256;
// Before a tenant's replies have told how large they are.
const FIRST_REPLY: u64 = 4 * 1_024;
// They are averaged over about so many.
const REPLIES: u64 = 8;

impl Book {
    /// A request of so many bytes is sent: what it costs until [`Self::settle`], with the reply that it will have.
    pub(super) fn charge(&mut self, request: usize) -> u16 {
        let cost = cost(request as u64 + self.reply);
        self.under_way += u64::from(cost);
        cost
    }

    /// What was charged is over.
    pub(super) fn settle(&mut self, cost: u64) {
        self.under_way = self.under_way.saturating_sub(cost);
    }

    /// A reply to a request that was charged, or a piece of it, has so many bytes.
    pub(super) fn note_reply(&mut self, bytes: usize, more: bool) {
        self.coming = self.coming.saturating_add(bytes as u64);
        if !more {
            let coming = std::mem::take(&mut self.coming);
            self.reply = (self.reply * (REPLIES - 1) + coming) / REPLIES;
        }
    }

    /// A request of so many bytes was handled at once: it costs something until [`Self::end_turn`]. True for the
    /// first of a turn.
    pub(super) fn spend(&mut self, request: usize) -> bool {
        let (cost, is_first) = (u64::from(cost(request as u64)), self.spent == 0);
        self.under_way += cost;
        self.spent += cost;
        is_first
    }

    /// What was done at once is over.
    pub(super) fn end_turn(&mut self) {
        let spent = std::mem::take(&mut self.spent);
        self.settle(spent);
    }
}

impl Default for Book {
    fn default() -> Self {
        Self {
            weight: u64::from(DEFAULT_WEIGHT),
            seen: 0,
            under_way: 0,
            spent: 0,
            reply: FIRST_REPLY,
            coming: 0,
            waiting: VecDeque::new(),
            called: false,
            backlogged_until: 0,
        }
    }
}

/// What so many bytes cost, in units.
fn cost(bytes: u64) -> u16 {
    ((REQUEST + bytes) / UNIT).try_into().unwrap_or(u16::MAX)
}
