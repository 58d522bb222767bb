//! FT.SEARCH, read: the page, what it is sorted by, and what is shown of a row.

use std::ops::Range;

use super::arguments::{Arguments, number, shown};
use super::expression::{self, Count, Ranks};
use super::refused::Refused;
use crate::resp::request::Request;

/// What servers give at most, unless they are told otherwise (MAXSEARCHRESULTS).
pub(super) const MOST_ROWS: u64 = 1_000_000;

/// One FT.SEARCH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Query<'r> {
    pub(super) page: Page,
    pub(super) sort: Option<Sort<'r>>,
    pub(super) nearest: Option<Nearest>,
    /// The sort key is made by the query, not read from documents.
    pub(super) sorts_by_distance: bool,
    pub(super) ranks: Ranks,
    pub(super) shown: Shown,
    /// RETURN, and which arguments it is.
    pub(super) returned: Option<(Range<usize>, Vec<Returned>)>,
    /// SUMMARIZE or HIGHLIGHT.
    pub(super) highlights: bool,
    /// Arguments that are not passed on: the page, which each shard is asked for otherwise.
    pub(super) left_out: Vec<Range<usize>>,
}

/// LIMIT
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Page {
    pub(super) offset: u64,
    pub(super) count: u64,
}

impl Page {
    /// Rows up to the page's end: what every shard has to give. None where only the total is wanted.
    pub(super) fn end(self) -> u64 {
        if self.count == 0 { 0 } else { self.offset.saturating_add(self.count) }
    }
}

/// SORTBY
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sort<'r> {
    pub(super) field: &'r [u8],
    pub(super) descending: bool,
}

/// KNN
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Nearest {
    pub(super) count: u64,
    /// The property that holds the distance.
    pub(super) distance: Vec<u8>,
}

/// A field of RETURN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Returned {
    pub(super) field: Vec<u8>,
    /// As it is shown.
    pub(super) name: Vec<u8>,
}

/// What the client wants to see of a row beside its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "options that a client gives in any combination")]
pub(super) struct Shown {
    pub(super) scores: bool,
    pub(super) explained: bool,
    pub(super) payloads: bool,
    pub(super) sort_keys: bool,
    pub(super) content: bool,
}

/// Reads FT.SEARCH.
pub(super) fn read<'r>(request: &'r Request<'r>) -> Result<Query<'r>, Refused> {
    let text = request.arg(2).ok_or(Refused::BadOption("FT.SEARCH"))?;
    let expression = expression::read(text)?;
    let mut options = Options::default();
    let mut arguments = Arguments::new(request, 3);
    while let Some(option) = arguments.next() {
        options.read(option, &mut arguments)?;
    }
    let nearest = match expression.knn {
        Some(knn) => Some(Nearest { count: options.count(knn.count)?, distance: knn.distance }),
        None => None,
    };
    let Options { page, sort, shown, returned, highlights, left_out, scorer, .. } = options;
    if page.offset > MOST_ROWS
        || page.end() > MOST_ROWS
        || nearest.as_ref().is_some_and(|n| n.count > MOST_ROWS)
    {
        return Err(Refused::TooFar(MOST_ROWS));
    }
    let ranks = match scorer {
        Scorer::Usual => expression.ranks,
        Scorer::OfDocument => Ranks::Document,
        Scorer::OfStatistics => Ranks::Statistics,
    };
    if sort.is_none() && page.count > 0 && ranks == Ranks::Statistics {
        return Err(Refused::Scores);
    }
    if shown.scores && ranks > Ranks::Document {
        return Err(Refused::ShownScores);
    }
    let made = |field: &[u8]| {
        nearest.as_ref().is_some_and(|near: &Nearest| near.distance == field)
            || expression.yields.contains(&field)
    };
    let sorts_by_distance = sort.is_some_and(|sort: Sort<'_>| made(sort.field));
    Ok(Query { page, sort, nearest, sorts_by_distance, ranks, shown, returned, highlights, left_out })
}

/// What ranks documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scorer {
    /// TFIDF, by default or by name.
    Usual,
    /// One that looks at the document alone.
    OfDocument,
    /// Any other.
    OfStatistics,
}

/// The options that were read so far.
struct Options<'r> {
    page: Page,
    sort: Option<Sort<'r>>,
    shown: Shown,
    returned: Option<(Range<usize>, Vec<Returned>)>,
    highlights: bool,
    scorer: Scorer,
    parameters: Vec<(&'r [u8], &'r [u8])>,
    left_out: Vec<Range<usize>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            page: Page { offset: 0, count: 10 },
            sort: None,
            shown: Shown {
                scores: false,
                explained: false,
                payloads: false,
                sort_keys: false,
                content: true,
            },
            returned: None,
            highlights: false,
            scorer: Scorer::Usual,
            parameters: Vec::new(),
            left_out: Vec::new(),
        }
    }
}

