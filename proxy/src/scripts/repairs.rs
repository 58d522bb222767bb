//! Which nodes are being given the functions that they lack, and how often that is tried. Pure.

use std::collections::HashMap;

use crate::cluster::slot_map::Endpoint;

/// The repairs of a worker.
#[derive(Default, Debug)]
pub struct Repairs {
    nodes: HashMap<Endpoint, Repair>,
    /// Those to begin at the end of the turn.
    beginning: Vec<Endpoint>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Repair {
    /// Other nodes are asked what this one lacks.
    Running,
    /// It was done at this time, or came to nothing.
    Over { at: u64, gave: bool },
}

/// What is done with a call of what its node lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// It waits for the repair.
    Waits,
    /// It goes again: the node was given something since, as far as is known.
    Goes,
    /// The server's word is its answer.
    Ends,
}

/// Milliseconds between two repairs of one node: for calls of a function that there is nowhere, each node is asked
/// once in that time.
const PAUSE: u64 = 1_000;
/// Beyond this many nodes those are forgotten that have had their pause.
const MANY_NODES: usize = 1_024;

impl Repairs {
    /// A node lacks a function: has it repaired, unless that is under way or was just done.
    pub fn on_missing(&mut self, node: &Endpoint, now: u64) -> Call {
        match self.nodes.get(node) {
            Some(Repair::Running) => return Call::Waits,
            Some(Repair::Over { at, gave }) if now.saturating_sub(*at) < PAUSE => {
                return if *gave { Call::Goes } else { Call::Ends };
            }
            _ => {}
        }
        if self.nodes.len() >= MANY_NODES {
            let had_its_pause = |repair: &Repair| matches!(repair, Repair::Over { at, .. } if now.saturating_sub(*at) >= PAUSE);
            self.nodes.retain(|_, repair| !had_its_pause(repair));
        }
        self.nodes.insert(node.clone(), Repair::Running);
        self.beginning.push(node.clone());
        Call::Waits
    }

    /// A repair ended, and gave the node something, or not.
    pub fn on_over(&mut self, node: &Endpoint, gave: bool, now: u64) {
        self.nodes.insert(node.clone(), Repair::Over { at: now, gave });
    }

    /// Whether there is one to begin.
    #[must_use]
    pub fn has_beginning(&self) -> bool {
        !self.beginning.is_empty()
    }

    /// The nodes whose repairs are to begin now.
    pub fn take_beginning(&mut self) -> Vec<Endpoint> {
        std::mem::take(&mut self.beginning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_repaired_once_at_a_time_and_once_a_second() {
        let (mut repairs, node) = (Repairs::default(), Endpoint { host: "h".into(), port: 1 });
        let other = Endpoint { host: "h".into(), port: 2 };
        assert_eq!(repairs.on_missing(&node, 0), Call::Waits);
        assert_eq!(repairs.on_missing(&node, 5_000), Call::Waits, "it runs");
        assert_eq!(repairs.on_missing(&other, 0), Call::Waits);
        assert_eq!(repairs.take_beginning(), [node.clone(), other]);
        assert!(!repairs.has_beginning());
        repairs.on_over(&node, false, 5_000);
        assert_eq!(repairs.on_missing(&node, 5_999), Call::Ends);
        assert_eq!(repairs.on_missing(&node, 6_000), Call::Waits);
        assert_eq!(repairs.take_beginning().first(), Some(&node));
        repairs.on_over(&node, true, 7_000);
        assert_eq!(repairs.on_missing(&node, 7_999), Call::Goes, "it may have been said before");
        assert_eq!(repairs.on_missing(&node, 8_000), Call::Waits);
    }
}
