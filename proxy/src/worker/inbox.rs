//! ◆ What a worker is told by other threads, message for message, until its clients have left.

#![expect(clippy::disallowed_methods, reason = "I/O: the clock of a drain's end")]

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::Worker;
use super::message::{Inbox, Message};
use super::ticks::TICK;
use crate::backend::owner::Owner;
use crate::client::connection::Client;

/// Handles messages until all clients have left after a [`Message::Drain`], or their time is over.
pub(super) async fn serve(worker: Rc<RefCell<Worker>>, mut inbox: Inbox) {
    let mut drain_until: Option<Instant> = None;
    loop {
        let message = match drain_until {
            None => inbox.0.recv().await,
            Some(end) if is_drained(&worker, end) => return,
            // Also while draining, since clients may wait for what all workers have to say.
            Some(_) => match timeout(TICK, inbox.0.recv()).await {
                Ok(message) => message,
                Err(_) => continue,
            },
        };
        if message.as_ref().is_some_and(Message::is_about_clients) {
            // One who closes a connection, or says something over it, and then asks over another, finds that it
            // was heard, as with one server: the runtime goes on behind its next look at the sockets.
            yield_now().await;
        }
        let mut worker = worker.borrow_mut();
        match message {
            None => return,
            Some(Message::Client(..)) if drain_until.is_some() => {}
            Some(Message::Client(stream, permit, way)) => worker.accept(stream, permit, way),
            // An asker that has gone needs no answer.
            Some(Message::List(filter, reply)) => drop(reply.send(worker.list(&filter))),
            Some(Message::Count(filter, reply)) => drop(reply.send(worker.count(&filter))),
            Some(Message::Kill(filter, asker, reply)) => drop(reply.send(worker.kill(&filter, asker))),
            Some(Message::Unblock(filter, with_error, reply)) => {
                let _gone = reply.send(worker.unblock(&filter, with_error));
            }
            Some(Message::Topics(topics, tenant, reply)) => {
                drop(reply.send(worker.clients.count_topics(&topics, tenant.as_ref())));
            }
            Some(Message::Feed(said)) => {
                worker.on_feed(&said);
                worker.settle();
            }
            Some(Message::Pulse(reply)) => drop(reply.send(())),
            Some(Message::CloseMonitors) => worker.clients.close_monitors(),
            Some(Message::Groups(entries, reply)) => drop(reply.send(worker.clients.groups(&entries))),
            Some(Message::Move(key, generation, push)) => {
                worker.clients.tell_move(key, generation, &push);
            }
            Some(Message::Retire(entry, most, told_too)) => {
                let now = worker.now();
                worker.clients.retire(&entry, most, told_too, now);
            }
            Some(Message::MoveAll(push)) => worker.clients.tell_all(&push),
            Some(Message::Drain(grace)) => {
                drain_until = Some(Instant::now() + grace);
                worker.drains = true;
                worker.clients.iter_mut().for_each(Client::drain);
            }
        }
    }
}

/// A client of a sibling may still come here.
fn is_drained(worker: &RefCell<Worker>, end: Instant) -> bool {
    if Instant::now() < end {
        return worker.borrow().siblings.clone().are_idle();
    }
    let clients = &worker.borrow().clients;
    let (left, plans) = (clients.len(), clients.plans.len());
    if left > 0 || plans > 0 {
        tracing::warn!(clients = left, plans, "closing clients at the end of the grace period");
    }
    true
}
