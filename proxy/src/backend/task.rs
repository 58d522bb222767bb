//! ◆ Drives one link: connects, shakes hands, writes what was queued once a turn, passes replies on, and
//! begins again when the connection ends.

#![expect(clippy::disallowed_methods, reason = "I/O: owns the backend socket and its reconnect timer")]

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncWrite;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::connect::Connector;
use super::in_flight::Reached;
use super::incoming::{Incoming, IncomingError};
use super::link::{Closing, Link};
use super::owner::{Owner, Replies, Subscription, Unanswered};
use super::pool::LinkKey;
use crate::backoff::Backoff;
use crate::stream::Stream;

/// Keeps the link up until the pool retires it; then forgets it.
pub async fn run<O: Owner>(owner: Rc<RefCell<O>>, key: LinkKey, connector: Rc<Connector>) {
    let Some((endpoint, lane)) = with_link(&owner, key, |link| (link.endpoint.clone(), link.lane)) else {
        return;
    };
    let mut backoff = connector.backoff();
    loop {
        let opened = Instant::now();
        let ended = match connector.open(&endpoint, lane).await {
            Ok(stream) => {
                debug!(node.endpoint = %endpoint, ?lane, "backend connection up");
                serve(&owner, key, stream).await
            }
            Err(error) if error.is_tenants() => End::Refused,
            Err(error) => End::Unreachable(error.to_string()),
        };
        let stayed_up =
            !matches!(ended, End::Unreachable(_) | End::Refused) && opened.elapsed() > STABLE_AFTER;
        match &ended {
            End::Closed(Closing::Retired) => break,
            End::Closed(Closing::TimedOut) => warn!(node.endpoint = %endpoint, "backend timed out"),
            End::Lost(error) => info!(node.endpoint = %endpoint, %error, "backend connection lost"),
            End::Unreachable(error) => report_unreachable(&owner, key, &endpoint.to_string(), error),
            // Told by the connector, once for all links.
            End::Refused => {}
        }
        fail_requests(&owner, key, &ended, stayed_up);
        if stayed_up {
            backoff.on_success();
            // A connection that served for a while was cut, not refused: the next attempt needs no pause.
            continue;
        }
        if !pause(&owner, key, &mut backoff).await {
            break;
        }
    }
    retire(&owner, key);
}

// A connection that lived shorter counts as a failed attempt: a server that accepts and closes must not be
// asked in a tight loop.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// How a connection ended.
enum End {
    /// We closed it.
    Closed(Closing),
    /// It broke.
    Lost(LinkError),
    /// It never came up.
    Unreachable(String),
    /// The node did not let the lane's user in.
    Refused,
}

