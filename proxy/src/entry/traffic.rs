//! What comes through each entry: counted by the threads that carry it, added up by whoever asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::Counter;

/// What one thread carries of one entry. In cache lines of its own, since that thread counts often.
#[derive(Default, Debug)]
#[repr(align(128))]
pub struct Traffic {
    /// Bytes from clients.
    pub received: Counter,
    /// Bytes to clients.
    pub sent: Counter,
    /// Connections now.
    pub connections: Counter,
    /// Connections that began.
    pub accepted: Counter,
}

/// The sum over all threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Bytes from clients since the process began.
    pub received: u64,
    /// Bytes to clients since the process began.
    pub sent: u64,
    /// Connections now.
    pub connections: u64,
    /// Connections that began since the process did.
    pub accepted: u64,
}

/// Everything that is counted, by the ids of the entries.
#[derive(Default, Debug)]
pub struct Meter(Mutex<BTreeMap<Arc<str>, Account>>);

/// One entry's.
#[derive(Default, Debug)]
struct Account {
    threads: Vec<Arc<Traffic>>,
    /// What threads counted that do no longer.
    past: Totals,
}

impl Meter {
    /// A new place to count in what one thread carries of this entry.
    #[must_use]
    pub fn open(&self, entry: &str) -> Arc<Traffic> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry(entry.into()).or_default();
        account.close_unused();
        let traffic = Arc::<Traffic>::default();
        account.threads.push(traffic.clone());
        traffic
    }

    /// What was counted, of each entry that somebody came by.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Arc<str>, Totals> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = BTreeMap::new();
        for (entry, account) in accounts.iter_mut() {
            account.close_unused();
            let sum = account.threads.iter().fold(account.past, |sum, thread| sum.plus(thread));
            totals.insert(entry.clone(), sum);
        }
        totals
    }
}

impl Account {
    /// Takes what nobody counts in any more out of the list, and keeps its sum.
    fn close_unused(&mut self) {
        let past = &mut self.past;
        self.threads.retain(|thread| {
            let in_use = Arc::strong_count(thread) > 1;
            if !in_use {
                *past = past.plus(thread);
            }
            in_use
        });
    }
}

impl Totals {
    fn plus(self, thread: &Traffic) -> Self {
        Self {
            received: self.received.wrapping_add(thread.received.value()),
            sent: self.sent.wrapping_add(thread.sent.value()),
            connections: self.connections.wrapping_add(thread.connections.value()),
            accepted: self.accepted.wrapping_add(thread.accepted.value()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_is_added_up_by_entry() {
        let meter = Meter::default();
        let (a, also_a, b) = (meter.open("a"), meter.open("a"), meter.open("b"));
        a.received.add(10);
        also_a.received.add(5);
        also_a.connections.add(2);
        also_a.connections.sub(1);
        b.sent.add(7);
        let totals = meter.totals();
        assert_eq!(totals["a"], Totals { received: 15, connections: 1, ..Totals::default() });
        assert_eq!(totals["b"].sent, 7);
    }

    #[test]
    fn what_was_counted_stays_when_nobody_counts_any_more() {
        let meter = Meter::default();
        for _ in 0..100 {
            meter.open("a").accepted.add(1);
        }
        assert_eq!(meter.totals()["a"].accepted, 100);
        assert_eq!(meter.0.lock().unwrap().get("a").map(|account| account.threads.len()), Some(0));
    }
}
