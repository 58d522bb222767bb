//! COPY, RENAME and RENAMENX between slots: the value is copied with its expiry, and only when the copy is there
//! is the old key removed, if it is still what was copied. Should a step fail, nothing is lost: the old key
//! is where it was.

use sha1::{Digest, Sha1};

use super::frame::Block;
use super::{Begun, Call, Next, Plan, Unplanned, text_of};
use crate::cluster::slot::Slot;
use crate::command::spec::Transfer;
use crate::resp::elements::{Elements, bulk, integer, is_error, is_nil};
use crate::resp::request::Request;
use crate::resp::scan::parse_number;

/// A value on its way from its key to another.
#[derive(Debug)]
pub struct Move {
    kind: Transfer,
    from: Box<[u8]>,
    to: Box<[u8]>,
    /// Whether what stands at the new key may be replaced.
    replaces: bool,
    /// What was copied last.
    copied: Option<Copied>,
    /// How often the old key had changed meanwhile.
    attempts: u8,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The old key is read.
    Reading,
    /// The new key is written.
    Placing,
    /// The old key is removed.
    Removing,
    /// The old key was removed by another: so is the copy.
    Undoing,
}

/// By which a value is known again.
#[derive(Debug)]
struct Copied {
    sha1: String,
    /// Milliseconds since 1970, negative where it does not expire: as PEXPIRETIME says it.
    expires: i64,
}

/// A key that is written to all the time is copied so often, then its client is told.
const MOST_ATTEMPTS: u8 = 8;

/// Removes KEYS\[1\] if it is what was copied.
const REMOVE: &[u8] = b"local v = redis.call('DUMP', KEYS[1]) \
    if v and redis.sha1hex(v) == ARGV[1] and redis.call('PEXPIRETIME', KEYS[1]) == tonumber(ARGV[2]) then \
    return redis.call('UNLINK', KEYS[1]) end return 0";

/// Begins for a request whose first two arguments are the keys, both in `database`.
///
/// # Errors
/// Wrong options, or a copy to another database.
pub fn begin(request: &Request<'_>, kind: Transfer, database: u16) -> Result<Begun, Unplanned> {
    let key = |index: usize| Box::<[u8]>::from(request.arg(index).unwrap_or_default());
    let replaces = match kind {
        Transfer::Copy => copy_options(request, database)?,
        Transfer::Rename => true,
        Transfer::RenameNx => false,
    };
    let (copied, attempts, stage) = (None, 0, Stage::Reading);
    let plan = Move { kind, from: key(1), to: key(2), replaces, copied, attempts, stage };
    let calls = vec![plan.read()];
    Ok((Box::new(plan), calls))
}

/// Whether COPY replaces.
fn copy_options(request: &Request<'_>, database: u16) -> Result<bool, Unplanned> {
    let mut replaces = false;
    let mut options = request.args_from(3);
    while let Some(option) = options.next() {
        match option.to_ascii_lowercase().as_slice() {
            b"replace" => replaces = true,
            b"db" => match options.next().map(parse_number) {
                Some(Some(other)) if other == i64::from(database) => {}
                Some(_) => return Err(Unplanned::CrossSlot),
                None => return Err(Unplanned::Syntax),
            },
            _ => return Err(Unplanned::Syntax),
        }
    }
    Ok(replaces)
}

impl Plan for Move {
    fn next(&mut self, replies: &[&[u8]]) -> Next {
        let reply = replies.first().copied().unwrap_or_default();
        match self.stage {
            Stage::Reading if is_error(reply) => Next::Reply(reply.to_vec()),
            Stage::Reading => self.on_read(reply).unwrap_or_else(Next::unexpected),
            Stage::Placing => self.on_placed(reply),
            Stage::Removing => self.on_removed(reply),
            Stage::Undoing => Next::Reply(b"-ERR no such key\r\n".to_vec()),
        }
    }
}

impl Move {
    fn read(&self) -> Call {
        let mut block = Block::new();
        block.push(&[b"DUMP", &self.from]);
        block.push(&[b"PEXPIRETIME", &self.from]);
        block.call(Slot::of(&self.from))
    }

