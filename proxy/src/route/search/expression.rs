//! What of a query's text decides how shards are merged: whether scores depend on statistics, and the KNN clause.
//! Whatever is not known for sure is taken for a text term.

use super::arguments::number;
use super::refused::Refused;

/// What the documents' scores depend on, the default scorer being TFIDF.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Ranks {
    /// On the document alone: `*`, numbers, places, what is excluded.
    Document,
    /// On the document, times a number that is one for all that match in one server: all of several tags. It is another
    /// in each shard.
    ShardTimesDocument,
    /// On how often terms are found in all documents.
    Statistics,
}

/// A query's text, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Expression<'q> {
    pub(super) ranks: Ranks,
    pub(super) knn: Option<Knn<'q>>,
    /// Properties that the query itself makes: distances.
    pub(super) yields: Vec<&'q [u8]>,
}

/// `=>[KNN k @field $vector AS name]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Knn<'q> {
    /// A number, or a parameter's name.
    pub(super) count: Count<'q>,
    /// The property that holds the distance.
    pub(super) distance: Vec<u8>,
}

/// The k of KNN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Count<'q> {
    Number(u64),
    Parameter(&'q [u8]),
}

/// Reads `query`.
pub(super) fn read(query: &[u8]) -> Result<Expression<'_>, Refused> {
    let (filter, knn) = match memchr::memmem::find(query, b"=>[") {
        // Behind VECTOR_RANGE and the like stand attributes in braces, never a bracket.
        Some(arrow) => {
            let (filter, clause) = query.split_at(arrow);
            (filter, Some(read_knn(&clause[3..])?))
        }
        None => (query, None),
    };
    Ok(Expression { ranks: ranks(filter), knn, yields: yields(query) })
}

/// The names behind `$yield_distance_as:`.
fn yields(query: &[u8]) -> Vec<&[u8]> {
    const WORD: &[u8] = b"yield_distance_as";
    let name = |place: usize| {
        let rest = query.get(place + WORD.len()..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let end = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(rest.len());
        rest.get(..end)
    };
    memchr::memmem::find_iter(query, WORD).filter_map(name).collect()
}

fn read_knn(clause: &[u8]) -> Result<Knn<'_>, Refused> {
    let close = memchr::memchr(b']', clause).ok_or(Refused::Knn)?;
    let mut words = words(&clause[..close]);
    let mut next = || words.next().ok_or(Refused::Knn);
    if !next()?.eq_ignore_ascii_case(b"KNN") {
        return Err(Refused::Knn);
    }
    let count = match next()? {
        [b'$', name @ ..] => Count::Parameter(name),
        digits => number(digits).map(Count::Number).ok_or(Refused::Knn)?,
    };
    let field = next()?.strip_prefix(b"@").ok_or(Refused::Knn)?;
    next()?;
    let mut distance = [b"__", field, b"_score"].concat();
    // Attributes come in pairs; AS is one of them, and so is what stands in braces behind the clause.
    while let Some(name) = words.next() {
        let value = words.next().ok_or(Refused::Knn)?;
        if name.eq_ignore_ascii_case(b"AS") {
            distance = plain(value)?;
        }
    }
    if let Some(name) = yielded(&clause[close + 1..])? {
        distance = name;
    }
    Ok(Knn { count, distance })
}

/// The name of `=>{$yield_distance_as: name}`, where something stands behind the clause.
fn yielded(rest: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
    let rest = rest.trim_ascii();
    if rest.is_empty() {
        return Ok(None);
    }
    let inside = rest.strip_prefix(b"=>").map(<[u8]>::trim_ascii).and_then(|rest| rest.strip_prefix(b"{"));
    let inside = inside.and_then(|rest| rest.strip_suffix(b"}")).ok_or(Refused::Knn)?;
    let mut name = None;
    for attribute in inside.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|a| !a.is_empty()) {
        let colon = memchr::memchr(b':', attribute).ok_or(Refused::Knn)?;
        if attribute[..colon].trim_ascii().eq_ignore_ascii_case(b"$yield_distance_as") {
            name = Some(plain(attribute[colon + 1..].trim_ascii())?);
        }
    }
    Ok(name)
}

