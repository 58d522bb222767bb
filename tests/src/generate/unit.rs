//! What is said in one go: a command, or a transaction with what belongs to it. A script is a row of units.

use std::collections::BTreeSet;

use slotway::cluster::slot::Slot;

use super::excuse::Excuses;
use super::grammar::Row;
use super::scripts::SCRIPTS;
use super::universe::{Scope, Universe};
use super::writer::{Command, Spoil, write};
use crate::mark::Mark;

/// One command of one client, and what its reply has to be.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is said.
    pub command: Command,
    /// Which of the two clients says it.
    pub client: usize,
    /// What is expected.
    pub expect: Expect,
}

/// What a step's reply has to be.
#[derive(Clone, Debug)]
pub enum Expect {
    /// What the plain server replies, as far as the mark asks.
    Same(Mark),
    /// An error; the plain server is not asked. An excuse that is wrong fails by this.
    Refusal,
}

/// Steps that make no sense without each other.
#[derive(Clone, Debug)]
pub struct Unit(pub Vec<Step>);

/// Makes units without end.
#[derive(Debug)]
pub struct Generator<'r> {
    rows: &'r [Row],
    excuses: &'r Excuses,
    universe: Universe,
    /// The sum of the rows' weights.
    weights: usize,
}

/// Commands that the units below are made of, beside those of the rows.
pub const COMPOSED: &[&str] = &["multi", "exec", "discard", "watch", "unwatch", "script|flush"];

/// What may have keys in several slots within a transaction, as each key is served by itself. Of other commands there
/// each has to be in one slot: a row of `excused.txt` says why.
const SPLIT: &[&str] = &["mget", "mset", "del", "unlink", "exists", "touch"];

impl<'r> Generator<'r> {
    /// Of `rows`, decided by `seed`.
    #[must_use]
    pub fn new(rows: &'r [Row], excuses: &'r Excuses, seed: u64) -> Self {
        let weights = rows.iter().map(|row| row.weight).sum();
        Self { rows, excuses, universe: Universe::new(seed), weights }
    }

    /// The next unit.
    pub fn unit(&mut self) -> Unit {
        let forgets = !self.excuses.never.contains_key("script|flush");
        match self.universe.rng().usize(..200) {
            0 if forgets => flushed_scripts(),
            1..5 => self.watched(),
            5..12 => self.transaction(),
            _ => self.single(),
        }
    }

    fn single(&mut self) -> Unit {
        let row = self.row();
        if row.refused {
            let command = self.command(row, Scope::Any);
            return Unit(vec![Step { command, client: 0, expect: Expect::Refusal }]);
        }
        if self.one_slot(&row.name) && !row.together && self.universe.once_in(10) {
            let command = self.command(row, Scope::Any);
            if slots(&command).len() > 1 {
                return Unit(vec![Step { command, client: 0, expect: Expect::Refusal }]);
            }
        }
        let scope = if row.together { self.universe.tag() } else { self.scope(&row.name) };
        let command = self.command(row, scope);
        Unit(vec![said(command, 0, row.mark.clone())])
    }

    /// WATCH, perhaps a write of the same client or of another, a transaction.
    fn watched(&mut self) -> Unit {
        let scope = self.scope("exec");
        self.universe.scope(if self.one_slot("watch") && scope == Scope::Any {
            Scope::Tag("{a}")
        } else {
            scope
        });
        let keys: Vec<Vec<u8>> =
            (0..=self.universe.rng().usize(..3)).map(|_| self.universe.word("any")).collect();
        let watch =
            Command { keys: (1..=keys.len()).collect(), argv: [vec![b"WATCH".to_vec()], keys].concat() };
        let mut steps = vec![said(watch, 0, Mark::Exact)];
        if self.universe.once_in(2) {
            let (client, queueable) = (self.universe.rng().usize(..2), self.queueable());
            let command = self.queued(queueable, scope);
            steps.push(said(command, client, queueable.mark.clone()));
        }
        if self.universe.once_in(6) {
            steps.push(plain(&["UNWATCH"]));
        }
        steps.extend(self.block(scope));
        Unit(steps)
    }

    fn transaction(&mut self) -> Unit {
        let scope = self.scope("exec");
        Unit(self.block(scope))
    }

