//! The table of commands: every request's command is looked up here, by name in any case, in one probe and
//! without allocating.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;

use hashbrown::HashTable;

use super::facts;
use super::spec::{Keys, Refused, Spec, Treatment};
use crate::resp::request::Request;

/// No command's name is longer, with its container and the bar; what is longer is not looked up.
pub const LONGEST_NAME: usize = 64;

/// Most rows that are learned; servers with all their modules have some 400.
const MOST_LEARNED: usize = 4_096;

/// All commands that the proxy knows. Immutable and shared; replaced whole when commands were learned.
#[derive(Debug)]
pub struct Table {
    /// First our own, sorted by name, so a container's subcommands stand together; behind them what was learned, in
    /// the order in which it was, so that no row's number ever changes.
    rows: Box<[Spec]>,
    /// How many are our own.
    own: usize,
    /// Top-level commands.
    commands: HashTable<Entry>,
    /// Subcommands, as indices of `rows`, by their full name. Apart, since `config|get` as argument 0 is no command.
    subcommands: HashTable<u16>,
}

/// A command by its name.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// See [`key`].
    key: u64,
    /// Its index in the rows.
    row: u16,
}

/// What [`Table::find`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup<'t> {
    /// The command or subcommand. A container sent alone is found too: its arity says that it wants more.
    Found(&'t Spec),
    /// No such command.
    Unknown,
    /// The command is known, the subcommand in argument 1 is not.
    UnknownSubcommand {
        /// The command.
        container: &'t Spec,
    },
}

impl Table {
    /// The commands of the checked-in facts.
    ///
    /// # Panics
    /// Where a checked-in row doesn't parse, which a unit test proves of none.
    #[must_use]
    pub fn builtin() -> Self {
        Self::new(facts::builtin().map(|row| row.expect("the checked-in facts parse")))
    }

    /// A table of these rows; of two with one name the later counts. At most 65,535 rows are taken.
    #[must_use]
    pub fn new(rows: impl IntoIterator<Item = Spec>) -> Self {
        let mut rows: Vec<Spec> = rows.into_iter().take(usize::from(u16::MAX)).collect();
        rows.reverse();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows.dedup_by(|a, b| a.name == b.name);
        let own = rows.len();
        Self::of_rows(rows, own)
    }

    /// The table with what `learned` adds to it, and how many of its commands are new; `None` where that is nothing.
    /// Our own rows stay as they are, whatever a server says of them; a learned row that changed is replaced. A
    /// subcommand belongs to a container of this table, or to a learned one.
    #[must_use]
    pub fn with_learned(&self, learned: Vec<Spec>) -> Option<(Self, usize)> {
        let mut rows = self.rows.to_vec();
        let mut places: HashMap<Box<str>, usize> =
            (0..).zip(&rows).map(|(index, row)| (row.name.clone(), index)).collect();
        let (mut added, mut changed) = (0, false);
        for mut row in learned {
            // Known by its number and as a container only once it stands in a table.
            let place = places.get(&row.name).copied();
            if let Some(old) = place.and_then(|place| self.rows.get(place)) {
                (row.number, row.container) = (old.number, old.container);
            }
            if row.keys == Keys::None && self.is_own_subcommand(&row, &places) {
                // What CLIENT or CLUSTER learned to do is about a connection or a node, whatever facts say.
                row.treatment = Treatment::Refused(Refused::NodeAdmin);
            }
            match place {
                Some(place) if place < self.own => {}
                Some(place) => {
                    changed |= rows[place] != row;
                    rows[place] = row;
                }
                None if rows.len() >= self.own + MOST_LEARNED => break,
                None if !self.takes_in(&row, &rows, &places) => {}
                None => {
                    places.insert(row.name.clone(), rows.len());
                    rows.push(row);
                    added += 1;
                }
            }
        }
        (added > 0 || changed).then(|| (Self::of_rows(rows, self.own), added))
    }

    /// Whether a row is a command, or a subcommand of what is a container: nothing of ours becomes one.
    fn takes_in(&self, row: &Spec, rows: &[Spec], places: &HashMap<Box<str>, usize>) -> bool {
        let Some((container, _)) = row.name.split_once('|') else { return true };
        let place = places.get(container).copied();
        place.is_some_and(|place| place >= self.own || rows[place].container)
    }

    /// Whether a row is a subcommand of a container of ours.
    fn is_own_subcommand(&self, row: &Spec, places: &HashMap<Box<str>, usize>) -> bool {
        let container = row.name.split_once('|').and_then(|(container, _)| places.get(container));
        container.is_some_and(|place| *place < self.own)
    }

