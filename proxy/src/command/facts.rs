//! What the servers say of their commands, read from the checked-in tables `facts.txt` (made from running
//! servers by `tests/tools/command_facts.py`) and `facts_extra.txt` (written by hand).

use std::str::FromStr;

use thiserror::Error;

use super::spec::{BeginSearch, FindKeys, Flags, KeySpec, Spec};

/// What COMMAND INFO tells of a command beside its name, arity and flags.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// ACL categories without their `@`.
    pub categories: Box<[Box<str>]>,
    /// First key, last key (negative: from the end), step: what servers before 7 told of keys.
    pub triple: [i16; 3],
    /// Every key spec, those that name no key (a shard channel) included.
    pub key_specs: Box<[FlaggedKeySpec]>,
    /// Tips for routers, such as `request_policy:all_shards`.
    pub tips: Box<[Box<str>]>,
    /// The group the servers document it in.
    pub group: Box<str>,
    /// The version that brought it.
    pub since: Box<str>,
}

impl Facts {
    /// The value of the tip `name:value`.
    #[must_use]
    pub fn tip(&self, name: &str) -> Option<&str> {
        self.tips.iter().find_map(|tip| tip.strip_prefix(name)?.strip_prefix(':'))
    }
}

/// A key spec with the servers' words for how the keys are used: `RW`, `access`, `not_key` ...
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlaggedKeySpec {
    /// The words.
    pub flags: Box<[Box<str>]>,
    /// Where the keys stand.
    pub spec: KeySpec,
}

impl FlaggedKeySpec {
    /// Whether its arguments only choose the slot and are no keys (the channel of SPUBLISH).
    #[must_use]
    pub fn is_not_key(&self) -> bool {
        self.flags.iter().any(|flag| &**flag == "not_key")
    }
}

/// Why a row of a table can't be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FactsError {
    /// A row has nine columns.
    #[error("a row without its column {0}")]
    Column(&'static str),
    /// A number is none, or too big.
    #[error("{0} is not a number in range")]
    Number(String),
    /// A flag that [`Flags`] doesn't know.
    #[error("unknown flag {0}")]
    Flag(String),
    /// Not of the form that the head of the table gives.
    #[error("unknown key spec {0}")]
    KeySpec(String),
}

/// The rows of both tables, in their order.
pub fn builtin() -> impl Iterator<Item = Result<Spec, FactsError>> {
    let lines = include_str!("facts.txt").lines().chain(include_str!("facts_extra.txt").lines());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse_row)
}

fn parse_row(line: &str) -> Result<Spec, FactsError> {
    let mut columns = line.split_ascii_whitespace();
    let mut column = |title| columns.next().ok_or(FactsError::Column(title));
    let name = column("name")?;
    let arity = number(column("arity")?)?;
    let flags = parse_flags(column("flags")?)?;
    let facts = Facts {
        categories: words(column("acl-categories")?),
        triple: parse_triple(column("first,last,step")?)?,
        key_specs: parse_key_specs(column("key-specs")?)?.into(),
        tips: words(column("tips")?),
        group: column("group")?.into(),
        since: column("since")?.into(),
    };
    Ok(Spec::new(name, arity, flags, facts))
}

fn parse_flags(column: &str) -> Result<Flags, FactsError> {
    list(column, ',').try_fold(Flags::NONE, |flags, word| {
        Flags::from_word(word).map(|flag| flags.with(flag)).ok_or_else(|| FactsError::Flag(word.to_owned()))
    })
}

fn parse_triple(column: &str) -> Result<[i16; 3], FactsError> {
    let mut numbers = column.split(',').map(number);
    let mut next = || numbers.next().unwrap_or(Err(FactsError::Column("first,last,step")));
    Ok([next()?, next()?, next()?])
}

/// The key specs of such a column.
pub(super) fn parse_key_specs(column: &str) -> Result<Vec<FlaggedKeySpec>, FactsError> {
    list(column, ';').map(parse_key_spec).collect()
}

fn parse_key_spec(text: &str) -> Result<FlaggedKeySpec, FactsError> {
    let wrong = || FactsError::KeySpec(text.to_owned());
    let (flags, rest) = text.split_once('@').ok_or_else(wrong)?;
    let (begin, find) = rest.split_once('/').ok_or_else(wrong)?;
    let begin = match *begin.split(':').collect::<Vec<_>>() {
        ["index", position] => BeginSearch::Index(number(position)?),
        ["keyword", word, from] => BeginSearch::Keyword { word: word.into(), from: number(from)? },
        ["unknown"] => BeginSearch::Unknown,
        _ => return Err(wrong()),
    };
    let find = match *find.split(':').collect::<Vec<_>>() {
        ["range", last, step, limit] => {
            FindKeys::Range { last: number(last)?, step: number(step)?, limit: number(limit)? }
        }
        ["keynum", count, first, step] => {
            FindKeys::KeyNum { count: number(count)?, first: number(first)?, step: number(step)? }
        }
        ["unknown"] => FindKeys::Unknown,
        _ => return Err(wrong()),
    };
    Ok(FlaggedKeySpec { flags: words(flags), spec: KeySpec { begin, find } })
}

fn words(column: &str) -> Box<[Box<str>]> {
    list(column, ',').map(Box::from).collect()
}

/// The items of a column, in which `-` stands for none.
fn list(column: &str, separator: char) -> impl Iterator<Item = &str> {
    column.split(separator).filter(|item| *item != "-" && !item.is_empty())
}

fn number<T: FromStr>(text: &str) -> Result<T, FactsError> {
    text.parse().map_err(|_| FactsError::Number(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_tables_parses() {
        let rows: Vec<_> = builtin().collect::<Result<_, _>>().unwrap();
        assert!(rows.len() > 400);
    }

    #[test]
    fn no_row_stands_twice() {
        let mut names: Vec<_> = builtin().map(|row| row.unwrap().name).collect();
        names.sort_unstable();
        assert_eq!(names.windows(2).find(|pair| pair[0] == pair[1]), None);
    }

    #[test]
    fn a_broken_row_says_what_is_wrong() {
        let row = |flags, spec| format!("x 2 {flags} read 1,1,1 {spec} - generic 1.0.0");
        assert_eq!(parse_row("x 2"), Err(FactsError::Column("flags")));
        assert_eq!(parse_row(&row("quick", "-")), Err(FactsError::Flag("quick".into())));
        assert_eq!(parse_row(&row("fast", "RO@index:1")), Err(FactsError::KeySpec("RO@index:1".into())));
        assert_eq!(parse_row(&row("fast", "RO@index:x/unknown")), Err(FactsError::Number("x".into())));
    }
}
