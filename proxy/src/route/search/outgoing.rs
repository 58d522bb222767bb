//! What each shard is asked, and how what they answer becomes one reply.

use std::borrow::Cow;
use std::ops::Range;

use super::aggregate::{self, Pipeline};
use super::contents::Contents;
use super::expression::Ranks;
use super::gathering::Gathering;
use super::index_name;
use super::query::{self, Query, Sort};
use super::ranked::{Order, Ranked};
use super::refused::Refused;
use super::reply::Columns;
use super::schema::Need;
use crate::cluster::slot::Slot;
use crate::resp::request::Request;

/// A request to every shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    arguments: Vec<Vec<u8>>,
    /// Which of them are names of indexes.
    names: Range<usize>,
    /// Makes one reply of theirs.
    pub gathering: Gathering,
    /// What the index must have, where servers can't read documents.
    pub(super) needs: Vec<Need>,
    /// The documents that are read here, where servers can't.
    pub(super) contents: Option<Contents>,
    /// What rows are sorted by.
    pub(super) sort: Option<Vec<u8>>,
}

impl Outgoing {
    /// FT.SEARCH. `by_slot`: the servers are nodes of a cluster, which read documents of one slot only.
    ///
    /// # Errors
    /// Where no merge would be right.
    pub fn search(request: &Request<'_>, by_slot: bool) -> Result<Self, Refused> {
        let mut query = query::read(request)?;
        let sort = query.sort.map(|sort| sort.field.to_vec());
        let apart = by_slot && query.shown.content && query.page.count > 0;
        if !apart {
            let (extra, ranked) = share(&query, false);
            let mut arguments = kept(request, &query.left_out);
            arguments.extend(extra);
            let mut outgoing = Self::of(arguments, 1..2, Gathering::Ranked(ranked));
            outgoing.needs = if by_slot { sort_need(&query) } else { Vec::new() };
            outgoing.sort = sort;
            return Ok(outgoing);
        }
        if query.highlights {
            return Err(Refused::Documents("SUMMARIZE or HIGHLIGHT"));
        }
        if query.page.count > MOST_DOCUMENTS
            && query.nearest.as_ref().is_none_or(|n| n.count > MOST_DOCUMENTS)
        {
            return Err(Refused::TooFar(MOST_DOCUMENTS));
        }
        let returned = query.returned.take().map(|(range, fields)| {
            query.left_out.push(range);
            fields
        });
        let (shown, distance) = (query.shown, query.nearest.as_ref().map(|nearest| nearest.distance.clone()));
        query.shown.content = false;
        let (extra, ranked) = share(&query, true);
        let mut arguments = kept(request, &query.left_out);
        arguments.push(Cow::Borrowed(b"NOCONTENT"));
        arguments.extend(extra);
        let (by_distance, columns) = (ranked.by_distance, ranked.columns);
        let mut outgoing = Self::of(arguments, 1..2, Gathering::Ranked(ranked));
        outgoing.needs = sort_need(&query);
        outgoing.contents =
            Some(Contents { returned, sort: sort.clone(), distance, by_distance, columns, shown });
        outgoing.sort = sort;
        Ok(outgoing)
    }

    /// FT.AGGREGATE, likewise.
    ///
    /// # Errors
    /// Where no merge would be right.
    pub fn aggregate(request: &Request<'_>, by_slot: bool) -> Result<Self, Refused> {
        let Pipeline { arguments, gathering, needs } = aggregate::read(request)?;
        let mut outgoing = Self::of(arguments, 1..2, gathering);
        outgoing.needs = if by_slot { needs? } else { Vec::new() };
        Ok(outgoing)
    }

    /// The index's name, to be shown.
    pub(super) fn name(&self) -> String {
        super::arguments::shown(self.arguments.get(1).map_or(&[], Vec::as_slice))
    }

    /// FT.INFO of the same index.
    #[must_use]
    pub(super) fn info(&self) -> Self {
        let name = self.arguments.get(1).cloned().unwrap_or_default();
        Self::of(vec![Cow::Borrowed(b"FT.INFO"), Cow::Owned(name)], 1..2, Gathering::Info)
    }

    /// A request that every shard gets as it is; arguments `names` name indexes.
    #[must_use]
    pub fn same(request: &Request<'_>, names: Range<usize>, gathering: Gathering) -> Self {
        let names = names.start..names.end.min(request.len());
        Self::of(kept(request, &[]), names, gathering)
    }

    fn of(arguments: Vec<Cow<'_, [u8]>>, names: Range<usize>, gathering: Gathering) -> Self {
        let arguments = arguments.into_iter().map(Cow::into_owned).collect();
        Self { arguments, names, gathering, needs: Vec::new(), contents: None, sort: None }
    }

