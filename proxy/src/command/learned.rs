//! What a server answers to COMMAND, read into rows, so that commands which our own table lacks are routed by what the
//! server itself knows of them. Both protocols, and servers before 7, whose rows are shorter; what is odd is left out.

use std::num::TryFromIntError;

use thiserror::Error;

use super::facts::{Facts, FlaggedKeySpec};
use super::keys::MAX_SPANS;
use super::modules;
use super::spec::{BeginSearch, FindKeys, Flags, KeySpec, Spec};
use super::table::LONGEST_NAME;
use crate::resp::value::{Value, ValueError};

/// Why a reply tells no commands.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LearnError {
    /// No RESP, or too much of it.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The server's words for that we may not ask.
    #[error("refused: {0}")]
    Refused(String),
    /// Something else than rows.
    #[error("the reply is no list")]
    Shape,
}

/// Most rows that are looked at, subcommands included.
const MOST_ROWS: usize = 16_384;
/// Most words of one kind in a row, and bytes of a word: what is told goes out again with COMMAND INFO.
const MOST_WORDS: usize = 64;
const LONGEST_WORD: usize = 128;

/// The rows of a reply to COMMAND.
///
/// # Errors
/// Where it has none.
pub fn read(reply: &[u8]) -> Result<Vec<Spec>, LearnError> {
    let value = Value::parse(reply)?;
    let rows = match &value {
        Value::List(rows) => rows,
        Value::Error(text) => {
            let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
            return Err(LearnError::Refused(text.replace(char::is_control, " ")));
        }
        _ => return Err(LearnError::Shape),
    };
    let mut specs = Vec::new();
    for row in rows.iter().take(MOST_ROWS) {
        let Some(spec) = read_row(row) else { continue };
        let prefix = format!("{}|", spec.name);
        specs.push(spec);
        // One level: a subcommand has none itself.
        let subcommands = row.list().and_then(|row| row.get(9)?.list()).unwrap_or_default();
        let subcommands = subcommands.iter().filter_map(read_row).filter(|sub| sub.name.starts_with(&prefix));
        specs.extend(subcommands.take(MOST_ROWS.saturating_sub(specs.len())));
    }
    specs.truncate(MOST_ROWS);
    Ok(specs)
}

/// `[name, arity, flags, first, last, step]`, since Redis 6 with ACL categories, since 7 with tips, key specs and
/// subcommands behind them.
fn read_row(row: &Value<'_>) -> Option<Spec> {
    let [name, arity, flags, first, last, step, more @ ..] = row.list()? else { return None };
    let name = word(name)?.to_ascii_lowercase();
    let arity = number(arity)?;
    if arity == 0 || name.len() > LONGEST_NAME || name.matches('|').count() > 1 {
        return None;
    }
    let flags = words(Some(flags));
    let flags = flags.iter().filter_map(|word| Flags::from_word(word)).fold(Flags::NONE, Flags::with);
    let triple = [number(first)?, number(last)?, number(step)?];
    let told = match modules::key_specs(&name) {
        Some(reviewed) => reviewed,
        None => read_key_specs(more.get(2), triple)?,
    };
    let categories = words(more.first());
    let facts = Facts {
        categories: categories.iter().map(|word| word.trim_start_matches('@').into()).collect(),
        triple,
        key_specs: told.into(),
        tips: words(more.get(1)),
        group: "module".into(),
        since: "-".into(),
    };
    Some(Spec::new(&name, arity, flags, facts))
}

/// The key specs; where there are none, as of servers before 7, what first, last and step say. `None` for more than
/// are looked for in a request, since the keys of the others would be missed.
fn read_key_specs(specs: Option<&Value<'_>>, triple: [i16; 3]) -> Option<Vec<FlaggedKeySpec>> {
    let specs = specs.and_then(Value::list).unwrap_or_default();
    if specs.len() > MAX_SPANS {
        return None;
    }
    if specs.is_empty() {
        return Some(of_triple(triple).into_iter().collect());
    }
    Some(specs.iter().map(read_key_spec).collect())
}

fn of_triple([first, last, step]: [i16; 3]) -> Option<FlaggedKeySpec> {
    let begin = u16::try_from(first).ok().filter(|first| *first > 0)?;
    let last = if last < 0 { last } else { last.saturating_sub(first).max(0) };
    let find = FindKeys::Range { last, step: u16::try_from(step).unwrap_or(1).max(1), limit: 0 };
    let spec = KeySpec { begin: BeginSearch::Index(begin), find };
    Some(FlaggedKeySpec { flags: Box::default(), spec })
}

