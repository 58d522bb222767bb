//! What every worker reads of the backends: the current slot map, the commands and the servers' identity, which
//! discovery publishes, and which nodes reads go to, which the watch does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::readers::Readers;
use super::slot_map::{Generation, Shard, SlotMap};
use crate::backend::handshake::ServerIdentity;
use crate::command::table::Table;

/// The process's one picture of a cluster. Readers take whole snapshots; nobody waits for a lock.
pub struct Topology {
    map: ArcSwap<SlotMap>,
    readers: ArcSwap<Readers>,
    server: ArcSwap<ServerIdentity>,
    /// Every command that the proxy knows: at first those of the checked-in facts.
    commands: watch::Sender<Arc<Table>>,
    /// Whether a server has been asked for its commands, whatever came of it.
    commands_asked: AtomicBool,
    /// Whether nodes were asked for the topology, whatever came of it.
    asked: AtomicBool,
    /// Set when there is a reason to refresh, until discovery saw it.
    wanted: AtomicBool,
    wake: Notify,
    /// The same for the commands.
    commands_wanted: AtomicBool,
    commands_wake: Notify,
    generation: watch::Sender<Generation>,
}

impl Topology {
    /// Knows nothing yet but these commands: the map is empty and not [ready](Self::is_ready).
    #[must_use]
    pub fn new(commands: Arc<Table>) -> Self {
        Self {
            map: ArcSwap::from_pointee(SlotMap::empty()),
            readers: ArcSwap::default(),
            server: ArcSwap::default(),
            commands: watch::Sender::new(commands),
            asked: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            commands_asked: AtomicBool::new(false),
            wake: Notify::new(),
            commands_wanted: AtomicBool::new(false),
            commands_wake: Notify::new(),
            generation: watch::Sender::default(),
        }
    }

    /// The current map.
    #[must_use]
    pub fn slot_map(&self) -> Arc<SlotMap> {
        self.map.load_full()
    }

    /// The nodes that reads go to; none while every read goes to a primary.
    #[must_use]
    pub fn readers(&self) -> Arc<Readers> {
        self.readers.load_full()
    }

    /// What servers there are, as the last one that was asked said; empty names where not known yet.
    #[must_use]
    pub fn server(&self) -> Arc<ServerIdentity> {
        self.server.load_full()
    }

    /// Whether there has been a map.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.generation.borrow() > Generation(0)
    }

    /// Whether nodes were asked for it, whatever came of that.
    #[must_use]
    pub fn was_asked_for(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Discovery only: nodes were asked, and answered or did not.
    pub(super) fn note_asked(&self) {
        self.asked.store(true, Ordering::Release);
    }

    /// There is a reason to refresh: a redirect, a lost node. Cheap, from any thread, however often.
    pub fn request_refresh(&self) {
        if !self.wanted.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Every command, with what was learned so far. Not for the path of a request: whoever has requests holds one,
    /// and [watches](Self::watch_commands).
    #[must_use]
    pub fn commands(&self) -> Arc<Table> {
        self.commands.borrow().clone()
    }

    /// Whether a command that is not in the table is unknown, and not only not learned yet.
    #[must_use]
    pub fn knows_commands(&self) -> bool {
        self.commands_asked.load(Ordering::Acquire)
    }

    /// Tells of each new table of commands.
    #[must_use]
    pub fn watch_commands(&self) -> watch::Receiver<Arc<Table>> {
        self.commands.subscribe()
    }

    /// Somebody said a command that is not in the table. As cheap as [`Self::request_refresh`].
    pub fn request_commands(&self) {
        if !self.commands_wanted.swap(true, Ordering::AcqRel) {
            self.commands_wake.notify_one();
        }
    }

    /// Tells of each new map by its generation.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Generation> {
        self.generation.subscribe()
    }

    /// Waits for a map newer than `generation`: at `Generation(0)` for the first one.
    pub async fn wait_newer(&self, generation: Generation) -> Arc<SlotMap> {
        // An error would say that the sender is gone, which `self` holds.
        let _ = self.watch().wait_for(|&newer| newer > generation).await;
        self.slot_map()
    }

    /// Discovery only: replaces the map.
    pub(super) fn publish(&self, shards: &[Shard]) -> Arc<SlotMap> {
        let generation = Generation(self.map.load().generation().0 + 1);
        let map = Arc::new(SlotMap::new(generation, shards));
        self.map.store(Arc::clone(&map));
        // After the map, so that who hears of a generation finds it.
        self.generation.send_replace(generation);
        map
    }

    /// The watch only: says who is to be read from, where that changed.
    pub(super) fn publish_readers(&self, readers: Readers) {
        if **self.readers.load() != readers {
            self.readers.store(Arc::new(readers));
        }
    }

    /// Discovery only: says what the servers are.
    pub(super) fn identify(&self, server: ServerIdentity) {
        self.server.store(Arc::new(server));
    }

    /// Discovery only: a server was asked for its commands; a table that is new replaces the old one.
    pub(super) fn publish_commands(&self, table: Option<Table>) {
        if let Some(table) = table {
            self.commands.send_replace(Arc::new(table));
        }
        // Behind it, so that who reads this finds the table.
        self.commands_asked.store(true, Ordering::Release);
    }

    /// Discovery only: waits for an unknown command.
    pub(super) async fn commands_requested(&self) {
        while !self.commands_wanted.swap(false, Ordering::AcqRel) {
            self.commands_wake.notified().await;
        }
    }

    /// Discovery only: waits for a reason to refresh.
    pub(super) async fn refresh_requested(&self) {
        while !self.wanted.swap(false, Ordering::AcqRel) {
            self.wake.notified().await;
        }
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self::new(Arc::new(Table::builtin()))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::super::slot::Slot;
    use super::super::topology::static_map;
    use super::*;
    use crate::cluster::slot_map::{Endpoint, NodeIndex};

    fn one_shard() -> Vec<Shard> {
        static_map(&[Endpoint { host: "h".into(), port: 1 }])
    }

    #[test]
    fn readers_see_the_new_map_and_its_generation_grows() {
        let topology = Topology::default();
        assert!(!topology.is_ready());
        assert_eq!(topology.slot_map().owner(Slot::of(b"a")), None);
        topology.publish(&one_shard());
        assert!(topology.is_ready());
        assert_eq!(topology.slot_map().owner(Slot::of(b"a")), Some(NodeIndex(0)));
        topology.publish(&one_shard());
        assert_eq!(topology.slot_map().generation(), Generation(2));
    }

    #[test]
    fn many_requests_are_one_reason() {
        let topology = Topology::default();
        let poll = || pin!(topology.refresh_requested()).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(poll(), Poll::Pending);
        topology.request_refresh();
        topology.request_refresh();
        assert_eq!(poll(), Poll::Ready(()));
        assert_eq!(poll(), Poll::Pending);
        topology.request_refresh();
        assert_eq!(poll(), Poll::Ready(()));
    }

    #[tokio::test]
    async fn waiters_hear_of_the_first_map() {
        let topology = Arc::new(Topology::default());
        let (waits, publishes) =
            (topology.wait_newer(Generation(0)), async { topology.publish(&one_shard()) });
        let (map, published) = tokio::join!(waits, publishes);
        assert_eq!(map, published);
    }
}
