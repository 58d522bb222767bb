//! The table of commands against the real servers: every server binary found is started and asked. Names
//! the servers that it skipped, and why.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it skips and fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use slotway::command::facts::Facts;
use slotway::command::keys::positions;
use slotway::command::local::command::answer;
use slotway::command::reviewed::{InNamespace, Unsafe};
use slotway::command::spec::{Flags, Spec};
use slotway::command::table::{Lookup, Table};
use slotway::resp::protocol::Protocol;
use slotway::resp::reply_writer::ReplyWriter;
use slotway::resp::request::{ArgRange, Request};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

#[test]
fn every_command_of_the_servers_has_its_row_with_the_same_facts() {
    let ours = rows(&our_reply("COMMAND"));
    let mut wrong = Vec::new();
    for (name, server) in servers() {
        let theirs = rows(&server.client().cmd("COMMAND"));
        assert!(theirs.len() > 300, "{}: only {} rows", name, theirs.len());
        // What modules bring is learned from the server, see `learned.rs`.
        let is_ours =
            |(command, row): &(&String, &Row)| ours.contains_key(*command) || !row.flags.contains("module");
        for (command, theirs) in theirs.iter().filter(is_ours) {
            let said = ours
                .get(command)
                .map_or_else(|| vec!["no row".to_owned()], |ours| ours.compare(command, theirs));
            wrong.extend(said.iter().map(|what| format!("{name}: {command}: {what}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a server brings that nobody looked at is refused to tenants who share it; that this is so for none of the
/// servers' commands of today is what the table is for. The modules' are among them.
#[test]
fn every_command_of_the_servers_is_reviewed_for_namespaces() {
    let mut unreviewed = Vec::new();
    for (name, server) in servers() {
        for command in rows(&server.client().cmd("COMMAND")).into_keys() {
            let row = Spec::new(&command.to_lowercase(), -1, Flags::NONE, Facts::default());
            if row.in_namespace == InNamespace::Refused(Unsafe::Unreviewed) {
                unreviewed.push(format!("{name}: {command}"));
            }
        }
    }
    assert!(unreviewed.is_empty(), "{}", unreviewed.join("\n"));
}

#[test]
fn keys_are_found_where_the_servers_find_them() {
    let mut wrong = Vec::new();
    for (name, server) in servers() {
        let mut client = server.client();
        for line in KEYED {
            let line = format!("COMMAND GETKEYS {line}");
            let (ours, theirs) = (our_reply(&line), ask(&mut client, &line));
            if theirs == error("ERR Invalid command specified") {
                eprintln!("{}: skipped, it lacks the command: {line}", name);
            } else if ours != theirs {
                wrong.push(format!("{}: {line}: {ours:?}, the server says {theirs:?}", name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_impossible_count_of_keys_is_refused_in_the_servers_words() {
    let table = Table::builtin();
    for (name, server) in servers() {
        let mut client = server.client();
        let library = "#!lua\u{a0}name=l\nredis.register_function('f',function()\u{a0}end)";
        assert_eq!(ask(&mut client, &format!("FUNCTION LOAD {library}")).text(), "l");
        assert_eq!(ask(&mut client, "SCRIPT LOAD return").text(), SCRIPT);
        for (command, rest) in COUNTED {
            let command = command.replace("SHA1", SCRIPT);
            for count in ["x", "-1", "99", "-9223372036854775808", "99999999999999999999", "01", "+1"] {
                let line = format!("{command} {count} {rest}");
                let theirs = ask(&mut client, &line);
                if theirs.error().contains("unknown command") {
                    eprintln!("{}: skipped, it lacks the command: {line}", name);
                    continue;
                }
                let ours = with_request(&line, |request| {
                    let spec = find(&table, &request);
                    positions(spec, &request).expect_err(&line).text(spec).into_owned()
                });
                assert_eq!(error(&ours), theirs, "{}: {line}", name);
            }
        }
    }
}

/// Lines that bring up every kind of key spec and every option that holds a key. Left out, since GETKEYS errs
/// where the server itself routes by its grammar: PFMERGE of a destination alone, and XREADGROUP of a group
/// called STREAMS.
const KEYED: &[&str] = &[
    "get k",
    "set k v ex 10",
    "set k v get",
    "getex k persist",
    "append k v",
    "mget a b c",
    "mset a 1 b 2 c 3",
    "msetnx a 1 b 2",
    "msetex 2 a 1 b 2 nx",
    "del a b",
    "unlink a b",
    "exists a a",
    "touch a b c",
    "rename a b",
    "copy a b db 1 replace",
    "object encoding k",
    "object freq k",
    "memory usage k samples 5",
    "expire k 10 nx",
    "bitop and d a b c",
    "bitcount k 0 1 bit",
    "bitfield k get u8 0",
    "bitfield_ro k get u8 0",
    "setbit k 1 1",
    "pfadd k a",
    "pfcount a b",
    "pfmerge d a b",
    "lcs a b len",
    "lpush k a b",
    "lmove a b left right",
    "blmove a b left right 0",
    "rpoplpush a b",
    "brpoplpush a b 0",
    "blpop a b c 0",
    "brpop a 0",
    "lmpop 2 a b left count 5",
    "blmpop 0 2 a b left",
    "linsert k before a b",
    "sadd k a",
    "smove a b m",
    "sinter a b",
    "sintercard 2 a b limit 1",
    "sdiffstore d a b",
    "sunionstore d a",
    "hset k f v",
    "hmget k a b",
    "hexpire k 10 fields 1 f",
    "hrandfield k 2",
    "zadd k 1 a",
    "zrange k 0 -1",
    "zrangestore d k 0 -1",
    "zunion 2 a b weights 1 2",
    "zinter 1 a withscores",
    "zdiff 2 a b",
    "zintercard 2 a b",
    "zunionstore d 2 a b aggregate max",
    "zinterstore d 1 a",
    "zdiffstore d 2 a b",
    "zmpop 1 a min",
    "bzmpop 0 2 a b max",
    "bzpopmin a b 0",
    "geoadd k 1 2 m",
    "geosearchstore d k frommember m byradius 1 km",
    "georadius k 1 2 3 km",
    "georadius k 1 2 3 km store d",
    "georadius k 1 2 3 km count 2 any asc storedist d",
    "georadiusbymember k m 3 km store d",
    "georadiusbymember_ro k m 3 km",
    "sort k",
    "sort k by w_* limit 0 5 get # get o_* alpha store d",
    "sort k get store store d",
    "sort_ro k by w_*",
    "xadd k * f v",
    "xread count 2 streams a b 0 0",
    "xread block 0 streams a $",
    "xread streams streams 0",
    "xreadgroup group g c count 2 noack streams a b > >",
    "xreadgroup group block c streams a >",
    "xgroup create k g $ mkstream",
    "xinfo stream k full",
    "xautoclaim k g c 0 0",
    "eval s 0",
    "eval s 0 a b",
    "eval s 2 a b c",
    "eval s 5 a",
    "evalsha_ro s 1 a",
    "fcall f 2 a b c",
    "fcall_ro f 1 a",
    "move k 1",
    "migrate h 1 k 0 5",
    "watch a b",
    "restore k 0 v",
    "spublish c m",
    "publish c m",
    "config get x",
    "get k v",
    "zunion 0 a",
    "zunion x a",
    "xread count 1 1 2",
    "debug object k",
];

/// Commands that carry a count of keys, and what may follow it.
const COUNTED: &[(&str, &str)] = &[
    ("eval return", "k"),
    ("eval_ro return", "k"),
    ("evalsha SHA1", "k"),
    ("fcall f", "k"),
    ("zunion", "a"),
    ("zunionstore d", "a"),
    ("zinter", "a"),
    ("zinterstore d", "a"),
    ("zdiff", "a"),
    ("zdiffstore d", "a"),
    ("zintercard", "a"),
    ("lmpop", "a left"),
    ("zmpop", "a min"),
    ("sintercard", "a"),
    ("msetex", "a b"),
];

/// The SHA-1 of the script `return`.
const SCRIPT: &str = "63143b6f8007b98c53ca2149822777b3566f9241";

/// One command as COMMAND tells it, ours or a server's.
struct Row {
    arity: i64,
    flags: BTreeSet<String>,
    triple: Vec<Value>,
    key_specs: Vec<String>,
}

/// Flags that decide what the proxy does; the others differ between versions and are only shown.
const DECISIVE: &[Flags] = &[
    Flags::WRITE,
    Flags::READONLY,
    Flags::ADMIN,
    Flags::PUBSUB,
    Flags::BLOCKING,
    Flags::NO_AUTH,
    Flags::MOVABLEKEYS,
    Flags::NO_MANDATORY_KEYS,
];

impl Row {
    /// How this row of ours differs from the server's.
    fn compare(&self, name: &str, theirs: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        // Newer servers take more arguments: a negative arity covers a fixed one.
        let covers = self.arity < 0 && self.arity.abs() <= theirs.arity.abs();
        // A module checks by itself, and tells nothing.
        let is_told = !theirs.flags.contains("module");
        if self.arity != theirs.arity && !covers && is_told {
            wrong.push(format!("arity {}, the server says {}", self.arity, theirs.arity));
        }
        for word in DECISIVE.iter().flat_map(|flag| flag.words()) {
            // Blocking by its flag since Valkey 8 only.
            let is_newer = (name, word) == ("wait", "blocking");
            if self.flags.contains(word) != theirs.flags.contains(word) && !is_newer {
                wrong.push(format!("flags {:?}, the server says {:?}", self.flags, theirs.flags));
            }
        }
        wrong.extend(
            theirs
                .flags
                .iter()
                .filter(|word| Flags::from_word(word).is_none())
                .map(|w| format!("new flag {w}")),
        );
        if self.triple != theirs.triple || self.key_specs != theirs.key_specs {
            wrong.push(format!("keys {:?}, the server says {:?}", self.key_specs, theirs.key_specs));
        }
        wrong
    }
}

/// The rows of a reply to COMMAND, subcommands included.
fn rows(reply: &Value) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for info in reply.items() {
        let [name, arity, flags, first, last, step, _acl, _tips, specs, subcommands] = info.items() else {
            panic!("not a row of COMMAND: {info:?}")
        };
        let row = Row {
            arity: arity.int(),
            flags: flags.items().iter().map(Value::text).collect(),
            triple: vec![first.clone(), last.clone(), step.clone()],
            key_specs: specs.items().iter().map(key_spec).collect(),
        };
        rows.insert(name.text().to_lowercase(), row);
        rows.extend(self::rows(subcommands));
    }
    rows
}

/// Where a key spec finds keys. Its flags are left out, and its notes.
fn key_spec(spec: &Value) -> String {
    let pairs = spec.items().chunks(2);
    let found = pairs.filter(|pair| ["begin_search", "find_keys"].contains(&&*pair[0].text()));
    found.map(|pair| format!("{:?} ", pair[1])).collect()
}

/// What our COMMAND answers to `line`.
fn our_reply(line: &str) -> Value {
    let table = Table::builtin();
    let mut out = Vec::new();
    with_request(line, |request| {
        answer(&table, find(&table, &request), &request, &mut ReplyWriter::new(&mut out, Protocol::Resp2));
    });
    Value::decode(&out)
}

fn find<'t>(table: &'t Table, request: &Request<'_>) -> &'t Spec {
    match table.find(request) {
        Lookup::Found(spec) => spec,
        lookup => panic!("{lookup:?}"),
    }
}

fn with_request<T>(line: &str, check: impl FnOnce(Request<'_>) -> T) -> T {
    let mut start = 0;
    let ranges = line.split(' ').map(|word| {
        let range = ArgRange { start, len: u32::try_from(word.len()).unwrap() };
        start += range.len + 1;
        range
    });
    let argv: Vec<_> = ranges.collect();
    check(Request::new(line.as_bytes(), &argv))
}

/// A server of each kind that is installed, with its name.
fn servers() -> Vec<(String, Server)> {
    let mut servers = Vec::new();
    for kind in Kind::ALL {
        match kind.binary() {
            Ok(binary) => servers.push((binary.display().to_string(), Server::with(kind, &[]))),
            Err(reason) => eprintln!("skipped: {reason}"),
        }
    }
    assert!(!servers.is_empty(), "no server to compare with: install redis-server or valkey-server");
    servers
}

/// Asks with the words of `line`, in which a no-break space stands for a blank inside a word.
fn ask(client: &mut Raw, line: &str) -> Value {
    let words: Vec<_> = line.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
    client.call(&words)
}

/// An error reply of this text.
fn error(text: &str) -> Value {
    Value::Error(text.into())
}
