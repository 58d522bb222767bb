//! Who may have how much under way, while several tenants ask over one worker: a window of bytes at the backends,
//! shared by weight. Pure.
//!
//! What a tenant waits for beside a noisy one is a queue: replies in front of its own on a shared connection, requests
//! in front of its own in a server, turns of the thread for both. All of these are as long as what is under way. So
//! while more than one tenant asks, what each may have under way is bounded, and who is above its share waits in front
//! of the proxy, unread. Where the queue is common, throughput is in the ratio of what is under way: shares of the
//! window are shares of the proxy.
//!
//! While one tenant alone asks nothing is counted and nobody waits. A tenant that is content with less than its share
//! leaves the rest to those who want more: shares are those of the tenants that have to wait.

use std::collections::VecDeque;

use super::book::Book;
use super::window::Window;

/// A tenant's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account(pub u16);

/// Somebody who waits: its place among the clients and its generation.
pub type Waiter = (u32, u32);

/// Every tenant's account on a worker.
#[derive(Default, Debug)]
pub struct Shares {
    /// Whether there are several tenants that could ask.
    pub has_several: bool,
    askers: Askers,
    books: Vec<Book>,
    /// The accounts that asked of late; only told while several do.
    active: Vec<Account>,
    /// The accounts whose clients wait; whose turn it is to be called, first.
    waiting: VecDeque<Account>,
    /// The accounts that did something which is over with this turn.
    spenders: Vec<Account>,
    /// How much may be under way.
    pub window: Window,
    /// The weights of those that want more than they have.
    backlog: u64,
    /// Something was charged since [`Self::next_turn`].
    charged: bool,
    /// How often somebody had to wait.
    waits: u64,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Askers {
    #[default]
    Nobody,
    /// One tenant alone, as far as is known.
    Sole(Account),
    /// Several, of late.
    Several,
}

// A tenant that has asked for nothing for so long leaves the others alone: in milliseconds. One that asks less often
// finds whatever the others have under way.
const ACTIVE: u64 = 1_000;
// For so long who had to wait is taken for one that wants more, in milliseconds: while its replies come nobody waits.
const BACKLOGGED: u64 = 50;
impl Shares {
    /// A client of this account is served; tells whether several tenants ask.
    #[inline]
    pub fn enter(&mut self, account: Account, weight: impl FnOnce() -> Option<u16>, now: u64) -> bool {
        if self.askers == Askers::Sole(account) {
            return false;
        }
        self.enter_another(account, weight(), now)
    }

    #[cold]
    fn enter_another(&mut self, account: Account, weight: Option<u16>, now: u64) -> bool {
        match self.askers {
            Askers::Nobody => {
                self.askers = Askers::Sole(account);
                return false;
            }
            Askers::Sole(other) => {
                self.askers = Askers::Several;
                self.window.begin();
                self.mark(other, None, now);
            }
            Askers::Several => {}
        }
        self.mark(account, weight, now);
        true
    }

    fn mark(&mut self, account: Account, weight: Option<u16>, now: u64) {
        let place = usize::from(account.0);
        if self.books.len() <= place {
            self.books.resize_with(place + 1, Book::default);
        }
        let book = &mut self.books[place];
        if let Some(weight) = weight.map(u64::from).filter(|weight| *weight != book.weight) {
            if book.backlogged_until > 0 {
                self.backlog = self.backlog - book.weight + weight;
            }
            book.weight = weight;
        }
        if book.seen == 0 {
            self.active.push(account);
        }
        book.seen = now.max(1);
    }

    /// Whether several tenants ask.
    #[inline]
    #[must_use]
    pub fn are_contended(&self) -> bool {
        self.askers == Askers::Several
    }

    /// Whether this account's next request may be sent.
    #[must_use]
    pub fn has_room(&self, account: Account) -> bool {
        self.book(account).is_none_or(|book| book.under_way == 0 || book.under_way < self.share(book))
    }

    /// What may be under way of this account, were it to want more than that.
    fn share(&self, book: &Book) -> u64 {
        let others = if book.backlogged_until > 0 { self.backlog - book.weight } else { self.backlog };
        self.window.units() * book.weight / (others + book.weight)
    }

