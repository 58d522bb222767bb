//! COMMAND: the table as clients ask for it, in the servers' own shape. Cluster clients read it to find the
//! keys of what they send. DOCS and GETKEYSANDFLAGS are the backends' to answer.

use crate::command::facts::FlaggedKeySpec;
use crate::command::glob;
use crate::command::keys::positions;
use crate::command::spec::{BeginSearch, FindKeys, Flags, Keys, Spec};
use crate::command::table::{Lookup, Table};
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;

/// COMMAND INFO answers some 400 bytes a name; it takes at most this many names, to bound the reply.
const MOST_NAMES: usize = 4_096;

/// Answers a command whose treatment is [`Local::Command`](crate::command::spec::Local::Command) and whose
/// number of arguments was checked.
pub fn answer(table: &Table, spec: &Spec, request: &Request<'_>, reply: &mut ReplyWriter<'_>) {
    match &*spec.name {
        "command" => info_of_all(table, reply),
        "command|info" if request.len() == 2 => info_of_all(table, reply),
        "command|info" => info(table, request, reply),
        "command|count" => {
            reply.integer(
                i64::try_from(table.iter().filter(|row| !row.is_subcommand()).count()).unwrap_or(i64::MAX),
            );
        }
        "command|list" => list(table, request, reply),
        "command|getkeys" => get_keys(table, request, reply),
        "command|help" => help(reply),
        _ => reply.error("ERR unknown subcommand. Try COMMAND HELP."),
    }
}

fn info_of_all(table: &Table, reply: &mut ReplyWriter<'_>) {
    let commands = || table.iter().filter(|row| !row.is_subcommand());
    reply.array(commands().count());
    for spec in commands() {
        write_info(table, spec, reply);
    }
}

fn info(table: &Table, request: &Request<'_>, reply: &mut ReplyWriter<'_>) {
    let names = request.args_from(2);
    if names.len() > MOST_NAMES {
        return reply.error("ERR too many command names");
    }
    reply.array(names.len());
    for name in names {
        match table.by_full_name(name) {
            Some(spec) => write_info(table, spec, reply),
            None => reply.null(),
        }
    }
}

/// One command: ten elements, the last of which holds its subcommands in the same form.
fn write_info(table: &Table, spec: &Spec, reply: &mut ReplyWriter<'_>) {
    let facts = &spec.facts;
    reply.array(10);
    reply.bulk(&*spec.name);
    reply.integer(spec.arity.into());
    reply.set(spec.flags.words().count());
    spec.flags.words().for_each(|word| reply.simple(word));
    facts.triple.iter().for_each(|number| reply.integer((*number).into()));
    reply.set(facts.categories.len());
    facts.categories.iter().for_each(|category| reply.simple(&format!("@{category}")));
    reply.set(facts.tips.len());
    facts.tips.iter().for_each(|tip| reply.bulk(&**tip));
    reply.set(facts.key_specs.len());
    facts.key_specs.iter().for_each(|flagged| write_key_spec(flagged, reply));
    let subcommands = table.subcommands(spec);
    // None are an empty set with Redis 7, some an array.
    match subcommands.clone().count() {
        0 => reply.set(0),
        count => reply.array(count),
    }
    // A subcommand has none itself, so this goes one level deep.
    subcommands.for_each(|subcommand| write_info(table, subcommand, reply));
}

fn write_key_spec(flagged: &FlaggedKeySpec, reply: &mut ReplyWriter<'_>) {
    reply.map(3);
    reply.bulk("flags");
    reply.set(flagged.flags.len());
    flagged.flags.iter().for_each(|flag| reply.simple(flag));
    reply.bulk("begin_search");
    match &flagged.spec.begin {
        BeginSearch::Index(position) => write_search("index", &[("index", i64::from(*position))], reply),
        BeginSearch::Keyword { word, from } => {
            write_search_head("keyword", 2, reply);
            reply.bulk("keyword");
            reply.bulk(&**word);
            reply.bulk("startfrom");
            reply.integer((*from).into());
        }
        BeginSearch::Unknown => write_search("unknown", &[], reply),
    }
    reply.bulk("find_keys");
    match flagged.spec.find {
        FindKeys::Range { last, step, limit } => {
            let numbers = [("lastkey", last.into()), ("keystep", step.into()), ("limit", limit.into())];
            write_search("range", &numbers, reply);
        }
        FindKeys::KeyNum { count, first, step } => {
            let numbers = [("keynumidx", count.into()), ("firstkey", first.into()), ("keystep", step.into())];
            write_search("keynum", &numbers, reply);
        }
        FindKeys::Unknown => write_search("unknown", &[], reply),
    }
}

