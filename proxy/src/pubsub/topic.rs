//! A topic: its subscribers, and what the backends know of it.

use super::subscribers::{Subscriber, Subscribers};
use crate::backend::pool::LinkKey;
use crate::command::spec::TopicKind;

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Box<[u8]>,
    pub(super) subscribers: Subscribers,
    pub(super) state: State,
    pub(super) kind: TopicKind,
    /// Attempts that were refused, in a row.
    pub(super) refused: u8,
    /// It was live and is not, without anybody's will.
    pub(super) lost: bool,
    /// Somebody in a namespace listens, or did: not all are told its name as it is.
    pub(super) namespaced: bool,
}

impl Topic {
    /// How many hear its messages, of those that `counts` says yes of.
    pub(super) fn count(&self, counts: impl Fn(&Subscriber) -> bool) -> usize {
        if !matches!(self.state, State::Live(_)) {
            return 0;
        }
        self.subscribers.iter().filter(|subscriber| counts(subscriber)).count()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// No backend knows.
    Wanted,
    /// This link's node was told to subscribe us.
    Asked(LinkKey),
    /// Messages come over this link.
    Live(LinkKey),
    /// This link's node was told that we leave.
    Leaving(LinkKey),
}

/// What a backend is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Subscribe to this topic, at a node of the caller's choice.
    Join(u32),
    /// Leave it at this one.
    Leave(u32, LinkKey),
}

/// What an error in the place of a confirmation means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Another node serves the slot: ask there, soon.
    Elsewhere,
    /// Not now.
    Later,
    /// Never: the requests that wait for it fail.
    Never,
}