    /// Whether others of this account wait already.
    #[must_use]
    pub fn has_waiters(&self, account: Account) -> bool {
        self.book(account).is_some_and(|book| !book.waiting.is_empty())
    }

    /// A client waits until [`Self::next_call`] names it: in front of the others where it was named before, and
    /// somebody was faster.
    pub fn wait(&mut self, account: Account, waiter: Waiter, in_front: bool, now: u64) {
        self.waits += 1;
        let Some(book) = self.books.get_mut(usize::from(account.0)) else { return };
        if book.backlogged_until == 0 {
            self.backlog += book.weight;
        }
        book.backlogged_until = now + BACKLOGGED;
        if book.waiting.is_empty() {
            self.waiting.push_back(account);
        }
        if in_front {
            book.waiting.push_front(waiter);
        } else {
            book.waiting.push_back(waiter);
        }
    }

    /// Somebody whose account has room again: for a quarter of its share, since requests that go one by one cost the
    /// thread and the servers more than those that go together. It is to be served soon, and [`Self::come`] to be told then; one of an
    /// account is called at a time.
    pub fn next_call(&mut self) -> Option<(Account, Waiter)> {
        let may_come = |account: &Account| {
            let has_room = |book: &Book| book.under_way == 0 || book.under_way < self.share(book) * 3 / 4;
            self.book(*account).is_some_and(|book| !book.called && has_room(book))
        };
        let place = self.waiting.iter().position(may_come)?;
        let account = self.waiting.remove(place)?;
        let book = self.books.get_mut(usize::from(account.0))?;
        let waiter = book.waiting.pop_front()?;
        book.called = true;
        if !book.waiting.is_empty() {
            // Whoever is called first has the most use of a turn: not always the same one.
            self.waiting.push_back(account);
        }
        Some((account, waiter))
    }

    /// Somebody who was called is served, or has gone.
    pub fn come(&mut self, account: Account) {
        if let Some(book) = self.books.get_mut(usize::from(account.0)) {
            book.called = false;
        }
    }

    /// A request of so many bytes is sent: what it costs until [`Self::settle`].
    pub fn charge(&mut self, account: Account, request: usize) -> u16 {
        self.charged = true;
        self.books.get_mut(usize::from(account.0)).map_or(0, |book| book.charge(request))
    }

    /// A request that was charged is over: it was answered, or never will be.
    pub fn settle(&mut self, account: Account, cost: u16) {
        if let Some(book) = self.books.get_mut(usize::from(account.0)) {
            book.settle(u64::from(cost));
            self.window.delivered(u64::from(cost));
        }
    }

    /// A reply to a request that was charged, or a piece of it, has so many bytes.
    pub fn note_reply(&mut self, account: Account, bytes: usize, more: bool) {
        if let Some(book) = self.books.get_mut(usize::from(account.0)) {
            book.note_reply(bytes, more);
        }
    }

    /// A request was handled. Where nothing was sent for it, it costs the thread something nevertheless, until
    /// [`Self::next_turn`].
    pub fn handled(&mut self, account: Account, request: usize) {
        if std::mem::take(&mut self.charged) {
            return;
        }
        if let Some(book) = self.books.get_mut(usize::from(account.0))
            && book.spend(request)
        {
            self.spenders.push(account);
        }
    }

    /// Whether [`Self::next_turn`] has something to do.
    #[must_use]
    pub fn has_spent(&self) -> bool {
        !self.spenders.is_empty()
    }

    /// The sockets were looked at: what was done at once is over.
    pub fn next_turn(&mut self) {
        for account in self.spenders.drain(..) {
            if let Some(book) = self.books.get_mut(usize::from(account.0)) {
                book.end_turn();
            }
        }
    }

    /// Looks who asks; once a tick. Gives those that need not wait any longer, since one tenant is left.
    pub fn tick(&mut self, now: u64) -> Vec<Waiter> {
        if self.askers != Askers::Several {
            return Vec::new();
        }
        self.window.tick(now);
        let Self { books, active, backlog, .. } = self;
        active.retain(|account| {
            let book = &mut books[usize::from(account.0)];
            let is_busy = !book.waiting.is_empty();
            // Should somebody who was called have become another tenant's.
            book.called = false;
            if is_busy {
                book.backlogged_until = now + BACKLOGGED;
            } else if book.backlogged_until > 0 && book.backlogged_until <= now {
                book.backlogged_until = 0;
                *backlog -= book.weight;
            }
            let stays = is_busy || book.backlogged_until > 0 || book.seen + ACTIVE > now;
            if !stays {
                book.seen = 0;
            }
            stays
        });
        if active.len() > 1 {
            return Vec::new();
        }
        self.end(self.active.first().copied())
    }

