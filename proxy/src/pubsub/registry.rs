//! All topics that clients of a worker listen to: each is subscribed to once at a backend, however many
//! clients share it.
//!
//! ```text
//!            ┌────────── link lost, slot moved, refused for now ──────────┐
//!            ▼                                                            │
//! Wanted ──asked──▶ Asked ──confirmed──▶ Live ──nobody left, asked──▶ Leaving ──confirmed──▶ gone
//!    ▲                                                                    │
//!    └──────────────────── somebody came meanwhile ◀──────────────────────┘
//! ```
//!
//! A topic has at most one command under way, so its confirmation cannot be taken for another's.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;

use super::expected::{Asked, Expected};
use super::subscribers::{Subscriber, Subscribers};
use super::subscriptions::Subscriptions;
use super::topic::{State, Step, Topic, Verdict};
use super::waiting::{Outcome, Waiting};
use crate::backend::in_flight::{Origin, Ticket};
use crate::backend::pool::LinkKey;
use crate::command::spec::TopicKind;

/// The topics of one worker.
#[derive(Default, Debug)]
pub struct Registry {
    topics: Slab<Topic>,
    by_name: HashTable<u32>,
    hasher: RandomState,
    /// Topics that a backend has to be told about now. May name some twice, or some that are gone.
    ready: VecDeque<u32>,
    /// The same for later: when, in milliseconds of the worker's clock, and which.
    later: Vec<(u64, u32)>,
    expected: Expected,
    waiting: Waiting,
    /// Topics in [`State::Live`].
    live: u64,
    /// Clients with subscriptions.
    clients: u64,
    /// Topics that were subscribed to again since [`Self::take_resubscribed`] asked.
    resubscribed: u64,
}

// Milliseconds before a refused command is sent again: doubled from the first to the last.
const FIRST_PAUSE: u64 = 10;
const LONGEST_PAUSE: u64 = 1_000;

impl Registry {
    /// Adds `client`, whose list is `own`, to a topic; the confirmation is to go out as `ticket`. Returns the
    /// topic's number, also where the client was there already.
    pub fn subscribe(
        &mut self,
        own: &mut Subscriptions,
        client: u32,
        ticket: Ticket,
        kind: TopicKind,
        name: &[u8],
    ) -> u32 {
        let key = self.find(kind, name).unwrap_or_else(|| self.create(kind, name));
        let subscribers = &mut self.topics[key as usize].subscribers;
        if subscribers.get_mut(client).is_none() {
            self.clients += u64::from(own.is_empty());
            let place = own.add(key, kind, name.len());
            subscribers.insert(Subscriber { client, place, since: Some(ticket) });
        }
        key
    }

    /// Takes `client` out of a topic; false where it was not in it.
    pub fn unsubscribe(
        &mut self,
        own: &mut Subscriptions,
        client: u32,
        kind: TopicKind,
        name: &[u8],
    ) -> bool {
        self.find(kind, name).is_some_and(|key| self.take_out(own, client, key))
    }

    /// Takes `client` out of everything: it leaves, or says RESET.
    pub fn leave(&mut self, own: &mut Subscriptions, client: u32) {
        self.clients -= u64::from(!own.is_empty());
        for key in own.take() {
            self.topics[key as usize].subscribers.remove(client);
            self.let_go(key);
        }
    }

    /// Takes back what the request `ticket` subscribed to.
    pub fn take_back(&mut self, own: &mut Subscriptions, client: u32, ticket: Ticket, topics: &[u32]) {
        for &key in topics {
            // The topic may be another by now, or the client may have come to it by another request.
            let subscriber =
                self.topics.get_mut(key as usize).and_then(|topic| topic.subscribers.get_mut(client));
            if subscriber.is_some_and(|subscriber| subscriber.since == Some(ticket)) {
                self.take_out(own, client, key);
            }
        }
    }

    fn take_out(&mut self, own: &mut Subscriptions, client: u32, key: u32) -> bool {
        let Some(topic) = self.topics.get_mut(key as usize) else { return false };
        let Some(subscriber) = topic.subscribers.remove(client) else { return false };
        let moved = own.remove(subscriber.place, topic.kind, topic.name.len());
        if let Some(moved) = moved.and_then(|moved| self.topics.get_mut(moved as usize))
            && let Some(other) = moved.subscribers.get_mut(client)
        {
            other.place = subscriber.place;
        }
        self.clients -= u64::from(own.is_empty());
        self.let_go(key);
        true
    }

