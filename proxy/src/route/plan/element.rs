//! LMOVE and RPOPLPUSH between slots. The element is first taken to a temporary list beside its own, which one
//! server does at once: of many who take from a list no two get the same element. From there it is pushed to the
//! other list, and then the temporary one is removed. Where it can't be pushed it goes back.

use super::temporary::Names;
use super::{Begun, Call, Next, Plan, Unplanned, text_of};
use crate::cluster::slot::Slot;
use crate::resp::elements::{bulk, integer, is_error, is_nil};
use crate::resp::request::Request;

/// An element on its way from a list to another.
#[derive(Debug)]
pub struct Element {
    from: Box<[u8]>,
    to: Box<[u8]>,
    take: End,
    put: End,
    /// The temporary list.
    held: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// Both lists are looked at.
    Looking,
    /// It is taken to the temporary list.
    Taking,
    /// It is pushed; the reply that it will be.
    Pushing(Vec<u8>),
    /// The temporary list is removed.
    Removing(Vec<u8>),
    /// It goes back, for this error.
    Returning(Vec<u8>),
}

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Where LPUSH pushes.
    Left,
    /// Where RPUSH pushes.
    Right,
}

impl End {
    fn parse(word: &[u8]) -> Option<Self> {
        match word.to_ascii_lowercase().as_slice() {
            b"left" => Some(Self::Left),
            b"right" => Some(Self::Right),
            _ => None,
        }
    }

    fn word(self) -> &'static [u8] {
        match self {
            Self::Left => b"LEFT",
            Self::Right => b"RIGHT",
        }
    }

    fn push(self) -> &'static [u8] {
        match self {
            Self::Left => b"LPUSH",
            Self::Right => b"RPUSH",
        }
    }
}

/// From which end of the one list to which of the other; `None` where a word is none.
#[must_use]
pub fn ends(request: &Request<'_>) -> Option<(End, End)> {
    match request.len() {
        3 => Some((End::Right, End::Left)),
        _ => Some((End::parse(request.arg(3)?)?, End::parse(request.arg(4)?)?)),
    }
}

/// Begins for `LMOVE from to end end`, or `RPOPLPUSH from to`.
///
/// # Errors
/// An end that is none.
pub fn begin(request: &Request<'_>, names: &Names) -> Result<Begun, Unplanned> {
    let arg = |index: usize| Box::<[u8]>::from(request.arg(index).unwrap_or_default());
    let (take, put) = ends(request).ok_or(Unplanned::Syntax)?;
    let (from, to) = (arg(1), arg(2));
    let held = names.beside(&from, 0);
    let calls = [&from, &to].map(|list| Call::of(Slot::of(list), &[b"LLEN", list]));
    Ok((Box::new(Element { from, to, take, put, held, stage: Stage::Looking }), calls.into()))
}

impl Plan for Element {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        let reply = replies.first().copied().unwrap_or_default();
        match std::mem::replace(&mut self.stage, Stage::Looking) {
            Stage::Looking => self.on_looked(replies),
            // It may be in the temporary list all the same: if it is it goes back.
            Stage::Taking if is_error(reply) => self.give_back(reply),
            Stage::Taking if is_nil(reply) => Next::Reply(reply.to_vec()),
            Stage::Taking => {
                let Some(element) = bulk(reply) else { return Next::unexpected() };
                self.stage = Stage::Pushing(reply.to_vec());
                Next::Calls(vec![Call::of(Slot::of(&self.to), &[self.put.push(), &self.to, element])])
            }
            Stage::Pushing(element) if integer(reply).is_some() => {
                self.stage = Stage::Removing(element);
                Next::Calls(vec![Call::of(Slot::of(&self.from), &[b"DEL", &self.held])])
            }
            Stage::Pushing(_) => self.give_back(reply),
            // It was moved, whatever became of the temporary list.
            Stage::Removing(element) => Next::Reply(element),
            Stage::Returning(error) if !is_error(reply) => Next::Reply(error),
            Stage::Returning(error) => {
                let held = String::from_utf8_lossy(&self.held).into_owned();
                Next::error(&format!("the element is kept in the list {held:?}: {}", text_of(&error)))
            }
        }
    }

    fn only_looks(&self) -> bool {
        self.stage == Stage::Looking
    }
}

