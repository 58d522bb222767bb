//! The registry against a simple model: what clients and backends do in any order leaves both with the same
//! picture of who listens to what.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::registry::Registry;
use super::subscriptions::Subscriptions;
use super::topic::{Step, Verdict};
use super::waiting::Outcome;
use crate::backend::in_flight::{Origin, Ticket};
use crate::backend::pool::LinkKey;
use crate::command::spec::TopicKind::{self, Channel, Pattern, Shard};

const LINK: LinkKey = LinkKey(1);

fn origin(client: u32, ticket: u32) -> Origin {
    Origin { client, generation: 0, ticket: Ticket(ticket), part: 0 }
}

/// Says everything that is to be said to `link`; gives what was said.
fn say(registry: &mut Registry, link: LinkKey) -> Vec<(bool, TopicKind, Vec<u8>)> {
    let mut said = Vec::new();
    while let Some(step) = registry.next_step() {
        let (Step::Join(topic) | Step::Leave(topic, _)) = step;
        let joins = matches!(step, Step::Join(_));
        let (kind, name) = registry.topic(topic);
        said.push((joins, kind, name.to_vec()));
        if joins {
            registry.asked(topic, link);
        }
    }
    said
}

fn subscribe(registry: &mut Registry, own: &mut Subscriptions, client: u32, name: &[u8]) -> bool {
    let topic = registry.subscribe(own, client, Ticket(1), Channel, name);
    registry.confirm(origin(client, 1), vec![topic], b"ok".to_vec(), 100).is_some()
}

#[test]
fn the_first_subscriber_waits_for_the_backend_and_the_second_does_not() {
    let (mut registry, mut first, mut second) = (Registry::default(), <_>::default(), <_>::default());
    assert!(!subscribe(&mut registry, &mut first, 1, b"c"));
    assert_eq!(say(&mut registry, LINK), [(true, Channel, b"c".to_vec())]);
    assert_eq!(registry.live(LINK, Channel, b"c"), None);
    registry.on_subscribed(LINK, Channel, b"c");
    assert_eq!(
        registry.take_outcomes(),
        [Outcome::Confirmed { origin: origin(1, 1), reply: b"ok".to_vec() }]
    );
    assert!(subscribe(&mut registry, &mut second, 2, b"c"));
    assert!(say(&mut registry, LINK).is_empty(), "one subscription at the backend for both");
    let topic = registry.live(LINK, Channel, b"c").expect("live");
    assert_eq!(registry.subscribers(topic).count(), 2);
    assert_eq!(registry.live(LinkKey(2), Channel, b"c"), None, "not over another link");
    assert_eq!(registry.live(LINK, Pattern, b"c"), None, "nor as a pattern");
}

#[test]
fn only_who_would_hear_a_message_is_counted() {
    let (mut registry, mut own) = (Registry::default(), Subscriptions::default());
    let counted = |registry: &Registry| {
        let (one, all) = (registry.count(Channel, b"c", |_| true), registry.all(Channel, |_| true).count());
        assert_eq!(one, all, "both ways to ask");
        one
    };
    subscribe(&mut registry, &mut own, 1, b"c");
    say(&mut registry, LINK);
    assert_eq!(counted(&registry), 0, "asked for, not confirmed");
    registry.on_subscribed(LINK, Channel, b"c");
    assert_eq!(counted(&registry), 1);
    assert_eq!(registry.count(Channel, b"c", |subscriber| subscriber.client != 1), 0, "another tenant's");
    registry.on_lost(LINK);
    assert_eq!(counted(&registry), 0, "until it is subscribed to again");
    say(&mut registry, LINK);
    registry.on_subscribed(LINK, Channel, b"c");
    assert_eq!(counted(&registry), 1);
}

