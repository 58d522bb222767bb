//! ◆ Questions that all workers have to answer for one reply: CLIENT LIST, KILL and UNBLOCK, PUBSUB.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Worker;
use super::message::{Message, WorkerHandle};
use crate::backend::owner::Replies;
use crate::client::local::pubsub::Counted;
use crate::client::local::{Ask, Question};
use crate::refusal::Refusal;
use crate::resp::reply_writer::ReplyWriter;

/// Asks every worker and answers the client that wanted to know.
pub(super) async fn ask_all(worker: Rc<RefCell<Worker>>, peers: Arc<[WorkerHandle]>, question: Question) {
    let mut list = String::new();
    let mut count = 0;
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
            Ask::Unblock { id, with_error } => {
                let (sender, receiver) = oneshot::channel();
                if peer.tell(Message::Unblock(*id, *with_error, sender)) {
                    count += receiver.await.unwrap_or_default();
                }
            }
            Ask::Topics(which) => {
                let (sender, receiver) = oneshot::channel();
                if peer.tell(Message::Topics(which.clone(), sender)) {
                    for (name, count) in receiver.await.unwrap_or_default() {
                        *topics.entry(name).or_default() += count;
                    }
                }
            }
        }
    }
    let mut worker = worker.borrow_mut();
    let origin = question.origin;
    let mut reply = Vec::new();
    let mut writer = ReplyWriter::new(&mut reply, question.protocol);
    match question.ask {
        Ask::Topics(which) => which.write(&topics, &mut writer),
        Ask::List(_) => writer.verbatim(&list),
        Ask::Kill { one: false, .. } | Ask::Unblock { .. } => writer.integer(count as i64),
        Ask::Kill { one: true, .. } if count > 0 => writer.simple("OK"),
        Ask::Kill { one: true, .. } => Refusal::NoSuchClient.write(&mut reply),
    }
    worker.clients.answer(origin, &reply);
    worker.clients.flush(&[]);
}
