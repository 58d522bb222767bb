//! LMPOP and ZMPOP over several slots: in the caller's order, until one slot's keys have something.

use super::{Begun, Call, Next, Plan};
use crate::resp::elements::is_nil;

/// What is left to ask, the next one last.
#[derive(Debug)]
pub struct First {
    left: Vec<Call>,
}

/// Begins with one call for each run of keys of one slot, in the caller's order.
#[must_use]
pub fn begin(mut calls: Vec<Call>) -> Option<Begun> {
    calls.reverse();
    let first = calls.pop()?;
    Some((Box::new(First { left: calls }), vec![first]))
}

impl Plan for First {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        let reply = replies.first().copied().unwrap_or_default();
        match self.left.pop() {
            Some(call) if is_nil(reply) => Next::Calls(vec![call]),
            _ => Next::Reply(reply.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot::Slot;
    use crate::route::plan::tests::Stepper;

    #[test]
    fn slots_are_asked_until_one_has_something() {
        let calls: Vec<_> = [b"a", b"b", b"c"].map(|word| Call::of(Slot::FIXED, &[word])).into();
        let mut plan = Stepper::begin("x", |_| begin(calls));
        plan.step(&["*-1\r\n"]);
        assert_eq!(plan.calls(), ["0 b"]);
        assert_eq!(plan.last(&["*2\r\n"]), "*2\r\n", "the third is not asked");
    }
}