/// What breaks a connection.
#[derive(Debug, Error)]
enum LinkError {
    #[error("closed by the server")]
    Eof,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Incoming(#[from] IncomingError),
}

fn with_link<O: Owner, T>(owner: &RefCell<O>, key: LinkKey, with: impl FnOnce(&mut Link) -> T) -> Option<T> {
    owner.borrow_mut().parts().0.link_mut(key).map(with)
}

/// Says it once an outage, not once an attempt.
fn report_unreachable<O: Owner>(owner: &RefCell<O>, key: LinkKey, endpoint: &str, error: &str) {
    let was_down = with_link(owner, key, |link| link.is_down()).unwrap_or(true);
    if was_down {
        debug!(node.endpoint = endpoint, error, "backend still unreachable");
    } else {
        warn!(node.endpoint = endpoint, error, "backend unreachable");
    }
}

/// Hands every request of an ended connection back.
fn fail_requests<O: Owner>(owner: &RefCell<O>, key: LinkKey, ended: &End, stayed_up: bool) {
    let mut owner = owner.borrow_mut();
    let now = owner.now();
    let (pool, _, replies) = owner.parts();
    let Some(link) = pool.link_mut(key) else { return };
    match ended {
        End::Lost(_) if stayed_up => link.on_connecting(),
        End::Refused => link.on_refused(),
        // A pause follows: requests must not wait it out in the queue, past their deadlines.
        _ => link.on_down(now),
    }
    hand_back(key, link, ended, replies);
    match ended {
        // The node is well.
        End::Refused => owner.on_login_refused(),
        _ => owner.on_node_lost(),
    }
    owner.settle();
}

/// Takes the link out of the pool; only then hands its requests back, lest they be given to it again.
fn retire<O: Owner>(owner: &RefCell<O>, key: LinkKey) {
    let mut owner = owner.borrow_mut();
    let (pool, _, replies) = owner.parts();
    let Some(mut link) = pool.remove(key) else { return };
    hand_back(key, &mut link, &End::Closed(Closing::Retired), replies);
    owner.settle();
}

fn hand_back<R: Replies>(key: LinkKey, link: &mut Link, ended: &End, replies: &mut R) {
    let lane = link.lane;
    if lane.subscribes() {
        replies.on_subscription(key, Subscription::Lost);
    }
    link.in_flight.drain(|pending, request, reached| {
        let unanswered = match (reached, ended) {
            (Reached::Queue, End::Refused) => Unanswered::Refused,
            (Reached::Queue, _) => Unanswered::NeverSent,
            (Reached::Reply, _) => Unanswered::BrokenOff,
            (Reached::Server, End::Closed(why)) => Unanswered::Closed(*why),
            (Reached::Server, End::Lost(_) | End::Unreachable(_) | End::Refused) => Unanswered::Lost,
        };
        if pending.origin.is_some() {
            replies.on_unanswered(pending, request, lane, unanswered);
        }
    });
    replies.flush(&[]);
}

/// Waits out the backoff; false where the link was retired meanwhile.
async fn pause<O: Owner>(owner: &RefCell<O>, key: LinkKey, backoff: &mut Backoff) -> bool {
    let mut timer = std::pin::pin!(sleep(backoff.on_failure(fastrand::f64())));
    poll_fn(|cx| {
        let closing = with_link(owner, key, |link| link.on_poll(cx.waker()));
        match closing {
            None | Some(Some(Closing::Retired)) => Poll::Ready(false),
            Some(_) => timer.as_mut().poll(cx).map(|()| true),
        }
    })
    .await
}

async fn serve<O: Owner>(owner: &RefCell<O>, key: LinkKey, stream: Stream) -> End {
    if with_link(owner, key, Link::on_up).is_none() {
        return End::Closed(Closing::Retired);
    }
    let mut connection =
        Connection { stream, incoming: Incoming::default(), gathered: Gathered::default(), probe: None };
    poll_fn(|cx| {
        let mut owner = owner.borrow_mut();
        connection.poll(&mut *owner, key, cx)
    })
    .await
}

/// An open connection and what it read so far of the next reply.
struct Connection {
    stream: Stream,
    incoming: Incoming,
    gathered: Gathered,
    /// Measures a round trip, while askers wait for each other.
    probe: Option<Probe>,
}

/// A round trip that is being measured.
#[derive(Clone, Copy)]
struct Probe {
    /// Replies that come until it is over.
    left: usize,
    since: Instant,
}

/// How far a write was put off.
#[derive(Clone, Copy, Default)]
struct Gathered {
    /// What was queued at the last look.
    bytes: usize,
    /// How many looks there were.
    looks: u8,
}

// How often, and up to how many bytes, a write is put off for more.
const GATHER_LOOKS: u8 = 2;
const GATHER_BYTES: usize = 16 * 1024;
// Bounds what one connection may do before others have their turn.
const READS_PER_TURN: usize = 8;
// Bytes of a read while askers wait for each other; a full one is the only one of its turn.
const CONTENDED_READ: usize = 32 * 1024;

impl Connection {
    /// One turn: replies in, then everything that was queued out, in one write.
    fn poll<O: Owner>(&mut self, owner: &mut O, key: LinkKey, cx: &mut Context<'_>) -> Poll<End> {
        let Some(link) = owner.parts().0.link_mut(key) else {
            return Poll::Ready(End::Closed(Closing::Retired));
        };
        if let Some(why) = link.on_poll(cx.waker()) {
            return Poll::Ready(End::Closed(why));
        }
        if let Poll::Ready(Err(error)) = self.poll_replies(owner, key, cx) {
            return Poll::Ready(End::Lost(error));
        }
        if let Poll::Ready(Err(error)) = self.poll_requests(owner, key, cx) {
            return Poll::Ready(End::Lost(error.into()));
        }
        Poll::Pending
    }

