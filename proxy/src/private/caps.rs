//! How many private connections there may be: in the process, and to each node. Counted over all workers, idle
//! connections included, since what the limits protect are open files and the nodes' `maxclients`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::slot_map::Endpoint;

/// The process's count, and the way to each node's.
#[derive(Debug)]
pub struct Caps {
    process: Arc<Count>,
    per_node: AtomicUsize,
    // Asked once a node and worker, never on the path of a command.
    nodes: Mutex<HashMap<Endpoint, Arc<NodeCap>>>,
}

/// A number under a limit.
#[derive(Debug)]
struct Count {
    used: AtomicUsize,
    /// May be lowered below what is used: then nobody is admitted until enough have left.
    limit: AtomicUsize,
    /// Clients that wait for a place.
    waiting: AtomicUsize,
}

/// One node's count under its limit and under the process's.
#[derive(Debug)]
pub struct NodeCap {
    node: Count,
    process: Arc<Count>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<NodeCap>);

/// A client that waits for a place; counted until dropped.
#[derive(Debug)]
pub struct Waiting(Arc<NodeCap>);

impl Caps {
    /// At most `limit` connections in all, at most `per_node` to a node.
    #[must_use]
    pub fn new(limit: usize, per_node: usize) -> Self {
        Self {
            process: Arc::new(Count::new(limit)),
            per_node: AtomicUsize::new(per_node),
            nodes: Mutex::default(),
        }
    }

    /// From here on at most `limit` connections in all, at most `per_node` to a node. Those there are stay.
    pub fn set_limits(&self, limit: usize, per_node: usize) {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        self.process.limit.store(limit, Ordering::Relaxed);
        self.per_node.store(per_node, Ordering::Relaxed);
        nodes.values().for_each(|cap| cap.node.limit.store(per_node, Ordering::Relaxed));
    }

    /// This node's share, the same for all workers.
    #[must_use]
    pub fn node(&self, endpoint: &Endpoint) -> Arc<NodeCap> {
        // A thread that panicked with the lock left a map that is still one.
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        // Nodes that left and that nobody speaks of any more.
        nodes.retain(|_, cap| Arc::strong_count(cap) > 1);
        let limit = self.per_node.load(Ordering::Relaxed);
        let cap = || NodeCap { node: Count::new(limit), process: self.process.clone() };
        nodes.entry(endpoint.clone()).or_insert_with(|| Arc::new(cap())).clone()
    }
}

impl NodeCap {
    /// A place for one more connection to the node; `None` at a limit.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Option<Place> {
        if !self.process.admit() {
            return None;
        }
        if !self.node.admit() {
            self.process.leave();
            return None;
        }
        Some(Place(self.clone()))
    }

    /// How many more connections there may be.
    #[must_use]
    pub fn room(&self) -> usize {
        self.node.room().min(self.process.room())
    }

    /// Counts a client that waits for a place.
    #[must_use]
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.node.waiting.fetch_add(1, Ordering::Relaxed);
        self.process.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Whether any worker's client waits for a place that closing an idle connection to this node would free.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        let waits = |count: &Count| count.room() == 0 && count.waiting.load(Ordering::Relaxed) > 0;
        waits(&self.node) || waits(&self.process)
    }
}

impl Count {
    fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit), waiting: AtomicUsize::new(0) }
    }

    fn admit(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |used| (used < limit).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn leave(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }

    fn room(&self) -> usize {
        self.limit.load(Ordering::Relaxed).saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.node.leave();
        self.0.process.leave();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.node.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.process.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { host: "h".into(), port }
    }

    #[test]
    fn places_are_counted_by_node_and_in_all() {
        let caps = Caps::new(3, 2);
        let (a, b) = (caps.node(&endpoint(1)), caps.node(&endpoint(2)));
        let first = a.admit().expect("the first");
        let _second = caps.node(&endpoint(1)).admit().expect("the second, counted with the first");
        assert!(a.admit().is_none(), "the node's limit");
        let _third = b.admit().expect("another node's");
        assert!(b.admit().is_none(), "the process's limit");
        assert_eq!((a.room(), b.room()), (0, 0));
        drop(first);
        assert_eq!((a.room(), b.room()), (1, 1));
        assert!(b.admit().is_some());
    }

    #[test]
    fn idle_connections_are_wanted_only_while_somebody_waits_at_a_limit() {
        let caps = Caps::new(2, 1);
        let (a, b) = (caps.node(&endpoint(1)), caps.node(&endpoint(2)));
        let _place = a.admit();
        let waiting = a.wait();
        assert!(a.is_wanted() && !b.is_wanted());
        let other = b.admit();
        assert!(b.is_wanted(), "at the process's limit any place helps");
        drop(waiting);
        assert!(!a.is_wanted() && !b.is_wanted());
        drop(other);
    }

    #[test]
    fn limits_that_are_lowered_cost_no_connection_that_there_is() {
        let caps = Caps::new(3, 3);
        let a = caps.node(&endpoint(1));
        let places = [a.admit(), a.admit()];
        caps.set_limits(3, 1);
        assert!(places.iter().all(Option::is_some) && a.admit().is_none());
        assert_eq!(a.room(), 0);
        drop(places);
        let place = a.admit();
        assert!(place.is_some() && a.admit().is_none(), "by the new limit");
        let b = caps.node(&endpoint(2));
        assert!(b.admit().is_some(), "another node's");
        caps.set_limits(1, 1);
        assert!(b.admit().is_none(), "the process's");
        caps.set_limits(9, 9);
        assert!(a.admit().is_some() && b.admit().is_some());
    }

    #[test]
    fn a_node_that_left_is_forgotten() {
        let caps = Caps::new(2, 1);
        drop(caps.node(&endpoint(1)));
        let _other = caps.node(&endpoint(2));
        assert_eq!(caps.nodes.lock().unwrap().len(), 1);
    }
}
