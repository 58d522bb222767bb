//! EXEC over several shards: each runs its share in a transaction of its own. First it is seen that every share can be
//! queued where it belongs, so that what one shard refuses is run by none. Should a share fail all the same
//! after others ran, the client is told: the transaction is torn.

use std::rc::Rc;

use super::shares::{Sent, Shares};
use super::{Begun, Call, Next, Plan, text_of};
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::Endpoint;
use crate::resp::elements::is_error;
use crate::resp::protocol::Protocol;
use crate::route::redirect::Redirect;

/// A transaction under way.
#[derive(Debug)]
pub struct PerShard {
    shares: Rc<Shares>,
    protocol: Protocol,
    /// What each share answered; empty where it did not.
    replies: Vec<Vec<u8>>,
    /// It is over when it was seen that everything can be queued.
    probes_only: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The shares that each call is about.
    Probing(Vec<Vec<usize>>),
    /// The share that each call runs.
    Running(Vec<usize>),
}

/// What a shard said that can have every share.
const QUEUED: &[u8] = b"+OK\r\n";

/// Begins with a probe, or at once where nothing can be torn as nothing is written. `node` tells which slots one node
/// serves.
#[must_use]
pub fn begin(shares: Rc<Shares>, protocol: Protocol, node: impl Fn(Slot) -> Option<u16>) -> Begun {
    if shares.writes {
        probe(shares, protocol, node, false)
    } else {
        let replies = vec![Vec::new(); shares.len()];
        run(shares, replies, protocol)
    }
}

/// Only sees whether everything can be queued: `+OK`, or an error.
#[must_use]
pub fn begin_probe(shares: Rc<Shares>, protocol: Protocol, node: impl Fn(Slot) -> Option<u16>) -> Begun {
    probe(shares, protocol, node, true)
}

/// Runs the shares that have no reply yet.
#[must_use]
pub fn run(shares: Rc<Shares>, replies: Vec<Vec<u8>>, protocol: Protocol) -> Begun {
    let left: Vec<usize> = (0..shares.len()).filter(|index| replies[*index].is_empty()).collect();
    let calls = left.iter().map(|index| shares.call(*index, Sent::Run)).collect();
    (Box::new(PerShard { shares, protocol, replies, probes_only: false, stage: Stage::Running(left) }), calls)
}

fn probe(
    shares: Rc<Shares>,
    protocol: Protocol,
    node: impl Fn(Slot) -> Option<u16>,
    probes_only: bool,
) -> Begun {
    let mut groups: Vec<(Option<u16>, Vec<usize>)> = Vec::new();
    for index in 0..shares.len() {
        let node = shares.slot(index).and_then(&node);
        match groups.iter_mut().find(|(own, _)| own.is_some() && *own == node) {
            Some((_, group)) => group.push(index),
            None => groups.push((node, vec![index])),
        }
    }
    let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
    let calls = groups.iter().map(|group| probe_of(&shares, group)).collect();
    let replies = vec![Vec::new(); shares.len()];
    (Box::new(PerShard { shares, protocol, replies, probes_only, stage: Stage::Probing(groups) }), calls)
}

fn probe_of(shares: &Shares, group: &[usize]) -> Call {
    match group {
        [only] => shares.call(*only, Sent::Probe),
        several => shares.probe_together(several),
    }
}

impl Plan for PerShard {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        match std::mem::replace(&mut self.stage, Stage::Probing(Vec::new())) {
            Stage::Probing(groups) => self.on_probed(&groups, replies),
            Stage::Running(shares) => self.on_run(&shares, replies),
        }
    }
}

impl PerShard {
    fn on_probed(&mut self, groups: &[Vec<usize>], replies: &[&[u8]]) -> Next {
        let mut again = Vec::new();
        for (group, reply) in groups.iter().zip(replies) {
            if !is_error(reply) {
                continue;
            }
            if group.len() == 1 || !is_elsewhere(reply) {
                return Next::Reply(abort(reply));
            }
            // One of its slots has moved, or the node has a moment of its own: each share finds its own way.
            again.extend(group.iter().map(|index| vec![*index]));
        }
        if !again.is_empty() {
            let calls = again.iter().map(|group| probe_of(&self.shares, group)).collect();
            self.stage = Stage::Probing(again);
            return Next::Calls(calls);
        }
        if self.probes_only {
            return Next::Reply(QUEUED.to_vec());
        }
        let all: Vec<usize> = (0..self.shares.len()).collect();
        let calls = all.iter().map(|index| self.shares.call(*index, Sent::Run)).collect();
        self.stage = Stage::Running(all);
        Next::Calls(calls)
    }

    fn on_run(&mut self, shares: &[usize], replies: &[&[u8]]) -> Next {
        // Of what ran before, the client must hear in any case.
        let mut ran = self.replies.iter().any(|reply| !reply.is_empty());
        let mut error = None;
        for (share, reply) in shares.iter().zip(replies) {
            self.replies[*share] = reply.to_vec();
            ran |= !is_error(reply) || may_have_run(reply);
            error = error.or_else(|| is_error(reply).then_some(*reply));
        }
        match error {
            None => Next::Reply(self.shares.merge(&self.replies, self.protocol).unwrap_or_else(unexpected)),
            Some(error) if ran && self.shares.writes => Next::Torn(torn(error)),
            Some(error) => Next::Reply(abort(error)),
        }
    }
}

/// The answer where a server gave what it never gives.
#[must_use]
pub fn unexpected() -> Vec<u8> {
    b"-ERR slotway: a backend's reply has an unexpected shape\r\n".to_vec()
}

