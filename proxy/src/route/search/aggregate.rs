//! FT.AGGREGATE, read: what of the pipeline every shard does, and what is left for here.
//!
//! Steps that look at one row at a time are done by the shards. SORTBY with its LIMIT, the last step, is done by both;
//! of GROUPBY the shards do their part of each group. A step behind those would need the rows of all shards together.

use std::borrow::Cow;
use std::ops::Range;

use super::arguments::{Arguments, shown};
use super::expression;
use super::gathering::Gathering;
use super::groups::{Groups, Kind, Reducer};
use super::outgoing::kept;
use super::query::{MOST_ROWS, Page};
use super::refused::Refused;
use super::rows::{Key, Rows};
use super::schema::Need;
use crate::resp::request::Request;

/// A pipeline cut in two.
pub(super) struct Pipeline<'r> {
    /// The shards' part.
    pub(super) arguments: Vec<Cow<'r, [u8]>>,
    /// Ours.
    pub(super) gathering: Gathering,
    /// What it takes from documents.
    pub(super) needs: Result<Vec<Need>, Refused>,
}

/// What the servers sort at most, unless LIMIT or MAX say otherwise.
const SORTED_ROWS: u64 = 10;

/// The name of what is asked for only here; the number of what it is about follows.
const TEXT: &str = "__slotway_text";
const HAS: &str = "__slotway_has";
const PART: &str = "__slotway_part";

/// Reads FT.AGGREGATE.
pub(super) fn read<'r>(request: &'r Request<'r>) -> Result<Pipeline<'r>, Refused> {
    let text = request.arg(2).ok_or(Refused::BadOption("FT.AGGREGATE"))?;
    if expression::read(text)?.knn.is_some() {
        return Err(Refused::AggregateKnn);
    }
    let mut steps = Steps::default();
    let mut arguments = Arguments::new(request, 3);
    while let Some(step) = arguments.next() {
        steps.read(step, &mut arguments)?;
    }
    let needs = steps.needs();
    let Steps { group, keys, page, left_out, .. } = steps;
    if page.is_some_and(|page| page.offset > MOST_ROWS || page.end() > MOST_ROWS) {
        return Err(Refused::TooFar(MOST_ROWS));
    }
    let page = page.or_else(|| (!keys.is_empty()).then_some(Page { offset: 0, count: SORTED_ROWS }));
    let mut arguments = kept(request, &left_out);
    let gathering = match group {
        None => {
            arguments.extend(row_share(&keys, page));
            Gathering::Rows(Rows { keys, page, hidden: TEXT })
        }
        Some(group) => {
            let Around { before, behind } = group_share(&group, &keys)?;
            // Nothing is left out in front of GROUPBY's end.
            for (at, words) in [(group.end, behind), (group.begin, before)] {
                let at = at.min(arguments.len());
                arguments.splice(at..at, words);
            }
            Gathering::Groups(Groups {
                keys: group.properties.len(),
                reducers: group.reducers,
                sort: keys,
                page,
            })
        }
    };
    Ok(Pipeline { arguments, gathering, needs })
}

/// The steps that were read so far.
#[derive(Default)]
struct Steps {
    group: Option<Group>,
    keys: Vec<Key>,
    page: Option<Page>,
    /// What stood last of the steps behind which none may come.
    last: Option<&'static str>,
    left_out: Vec<Range<usize>>,
    /// Properties that are read, and those that steps before made.
    read: Vec<Need>,
    made: Vec<Vec<u8>>,
    /// LOAD *
    loads_all: bool,
}

/// GROUPBY
struct Group {
    /// Its first argument, and the first behind its reducers.
    begin: usize,
    end: usize,
    properties: Vec<Vec<u8>>,
    reducers: Vec<Reducer>,
    /// Properties that reducers read.
    reads: Vec<Vec<u8>>,
}