/// A property's name that stands for itself, not for a parameter, and has no escapes.
fn plain(name: &[u8]) -> Result<Vec<u8>, Refused> {
    let is_plain = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if is_plain { Ok(name.to_vec()) } else { Err(Refused::Knn) }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn ranks(filter: &[u8]) -> Ranks {
    let mut walk = Walk { rest: filter, ranks: Ranks::Document, branches: false };
    let known = walk.run();
    match (known, walk.ranks) {
        (Some(()), Ranks::ShardTimesDocument) if walk.branches => Ranks::Statistics,
        (Some(()), ranks) => ranks,
        (None, _) => Ranks::Statistics,
    }
}

/// A walk over a filter's leaves. What groups them is passed over: parentheses change no leaf.
struct Walk<'q> {
    rest: &'q [u8],
    ranks: Ranks,
    /// Whether not every match has every leaf: `|` or `~`. With tags, sums then differ between matches.
    branches: bool,
}

impl Walk<'_> {
    /// `None` where something is not known.
    fn run(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            match self.rest {
                [] => return Some(()),
                [b'(' | b')' | b'*', ..] => self.pass(1)?,
                [b'|' | b'~', ..] => {
                    self.branches = true;
                    self.pass(1)?;
                }
                // What is excluded adds nothing to a score, whatever it is.
                [b'-', ..] => {
                    self.pass(1)?;
                    self.operand()?;
                }
                [b'@', ..] => {
                    let leaf = self.field()?;
                    self.ranks = self.ranks.max(leaf);
                }
                _ => return None,
            }
        }
    }

    /// Passes over what `-` excludes.
    fn operand(&mut self) -> Option<()> {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.first()? {
            b'(' => self.enclosed(b'(', b')').map(|_| ()),
            b'@' => self.field().filter(|ranks| *ranks < Ranks::Statistics).map(|_| ()),
            byte if byte.is_ascii_alphanumeric() => {
                let end =
                    self.rest.iter().position(|b| !b.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
                // A prefix, a phrase and the like end otherwise.
                let ends = matches!(self.rest.get(end), None | Some(b' ' | b')'));
                ends.then(|| self.pass(end))?
            }
            _ => None,
        }
    }

    /// `@field:[...]` or `@field:{tag}`.
    fn field(&mut self) -> Option<Ranks> {
        let colon = memchr::memchr(b':', self.rest)?;
        let name = self.rest.get(1..colon)?.trim_ascii();
        if name.is_empty()
            || !name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        {
            return None;
        }
        self.pass(colon + 1)?;
        self.rest = self.rest.trim_ascii_start();
        let leaf = match self.rest.first()? {
            b'[' => self.enclosed(b'[', b']').map(|_| Ranks::Document)?,
            b'{' => {
                let tag = self.enclosed(b'{', b'}')?;
                // Of several values, or of all that begin so, a match may have more than another.
                let one = !tag.iter().any(|b| matches!(b, b'|' | b'*' | b'%' | b'$' | b'\'' | b'"'));
                if one { Ranks::ShardTimesDocument } else { Ranks::Statistics }
            }
            _ => return None,
        };
        self.attributes(leaf)
    }

    /// `=>{...}` behind a leaf: a weight, which the servers tell rounded only, or a distance's name.
    fn attributes(&mut self, leaf: Ranks) -> Option<Ranks> {
        let rest = self.rest.trim_ascii_start();
        let Some(rest) = rest.strip_prefix(b"=>") else { return Some(leaf) };
        self.rest = rest.trim_ascii_start();
        self.enclosed(b'{', b'}')?;
        (leaf == Ranks::Document).then_some(leaf)
    }

    /// What stands between `open`, which comes next, and its `close`; a backslash takes the meaning of what follows it.
    fn enclosed(&mut self, open: u8, close: u8) -> Option<&[u8]> {
        self.rest.first().filter(|first| **first == open)?;
        let (mut depth, mut escaped) = (0u32, false);
        for (index, byte) in self.rest.iter().enumerate() {
            match *byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                byte if byte == open => depth = depth.saturating_add(1),
                byte if byte == close => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let (inside, rest) = self.rest.split_at(index);
                self.rest = &rest[1..];
                return inside.get(1..);
            }
        }
        None
    }

    fn pass(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scores_depend_on() {
        for (query, ranks) in [
            ("*", Ranks::Document),
            ("@n:[0 10]", Ranks::Document),
            ("(@n:[(0 10] | @m:[-inf +inf])", Ranks::Document),
            ("@loc:[1 1 100 km]", Ranks::Document),
            ("-hello", Ranks::Document),
            ("-(hello \"w x\")", Ranks::Document),
            ("-@g:{b}", Ranks::Document),
            ("@v:[VECTOR_RANGE 3 $B]=>{$yield_distance_as: d}", Ranks::Document),
            ("@g:{a}", Ranks::ShardTimesDocument),
            ("@g:{a b\\-c} @n:[0 10] -@h:{x|y}", Ranks::Statistics),
            ("@g:{a\\|b} @n:[0 10]", Ranks::Statistics),
            ("@g:{a\\-c} (@n:[0 10]) -@h:{x}", Ranks::ShardTimesDocument),
            ("@g:{a} | @g:{b}", Ranks::Statistics),
            ("@g:{a} ~@n:[0 1]", Ranks::Statistics),
            ("@g:{a|b}", Ranks::Statistics),
            ("@g:{a*}", Ranks::Statistics),
            ("@g:{a}=>{$weight: 2}", Ranks::Statistics),
            ("@n:[0 1]=>{$weight: 2}", Ranks::Document),
            ("hello", Ranks::Statistics),
            ("@t:hello", Ranks::Statistics),
            ("@t:(hello)", Ranks::Statistics),
            ("@n:[0 10] hello", Ranks::Statistics),
            ("-hel*", Ranks::Statistics),
            ("\"a\"", Ranks::Statistics),
            ("%a%", Ranks::Statistics),
            ("@n:[0 10", Ranks::Statistics),
            ("$word", Ranks::Statistics),
            ("ismissing(@a)", Ranks::Statistics),
            ("\u{e4}", Ranks::Statistics),
        ] {
            assert_eq!(read(query.as_bytes()).unwrap().ranks, ranks, "{query}");
        }
    }

    fn knn(query: &str) -> Result<(Count<'_>, String), Refused> {
        let knn = read(query.as_bytes())?.knn.ok_or(Refused::Knn)?;
        Ok((knn.count, String::from_utf8(knn.distance).unwrap()))
    }

    #[test]
    fn a_knn_clause_tells_how_many_and_where_the_distance_is() {
        assert_eq!(knn("*=>[KNN 5 @v $B]"), Ok((Count::Number(5), "__v_score".into())));
        assert_eq!(knn("*=>[knn $k @v $B as d]"), Ok((Count::Parameter(b"k"), "d".into())));
        assert_eq!(knn("(@g:{b})=>[KNN 3 @v $B EF_RUNTIME $ef AS d ]"), Ok((Count::Number(3), "d".into())));
        assert_eq!(
            knn("*=>[KNN 3 @v $B]=>{$yield_distance_as: dd; $ef_runtime: 9}"),
            Ok((Count::Number(3), "dd".into()))
        );
        for wrong in [
            "*=>[KNN]",
            "*=>[KNN x @v $B]",
            "*=>[KNN 3 @v $B",
            "*=>[KNN 3 @v $B AS $d]",
            "*=>[KNN 3 @v $B] x",
        ] {
            assert_eq!(knn(wrong), Err(Refused::Knn), "{wrong}");
        }
    }
}
