//! FailedLogins that failed, by where they came from: who fails again and again is answered later and later.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Failed logins of the last minute, of all workers.
#[derive(Default, Debug)]
pub struct FailedLogins {
    /// How many sources there are; none in the usual case, so that a login takes no lock.
    sources: AtomicUsize,
    table: Mutex<Table>,
}

/// Where logins come from: an IPv4 address, or the network of an IPv6 address, of which one host has all of the rest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// An address.
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

#[derive(Default, Debug)]
struct Table {
    failures: HashMap<Source, Failures>,
    /// Oldest first.
    by_age: BTreeSet<(u64, Source)>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: u64,
}

/// So many may fail before anything is delayed: people mistype.
const FREE: u32 = 3;
/// Milliseconds after which a source is a new one.
const FORGOTTEN: u64 = 60_000;
/// Milliseconds: the first delay and the longest, doubled in between.
const FIRST_DELAY: u64 = 250;
const LONGEST_DELAY: u64 = 8_000;
/// More sources than that and the oldest goes: some 300 KiB.
const MOST_SOURCES: usize = 4_096;

impl Source {
    /// Where this address belongs.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl FailedLogins {
    /// For how many milliseconds a login from there waits before it is looked at. The same for all that wait at once:
    /// who logs in rightly from an address of others that fail waits no longer than the longest.
    #[must_use]
    pub fn delay(&self, source: Source, now: u64) -> u64 {
        if self.sources.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let known = self.with(|table| table.failures.get(&source).copied());
        known.filter(|failures| !failures.is_forgotten(now)).map_or(0, |failures| failures.delay())
    }

    /// One failed.
    pub fn note_failure(&self, source: Source, now: u64) {
        self.with(|table| table.add(source, now));
    }

    /// One succeeded: whoever that is knows a password.
    pub fn note_success(&self, source: Source) {
        if self.sources.load(Ordering::Relaxed) > 0 {
            self.with(|table| table.remove(source));
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        // A thread that panicked with the lock left a table that is still one.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut table);
        self.sources.store(table.failures.len(), Ordering::Relaxed);
        changed
    }
}

impl Failures {
    fn is_forgotten(self, now: u64) -> bool {
        now.saturating_sub(self.last) > FORGOTTEN
    }

    fn delay(self) -> u64 {
        match self.count.checked_sub(FREE) {
            None => 0,
            Some(doublings) => (FIRST_DELAY << doublings.min(10)).min(LONGEST_DELAY),
        }
    }
}

impl Table {
    fn add(&mut self, source: Source, now: u64) {
        let before = self.remove(source).filter(|failures| !failures.is_forgotten(now));
        let count = before.map_or(0, |failures| failures.count).saturating_add(1);
        while let Some((last, oldest)) = self.by_age.first().copied()
            && (self.failures.len() >= MOST_SOURCES || Failures { count: 0, last }.is_forgotten(now))
        {
            self.remove(oldest);
        }
        self.failures.insert(source, Failures { count, last: now });
        self.by_age.insert((now, source));
    }

    fn remove(&mut self, source: Source) -> Option<Failures> {
        let known = self.failures.remove(&source)?;
        self.by_age.remove(&(known.last, source));
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn the_delay_begins_with_the_fourth_login_and_doubles() {
        let (logins, here) = (FailedLogins::default(), source("10.0.0.1"));
        let mut delays = Vec::new();
        for now in 0..10 {
            delays.push(logins.delay(here, now));
            logins.note_failure(here, now);
        }
        assert_eq!(delays, [0, 0, 0, 250, 500, 1_000, 2_000, 4_000, 8_000, 8_000]);
        assert_eq!(logins.delay(source("10.0.0.2"), 10), 0, "others are not delayed");
        logins.note_success(here);
        assert_eq!(logins.delay(here, 10), 0);
        assert_eq!(logins.sources.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_minute_later_nothing_is_known() {
        let (logins, here) = (FailedLogins::default(), source("10.0.0.1"));
        (0..5).for_each(|now| logins.note_failure(here, now));
        assert_eq!(logins.delay(here, 60_004), 1_000);
        assert_eq!(logins.delay(here, 60_005), 0);
        logins.note_failure(here, 70_000);
        assert_eq!(logins.delay(here, 70_000), 0, "the first one of a new minute");
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_address_is_the_one_it_maps() {
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), source("2001:db8:1:2::1"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
    }

    #[test]
    fn the_table_has_an_end_and_the_oldest_goes() {
        let logins = FailedLogins::default();
        for address in 0..10_000u32 {
            logins.note_failure(Source::V4(address), u64::from(address));
        }
        let table = logins.table.lock().unwrap();
        assert_eq!((table.failures.len(), table.by_age.len()), (MOST_SOURCES, MOST_SOURCES));
        assert!(table.failures.contains_key(&Source::V4(9_999)));
        assert!(!table.failures.contains_key(&Source::V4(10_000 - MOST_SOURCES as u32 - 1)));
    }
}
