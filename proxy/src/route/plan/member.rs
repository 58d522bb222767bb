//! SMOVE between slots: the member is added to the one set before it is taken from the other.

use super::frame::Block;
use super::{Begun, Call, Next, Plan};
use crate::cluster::slot::Slot;
use crate::resp::elements::{Elements, integer, is_error};
use crate::resp::request::Request;

/// A member on its way from a set to another.
#[derive(Debug)]
pub struct Member {
    from: Box<[u8]>,
    to: Box<[u8]>,
    member: Box<[u8]>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Both sets are looked at.
    Looking,
    /// It is added.
    Adding,
    /// It is taken away; whether it was new to the other set.
    Taking { new: bool },
    /// Another had taken it away: it is taken back, and the answer is that it was not there.
    Undoing,
}

/// Begins for `SMOVE from to member`.
#[must_use]
pub fn begin(request: &Request<'_>) -> Begun {
    let arg = |index: usize| Box::<[u8]>::from(request.arg(index).unwrap_or_default());
    let plan = Member { from: arg(1), to: arg(2), member: arg(3), stage: Stage::Looking };
    let mut look = Block::new();
    look.push(&[b"EXISTS", &plan.from]);
    look.push(&[b"SISMEMBER", &plan.from, &plan.member]);
    let calls = vec![look.call(Slot::of(&plan.from)), plan.call(b"SISMEMBER", &plan.to)];
    (Box::new(plan), calls)
}

impl Plan for Member {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        let reply = replies.first().copied().unwrap_or_default();
        match self.stage {
            Stage::Looking => self.on_looked(replies).unwrap_or_else(Next::unexpected),
            // Nothing was changed, or nobody knows and the old set still has it.
            Stage::Adding if is_error(reply) => Next::Reply(reply.to_vec()),
            Stage::Adding => {
                self.stage = Stage::Taking { new: integer(reply) == Some(1) };
                Next::Calls(vec![self.call(b"SREM", &self.from)])
            }
            Stage::Taking { new: true } if integer(reply) == Some(0) => {
                self.stage = Stage::Undoing;
                Next::Calls(vec![self.call(b"SREM", &self.to)])
            }
            // In both sets where this is an error, which says whether it may have run.
            Stage::Taking { .. } => Next::Reply(reply.to_vec()),
            Stage::Undoing => Next::integer(0),
        }
    }
}

impl Member {
    /// In the order of the servers: a set that is not there, wrong types, a member that is not there.
    fn on_looked(&mut self, replies: &[&[u8]]) -> Option<Next> {
        let [from, to] = replies else { return None };
        if is_error(from) {
            return Some(Next::Reply(from.to_vec()));
        }
        let mut said = Elements::new(from)?;
        let (exists, has) = (said.next().and_then(integer)?, said.next()?);
        if exists == 0 {
            return Some(Next::integer(0));
        }
        if let Some(error) = [has, to].into_iter().find(|reply| is_error(reply)) {
            return Some(Next::Reply(error.to_vec()));
        }
        if integer(has)? == 0 {
            return Some(Next::integer(0));
        }
        self.stage = Stage::Adding;
        Some(Next::Calls(vec![self.call(b"SADD", &self.to)]))
    }

    fn call(&self, name: &[u8], set: &[u8]) -> Call {
        Call::of(Slot::of(set), &[name, set, &self.member])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::plan::tests::Stepper;

    // Slots: a 15495, b 3300.

    fn plan() -> Stepper {
        Stepper::begin("SMOVE a b m", |request| Some(begin(request)))
    }

    #[test]
    fn it_is_added_before_it_is_taken() {
        let mut plan = plan();
        assert_eq!(plan.calls(), ["15495 MULTI | EXISTS a | SISMEMBER a m | EXEC", "3300 SISMEMBER b m"]);
        plan.step(&["*2\r\n:1\r\n:1\r\n", ":0\r\n"]);
        assert_eq!(plan.calls(), ["3300 SADD b m"]);
        plan.step(&[":1\r\n"]);
        assert_eq!(plan.calls(), ["15495 SREM a m"]);
        assert_eq!(plan.last(&[":1\r\n"]), ":1\r\n");
    }

    #[test]
    fn of_two_that_move_it_one_does() {
        let mut plan = plan();
        plan.step(&["*2\r\n:1\r\n:1\r\n", ":0\r\n"]);
        plan.step(&[":1\r\n"]);
        plan.step(&[":0\r\n"]);
        assert_eq!(plan.calls(), ["3300 SREM b m"]);
        assert_eq!(plan.last(&[":1\r\n"]), ":0\r\n");
    }

    #[test]
    fn the_answers_are_the_servers() {
        let wrong = "-WRONGTYPE x\r\n";
        for (from, to, told) in [
            ("*2\r\n:0\r\n:0\r\n", wrong, ":0\r\n"),
            ("*2\r\n:1\r\n-WRONGTYPE x\r\n", ":0\r\n", wrong),
            ("*2\r\n:1\r\n:0\r\n", wrong, wrong),
            ("*2\r\n:1\r\n:0\r\n", ":1\r\n", ":0\r\n"),
            ("-CLUSTERDOWN x\r\n", ":1\r\n", "-CLUSTERDOWN x\r\n"),
        ] {
            assert_eq!(plan().last(&[from, to]), told);
        }
    }
}
