//! A worker's private connections that belong to no client at present, the clients that wait for one, and the
//! clients that wait for a time. Pure but for asking whether an idle socket is quiet.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::caps::{Caps, NodeCap, Place, Waiting};
use super::connection::PrivateConnection;
use crate::backend::lane::Lane;
use crate::cluster::slot_map::Endpoint;
use crate::config::settings::{AtLimit, PrivateSettings};
use crate::metrics::WorkerMetrics;

/// A node that private connections go to; a number that no other node of this worker ever had.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u32);

/// A client that asks: its place and its generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Asker {
    /// Its record's place.
    pub client: u32,
    /// Tells it from an earlier client in the same place.
    pub generation: u32,
}

/// A connection that is to be opened.
#[derive(Debug)]
pub struct Opening {
    /// Who waits for it.
    pub asker: Asker,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// The same as a number.
    pub node: NodeId,
    /// What it shall speak.
    pub lane: Lane,
    /// Its place under the limits.
    pub place: Place,
}

/// What asking for a connection came to.
#[derive(Debug)]
pub enum Lease {
    /// An idle one.
    Idle(Box<PrivateConnection>),
    /// One is being opened; the asker is told.
    Opening,
    /// No more may be opened; the asker is queued, and woken when there is room.
    Full,
    /// The node could not be reached a moment ago; not before this time, in milliseconds of the worker's clock.
    Down {
        /// When to ask again.
        until: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub struct PrivatePool {
    caps: Arc<Caps>,
    settings: PrivateSettings,
    nodes: BTreeMap<NodeId, Node>,
    by_endpoint: HashMap<Endpoint, NodeId>,
    next_node: u32,
    /// Clients to be woken at a time.
    timers: BTreeSet<(u64, Asker)>,
    /// One was set since it was last asked.
    timer_set: bool,
    openings: VecDeque<Opening>,
    /// CLIENT UNBLOCKs that are not answered, each with the connection that it meant, once that is clean.
    unblocks: HashMap<u32, Option<Box<PrivateConnection>>>,
    next_unblock: u32,
    /// How many are being opened now.
    opening: usize,
    /// What happened to a job makes it likely that the topology changed.
    pub topology_doubt: bool,
    metrics: Arc<WorkerMetrics>,
}

#[derive(Debug)]
struct Node {
    endpoint: Endpoint,
    cap: Arc<NodeCap>,
    /// Clean connections with the time since when they are idle; the last one was used last.
    idle: VecDeque<(u64, Box<PrivateConnection>)>,
    /// Who waits at a limit, longest first.
    queue: BTreeMap<(u64, Asker), Waiting>,
    /// Failed attempts in a row, and when the next may be made.
    failures: u32,
    down_until: u64,
}

/// Connections opened at one time: below a server's backlog (511), whose overflow costs a second.
const MOST_OPENING: usize = 128;
/// Milliseconds between attempts to reach a node: doubled from the first to the last.
const PAUSES: (u64, u64) = (20, 500);

impl PrivatePool {
    /// A pool without connections.
    #[must_use]
    pub fn new(caps: Arc<Caps>, settings: PrivateSettings, metrics: Arc<WorkerMetrics>) -> Self {
        Self {
            caps,
            settings,
            nodes: BTreeMap::new(),
            by_endpoint: HashMap::new(),
            next_node: 0,
            timers: BTreeSet::new(),
            timer_set: false,
            openings: VecDeque::new(),
            unblocks: HashMap::new(),
            next_unblock: 0,
            opening: 0,
            topology_doubt: false,
            metrics,
        }
    }

    /// From here on by these settings; connections that there are stay.
    pub fn follow(&mut self, settings: &PrivateSettings) {
        self.settings = settings.clone();
        self.keep_idle(settings.idle_per_node);
    }

    /// Whether a command is refused at a limit, and does not wait.
    #[must_use]
    pub fn refuses_at_limit(&self) -> bool {
        self.settings.at_limit == AtLimit::Refuse
    }

    /// Whether blocking commands are asked in their form that does not block first.
    #[must_use]
    pub fn tries_first(&self) -> bool {
        self.settings.try_first
    }

    /// How many buckets a client's table has.
    #[must_use]
    pub fn table_buckets(&self) -> usize {
        self.settings.table_buckets
    }

    /// The number of the node at this endpoint.
    pub fn node(&mut self, endpoint: &Endpoint) -> NodeId {
        if let Some(id) = self.by_endpoint.get(endpoint) {
            return *id;
        }
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let node = Node {
            endpoint: endpoint.clone(),
            cap: self.caps.node(endpoint),
            idle: VecDeque::new(),
            queue: BTreeMap::new(),
            failures: 0,
            down_until: 0,
        };
        self.nodes.insert(id, node);
        self.by_endpoint.insert(endpoint.clone(), id);
        id
    }

    /// Where a node is.
    #[must_use]
    pub fn endpoint(&self, id: NodeId) -> Option<&Endpoint> {
        self.nodes.get(&id).map(|node| &node.endpoint)
    }

    /// A connection to `id` for `asker`, who has waited since `began` and is `queued` or new. At a limit the
    /// longest waiting comes first.
    pub fn lease(&mut self, id: NodeId, lane: Lane, asker: Asker, began: u64, now: u64) -> Lease {
        let Some(node) = self.nodes.get_mut(&id) else { return Lease::Down { until: now } };
        if node.down_until > now {
            return Lease::Down { until: node.down_until };
        }
        let first = node.queue.keys().next().is_none_or(|first| (began, asker) <= *first);
        if !first {
            node.queue.insert((began, asker), node.cap.wait());
            return Lease::Full;
        }
        while let Some(place) = node.idle.iter().rposition(|(_, idle)| idle.lane == lane) {
            let Some((_, connection)) = node.idle.remove(place) else { break };
            self.metrics.private_idle.sub(1);
            if connection.is_quiet() {
                self.metrics.private_reused.add(1);
                node.queue.remove(&(began, asker));
                return Lease::Idle(connection);
            }
            self.metrics.private_dirty.add(1);
        }
        let mut place = node.cap.admit();
        if place.is_none() && node.idle.pop_front().is_some() {
            // One of another protocol or database, which nobody uses, makes room.
            self.metrics.private_idle.sub(1);
            place = node.cap.admit();
        }
        let Some(place) = place else {
            node.queue.insert((began, asker), node.cap.wait());
            return Lease::Full;
        };
        node.queue.remove(&(began, asker));
        self.openings.push_back(Opening { asker, endpoint: node.endpoint.clone(), node: id, lane, place });
        Lease::Opening
    }

    /// `asker` does not wait for a connection to `id` any more.
    pub fn leave_queue(&mut self, id: NodeId, asker: Asker, began: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.queue.remove(&(began, asker));
        }
    }

    /// Takes back a connection that is clean: nothing under way, nothing remembered for its last client.
    pub fn give_back(&mut self, connection: Box<PrivateConnection>, now: u64) {
        let most = self.settings.idle_per_node;
        let Some(node) = self.nodes.get_mut(&connection.node) else { return };
        // Another database than the first would be kept for few.
        if node.idle.len() < most && connection.lane.database == 0 {
            node.idle.push_back((now, connection));
            self.metrics.private_idle.add(1);
        }
    }

    /// Closes what nobody uses: there are no more descriptors to open anything with.
    pub fn close_idle(&mut self) {
        self.keep_idle(0);
    }

    /// Closes what is idle beyond so many to a node, the longest idle first.
    fn keep_idle(&mut self, most: usize) {
        for node in self.nodes.values_mut() {
            let excess = node.idle.len().saturating_sub(most);
            node.idle.drain(..excess);
            self.metrics.private_idle.sub(excess as u64);
        }
    }

    /// A node is told to unblock a connection: until it has answered, that must not be another client's.
    pub fn begin_unblock(&mut self) -> NonZeroU32 {
        self.next_unblock = self.next_unblock.wrapping_add(1);
        let token = NonZeroU32::new(self.next_unblock).unwrap_or(NonZeroU32::MIN);
        self.unblocks.insert(token.get(), None);
        token
    }

    /// Whether the node has yet to answer that.
    #[must_use]
    pub fn is_unblocking(&self, token: NonZeroU32) -> bool {
        self.unblocks.contains_key(&token.get())
    }

    /// Takes back a connection that is clean, once the node has answered the last CLIENT UNBLOCK that meant it.
    pub fn give_back_after(
        &mut self,
        unblock: Option<NonZeroU32>,
        connection: Box<PrivateConnection>,
        now: u64,
    ) {
        match unblock.and_then(|token| self.unblocks.get_mut(&token.get())) {
            Some(kept) => *kept = Some(connection),
            None => self.give_back(connection, now),
        }
    }

    /// A node has answered a CLIENT UNBLOCK, or will not: then it may still come to the connection.
    pub fn on_unblock_over(&mut self, token: u32, answered: bool, now: u64) {
        match self.unblocks.remove(&token) {
            Some(Some(connection)) if answered => self.give_back(connection, now),
            Some(Some(_)) => self.metrics.private_dirty.add(1),
            Some(None) | None => {}
        }
    }

    /// What is to be opened now, as far as not too much is on its way. `Err`: not before a pause.
    pub fn next_opening(&mut self, now: u64) -> Option<Result<Opening, Opening>> {
        if self.opening >= MOST_OPENING {
            return None;
        }
        let opening = self.openings.pop_front()?;
        if self.nodes.get(&opening.node).is_some_and(|node| node.down_until > now) {
            return Some(Err(opening));
        }
        self.opening += 1;
        Some(Ok(opening))
    }

    /// An attempt to open a connection ended.
    pub fn on_opened(&mut self, id: NodeId, success: bool, now: u64) {
        self.opening -= 1;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if success {
            self.metrics.private_opened.add(1);
            (node.failures, node.down_until) = (0, 0);
        } else if node.down_until <= now {
            let (first, last) = PAUSES;
            node.down_until = now + (first << node.failures.min(10)).min(last);
            node.failures += 1;
        }
    }

    /// An attempt ended because the node does not let a tenant's user in: it is well for everybody else.
    pub fn on_refused(&mut self) {
        self.opening -= 1;
    }

    /// Wakes `asker` at this time.
    pub fn set_timer(&mut self, at: u64, asker: Asker) {
        self.timers.insert((at, asker));
        self.timer_set = true;
    }

    /// Takes a timer back.
    pub fn clear_timer(&mut self, at: u64, asker: Asker) {
        self.timers.remove(&(at, asker));
    }

    /// Whether [`Self::tick`] has anything to look at.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.timers.is_empty() || self.nodes.values().any(|node| !node.queue.is_empty())
    }

