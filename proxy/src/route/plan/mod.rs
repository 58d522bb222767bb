//! A plan: a request that no single shard can answer, as steps. Each step is calls to shards, and what they
//! answer decides the next one. Pure; [`crate::client::plans`] has it carried out.
//!
//! A plan goes on when its client has left: nothing may be left half-way because nobody waits for it any more. Only what
//! a blocked client waited for is given up, as long as nothing of it has begun.

pub mod all_or_none;
pub mod element;
pub mod first;
pub mod frame;
pub mod gather;
pub mod member;
pub mod per_shard;
pub mod shares;
pub mod streams;
pub mod temporary;
pub mod transfer;
pub mod walk;

use std::fmt;
use std::sync::Arc;

use crate::cluster::slot::Slot;
use crate::cluster::slot_map::{Endpoint, SlotMap};

/// Slots come and go too fast, or to a node that is not known yet.
pub const CHANGING: &[u8] = b"-TRYAGAIN slotway: the shards are changing, say it again\r\n";

/// One request to one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Where it goes.
    pub slot: Slot,
    /// It is for this primary, whatever slots that serves by then: where the slot is now is no redirect to be
    /// followed, but an answer, and where the node is no primary any more the answer is [`CHANGING`].
    pub primary: Option<Endpoint>,
    /// The request, or a transaction of several.
    pub frame: Vec<u8>,
    /// Replies that come in front of the one that counts: MULTI's and those of what is queued behind it.
    pub leads: u32,
}

/// What follows from the replies to a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// The client is answered; the plan is over.
    Reply(Vec<u8>),
    /// The same for a transaction that some shards ran and others did not.
    Torn(Vec<u8>),
    /// Another step; at least one call.
    Calls(Vec<Call>),
}

impl Next {
    /// An error of the proxy's own.
    pub(super) fn error(text: &str) -> Self {
        Self::Reply(format!("-ERR slotway: {text}\r\n").into_bytes())
    }

    /// An integer.
    fn integer(number: i64) -> Self {
        Self::Reply(format!(":{number}\r\n").into_bytes())
    }

    /// The answer where a server gave what it never gives.
    pub(super) fn unexpected() -> Self {
        Self::error("a backend's reply has an unexpected shape")
    }
}

/// A request in steps. The number of its steps is bounded.
pub trait Plan: fmt::Debug {
    /// What follows from the replies to the last step's calls, which are in the calls' order, each whole. The
    /// proxy's own errors (a timeout, a lost connection) are among them as the client would be told them.
    fn next(&mut self, replies: &[&[u8]]) -> Next;

    /// Calls of later steps are sent by this map.
    fn on_map(&mut self, _map: &Arc<SlotMap>) {}

    /// Whether it has changed nothing yet, and nothing that would is on its way: it can still be given up.
    fn only_looks(&self) -> bool {
        false
    }
}

/// How a plan begins: itself and its first calls.
pub type Begun = (Box<dyn Plan>, Vec<Call>);

/// Why there is no plan for a request over several slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unplanned {
    /// Its arguments are wrong, whatever the slots.
    Syntax,
    /// It can't be taken apart.
    CrossSlot,
}

/// The error text of a reply without its first byte and end, for an error that has more to say.
fn text_of(error: &[u8]) -> String {
    let cut = &error[..error.len().min(512)];
    String::from_utf8_lossy(cut.get(1..).unwrap_or_default()).trim_end().to_owned()
}

#[cfg(test)]
pub(in crate::route) mod tests {
    use super::*;
    use crate::resp::request::Request;
    use crate::resp::scan::{RequestLimits, RequestScanner};

    /// Takes a plan through its steps.
    pub(in crate::route) struct Stepper {
        plan: Box<dyn Plan>,
        calls: Vec<Call>,
    }

    impl Stepper {
        pub(in crate::route) fn begin(line: &str, begin: impl FnOnce(&Request<'_>) -> Option<Begun>) -> Self {
            Self::try_begin(line, begin).expect("a plan")
        }

        pub(in crate::route) fn try_begin(
            line: &str,
            begin: impl FnOnce(&Request<'_>) -> Option<Begun>,
        ) -> Option<Self> {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let mut bytes = Vec::new();
            frame::write(&mut bytes, &words);
            let mut scanner = RequestScanner::default();
            let limits = RequestLimits { args: 1_000, bulk: 1_000, frame: 100_000, value: usize::MAX };
            scanner.scan(&bytes, &limits).expect("a request");
            let (plan, calls) = begin(&scanner.request(&bytes))?;
            Some(Self { plan, calls })
        }

        /// The calls of the step under way: slot and words; those of a transaction are parted by bars.
        pub(in crate::route) fn calls(&self) -> Vec<String> {
            let text = |call: &Call| {
                let lines: Vec<_> =
                    String::from_utf8_lossy(&call.frame).split("\r\n").map(str::to_owned).collect();
                let words = lines.iter().filter_map(|line| match line.as_bytes().first()? {
                    b'*' => Some("|"),
                    b'$' => None,
                    _ => Some(&**line),
                });
                format!("{} {}", call.slot, words.skip(1).collect::<Vec<_>>().join(" "))
            };
            self.calls.iter().map(text).collect()
        }

        pub(in crate::route) fn step(&mut self, replies: &[&str]) {
            let replies: Vec<&[u8]> = replies.iter().map(|reply| reply.as_bytes()).collect();
            match self.plan.next(&replies) {
                Next::Calls(calls) => self.calls = calls,
                Next::Reply(reply) | Next::Torn(reply) => {
                    panic!("it is over: {}", String::from_utf8_lossy(&reply))
                }
            }
        }

        pub(in crate::route) fn last(&mut self, replies: &[&str]) -> String {
            let replies: Vec<&[u8]> = replies.iter().map(|reply| reply.as_bytes()).collect();
            match self.plan.next(&replies) {
                Next::Reply(reply) | Next::Torn(reply) => String::from_utf8(reply).expect("text"),
                Next::Calls(_) => panic!("it goes on"),
            }
        }
    }
}