/// What can't be read is unknown: there keys may be that are not seen.
fn read_key_spec(value: &Value<'_>) -> FlaggedKeySpec {
    let begin = value.field("begin_search").and_then(read_begin).unwrap_or(BeginSearch::Unknown);
    let find = value.field("find_keys").and_then(read_find).unwrap_or(FindKeys::Unknown);
    FlaggedKeySpec { flags: words(value.field("flags")), spec: KeySpec { begin, find } }
}

fn read_begin(search: &Value<'_>) -> Option<BeginSearch> {
    let spec = search.field("spec")?;
    match search.field("type")?.text()? {
        b"index" => Some(BeginSearch::Index(field(spec, "index")?)),
        b"keyword" => {
            let word = word(spec.field("keyword")?)?.to_ascii_uppercase();
            Some(BeginSearch::Keyword { word: word.into(), from: field(spec, "startfrom")? })
        }
        _ => None,
    }
}

fn read_find(search: &Value<'_>) -> Option<FindKeys> {
    let spec = search.field("spec")?;
    match search.field("type")?.text()? {
        b"range" => Some(FindKeys::Range {
            last: field(spec, "lastkey")?,
            step: field(spec, "keystep")?,
            limit: field(spec, "limit")?,
        }),
        b"keynum" => Some(FindKeys::KeyNum {
            count: field(spec, "keynumidx")?,
            first: field(spec, "firstkey")?,
            step: field(spec, "keystep")?,
        }),
        _ => None,
    }
}

fn field<N: TryFrom<i64, Error = TryFromIntError>>(spec: &Value<'_>, name: &str) -> Option<N> {
    number(spec.field(name)?)
}

fn number<N: TryFrom<i64, Error = TryFromIntError>>(value: &Value<'_>) -> Option<N> {
    N::try_from(value.integer()?).ok()
}

/// Words that can go out again, the others left out.
fn words(list: Option<&Value<'_>>) -> Box<[Box<str>]> {
    let items = list.and_then(Value::list).unwrap_or_default();
    items.iter().filter_map(word).take(MOST_WORDS).map(Box::from).collect()
}

