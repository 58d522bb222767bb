//! XREAD and XREADGROUP over streams in several slots: each slot's are read where they are, and what comes is put
//! together in the caller's order. XREADGROUP takes entries, so the groups are looked for first: where one
//! is missing only the stream that lacks it is asked, which says so, and nothing is taken.

use super::{Begun, Call, Next, Plan};
use crate::resp::elements::{Elements, is_error, is_nil};
use crate::resp::protocol::Protocol;

/// Streams of several slots.
#[derive(Debug)]
pub struct Streams {
    protocol: Protocol,
    /// What is asked once the groups are known to be there.
    reads: Vec<Call>,
}

/// Begins with `looks`, where there are any, and goes on with `reads`: one for each run of streams of one slot, in
/// the caller's order.
#[must_use]
pub fn begin(looks: Vec<Call>, reads: Vec<Call>, protocol: Protocol) -> Begun {
    if looks.is_empty() {
        return (Box::new(Streams { protocol, reads: Vec::new() }), reads);
    }
    (Box::new(Streams { protocol, reads }), looks)
}

impl Plan for Streams {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        let mut reads = std::mem::take(&mut self.reads);
        if !reads.is_empty() {
            let lacks =
                replies.iter().position(|reply| is_refused(reply)).filter(|index| *index < reads.len());
            return Next::Calls(lacks.map(|index| vec![reads.swap_remove(index)]).unwrap_or(reads));
        }
        if let Some(error) = replies.iter().find(|reply| is_error(reply)) {
            return Next::Reply(error.to_vec());
        }
        self.join(replies).map_or_else(Next::unexpected, Next::Reply)
    }
}

/// Whether one of the looks found no group.
fn is_refused(reply: &[u8]) -> bool {
    is_error(reply) || Elements::new(reply).is_none_or(|mut looks| looks.any(is_error))
}

impl Streams {
    /// One reply of all that are not nil: in RESP3 they are maps.
    fn join(&self, replies: &[&[u8]]) -> Option<Vec<u8>> {
        let found: Vec<_> = replies.iter().filter(|reply| !is_nil(reply)).collect();
        let Some(first) = found.first() else { return replies.first().map(|nil| nil.to_vec()) };
        let all = found.iter().map(|reply| Elements::new(reply)).collect::<Option<Vec<_>>>()?;
        let count: usize = all.iter().map(|elements| elements.count).sum();
        let is_map = self.protocol == Protocol::Resp3 && first.starts_with(b"%");
        let head = if is_map { format!("%{}\r\n", count / 2) } else { format!("*{count}\r\n") };
        let mut reply = head.into_bytes();
        all.iter().for_each(|elements| reply.extend_from_slice(elements.rest));
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot::Slot;
    use crate::route::plan::tests::Stepper;

    fn plan(looks: usize, protocol: Protocol) -> Stepper {
        let call = |name: &[u8]| Call::of(Slot::FIXED, &[name]);
        let looks = (0..looks).map(|_| call(b"LOOK")).collect();
        Stepper::begin("x", |_| Some(begin(looks, vec![call(b"A"), call(b"B")], protocol)))
    }

    #[test]
    fn what_comes_is_put_together() {
        let (a, b) = ("*1\r\n*2\r\n$1\r\na\r\n*0\r\n", "*1\r\n*2\r\n$1\r\nb\r\n*0\r\n");
        let told = plan(0, Protocol::Resp2).last(&[a, b]);
        assert_eq!(told, "*2\r\n*2\r\n$1\r\na\r\n*0\r\n*2\r\n$1\r\nb\r\n*0\r\n");
        assert_eq!(plan(0, Protocol::Resp2).last(&["*-1\r\n", b]), b);
        assert_eq!(plan(0, Protocol::Resp2).last(&["*-1\r\n", "*-1\r\n"]), "*-1\r\n");
        let told = plan(0, Protocol::Resp3).last(&["%1\r\n$1\r\na\r\n*0\r\n", "%1\r\n$1\r\nb\r\n*0\r\n"]);
        assert_eq!(told, "%2\r\n$1\r\na\r\n*0\r\n$1\r\nb\r\n*0\r\n");
        assert_eq!(plan(0, Protocol::Resp3).last(&["_\r\n", "_\r\n"]), "_\r\n");
    }

    #[test]
    fn nothing_is_taken_where_a_group_is_missing() {
        let mut lacking = plan(2, Protocol::Resp2);
        lacking.step(&["*1\r\n*0\r\n", "*1\r\n-NOGROUP x\r\n"]);
        assert_eq!(lacking.calls(), ["0 B"], "it says so in its own words");
        assert_eq!(lacking.last(&["-NOGROUP y\r\n"]), "-NOGROUP y\r\n");
        let mut plan = plan(2, Protocol::Resp2);
        plan.step(&["*1\r\n*0\r\n", "*1\r\n*0\r\n"]);
        assert_eq!(plan.calls(), ["0 A", "0 B"]);
        assert_eq!(plan.last(&["*-1\r\n", "*-1\r\n"]), "*-1\r\n");
    }
}