    /// Whether a timer was set since the last call: ticks may come too seldom for it.
    pub fn take_timer_set(&mut self) -> bool {
        std::mem::take(&mut self.timer_set)
    }

    /// Whether [`Self::next_opening`] may give any.
    #[must_use]
    pub fn has_openings(&self) -> bool {
        !self.openings.is_empty()
    }

    /// Who is to be woken at `now`: those whose time has come, and those there is room for.
    pub fn tick(&mut self, now: u64) -> Vec<Asker> {
        let mut woken = Vec::new();
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            woken.extend(self.timers.pop_first().map(|(_, asker)| asker));
        }
        let mut waiting = 0;
        for node in self.nodes.values() {
            waiting += node.queue.len();
            let room = node.cap.room() + node.idle.len();
            woken.extend(node.queue.keys().take(room).map(|(_, asker)| *asker));
        }
        self.metrics.private_waiting.set(waiting as u64);
        woken
    }

    /// Closes connections that were idle for too long or whose place another worker's client waits for, and
    /// forgets nodes that nobody uses. To be called about once a second, and each tick while anybody waits.
    pub fn sweep(&mut self, now: u64) {
        let oldest = now.saturating_sub(self.settings.idle_timeout.as_millis() as u64);
        let Self { nodes, by_endpoint, metrics, .. } = self;
        nodes.retain(|_, node| {
            while let Some((since, _)) = node.idle.front()
                && (*since < oldest || (node.queue.is_empty() && node.cap.is_wanted()))
            {
                node.idle.pop_front();
                metrics.private_idle.sub(1);
            }
            // The process's list and ours: nobody else speaks of the node.
            let used = !node.idle.is_empty() || !node.queue.is_empty() || Arc::strong_count(&node.cap) > 2;
            let used = used || node.down_until > now;
            if !used {
                by_endpoint.remove(&node.endpoint);
            }
            used
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(limit: usize) -> PrivatePool {
        let caps = Arc::new(Caps::new(limit, limit));
        PrivatePool::new(caps, PrivateSettings::default(), Arc::default())
    }

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { host: "h".into(), port }
    }

    fn asker(client: u32) -> Asker {
        Asker { client, generation: 0 }
    }

    /// Asks for client `client`, who has waited since `began`.
    fn lease(pool: &mut PrivatePool, node: NodeId, client: u32, began: u64) -> Lease {
        pool.lease(node, Lane::default(), asker(client), began, 100)
    }

    fn opened(pool: &mut PrivatePool) -> Opening {
        pool.next_opening(100).expect("one is wanted").expect("its node is up")
    }

    #[test]
    fn at_a_limit_the_longest_waiting_comes_first() {
        let mut pool = pool(1);
        let node = pool.node(&endpoint(1));
        assert!(matches!(lease(&mut pool, node, 1, 10), Lease::Opening));
        let held = opened(&mut pool);
        for (client, began) in [(3, 30), (2, 20)] {
            assert!(matches!(lease(&mut pool, node, client, began), Lease::Full));
        }
        assert!(pool.is_waiting() && pool.tick(100).is_empty(), "no room, nobody is woken");
        drop(held);
        assert_eq!(pool.tick(100), [asker(2)]);
        assert!(matches!(lease(&mut pool, node, 4, 40), Lease::Full), "who comes now stands behind");
        assert!(matches!(lease(&mut pool, node, 2, 20), Lease::Opening));
        pool.leave_queue(node, asker(3), 30);
        let held = opened(&mut pool);
        drop(held);
        assert_eq!(pool.tick(100), [asker(4)], "who has left is not woken");
    }

    #[test]
    fn a_node_that_cannot_be_reached_is_asked_after_a_pause_that_grows() {
        let mut pool = pool(9);
        let node = pool.node(&endpoint(1));
        let mut pauses = Vec::new();
        let mut now = 100;
        for _ in 0..7 {
            assert!(matches!(pool.lease(node, Lane::default(), asker(1), 0, now), Lease::Opening));
            assert!(pool.next_opening(now).is_some_and(|opening| opening.is_ok()));
            pool.on_opened(node, false, now);
            let Lease::Down { until } = pool.lease(node, Lane::default(), asker(1), 0, now) else {
                panic!("asked at once");
            };
            pauses.push(until - now);
            now = until;
        }
        assert_eq!(pauses, [20, 40, 80, 160, 320, 500, 500]);
        assert!(pool.next_opening(now).is_none());
        assert!(matches!(pool.lease(node, Lane::default(), asker(1), 0, now), Lease::Opening));
        assert!(pool.next_opening(now).is_some_and(|opening| opening.is_ok()));
        pool.on_opened(node, true, now);
        assert!(
            matches!(pool.lease(node, Lane::default(), asker(1), 0, now), Lease::Opening),
            "as if never down"
        );
    }

    #[test]
    fn few_are_opened_at_a_time_and_none_to_a_node_that_just_failed() {
        let mut pool = pool(1_000);
        let node = pool.node(&endpoint(1));
        for client in 0..200 {
            assert!(matches!(lease(&mut pool, node, client, 0), Lease::Opening));
        }
        let begun: Vec<_> = std::iter::from_fn(|| pool.next_opening(100)).collect();
        assert_eq!(begun.len(), MOST_OPENING);
        pool.on_opened(node, false, 100);
        assert!(matches!(pool.next_opening(100), Some(Err(_))), "it failed a moment ago");
        assert!(matches!(pool.next_opening(120), Some(Ok(_))));
    }

    #[test]
    fn timers_wake_at_their_time_and_can_be_taken_back() {
        let mut pool = pool(1);
        pool.set_timer(10, asker(1));
        pool.set_timer(20, asker(2));
        pool.set_timer(20, asker(3));
        pool.clear_timer(20, asker(2));
        assert_eq!(pool.tick(9), []);
        assert_eq!(pool.tick(10), [asker(1)]);
        assert_eq!(pool.tick(25), [asker(3)]);
        assert!(!pool.is_waiting());
    }

    #[test]
    fn a_node_that_nobody_uses_is_forgotten_and_its_number_is_not_given_again() {
        let mut pool = pool(1);
        let first = pool.node(&endpoint(1));
        assert_eq!(pool.node(&endpoint(1)), first);
        pool.sweep(0);
        assert_eq!(pool.endpoint(first), None);
        assert_ne!(pool.node(&endpoint(1)), first);
    }
}
