//! The table of commands: every request's command is looked up here, by name in any case, in one probe and
//! without allocating.

use std::num::NonZeroU16;

use hashbrown::HashTable;

use super::facts;
use super::spec::Spec;
use crate::resp::request::Request;

/// No command's name is longer, with its container and the bar; what is longer is not looked up.
const LONGEST_NAME: usize = 64;

/// All commands that the proxy knows. Immutable; built once and shared.
#[derive(Debug)]
pub struct Table {
    /// Sorted by name, so a container's subcommands stand together.
    rows: Box<[Spec]>,
    /// Top-level commands, as indices of `rows`.
    commands: HashTable<u16>,
    /// Subcommands by their full name. Apart, since `config|get` as argument 0 is no command.
    subcommands: HashTable<u16>,
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
        mark_containers(&mut rows);
        for (row, number) in rows.iter_mut().zip(1..) {
            row.number = NonZeroU16::new(number);
        }
        let (mut commands, mut subcommands) = (HashTable::new(), HashTable::new());
        for (index, row) in (0u16..).zip(&rows) {
            let names = if row.is_subcommand() { &mut subcommands } else { &mut commands };
            let rehash = |&other: &u16| hash(HASH_START, rows[usize::from(other)].name.as_bytes());
            names.insert_unique(hash(HASH_START, row.name.as_bytes()), index, rehash);
        }
        Self { rows: rows.into(), commands, subcommands }
    }

    /// The command of `request`.
    #[must_use]
    pub fn find(&self, request: &Request<'_>) -> Lookup<'_> {
        self.find_names(request.name(), request.arg(1))
    }

    /// The command `name`, or where it is a container and `argument` is given, the subcommand of that name.
    #[must_use]
    pub fn find_names(&self, name: &[u8], argument: Option<&[u8]>) -> Lookup<'_> {
        let Some(spec) = self.command(name) else { return Lookup::Unknown };
        match argument {
            Some(subcommand) if spec.container => self
                .subcommand(spec, subcommand)
                .map_or(Lookup::UnknownSubcommand { container: spec }, Lookup::Found),
            _ => Lookup::Found(spec),
        }
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

    /// Every row, sorted by name: a container stands before its subcommands.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Spec> {
        self.rows.iter()
    }

    /// The rows of a container's subcommands; none where `container` is none.
    #[must_use]
    pub fn subcommands(&self, container: &Spec) -> &[Spec] {
        let prefix = format!("{}|", container.name);
        let start = self.rows.partition_point(|row| *row.name < *prefix);
        let rest = self.rows.get(start..).unwrap_or_default();
        let count = rest.iter().take_while(|row| row.name.starts_with(&prefix)).count();
        rest.get(..count).unwrap_or_default()
    }

    fn command(&self, name: &[u8]) -> Option<&Spec> {
        if name.len() > LONGEST_NAME {
            return None;
        }
        let same = |&row: &u16| self.name(row).eq_ignore_ascii_case(name);
        let row = self.commands.find(hash(HASH_START, name), same)?;
        self.rows.get(usize::from(*row))
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
    let names: Vec<_> = rows.iter().filter_map(|row| Some(row.name.split_once('|')?.0.to_owned())).collect();
    for row in rows {
        row.container = names.iter().any(|name| **name == *row.name);
    }
}

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Goes on hashing with `bytes`, letters in either case alike. FNV-1a, mixed once a byte: names are a few
/// bytes long, and the table is made of our own rows, so nobody can choose names that collide.
fn hash(begun: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(begun, |hash, &byte| (hash ^ u64::from(byte | 0x20)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::spec::{Keys, Treatment};

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
            table.subcommands(container).iter().map(|row| &*row.name).collect()
        };
        assert_eq!(names("object").len(), 5);
        assert!(names("cluster").iter().all(|name| name.starts_with("cluster|")));
        assert!(names("get").is_empty());
    }
}