    fn of_rows(mut rows: Vec<Spec>, own: usize) -> Self {
        mark_containers(&mut rows);
        for (row, number) in rows.iter_mut().zip(1..) {
            row.number = NonZeroU16::new(number);
        }
        let (mut commands, mut subcommands) = (HashTable::new(), HashTable::new());
        for (index, row) in (0u16..).zip(&rows) {
            let name = row.name.as_bytes();
            if row.is_subcommand() {
                let rehash = |&other: &u16| hash(HASH_START, rows[usize::from(other)].name.as_bytes());
                subcommands.insert_unique(hash(HASH_START, name), index, rehash);
            } else {
                let entry = Entry { key: key(name), row: index };
                commands.insert_unique(spread(entry.key), entry, |other| spread(other.key));
            }
        }
        Self { rows: rows.into(), own, commands, subcommands }
    }

    /// How many of the rows were learned.
    #[must_use]
    pub fn learned(&self) -> usize {
        self.rows.len() - self.own
    }

    /// The command of `request`.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, request: &Request<'_>) -> Lookup<'_> {
        match self.command(request.name()) {
            Some(spec) if spec.container => self.within(spec, request.arg(1)),
            Some(spec) => Lookup::Found(spec),
            None => Lookup::Unknown,
        }
    }

    /// The command `name`, or where it is a container and `argument` is given, the subcommand of that name.
    #[must_use]
    pub fn find_names(&self, name: &[u8], argument: Option<&[u8]>) -> Lookup<'_> {
        let Some(spec) = self.command(name) else { return Lookup::Unknown };
        if spec.container { self.within(spec, argument) } else { Lookup::Found(spec) }
    }

    fn within<'t>(&'t self, container: &'t Spec, argument: Option<&[u8]>) -> Lookup<'t> {
        let Some(subcommand) = argument else { return Lookup::Found(container) };
        self.subcommand(container, subcommand).map_or(Lookup::UnknownSubcommand { container }, Lookup::Found)
    }

    /// A command or subcommand by its full name, `get` or `config|get`, in any case.
    #[must_use]
    pub fn by_full_name(&self, name: &[u8]) -> Option<&Spec> {
        let Some(bar) = memchr::memchr(b'|', name) else { return self.command(name) };
        self.subcommand(self.command(name.get(..bar)?)?, name.get(bar + 1..)?)
    }

    /// The name of the command of this number; `NULL` for none, as the servers show it.
    #[must_use]
    pub fn name_of(&self, number: Option<NonZeroU16>) -> &str {
        let row = number.and_then(|number| self.rows.get(usize::from(number.get()) - 1));
        row.map_or("NULL", |row| &row.name)
    }

    /// Every row: our own, sorted by name, then the learned ones. A container stands before its subcommands.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Spec> {
        self.rows.iter()
    }

    /// The rows of a container's subcommands; none where `container` is none.
    pub fn subcommands<'t>(&'t self, container: &Spec) -> impl Iterator<Item = &'t Spec> + Clone + use<'t> {
        let prefix = format!("{}|", container.name);
        let (own, learned) = self.rows.split_at(self.own);
        let start = own.partition_point(|row| *row.name < *prefix);
        let rest = own.get(start..).unwrap_or_default();
        let count = rest.iter().take_while(|row| row.name.starts_with(&prefix)).count();
        // Most have none at all, which their mark says at once.
        let learned = if container.container { learned } else { &[] };
        let learned = learned.iter().filter(move |row| row.name.starts_with(&prefix));
        rest.get(..count).unwrap_or_default().iter().chain(learned)
    }

    #[inline]
    fn command(&self, name: &[u8]) -> Option<&Spec> {
        if name.len() > LONGEST_NAME {
            return None;
        }
        let key = key(name);
        let same = |entry: &Entry| {
            let own = self.name(entry.row);
            // Of a short name the key is all there is to know, but how long it is.
            entry.key == key && own.len() == name.len() && (is_short(name) || own.eq_ignore_ascii_case(name))
        };
        let entry = self.commands.find(spread(key), same)?;
        self.rows.get(usize::from(entry.row))
    }

    fn subcommand(&self, container: &Spec, subcommand: &[u8]) -> Option<&Spec> {
        if subcommand.len() > LONGEST_NAME {
            return None;
        }
        let same = |&row: &u16| {
            let tail =
                self.name(row).strip_prefix(container.name.as_bytes()).and_then(|t| t.strip_prefix(b"|"));
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(subcommand))
        };
        let begun = hash(hash(HASH_START, container.name.as_bytes()), b"|");
        let row = self.subcommands.find(hash(begun, subcommand), same)?;
        self.rows.get(usize::from(*row))
    }

    fn name(&self, row: u16) -> &[u8] {
        self.rows.get(usize::from(row)).map_or(b"", |spec| spec.name.as_bytes())
    }
}