    /// One tenant is left, or none.
    fn end(&mut self, left: Option<Account>) -> Vec<Waiter> {
        self.askers = left.map_or(Askers::Nobody, Askers::Sole);
        self.active.clear();
        self.waiting.clear();
        self.backlog = 0;
        let mut released = Vec::new();
        for book in &mut self.books {
            released.extend(book.waiting.drain(..));
            (book.seen, book.backlogged_until, book.called) = (0, 0, false);
        }
        released
    }

    /// How often somebody had to wait.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.waits
    }

    fn book(&self, account: Account) -> Option<&Book> {
        self.books.get(usize::from(account.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::REQUEST;
    use super::super::window::UNIT;
    use super::*;

    const A: Account = Account(0);
    const B: Account = Account(1);
    const C: Account = Account(2);

    /// Tenants of these weights, numbered from 0, that all asked just now.
    fn shared(weights: &[u16]) -> Shares {
        let mut shares = Shares::default();
        for _ in 0..2 {
            for (number, weight) in (0..).zip(weights) {
                shares.enter(Account(number), || Some(*weight), 1);
            }
        }
        shares
    }

    /// Sends requests of this account until it has to wait; gives what they cost.
    fn fill(shares: &mut Shares, account: Account, request: usize) -> Vec<(Account, u16)> {
        let mut sent = Vec::new();
        while shares.has_room(account) {
            sent.push((account, shares.charge(account, request)));
        }
        shares.wait(account, (u32::from(account.0), 0), false, 1);
        sent
    }

    /// All want more than they get, from servers that answer in the order of asking: how many requests of each are
    /// answered of so many.
    fn answered(weights: &[u16], sizes: &[usize], count: usize) -> Vec<usize> {
        let mut shares = shared(weights);
        let mut queue = VecDeque::new();
        for (number, size) in (0..).zip(sizes) {
            queue.extend(fill(&mut shares, Account(number), *size));
        }
        let mut answered = vec![0; weights.len()];
        for _ in 0..count {
            let (account, cost) = queue.pop_front().expect("nobody starves");
            answered[usize::from(account.0)] += 1;
            shares.settle(account, cost);
            shares.note_reply(account, 5, false);
            while let Some((account, _)) = shares.next_call() {
                shares.come(account);
                queue.extend(fill(&mut shares, account, sizes[usize::from(account.0)]));
            }
        }
        answered
    }

    #[test]
    fn who_is_alone_is_not_counted() {
        let mut shares = Shares::default();
        for now in [1, 5_000] {
            assert!(!shares.enter(A, || Some(100), now));
        }
        assert!(!shares.are_contended());
        assert!(shares.enter(B, || Some(100), 5_001), "two");
        assert!(shares.enter(A, || Some(100), 5_002));
    }

    #[test]
    fn what_is_answered_is_in_the_ratio_of_weights() {
        let served = answered(&[100, 200, 400], &[2_000; 3], 28_000);
        for (served, wanted) in served.iter().zip([4_000.0, 8_000.0, 16_000.0]) {
            let ratio = *served as f64 / wanted;
            // Refills of several tenants fall into step here, where nothing else happens.
            assert!((0.8..1.2).contains(&ratio), "{served} of {wanted}");
        }
    }

    #[test]
    fn shares_are_those_of_bytes_and_not_of_requests() {
        let served = answered(&[100, 100], &[512, 16 * 1024], 4_000);
        let (small, large) = (served[0] as u64 * (512 + REQUEST), served[1] as u64 * (16 * 1024 + REQUEST));
        let ratio = small as f64 / large as f64;
        // What is large goes above its share by up to one request.
        assert!((0.7..1.3).contains(&ratio), "{ratio}");
    }

    #[test]
    fn whatever_the_weights_nobody_starves() {
        let served = answered(&[1, 1_000], &[16 * 1024; 2], 10_000);
        assert!(served[0] >= 100, "{served:?}");
        assert!(served[1] > served[0] * 4, "{served:?}");
    }

    #[test]
    fn who_is_content_with_less_leaves_the_rest_and_finds_room_nevertheless() {
        let mut shares = shared(&[100, 100]);
        let sent = fill(&mut shares, B, 2_000);
        let under_way: u64 = sent.iter().map(|(_, cost)| u64::from(*cost)).sum();
        assert!(under_way >= shares.window.units(), "all of the window");
        assert!(shares.has_room(A) && !shares.has_room(B));
        let sent = fill(&mut shares, A, 2_000);
        let under_way: u64 = sent.iter().map(|(_, cost)| u64::from(*cost)).sum();
        assert!((shares.window.units() / 2..shares.window.units() * 6 / 10).contains(&under_way));
        assert_eq!(shares.next_call(), None);
        // What B has above its share goes first, and a quarter of that.
        let quarter = u16::try_from(shares.window.units() / 4).expect("a small window");
        for _ in 0..3 {
            assert_eq!(shares.next_call(), None);
            shares.settle(B, quarter);
        }
        shares.settle(B, 100);
        assert_eq!(shares.next_call(), Some((B, (1, 0))));
    }

    #[test]
    fn the_longest_wait_ends_first_and_one_is_called_at_a_time() {
        let mut shares = shared(&[100, 100]);
        let sent = fill(&mut shares, A, 400_000);
        shares.wait(A, (8, 0), false, 1);
        shares.wait(A, (9, 0), true, 1);
        assert_eq!(shares.next_call(), None);
        shares.settle(A, sent[0].1);
        assert_eq!(shares.next_call(), Some((A, (9, 0))));
        assert_eq!(shares.next_call(), None);
        for waiter in [(0, 0), (8, 0)] {
            shares.come(A);
            assert_eq!(shares.next_call(), Some((A, waiter)));
        }
        assert_eq!(shares.waits(), 3);
    }

    #[test]
    fn who_asks_for_nothing_any_more_leaves_the_others_alone() {
        let mut shares = shared(&[100, 100, 100]);
        let _ = fill(&mut shares, B, 400_000);
        assert_eq!(shares.tick(10), [], "it is still early");
        assert!(shares.enter(B, || None, 2_000));
        assert_eq!(shares.tick(2_001), [(1, 0)], "B goes on without being called");
        assert!(!shares.enter(B, || None, 2_002) && !shares.are_contended());
        assert!(shares.enter(C, || None, 2_003), "until somebody comes");
    }

    #[test]
    fn who_waits_is_the_one_that_is_left_also_if_the_others_asked_last() {
        let mut shares = shared(&[1, 1_000]);
        let _ = fill(&mut shares, A, 400_000);
        shares.enter(B, || None, 20);
        assert_eq!(shares.tick(1_500), [(0, 0)]);
        assert!(!shares.enter(A, || None, 1_501));
    }

    #[test]
    fn what_is_done_at_once_counts_until_the_turn_is_over() {
        let mut shares = shared(&[100, 100]);
        let mut done = 0;
        while shares.has_room(A) {
            shares.handled(A, 14);
            done += 1;
        }
        assert!((50..2_000).contains(&done), "{done}");
        assert!(shares.has_spent());
        shares.next_turn();
        assert!(shares.has_room(A) && !shares.has_spent());
        let cost = shares.charge(A, 14);
        shares.handled(A, 14);
        assert!(!shares.has_spent(), "its reply is waited for");
        shares.settle(A, cost);
    }

    #[test]
    fn a_request_costs_what_replies_have_been_like() {
        let mut shares = shared(&[100, 100]);
        let at_first = shares.charge(B, 40);
        for _ in 0..50 {
            shares.note_reply(B, 10_000, true);
            shares.note_reply(B, 6_394, false);
        }
        let cost = shares.charge(B, 40);
        assert!(u64::from(cost) >= 16_000 / UNIT && cost > at_first);
        assert_eq!(shares.charge(B, usize::MAX / 2), u16::MAX);
    }
}
