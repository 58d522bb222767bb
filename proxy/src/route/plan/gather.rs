//! Commands that read keys of several slots, and write one at most: what is elsewhere is copied to the *home*
//! slot, under temporary names, and the server there runs the command itself. So the reply, its shape and its errors
//! are the server's own, for every type of value. DUMP and RESTORE lose nothing: scores stay exact.
//!
//! A command that only reads does all of this at home in one transaction: nobody sees the copies. One that
//! writes is not sent before the copies are known to be there, since a transaction does not stop at an error, and
//! a missing operand would be a wrong answer that is stored; for that moment they can be seen, and should the
//! proxy die in it they expire by themselves.

use hashbrown::HashMap;

use super::frame::Block;
use super::temporary::Names;
use super::{Begun, Call, Next, Plan, text_of};
use crate::cluster::slot::Slot;
use crate::command::spec::Target;
use crate::resp::elements::{Elements, bulk, is_error, is_nil};
use crate::resp::request::Request;

/// See the head of the file.
#[derive(Debug)]
pub struct Gather {
    home: Slot,
    /// The command, with temporary names in the place of what is elsewhere.
    args: Vec<Box<[u8]>>,
    /// The copies' names, in the order in which they are asked for.
    copies: Vec<Vec<u8>>,
    /// How many of them each call of the first step reads.
    reads: Vec<usize>,
    writes: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The keys elsewhere are read.
    Reading,
    /// Copies are put to the home slot.
    Placing,
    /// The command runs behind so many commands that put copies there.
    Running { placed: usize },
}

/// Milliseconds after which copies are gone that nobody removed: more than the step behind them may take.
const LIFETIME: &[u8] = b"60000";

/// Begins for `request`, whose keys are its arguments `keys`, the one that is written by `target`; `None` where a
/// server takes them all as they are. `place` gives slots whose keys it takes together the same number.
#[must_use]
pub fn begin(
    request: &Request<'_>,
    keys: &[usize],
    target: Target,
    names: &Names,
    place: impl Fn(Slot) -> u16,
) -> Option<Begun> {
    let key = |index: usize| request.arg(index).unwrap_or_default();
    let place_of = |index: usize| place(Slot::of(key(index)));
    let anchor = match target {
        Target::None => most_common(keys, place_of)?,
        Target::First => *keys.first()?,
        Target::Last => *keys.last()?,
    };
    let mut args: Vec<Box<[u8]>> = request.args_from(0).map(Box::from).collect();
    let mut elsewhere = Elsewhere::default();
    for &index in keys.iter().filter(|index| place_of(**index) != place_of(anchor)) {
        let name = elsewhere.name(key(index), place_of(index), |number| names.beside(key(anchor), number));
        args[index] = name.into();
    }
    let groups = elsewhere.groups;
    let calls: Vec<Call> = groups.iter().map(Group::dump).collect();
    let plan = Gather {
        home: Slot::of(key(anchor)),
        args,
        reads: groups.iter().map(|group| group.keys.len()).collect(),
        copies: groups.into_iter().flat_map(|group| group.names).collect(),
        writes: target != Target::None,
        stage: Stage::Reading,
    };
    (!calls.is_empty()).then(|| (Box::new(plan) as Box<dyn Plan>, calls))
}

/// The first of those keys that most others are together with: the fewest are copied.
fn most_common(keys: &[usize], place_of: impl Fn(usize) -> u16) -> Option<usize> {
    let mut counts: HashMap<u16, usize> = HashMap::new();
    keys.iter().for_each(|index| *counts.entry(place_of(*index)).or_default() += 1);
    let most = counts.values().max()?;
    keys.iter().copied().find(|index| counts.get(&place_of(*index)) == Some(most))
}

/// What is not at home, by place.
#[derive(Default)]
struct Elsewhere<'a> {
    groups: Vec<Group<'a>>,
    /// Which group a place has.
    by_place: HashMap<u16, usize>,
    /// In which group, and where in it, a key stands.
    by_key: HashMap<&'a [u8], (usize, usize)>,
}

struct Group<'a> {
    keys: Vec<&'a [u8]>,
    names: Vec<Vec<u8>>,
}

impl<'a> Elsewhere<'a> {
    /// The temporary name of `key`; a key that is named twice is copied once.
    fn name(&mut self, key: &'a [u8], place: u16, name: impl Fn(usize) -> Vec<u8>) -> &[u8] {
        let Self { groups, by_place, by_key } = self;
        let number = by_key.len();
        let (group, at) = *by_key.entry(key).or_insert_with(|| {
            let group = *by_place.entry(place).or_insert_with(|| {
                groups.push(Group { keys: Vec::new(), names: Vec::new() });
                groups.len() - 1
            });
            groups[group].keys.push(key);
            groups[group].names.push(name(number));
            (group, groups[group].keys.len() - 1)
        });
        &groups[group].names[at]
    }
}

impl Group<'_> {
    fn dump(&self) -> Call {
        let slot = Slot::of(self.keys.first().copied().unwrap_or_default());
        if let [key] = self.keys[..] {
            return Call::of(slot, &[b"DUMP", key]);
        }
        let mut block = Block::new();
        self.keys.iter().for_each(|key| block.push(&[b"DUMP", key]));
        block.call(slot)
    }
}

