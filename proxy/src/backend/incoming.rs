//! What a shared connection reads: replies to whoever asked, pushes to subscribers. Pure.

use thiserror::Error;

use super::framing::{Cut, Framing};
use super::link::Link;
use super::owner::{Replies, Reply, Subscription};
use super::pool::LinkKey;
use crate::resp::reply::ReplyError;

/// What makes a connection useless.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum IncomingError {
    /// Bytes that are no reply.
    #[error("{0}")]
    Protocol(#[from] ReplyError),
    /// A reply to nothing.
    #[error("a reply that nobody asked for")]
    Unasked,
}

/// What one connection has read and not passed on.
#[derive(Default, Debug)]
pub struct Incoming {
    framing: Framing,
    /// What is being read is a push: for the subscribers on a connection for subscriptions, put together first;
    /// dropped on any other, where nobody asked for one.
    in_push: bool,
    /// The pieces of a large push that is to be passed on, as far as it may be large.
    push: Vec<u8>,
}

impl Incoming {
    /// What the next read has to stand behind.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        self.framing.kept()
    }

    /// Passes on every reply in `buf`, and the scanned part of a large one; keeps the rest.
    ///
    /// # Errors
    /// Where the connection is useless from here on; what came before was passed on.
    pub fn pass_on<R: Replies>(
        &mut self,
        buf: &mut [u8],
        key: LinkKey,
        link: &mut Link,
        replies: &mut R,
    ) -> Result<(), IncomingError> {
        let mut start = 0;
        while let Some(cut) = self.framing.next(buf, start)? {
            start = cut.range.end;
            if cut.first {
                self.in_push = buf[cut.range.start] == b'>';
            }
            if link.lane.subscribes() {
                self.on_subscription_piece(buf, cut, (key, &mut *link), replies)?;
            } else if !self.in_push {
                on_piece(buf, cut, link, replies)?;
            }
        }
        self.framing.keep(&buf[start..]);
        Ok(())
    }

    /// As [`on_piece`] on a connection for subscriptions: pushes are passed on, and an ordinary reply is either
    /// the refusal of a command, whose confirmation would have been a push, or answers a marker.
    fn on_subscription_piece<R: Replies>(
        &mut self,
        buf: &mut [u8],
        Cut { range, first, more }: Cut,
        (key, link): (LinkKey, &mut Link),
        replies: &mut R,
    ) -> Result<(), IncomingError> {
        if !self.in_push {
            // What it decides is answered behind the messages in front of it.
            replies.flush(buf);
            return on_marker(&buf[range], first, more, (key, link), replies);
        }
        // Markers wait behind messages, however many those are.
        link.in_flight.note_sign_of_life();
        if first && !more {
            replies.on_subscription(key, Subscription::Push(buf, range));
            return Ok(());
        }
        // Its beginning is enough to tell whose it was.
        let room = (replies.push_limit() + 1).saturating_sub(self.push.len());
        let piece = &buf[range];
        self.push.extend_from_slice(&piece[..piece.len().min(room)]);
        if !more {
            replies.flush(buf);
            pass_on_push(std::mem::take(&mut self.push), key, replies);
        }
        Ok(())
    }
}

/// A piece of a reply, for whoever asked first.
fn on_piece<R: Replies>(
    buf: &[u8],
    Cut { range, first, more }: Cut,
    link: &mut Link,
    replies: &mut R,
) -> Result<(), IncomingError> {
    if first && !more && link.in_flight.swallow(&buf[range.clone()]) {
        return Ok(());
    }
    let (pending, request) = link.in_flight.front().ok_or(IncomingError::Unasked)?;
    let lead_error = link.in_flight.lead_error();
    if pending.origin.is_some() {
        if pending.probes && first && buf[range.start] != b'-' {
            link.told.proven = true;
        }
        let reply = Reply { buf, range, first, more, lead_error };
        replies.on_reply(pending, request, (&link.endpoint, link.lane), reply);
    }
    if more {
        link.in_flight.begin_reply();
    } else {
        link.in_flight.pop();
    }
    Ok(())
}

/// Passes on a push that came in pieces: a batch of its own.
fn pass_on_push<R: Replies>(mut push: Vec<u8>, key: LinkKey, replies: &mut R) {
    let len = push.len();
    if len > replies.push_limit() {
        replies.on_subscription(key, Subscription::TooLarge(&push));
    } else {
        replies.on_subscription(key, Subscription::Push(&mut push, 0..len));
    }
    replies.flush(&push);
}

/// An ordinary reply on a connection for subscriptions.
fn on_marker<R: Replies>(
    piece: &[u8],
    first: bool,
    more: bool,
    (key, link): (LinkKey, &mut Link),
    replies: &mut R,
) -> Result<(), IncomingError> {
    if link.in_flight.is_empty() {
        return Err(IncomingError::Unasked);
    }
    if first && matches!(piece.first(), Some(b'-' | b'!')) {
        replies.on_subscription(key, Subscription::Refused(&link.endpoint, piece));
    } else if !more {
        link.in_flight.front().ok_or(IncomingError::Unasked)?;
        link.in_flight.pop();
        replies.on_subscription(key, Subscription::Answered);
    }
    Ok(())
}