/// Options that have a number of values and mean nothing for the merge.
const PASSED_ON: &[(&str, usize)] = &[
    ("VERBATIM", 0),
    ("NOSTOPWORDS", 0),
    ("INORDER", 0),
    ("WITHCOUNT", 0),
    ("WITHOUTCOUNT", 0),
    ("FILTER", 3),
    ("GEOFILTER", 5),
    ("SLOP", 1),
    ("TIMEOUT", 1),
    ("LANGUAGE", 1),
    ("EXPANDER", 1),
    ("PAYLOAD", 1),
    ("DIALECT", 1),
    ("FORMAT", 1),
];

impl<'r> Options<'r> {
    fn read(&mut self, option: &'r [u8], arguments: &mut Arguments<'r>) -> Result<(), Refused> {
        let begin = arguments.position() - 1;
        let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
        if let Some((name, values)) = PASSED_ON.iter().find(|(name, _)| is(name)) {
            arguments.skip(*values, name)?;
        } else if is("LIMIT") {
            self.page = Page { offset: arguments.number("LIMIT")?, count: arguments.number("LIMIT")? };
            self.left_out.push(begin..arguments.position());
        } else if is("SORTBY") {
            let field = arguments.value("SORTBY")?;
            let descending = !arguments.take("ASC") && arguments.take("DESC");
            self.sort = Some(Sort { field: field.strip_prefix(b"@").unwrap_or(field), descending });
        } else if is("RETURN") {
            self.returns(begin, arguments)?;
        } else if is("INKEYS") || is("INFIELDS") {
            arguments.skip_counted("INKEYS or INFIELDS")?;
        } else if is("PARAMS") {
            self.parameters(arguments)?;
        } else if is("SUMMARIZE") || is("HIGHLIGHT") {
            self.highlights = true;
            pass_highlighting(arguments)?;
        } else if is("SCORER") {
            self.scorer = scorer(arguments.value("SCORER")?);
        } else {
            self.flag(option)?;
        }
        Ok(())
    }

    fn returns(&mut self, begin: usize, arguments: &mut Arguments<'r>) -> Result<(), Refused> {
        let count = arguments.number("RETURN")?;
        let (mut fields, mut rest) = (Vec::new(), *arguments);
        arguments.skip(count, "RETURN")?;
        while rest.position() < arguments.position() {
            let field = rest.value("RETURN")?;
            let field = field.strip_prefix(b"@").unwrap_or(field).to_vec();
            let renamed = rest.position() < arguments.position() && rest.take("AS");
            let name = if renamed { rest.value("RETURN")?.to_vec() } else { field.clone() };
            fields.push(Returned { field, name });
        }
        // RETURN 0 is NOCONTENT.
        self.shown.content &= count > 0;
        self.returned = Some((begin..arguments.position(), fields));
        Ok(())
    }

    fn flag(&mut self, option: &[u8]) -> Result<(), Refused> {
        let shown = &mut self.shown;
        let flags: [(&str, &mut bool, bool); 5] = [
            ("NOCONTENT", &mut shown.content, false),
            ("WITHSCORES", &mut shown.scores, true),
            ("EXPLAINSCORE", &mut shown.explained, true),
            ("WITHPAYLOADS", &mut shown.payloads, true),
            ("WITHSORTKEYS", &mut shown.sort_keys, true),
        ];
        let known = flags.into_iter().find(|(name, _, _)| option.eq_ignore_ascii_case(name.as_bytes()));
        let (_, flag, value) = known.ok_or_else(|| Refused::UnknownOption(self::shown(option)))?;
        *flag = value;
        Ok(())
    }

    fn parameters(&mut self, arguments: &mut Arguments<'r>) -> Result<(), Refused> {
        let count: usize = arguments.number("PARAMS")?;
        for _ in 0..count / 2 {
            self.parameters.push((arguments.value("PARAMS")?, arguments.value("PARAMS")?));
        }
        if count.is_multiple_of(2) { Ok(()) } else { Err(Refused::BadOption("PARAMS")) }
    }

    fn count(&self, count: Count<'_>) -> Result<u64, Refused> {
        match count {
            Count::Number(count) => Ok(count),
            Count::Parameter(name) => {
                let found = self.parameters.iter().find(|(known, _)| *known == name);
                found.and_then(|(_, digits)| number(digits)).ok_or(Refused::Knn)
            }
        }
    }
}

fn scorer(name: &[u8]) -> Scorer {
    match name {
        b"TFIDF" => Scorer::Usual,
        b"DOCSCORE" | b"DISMAX" | b"HAMMING" => Scorer::OfDocument,
        _ => Scorer::OfStatistics,
    }
}

/// Passes over the options of SUMMARIZE and HIGHLIGHT.
fn pass_highlighting(arguments: &mut Arguments<'_>) -> Result<(), Refused> {
    loop {
        if arguments.take("FIELDS") {
            arguments.skip_counted("FIELDS")?;
        } else if arguments.take("TAGS") {
            arguments.skip(2, "TAGS")?;
        } else if arguments.take("FRAGS") || arguments.take("LEN") || arguments.take("SEPARATOR") {
            arguments.skip(1, "FRAGS, LEN or SEPARATOR")?;
        } else {
            return Ok(());
        }
    }
}
