//! The scripts that went through this process, by name, up to so many bytes. Behind a lock, since it is off
//! the ordinary path: what a worker asks it once, the worker remembers (see [`super::known`]).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::command::digest::Digest;
use crate::metrics::WorkerMetrics;

/// All scripts of the process, shared by its workers.
#[derive(Debug)]
pub struct Store {
    /// Most bytes that scripts take together; 0: none is kept.
    limit: usize,
    /// Counts SCRIPT FLUSH: what was known before the last one is not known any more.
    era: AtomicU64,
    /// Counts scripts that were added: what was unknown before may be known now.
    version: AtomicU64,
    scripts: Mutex<Scripts>,
}

/// Invariant: `clock` names each of `by_name` once, and `bytes` is what they take together.
#[derive(Default, Debug)]
struct Scripts {
    by_name: HashMap<Digest, Script>,
    /// In the order in which they are looked at when one has to go.
    clock: VecDeque<Digest>,
    bytes: usize,
}

#[derive(Debug)]
struct Script {
    body: Arc<[u8]>,
    /// How often the clock passes it by.
    credit: u8,
}

/// How a script came to be known, or was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// EVAL: a body that may never come again, as where clients write values into their scripts.
    Once,
    /// SCRIPT LOAD, or EVALSHA: it is called by name.
    ByName,
}

// What a script takes beside its body: two names, its places in the map and in the clock, the allocation.
const OVERHEAD: usize = 160;
// A script above this share of all has no place: it would cost too many others theirs.
const SHARE: usize = 16;
// So often the clock passes one by that is called by name.
const MOST_CREDIT: u8 = 2;

