//! Reads that go to replicas: which nodes of a shard a client's reads may go to, and over which link. Pure.

use std::iter::once;
use std::sync::Arc;

use super::in_flight::Pending;
use super::lane::Lane;
use super::link::Push;
use super::pool::{LinkKey, Pool};
use super::prefer::prefer;
use crate::cluster::readers::Readers;
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::Endpoint;

impl Pool {
    /// Goes over to other nodes for reads, where these are others.
    pub fn follow_readers(&mut self, readers: Arc<Readers>) {
        if Arc::ptr_eq(&readers, &self.readers) {
            return;
        }
        for (_, node) in &mut self.nodes {
            node.reads = readers.has(&node.endpoint);
        }
        self.readers = readers;
    }

    /// Sends a read to a replica of its slot's shard, the one that `client` prefers among those that reads go
    /// to and that are up. Gives the bytes of requests that the link holds then; `None` where the primary is
    /// to answer, and nothing was sent.
    pub fn send_read(
        &mut self,
        lane: Lane,
        client: u64,
        now: u64,
        pending: Pending,
        request: &[u8],
    ) -> Option<usize> {
        let key = self.link_of_replica(pending.slot, lane.to_replicas(), client, now)?;
        match self.links[key.0].push(false, pending, request) {
            Push::Queued { bytes } => Some(bytes),
            Push::Down { .. } | Push::Refused => None,
        }
    }

    /// A replica refused a read: it is left alone until then. The watch will have found out why.
    pub fn rest(&mut self, endpoint: &Endpoint, until: u64) {
        if let Some(&place) = self.by_endpoint.get(endpoint)
            && let Some(node) = self.nodes.get_mut(place)
        {
            node.rests_until = until;
        }
    }

    /// Only a link that is up takes reads: one that is yet to be opened, and may fail to, would hold them up.
    fn link_of_replica(&mut self, slot: Slot, lane: Lane, client: u64, now: u64) -> Option<LinkKey> {
        let owner = self.map.owner(slot)?;
        let Self { by_index, nodes, .. } = self;
        let places = once(owner).chain(self.map.replicas(owner)).map(|index| by_index[usize::from(index.0)]);
        let numbers = places.clone().map(|place| nodes[place].number);
        let (mut tried, mut unopened) = (0, None);
        let found = loop {
            let Some(choice) = prefer(client, numbers.clone(), tried) else { break None };
            tried |= 1 << choice;
            let place = places.clone().nth(choice)?;
            let node = &nodes[place];
            match node.lane(lane) {
                _ if !node.reads || now < node.rests_until => {}
                // The primary is one of the nearest: over its ordinary link, in order with the client's writes.
                _ if choice == 0 => break None,
                Some(key) if self.links[key.0].is_up() => break Some(key),
                Some(_) => {}
                None => unopened = unopened.or(Some(place)),
            }
        };
        if let Some(place) = unopened {
            self.link_of_node(place, lane);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::in_flight::{Origin, Ticket};
    use super::*;
    use crate::cluster::slot_map::{Generation, Shard, SlotMap};

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { host: "h".into(), port }
    }

    /// A shard of one primary and three replicas, 2 to 4, all up; and which of them take reads.
    fn with_replicas(readers: &[u16]) -> Pool {
        let mut pool = Pool::new();
        let all = vec![(Slot::new(0).unwrap(), Slot::new(16_383).unwrap())];
        let shard =
            Shard { primary: endpoint(1), replicas: vec![endpoint(2), endpoint(3), endpoint(4)], slots: all };
        pool.switch_map(Arc::new(SlotMap::new(Generation(1), &[shard])));
        pool.follow_readers(Arc::new(readers.iter().copied().map(endpoint).collect()));
        for port in 2..=4 {
            let node = pool.node_of(&endpoint(port));
            let key = pool.link_of_node(node, Lane::default().to_replicas());
            pool.link_mut(key).unwrap().on_up();
        }
        pool
    }

    /// Where each of some clients' reads go; 0 for the primary.
    fn spread(pool: &mut Pool, now: u64) -> Vec<u16> {
        let slot = Slot::of(b"k");
        let to = |client| {
            let key = pool.link_of_replica(slot, Lane::default().to_replicas(), client, now);
            key.map_or(0, |key| pool.link_mut(key).unwrap().endpoint.port)
        };
        (0..64).map(to).collect()
    }

    #[test]
    fn reads_go_to_the_replicas_that_are_well_and_each_client_stays_with_its_own() {
        let mut pool = with_replicas(&[2, 3, 4]);
        let all = spread(&mut pool, 0);
        assert!((2..=4).all(|port| all.contains(&port)) && !all.contains(&0), "{all:?}");
        assert_eq!(spread(&mut pool, 0), all);
        pool.rest(&endpoint(3), 100);
        let without = spread(&mut pool, 99);
        assert!(!without.contains(&3) && !without.contains(&0), "{without:?}");
        assert!(all.iter().zip(&without).all(|(before, after)| *before == 3 || before == after));
        assert_eq!(spread(&mut pool, 100), all, "well again");
        pool.follow_readers(Arc::new([endpoint(4)].into_iter().collect()));
        assert_eq!(spread(&mut pool, 100), [4; 64]);
        pool.follow_readers(Arc::default());
        assert_eq!(spread(&mut pool, 100), [0; 64]);
    }

    #[test]
    fn a_replica_that_is_not_up_is_passed_over_and_the_primary_is_the_last() {
        let mut pool = with_replicas(&[2, 3]);
        pool.take_undriven();
        let lane = Lane::default().to_replicas();
        for port in [2, 3] {
            let node = pool.node_of(&endpoint(port));
            let key = pool.link_of_node(node, lane);
            pool.link_mut(key).unwrap().on_down(1);
        }
        assert_eq!(spread(&mut pool, 0), [0; 64]);
        let opened = Lane { protocol: crate::resp::protocol::Protocol::Resp3, ..lane };
        assert_eq!(pool.link_of_replica(Slot::of(b"k"), opened, 1, 0), None, "its link is only being opened");
        assert_eq!(pool.take_undriven().len(), 1, "the one that this client prefers");
        pool.link_of_replica(Slot::of(b"k"), opened, 1, 0);
        pool.link_of_replica(Slot::of(b"k"), opened, 1, 0);
        assert_eq!(pool.take_undriven().len(), 1, "while that takes its time, the other");
    }

    #[test]
    fn the_primary_takes_its_share_where_it_is_one_of_the_nearest() {
        let mut pool = with_replicas(&[1, 2]);
        let shared = spread(&mut pool, 0);
        assert!(shared.contains(&0) && shared.contains(&2) && !shared.contains(&3), "{shared:?}");
        let origin = Origin { client: 0, generation: 0, ticket: Ticket(1), part: 0 };
        let pending = Pending::new(origin, Slot::of(b"k"), 9);
        assert_eq!(pool.send_read(Lane::default(), 0, 0, pending, b"x").is_some(), shared[0] == 2);
    }
}
