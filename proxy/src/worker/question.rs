//! ◆ Questions that all workers have to answer for one reply: CLIENT LIST, KILL and UNBLOCK, PUBSUB, a tenant's INFO.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Worker;
use super::message::{Message, WorkerHandle};
use crate::backend::owner::{Owner, Replies};
use crate::client::connection::Client;
use crate::client::local::info::Counts;
use crate::client::local::list::{self, Filter};
use crate::client::local::pubsub::Counted;
use crate::client::local::{Ask, Question};
use crate::refusal::Refusal;
use crate::resp::reply_writer::ReplyWriter;

/// Asks every worker and answers the client that wanted to know.
pub(super) async fn ask_all(worker: Rc<RefCell<Worker>>, peers: Arc<[WorkerHandle]>, question: Question) {
    let mut list = String::new();
    let mut count = 0;
    let mut counts = Counts::default();
    let mut topics = Counted::new();
    for peer in peers.iter() {
        match &question.ask {
            Ask::List(filter) => {
                let (sender, receiver) = oneshot::channel();
                if peer.tell(Message::List(filter.clone(), sender)) {
                    list.push_str(&receiver.await.unwrap_or_default());
                }
            }
            Ask::Kill { filter, asker, .. } => {
                let (sender, receiver) = oneshot::channel();
                if peer.tell(Message::Kill(filter.clone(), *asker, sender)) {
                    count += receiver.await.unwrap_or_default();
                }
            }
            Ask::Unblock { filter, with_error } => {
                let (sender, receiver) = oneshot::channel();
                if peer.tell(Message::Unblock(filter.clone(), *with_error, sender)) {
                    count += receiver.await.unwrap_or_default();
                }
            }
            Ask::Topics(which, tenant) => {
                let (sender, receiver) = oneshot::channel();
                if peer.tell(Message::Topics(which.clone(), tenant.clone(), sender)) {
                    for (name, count) in receiver.await.unwrap_or_default() {
                        *topics.entry(name).or_default() += count;
                    }
                }
            }
            Ask::Info(own) => {
                let (sender, receiver) = oneshot::channel();
                if peer.tell(Message::Count(own.counted.clone(), sender)) {
                    counts.add(receiver.await.unwrap_or_default());
                }
            }
        }
    }
    let mut worker = worker.borrow_mut();
    let origin = question.origin;
    let mut reply = Vec::new();
    let mut writer = ReplyWriter::new(&mut reply, question.protocol);
    match question.ask {
        Ask::Topics(which, _) => which.write(&topics, &mut writer),
        Ask::List(_) => writer.verbatim(&list),
        Ask::Info(own) => writer.verbatim(&own.with(counts)),
        Ask::Kill { one: false, .. } | Ask::Unblock { .. } => writer.integer(count as i64),
        Ask::Kill { one: true, .. } if count > 0 => writer.simple("OK"),
        Ask::Kill { one: true, .. } => Refusal::NoSuchClient.write(&mut reply),
    }
    worker.clients.answer(origin, &reply);
    worker.clients.flush(&[]);
}

impl Worker {
    /// The clients that match, a line each.
    pub(super) fn list(&self, filter: &Filter) -> String {
        let now = self.now();
        let line = |client: &Client| {
            let status = client.status();
            let matches = filter.matches(&client.session, status.counts, now);
            matches.then(|| list::line(&client.session, &status, &self.commands, now, client.output_bytes()))
        };
        self.clients.iter().filter_map(line).collect()
    }

    /// How many clients match.
    pub(super) fn count(&self, filter: &Filter) -> Counts {
        let now = self.now();
        let matches = |client: &&Client| filter.matches(&client.session, client.subscription_counts(), now);
        let mut counts = Counts::default();
        for client in self.clients.iter().filter(matches) {
            counts.add(Counts { connected: 1, blocked: u64::from(client.is_blocked()) });
        }
        counts
    }

    /// Closes the clients that match, `asker` behind its replies; how many.
    pub(super) fn kill(&mut self, filter: &Filter, asker: u64) -> usize {
        let now = self.now();
        let Self { clients, .. } = self;
        let matches =
            |client: &&mut Client| filter.matches(&client.session, client.subscription_counts(), now);
        let matching = clients.iter_mut().filter(matches);
        let close = |client: &mut Client| match client.session.id == asker {
            true => client.close_after_replies(),
            false => client.kill(),
        };
        matching.map(close).count()
    }

    /// Releases the clients that match; how many were blocked.
    pub(super) fn unblock(&mut self, filter: &Filter, with_error: bool) -> usize {
        let now = self.now();
        let matches =
            |client: &&mut Client| filter.matches(&client.session, client.subscription_counts(), now);
        let matching = self.clients.iter_mut().filter(matches);
        let unblocked = matching.filter_map(|client| client.unblock(with_error).then_some(())).count();
        self.metrics.unblocked_clients.add(unblocked as u64);
        unblocked
    }
}