impl Element {
    fn give_back(&mut self, error: &[u8]) -> Next {
        self.stage = Stage::Returning(error.to_vec());
        let words: [&[u8]; 5] = [b"LMOVE", &self.held, &self.from, b"LEFT", self.take.word()];
        Next::Calls(vec![Call::of(Slot::of(&self.from), &words)])
    }

    /// In the order of the servers: an empty list is nil whatever the other key is.
    fn on_looked(&mut self, replies: &[&[u8]]) -> Next {
        let [from, to] = replies else { return Next::unexpected() };
        if is_error(from) {
            return Next::Reply(from.to_vec());
        }
        // What is read as nil depends on the protocol: the server says it.
        if integer(from) != Some(0) && is_error(to) {
            return Next::Reply(to.to_vec());
        }
        self.stage = Stage::Taking;
        let words: [&[u8]; 5] = [b"LMOVE", &self.from, &self.held, self.take.word(), b"LEFT"];
        Next::Calls(vec![Call::of(Slot::of(&self.from), &words)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::plan::tests::Stepper;

    // Slots: a 15495, b 3300.

    const HELD: &str = "slotway:{a}:0000000000000000:1:1:0";

    fn plan(line: &str) -> Stepper {
        Stepper::begin(line, |request| begin(request, &Names::new(&[0; 8], 1, 1)).ok())
    }

    #[test]
    fn it_is_pushed_before_it_is_removed() {
        let mut plan = plan("RPOPLPUSH a b");
        assert_eq!(plan.calls(), ["15495 LLEN a", "3300 LLEN b"]);
        plan.step(&[":2\r\n", ":0\r\n"]);
        assert_eq!(plan.calls(), [format!("15495 LMOVE a {HELD} RIGHT LEFT")]);
        plan.step(&["$1\r\nx\r\n"]);
        assert_eq!(plan.calls(), ["3300 LPUSH b x"]);
        plan.step(&[":1\r\n"]);
        assert_eq!(plan.calls(), [format!("15495 DEL {HELD}")]);
        assert_eq!(plan.last(&["-ERR slotway: timed out, the command may have run\r\n"]), "$1\r\nx\r\n");
    }

    #[test]
    fn what_can_not_be_pushed_goes_back_to_its_end() {
        let mut plan = plan("LMOVE a b LEFT RIGHT");
        plan.step(&[":2\r\n", ":0\r\n"]);
        plan.step(&["$1\r\nx\r\n"]);
        assert_eq!(plan.calls(), ["3300 RPUSH b x"]);
        plan.step(&["-OOM no\r\n"]);
        assert_eq!(plan.calls(), [format!("15495 LMOVE {HELD} a LEFT LEFT")]);
        assert_eq!(plan.last(&["$1\r\nx\r\n"]), "-OOM no\r\n");
    }

    #[test]
    fn where_it_is_kept_is_told() {
        let mut plan = plan("RPOPLPUSH a b");
        plan.step(&[":2\r\n", ":0\r\n"]);
        plan.step(&["$1\r\nx\r\n"]);
        plan.step(&["-OOM no\r\n"]);
        let told = plan.last(&["-CLUSTERDOWN slotway: the shard is unreachable\r\n"]);
        assert!(told.contains(HELD) && told.contains("OOM no"), "{told}");
    }

    #[test]
    fn the_answers_are_the_servers() {
        let wrong = "-WRONGTYPE x\r\n";
        assert_eq!(plan("RPOPLPUSH a b").last(&[wrong, ":0\r\n"]), wrong);
        assert_eq!(plan("RPOPLPUSH a b").last(&[":1\r\n", wrong]), wrong);
        let mut empty = plan("LMOVE a b right left");
        empty.step(&[":0\r\n", wrong]);
        assert_eq!(empty.last(&["_\r\n"]), "_\r\n");
        assert!(
            Stepper::try_begin("LMOVE a b up down", |request| begin(request, &Names::new(&[0; 8], 1, 1))
                .ok())
            .is_none()
        );
    }
}