    /// The request for the shard that serves `slot`, where its nodes look at slots; for any shard otherwise.
    ///
    /// # Errors
    /// Where an index's name fixes another slot.
    pub fn frame(&self, slot: Option<Slot>) -> Result<Vec<u8>, Refused> {
        let size = self.arguments.iter().map(|argument| argument.len() + 32).sum();
        let mut frame = Vec::with_capacity(size);
        frame.extend_from_slice(format!("*{}\r\n", self.arguments.len()).as_bytes());
        for (index, argument) in self.arguments.iter().enumerate() {
            match slot.filter(|_| self.names.contains(&index)) {
                Some(slot) => {
                    let name = index_name::in_slot(argument, slot).ok_or(Refused::TaggedName)?;
                    write(&mut frame, &name);
                }
                None => write(&mut frame, argument),
            }
        }
        Ok(frame)
    }
}

fn write(frame: &mut Vec<u8>, argument: &[u8]) {
    frame.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
    frame.extend_from_slice(argument);
    frame.extend_from_slice(b"\r\n");
}

/// The arguments of `request` but those `left_out`.
pub(super) fn kept<'r>(request: &'r Request<'r>, left_out: &[Range<usize>]) -> Vec<Cow<'r, [u8]>> {
    let all = request.args_from(0).enumerate();
    all.filter(|(index, _)| !left_out.iter().any(|range| range.contains(index)))
        .map(|(_, argument)| Cow::Borrowed(argument))
        .collect()
}

/// Documents that are read here for one page: a call each.
const MOST_DOCUMENTS: u64 = 10_000;

fn sort_need(query: &Query<'_>) -> Vec<Need> {
    let sort = query.sort.iter().filter(|_| !query.sorts_by_distance);
    sort.map(|sort| Need::Sorted(sort.field.to_vec())).collect()
}

/// What a shard is asked beside the client's own words, and what is done with its rows: `keeps` all that they are
/// merged by, for who reads the documents.
fn share<'r>(query: &Query<'r>, keeps: bool) -> (Vec<Cow<'r, [u8]>>, Ranked) {
    let Query { page, sort, nearest, ranks, shown, .. } = query;
    let order = order(sort.as_ref(), *ranks);
    let by_distance =
        nearest.as_ref().zip(sort.as_ref()).is_some_and(|(near, sort)| near.distance == sort.field);
    let asks_distance = nearest.is_some() && !by_distance;
    let mut columns = Columns {
        keeps_distance: keeps,
        shown: *shown,
        score: shown.scores || matches!(order, Order::Score | Order::ScoreByWords),
        sort_key: shown.sort_keys || sort.is_some(),
        distance: asks_distance,
    };
    if keeps {
        columns.shown.scores = columns.score;
        columns.shown.sort_keys = columns.sort_key;
    }
    let mut extra: Vec<Cow<'r, [u8]>> = Vec::new();
    let mut add = |word: &'static str| extra.push(Cow::Borrowed(word.as_bytes()));
    if columns.score && !shown.scores {
        add("WITHSCORES");
    }
    if order == Order::ScoreByWords {
        add("EXPLAINSCORE");
    }
    if columns.sort_key && !shown.sort_keys {
        add("WITHSORTKEYS");
    }
    if let Some(nearest) = nearest.as_ref().filter(|_| asks_distance) {
        extra.extend(distance_asked(&nearest.distance, columns.sort_key));
    }
    // Every shard may hold all of the page; or any of the nearest, unless the nearest come first.
    let most = match nearest {
        Some(nearest) if order == (Order::Key { descending: false }) && by_distance => {
            nearest.count.min(page.end())
        }
        Some(nearest) if page.count > 0 => nearest.count,
        _ => page.end(),
    };
    extra.extend([
        Cow::Borrowed(&b"LIMIT"[..]),
        Cow::Borrowed(b"0"),
        Cow::Owned(most.to_string().into_bytes()),
    ]);
    let nearest = nearest.as_ref().map(|nearest| nearest.count);
    (extra, Ranked { order, nearest, by_distance, page: *page, columns })
}

fn order(sort: Option<&Sort<'_>>, ranks: Ranks) -> Order {
    match (sort, ranks) {
        (Some(sort), _) => Order::Key { descending: sort.descending },
        (None, Ranks::ShardTimesDocument) => Order::ScoreByWords,
        // Where scores are those of statistics, only the total is wanted.
        (None, Ranks::Document | Ranks::Statistics) => Order::Score,
    }
}

/// What the servers' own coordinator asks for: properties as they are compared, whatever is returned. Behind sort keys
/// the first of them is left out.
fn distance_asked<'r>(name: &[u8], behind_sort_key: bool) -> Vec<Cow<'r, [u8]>> {
    let count: &[u8] = if behind_sort_key { b"2" } else { b"1" };
    let mut words = vec![Cow::Borrowed(&b"_REQUIRED_FIELDS"[..]), Cow::Owned(count.to_vec())];
    words.extend((0..=usize::from(behind_sort_key)).map(|_| Cow::Owned(name.to_vec())));
    words
}

#[cfg(test)]
pub(in crate::route::search) mod tests {
    use super::*;
    use crate::resp::request::ArgRange;

