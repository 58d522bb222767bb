//! Fills a row's pattern with words: one command, with its keys named.

use super::grammar::Row;
use super::pattern::Pattern;
use super::universe::{JUNK, Universe, is_key};

/// A command and which of its arguments were meant as keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Its arguments, the name first.
    pub argv: Vec<Vec<u8>>,
    /// Where its keys stand in them.
    pub keys: Vec<usize>,
}

impl Command {
    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|&at| self.argv[at].as_slice())
    }
}

/// How a command may be spoiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spoil {
    /// Not at all.
    Never,
    /// An argument too few, or a wrong one.
    Within,
    /// Those, or one too much. That one may be taken for a key, in any slot.
    Beyond,
}

/// A command of `row`. Some are spoiled.
#[must_use]
pub fn write(row: &Row, universe: &mut Universe, spoil: Spoil) -> Command {
    let mut writer = Writer {
        universe,
        command: Command { argv: Vec::new(), keys: Vec::new() },
        last: 1,
        names: 1 + usize::from(row.name.contains('|')),
    };
    writer.write(&row.pattern);
    let spoil = if row.strict || row.refused { Spoil::Never } else { spoil };
    if spoil != Spoil::Never && writer.universe.once_in(25) {
        writer.spoil(spoil);
    }
    writer.command
}

struct Writer<'u> {
    universe: &'u mut Universe,
    command: Command,
    /// How often the last that is repeated was.
    last: usize,
    /// How many words the command's name has.
    names: usize,
}

impl Writer<'_> {
    fn write(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Word(word) => {
                let word = self.in_any_case(word);
                self.command.argv.push(word);
            }
            Pattern::Kind(kind) => {
                if is_key(kind) {
                    self.command.keys.push(self.command.argv.len());
                }
                let word = self.universe.word(kind);
                self.command.argv.push(word);
            }
            Pattern::All(parts) => parts.iter().for_each(|part| self.write(part)),
            Pattern::One(parts) => {
                let part = self.universe.rng().usize(..parts.len());
                self.write(&parts[part]);
            }
            Pattern::Maybe(part) => {
                if self.universe.rng().bool() {
                    self.write(part);
                }
            }
            Pattern::Mixed(parts) => {
                let mut parts: Vec<&Pattern> = parts.iter().collect();
                self.universe.rng().shuffle(&mut parts);
                parts.into_iter().for_each(|part| self.write(part));
            }
            Pattern::Many { counted, of } => self.write_many(*counted, of),
            Pattern::AsMany(part) => (0..self.last).for_each(|_| self.write(part)),
        }
    }

    fn write_many(&mut self, counted: bool, part: &Pattern) {
        let many = self.universe.of(&[1, 1, 2, 2, 2, 3, 3, 4]);
        if counted {
            self.command.argv.push(many.to_string().into_bytes());
        }
        (0..many).for_each(|_| self.write(part));
        // Behind what it repeats, which may repeat too.
        self.last = many;
    }

    /// Options and names are the same in any case.
    fn in_any_case(&mut self, word: &str) -> Vec<u8> {
        let is_free = word.bytes().any(|byte| byte.is_ascii_uppercase());
        match self.universe.rng().u8(..8) {
            0 if is_free => word.to_ascii_lowercase().into_bytes(),
            1 if is_free => {
                let mut word = word.as_bytes().to_vec();
                word.iter_mut().step_by(2).for_each(u8::make_ascii_lowercase);
                word
            }
            _ => word.as_bytes().to_vec(),
        }
    }

    fn spoil(&mut self, spoil: Spoil) {
        let (length, junk) = (self.command.argv.len(), self.universe.of(JUNK).as_bytes().to_vec());
        let behind: Vec<usize> = (self.names..length).filter(|at| !self.command.keys.contains(at)).collect();
        match self.universe.rng().u8(..4) {
            0 if length > self.names => {
                self.command.argv.pop();
                self.command.keys.retain(|&at| at < length - 1);
            }
            1 if spoil == Spoil::Beyond => self.command.argv.push(junk),
            _ if !behind.is_empty() => {
                let at = self.universe.of(&behind);
                self.command.argv[at] = junk;
            }
            _ => (),
        }
    }
}