    /// MULTI to EXEC or DISCARD.
    fn block(&mut self, scope: Scope) -> Vec<Step> {
        let mut steps = vec![plain(&["MULTI"])];
        let mut marks = Vec::new();
        for _ in 0..self.universe.rng().usize(..6) {
            let row = self.queueable();
            let command = self.queued(row, scope);
            marks.push(row.mark.clone());
            steps.push(said(command, 0, Mark::Exact));
        }
        steps.push(match self.universe.once_in(8) {
            true => plain(&["DISCARD"]),
            false => said(Command { argv: vec![b"EXEC".to_vec()], keys: Vec::new() }, 0, Mark::Each(marks)),
        });
        steps
    }

    fn command(&mut self, row: &Row, scope: Scope) -> Command {
        self.universe.scope(scope);
        let spoil = match () {
            () if self.excuses.unspoiled.contains_key(&row.name) => Spoil::Never,
            () if row.together || scope != Scope::Any && self.one_slot(&row.name) => Spoil::Within,
            () => Spoil::Beyond,
        };
        write(row, &mut self.universe, spoil)
    }

    /// A command of a transaction.
    fn queued(&mut self, row: &Row, scope: Scope) -> Command {
        let is_split = SPLIT.contains(&&*row.name);
        let spoil = match () {
            () if self.excuses.unspoiled.contains_key(&row.name) => Spoil::Never,
            () if is_cut(row) && self.excuses.unspoiled.contains_key("exec") => Spoil::Never,
            () if is_split && !self.one_slot("exec") => Spoil::Beyond,
            () => Spoil::Within,
        };
        self.universe.scope(scope);
        let command = write(row, &mut self.universe, spoil);
        if is_split || slots(&command).len() < 2 {
            return command;
        }
        let tag = self.universe.tag();
        self.universe.scope(if scope == Scope::Any { tag } else { scope });
        write(row, &mut self.universe, spoil)
    }

    fn queueable(&mut self) -> &'r Row {
        loop {
            let row = self.row();
            if !row.alone && !row.refused {
                return row;
            }
        }
    }

    fn row(&mut self) -> &'r Row {
        let mut drawn = self.universe.rng().usize(..self.weights);
        let found = self.rows.iter().find(|row| {
            let is_it = drawn < row.weight;
            drawn = drawn.saturating_sub(row.weight);
            is_it
        });
        found.expect("the weights add up")
    }

    fn one_slot(&self, name: &str) -> bool {
        self.excuses.one_slot.contains_key(name)
    }

    /// Where the keys of a command are: anywhere half of the time.
    fn scope(&mut self, name: &str) -> Scope {
        if self.one_slot(name) || self.universe.once_in(2) { self.universe.tag() } else { Scope::Any }
    }
}

/// Whether the proxy has to understand more of the command's arguments than where keys are: how many there are, or that
/// keys and values come in pairs.
fn is_cut(row: &Row) -> bool {
    row.pattern.counts() || ["eval", "fcall", "mset"].iter().any(|name| row.name.starts_with(name))
}

/// SCRIPT FLUSH, after which no script is known; then all are loaded again.
fn flushed_scripts() -> Unit {
    let mut steps = vec![plain(&["SCRIPT", "FLUSH"])];
    steps.extend(SCRIPTS.iter().map(|(_, sha)| plain(&["EVALSHA", sha, "0"])));
    steps.extend(prelude().0);
    Unit(steps)
}

/// Loads every script; said before all else. Its last script can't be compiled, on purpose.
#[must_use]
pub fn prelude() -> Unit {
    Unit(SCRIPTS.iter().map(|(script, _)| plain(&["SCRIPT", "LOAD", script])).collect())
}

/// The slots of a command's keys.
#[must_use]
pub fn slots(command: &Command) -> BTreeSet<u16> {
    command.keys().map(|key| Slot::of(key).number()).collect()
}

/// A step of the first client without keys, compared byte for byte.
#[must_use]
pub fn plain(words: &[&str]) -> Step {
    let argv = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    said(Command { argv, keys: Vec::new() }, 0, Mark::Exact)
}

fn said(command: Command, client: usize, mark: Mark) -> Step {
    Step { command, client, expect: Expect::Same(mark) }
}