impl Steps {
    fn read<'r>(&mut self, step: &'r [u8], arguments: &mut Arguments<'r>) -> Result<(), Refused> {
        let begin = arguments.position() - 1;
        let is = |word: &str| step.eq_ignore_ascii_case(word.as_bytes());
        if is("VERBATIM") {
        } else if is("TIMEOUT") || is("DIALECT") || is("FORMAT") || is("SCORER") {
            // Scores are not shown (ADDSCORES), and rows without SORTBY have no order.
            arguments.skip(1, "TIMEOUT, DIALECT, FORMAT or SCORER")?;
        } else if is("PARAMS") {
            arguments.skip_counted("PARAMS")?;
        } else if is("WITHCURSOR") {
            return Err(Refused::Cursor);
        } else if is("LOAD") {
            self.follows("LOAD")?;
            self.load(arguments)?;
        } else if is("APPLY") {
            self.follows("APPLY")?;
            self.reads_expression(arguments.value("APPLY")?);
            if !arguments.take("AS") {
                return Err(Refused::BadOption("APPLY"));
            }
            self.made.push(arguments.value("APPLY")?.to_vec());
        } else if is("FILTER") {
            self.follows("FILTER")?;
            self.reads_expression(arguments.value("FILTER")?);
        } else if is("GROUPBY") {
            self.follows("GROUPBY")?;
            let group = read_group(begin, arguments)?;
            group.properties.iter().chain(&group.reads).for_each(|property| self.reads(property));
            self.made.extend(group.reducers.iter().filter_map(|reducer| reducer.name.clone()));
            self.group = Some(group);
            self.last = Some("GROUPBY");
        } else if is("SORTBY") {
            self.sort(arguments)?;
            self.left_out.push(begin..arguments.position());
            self.last = Some("SORTBY");
        } else if is("LIMIT") {
            self.page = Some(Page { offset: arguments.number("LIMIT")?, count: arguments.number("LIMIT")? });
            self.left_out.push(begin..arguments.position());
            self.last = Some("LIMIT");
        } else {
            return Err(Refused::UnknownOption(shown(step)));
        }
        Ok(())
    }

    /// A step that looks at all rows before it, or that the shards do before they sort.
    fn follows(&self, step: &'static str) -> Result<(), Refused> {
        self.last.map_or(Ok(()), |behind| Err(Refused::Step { step, behind }))
    }

    fn load(&mut self, arguments: &mut Arguments<'_>) -> Result<(), Refused> {
        if arguments.take("*") {
            self.loads_all = true;
            return Ok(());
        }
        let count = arguments.number("LOAD")?;
        let mut rest = *arguments;
        arguments.skip(count, "LOAD")?;
        while rest.position() < arguments.position() {
            let field = rest.value("LOAD")?;
            let field = field.strip_prefix(b"@").unwrap_or(field).to_vec();
            self.made.push(field.clone());
            self.read.push(Need::Exact(field));
            if rest.position() < arguments.position() && rest.take("AS") {
                self.made.push(rest.value("LOAD")?.to_vec());
            }
        }
        Ok(())
    }

    fn reads(&mut self, property: &[u8]) {
        if !self.made.iter().any(|made| made == property) {
            self.read.push(Need::Sorted(property.to_vec()));
        }
    }

    /// Whatever looks like a property.
    fn reads_expression(&mut self, expression: &[u8]) {
        for part in expression.split(|byte| *byte == b'@').skip(1) {
            let end =
                part.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(part.len());
            self.reads(&part[..end]);
        }
    }

    /// What servers have to know without reading documents: all but a document's key.
    fn needs(&mut self) -> Result<Vec<Need>, Refused> {
        if self.loads_all {
            return Err(Refused::Documents("LOAD *"));
        }
        let is_key = |need: &Need| matches!(need, Need::Sorted(name) | Need::Exact(name) if name == b"__key");
        Ok(std::mem::take(&mut self.read).into_iter().filter(|need| !is_key(need)).collect())
    }

    fn sort(&mut self, arguments: &mut Arguments<'_>) -> Result<(), Refused> {
        if !self.keys.is_empty() {
            return Err(Refused::Step { step: "SORTBY", behind: "SORTBY" });
        }
        let count: usize = arguments.number("SORTBY")?;
        let end = arguments.position().saturating_add(count);
        while arguments.position() < end {
            let property = property(arguments.value("SORTBY")?)?;
            let descending = arguments.position() < end && !arguments.take("ASC") && arguments.take("DESC");
            self.reads(&property);
            self.keys.push(Key { property, descending });
        }
        if arguments.position() != end || self.keys.is_empty() || self.keys.len() > 8 {
            return Err(Refused::BadOption("SORTBY"));
        }
        if arguments.take("MAX") {
            self.page = Some(Page { offset: 0, count: arguments.number("MAX")? });
        }
        Ok(())
    }
}

/// A name behind `@` that an expression can have too.
fn property(name: &[u8]) -> Result<Vec<u8>, Refused> {
    let name = name.strip_prefix(b"@").ok_or(Refused::BadOption("a property"))?;
    let is_plain = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if is_plain { Ok(name.to_vec()) } else { Err(Refused::BadOption("a property")) }
}

