//! What a client's record does for one that listens: where messages go in its output, how much of it may wait.

use std::ops::Range;

use super::connection::{Client, Watermarks};
use super::spares::Spares;
use crate::moment::Moment;
use crate::pubsub::subscribers::Subscriber;
use crate::pubsub::subscriptions::{Counts, Subscriptions};

impl Client {
    /// Takes a published message, which lies in the batch's buffer: it goes out between replies.
    pub(super) fn push(&mut self, batch: &[u8], range: Range<usize>, spares: &mut Spares) {
        if self.within_reply
            && let Some(subscriptions) = &mut self.subscriptions
        {
            subscriptions.held.extend_from_slice(&batch[range]);
        } else {
            self.output.push_range(batch, range, spares);
        }
    }

    /// Takes something to be shown, which lies in no batch: as [`Self::push`].
    pub(super) fn push_own(&mut self, bytes: &[u8], spares: &mut Spares) {
        self.push_copy(&[], bytes, spares);
    }

    /// The same while what waits to be written may lie in `batch`.
    pub(super) fn push_copy(&mut self, batch: &[u8], bytes: &[u8], spares: &mut Spares) {
        if self.within_reply
            && let Some(subscriptions) = &mut self.subscriptions
        {
            subscriptions.held.extend_from_slice(bytes);
        } else {
            self.output.push(batch, bytes, spares);
        }
    }

    /// Messages that wait for the end of a reply, where what comes now may be its end.
    #[inline]
    pub(super) fn take_held(&mut self, more: bool) -> Option<Vec<u8>> {
        if more || !self.within_reply { None } else { self.take_all_held() }
    }

    #[inline(never)]
    fn take_all_held(&mut self) -> Option<Vec<u8>> {
        let private = self.private.as_mut().and_then(|private| private.pinned.tracking_mut());
        let mut held = private.map(|tracking| std::mem::take(&mut tracking.held)).unwrap_or_default();
        if let Some(subscriptions) = &mut self.subscriptions {
            held.append(&mut subscriptions.held);
        }
        Some(held).filter(|held| !held.is_empty())
    }

    /// Notes whether the output ends within a reply; messages that did not go out wait on.
    #[inline]
    pub(super) fn note_within(&mut self, within: Option<bool>, held: Option<Vec<u8>>) {
        self.within_reply = within.unwrap_or(self.within_reply);
        if held.is_some() || self.subscriptions.is_some() {
            self.hold_on(held);
        }
    }

    #[inline(never)]
    fn hold_on(&mut self, held: Option<Vec<u8>>) {
        let tracking = self.private.as_mut().and_then(|private| private.pinned.tracking_mut());
        if let (Some(held), Some(subscriptions)) = (&held, &mut self.subscriptions) {
            subscriptions.held.clone_from(held);
        } else if let (Some(held), Some(tracking)) = (held, tracking) {
            tracking.held = held;
        } else if self.subscriptions.is_some() {
            self.drop_unused_subscriptions();
        }
    }

    /// Whether it listens to anything.
    #[must_use]
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|subscriptions| !subscriptions.is_empty())
    }

    /// Whether a message of a topic goes to it, in which it is this subscriber: not before it was told that it listens,
    /// and not when it is about to be closed.
    pub(super) fn hears(&self, subscriber: &Subscriber) -> bool {
        self.reads_requests() && !subscriber.since.is_some_and(|ticket| self.replies.is_open(ticket))
    }

    /// How many subscriptions of each kind it has.
    #[must_use]
    pub fn subscription_counts(&self) -> Counts {
        self.subscriptions.as_ref().map(|subscriptions| subscriptions.counts()).unwrap_or_default()
    }

    /// Gives memory back that only a subscriber needs.
    pub(super) fn drop_unused_subscriptions(&mut self) {
        let is_unused = |own: &Subscriptions| own.is_empty() && own.held.is_empty() && !own.monitors;
        if self.subscriptions.as_deref().is_some_and(is_unused) {
            self.subscriptions = None;
        }
    }

    /// Bytes that wait to be written, in their turn or not.
    pub(super) fn unwritten(&self) -> usize {
        let held = self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.held.len());
        let tracked = self.tracking().map_or(0, |tracking| tracking.held.len());
        self.output.len() + self.replies.held_bytes() + held + tracked
    }

    /// Whether a subscriber has had more than the soft limit waiting for too long. Asked now and then.
    pub(super) fn is_above_soft_limit(&mut self, now: u64, marks: &Watermarks) -> bool {
        let above = self.unwritten() > marks.pubsub_soft;
        let Some(subscriptions) = &mut self.subscriptions else { return false };
        if !above {
            subscriptions.above_soft_since = None;
            return false;
        }
        let since = *subscriptions.above_soft_since.get_or_insert_with(|| Moment::of(now));
        since.until(now) >= marks.pubsub_soft_time
    }
}
