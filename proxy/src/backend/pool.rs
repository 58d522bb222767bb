//! A worker's links, by node and lane, and the way from a slot to one of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use slab::Slab;

use super::in_flight::Pending;
use super::lane::{Lane, LoginId};
use super::link::{Closing, Link, Push};
use crate::cluster::readers::Readers;
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::{Endpoint, Generation, SlotMap};

/// A link of a [`Pool`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LinkKey(pub(crate) usize);

/// All backend connections of one worker.
#[derive(Debug)]
pub struct Pool {
    pub(super) map: Arc<SlotMap>,
    /// The nodes that reads go to.
    pub(super) readers: Arc<Readers>,
    /// What [`SlotMap::nodes`] numbers: the place in `nodes` of each.
    pub(super) by_index: Vec<usize>,
    pub(super) by_endpoint: HashMap<Endpoint, usize>,
    pub(super) nodes: Slab<PoolNode>,
    pub(super) links: Slab<Link>,
    /// Links that no task drives yet.
    undriven: Vec<LinkKey>,
}

#[derive(Debug)]
pub(super) struct PoolNode {
    pub(super) endpoint: Endpoint,
    /// Whether the slot map in use has it; a redirect may name a node before the map does.
    in_topology: bool,
    /// What clients tell it from its shard's other nodes by, see [`super::prefer`].
    pub(super) number: u64,
    /// Whether reads go to it.
    pub(super) reads: bool,
    /// Until when none do, in milliseconds of the worker's clock: it refused one.
    pub(super) rests_until: u64,
    /// Few: one a lane that somebody used.
    pub(super) lanes: Vec<(Lane, LinkKey)>,
}

/// Milliseconds after which a connection of a tenant's own user is closed: tenants are many, and may go.
const UNUSED: u64 = 60_000;

/// Where a request went, or why it went nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Queued on a link.
    Queued {
        /// How many bytes of requests the link holds now.
        bytes: usize,
    },
    /// The slot's node can't be reached, since this time in milliseconds of the worker's clock.
    Down {
        /// When the node was first found unreachable.
        since: u64,
    },
    /// No node serves the slot.
    Unserved,
    /// The slot's node does not let the lane's user in.
    Refused,
}

impl From<Push> for Sent {
    fn from(push: Push) -> Self {
        match push {
            Push::Queued { bytes } => Self::Queued { bytes },
            Push::Down { since } => Self::Down { since },
            Push::Refused => Self::Refused,
        }
    }
}

impl Pool {
    /// A pool that knows no node.
    #[must_use]
    pub fn new() -> Self {
        Self {
            map: Arc::new(SlotMap::empty()),
            readers: Arc::default(),
            by_index: Vec::new(),
            by_endpoint: HashMap::new(),
            nodes: Slab::new(),
            links: Slab::new(),
            undriven: Vec::new(),
        }
    }

    /// The slot map in use.
    #[must_use]
    pub fn slot_map(&self) -> &Arc<SlotMap> {
        &self.map
    }