fn read_group(begin: usize, arguments: &mut Arguments<'_>) -> Result<Group, Refused> {
    let count: usize = arguments.number("GROUPBY")?;
    let mut properties = Vec::new();
    for _ in 0..count {
        properties.push(property(arguments.value("GROUPBY")?)?);
    }
    let (mut reducers, mut reads) = (Vec::new(), Vec::new());
    while arguments.take("REDUCE") {
        let function = arguments.value("REDUCE")?;
        let count: usize = arguments.number("REDUCE")?;
        let of = if count == 1 { Some(property(arguments.value("REDUCE")?)?) } else { None };
        reads.extend(of.clone());
        let kind = match (function.to_ascii_uppercase().as_slice(), of) {
            (b"COUNT", None) if count == 0 => Kind::Count,
            (b"SUM", Some(_)) => Kind::Sum,
            (b"MIN", Some(of)) => Kind::Min { of },
            (b"MAX", Some(of)) => Kind::Max { of },
            (b"AVG", Some(of)) => Kind::Average { of },
            (b"TOLIST", Some(_)) => Kind::List,
            (b"COUNT_DISTINCT", Some(of)) => Kind::CountDistinct { of },
            _ => return Err(Refused::Reducer(shown(function))),
        };
        let name = if arguments.take("AS") { Some(arguments.value("AS")?.to_vec()) } else { None };
        reducers.push(Reducer { kind, name });
    }
    Ok(Group { begin, end: arguments.position(), properties, reducers, reads })
}

fn word<'r>(word: impl Into<Vec<u8>>) -> Cow<'r, [u8]> {
    Cow::Owned(word.into())
}

/// Whether a property is a text: numbers and texts are sorted otherwise, and look alike in a reply. `exists` first, since a
/// row without it would be an error.
fn asks_text<'r>(property: &[u8], number: usize) -> [Cow<'r, [u8]>; 4] {
    let property = String::from_utf8_lossy(property);
    let expression = format!("exists(@{property}) && lower(@{property})");
    [word("APPLY"), word(expression), word("AS"), word(format!("{TEXT}{number}"))]
}

/// What shards do at the end of a pipeline of rows: sort, and give all up to the page's end.
fn row_share<'r>(keys: &[Key], page: Option<Page>) -> Vec<Cow<'r, [u8]>> {
    let mut words: Vec<_> =
        keys.iter().enumerate().flat_map(|(number, key)| asks_text(&key.property, number)).collect();
    if !keys.is_empty() {
        words.extend([word("SORTBY"), word((keys.len() * 2).to_string())]);
        for key in keys {
            let direction = if key.descending { "DESC" } else { "ASC" };
            words.extend([word([b"@", key.property.as_slice()].concat()), word(direction)]);
        }
    }
    if let Some(page) = page {
        words.extend([word("LIMIT"), word("0"), word(page.end().to_string())]);
    }
    words
}

/// Words in front of GROUPBY and behind its reducers.
struct Around<'r> {
    before: Vec<Cow<'r, [u8]>>,
    behind: Vec<Cow<'r, [u8]>>,
}

/// What shards do in front of GROUPBY and behind it, so that their parts of a group can be put together.
fn group_share<'r>(group: &Group, sort: &[Key]) -> Result<Around<'r>, Refused> {
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for (number, reducer) in group.reducers.iter().enumerate() {
        let mut reduce = |function: &str, of: Option<&[u8]>, part: &str| {
            behind.extend([word("REDUCE"), word(function), word(if of.is_some() { "1" } else { "0" })]);
            behind.extend(of.map(|of| word([b"@", of].concat())));
            behind.extend([word("AS"), word(format!("{part}{number}"))]);
        };
        match &reducer.kind {
            Kind::Count | Kind::Sum | Kind::List => {}
            Kind::CountDistinct { of } => reduce("TOLIST", Some(of), PART),
            Kind::Min { of } | Kind::Max { of } | Kind::Average { of } => {
                // How many rows have it, of how many.
                let has = format!("{HAS}{number}");
                let exists = format!("exists(@{})", String::from_utf8_lossy(of));
                before.extend([word("APPLY"), word(exists), word("AS"), word(has.clone())]);
                reduce("SUM", Some(has.as_bytes()), PART);
                reduce("COUNT", None, "__slotway_all");
                if matches!(reducer.kind, Kind::Average { .. }) {
                    reduce("SUM", Some(of), "__slotway_sum");
                }
            }
        }
    }
    for key in sort {
        let named = group.reducers.iter().any(|reducer| reducer.name.as_ref() == Some(&key.property));
        if !named && !group.properties.contains(&key.property) {
            return Err(Refused::UnknownProperty);
        }
    }
    for (number, property) in group.properties.iter().enumerate() {
        behind.extend(asks_text(property, number));
    }
    Ok(Around { before, behind })
}