impl Plan for Gather {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        if let Some(error) = replies.iter().find(|reply| is_error(reply)) {
            return Next::Reply(error.to_vec());
        }
        match self.stage {
            Stage::Reading => self.on_read(replies).unwrap_or_else(Next::unexpected),
            Stage::Placing => {
                let mut said = replies.iter().filter_map(|reply| Elements::new(reply)).flatten();
                if let Some(refused) = said.find(|reply| is_error(reply)) {
                    return not_copied(refused);
                }
                self.run(Block::new(), 0)
            }
            Stage::Running { placed } => {
                let Some(mut said) = replies.first().and_then(|reply| Elements::new(reply)) else {
                    return Next::unexpected();
                };
                if let Some(refused) = said.by_ref().take(placed).find(|reply| is_error(reply)) {
                    return not_copied(refused);
                }
                said.next().map_or_else(Next::unexpected, |reply| Next::Reply(reply.to_vec()))
            }
        }
    }
}

impl Gather {
    /// Puts what was read to the home slot.
    fn on_read(&mut self, replies: &[&[u8]]) -> Option<Next> {
        let mut dumps: Vec<&[u8]> = Vec::with_capacity(self.copies.len());
        for (reply, count) in replies.iter().zip(&self.reads) {
            if *count == 1 {
                dumps.push(reply);
            } else {
                dumps.extend(Elements::new(reply).filter(|all| all.count == *count)?);
            }
        }
        let mut block = Block::new();
        let mut placed = 0;
        let lifetime: &[u8] = if self.writes { LIFETIME } else { b"0" };
        for (name, dump) in self.copies.iter().zip(&dumps) {
            if is_nil(dump) {
                continue;
            }
            block.push(&[b"RESTORE", name, lifetime, bulk(dump)?, b"REPLACE"]);
            placed += 1;
        }
        if self.writes && placed > 0 {
            self.stage = Stage::Placing;
            return Some(Next::Calls(vec![block.call(self.home)]));
        }
        Some(self.run(block, placed))
    }

    /// Runs the command behind what `block` holds, and removes the copies.
    fn run(&mut self, mut block: Block, placed: usize) -> Next {
        self.stage = Stage::Running { placed };
        let words: Vec<&[u8]> = self.args.iter().map(|arg| &**arg).collect();
        block.push(&words);
        let removed: Vec<&[u8]> =
            [&b"UNLINK"[..]].into_iter().chain(self.copies.iter().map(Vec::as_slice)).collect();
        block.push(&removed);
        Next::Calls(vec![block.call(self.home)])
    }
}

fn not_copied(error: &[u8]) -> Next {
    Next::error(&format!("a key of another slot can't be copied, nothing was changed: {}", text_of(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::plan::tests::Stepper;

    // Slots: a 15495, b 3300, c 7365.

    fn begin_line(line: &str, keys: &[usize], target: Target) -> Stepper {
        Stepper::begin(line, |request| begin(request, keys, target, &Names::new(&[0; 8], 1, 1), Slot::number))
    }

    #[test]
    fn a_read_copies_and_runs_in_one_transaction() {
        let mut plan = begin_line("SUNION {a}1 b {a}2 c b", &[1, 2, 3, 4, 5], Target::None);
        assert_eq!(plan.calls(), ["3300 DUMP b", "7365 DUMP c"]);
        plan.step(&["$3\r\nxyz\r\n", "$-1\r\n"]);
        let (b, c) = ("slotway:{a}:0000000000000000:1:1:0", "slotway:{a}:0000000000000000:1:1:1");
        assert_eq!(
            plan.calls(),
            [format!(
                "15495 MULTI | RESTORE {b} 0 xyz REPLACE | SUNION {{a}}1 {b} {{a}}2 {c} {b} | UNLINK {b} {c} | EXEC"
            )]
        );
        assert_eq!(plan.last(&["*3\r\n+OK\r\n*1\r\n$1\r\nm\r\n:1\r\n"]), "*1\r\n$1\r\nm\r\n");
    }

    #[test]
    fn a_write_runs_only_when_all_copies_are_there() {
        let mut plan = begin_line("ZUNIONSTORE a 2 b {b}2", &[1, 3, 4], Target::First);
        assert_eq!(plan.calls(), ["3300 MULTI | DUMP b | DUMP {b}2 | EXEC"]);
        plan.step(&["*2\r\n$1\r\nx\r\n$1\r\ny\r\n"]);
        assert!(plan.calls()[0].contains("60000 x REPLACE") && !plan.calls()[0].contains("ZUNIONSTORE"));
        let mut refused = begin_line("ZUNIONSTORE a 2 b {b}2", &[1, 3, 4], Target::First);
        refused.step(&["*2\r\n$1\r\nx\r\n$1\r\ny\r\n"]);
        let told = refused.last(&["*2\r\n+OK\r\n-ERR Bad data format\r\n"]);
        assert!(told.contains("nothing was changed: ERR Bad data format"), "{told}");
        plan.step(&["*2\r\n+OK\r\n+OK\r\n"]);
        assert!(plan.calls()[0].contains("| ZUNIONSTORE a 2 slotway:{a}"), "{:?}", plan.calls());
        assert_eq!(plan.last(&["*2\r\n:2\r\n:2\r\n"]), ":2\r\n");
    }

    #[test]
    fn errors_and_odd_replies_end_it() {
        for (said, told) in [
            ("-WRONGTYPE x\r\n", "-WRONGTYPE x\r\n"),
            (":1\r\n", "-ERR slotway: a backend's reply has an unexpected shape\r\n"),
        ] {
            let mut plan = begin_line("SINTERCARD 2 a b", &[2, 3], Target::None);
            assert_eq!(plan.last(&[said]), told);
        }
    }

    #[test]
    fn what_is_together_is_no_plan() {
        let names = Names::new(&[0; 8], 1, 1);
        let none = Stepper::try_begin("SUNION {a}1 {a}2", |request| {
            begin(request, &[1, 2], Target::None, &names, Slot::number)
        });
        assert!(none.is_none());
    }
}
