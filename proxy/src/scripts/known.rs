//! What one worker knows of the process's scripts: enough that the ordinary call of a script, and an EVAL whose body
//! came before, ask nobody.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use super::store::{Store, Use};
use crate::backend::lane::Lane;
use crate::backend::told::{Asked, Told};
use crate::cluster::slot_map::Endpoint;
use crate::command::digest::Digest;
use crate::command::scripted::Scripted;
use crate::metrics::WorkerMetrics;
use crate::route::redirect::Lack;

/// A worker's view of the [`Store`].
#[derive(Debug)]
pub struct Known {
    store: Arc<Store>,
    metrics: Arc<WorkerMetrics>,
    /// Hashes of bodies, and when each was given to the store last.
    bodies: HashMap<u64, u64>,
    /// Keyed by chance. Two bodies of one hash: the second is not kept for a while, and no more than that.
    hasher: DefaultHashBuilder,
    /// The store's era that `bodies` is of.
    era: u64,
    /// Names that the store lacks, as of this version of it.
    strangers: HashSet<Digest>,
    version: u64,
    /// The backends' user has no right to load scripts.
    may_not_load: bool,
    /// What nodes turned out not to know, over this kind of connection: to be forgotten there.
    pub doubts: Vec<(Endpoint, Lane, Doubt)>,
}

/// What a node turned out not to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// A script.
    Script(Digest),
    /// A function.
    Functions,
}

impl Doubt {
    /// What is doubted when a call fails.
    #[must_use]
    pub fn of(called: &Scripted<'_>) -> Option<Self> {
        match called {
            Scripted::Named(digest) => Some(Self::Script(*digest)),
            Scripted::Function(_) => Some(Self::Functions),
            Scripted::Body(_) => None,
        }
    }

    /// Whether the error is one of such a call.
    #[must_use]
    pub fn is_of(self, lack: Lack) -> bool {
        matches!((self, lack), (Self::Script(_), Lack::Script) | (Self::Functions, Lack::Function))
    }
}

// Milliseconds for which a body need not be given to the store again.
const FRESH: u64 = 1_000;
// Beyond this many, bodies and strangers begin anew: asking the store costs little.
const MOST: usize = 1_024;

impl Known {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(store: Arc<Store>, metrics: Arc<WorkerMetrics>) -> Self {
        Self {
            store,
            metrics,
            bodies: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            era: 0,
            strangers: HashSet::new(),
            version: 0,
            may_not_load: false,
            doubts: Vec::new(),
        }
    }

    /// The process's scripts.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// An EVAL of this body passes.
    pub fn note_body(&mut self, body: &[u8], now: u64) {
        if !self.store.is_on() {
            return;
        }
        let era = self.store.era();
        if self.era != era || self.bodies.len() >= MOST {
            self.bodies.clear();
            self.era = era;
        }
        let hash = self.hasher.hash_one(body);
        if self.bodies.get(&hash).is_some_and(|at| now.saturating_sub(*at) < FRESH) {
            return;
        }
        self.store.keep(body, Use::Once, &self.metrics);
        self.bodies.insert(hash, now);
    }

    /// SCRIPT LOAD of this body passes.
    pub fn note_load(&self, body: &[u8]) {
        if self.store.is_on() {
            self.store.keep(body, Use::ByName, &self.metrics);
        }
    }

    /// SCRIPT FLUSH passes.
    pub fn flush(&self) {
        self.store.flush(&self.metrics);
    }

    /// A server could not compile this body.
    pub fn note_broken(&self, body: &[u8]) {
        if self.store.is_on() {
            self.store.remove(Digest::of(body), &self.metrics);
        }
    }

    /// What the node of a connection that has been `told` so much is to be told in front of a call of this script;
    /// from here on it counts as told.
    pub fn body_to_tell(&mut self, digest: Digest, told: &mut Told, now: u64) -> Option<Arc<[u8]>> {
        if !self.store.is_on() || self.may_not_load {
            return None;
        }
        let era = self.store.era();
        match told.ask(era, &digest.0, now) {
            Some(Asked::Again) => return None,
            Some(Asked::AfterAWhile) => {
                self.store.touch(digest);
                return None;
            }
            None => {}
        }
        let version = self.store.version();
        if self.version != version || self.strangers.len() >= MOST {
            self.strangers.clear();
            self.version = version;
        }
        if self.strangers.contains(&digest) {
            return None;
        }
        let body = self.store.body(digest);
        match &body {
            Some(_) => told.add(era, digest.0, now),
            None => drop(self.strangers.insert(digest)),
        }
        body
    }

