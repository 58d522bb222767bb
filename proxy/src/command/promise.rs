//! What the proxy says of each command: where it goes, and what is promised of it over several slots. One table,
//! which SLOTWAY COMMANDS, `slotway commands` and COMMANDS.md show.

use std::fmt::Write;

use super::spec::{Cross, Keys, Merge, Refused, Search, Spec, Split, Target, Treatment};
use super::table::Table;

/// What is told of one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Promise {
    /// Where it goes.
    pub route: &'static str,
    /// What can be relied on.
    pub promise: &'static str,
}

/// The row of `spec`.
#[must_use]
pub fn of(spec: &Spec) -> Promise {
    let (route, promise) = match spec.treatment {
        Treatment::Keyed => keyed(spec),
        Treatment::Scripted => (
            "its keys' shard, without keys a fixed one; the script or library goes there where it is missing",
            "atomic; keys of several slots: CROSSSLOT",
        ),
        Treatment::Split(split) => {
            (cut(split), "atomic in one slot; parts run side by side and are not atomic together")
        }
        Treatment::Cross(cross) => crossing(cross),
        Treatment::EveryShard(merge) => (every(merge), "each shard at a moment of its own"),
        Treatment::Series => (every(Merge::Concat), "each shard at a moment of its own; GROUPBY is refused"),
        Treatment::Search(search) => searching(search),
        Treatment::FixedShard => ("one fixed shard", "the same on every shard, or anyone's to answer"),
        Treatment::Scan => ("shard after shard", "what is there all the time is returned at least once"),
        Treatment::RandomKey => ("every shard; one of the answers", "a key, where there is one"),
        Treatment::Blocking => blocking(spec),
        Treatment::Transaction(_) => {
            ("kept here, sent whole at EXEC", "atomic on each shard; see Transactions in ARCHITECTURE.md")
        }
        Treatment::Local(_) => ("answered here", "speaks of the proxy, its clients' server"),
        Treatment::Subscribe(_) | Treatment::Unsubscribe(_) => {
            ("the worker's own subscription", "at most once; subscriptions outlive failovers and moved slots")
        }
        Treatment::Monitor => ("answered here", "shows what the proxy's clients say"),
        Treatment::Tracking => ("private connections", "see CLIENT TRACKING in ARCHITECTURE.md"),
        Treatment::Refused(why) => ("refused", refused(why)),
    };
    Promise { route, promise }
}

fn searching(search: Search) -> (&'static str, &'static str) {
    match search {
        Search::Query | Search::Aggregate => (
            "every shard; rows merged",
            "what one server would say, each shard at a moment of its own; what can't be merged so is refused",
        ),
        Search::Info => ("every shard; numbers added up", "each shard at a moment of its own"),
        Search::TagValues => ("every shard; each value once", "each shard at a moment of its own"),
        Search::Change { .. } => (
            "every shard; all must succeed",
            "what failed half-way says so, and is repaired by saying it again",
        ),
        Search::One => ("one fixed shard", "the same on every shard"),
        Search::Alone => ("the one server that has all", "refused over several shards"),
    }
}

fn keyed(spec: &Spec) -> (&'static str, &'static str) {
    match spec.keys {
        Keys::None => ("one fixed shard", "the same on every shard, or anyone's to answer"),
        Keys::First => ("its key's shard", "atomic"),
        _ => ("its keys' shard", "atomic; keys of several slots: CROSSSLOT"),
    }
}

fn cut(split: Split) -> &'static str {
    match split {
        Split::Gather => "cut by slots; values in the caller's order",
        Split::Sum => "cut by slots; numbers added up",
        Split::Pairs | Split::Triples => "cut by slots",
        Split::Counted => "cut by slots; with NX or XX whole",
        Split::GatherPath => "cut by slots, the path with each part; values in the caller's order",
        Split::GatherTriples => "cut by slots; answers in the caller's order",
    }
}