/// Whether an error says no more than that a node can't have a request, or can't now.
#[must_use]
pub fn is_elsewhere(error: &[u8]) -> bool {
    let asked = Endpoint { host: "".into(), port: 0 };
    Redirect::parse(error, &asked).is_some()
}

/// Whether a share may have run that was answered with this error: the proxy's own, where it does not know, or could
/// not keep the reply.
fn may_have_run(error: &[u8]) -> bool {
    error.starts_with(b"-ERR slotway: ") && !error.ends_with(b"did not run\r\n")
}

/// The answer where nothing ran.
#[must_use]
pub fn abort(error: &[u8]) -> Vec<u8> {
    let said = text_of(error);
    let why = match said.strip_prefix("ERR ").unwrap_or(&said) {
        // That is what it says of a request; of a probe none can have.
        unknown if unknown.ends_with("may have run") => "slotway: a shard did not answer",
        why if why.starts_with("EXECABORT") => return [b"-", said.as_bytes(), b"\r\n"].concat(),
        why => why,
    };
    format!("-EXECABORT Transaction discarded because of: {why}\r\n").into_bytes()
}

/// The answer where some ran.
#[must_use]
pub fn torn(error: &[u8]) -> Vec<u8> {
    let said = text_of(error);
    let why = said.strip_prefix("ERR ").unwrap_or(&said);
    format!("-ERR slotway: the transaction is torn, not every shard is known to have run its part: {why}\r\n")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::plan::tests::Stepper;

    const ABORT: &str = "-EXECABORT Transaction discarded because of: ";
    const TORN: &str = "-ERR slotway: the transaction is torn, ";

    // Slots: a 15495, b 3300, c 7365; one node has b and c.
    fn shares(writes: bool) -> Rc<Shares> {
        let mut shares = Shares::default();
        shares.writes = writes;
        for key in ["a", "b", "c"] {
            let slot = Slot::of(key.as_bytes());
            let frame = format!("*2\r\n$4\r\nINCR\r\n$1\r\n{key}\r\n");
            shares.push((slot, slot.number()), frame.as_bytes());
        }
        Rc::new(shares)
    }

    fn plan(writes: bool) -> Stepper {
        Stepper::begin("x", |_| {
            Some(begin(shares(writes), Protocol::Resp2, |slot| Some(slot.number() / 8_192)))
        })
    }

    #[test]
    fn every_share_is_probed_before_any_runs() {
        let mut plan = plan(true);
        assert_eq!(
            plan.calls(),
            ["15495 MULTI | INCR a | DISCARD", "3300 MULTI | INCR b | INCR c | DISCARD | MULTI | EXEC"]
        );
        plan.step(&["+OK\r\n", "*0\r\n"]);
        assert_eq!(
            plan.calls(),
            ["15495 MULTI | INCR a | EXEC", "3300 MULTI | INCR b | EXEC", "7365 MULTI | INCR c | EXEC"]
        );
        assert_eq!(plan.last(&["*1\r\n:1\r\n", "*1\r\n:2\r\n", "*1\r\n:3\r\n"]), "*3\r\n:1\r\n:2\r\n:3\r\n");
    }

    #[test]
    fn what_one_shard_refuses_is_run_by_none() {
        assert_eq!(plan(true).last(&["-NOPERM no\r\n", "*0\r\n"]), format!("{ABORT}NOPERM no\r\n"));
        assert_eq!(plan(true).last(&["+OK\r\n", "-OOM x\r\n"]), format!("{ABORT}OOM x\r\n"));
        let unanswered = "-ERR slotway: timed out, the command may have run\r\n";
        assert_eq!(
            plan(true).last(&[unanswered, "*0\r\n"]),
            format!("{ABORT}slotway: a shard did not answer\r\n")
        );
    }

    #[test]
    fn where_a_slot_has_moved_each_share_finds_its_own_way() {
        let mut plan = plan(true);
        plan.step(&["+OK\r\n", "-MOVED 7365 h:1\r\n"]);
        assert_eq!(plan.calls(), ["3300 MULTI | INCR b | DISCARD", "7365 MULTI | INCR c | DISCARD"]);
        plan.step(&["+OK\r\n", "+OK\r\n"]);
        assert_eq!(plan.calls().len(), 3);
    }

    #[test]
    fn a_share_that_fails_after_others_ran_is_told() {
        let run = |replies: [&str; 3]| {
            let mut plan = plan(true);
            plan.step(&["+OK\r\n", "*0\r\n"]);
            plan.last(&replies)
        };
        let (ok, oom) = ("*1\r\n:1\r\n", "-OOM x\r\n");
        assert!(run([ok, oom, ok]).starts_with(TORN));
        assert_eq!(run([oom, oom, oom]), format!("{ABORT}OOM x\r\n"));
        let lost = "-ERR slotway: the backend connection was lost, the command may have run\r\n";
        assert!(run([oom, lost, oom]).starts_with(TORN));
        let not_run = "-ERR slotway: timed out, the command did not run\r\n";
        assert!(run([not_run, oom, oom]).starts_with(ABORT));
    }

    #[test]
    fn what_only_reads_is_not_probed_and_cannot_be_torn() {
        let mut reads = plan(false);
        assert_eq!(reads.calls().len(), 3);
        assert!(reads.last(&["*1\r\n:1\r\n", "-NOPERM no\r\n", "*1\r\n:1\r\n"]).starts_with(ABORT));
    }
}