    /// A node refused a script that it was told, in these words.
    pub fn on_not_told(&mut self, node: &Endpoint, lane: Lane, body: &[u8], error: &[u8]) {
        if error.starts_with(b"-NOPERM") {
            self.may_not_load = true;
        }
        self.doubts.push((node.clone(), lane, Doubt::Script(Digest::of(body))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(store: &Arc<Store>) -> Known {
        Known::new(store.clone(), Arc::default())
    }

    #[test]
    fn a_script_is_told_once_a_connection_whoever_loaded_it() {
        let store = Arc::new(Store::new(1 << 20));
        let (one, mut other) = (known(&store), known(&store));
        one.note_load(b"return 1");
        let digest = Digest::of(b"return 1");
        let (mut told, mut second) = (Told::default(), Told::default());
        assert_eq!(other.body_to_tell(digest, &mut told, 0).as_deref(), Some(&b"return 1"[..]));
        assert_eq!(other.body_to_tell(digest, &mut told, 0), None);
        assert!(other.body_to_tell(digest, &mut second, 0).is_some());
        told.forget(&digest.0);
        assert!(other.body_to_tell(digest, &mut told, 0).is_some());
    }

    #[test]
    fn a_script_that_was_unknown_is_told_once_it_is_known() {
        let store = Arc::new(Store::new(1 << 20));
        let (one, mut other) = (known(&store), known(&store));
        let (digest, mut told) = (Digest::of(b"return 1"), Told::default());
        assert_eq!(other.body_to_tell(digest, &mut told, 0), None);
        assert_eq!(other.body_to_tell(digest, &mut told, 0), None);
        one.note_load(b"return 1");
        assert!(other.body_to_tell(digest, &mut told, 0).is_some());
    }

    #[test]
    fn behind_a_flush_nothing_is_told_and_an_eval_counts_anew() {
        let store = Arc::new(Store::new(1 << 20));
        let (mut one, mut other) = (known(&store), known(&store));
        let (digest, mut told) = (Digest::of(b"return 1"), Told::default());
        one.note_body(b"return 1", 0);
        assert!(other.body_to_tell(digest, &mut told, 0).is_some());
        other.flush();
        assert_eq!(other.body_to_tell(digest, &mut told, 0), None);
        one.note_body(b"return 1", 1);
        assert!(
            other.body_to_tell(digest, &mut told, 1).is_some(),
            "within the time in which a body is fresh"
        );
    }

    #[test]
    fn a_body_is_given_to_the_store_once_a_second() {
        let store = Arc::new(Store::new(1 << 20));
        let mut known = known(&store);
        known.note_body(b"return 1", 0);
        known.note_broken(b"return 1");
        known.note_body(b"return 1", 999);
        assert!(!store.has(Digest::of(b"return 1")));
        known.note_body(b"return 1", 1_000);
        assert!(store.has(Digest::of(b"return 1")));
    }

    #[test]
    fn who_may_not_load_scripts_is_not_made_to_try() {
        let store = Arc::new(Store::new(1 << 20));
        let mut known = known(&store);
        known.note_load(b"return 1");
        let node = Endpoint { host: "h".into(), port: 1 };
        known.on_not_told(&node, Lane::default(), b"return 1", b"-BUSY Redis is busy\r\n");
        assert!(known.body_to_tell(Digest::of(b"return 1"), &mut Told::default(), 0).is_some());
        known.on_not_told(&node, Lane::default(), b"return 1", b"-NOPERM no\r\n");
        assert!(known.body_to_tell(Digest::of(b"return 1"), &mut Told::default(), 0).is_none());
        assert_eq!(known.doubts.len(), 2);
    }
}