fn crossing(cross: Cross) -> (&'static str, &'static str) {
    match cross {
        Cross::Gather(Target::None) => (
            "its keys' shard; over slots: copies of keys are brought to where most are",
            "atomic in one slot; over several each slot is read at a moment of its own",
        ),
        Cross::Gather(_) => (
            "its keys' shard; over slots: copies of keys are brought to the one that is written",
            "atomic in one slot; over several each slot is read at a moment of its own, the result is written at once",
        ),
        Cross::Transfer(_) => (
            "its keys' shard; over slots: copied, then removed if unchanged",
            "atomic in one slot; over several best effort in this order: nothing is lost, both keys are seen for a moment",
        ),
        Cross::Member => (
            "its keys' shard; over slots: added, then taken",
            "atomic in one slot; over several best effort in this order: nothing is lost, both sets have it for a moment",
        ),
        Cross::Element => (
            "its keys' shard; over slots: by a temporary list beside the first",
            "atomic in one slot; over several best effort in order: nobody else gets the element, nothing is lost",
        ),
        Cross::AllOrNone => (
            "its keys' shard; over slots: looked at, then set",
            "atomic in one slot; over several best effort: what was set is taken back if another was faster",
        ),
        Cross::First => (
            "its keys' shard; over slots: one after the other",
            "atomic; the first key in the caller's order that has something",
        ),
        Cross::Streams => (
            "its keys' shard; over slots: each stream where it is",
            "atomic in one slot; over several each slot is read at a moment of its own",
        ),
    }
}

fn blocking(spec: &Spec) -> (&'static str, &'static str) {
    let crosses = matches!(&*spec.name, "blmove" | "brpoplpush");
    let route = "tried over the shared connection, then a private one";
    match () {
        // Learned: no form of it is known that does not wait.
        () if &*spec.facts.group == "module" => {
            ("a private connection", "atomic; keys of several slots: CROSSSLOT")
        }
        () if crosses => (
            route,
            "atomic in one slot; over several best effort in order: nobody else gets the element, nothing is lost",
        ),
        () => (route, "atomic; over several slots one after the other, an element is taken once"),
    }
}

fn every(merge: Merge) -> &'static str {
    match merge {
        Merge::Sum => "every shard; numbers added up",
        Merge::Min => "every shard; the smallest number",
        Merge::And => "every shard; true where all are",
        Merge::AllSucceeded => "every shard; all must succeed",
        Merge::OneSucceeded => "every shard; one must succeed",
        Merge::Concat => "every shard; lists joined",
    }
}

fn refused(why: Refused) -> &'static str {
    match why {
        Refused::Subscribe => "a kind of subscription that is not known here",
        Refused::Wait => "speaks of the writes of one connection, and backend connections are shared",
        Refused::HiddenKeys => "its keys can't be told, and the servers don't say which of them has one",
        Refused::Connection => "changes its connection, and backend connections are shared",
        Refused::EveryShard => "concerns every shard, and their answers can't be made one",
        Refused::NodeAdmin => "acts on one node or on the cluster's shape: send it to the node",
    }
}

/// COMMANDS.md: every command of `table`.
#[must_use]
pub fn page(table: &Table) -> String {
    let mut page = String::from(HEAD);
    for spec in table.iter().filter(|spec| !spec.container) {
        let Promise { route, promise } = of(spec);
        let name = spec.name.replace('|', " ");
        let _ = writeln!(page, "| {name} | {route} | {promise} | {} |", spec.in_namespace.text());
    }
    page
}

const HEAD: &str = "# Commands

Every command that the proxy knows without being told by a server, how it is routed, and what is promised of it. Made
by `slotway commands`; a test compares. SLOTWAY COMMANDS says the same of a running proxy, with what it learned from its
servers. *Over slots* means: where the keys are in several slots of a cluster, or on several standalone servers. What
takes steps over slots is refused with CROSSSLOT where `cluster.cross_slot = \"refuse\"`. *In a namespace* means: to a
tenant with a `namespace`, which sees and names its own keys and channels only; what is not here is refused to it.

| command | route | promise | in a namespace |
| --- | --- | --- | --- |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_row_and_containers_have_none() {
        let table = Table::builtin();
        let page = page(&table);
        assert!(page.contains("\n| get | its key's shard | atomic | own names |\n"));
        assert!(page.contains("\n| config set | every shard; all must succeed |"));
        assert!(!page.contains("\n| config |"));
        let rows = page.lines().filter(|line| line.starts_with("| ")).count() - 2;
        assert_eq!(rows, table.iter().filter(|spec| !spec.container).count());
    }
}