    /// The number of the slot map in use.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.map.generation()
    }

    /// Goes over to a new slot map. Links to nodes that it lacks end once they are idle, see [`Self::tick`].
    pub fn switch_map(&mut self, map: Arc<SlotMap>) {
        for (_, node) in &mut self.nodes {
            node.in_topology = false;
        }
        self.by_index = map.nodes().iter().map(|node| self.node_of(&node.endpoint)).collect();
        for &place in &self.by_index {
            self.nodes[place].in_topology = true;
        }
        self.map = map;
        let Self { nodes, by_endpoint, .. } = self;
        nodes.retain(|_, node| {
            let used = node.in_topology || !node.lanes.is_empty();
            if !used {
                by_endpoint.remove(&node.endpoint);
            }
            used
        });
    }

    /// Whether the slot map in use has this node.
    #[must_use]
    pub fn is_in_topology(&self, endpoint: &Endpoint) -> bool {
        let place = self.by_endpoint.get(endpoint);
        place.is_some_and(|place| self.nodes.get(*place).is_some_and(|node| node.in_topology))
    }

    /// Sends a request to the node that serves its slot.
    #[inline(always)]
    pub fn send(&mut self, lane: Lane, pending: Pending, request: &[u8]) -> Sent {
        match self.link_of_slot(pending.slot, lane) {
            Some(key) => self.links[key.0].push(false, pending, request).into(),
            None => Sent::Unserved,
        }
    }

    /// Sends a request to the node that a reply named: with ASKING where the reply was ASK.
    pub fn send_to(
        &mut self,
        endpoint: &Endpoint,
        asking: bool,
        lane: Lane,
        pending: Pending,
        request: &[u8],
    ) -> Sent {
        let node = self.node_of(endpoint);
        let key = self.link_of_node(node, lane);
        self.links[key.0].push(asking, pending, request).into()
    }

    /// Sends a request to this primary, whatever slots it serves by now, or where none is given to whoever serves its
    /// slot. `None` where it is no primary any more.
    pub fn send_for(
        &mut self,
        primary: Option<&Endpoint>,
        lane: Lane,
        pending: Pending,
        request: &[u8],
    ) -> Option<Sent> {
        let Some(primary) = primary.filter(|node| self.map.owner_endpoint(pending.slot) != Some(node)) else {
            return Some(self.send(lane, pending, request));
        };
        self.map.is_primary(primary).then(|| self.send_to(primary, false, lane, pending, request))
    }

    /// The link that [`Self::send`] would take; `None` where no node serves the slot.
    pub fn link_of(&mut self, slot: Slot, lane: Lane) -> Option<&mut Link> {
        let key = self.link_of_slot(slot, lane)?;
        self.links.get_mut(key.0)
    }

    /// The link that [`Self::send_to`] would take.
    pub fn link_to(&mut self, endpoint: &Endpoint, lane: Lane) -> Option<&mut Link> {
        let node = self.node_of(endpoint);
        let key = self.link_of_node(node, lane);
        self.links.get_mut(key.0)
    }

    /// The link for subscriptions at the node that serves `slot`; with `anywhere` another node's where that one
    /// can't be reached. `None` where there is no node.
    pub fn subscription_link(&mut self, slot: Slot, anywhere: bool) -> Option<LinkKey> {
        let own = self.link_of_slot(slot, Lane::SUBSCRIPTIONS);
        if !anywhere || own.is_some_and(|key| !self.links[key.0].is_down()) {
            return own;
        }
        let map = self.map.clone();
        for slot in map.shard_slots() {
            let other = self.link_of_slot(*slot, Lane::SUBSCRIPTIONS);
            if other.is_some_and(|key| !self.links[key.0].is_down()) {
                return other;
            }
        }
        own
    }

    /// Gives a link a batch of commands whose last one is answered by an ordinary reply, before `deadline`.
    /// False where the node can't be reached.
    pub fn push_subscriptions(&mut self, key: LinkKey, slot: Slot, deadline: u64, batch: &[u8]) -> bool {
        let Some(link) = self.links.get_mut(key.0) else { return false };
        matches!(link.push(false, Pending::own(slot, deadline), batch), Push::Queued { .. })
    }

    /// The links for subscriptions that are up and owe no answer.
    #[must_use]
    pub fn quiet_subscription_links(&self) -> Vec<LinkKey> {
        let quiet = self.links.iter().filter(|(_, link)| {
            link.lane == Lane::SUBSCRIPTIONS && link.is_up() && link.in_flight.is_empty()
        });
        quiet.map(|(key, _)| LinkKey(key)).collect()
    }

    /// A link by its key; `None` once it was removed.
    pub fn link_mut(&mut self, key: LinkKey) -> Option<&mut Link> {
        self.links.get_mut(key.0)
    }

    /// All links.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().map(|(_, link)| link)
    }

    /// The links that were opened since the last call and need a task each.
    pub fn take_undriven(&mut self) -> Vec<LinkKey> {
        std::mem::take(&mut self.undriven)
    }

    /// Whether [`Self::take_undriven`] would give any.
    #[must_use]
    pub fn has_undriven(&self) -> bool {
        !self.undriven.is_empty()
    }

    /// Takes out a link whose task ends, with the requests that it was given to the last.
    pub fn remove(&mut self, key: LinkKey) -> Option<Link> {
        let link = self.links.try_remove(key.0)?;
        let Some(&place) = self.by_endpoint.get(&link.endpoint) else { return Some(link) };
        let node = &mut self.nodes[place];
        node.lanes.retain(|(_, other)| *other != key);
        if node.lanes.is_empty() && !node.in_topology {
            self.by_endpoint.remove(&link.endpoint);
            self.nodes.remove(place);
        }
        Some(link)
    }

    /// Closes links whose oldest request is overdue, idle links to nodes that are not in the topology, and those of
    /// tenants' users that were not used for a while; gives unused memory back. A link that is still connecting is
    /// left alone: its requests were not sent, and are handed back if it fails, which takes no longer than a command
    /// may.
    pub fn tick(&mut self, now: u64) {
        let Self { nodes, links, .. } = self;
        for (_, node) in nodes.iter() {
            for (_, key) in &node.lanes {
                let link = &mut links[key.0];
                let is_tenants = link.lane.login != LoginId::PROXY;
                if link.is_up() && link.in_flight.is_overdue(now) {
                    link.close(Closing::TimedOut);
                } else if (link.in_flight.is_empty() && !node.in_topology)
                    || (is_tenants && link.is_unused(now, UNUSED))
                {
                    link.close(Closing::Retired);
                } else {
                    link.in_flight.shrink_if_idle();
                }
            }
        }
    }

    #[inline(always)]
    fn link_of_slot(&mut self, slot: Slot, lane: Lane) -> Option<LinkKey> {
        let index = self.map.owner(slot)?;
        Some(self.link_of_node(self.by_index[usize::from(index.0)], lane))
    }

    #[inline(always)]
    pub(super) fn link_of_node(&mut self, place: usize, lane: Lane) -> LinkKey {
        self.nodes[place].lane(lane).unwrap_or_else(|| self.open_link(place, lane))
    }

    #[cold]
    fn open_link(&mut self, place: usize, lane: Lane) -> LinkKey {
        let node = &mut self.nodes[place];
        let key = LinkKey(self.links.insert(Link::new(node.endpoint.clone(), lane)));
        node.lanes.push((lane, key));
        self.undriven.push(key);
        key
    }

    pub(super) fn node_of(&mut self, endpoint: &Endpoint) -> usize {
        if let Some(&place) = self.by_endpoint.get(endpoint) {
            return place;
        }
        let place = self.nodes.insert(PoolNode {
            endpoint: endpoint.clone(),
            in_topology: false,
            number: BuildHasherDefault::<DefaultHasher>::default().hash_one(endpoint),
            reads: self.readers.has(endpoint),
            rests_until: 0,
            lanes: Vec::new(),
        });
        self.by_endpoint.insert(endpoint.clone(), place);
        place
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl PoolNode {
    #[inline]
    pub(super) fn lane(&self, lane: Lane) -> Option<LinkKey> {
        self.lanes.iter().find(|(own, _)| *own == lane).map(|(_, key)| *key)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::in_flight::{Origin, Ticket};
    use super::*;
    use crate::cluster::slot_map::Shard;

    fn map(generation: u32, ports: &[u16]) -> Arc<SlotMap> {
        let all = vec![(Slot::new(0).unwrap(), Slot::new(16_383).unwrap())];
        let shard = |&port| Shard { primary: endpoint(port), replicas: Vec::new(), slots: all.clone() };
        let shards: Vec<_> = ports.iter().map(shard).collect();
        Arc::new(SlotMap::new(Generation(generation), &shards))
    }

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { host: "h".into(), port }
    }

    fn pending(ticket: u32, deadline: u64) -> Pending {
        let origin = Origin { client: 0, generation: 0, ticket: Ticket(ticket), part: 0 };
        Pending::new(origin, Slot::of(b"k"), deadline)
    }

    #[test]
    fn only_a_link_that_is_up_times_out() {
        let mut pool = Pool::new();
        pool.switch_map(map(1, &[1]));
        pool.send(Lane::default(), pending(1, 9), b"x");
        let [key] = pool.take_undriven()[..] else { panic!("one link") };
        pool.tick(10);
        let link = pool.link_mut(key).unwrap();
        link.on_up();
        assert_eq!(link.on_poll(Waker::noop()), None, "a connection that has just come up");
        pool.tick(20);
        assert_eq!(pool.link_mut(key).unwrap().on_poll(Waker::noop()), Some(Closing::TimedOut));
    }

    #[test]
    fn connections_of_a_tenants_user_close_when_they_are_not_used() {
        let mut pool = Pool::new();
        pool.switch_map(map(1, &[1]));
        let mine = Lane::default().of(LoginId(1));
        pool.send(Lane::default(), pending(1, u64::MAX), b"x");
        pool.send(mine, pending(1, u64::MAX), b"x");
        let [shared, own] = pool.take_undriven()[..] else { panic!("users don't mix") };
        let mut closing = |now| {
            pool.tick(now);
            [shared, own].map(|key| pool.link_mut(key).unwrap().on_poll(Waker::noop()))
        };
        assert_eq!(closing(UNUSED * 2), [None, None], "a request is under way");
        for key in [shared, own] {
            pool.link_mut(key).unwrap().in_flight.drain(|_, _, _| ());
        }
        let mut closing = |now| {
            pool.tick(now);
            [shared, own].map(|key| pool.link_mut(key).unwrap().on_poll(Waker::noop()))
        };
        assert_eq!(closing(UNUSED * 3), [None, None], "unused for no longer than that");
        assert_eq!(closing(UNUSED * 3 + 1), [None, Some(Closing::Retired)]);
    }

    #[test]
    fn a_link_whose_user_is_refused_takes_nothing_until_it_is_let_in() {
        let mut pool = Pool::new();
        pool.switch_map(map(1, &[1]));
        let mine = Lane::default().of(LoginId(1));
        pool.send(mine, pending(1, 9), b"x");
        let [key] = pool.take_undriven()[..] else { panic!("one link") };
        pool.link_mut(key).unwrap().on_refused();
        assert_eq!(pool.send(mine, pending(2, 9), b"x"), Sent::Refused);
        pool.link_mut(key).unwrap().on_connecting();
        assert_eq!(pool.send(mine, pending(2, 9), b"x"), Sent::Refused, "not before it has shaken hands");
        pool.link_mut(key).unwrap().on_down(3);
        assert_eq!(pool.send(mine, pending(2, 9), b"x"), Sent::Down { since: 3 });
        pool.link_mut(key).unwrap().on_up();
        assert!(matches!(pool.send(mine, pending(2, 9), b"x"), Sent::Queued { .. }));
    }

    #[test]
    fn what_may_be_subscribed_to_anywhere_goes_past_a_node_that_is_down() {
        let mut pool = Pool::new();
        let slots = |first: u16, last: u16| vec![(Slot::new(first).unwrap(), Slot::new(last).unwrap())];
        let shard = |port, slots| Shard { primary: endpoint(port), replicas: Vec::new(), slots };
        let shards = [shard(1, slots(0, 99)), shard(2, slots(100, 199)), shard(3, slots(200, 16_383))];
        pool.switch_map(Arc::new(SlotMap::new(Generation(1), &shards)));
        let slot = Slot::new(50).unwrap();
        let own = pool.subscription_link(slot, true).expect("a node");
        pool.link_mut(own).unwrap().on_down(1);
        assert_eq!(pool.subscription_link(slot, false), Some(own), "a shard channel has one node");
        let other = pool.subscription_link(slot, true).expect("a node");
        assert_eq!(pool.link_mut(other).unwrap().endpoint, endpoint(2));
        assert_eq!(pool.take_undriven(), [own, other], "no link that nobody needs");
        pool.link_mut(own).unwrap().on_up();
        assert_eq!(pool.subscription_link(slot, true), Some(own));
    }

    #[test]
    fn what_is_for_a_primary_goes_there_as_long_as_it_is_one() {
        let mut pool = Pool::new();
        pool.switch_map(map(1, &[1, 2]));
        let sent_to = |pool: &mut Pool, port: u16| {
            pool.send_for(Some(&endpoint(port)), Lane::default(), pending(1, 9), b"x")?;
            let link = pool.links().find(|link| link.in_flight.len() == 1).map(|link| link.endpoint.port);
            pool.links.iter_mut().for_each(|(_, link)| link.in_flight.drain(|_, _, _| ()));
            link
        };
        assert_eq!(pool.map.owner_endpoint(Slot::of(b"k")), Some(&endpoint(2)));
        assert_eq!([1, 2, 3].map(|port| sent_to(&mut pool, port)), [Some(1), Some(2), None]);
        assert!(!pool.by_endpoint.contains_key(&endpoint(3)), "no node for what is none");
    }

    #[test]
    fn a_link_that_ends_keeps_no_request_that_came_too_late() {
        let mut pool = Pool::new();
        pool.switch_map(map(1, &[1]));
        pool.send(Lane::default(), pending(1, 9), b"x");
        let [key] = pool.take_undriven()[..] else { panic!("one link") };
        pool.switch_map(map(2, &[2]));
        // A redirect to the node that just left.
        pool.send_to(&endpoint(1), false, Lane::default(), pending(2, 9), b"x");
        assert!(pool.is_in_topology(&endpoint(2)) && !pool.is_in_topology(&endpoint(1)));
        let link = pool.remove(key).expect("was there");
        assert_eq!(link.in_flight.len(), 2);
        assert!(pool.nodes.len() == 1 && pool.by_endpoint.len() == 1, "the node went with its last link");
        pool.send_to(&endpoint(1), false, Lane::default(), pending(2, 9), b"x");
        assert_eq!(pool.take_undriven().len(), 1, "a new link for what comes later");
    }
}