#[test]
fn the_last_one_leaves_the_backend_and_whoever_comes_meanwhile_comes_again() {
    let (mut registry, mut own, mut other) = (Registry::default(), <_>::default(), <_>::default());
    subscribe(&mut registry, &mut own, 1, b"c");
    say(&mut registry, LINK);
    // Gone before the backend confirmed: nothing is said twice.
    assert!(registry.unsubscribe(&mut own, 1, Channel, b"c"));
    assert!(say(&mut registry, LINK).is_empty());
    registry.on_subscribed(LINK, Channel, b"c");
    assert_eq!(say(&mut registry, LINK), [(false, Channel, b"c".to_vec())]);
    // A new one comes while the backend is told.
    assert!(!subscribe(&mut registry, &mut other, 2, b"c"), "it waits for a confirmation of its own");
    assert!(say(&mut registry, LINK).is_empty(), "one command at a time");
    assert!(!registry.on_unsubscribed(LINK, Channel, b"c"));
    assert_eq!(say(&mut registry, LINK), [(true, Channel, b"c".to_vec())]);
    registry.on_subscribed(LINK, Channel, b"c");
    registry.leave(&mut other, 2);
    say(&mut registry, LINK);
    registry.on_unsubscribed(LINK, Channel, b"c");
    assert!(registry.is_empty() && registry.live_topics() == 0 && registry.clients() == 0);
    assert_eq!(registry.unanswered(), 0);
}

#[test]
fn a_lost_link_and_a_moved_slot_are_made_good_without_the_clients() {
    let (mut registry, mut own) = (Registry::default(), Subscriptions::default());
    let topic = registry.subscribe(&mut own, 1, Ticket(1), Shard, b"s");
    say(&mut registry, LINK);
    registry.on_subscribed(LINK, Shard, b"s");
    assert!(registry.on_unsubscribed(LINK, Shard, b"s"), "nobody asked: the slot moved");
    assert_eq!(say(&mut registry, LinkKey(2)), [(true, Shard, b"s".to_vec())]);
    registry.on_error(LinkKey(2), b"-MOVED 1 h:1\r\n", Verdict::Elsewhere, 0);
    assert!(say(&mut registry, LinkKey(2)).is_empty(), "not at once");
    registry.tick(1_000);
    assert_eq!(say(&mut registry, LinkKey(2)).len(), 1);
    registry.on_subscribed(LinkKey(2), Shard, b"s");
    registry.on_lost(LinkKey(2));
    assert_eq!(say(&mut registry, LINK).len(), 1);
    registry.on_subscribed(LINK, Shard, b"s");
    assert_eq!(registry.live(LINK, Shard, b"s"), Some(topic));
    assert_eq!((registry.take_resubscribed(), registry.clients()), (2, 1));
}

#[test]
fn what_a_backend_refuses_fails_the_request_and_takes_all_of_it_back() {
    let (mut registry, mut own) = (Registry::default(), Subscriptions::default());
    let names: [&[u8]; 2] = [b"good", b"bad"];
    let topics = names.map(|name| registry.subscribe(&mut own, 1, Ticket(7), Channel, name)).to_vec();
    assert_eq!(registry.confirm(origin(1, 7), topics.clone(), b"ok".to_vec(), 100), None);
    say(&mut registry, LINK);
    registry.marked(LINK);
    registry.on_subscribed(LINK, Channel, b"good");
    registry.on_error(LINK, b"-NOPERM no\r\n", Verdict::Never, 0);
    registry.on_marker(LINK, 0);
    let failed = Outcome::Failed { origin: origin(1, 7), topics, error: Some(b"-NOPERM no\r\n"[..].into()) };
    let outcomes = registry.take_outcomes();
    assert_eq!(outcomes, [failed]);
    let Outcome::Failed { topics, .. } = &outcomes[0] else { panic!("it failed") };
    registry.take_back(&mut own, 1, Ticket(7), topics);
    assert!(own.is_empty() && registry.clients() == 0);
    assert_eq!(say(&mut registry, LINK), [(false, Channel, b"good".to_vec())]);
}