fn write_search(kind: &str, numbers: &[(&str, i64)], reply: &mut ReplyWriter<'_>) {
    write_search_head(kind, numbers.len(), reply);
    for (name, number) in numbers {
        reply.bulk(name);
        reply.integer(*number);
    }
}

fn write_search_head(kind: &str, len: usize, reply: &mut ReplyWriter<'_>) {
    reply.map(2);
    reply.bulk("type");
    reply.bulk(kind);
    reply.bulk("spec");
    reply.map(len);
}

/// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]. Of which module a learned command is,
/// the servers do not say.
fn list(table: &Table, request: &Request<'_>, reply: &mut ReplyWriter<'_>) {
    let is = |index: usize, word: &str| {
        request.arg(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    let wanted = request.arg(4).unwrap_or_default();
    match request.len() {
        2 => write_names(table, |_| true, reply),
        5 if is(2, "FILTERBY") && is(3, "MODULE") => reply.array(0),
        5 if is(2, "FILTERBY") && is(3, "ACLCAT") => {
            let in_category = |spec: &Spec| {
                spec.facts.categories.iter().any(|category| wanted.eq_ignore_ascii_case(category.as_bytes()))
            };
            write_names(table, in_category, reply);
        }
        5 if is(2, "FILTERBY") && is(3, "PATTERN") => {
            write_names(table, |spec| glob::matches_any_case(wanted, spec.name.as_bytes()), reply);
        }
        _ => reply.error("ERR syntax error"),
    }
}

fn write_names(table: &Table, is_wanted: impl Fn(&Spec) -> bool, reply: &mut ReplyWriter<'_>) {
    let names: Vec<_> = table.iter().filter(|spec| is_wanted(spec)).map(|spec| &spec.name).collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(&***name));
}

/// The keys of the request that stands in the arguments from 2 on.
fn get_keys(table: &Table, request: &Request<'_>, reply: &mut ReplyWriter<'_>) {
    let Some(inner) = request.tail(2) else { return reply.error("ERR Invalid command specified") };
    let Lookup::Found(spec) = table.find(&inner) else { return reply.error("ERR Invalid command specified") };
    let names_no_key = spec.facts.key_specs.iter().all(FlaggedKeySpec::is_not_key);
    if spec.keys == Keys::None || names_no_key {
        return reply.error("ERR The command has no key arguments");
    }
    if !spec.takes(inner.len()) {
        return reply.error("ERR Invalid number of arguments specified for command");
    }
    let found = positions(spec, &inner).unwrap_or_default();
    if found.len() == 0 && !spec.flags.contains(Flags::NO_MANDATORY_KEYS) {
        return reply.error("ERR Invalid arguments specified for command");
    }
    reply.array(found.len());
    found.for_each(|index| reply.bulk(inner.arg(index).unwrap_or_default()));
}

fn help(reply: &mut ReplyWriter<'_>) {
    reply.array(HELP.len());
    for line in HELP {
        reply.simple(line);
    }
}

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return details about all commands.",
    "COUNT",
    "    Return the total number of commands.",
    "LIST [FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    Return a list of all commands.",
    "INFO [<command-name> ...]",
    "    Return details about multiple commands, or all.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple commands, or all.",
    "GETKEYS <full-command>",
    "    Return the keys from a full command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full command.",
    "HELP",
    "    Print this help.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::local::tests::answered;
    use crate::command::spec::{Local, Treatment};
    use crate::resp::protocol::Protocol::{self, Resp2, Resp3};

    fn reply(protocol: Protocol, line: &str) -> String {
        answered(protocol, line, |table, spec, request, reply| answer(table, spec, &request, reply))
    }

    #[test]
    fn info_has_the_shape_of_the_servers() {
        // Taken from redis-server 7.0.15.
        assert_eq!(
            reply(Resp3, "COMMAND INFO get"),
            "*1 *10 $3 get :2 ~2 +readonly +fast :1 :1 :1 ~3 +@read +@string +@fast ~0 ~1 %3 $5 flags ~2 +RO \
             +access $12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :1 $9 find_keys %2 $4 type $5 range \
             $4 spec %3 $7 lastkey :0 $7 keystep :1 $5 limit :0 ~0 "
        );
        assert_eq!(
            reply(Resp2, "command info nix config|get"),
            "*2 $-1 *10 $10 config|get :-3 *4 +admin +noscript +loading +stale :0 :0 :0 *3 +@admin +@slow \
             +@dangerous *0 *0 *0 "
        );
        assert!(reply(Resp2, "COMMAND INFO xgroup").contains(" *6 *10 $13 xgroup|create "));
        assert!(reply(Resp2, "COMMAND INFO xread").contains(" $7 keyword $7 STREAMS $9 startfrom :1 "));
        assert!(
            reply(Resp2, "COMMAND INFO eval")
                .contains(" $6 keynum $4 spec *6 $9 keynumidx :0 $8 firstkey :1 ")
        );
    }

    #[test]
    fn all_commands_are_counted_listed_and_told() {
        let count = reply(Resp2, "COMMAND COUNT").trim_start_matches(':').trim().parse::<usize>().unwrap();
        assert!(reply(Resp3, "COMMAND").starts_with(&format!("*{count} *10 $3 acl ")));
        assert_eq!(reply(Resp3, "COMMAND"), reply(Resp3, "COMMAND INFO"));
        assert!(reply(Resp2, "COMMAND LIST").contains(" $10 config|get "));
    }

    #[test]
    fn lists_are_filtered() {
        assert_eq!(reply(Resp2, "COMMAND LIST FILTERBY PATTERN XPEN*"), "*1 $8 xpending ");
        assert_eq!(reply(Resp2, "COMMAND LIST filterby module x"), "*0 ");
        assert!(reply(Resp2, "COMMAND LIST FILTERBY ACLCAT Geo").contains(" $6 geoadd "));
        for line in ["COMMAND LIST x", "COMMAND LIST FILTERBY NIX x", "COMMAND LIST FILTERBY PATTERN"] {
            assert_eq!(reply(Resp2, line), "-ERR syntax error ", "{line}");
        }
    }

    #[test]
    fn keys_are_told_of_whole_commands() {
        assert_eq!(reply(Resp2, "COMMAND GETKEYS mset a 1 b 2"), "*2 $1 a $1 b ");
        assert_eq!(reply(Resp2, "COMMAND GETKEYS eval s 0"), "*0 ");
        for (line, text) in [
            ("nix k", "-ERR Invalid command specified "),
            ("config nix", "-ERR Invalid command specified "),
            ("ping", "-ERR The command has no key arguments "),
            ("spublish c m", "-ERR The command has no key arguments "),
            ("get", "-ERR Invalid number of arguments specified for command "),
            ("zunion x a", "-ERR Invalid arguments specified for command "),
        ] {
            assert_eq!(reply(Resp2, &format!("COMMAND GETKEYS {line}")), text, "{line}");
        }
    }

    #[test]
    fn every_local_row_is_answered_within_bounds() {
        for row in Table::builtin().iter().filter(|row| row.treatment == Treatment::Local(Local::Command)) {
            let text = reply(Resp3, &row.name.replace('|', " "));
            assert!(!text.starts_with("-ERR unknown"), "{}: {text}", row.name);
        }
        let line = format!("COMMAND INFO{}", " get".repeat(5_000));
        assert_eq!(reply(Resp2, &line), "-ERR too many command names ");
    }
}