    /// Reads until the socket is empty and passes on what is there. Ready only with an error.
    fn poll_replies<O: Owner>(
        &mut self,
        owner: &mut O,
        key: LinkKey,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), LinkError>> {
        for _ in 0..READS_PER_TURN {
            owner.fetch_buffer();
            let contended = owner.is_contended();
            let (pool, scratch, replies) = owner.parts();
            let kept = self.incoming.kept().len();
            scratch[..kept].copy_from_slice(self.incoming.kept());
            let end = if contended { scratch.len().min(kept + CONTENDED_READ) } else { scratch.len() };
            let filled = kept + ready!(self.stream.poll_fresh(&mut scratch[kept..end], cx))?;
            if filled == kept {
                return Poll::Ready(Err(LinkError::Eof));
            }
            let Some(link) = pool.link_mut(key) else { return Poll::Pending };
            let waiting = link.in_flight.len();
            let passed = self.incoming.pass_on(&mut scratch[..filled], key, link, replies);
            // Also behind an error: what came before it is good.
            replies.flush(&scratch[..filled]);
            let answered = waiting - link.in_flight.len();
            let metrics = owner.metrics();
            metrics.backend_reads.add(1);
            metrics.backend_bytes_in.add((filled - kept) as u64);
            metrics.backend_replies.add(answered as u64);
            owner.settle();
            passed?;
            if contended {
                self.on_answered(answered, owner);
                if filled == end {
                    give_way(cx);
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// So many replies came while askers wait for each other.
    #[cold]
    #[inline(never)]
    fn on_answered<O: Owner>(&mut self, count: usize, owner: &mut O) {
        let Some(probe) = &mut self.probe else { return };
        probe.left = probe.left.saturating_sub(count);
        if probe.left == 0 {
            owner.on_round_trip(probe.since.elapsed().as_micros() as u64);
            self.probe = None;
        }
    }

    /// Puts the write off while looking at the sockets once more brings further requests: they go out with
    /// it. Each look is one system call, and saves a write where it finds anything; there is no waiting.
    fn waits_for_more<O: Owner>(&mut self, owner: &mut O, key: LinkKey, cx: &mut Context<'_>) -> bool {
        let Some(link) = owner.parts().0.link_mut(key) else { return false };
        let unsent = link.in_flight.unsent().len();
        let grew = unsent > self.gathered.bytes;
        if unsent == 0 || !grew || unsent > GATHER_BYTES || self.gathered.looks == GATHER_LOOKS {
            self.gathered = Gathered::default();
            return false;
        }
        self.gathered = Gathered { bytes: unsent, looks: self.gathered.looks + 1 };
        // The runtime wakes a task that yields behind its next look at the sockets.
        std::pin::pin!(yield_now()).poll(cx).is_pending()
    }

    /// Writes what is queued. Ready only with an error.
    fn poll_requests<O: Owner>(
        &mut self,
        owner: &mut O,
        key: LinkKey,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let contended = owner.is_contended();
        if !contended && self.waits_for_more(owner, key, cx) {
            return Poll::Pending;
        }
        loop {
            let Some(link) = owner.parts().0.link_mut(key) else { return Poll::Pending };
            if link.in_flight.unsent().is_empty() {
                return Poll::Pending;
            }
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, link.in_flight.unsent()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            link.in_flight.advance_sent(count);
            if contended {
                let left = link.in_flight.len();
                self.probe.get_or_insert_with(|| Probe { left, since: Instant::now() });
            }
            let metrics = owner.metrics();
            metrics.backend_writes.add(1);
            metrics.backend_bytes_out.add(count as u64);
        }
    }
}

/// Others first, also those of whom only a look at the sockets tells: the task goes on behind it.
#[cold]
#[inline(never)]
fn give_way(cx: &mut Context<'_>) {
    let _ = std::pin::pin!(yield_now()).poll(cx);
}