fn mark_containers(rows: &mut [Spec]) {
    let names: HashSet<Box<str>> =
        rows.iter().filter_map(|row| Some(row.name.split_once('|')?.0.into())).collect();
    for row in rows {
        row.container = names.contains(&row.name);
    }
}

/// Whether a name fits into a word, as those of nearly all commands do that are asked for often.
fn is_short(name: &[u8]) -> bool {
    name.len() <= 8
}

/// What a command's name is looked up by: a short one itself, in lower case; a hash of a longer one.
#[inline]
fn key(name: &[u8]) -> u64 {
    match (name.first_chunk(), name.last_chunk()) {
        // Two halves that cover it together; they overlap where it has less than eight bytes.
        (Some(begin), Some(end)) if is_short(name) => {
            lower_case(u64::from(u32::from_le_bytes(*begin)) | u64::from(u32::from_le_bytes(*end)) << 32)
        }
        (Some(_), _) => hash(HASH_START, name),
        _ => lower_case(name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))),
    }
}

/// Eight bytes at once, as [`u8::to_ascii_lowercase`].
#[inline]
fn lower_case(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // Without their high bits, bytes can be added to without a carry into the next: a sum's high bit then says
    // whether the byte is at least so much.
    let low = word & each(0x7f);
    let from_a = low + each(0x80 - b'A');
    let above_z = low + each(0x80 - b'Z' - 1);
    let upper = from_a & !above_z & !word & each(0x80);
    word | upper >> 2
}

