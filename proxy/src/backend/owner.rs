//! What a backend connection needs of whoever owns it: the worker in production, a list in tests.

use std::ops::Range;

use super::in_flight::Pending;
use super::lane::Lane;
use super::link::Closing;
use super::pool::{LinkKey, Pool};
use crate::cluster::slot_map::Endpoint;
use crate::metrics::WorkerMetrics;

/// Owns a pool and the askers of its requests, both on one thread.
pub trait Owner: 'static {
    /// Who is given the replies.
    type Replies: Replies;

    /// The pool, the read buffer that all connections of the thread share, and who is given replies.
    fn parts(&mut self) -> (&mut Pool, &mut [u8], &mut Self::Replies);

    /// Called before the read buffer is read into: an owner that shares it with others fetches it.
    fn fetch_buffer(&mut self) {}

    /// Called when a batch of replies, or the end of a connection, was passed on: sends again what has to
    /// be, and starts the tasks of links that this opens.
    fn settle(&mut self);

    /// Milliseconds on the owner's clock, which deadlines are measured by.
    fn now(&self) -> u64;

    /// Where reads and writes are counted.
    fn metrics(&self) -> &WorkerMetrics;

    /// A node was reached, and did not let a tenant's user in.
    fn on_login_refused(&mut self);

    /// Whether those who ask wait for each other's turns: a connection is then to do less in one of its own.
    fn is_contended(&self) -> bool {
        false
    }

    /// What was sent while [`Self::is_contended`] was answered after so many microseconds.
    fn on_round_trip(&mut self, micros: u64) {
        let _ = micros;
    }

    /// A node was lost or found unreachable: the topology may have changed.
    fn on_node_lost(&mut self);
}

/// Is given what became of requests.
pub trait Replies {
    /// A reply, or a piece of a large one, has arrived from this node over this lane.
    fn on_reply(&mut self, pending: &Pending, request: &[u8], from: (&Endpoint, Lane), reply: Reply<'_>);

    /// A request will not be answered by the connection it was given to.
    fn on_unanswered(&mut self, pending: &Pending, request: &[u8], lane: Lane, unanswered: Unanswered);

    /// Something happened on a connection for subscriptions. Nothing by default: an owner that subscribes to
    /// nothing has none.
    fn on_subscription(&mut self, link: LinkKey, event: Subscription<'_>) {
        let _ = (link, event);
    }

    /// Bytes of a push above which [`Subscription::TooLarge`] stands for it.
    fn push_limit(&self) -> usize {
        0
    }

    /// The end of a batch: everything passed on since the last call lies in `buf` and may be written now.
    fn flush(&mut self, buf: &[u8]);
}

/// What happens on a connection for subscriptions.
#[derive(Debug)]
pub enum Subscription<'a> {
    /// A push, which lies in this range of the batch's buffer. Its first byte may be changed: it is the only
    /// one in which the protocols differ.
    Push(&'a mut [u8], Range<usize>),
    /// A push above [`Replies::push_limit`]: its beginning.
    TooLarge(&'a [u8]),
    /// A command was refused by this node, in these words.
    Refused(&'a Endpoint, &'a [u8]),
    /// A marker was answered: so was everything that was sent before it.
    Answered,
    /// The connection ended, or could not be opened.
    Lost,
}

/// A reply as it lies in the read buffer.
#[derive(Clone, Debug)]
pub struct Reply<'a> {
    /// The whole buffer of this batch: replies that follow each other may be written as one.
    pub buf: &'a [u8],
    /// Where this piece lies in it.
    pub range: Range<usize>,
    /// Whether this is the reply's first piece.
    pub first: bool,
    /// Whether further pieces follow.
    pub more: bool,
    /// The first error among the replies that came in front of it, see [`Pending::led_by`].
    pub lead_error: Option<&'a [u8]>,
}

impl<'a> Reply<'a> {
    /// The piece's bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        &self.buf[self.range.clone()]
    }

    /// Whether it is an error, whole.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.first && !self.more && self.reason().first() == Some(&b'-')
    }

    /// The error that says why nothing ran: of a discarded transaction that of its first refused command, whether
    /// EXEC or DISCARD discarded it.
    #[must_use]
    pub fn reason(&self) -> &'a [u8] {
        // Few have one: the rest are not looked at.
        let Some(error) = self.lead_error else { return self.bytes() };
        let discarded = self.bytes().starts_with(b"-EXECABORT") || self.bytes() == b"+OK\r\n";
        if discarded { error } else { self.bytes() }
    }

    /// The error by which MULTI itself was refused: EXEC's own says less.
    #[must_use]
    pub fn refused_before(&self) -> Option<&'a [u8]> {
        self.lead_error.filter(|_| self.bytes().starts_with(b"-ERR EXEC without MULTI"))
    }
}

/// Why a request was not answered, and what that proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unanswered {
    /// The server did not get it whole, so it did not run: it may be sent again.
    NeverSent,
    /// The connection was lost behind it: it may have run.
    Lost,
    /// We closed the connection: it, or a request before it, was not answered in time, or the node left. It
    /// may have run.
    Closed(Closing),
    /// It was not sent, and will not be over this lane: the node does not let its user in.
    Refused,
    /// Its reply broke off behind pieces that were passed on: whatever follows them would be taken for
    /// their rest.
    BrokenOff,
}