    /// The request of these words.
    pub(in crate::route::search) fn with_request<T>(
        words: &[&str],
        then: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        let (mut frame, mut argv) = (format!("*{}\r\n", words.len()).into_bytes(), Vec::new());
        for word in words {
            frame.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            argv.push(ArgRange { start: frame.len() as u32, len: word.len() as u32 });
            frame.extend_from_slice(word.as_bytes());
            frame.extend_from_slice(b"\r\n");
        }
        then(&Request::new(&frame, &argv))
    }

    /// The words of a request that stand behind the index's name.
    pub(in crate::route::search) fn asked(outgoing: &Outgoing) -> String {
        let words = outgoing.arguments.iter().skip(2);
        words.map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
    }

    fn search(words: &str) -> Result<String, Refused> {
        let words: Vec<_> = ["FT.SEARCH", "i"].into_iter().chain(words.split(' ')).collect();
        with_request(&words, |request| Outgoing::search(request, false).map(|outgoing| asked(&outgoing)))
    }

    #[test]
    fn every_shard_is_asked_for_all_rows_up_to_the_pages_end_and_for_what_they_are_ranked_by() {
        for (query, asked) in [
            ("*", "* WITHSCORES LIMIT 0 10"),
            ("* limit 20 5 NOCONTENT", "* NOCONTENT WITHSCORES LIMIT 0 25"),
            ("* LIMIT 5 0", "* WITHSCORES LIMIT 0 0"),
            ("hello LIMIT 0 0", "hello WITHSCORES LIMIT 0 0"),
            ("hello sortby n desc", "hello sortby n desc WITHSORTKEYS LIMIT 0 10"),
            ("* WITHSORTKEYS SORTBY n", "* WITHSORTKEYS SORTBY n LIMIT 0 10"),
            ("* WITHSCORES", "* WITHSCORES LIMIT 0 10"),
            ("@g:{a}", "@g:{a} WITHSCORES EXPLAINSCORE LIMIT 0 10"),
            ("hello SCORER DOCSCORE", "hello SCORER DOCSCORE WITHSCORES LIMIT 0 10"),
            (
                "hello SORTBY n RETURN 1 LIMIT LIMIT 1 2",
                "hello SORTBY n RETURN 1 LIMIT WITHSORTKEYS LIMIT 0 3",
            ),
        ] {
            assert_eq!(search(query).as_deref(), Ok(asked), "{query}");
        }
    }

    #[test]
    fn every_shard_is_asked_for_its_nearest() {
        let knn = "*=>[KNN 20 @v $B AS d]";
        for (rest, more) in [
            ("", " WITHSCORES _REQUIRED_FIELDS 1 d LIMIT 0 20"),
            (" SORTBY d", " SORTBY d WITHSORTKEYS LIMIT 0 10"),
            (" SORTBY d LIMIT 10 90", " SORTBY d WITHSORTKEYS LIMIT 0 20"),
            (" SORTBY d DESC", " SORTBY d DESC WITHSORTKEYS LIMIT 0 20"),
            (" SORTBY n", " SORTBY n WITHSORTKEYS _REQUIRED_FIELDS 2 d d LIMIT 0 20"),
        ] {
            let words: Vec<_> = ["FT.SEARCH", "i", knn].into_iter().chain(rest.split_whitespace()).collect();
            let found = with_request(&words, |request| {
                Outgoing::search(request, false).map(|outgoing| asked(&outgoing))
            });
            assert_eq!(found, Ok(format!("{knn}{more}")), "{rest}");
        }
    }

    #[test]
    fn what_has_no_right_merge_is_refused() {
        for (query, refused) in [
            ("hello", Refused::Scores),
            ("@g:{a|b}", Refused::Scores),
            ("* SCORER BM25", Refused::Scores),
            ("@g:{a} WITHSCORES", Refused::ShownScores),
            ("hello SORTBY n WITHSCORES", Refused::ShownScores),
            ("* NIX", Refused::UnknownOption("NIX".into())),
            ("* LIMIT 0", Refused::BadOption("LIMIT")),
            ("* LIMIT 0 -1", Refused::BadOption("LIMIT")),
            ("* RETURN 3 a", Refused::BadOption("RETURN")),
            ("* LIMIT 999999 2", Refused::TooFar(1_000_000)),
            ("* LIMIT 18446744073709551615 18446744073709551615", Refused::TooFar(1_000_000)),
            ("* PARAMS 18446744073709551615 a", Refused::BadOption("PARAMS")),
            ("* INKEYS 18446744073709551615 a", Refused::BadOption("INKEYS or INFIELDS")),
        ] {
            assert_eq!(search(query), Err(refused), "{query}");
        }
    }

    #[test]
    fn a_cluster_s_shards_get_the_name_for_their_slot() {
        with_request(&["FT.ALIASADD", "a", "i"], |request| {
            let outgoing = Outgoing::same(request, 1..3, Gathering::TagValues);
            let plain = outgoing.frame(None).unwrap();
            assert_eq!(plain, b"*3\r\n$11\r\nFT.ALIASADD\r\n$1\r\na\r\n$1\r\ni\r\n");
            let written = outgoing.frame(Slot::new(77)).unwrap();
            assert_eq!(written.len(), plain.len() + 6);
        });
    }
}