#[test]
fn a_request_that_no_backend_confirms_in_time_fails() {
    let (mut registry, mut own) = (Registry::default(), Subscriptions::default());
    assert!(!subscribe(&mut registry, &mut own, 1, b"c"));
    registry.tick(99);
    assert!(!registry.has_outcomes());
    registry.tick(100);
    let [Outcome::Failed { topics, error: None, .. }] = &registry.take_outcomes()[..] else {
        panic!("failed at its deadline")
    };
    registry.take_back(&mut own, 1, Ticket(1), topics);
    assert!(registry.is_empty());
}

#[test]
fn who_left_before_the_confirmation_is_not_kept_waiting() {
    let (mut registry, mut own) = (Registry::default(), Subscriptions::default());
    assert!(!subscribe(&mut registry, &mut own, 1, b"c"));
    registry.unsubscribe(&mut own, 1, Channel, b"c");
    assert!(matches!(registry.take_outcomes()[..], [Outcome::Confirmed { .. }]));
}

#[test]
fn a_command_that_was_left_unanswered_is_said_again_behind_its_marker() {
    let (mut registry, mut own) = (Registry::default(), Subscriptions::default());
    subscribe(&mut registry, &mut own, 1, b"a");
    subscribe(&mut registry, &mut own, 1, b"b");
    say(&mut registry, LINK);
    registry.marked(LINK);
    registry.on_subscribed(LINK, Channel, b"b");
    registry.on_marker(LINK, 0);
    registry.tick(1_000);
    assert_eq!(say(&mut registry, LINK), [(true, Channel, b"a".to_vec())]);
}

/// What happens to the registry.
#[derive(Clone, Debug)]
enum Event {
    Subscribe(u32, TopicKind, u8),
    Unsubscribe(u32, TopicKind, u8),
    Leave(u32),
    /// The node of this link answers its oldest command.
    Answer(usize),
    /// The node of this link refuses its oldest command for now.
    Refuse(usize),
    Lose(usize),
    Tick,
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![Just(Channel), Just(Pattern), Just(Shard)];
    prop_oneof![
        6 => (0u32..5, kind.clone(), 0u8..4).prop_map(|(client, kind, name)| Event::Subscribe(client, kind, name)),
        4 => (0u32..5, kind, 0u8..4).prop_map(|(client, kind, name)| Event::Unsubscribe(client, kind, name)),
        1 => (0u32..5).prop_map(Event::Leave),
        8 => (0usize..2).prop_map(Event::Answer),
        1 => (0usize..2).prop_map(Event::Refuse),
        1 => (0usize..2).prop_map(Event::Lose),
        2 => Just(Event::Tick),
    ]
}

type Topic = (TopicKind, Vec<u8>);

/// Two nodes that do what they are told, and what clients believe.
#[derive(Default)]
struct Model {
    own: BTreeMap<u32, Subscriptions>,
    listens: BTreeSet<(u32, Topic)>,
    /// What each node was told and has not answered.
    told: [Vec<(bool, Topic)>; 2],
    /// What each node has us down for.
    nodes: [BTreeSet<Topic>; 2],
    requests: u32,
    confirmed: u32,
    now: u64,
}

impl Model {
    fn apply(&mut self, registry: &mut Registry, event: Event) {
        let name = |number: u8| vec![b'n', number];
        match event {
            Event::Subscribe(client, kind, number) => {
                let own = self.own.entry(client).or_default();
                let topic = registry.subscribe(own, client, Ticket(self.requests), kind, &name(number));
                let request = origin(client, self.requests);
                self.requests += 1;
                let at_once = registry.confirm(request, vec![topic], Vec::new(), u64::MAX).is_some();
                self.confirmed += u32::from(at_once);
                self.listens.insert((client, (kind, name(number))));
            }
            Event::Unsubscribe(client, kind, number) => {
                let own = self.own.entry(client).or_default();
                let listened = self.listens.remove(&(client, (kind, name(number))));
                assert_eq!(registry.unsubscribe(own, client, kind, &name(number)), listened);
            }
            Event::Leave(client) => {
                registry.leave(self.own.entry(client).or_default(), client);
                self.listens.retain(|(other, _)| *other != client);
            }
            Event::Answer(node) => self.answer(registry, node),
            Event::Refuse(node) if !self.told[node].is_empty() => {
                self.told[node].remove(0);
                registry.on_error(LinkKey(node), b"-BUSY x\r\n", Verdict::Later, self.now);
            }
            Event::Refuse(_) => {}
            Event::Lose(node) => {
                self.told[node].clear();
                self.nodes[node].clear();
                registry.on_lost(LinkKey(node));
            }
            Event::Tick => {
                self.now += 2_000;
                registry.tick(self.now);
            }
        }
        self.confirmed += registry.take_outcomes().len() as u32;
    }

