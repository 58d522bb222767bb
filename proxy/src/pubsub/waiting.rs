//! SUBSCRIBE requests whose topics are not all subscribed to at a backend yet: they are confirmed once they are,
//! so that nothing that is published behind the confirmation is missed.

use std::collections::HashMap;

use slab::Slab;

use crate::backend::in_flight::Origin;

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All its topics are subscribed to.
    Confirmed {
        /// Who asked.
        origin: Origin,
        /// The confirmations.
        reply: Vec<u8>,
    },
    /// It failed as a whole.
    Failed {
        /// Who asked.
        origin: Origin,
        /// What it subscribed to, which has to be taken back.
        topics: Vec<u32>,
        /// The server's own error; `None`: no answer in time.
        error: Option<Box<[u8]>>,
    },
}

#[derive(Debug)]
struct Request {
    origin: Origin,
    reply: Vec<u8>,
    topics: Vec<u32>,
    /// How many of the topics are not subscribed to yet.
    missing: usize,
    /// In milliseconds of the worker's clock.
    deadline: u64,
}

/// All requests of a worker that wait.
#[derive(Default, Debug)]
pub(super) struct Waiting {
    requests: Slab<Request>,
    by_topic: HashMap<u32, Vec<usize>>,
    outcomes: Vec<Outcome>,
}

impl Waiting {
    /// A request that waits for `missing`, some of its `topics`; not none.
    pub(super) fn add(
        &mut self,
        origin: Origin,
        reply: Vec<u8>,
        topics: Vec<u32>,
        missing: &[u32],
        deadline: u64,
    ) {
        debug_assert!(!missing.is_empty(), "nothing to wait for");
        let request = Request { origin, reply, topics, missing: missing.len(), deadline };
        let key = self.requests.insert(request);
        for topic in missing {
            self.by_topic.entry(*topic).or_default().push(key);
        }
    }

    /// A topic is subscribed to, or nobody wants it any more: nothing of it can be missed.
    pub(super) fn resolve(&mut self, topic: u32) {
        for key in self.by_topic.remove(&topic).unwrap_or_default() {
            let Some(request) = self.requests.get_mut(key) else { continue };
            request.missing -= 1;
            if request.missing == 0 {
                let Request { origin, reply, .. } = self.requests.remove(key);
                self.outcomes.push(Outcome::Confirmed { origin, reply });
            }
        }
    }

    /// A backend refused a topic.
    pub(super) fn refuse(&mut self, topic: u32, error: &[u8]) {
        let mut keys = self.by_topic.remove(&topic).unwrap_or_default();
        // A request may name a topic twice.
        keys.dedup();
        for key in keys {
            self.fail(key, Some(error.into()));
        }
    }

    /// Gives up what is overdue.
    pub(super) fn expire(&mut self, now: u64) {
        let overdue = self.requests.iter().filter(|(_, request)| request.deadline <= now);
        let overdue: Vec<_> = overdue.map(|(key, _)| key).collect();
        for key in overdue {
            self.fail(key, None);
        }
    }

    fn fail(&mut self, key: usize, error: Option<Box<[u8]>>) {
        let Some(Request { origin, topics, .. }) = self.requests.try_remove(key) else { return };
        for topic in &topics {
            if let Some(keys) = self.by_topic.get_mut(topic) {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    self.by_topic.remove(topic);
                }
            }
        }
        self.outcomes.push(Outcome::Failed { origin, topics, error });
    }

    pub(super) fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    pub(super) fn has_outcomes(&self) -> bool {
        !self.outcomes.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}
