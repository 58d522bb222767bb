//! What a connection for subscriptions still has to say: one confirmation or error for each command, and one
//! reply for each marker behind a batch of commands.

use std::collections::{HashMap, VecDeque};

use crate::backend::pool::LinkKey;

/// Something that a node was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// To subscribe to this topic, or to leave it.
    Topic(u32),
    /// A command whose outcome nobody needs.
    Forgotten,
    /// A command with an ordinary reply, which tells that all before it were answered.
    Marker,
}

/// What each link was asked and has not answered, oldest first.
#[derive(Default, Debug)]
pub(super) struct Expected(HashMap<LinkKey, VecDeque<Asked>>);

impl Expected {
    pub(super) fn push(&mut self, link: LinkKey, asked: Asked) {
        self.0.entry(link).or_default().push_back(asked);
    }

    /// A confirmation came that is this topic's: those of later commands are yet to come.
    pub(super) fn answered(&mut self, link: LinkKey, asked: Asked) {
        let Some(queue) = self.0.get_mut(&link) else { return };
        let batch = queue.iter().take_while(|other| **other != Asked::Marker);
        if let Some(index) = batch.into_iter().position(|other| *other == asked) {
            queue.remove(index);
        }
    }

    /// An error came: it answers the oldest command of the batch. `None` where all were answered.
    pub(super) fn refused(&mut self, link: LinkKey) -> Option<Asked> {
        let queue = self.0.get_mut(&link)?;
        (*queue.front()? != Asked::Marker).then(|| queue.pop_front())?
    }

    /// A marker was answered: gives what of its batch was not.
    pub(super) fn passed(&mut self, link: LinkKey) -> Vec<Asked> {
        let Some(queue) = self.0.get_mut(&link) else { return Vec::new() };
        let end = queue.iter().position(|asked| *asked == Asked::Marker).unwrap_or(0);
        let left = queue.drain(..end).collect();
        queue.pop_front();
        if queue.is_empty() {
            self.0.remove(&link);
        }
        left
    }

    /// The connection ended: it will not say any of it.
    pub(super) fn forget(&mut self, link: LinkKey) {
        self.0.remove(&link);
    }

    /// How many answers are still to come, markers' included.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }
}