    /// Removes `key` if it is what was copied.
    fn remove(key: &[u8], copied: &Copied) -> Call {
        let expires = copied.expires.to_string();
        let words: [&[u8]; 6] = [b"EVAL", REMOVE, b"1", key, copied.sha1.as_bytes(), expires.as_bytes()];
        Call::of(Slot::of(key), &words)
    }

    fn on_read(&mut self, reply: &[u8]) -> Option<Next> {
        let mut said = Elements::new(reply)?;
        let (dump, expires) = (said.next()?, said.next().and_then(integer)?);
        if is_nil(dump) {
            return Some(self.on_missing());
        }
        let dump = bulk(dump)?;
        let sha1 = Sha1::digest(dump).iter().map(|byte| format!("{byte:02x}")).collect();
        self.copied = Some(Copied { sha1, expires });
        self.stage = Stage::Placing;
        let until = expires.max(0).to_string();
        let mut words: Vec<&[u8]> = vec![b"RESTORE", &self.to, until.as_bytes(), dump, b"ABSTTL"];
        if self.replaces || self.attempts > 0 {
            words.push(b"REPLACE");
        }
        Some(Next::Calls(vec![Call::of(Slot::of(&self.to), &words)]))
    }

    fn on_missing(&mut self) -> Next {
        match (self.kind, &self.copied) {
            (Transfer::Copy, _) => Next::integer(0),
            (_, None) => Next::Reply(b"-ERR no such key\r\n".to_vec()),
            (_, Some(copied)) => {
                self.stage = Stage::Undoing;
                Next::Calls(vec![Self::remove(&self.to, copied)])
            }
        }
    }

    fn on_placed(&mut self, reply: &[u8]) -> Next {
        if reply.starts_with(b"-BUSYKEY") {
            return Next::integer(0);
        }
        if is_error(reply) {
            return Next::error(&format!("the key was not moved: {}", text_of(reply)));
        }
        let Some(copied) = self.copied.as_ref().filter(|_| self.kind != Transfer::Copy) else {
            return Next::integer(1);
        };
        self.stage = Stage::Removing;
        Next::Calls(vec![Self::remove(&self.from, copied)])
    }

