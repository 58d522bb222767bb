//! Messages on their way from a connection for subscriptions to the clients that listen.

use std::ops::Range;
use std::sync::Arc;

use tracing::info;

use super::clients::Clients;
use super::connection::Client;
use super::monitor::Said;
use super::state::State;
use crate::backend::owner::{Replies as _, Subscription};
use crate::backend::pool::LinkKey;
use crate::cluster::slot_map::Endpoint;
use crate::metrics::WorkerMetrics;
use crate::pubsub::push::Push;
use crate::pubsub::topic::Verdict;
use crate::pubsub::waiting::Outcome;
use crate::refusal::Refusal;
use crate::resp::protocol::Protocol;
use crate::route::redirect::Redirect;
use crate::tenant::messages;
use crate::tenant::namespace::Namespace;

impl Clients {
    /// Takes what happens on a connection for subscriptions. Confirmations that are due by it are answered at
    /// once, in front of the messages behind it.
    pub(super) fn take_subscription(&mut self, link: LinkKey, event: Subscription<'_>) {
        match event {
            Subscription::Push(buf, range) => {
                self.take_push(link, buf, range);
                if self.pubsub.has_outcomes() {
                    // They lie in no batch: the messages before them, which do, go out first.
                    self.flush(buf);
                }
            }
            Subscription::TooLarge(head) => self.drop_too_large(link, head),
            Subscription::Refused(node, error) => {
                let verdict = self.verdict(node, error);
                self.pubsub.on_error(link, error, verdict, self.now);
            }
            Subscription::Answered => self.pubsub.on_marker(link, self.now),
            Subscription::Lost => self.pubsub.on_lost(link),
        }
        self.settle_subscriptions();
    }

    /// Answers the requests that are decided.
    pub fn settle_subscriptions(&mut self) {
        while self.pubsub.has_outcomes() {
            for outcome in self.pubsub.take_outcomes() {
                match outcome {
                    Outcome::Confirmed { origin, reply } => self.answer(origin, &reply),
                    Outcome::Failed { origin, topics, error } => {
                        if let Some(client) = self.records.get_mut(origin.client as usize)
                            && client.generation == origin.generation
                            && let Some(own) = &mut client.subscriptions
                        {
                            self.pubsub.take_back(own, origin.client, origin.ticket, &topics);
                            client.drop_unused_subscriptions();
                        }
                        match error {
                            Some(error) => self.answer(origin, &error),
                            None => self.refuse(origin, &Refusal::DeadlineNotRun),
                        }
                    }
                }
            }
        }
    }

    fn take_push(&mut self, link: LinkKey, buf: &mut [u8], range: Range<usize>) {
        match Push::parse(&buf[range.clone()]) {
            Some(Push::Message(kind, name)) => {
                if let Some(topic) = self.pubsub.live(link, kind, name) {
                    self.spread(topic, buf, range);
                }
            }
            Some(Push::Subscribed(kind, name)) => self.pubsub.on_subscribed(link, kind, name),
            Some(Push::Unsubscribed(kind, name)) => {
                self.topology_doubt |= self.pubsub.on_unsubscribed(link, kind, name);
            }
            None => {}
        }
    }

    /// Gives a message to all who listen. It is written from where it lies: its bytes are the same for all but
    /// for the first, in which the protocols differ. Where clients of both protocols listen, those of RESP2 are
    /// written to at once, while the byte is theirs.
    fn spread(&mut self, topic: u32, buf: &mut [u8], range: Range<usize>) {
        if self.pubsub.is_namespaced(topic) {
            return self.spread_told(topic, buf, range);
        }
        let (mut resp2, mut resp3) = (false, false);
        for subscriber in self.pubsub.subscribers(topic) {
            match self.records.get(subscriber.client as usize).map(|client| client.session.protocol) {
                Some(Protocol::Resp2) => resp2 = true,
                Some(Protocol::Resp3) => resp3 = true,
                None => {}
            }
            if resp2 && resp3 {
                break;
            }
        }
        if resp2 {
            buf[range.start] = b'*';
            self.spread_to(Protocol::Resp2, topic, buf, &range, resp3);
        }
        if resp3 {
            buf[range.start] = b'>';
            self.spread_to(Protocol::Resp3, topic, buf, &range, false);
        }
    }