    fn answer(&mut self, registry: &mut Registry, node: usize) {
        if self.told[node].is_empty() {
            return;
        }
        let (joins, topic) = self.told[node].remove(0);
        if joins {
            self.nodes[node].insert(topic.clone());
            registry.on_subscribed(LinkKey(node), topic.0, &topic.1);
        } else {
            self.nodes[node].remove(&topic);
            assert!(!registry.on_unsubscribed(LinkKey(node), topic.0, &topic.1));
        }
    }

    fn tell(&mut self, registry: &mut Registry) {
        while let Some(step) = registry.next_step() {
            let (Step::Join(topic) | Step::Leave(topic, _)) = step;
            let (kind, name) = registry.topic(topic);
            let name = name.to_vec();
            let node = match step {
                // Any node will do: this one tells names apart.
                Step::Join(topic) => {
                    let node = usize::from(name[1]) % 2;
                    registry.asked(topic, LinkKey(node));
                    node
                }
                Step::Leave(_, link) => link.0,
            };
            self.told[node].push((matches!(step, Step::Join(_)), (kind, name)));
        }
    }

    fn settle(&mut self, registry: &mut Registry) {
        for _ in 0..1_000 {
            self.tell(registry);
            self.apply(registry, Event::Answer(0));
            self.apply(registry, Event::Answer(1));
            self.apply(registry, Event::Tick);
        }
    }

    fn check(&self, registry: &mut Registry) {
        let wanted: BTreeSet<Topic> = self.listens.iter().map(|(_, topic)| topic.clone()).collect();
        let told: BTreeSet<Topic> = self.nodes.iter().flatten().cloned().collect();
        assert_eq!(told, wanted, "the nodes send exactly what somebody listens to");
        assert_eq!(registry.live_topics() as usize, wanted.len());
        for (kind, name) in &wanted {
            let node = LinkKey(usize::from(name[1]) % 2);
            let topic = registry.live(node, *kind, name).expect("live at its node");
            let clients: BTreeSet<u32> = registry.subscribers(topic).map(|one| one.client).collect();
            let meant = self.listens.iter().filter(|(_, topic)| *topic == (*kind, name.clone()));
            assert_eq!(clients, meant.map(|(client, _)| *client).collect());
        }
        for (client, own) in &self.own {
            let meant = self.listens.iter().filter(|(other, _)| other == client);
            let counts = own.counts();
            assert_eq!((counts.channels + counts.patterns + counts.shards) as usize, meant.count());
        }
        assert_eq!(self.confirmed, self.requests, "each request was confirmed once");
        assert_eq!(registry.unanswered(), 0);
    }
}

proptest! {
    #[test]
    fn registry_nodes_and_clients_agree_whatever_happens(
        events in proptest::collection::vec((event(), any::<bool>()), 1..80),
    ) {
        let (mut registry, mut model) = (Registry::default(), Model::default());
        for (event, tells) in events {
            model.apply(&mut registry, event);
            if tells {
                model.tell(&mut registry);
            }
        }
        model.settle(&mut registry);
        model.check(&mut registry);
        for client in 0..5 {
            model.apply(&mut registry, Event::Leave(client));
        }
        model.settle(&mut registry);
        model.check(&mut registry);
        prop_assert!(registry.is_empty() && registry.clients() == 0);
    }
}