    fn on_removed(&mut self, reply: &[u8]) -> Next {
        match integer(reply) {
            Some(1) if self.kind == Transfer::Rename => Next::Reply(b"+OK\r\n".to_vec()),
            Some(1) => Next::integer(1),
            Some(_) if self.attempts < MOST_ATTEMPTS => {
                // Written to meanwhile: what was written goes along.
                self.attempts += 1;
                self.stage = Stage::Reading;
                Next::Calls(vec![self.read()])
            }
            Some(_) => Next::error("the key was copied, and not removed: it is written to all the time"),
            None => Next::error(&format!("the key was copied, and perhaps not removed: {}", text_of(reply))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::plan::tests::Stepper;

    // Slots: a 15495, b 3300.

    fn plan(line: &str, kind: Transfer) -> Stepper {
        Stepper::begin(line, |request| begin(request, kind, 0).ok())
    }

    const SHA1_OF_XYZ: &str = "66b27417d37e024c46526c2f6d358a754fc552f3";

    #[test]
    fn a_rename_copies_before_it_removes() {
        let mut plan = plan("RENAME a b", Transfer::Rename);
        assert_eq!(plan.calls(), ["15495 MULTI | DUMP a | PEXPIRETIME a | EXEC"]);
        plan.step(&["*2\r\n$3\r\nxyz\r\n:5000\r\n"]);
        assert_eq!(plan.calls(), ["3300 RESTORE b 5000 xyz ABSTTL REPLACE"]);
        plan.step(&["+OK\r\n"]);
        let remove = &plan.calls()[0];
        assert!(
            remove.starts_with("15495 EVAL ") && remove.ends_with(&format!(" 1 a {SHA1_OF_XYZ} 5000")),
            "{remove}"
        );
        assert_eq!(plan.last(&[":1\r\n"]), "+OK\r\n");
    }

    #[test]
    fn what_is_written_meanwhile_goes_along() {
        let mut plan = plan("RENAMENX a b", Transfer::RenameNx);
        plan.step(&["*2\r\n$3\r\nxyz\r\n:-1\r\n"]);
        assert_eq!(plan.calls(), ["3300 RESTORE b 0 xyz ABSTTL"]);
        plan.step(&["+OK\r\n"]);
        plan.step(&[":0\r\n"]);
        plan.step(&["*2\r\n$2\r\nxx\r\n:-1\r\n"]);
        assert_eq!(plan.calls(), ["3300 RESTORE b 0 xx ABSTTL REPLACE"], "the copy is ours to replace");
        plan.step(&["+OK\r\n"]);
        assert_eq!(plan.last(&[":1\r\n"]), ":1\r\n");
    }

    #[test]
    fn a_key_that_vanished_takes_its_copy_with_it() {
        let mut plan = plan("RENAME a b", Transfer::Rename);
        plan.step(&["*2\r\n$3\r\nxyz\r\n:-1\r\n"]);
        plan.step(&["+OK\r\n"]);
        plan.step(&[":0\r\n"]);
        plan.step(&["*2\r\n$-1\r\n:-2\r\n"]);
        assert!(plan.calls()[0].starts_with("3300 EVAL "), "{:?}", plan.calls());
        assert_eq!(plan.last(&[":1\r\n"]), "-ERR no such key\r\n");
    }

    #[test]
    fn nothing_to_move_and_no_room_are_told_as_the_servers_tell_it() {
        let missing = "*2\r\n_\r\n:-2\r\n";
        assert_eq!(plan("RENAME a b", Transfer::Rename).last(&[missing]), "-ERR no such key\r\n");
        assert_eq!(plan("COPY a b", Transfer::Copy).last(&[missing]), ":0\r\n");
        let mut busy = plan("COPY a b", Transfer::Copy);
        busy.step(&["*2\r\n$1\r\nx\r\n:-1\r\n"]);
        assert_eq!(busy.last(&["-BUSYKEY Target key name already exists.\r\n"]), ":0\r\n");
        let mut copied = plan("COPY a b REPLACE", Transfer::Copy);
        copied.step(&["*2\r\n$1\r\nx\r\n:-1\r\n"]);
        assert_eq!(copied.last(&["+OK\r\n"]), ":1\r\n");
    }

    #[test]
    fn a_step_that_fails_says_what_is_where() {
        let mut unplaced = plan("RENAME a b", Transfer::Rename);
        unplaced.step(&["*2\r\n$1\r\nx\r\n:-1\r\n"]);
        let told = unplaced.last(&["-OOM command not allowed\r\n"]);
        assert_eq!(told, "-ERR slotway: the key was not moved: OOM command not allowed\r\n");
        let mut unremoved = plan("RENAME a b", Transfer::Rename);
        unremoved.step(&["*2\r\n$1\r\nx\r\n:-1\r\n"]);
        unremoved.step(&["+OK\r\n"]);
        assert!(unremoved.last(&["-NOPERM no\r\n"]).contains("copied, and perhaps not removed: NOPERM no"));
    }

    #[test]
    fn options_are_the_servers() {
        let refused = |line: &str| {
            let mut why = None;
            let _ = Stepper::try_begin(line, |request| {
                begin(request, Transfer::Copy, 0).map_err(|it| why = Some(it)).ok()
            });
            why
        };
        assert_eq!(refused("COPY a b NOW"), Some(Unplanned::Syntax));
        assert_eq!(refused("COPY a b DB 1"), Some(Unplanned::CrossSlot));
        assert_eq!(refused("COPY a b replace"), None);
        assert_eq!(refused("COPY a b DB 0 REPLACE"), None);
        assert_eq!(refused("COPY a b DB"), Some(Unplanned::Syntax));
    }
}