    fn spread_to(&mut self, protocol: Protocol, topic: u32, buf: &[u8], range: &Range<usize>, at_once: bool) {
        let Self { records, pubsub, touched, stuck, spares, marks, metrics, .. } = self;
        let mut given = 0;
        for subscriber in pubsub.subscribers(topic) {
            let Some(client) = records.get_mut(subscriber.client as usize) else { continue };
            if client.session.protocol != protocol || !client.hears(subscriber) {
                continue;
            }
            subscriber.since = None;
            given += 1;
            client.push(buf, range.clone(), spares);
            if at_once {
                let was_stuck = client.stuck;
                client.flush(buf, marks, spares, metrics);
                if client.stuck && !was_stuck {
                    stuck.push(subscriber.client);
                }
            } else {
                client.touch(subscriber.client, touched);
            }
        }
        metrics.pubsub_messages.add(given);
    }

    /// The same where some who listen are in namespaces: each is told the names that it knows, and of keys its own
    /// only. What those of one namespace are told is written once.
    fn spread_told(&mut self, topic: u32, buf: &[u8], range: Range<usize>) {
        let Self { records, pubsub, touched, spares, metrics, .. } = self;
        let mut told: Vec<(Option<Namespace>, Option<Vec<u8>>)> = Vec::new();
        let mut given = 0;
        for subscriber in pubsub.subscribers(topic) {
            let Some(client) = records.get_mut(subscriber.client as usize) else { continue };
            if !client.hears(subscriber) {
                continue;
            }
            subscriber.since = None;
            let own = client.session.namespace().copied();
            let place = told.iter().position(|(namespace, _)| *namespace == own).unwrap_or_else(|| {
                let message = &buf[range.clone()];
                told.push((own, messages::told(own.as_ref(), message)));
                told.len() - 1
            });
            let Some(message) = &mut told[place].1 else { continue };
            message[0] = if client.session.protocol == Protocol::Resp2 { b'*' } else { b'>' };
            client.push_copy(buf, message, spares);
            given += 1;
            if !client.touched {
                client.touched = true;
                touched.push(subscriber.client);
            }
        }
        metrics.pubsub_messages.add(given);
    }

    /// A message above the hard limit of a subscriber's output would close each of its subscribers: it does,
    /// though nobody kept it.
    fn drop_too_large(&mut self, link: LinkKey, head: &[u8]) {
        let Some(Push::Message(kind, name)) = Push::parse(head) else { return };
        let Some(topic) = self.pubsub.live(link, kind, name) else { return };
        for subscriber in self.pubsub.subscribers(topic) {
            if let Some(client) = self.records.get_mut(subscriber.client as usize) {
                close_subscriber(client, "a message above the hard limit", &self.metrics);
            }
        }
    }

    /// Whose monitors this worker has.
    #[must_use]
    pub fn monitoring_tenants(&self) -> Vec<Arc<str>> {
        self.feed.monitors.iter().filter_map(|key| self.tenant_name(*key)).cloned().collect()
    }

    /// Shows each of this worker's monitors what its tenant's clients said; [`crate::backend::owner::Replies::flush`] then writes them.
    pub fn show(&mut self, said: &Said) {
        let Self { records, feed, touched, spares, .. } = self;
        for key in &feed.monitors {
            let Some(client) = records.get_mut(*key as usize) else { continue };
            if client.reads_requests() {
                let tenant = client.session.login().tenant_name().cloned();
                for lines in tenant.iter().flat_map(|tenant| said.of(tenant)) {
                    client.push_own(lines, spares);
                }
                if !client.touched {
                    client.touched = true;
                    touched.push(*key);
                }
            }
        }
    }

    /// Closes this worker's monitors: they cannot be shown everything.
    pub fn close_monitors(&mut self) {
        for key in &self.feed.monitors {
            if let Some(client) = self.records.get_mut(*key as usize) {
                close_subscriber(client, "it cannot be shown all that is said", &self.metrics);
            }
        }
    }

    /// What a refusal means for the topic.
    fn verdict(&mut self, node: &Endpoint, error: &[u8]) -> Verdict {
        let redirect = Redirect::parse(error, node);
        let elsewhere =
            matches!(redirect, Some(Redirect::Moved(_) | Redirect::Ask(_) | Redirect::ClusterDown));
        self.topology_doubt |= elsewhere;
        match redirect {
            _ if elsewhere => Verdict::Elsewhere,
            Some(_) => Verdict::Later,
            None if error.starts_with(b"-BUSY ") => Verdict::Later,
            None => Verdict::Never,
        }
    }
}

/// Closes a subscriber, or a monitor, that does not take its messages.
pub(super) fn close_subscriber(client: &mut Client, why: &str, metrics: &WorkerMetrics) {
    if client.state == State::Broken {
        return;
    }
    metrics.pubsub_clients_killed.add(1);
    info!(client.addr = %client.session.peer, why, "closing a subscriber");
    client.kill();
}