/// A word of visible characters.
fn word<'a>(value: &Value<'a>) -> Option<&'a str> {
    let text = value.text()?;
    let plain = (1..=LONGEST_WORD).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
    str::from_utf8(text).ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::keys::positions;
    use crate::command::spec::{Keys, Merge, Refused, Treatment};
    use crate::command::table::Table;
    use crate::resp::request::{ArgRange, Request};

    /// RESP of a line in which `[` opens a list of what stands up to its `]`, `:n` is an integer, all else a status.
    fn resp(line: &str) -> Vec<u8> {
        fn items<'a>(words: &mut impl Iterator<Item = &'a str>) -> (usize, String) {
            let (mut count, mut out) = (0, String::new());
            while let Some(word) = words.next() {
                match word {
                    "[" => {
                        let (inner, text) = items(words);
                        out += &format!("*{inner}\r\n{text}");
                    }
                    "]" => break,
                    word if word.starts_with(':') => out += &format!("{word}\r\n"),
                    word => out += &format!("+{word}\r\n"),
                }
                count += 1;
            }
            (count, out)
        }
        let (count, text) = items(&mut line.split_ascii_whitespace());
        format!("*{count}\r\n{text}").into_bytes()
    }

    fn one(line: &str) -> Spec {
        let rows = read(&resp(line)).unwrap();
        assert_eq!(rows.len(), 1, "{line}");
        rows.into_iter().next().unwrap()
    }

    fn keys_of(spec: &Spec, line: &str) -> Vec<usize> {
        let mut start = 0;
        let argv: Vec<_> = line
            .split(' ')
            .map(|word| {
                let range = ArgRange { start, len: word.len() as u32 };
                start += range.len + 1;
                range
            })
            .collect();
        positions(spec, &Request::new(line.as_bytes(), &argv)).unwrap().collect()
    }

    const RANGE: &str = "[ flags [ RW ] begin_search [ type index spec [ index :1 ] ] \
                         find_keys [ type range spec [ lastkey :-1 keystep :3 limit :0 ] ] ]";
    const KEYNUM: &str = "[ flags [ RO ] begin_search [ type keyword spec [ keyword FROM startfrom :1 ] ] \
                          find_keys [ type keynum spec [ keynumidx :0 firstkey :1 keystep :1 ] ] ]";

    #[test]
    fn a_row_of_today_is_read_with_its_key_specs() {
        let spec =
            one(&format!("[ X.Put :-2 [ write new-flag ] :1 :-1 :3 [ @write ] [ a:b ] [ {RANGE} ] [ ] ]"));
        assert_eq!((&*spec.name, spec.arity, spec.flags), ("x.put", -2, Flags::WRITE));
        assert_eq!((&*spec.facts.categories[0], spec.facts.tip("a")), ("write", Some("b")));
        assert_eq!(spec.treatment, Treatment::Keyed);
        assert_eq!(keys_of(&spec, "x.put a b c d e f"), [1, 4]);
        let spec = one(&format!("[ x.read :-2 [ ] :0 :0 :0 [ ] [ ] [ {KEYNUM} ] [ ] ]"));
        assert_eq!(keys_of(&spec, "x.read opt from 2 a b c"), [4, 5]);
    }

    #[test]
    fn an_old_servers_row_has_its_keys_in_the_triple() {
        let spec = one("[ x.old :-2 [ readonly ] :2 :3 :1 ]");
        assert_eq!((spec.treatment, keys_of(&spec, "x.old sub a b c")), (Treatment::Keyed, vec![2, 3]));
        let spec = one("[ x.old :-2 [ readonly ] :1 :-2 :1 [ @read ] ]");
        assert_eq!(keys_of(&spec, "x.old a b path"), [1, 2]);
        let spec = one("[ x.none :-1 [ readonly ] :0 :0 :0 ]");
        assert_eq!((&spec.keys, spec.treatment), (&Keys::None, Treatment::FixedShard));
    }

    #[test]
    fn treatments_follow_from_facts() {
        let treatment = |line: &str| one(line).treatment;
        assert_eq!(treatment("[ x :-1 [ blocking ] :1 :1 :1 ]"), Treatment::Blocking);
        assert_eq!(treatment("[ x :-1 [ admin ] :0 :0 :0 ]"), Treatment::Refused(Refused::NodeAdmin));
        assert_eq!(
            treatment("[ x :-1 [ fast ] :0 :0 :0 [ @connection ] ]"),
            Treatment::Refused(Refused::Connection)
        );
        let tips = |tips: &str| treatment(&format!("[ x :-1 [ ] :0 :0 :0 [ ] [ {tips} ] [ ] [ ] ]"));
        assert_eq!(
            tips("request_policy:all_shards response_policy:agg_sum"),
            Treatment::EveryShard(Merge::Sum)
        );
        assert_eq!(tips("request_policy:all_nodes"), Treatment::EveryShard(Merge::Concat));
        assert_eq!(
            tips("request_policy:all_shards response_policy:special"),
            Treatment::Refused(Refused::EveryShard)
        );
    }

    #[test]
    fn a_containers_subcommands_come_with_it() {
        let rows = read(&resp(
            "[ Box :-2 [ ] :0 :0 :0 [ ] [ ] [ ] [ [ box|put :3 [ ] :2 :2 :1 ] [ other|put :3 [ ] :0 :0 :0 ] ] ]",
        ));
        let names: Vec<_> = rows.unwrap().into_iter().map(|row| row.name.into_string()).collect();
        assert_eq!(names, ["box", "box|put"]);
    }

    #[test]
    fn odd_rows_are_left_out_and_a_refusal_keeps_its_words() {
        let long = "x".repeat(65);
        for row in [
            "[ ]",
            "x",
            "[ x :0 [ ] :1 :1 :1 ]",
            "[ x :70000 [ ] :1 :1 :1 ]",
            "[ x :1 [ ] :1 :1 ]",
            "[ a|b|c :1 [ ] :0 :0 :0 ]",
            &format!("[ {long} :1 [ ] :0 :0 :0 ]"),
        ] {
            assert!(read(&resp(row)).unwrap().is_empty(), "{row}");
        }
        assert_eq!(read(b"-NOPERM no\r\n"), Err(LearnError::Refused("NOPERM no".into())));
        assert_eq!(read(b"+OK\r\n"), Err(LearnError::Shape));
        assert!(matches!(read(b"*1\r\n"), Err(LearnError::Value(_))));
    }

    #[test]
    fn words_that_would_break_a_reply_are_left_out() {
        let reply = b"*1\r\n*7\r\n+x\r\n:1\r\n*1\r\n$3\r\na\r\n\r\n:0\r\n:0\r\n:0\r\n*2\r\n$4\r\na\r\nb\r\n+@read\r\n";
        let rows = read(reply).unwrap();
        assert_eq!(rows[0].facts.categories, ["read".into()].into());
    }

    #[test]
    fn no_cut_or_flipped_byte_panics() {
        let reply =
            resp(&format!("[ x.put :-2 [ write ] :1 :-1 :3 [ @write ] [ a:b ] [ {RANGE} {KEYNUM} ] [ ] ]"));
        for at in 0..reply.len() {
            let mut flipped = reply.clone();
            flipped[at] ^= 0x11;
            assert!(read(&reply[..at]).is_err());
            if let Ok(rows) = read(&flipped) {
                let _ = Table::builtin().with_learned(rows);
            }
        }
    }
}