/// Spreads what keys differ in over all bits of a hash.
#[inline]
fn spread(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26)
}

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Goes on hashing with `bytes`, letters in either case alike. FNV-1a, mixed once a byte: names are a few
/// bytes long, and the rows are our own and the servers', so no client can choose names that collide.
fn hash(begun: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(begun, |hash, &byte| (hash ^ u64::from(byte | 0x20)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::facts::Facts;
    use crate::command::spec::Flags;

    fn find<'t>(table: &'t Table, name: &str, argument: Option<&str>) -> Lookup<'t> {
        table.find_names(name.as_bytes(), argument.map(str::as_bytes))
    }

    #[test]
    fn names_are_found_in_any_case() {
        let table = Table::builtin();
        for name in ["get", "GET", "gEt"] {
            let Lookup::Found(spec) = find(&table, name, Some("k")) else { panic!("{name} is not found") };
            assert_eq!((&*spec.name, &spec.keys, spec.treatment), ("get", &Keys::First, Treatment::Keyed));
        }
    }

    #[test]
    fn every_row_is_found_by_its_names() {
        let table = Table::builtin();
        for row in table.iter() {
            let upper = row.name.to_uppercase();
            let (name, argument) = upper.split_once('|').map_or((&*upper, None), |(n, sub)| (n, Some(sub)));
            assert_eq!(find(&table, name, argument), Lookup::Found(row), "{upper}");
            assert_eq!(table.by_full_name(upper.as_bytes()), Some(row), "{upper}");
            assert_eq!(table.name_of(row.number), &*row.name);
        }
    }

    #[test]
    fn eight_bytes_are_put_in_lower_case_as_each_alone() {
        for byte in 0..=u8::MAX {
            for other in [0, b'A', b'Z', b'a', 0x7f, 0x80, 0xc1, 0xff] {
                let word = [byte, other, byte, other, byte, byte, other, byte];
                let lower = word.map(|byte| byte.to_ascii_lowercase());
                assert_eq!(lower_case(u64::from_le_bytes(word)), u64::from_le_bytes(lower), "{word:?}");
            }
        }
    }

    #[test]
    fn names_that_are_nearly_those_of_commands_are_unknown() {
        let table = Table::builtin();
        for row in table.iter().filter(|row| !row.is_subcommand()) {
            let name = row.name.as_bytes();
            for (place, change) in (0..name.len()).flat_map(|place| [0x01, 0x20, 0x80].map(|c| (place, c))) {
                let mut other = name.to_vec();
                other[place] ^= change;
                let found = table.command(&other);
                let expected = table.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(&other));
                assert_eq!(found, expected, "{}", other.escape_ascii());
            }
            assert_eq!(table.command(&name[..name.len() - 1]).map(|row| row.name.len()), {
                let shorter = table.iter().find(|row| row.name.as_bytes() == &name[..name.len() - 1]);
                shorter.map(|row| row.name.len())
            });
        }
    }

    #[test]
    fn a_subcommand_is_looked_up_in_containers_only() {
        let table = Table::builtin();
        assert!(
            matches!(find(&table, "CONFIG", Some("get")), Lookup::Found(spec) if &*spec.name == "config|get")
        );
        assert!(matches!(find(&table, "get", Some("get")), Lookup::Found(spec) if &*spec.name == "get"));
        assert!(matches!(find(&table, "config", None), Lookup::Found(spec) if !spec.takes(1)));
        assert!(matches!(find(&table, "command", None), Lookup::Found(spec) if spec.takes(1)));
        assert!(
            matches!(find(&table, "config", Some("nix")), Lookup::UnknownSubcommand { container } if &*container.name == "config")
        );
    }

    #[test]
    fn what_is_no_command_is_unknown() {
        let table = Table::builtin();
        let long = "x".repeat(100_000);
        for name in ["", "nix", "config|get", "get\0", "\u{e9}", "_et", &long] {
            assert_eq!(find(&table, name, None), Lookup::Unknown, "{name:.20}");
        }
        assert!(matches!(find(&table, "config", Some(&long)), Lookup::UnknownSubcommand { .. }));
    }

    #[test]
    fn a_container_lists_its_own_subcommands() {
        let table = Table::builtin();
        let names = |name: &str| -> Vec<_> {
            let container = table.by_full_name(name.as_bytes()).unwrap();
            table.subcommands(container).map(|row| &*row.name).collect()
        };
        assert_eq!(names("object").len(), 5);
        assert!(names("cluster").iter().all(|name| name.starts_with("cluster|")));
        assert!(names("get").is_empty());
    }

    fn row(name: &str) -> Spec {
        Spec::new(name, -1, Flags::READONLY, Facts::default())
    }

    #[test]
    fn learned_rows_stand_behind_our_own_and_keep_their_numbers() {
        let own = Table::builtin();
        let (first, added) = own.with_learned(vec![row("x.b"), row("box"), row("box|a")]).unwrap();
        assert_eq!((added, first.learned()), (3, 3));
        let (second, added) = first.with_learned(vec![row("a.a"), row("x.b"), row("box|b")]).unwrap();
        assert_eq!((added, second.learned()), (2, 5));
        for name in ["get", "zunion", "config|get"] {
            let number = |table: &Table| table.by_full_name(name.as_bytes()).unwrap().number;
            assert_eq!((number(&first), number(&second)), (number(&own), number(&own)), "{name}");
        }
        let number = |table: &Table, name: &str| table.by_full_name(name.as_bytes()).unwrap().number;
        assert_eq!(number(&second, "x.b"), number(&first, "x.b"));
        assert_eq!(second.name_of(number(&second, "A.a")), "a.a");
        let container = second.by_full_name(b"box").unwrap();
        let subcommands: Vec<_> = second.subcommands(container).map(|row| &*row.name).collect();
        assert_eq!(subcommands, ["box|a", "box|b"]);
        assert!(second.with_learned(vec![row("x.b"), row("box"), row("box|b")]).is_none(), "nothing new");
    }

    #[test]
    fn a_server_cannot_change_what_is_ours() {
        let own = Table::builtin();
        let hostile = ["get", "get|foo", "nobody|sub", "config|get"].map(row).to_vec();
        assert!(own.with_learned(hostile).is_none());
        let (table, _) = own.with_learned(vec![row("config|new"), row("get"), row("get|foo")]).unwrap();
        assert!(!table.by_full_name(b"get").unwrap().container);
        assert_eq!(table.learned(), 1);
        let new = table.by_full_name(b"config|new").unwrap();
        assert_eq!(new.treatment, Treatment::Refused(Refused::NodeAdmin));
        assert!(table.with_learned(vec![row("config|new")]).is_none(), "nothing new");
    }

    #[test]
    fn a_learned_row_that_changed_is_replaced() {
        let (table, _) = Table::builtin().with_learned(vec![row("x.a"), row("x.b")]).unwrap();
        let changed = Spec::new("x.a", 2, Flags::WRITE, Facts::default());
        let (table, added) = table.with_learned(vec![changed]).unwrap();
        assert_eq!((added, table.learned(), table.by_full_name(b"x.a").unwrap().arity), (0, 2, 2));
    }

    #[test]
    fn what_is_learned_is_bounded() {
        let rows = (0..10_000).map(|number| row(&format!("x.{number}"))).collect();
        assert_eq!(Table::builtin().with_learned(rows).unwrap().0.learned(), MOST_LEARNED);
    }
}