    /// The names of a client's topics of one kind.
    #[must_use]
    pub fn names_of(&self, own: &Subscriptions, kind: TopicKind) -> Vec<Box<[u8]>> {
        let topics = own.topics().iter().map(|key| &self.topics[*key as usize]);
        topics.filter(|topic| topic.kind == kind).map(|topic| topic.name.clone()).collect()
    }

    /// Confirms a request at once, by giving `reply` back, where all its topics are live; else keeps it until
    /// they are, or to fail at `deadline`.
    pub fn confirm(
        &mut self,
        origin: Origin,
        topics: Vec<u32>,
        reply: Vec<u8>,
        deadline: u64,
    ) -> Option<Vec<u8>> {
        let is_live = |key: &&u32| matches!(self.topics[**key as usize].state, State::Live(_));
        let missing: Vec<u32> = topics.iter().filter(|key| !is_live(key)).copied().collect();
        if missing.is_empty() {
            return Some(reply);
        }
        self.waiting.add(origin, reply, topics, &missing, deadline);
        None
    }

    /// What became of requests since the last call.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        self.waiting.take_outcomes()
    }

    /// Whether [`Self::take_outcomes`] would give any.
    #[must_use]
    pub fn has_outcomes(&self) -> bool {
        self.waiting.has_outcomes()
    }

    /// The topic that a message over `link` is for; `None` where nobody listens, or not over this link.
    #[must_use]
    pub fn live(&self, link: LinkKey, kind: TopicKind, name: &[u8]) -> Option<u32> {
        self.find(kind, name).filter(|key| self.topics[*key as usize].state == State::Live(link))
    }

    /// Somebody in a namespace listens to this topic.
    pub fn note_namespaced(&mut self, topic: u32) {
        if let Some(topic) = self.topics.get_mut(topic as usize) {
            topic.namespaced = true;
        }
    }

    /// Whether somebody does, or did.
    #[must_use]
    pub fn is_namespaced(&self, topic: u32) -> bool {
        self.topics.get(topic as usize).is_some_and(|topic| topic.namespaced)
    }

    /// A topic's subscribers, in no order.
    pub fn subscribers(&mut self, topic: u32) -> impl Iterator<Item = &mut Subscriber> {
        let topic = self.topics.get_mut(topic as usize);
        topic.into_iter().flat_map(|topic| topic.subscribers.iter_mut())
    }

    /// Whether [`Self::next_step`] may give any.
    #[must_use]
    pub fn has_steps(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next thing that a backend is to be told. Behind a [`Step::Join`] the caller says [`Self::asked`] or
    /// [`Self::put_off`]; a [`Step::Leave`] is taken for said.
    pub fn next_step(&mut self) -> Option<Step> {
        loop {
            let key = self.ready.pop_front()?;
            let Some(topic) = self.topics.get(key as usize) else { continue };
            match topic.state {
                State::Wanted => return Some(Step::Join(key)),
                State::Live(link) if topic.subscribers.is_empty() => {
                    self.change(key, State::Leaving(link));
                    self.expected.push(link, Asked::Topic(key));
                    return Some(Step::Leave(key, link));
                }
                State::Live(_) | State::Asked(_) | State::Leaving(_) => {}
            }
        }
    }

    /// A topic's kind and name.
    #[must_use]
    pub fn topic(&self, topic: u32) -> (TopicKind, &[u8]) {
        let topic = &self.topics[topic as usize];
        (topic.kind, &topic.name)
    }

    /// A node was told to subscribe us.
    pub fn asked(&mut self, topic: u32, link: LinkKey) {
        self.change(topic, State::Asked(link));
        self.expected.push(link, Asked::Topic(topic));
    }

    /// A node was told something whose outcome nobody needs.
    pub fn asked_in_vain(&mut self, link: LinkKey) {
        self.expected.push(link, Asked::Forgotten);
    }

    /// A node was sent a marker: its reply tells that all before it was answered.
    pub fn marked(&mut self, link: LinkKey) {
        self.expected.push(link, Asked::Marker);
    }

    /// No node can be told at present: again at `due`.
    pub fn put_off(&mut self, topic: u32, due: u64) {
        self.later.push((due, topic));
    }

    /// Makes ready what is due, and gives requests up that have waited too long.
    pub fn tick(&mut self, now: u64) {
        self.waiting.expire(now);
        let ready = &mut self.ready;
        self.later.retain(|(due, topic)| {
            let waits = *due > now;
            if !waits {
                ready.push_back(*topic);
            }
            waits
        });
    }

    /// Makes everything ready that was put off: the topology changed.
    pub fn hurry(&mut self) {
        self.ready.extend(self.later.drain(..).map(|(_, topic)| topic));
    }

    /// A node confirmed that we subscribe.
    pub fn on_subscribed(&mut self, link: LinkKey, kind: TopicKind, name: &[u8]) {
        let Some(key) = self.find(kind, name) else { return };
        let topic = &mut self.topics[key as usize];
        if !matches!(topic.state, State::Wanted) && topic.state != State::Asked(link) {
            return;
        }
        topic.refused = 0;
        self.resubscribed += u64::from(std::mem::take(&mut topic.lost));
        self.expected.answered(link, Asked::Topic(key));
        self.change(key, State::Live(link));
        self.waiting.resolve(key);
        self.let_go(key);
    }

    /// A node says that we are not subscribed (any longer). True where nobody had asked for that: the slot
    /// moved away.
    pub fn on_unsubscribed(&mut self, link: LinkKey, kind: TopicKind, name: &[u8]) -> bool {
        let key = self.find(kind, name).filter(|key| self.link_of(*key) == Some(link));
        let Some(key) = key else {
            self.expected.answered(link, Asked::Forgotten);
            return false;
        };
        if self.topics[key as usize].state == State::Leaving(link) {
            self.expected.answered(link, Asked::Topic(key));
            self.lose(key, false);
            return false;
        }
        self.lose(key, true);
        true
    }

    /// A node answered a command with an error.
    pub fn on_error(&mut self, link: LinkKey, error: &[u8], verdict: Verdict, now: u64) {
        let Some(Asked::Topic(key)) = self.expected.refused(link) else { return };
        let Some(topic) = self.topics.get_mut(key as usize) else { return };
        topic.refused = topic.refused.saturating_add(1);
        let due = now + (FIRST_PAUSE << topic.refused.min(10)).min(LONGEST_PAUSE);
        match topic.state {
            State::Asked(asked) if asked == link => {
                self.change(key, State::Wanted);
                self.later.push((due, key));
                if verdict == Verdict::Never {
                    self.waiting.refuse(key, error);
                }
                self.let_go(key);
            }
            State::Leaving(asked) if asked == link && verdict == Verdict::Elsewhere => self.lose(key, false),
            State::Leaving(asked) if asked == link => {
                // We are still subscribed: good for whoever came meanwhile.
                self.change(key, State::Live(link));
                self.later.push((due, key));
                self.waiting.resolve(key);
            }
            _ => {}
        }
    }

    /// A node answered a marker: what it was asked before and left unanswered is asked again.
    pub fn on_marker(&mut self, link: LinkKey, now: u64) {
        for asked in self.expected.passed(link) {
            let Asked::Topic(key) = asked else { continue };
            match self.topics.get(key as usize).map(|topic| topic.state) {
                Some(State::Asked(asked)) if asked == link => {
                    self.change(key, State::Wanted);
                    self.later.push((now + FIRST_PAUSE, key));
                    self.let_go(key);
                }
                Some(State::Leaving(asked)) if asked == link => self.lose(key, false),
                _ => {}
            }
        }
    }

    /// A connection ended: what was subscribed to over it is wanted anew.
    pub fn on_lost(&mut self, link: LinkKey) {
        self.expected.forget(link);
        let here = self.topics.iter().map(|(key, _)| key as u32);
        let here: Vec<u32> = here.filter(|key| self.link_of(*key) == Some(link)).collect();
        for key in here {
            let was_live = matches!(self.topics[key as usize].state, State::Live(_));
            self.lose(key, was_live);
        }
    }

    /// The topics that are live, with their links: where the slot map says otherwise some belong elsewhere.
    pub fn links(&self) -> impl Iterator<Item = (u32, TopicKind, &[u8], LinkKey)> {
        self.topics.iter().filter_map(|(key, topic)| match topic.state {
            State::Live(link) => Some((key as u32, topic.kind, &*topic.name, link)),
            _ => None,
        })
    }

    /// A topic is to be subscribed to anew, whatever the node says that it was subscribed to at.
    pub fn lose(&mut self, key: u32, unasked: bool) {
        self.change(key, State::Wanted);
        self.topics[key as usize].lost |= unasked;
        self.ready.push_back(key);
        self.let_go(key);
    }

    /// Clients with subscriptions.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.clients
    }

    /// Topics that a backend sends us messages of.
    #[must_use]
    pub fn live_topics(&self) -> u64 {
        self.live
    }

    /// How many topics were subscribed to again without anybody's asking since the last call.
    pub fn take_resubscribed(&mut self) -> u64 {
        std::mem::take(&mut self.resubscribed)
    }

    /// Answers that backends owe.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.expected.len()
    }

    /// Whether time alone may bring something to do.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.later.is_empty() || !self.waiting.is_empty()
    }

    /// Whether there is any topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Every topic of a kind that is live, with the number of those of its subscribers that `counts` says yes of.
    /// Of what is yet to be confirmed, or was lost, nobody hears a message: no server would count it either.
    pub fn all(
        &self,
        kind: TopicKind,
        counts: impl Fn(&Subscriber) -> bool,
    ) -> impl Iterator<Item = (&[u8], usize)> {
        let of_kind = self.topics.iter().filter(move |(_, topic)| topic.kind == kind);
        let counted = of_kind.map(move |(_, topic)| (&*topic.name, topic.count(&counts)));
        counted.filter(|(_, count)| *count > 0)
    }

    /// How many subscribers a topic has of which `counts` says yes; none before it is live.
    pub fn count(&self, kind: TopicKind, name: &[u8], counts: impl Fn(&Subscriber) -> bool) -> usize {
        self.find(kind, name).map_or(0, |key| self.topics[key as usize].count(counts))
    }

    fn link_of(&self, key: u32) -> Option<LinkKey> {
        match self.topics.get(key as usize)?.state {
            State::Wanted => None,
            State::Asked(link) | State::Live(link) | State::Leaving(link) => Some(link),
        }
    }

    /// Where nobody is left: forgets the topic, or sees to it that its node is told.
    fn let_go(&mut self, key: u32) {
        let topic = &self.topics[key as usize];
        if !topic.subscribers.is_empty() {
            return;
        }
        match topic.state {
            State::Wanted => self.forget(key),
            State::Live(_) => self.ready.push_back(key),
            // What is under way is waited for.
            State::Asked(_) | State::Leaving(_) => {}
        }
    }

    fn forget(&mut self, key: u32) {
        let topic = self.topics.remove(key as usize);
        let hash = hash(&self.hasher, topic.kind, &topic.name);
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
        // Whoever asked for it and left it at once misses nothing.
        self.waiting.resolve(key);
        if self.topics.is_empty() {
            self.topics.shrink_to_fit();
            self.by_name = HashTable::new();
            self.ready = VecDeque::new();
            self.later = Vec::new();
        }
    }

    fn change(&mut self, key: u32, state: State) {
        let topic = &mut self.topics[key as usize];
        self.live -= u64::from(matches!(topic.state, State::Live(_)));
        self.live += u64::from(matches!(state, State::Live(_)));
        topic.state = state;
    }

    fn find(&self, kind: TopicKind, name: &[u8]) -> Option<u32> {
        let hash = hash(&self.hasher, kind, name);
        let same = |key: &u32| {
            let topic = &self.topics[*key as usize];
            topic.kind == kind && *topic.name == *name
        };
        self.by_name.find(hash, same).copied()
    }

    fn create(&mut self, kind: TopicKind, name: &[u8]) -> u32 {
        let topic = Topic {
            name: name.into(),
            subscribers: Subscribers::default(),
            state: State::Wanted,
            kind,
            refused: 0,
            lost: false,
            namespaced: false,
        };
        let key = self.topics.insert(topic) as u32;
        let Self { topics, by_name, hasher, .. } = self;
        let rehash = |other: &u32| {
            let topic = &topics[*other as usize];
            hash(hasher, topic.kind, &topic.name)
        };
        by_name.insert_unique(hash(hasher, kind, name), key, rehash);
        self.ready.push_back(key);
        key
    }
}

/// Names are chosen by clients: the hasher's seed is not.
fn hash(hasher: &RandomState, kind: TopicKind, name: &[u8]) -> u64 {
    hasher.hash_one((kind as u8, name))
}
