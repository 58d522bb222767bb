//! Tells the backends what this worker's clients want to listen to.

use super::Worker;
use crate::backend::owner::Owner;
use crate::backend::pool::LinkKey;
use crate::cluster::slot::{Slot, hash_tag};
use crate::command::spec::TopicKind;
use crate::pubsub::topic::Step;
use crate::route::split::Together;

// Answers that backends may owe at a time: after a lost link all its topics are subscribed to again, and a
// node must be able to keep up within the command timeout.
const MOST_UNANSWERED: usize = 4_096;
// A batch of commands above this is closed by a marker.
const BATCH_BYTES: usize = 32 * 1024;
// Milliseconds between attempts to reach a node.
const PAUSE_FOR_NODE: u64 = 20;
// Answered by every server in every state, with an ordinary reply, and allowed to every user.
const MARKER: &[u8] = b"*1\r\n$5\r\nHELLO\r\n";

/// Commands to one link, not given to it yet.
struct Batch {
    link: LinkKey,
    /// For the link's own books.
    slot: Slot,
    bytes: Vec<u8>,
}

impl Worker {
    /// Sends what there is to be told.
    pub(super) fn send_subscriptions(&mut self) {
        if !self.clients.pubsub.has_steps() {
            return;
        }
        let mut batches: Vec<Batch> = Vec::new();
        while self.clients.pubsub.unanswered() < MOST_UNANSWERED
            && let Some(step) = self.clients.pubsub.next_step()
        {
            let (topic, link) = match step {
                Step::Join(topic) => (topic, self.reachable_link(topic)),
                Step::Leave(topic, link) => (topic, Some(link)),
            };
            let Some(link) = link else {
                self.clients.pubsub.put_off(topic, self.now() + PAUSE_FOR_NODE);
                continue;
            };
            let (kind, name) = self.clients.pubsub.topic(topic);
            let joins = matches!(step, Step::Join(_));
            let batch = batch_of(&mut batches, link, Slot::of(name));
            write(&mut batch.bytes, kind.command(joins), name);
            let is_full = batch.bytes.len() > BATCH_BYTES;
            if joins {
                self.clients.pubsub.asked(topic, link);
            }
            if is_full && let Some(index) = batches.iter().position(|batch| batch.link == link) {
                self.send_batch(batches.swap_remove(index));
            }
        }
        for batch in batches {
            self.send_batch(batch);
        }
    }

    /// Sends a marker to each link for subscriptions that has nothing to say: a node that is gone without a word
    /// is found by it.
    pub(super) fn feel_pulse(&mut self) {
        for link in self.pool.quiet_subscription_links() {
            self.send_batch(Batch { link, slot: Slot::FIXED, bytes: Vec::new() });
        }
    }

    /// Subscribes anew to what another node publishes by now: shard channels and notifications whose slots moved.
    pub(super) fn follow_slots(&mut self) {
        let Self { clients, pool, shared, .. } = self;
        let map = pool.slot_map().clone();
        let mut strays = Vec::new();
        for (topic, kind, name, link) in clients.pubsub.links() {
            let Some(slot) = home(kind, name, shared.together) else { continue };
            let owner = map.owner_endpoint(slot);
            let here = pool.link_mut(link).map(|link| &link.endpoint);
            if owner.is_some() && owner != here {
                strays.push((topic, link, kind, Box::<[u8]>::from(name)));
            }
        }
        for (topic, link, kind, name) in strays {
            // It may still serve the slot, or take itself to: whatever it says is not waited for.
            let mut batch = Batch { link, slot: Slot::of(&name), bytes: Vec::new() };
            write(&mut batch.bytes, kind.command(false), &name);
            self.clients.pubsub.asked_in_vain(link);
            self.clients.pubsub.lose(topic, true);
            self.send_batch(batch);
        }
        self.clients.pubsub.hurry();
    }

    fn send_batch(&mut self, mut batch: Batch) {
        batch.bytes.extend_from_slice(MARKER);
        self.clients.pubsub.marked(batch.link);
        let deadline = self.now() + self.shared.command_timeout;
        if !self.pool.push_subscriptions(batch.link, batch.slot, deadline, &batch.bytes) {
            self.clients.pubsub.on_lost(batch.link);
        }
    }

    /// The slot whose node is to be told, and whether any other does as well. Over a cluster's bus each node
    /// hears what is published to channels; standalone servers hear only what is published at them, which is
    /// the fixed one.
    fn place(&self, kind: TopicKind, name: &[u8]) -> (Slot, bool) {
        let is_cluster = self.shared.together == Together::Slot;
        match (home(kind, name, self.shared.together), kind) {
            (Some(slot), _) => (slot, false),
            (None, TopicKind::Channel) if is_cluster => (Slot::of(name), true),
            (None, _) => (self.pool.slot_map().fixed_slot(), is_cluster),
        }
    }

    /// The link at which to subscribe to a topic; `None` while there is none, or its node can't be reached.
    fn reachable_link(&mut self, topic: u32) -> Option<LinkKey> {
        let (kind, name) = self.clients.pubsub.topic(topic);
        let (slot, anywhere) = self.place(kind, name);
        let link = self.pool.subscription_link(slot, anywhere)?;
        self.pool.link_mut(link).is_some_and(|link| !link.is_down()).then_some(link)
    }
}

/// The slot whose node alone publishes to a topic: that of a shard channel, or of the keys that a notification is
/// about, since a node tells of its own keys only.
fn home(kind: TopicKind, name: &[u8], together: Together) -> Option<Slot> {
    match (kind, together) {
        (TopicKind::Shard, _) => return Some(Slot::of(name)),
        (_, Together::Shard) => return None,
        _ => {}
    }
    let rest = name.strip_prefix(b"__keyspace@")?;
    let key = &rest[memchr::memmem::find(rest, b"__:")? + 3..];
    let tag = hash_tag(key);
    let is_exact = tag.len() < key.len() && !tag.iter().any(|byte| b"*?[\\".contains(byte));
    (kind == TopicKind::Channel || is_exact).then(|| Slot::of(key))
}

fn batch_of(batches: &mut Vec<Batch>, link: LinkKey, slot: Slot) -> &mut Batch {
    let index = batches.iter().position(|batch| batch.link == link).unwrap_or_else(|| {
        batches.push(Batch { link, slot, bytes: Vec::new() });
        batches.len() - 1
    });
    &mut batches[index]
}

fn write(batch: &mut Vec<u8>, word: &str, name: &[u8]) {
    batch.extend_from_slice(format!("*2\r\n${}\r\n{word}\r\n${}\r\n", word.len(), name.len()).as_bytes());
    batch.extend_from_slice(name);
    batch.extend_from_slice(b"\r\n");
}