impl Store {
    /// Keeps scripts of at most `limit` bytes together.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let (era, version) = (AtomicU64::new(1), AtomicU64::new(1));
        Self { limit, era, version, scripts: Mutex::default() }
    }

    /// Whether any script is kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// The number of the last SCRIPT FLUSH.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// The number of the script added last.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Keeps `body`, or notes that it was used; others may have to go for it.
    pub fn keep(&self, body: &[u8], used: Use, metrics: &WorkerMetrics) -> Digest {
        let digest = Digest::of(body);
        if body.len() + OVERHEAD > self.limit / SHARE {
            return digest;
        }
        let mut scripts = self.lock();
        if !scripts.touch(digest, used) {
            scripts.insert(digest, body, used, metrics);
            scripts.shrink_to(self.limit, metrics);
            self.version.fetch_add(1, Ordering::Release);
        }
        digest
    }

    /// The script of this name, which counts as used.
    #[must_use]
    pub fn body(&self, digest: Digest) -> Option<Arc<[u8]>> {
        let mut scripts = self.lock();
        scripts.touch(digest, Use::ByName);
        scripts.by_name.get(&digest).map(|script| script.body.clone())
    }

    /// Whether there is a script of this name.
    #[must_use]
    pub fn has(&self, digest: Digest) -> bool {
        self.lock().by_name.contains_key(&digest)
    }

    /// Notes that a script is in use.
    pub fn touch(&self, digest: Digest) {
        self.lock().touch(digest, Use::ByName);
    }

    /// Forgets one: no server takes it.
    pub fn remove(&self, digest: Digest, metrics: &WorkerMetrics) {
        let mut scripts = self.lock();
        if scripts.remove(digest, metrics) {
            scripts.clock.retain(|other| *other != digest);
        }
    }

    /// SCRIPT FLUSH.
    pub fn flush(&self, metrics: &WorkerMetrics) {
        let mut scripts = self.lock();
        metrics.scripts_cached.sub(scripts.by_name.len() as u64);
        metrics.scripts_cached_bytes.sub(scripts.bytes as u64);
        *scripts = Scripts::default();
        // Within the lock: who sees the new era finds none of the old scripts.
        self.era.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Scripts> {
        // Nothing in here panics half-way; and what is kept is only ever a help.
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scripts {
    fn touch(&mut self, digest: Digest, used: Use) -> bool {
        let Some(script) = self.by_name.get_mut(&digest) else { return false };
        if used == Use::ByName {
            script.credit = MOST_CREDIT;
        }
        true
    }

    fn insert(&mut self, digest: Digest, body: &[u8], used: Use, metrics: &WorkerMetrics) {
        let credit = if used == Use::ByName { MOST_CREDIT } else { 0 };
        self.by_name.insert(digest, Script { body: body.into(), credit });
        self.clock.push_back(digest);
        self.bytes += body.len() + OVERHEAD;
        metrics.scripts_cached.add(1);
        metrics.scripts_cached_bytes.add((body.len() + OVERHEAD) as u64);
    }

    /// Lets those go that nobody used since the clock passed them last. Ends: each look takes a credit away.
    fn shrink_to(&mut self, limit: usize, metrics: &WorkerMetrics) {
        while self.bytes > limit
            && let Some(digest) = self.clock.pop_front()
        {
            match self.by_name.get_mut(&digest) {
                Some(script) if script.credit > 0 => {
                    script.credit -= 1;
                    self.clock.push_back(digest);
                }
                _ => drop(self.remove(digest, metrics)),
            }
        }
    }

    fn remove(&mut self, digest: Digest, metrics: &WorkerMetrics) -> bool {
        let Some(script) = self.by_name.remove(&digest) else { return false };
        let bytes = script.body.len() + OVERHEAD;
        self.bytes -= bytes;
        metrics.scripts_cached.sub(1);
        metrics.scripts_cached_bytes.sub(bytes as u64);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(number: usize) -> Vec<u8> {
        format!("return {number:010}").into_bytes()
    }

    /// Room for so many of the above.
    fn store(scripts: usize) -> (Store, WorkerMetrics) {
        (Store::new(scripts * (body(0).len() + OVERHEAD)), WorkerMetrics::default())
    }

    #[test]
    fn a_script_is_found_by_the_name_that_the_servers_give_it() {
        let (store, metrics) = store(20);
        let digest = store.keep(&body(1), Use::Once, &metrics);
        assert_eq!(digest, Digest::of(&body(1)));
        assert_eq!(store.body(digest).as_deref(), Some(&body(1)[..]));
        assert!(store.has(digest) && !store.has(Digest::of(b"other")));
        assert_eq!(metrics.scripts_cached.value(), 1);
    }

    #[test]
    fn at_the_bound_those_go_that_nobody_calls_by_name() {
        let (store, metrics) = store(20);
        let called: Vec<_> = (0..10).map(|number| store.keep(&body(number), Use::ByName, &metrics)).collect();
        for number in 10..1_000 {
            store.keep(&body(number), Use::Once, &metrics);
            called.iter().for_each(|digest| store.touch(*digest));
        }
        assert!(called.iter().all(|digest| store.has(*digest)));
        assert_eq!(metrics.scripts_cached.value(), 20);
        assert_eq!(metrics.scripts_cached_bytes.value(), 20 * (body(0).len() + OVERHEAD) as u64);
        assert!(store.has(Digest::of(&body(999))) && !store.has(Digest::of(&body(500))));
    }

    #[test]
    fn what_was_called_once_and_never_again_goes_too() {
        let (store, metrics) = store(20);
        let old = store.keep(&body(0), Use::ByName, &metrics);
        for number in 1..1_000 {
            store.keep(&body(number), Use::ByName, &metrics);
        }
        assert!(!store.has(old));
        let scripts = store.lock();
        assert_eq!((scripts.clock.len(), scripts.by_name.len()), (20, 20));
    }

    #[test]
    fn a_script_that_would_take_the_place_of_many_is_not_kept() {
        let (store, metrics) = store(20);
        let large = vec![b' '; 20 * (body(0).len() + OVERHEAD) / SHARE];
        assert!(!store.has(store.keep(&large, Use::ByName, &metrics)));
        let off = Store::new(0);
        assert!(!off.is_on() && !off.has(off.keep(&body(0), Use::ByName, &metrics)));
    }

    #[test]
    fn a_flush_leaves_nothing_and_begins_an_era() {
        let (store, metrics) = store(20);
        let (era, version) = (store.era(), store.version());
        let digest = store.keep(&body(1), Use::ByName, &metrics);
        assert!(store.version() > version);
        store.flush(&metrics);
        assert!(store.era() > era && !store.has(digest));
        assert_eq!((metrics.scripts_cached.value(), metrics.scripts_cached_bytes.value()), (0, 0));
        store.keep(&body(1), Use::ByName, &metrics);
        store.remove(digest, &metrics);
        assert!(!store.has(digest) && store.lock().clock.is_empty());
        assert_eq!(metrics.scripts_cached_bytes.value(), 0);
    }
}
