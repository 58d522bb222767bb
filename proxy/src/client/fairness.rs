//! Whether a client may go on while several tenants ask: its place in its tenant's queue, and what its requests cost.
//! What each tenant may have is [`Shares`]' business. Pure.

use super::clients::Clients;
use super::connection::Client;
use super::dispatch::Turn;
use crate::backend::in_flight::Charge;
use crate::tenant::shares::{Account, Shares};

/// Where a client stands among those of its tenant, while several tenants ask.
///
/// ```text
/// Free ──there is room, nobody waits──▶ Going ──its turn is over──▶ Free
///   │                                     │  ▲
///   └──there is no room──▶ Queued ◀───────┘  │
///                             └──▶ Called ───┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Place {
    /// It has nothing to ask, or nobody has counted.
    #[default]
    Free,
    /// It goes on when it is called.
    Queued,
    /// It was called, and its task is to run.
    Called,
    /// It is asking.
    Going,
}

/// A client's turn begins.
#[inline]
pub(super) fn begin(client: &mut Client, turn: &mut Turn<'_>) {
    if turn.shares.has_several {
        enter(client, turn);
    }
}

#[inline(never)]
fn enter(client: &mut Client, turn: &mut Turn<'_>) {
    let session = &client.session;
    turn.contended = turn.shares.enter(session.account(), || session.weight(), turn.now);
    if client.place != Place::Free {
        resume(client, turn);
    }
}

#[cold]
#[inline(never)]
fn resume(client: &mut Client, turn: &mut Turn<'_>) {
    if client.place == Place::Called {
        turn.shares.come(client.session.account());
    }
    if !turn.contended {
        client.place = Place::Free;
    }
}

/// A client's turn is over.
#[inline]
pub(super) fn end(client: &mut Client, turn: &Turn<'_>) {
    if turn.contended && client.place != Place::Queued {
        client.place = Place::Free;
    }
}

/// Whether the next request of a client may be handled; if not, the client is queued. Only while several tenants ask.
#[cold]
#[inline(never)]
pub(super) fn admit(client: &mut Client, turn: &mut Turn<'_>) -> bool {
    let account = client.session.account();
    let in_front = match client.place {
        Place::Queued => return false,
        Place::Called => true,
        Place::Going | Place::Free => false,
    };
    let is_next = client.place != Place::Free || !turn.shares.has_waiters(account);
    if is_next && turn.shares.has_room(account) {
        client.place = Place::Going;
        return true;
    }
    client.place = Place::Queued;
    turn.shares.wait(account, (turn.key, client.generation), in_front, turn.now);
    false
}

/// What a request is charged that is about to be queued on a link.
#[cold]
#[inline(never)]
pub(super) fn charge(client: &Client, frame: &[u8], turn: &mut Turn<'_>) -> Charge {
    let account = client.session.account();
    Charge { account: account.0, cost: turn.shares.charge(account, frame.len()) }
}

/// Gives back what was charged for a request that is over.
#[cold]
#[inline(never)]
pub(super) fn settle(shares: &mut Shares, Charge { account, cost }: Charge) {
    shares.settle(Account(account), cost);
}

impl Clients {
    /// Takes note of a reply, or a piece of it, to a request that was charged.
    #[cold]
    #[inline(never)]
    pub(super) fn on_charged_reply(&mut self, charge: Charge, bytes: usize, more: bool) {
        self.shares.note_reply(Account(charge.account), bytes, more);
        if !more {
            settle(&mut self.shares, charge);
        }
    }

    /// Has those go on whose tenants have room again.
    #[cold]
    #[inline(never)]
    pub fn call_waiting(&mut self) {
        while let Some((account, (key, generation))) = self.shares.next_call() {
            let client = self.records.get_mut(key as usize);
            match client.filter(|client| client.generation == generation && client.place == Place::Queued) {
                Some(client) => {
                    client.place = Place::Called;
                    client.wake();
                }
                // It has gone.
                None => self.shares.come(account),
            }
        }
        self.metrics.tenants_contended.set(1);
        self.metrics.tenants_window.set(self.shares.window.bytes());
    }

    /// Looks whether several of so many tenants still ask.
    pub fn tick_shares(&mut self, tenants: usize, now: u64) {
        self.shares.has_several = tenants > 1 || self.shares.are_contended();
        for (key, generation) in self.shares.tick(now) {
            let client = self.records.get_mut(key as usize);
            if let Some(client) = client.filter(|client| client.generation == generation) {
                // Somebody else may ask again before it does.
                client.place = Place::Called;
                client.wake();
            }
        }
        self.metrics.tenants_waited.set(self.shares.waits());
        self.metrics.tenants_contended.set(u64::from(self.shares.are_contended()));
    }
}
