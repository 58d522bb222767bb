//! Commands that the proxy learns from its backends: modules, and servers newer than its own table. Replies through the
//! proxy over a cluster are those of one plain server of the same kind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use slotway::cluster::slot::Slot;
use slotway::command::learned;
use slotway::command::spec::Treatment;
use slotway::command::table::Table;
use slotway_tests::cluster::Cluster;
use slotway_tests::fake::{Action, Fake, Script};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy, answered};
use slotway_tests::raw::{PATIENCE, Raw};
use slotway_tests::server::{Kind, Server};
use slotway_tests::topology::{bulk, bulks};
use slotway_tests::value::Value;

/// Lines whose replies are those of one server, byte for byte. Keys are spread over the slots unless they have a tag.
const STACK: &[&str] = &[
    r#"JSON.SET a $ {"x":1,"y":[1,2]}"#,
    r#"JSON.SET b $ {"x":2}"#,
    "JSON.SET c $ 5",
    "JSON.SET a $.x 7 XX",
    "JSON.GET a $.x",
    "JSON.GET missing",
    "JSON.MGET a b c missing a $.x",
    "JSON.MGET a",
    "json.mget a b",
    "JSON.MSET d $ 1 e $ 2 {d}2 $ 3",
    "JSON.MSET d $ 1 e",
    "JSON.MGET d e {d}2 $",
    "JSON.MGET {d}2 d $",
    "JSON.ARRAPPEND a $.y 3",
    "JSON.NUMINCRBY b $.x 5",
    "JSON.TYPE a $",
    "JSON.OBJKEYS a",
    "JSON.DEL b $.x",
    "JSON.DEBUG MEMORY missing",
    "BF.RESERVE bf 0.01 100",
    "BF.ADD bf one",
    "BF.MADD bf two three",
    "BF.EXISTS bf one",
    "BF.MEXISTS bf two nine",
    "BF.CARD bf",
    "CF.ADD cf one",
    "CF.EXISTS cf one",
    "CMS.INITBYDIM {c}1 100 5",
    "CMS.INITBYDIM {c}2 100 5",
    "CMS.INCRBY {c}1 x 3 y 1",
    "CMS.MERGE {c}2 1 {c}1",
    "CMS.INITBYDIM cx 100 5",
    "CMS.MERGE cx 2 {c}1 {c}2",
    "CMS.QUERY cx a",
    "CMS.MERGE cx 1 none",
    "CMS.QUERY {c}2 x y z",
    "TOPK.RESERVE topk 2",
    "TOPK.ADD topk a b a",
    "TOPK.QUERY topk a b c",
    "TDIGEST.CREATE {t}1",
    "TDIGEST.CREATE {t}2",
    "TDIGEST.ADD {t}1 1 2 3",
    "TDIGEST.MERGE {t}2 1 {t}1",
    "TDIGEST.MERGE tx 2 {t}1 {t}2",
    "TDIGEST.MAX tx",
    "TDIGEST.QUANTILE {t}2 0.5",
    "TS.CREATE s1 LABELS room a floor 1",
    "TS.CREATE s2 LABELS room b floor 1",
    "TS.CREATE s3 LABELS room a floor 2",
    "TS.ADD s1 1000 1.5",
    "TS.MADD s1 2000 2 s2 1000 5 s3 1000 9 s2 500 1 missing 1 1",
    "TS.MADD s1 3000",
    "TS.RANGE s1 - +",
    "TS.GET s2",
    "TS.QUERYINDEX floor=3",
    "TS.MGET FILTER floor=2",
    "TS.CREATE {r}src",
    "TS.CREATE {r}dst",
    "TS.CREATERULE {r}src {r}dst AGGREGATION avg 1000",
    "TS.DELETERULE {r}src {r}dst",
    "FT.SUGADD sug hello 1",
    "FT.SUGGET sug he",
    "JSON.NOSUCH a",
    "MULTI",
    "JSON.SET {m}a $ 1",
    "BF.ADD {m}b x",
    "JSON.MGET {m}a {m}c $",
    "EXEC",
];

/// As [`STACK`], but elements come in any order.
const STACK_UNORDERED: &[&str] = &[
    "TS.QUERYINDEX floor=(1,2)",
    "TS.MGET FILTER floor=(1,2)",
    "TS.MGET WITHLABELS FILTER room=a",
    "TS.MRANGE - + FILTER floor=1",
    "TS.MREVRANGE - + COUNT 1 WITHLABELS FILTER floor=(1,2)",
];

#[test]
fn the_modules_of_redis_stack_answer_as_on_one_server() {
    if !Kind::Stack.is_installed() {
        return;
    }
    let (cluster, plain) = (Cluster::with(Kind::Stack, 3, 0), Server::with(Kind::Stack, &[]));
    let proxy = Proxy::over(&cluster);
    for protocol in [2, 3] {
        compare(&proxy, &plain, protocol, STACK);
        let mut both = [Raw::speaking(&proxy.addr(), protocol), Raw::speaking(&plain.addr(), protocol)];
        for line in STACK_UNORDERED {
            let [ours, theirs] = both.each_mut().map(|client| unordered(client.cmd(line)));
            assert_eq!(ours, theirs, "RESP{protocol}: {line}");
        }
        let [ours, _] = &mut both;
        for (line, error) in [
            (
                "TS.MRANGE - + FILTER floor=1 GROUPBY room REDUCE sum",
                "ERR slotway: 'ts.mrange' is not supported",
            ),
            ("TIMESERIES.REFRESHCLUSTER", "ERR slotway: 'timeseries.refreshcluster' is not supported"),
            ("TS.CREATERULE s1 s2 AGGREGATION avg 1000", "CROSSSLOT"),
        ] {
            assert!(ours.cmd(line).error().starts_with(error), "RESP{protocol}: {line}");
        }
    }
    told(&mut proxy.client());
    let mut idle = proxy.client();
    idle.cmd("BF.CARD none");
    assert!(proxy.client().cmd("CLIENT LIST").text().contains("cmd=bf.card "));
    let (listed, learned) =
        (proxy.client().cmd("COMMAND LIST").items().len(), proxy.metric("commands_learned"));
    assert_eq!(listed as i64, proxy.client().cmd("COMMAND COUNT").int() + subcommands(&proxy));
    assert!(learned > 150, "{learned}");
}

/// What COMMAND's subcommands say of learned commands.
fn told(client: &mut Raw) {
    let info = client.cmd("COMMAND INFO JSON.GET json.nosuch");
    let [known, Value::Nil] = info.items() else { panic!("{info:?}") };
    assert_eq!(known.items()[0].text(), "json.get");
    let keys = |client: &mut Raw, line: &str| {
        let reply = client.cmd(&format!("COMMAND GETKEYS {line}"));
        reply.items().iter().map(Value::text).collect::<Vec<_>>()
    };
    let promised = client.cmd("SLOTWAY COMMANDS json.mget json.set");
    assert_eq!(promised.items()[1].field("route").text(), "its key's shard");
    assert_eq!(keys(client, "JSON.MGET a b $"), ["a", "b"]);
    assert_eq!(keys(client, "JSON.MSET a $ 1 b $ 2"), ["a", "b"]);
    assert_eq!(keys(client, "CMS.MERGE d 2 x y WEIGHTS 1 2"), ["d", "x", "y"]);
    let filtered = client.cmd("COMMAND LIST FILTERBY PATTERN bf.m*");
    assert_eq!(
        filtered.items().iter().map(Value::text).collect::<BTreeSet<_>>(),
        names(["bf.madd", "bf.mexists"])
    );
}

fn subcommands(proxy: &Proxy) -> i64 {
    let all = proxy.client().cmd("COMMAND");
    all.items().iter().map(|row| row.items()[9].items().len() as i64).sum()
}

/// Vector sets, and what hashes learned to do in Redis 8.
const REDIS_8: &[&str] = &[
    "VADD v1 VALUES 2 1 0 east",
    "VADD v1 VALUES 2 0 1 north",
    "VADD v2 VALUES 2 0 1 north",
    "VCARD v1",
    "VDIM v2",
    "VSIM v1 VALUES 2 1 0.1 COUNT 1",
    "VSIM v1 ELE north WITHSCORES",
    "VISMEMBER v1 east",
    "VSETATTR v1 east {}",
    "VGETATTR v1 east",
    "VREM v1 east",
    "HSETEX h EX 100 FIELDS 2 a 1 b 2",
    "HGETEX h PERSIST FIELDS 2 a c",
    "HEXPIRE h 100 FIELDS 2 a c",
    "HGETDEL h FIELDS 1 b",
    "HPERSIST h FIELDS 1 a",
];

/// What Valkey 9.1 has and Redis has not, or not yet.
const VALKEY: &[&str] = &[
    "HSET h a 1 b 2",
    "HEXPIRE h 100 FIELDS 2 a c",
    "HPERSIST h FIELDS 1 a",
    "HSETEX h EX 100 FIELDS 1 a 3",
    "HGETEX h PERSIST FIELDS 2 a c",
    "SET k v",
    "DELIFEQ k other",
    "DELIFEQ k v",
    "MSETEX 4 a 1 b 2 c 3 {a}2 4 EX 100",
    "MGET a b c {a}2",
    "MSETEX 2 {a}2 5 {a}3 6 NX",
    "MSETEX 2 {a}3 5 {a}4 6 NX KEEPTTL",
    "MGET {a}2 {a}3 {a}4",
    "MSETEX 0 a 1",
    "MSETEX x a 1",
    "MSETEX 2 {a} 1",
];

#[test]
fn what_newer_servers_have_works_too() {
    for (kind, lines) in [(Kind::Redis8, REDIS_8), (Kind::Valkey, VALKEY)] {
        if !kind.is_installed() {
            continue;
        }
        let (cluster, plain) = (Cluster::with(kind, 3, 0), Server::with(kind, &[]));
        let proxy = Proxy::over(&cluster);
        for protocol in [2, 3] {
            compare(&proxy, &plain, protocol, lines);
        }
        if kind == Kind::Valkey {
            let mut client = proxy.client();
            assert!(client.cmd("TTL c").int() > 90, "the option went with every part");
            assert!(client.cmd("MSETEX 2 a 1 b 2 NX").error().starts_with("CROSSSLOT"));
            assert!(client.cmd("MSETEX 2 a 1 b 2 EX 5 xx").error().starts_with("CROSSSLOT"));
        }
    }
}

/// Plays `lines` through the proxy and to the plain server, from empty data.
#[track_caller]
fn compare(proxy: &Proxy, plain: &Server, protocol: u8, lines: &[&str]) {
    let mut both = [Raw::speaking(&proxy.addr(), protocol), Raw::speaking(&plain.addr(), protocol)];
    // Waits until the client's worker knows the topology.
    both[0].cmd("GET x");
    both.iter_mut().for_each(|client| assert_eq!(client.cmd("FLUSHALL"), Value::Simple(b"OK".to_vec())));
    for line in lines {
        let [ours, theirs] = both.each_mut().map(|client| {
            client.send_line(line);
            client.read_frame().escape_ascii().to_string()
        });
        assert_eq!(ours, theirs, "RESP{protocol}: {line}");
    }
}

/// A reply's elements, or a map's pairs, in an order of our own.
fn unordered(reply: Value) -> (String, Vec<Vec<Value>>) {
    let (kind, size) = match &reply {
        Value::Map(_) => ("map", 2),
        Value::Set(_) => ("set", 1),
        _ => ("array", 1),
    };
    let mut elements: Vec<_> = reply.items().chunks(size).map(<[Value]>::to_vec).collect();
    elements.sort();
    (kind.to_owned(), elements)
}

#[test]
fn a_module_that_is_loaded_while_all_runs_is_found() {
    if !Kind::Stack.is_installed() {
        return;
    }
    let module = Kind::module("redisbloom").unwrap();
    let server = Server::with(Kind::usual(), &[("enable-module-command", "yes")]);
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    let mut client = proxy.client();
    let unknown = "ERR unknown command 'BF.ADD', with args beginning with: 'k' 'x' ";
    // Until the server was asked for the first time it is another error: that may be any moment.
    eventually("the server was asked", Duration::from_secs(20), || {
        (client.cmd("BF.ADD k x").error() == unknown).then_some(())
    });
    let before = client.cmd("COMMAND COUNT").int();
    assert_eq!(server.client().call(&["MODULE", "LOAD", &module.display().to_string()]).text(), "OK");
    // Nobody waits a minute for the next regular question: the command that is unknown leads to one.
    eventually("the command is learned", Duration::from_secs(20), || {
        (client.cmd("BF.ADD k x") == Value::Int(1)).then_some(())
    });
    assert_eq!(client.cmd("BF.EXISTS k x"), Value::Int(1));
    assert!(client.cmd("COMMAND COUNT").int() > before);
    assert_eq!(client.cmd("GET none"), Value::Nil, "and all else goes on");
}

/// What a server might say of commands of its own, as rows of COMMAND: of each name, flags, first key, and one tip.
fn rows(commands: &[(&str, &str, i64, &str)]) -> Vec<u8> {
    let row = |(name, flag, first, tip): &(&str, &str, i64, &str)| {
        let list = |word: &str| match word {
            "" => "*0\r\n".to_owned(),
            words => {
                let words: Vec<_> = words.split(' ').collect();
                format!(
                    "*{}\r\n{}",
                    words.len(),
                    words.iter().map(|word| format!("+{word}\r\n")).collect::<String>()
                )
            }
        };
        let (flags, tips) = (list(flag), list(tip));
        format!("*10\r\n{}:-1\r\n{flags}:{first}\r\n:{first}\r\n:1\r\n*0\r\n{tips}*0\r\n*0\r\n", bulk(name))
    };
    let rows: Vec<_> = commands.iter().map(row).collect();
    format!("*{}\r\n{}", rows.len(), rows.concat()).into_bytes()
}

/// A cluster of fakes, each of which answers with its place, and the proxy over it.
fn fakes(commands: &[u8]) -> (Vec<Fake>, Proxy) {
    let script = |node: usize| -> Box<Script> { Box::new(move |_| Action::line(&format!(":{node}"))) };
    let nodes = Fake::cluster((0..3).map(script).collect());
    nodes.iter().for_each(|node| node.tell_commands(commands));
    let urls: Vec<_> = nodes.iter().map(|node| format!("redis://{}", node.addr())).collect();
    let proxy = Options::cluster(&urls).eager().start();
    (nodes, proxy)
}

#[test]
fn what_is_learned_is_routed_by_the_servers_facts() {
    let sum = "request_policy:all_shards response_policy:agg_sum";
    let (nodes, proxy) = fakes(&rows(&[
        ("X.KEY", "readonly", 1, ""),
        ("X.SUBKEY", "write", 2, ""),
        ("X.WAIT", "blocking", 1, ""),
        ("X.COUNT", "readonly", 0, sum),
        ("X.COMPUTE", "fast", 0, ""),
        ("X.ADMIN", "admin", 0, ""),
        ("X.HIDES", "movablekeys", 0, ""),
        ("get", "admin", 0, ""),
        ("client|steal", "fast", 0, ""),
    ]));
    let mut client = proxy.client();
    assert_eq!(client.cmd("GET c"), Value::Int(1), "waits for the topology, which comes with the commands");
    // Slots 7365, 12182, 3300.
    for (key, owner) in [("c", 1), ("foo", 2), ("b", 0)] {
        for line in [format!("X.KEY {key} c"), format!("x.subkey c {key}"), format!("GET {key}")] {
            assert_eq!(client.cmd(&line), Value::Int(owner), "{line}");
        }
    }
    assert_eq!(client.cmd("X.COUNT"), Value::Int(3), "0 + 1 + 2");
    assert_eq!(client.cmd("X.COMPUTE"), Value::Int(0), "the fixed shard");
    assert!(client.cmd("X.ADMIN").error().starts_with("ERR slotway: 'x.admin' is not supported"));
    assert!(client.cmd("CLIENT STEAL").error().contains("'client|steal' is not supported"));
    assert_eq!(client.cmd("X.WAIT foo 7"), Value::Int(2));
    let waited = nodes[2].received().into_iter().find(|received| received.name() == "X.WAIT").unwrap();
    let shared = nodes[2].received().into_iter().find(|received| received.name() == "GET").unwrap();
    assert_ne!(waited.connection, shared.connection, "what may wait has a connection of its own");
    assert_eq!(waited.argv[2], b"7", "and is sent as it came");
    assert_eq!(client.cmd("X.HIDES foo"), Value::Int(0), "a cluster's node would say where its keys are");
    let urls: Vec<_> = nodes.iter().map(|node| format!("redis://{}", node.addr())).collect();
    let proxy = Options::shards(&urls).eager().start();
    let mut apart = proxy.client();
    let told = answered(&mut apart, "X.COMPUTE", PATIENCE);
    assert_eq!(told, Value::Int(0), "the fixed shard");
    assert!(apart.cmd("X.HIDES foo").error().contains("its keys can't be told"));
}

#[test]
fn a_backend_that_does_not_tell_its_commands_is_served_all_the_same() {
    let garbage =
        [b"-NOPERM no permission\r\n".to_vec(), b"+OK\r\n".to_vec(), b"*1\r\n*2\r\n:1\r\n:2\r\n".to_vec()];
    for reply in garbage.into_iter().chain([Vec::new()]) {
        let (_nodes, proxy) = fakes(&reply);
        let mut client = proxy.client();
        assert_eq!(client.cmd("GET foo"), Value::Int(2), "{}", reply.escape_ascii());
        assert!(client.cmd("X.KEY foo").error().starts_with("ERR unknown command 'X.KEY'"));
        assert_eq!(proxy.metric("commands_learned"), 0);
    }
}

/// Commands of Tair's vectors, `{}` standing for an index.
const TVS: &[&str] = &[
    "TVS.CREATEINDEX {} 2 HNSW L2",
    "TVS.GETINDEX {}",
    "TVS.HSET {} key VECTOR [1,2]",
    "TVS.HGETALL {} key",
    "TVS.HMGET {} key VECTOR",
    "TVS.HGET {} key VECTOR",
    "TVS.HLEN {} key",
    "TVS.HDEL {} key VECTOR",
    "TVS.DEL {} key",
    "TVS.HINCRBY {} key a 1",
    "TVS.HEXPIRE {} key 100",
    "TVS.HTTL {} key",
    "TVS.SCAN {} 0 COUNT 5",
    "TVS.KNNSEARCH {} 10 [1,2]",
    "TVS.KNNSEARCHFIELD {} 10 [1,2] 1 a",
    "TVS.MKNNSEARCH {} 10 1 [1,2]",
    "TVS.GETDISTANCE {} [1,2] 1 key",
    "TVS.MINDEXKNNSEARCH 1 {} 10 [1,2]",
    "TVS.MINDEXKNNSEARCH 2 {} {}:2 10 [1,2]",
    "TVS.MINDEXKNNSEARCHFIELD 2 {} {}:2 10 [1,2] 1 a",
    "TVS.MINDEXMKNNSEARCH 2 {} {}:2 10 1 [1,2]",
    "TVS.DELINDEX {}",
];

#[test]
fn the_vector_commands_of_tair_go_to_the_node_of_their_index() {
    // Each says its name, and of two indices for TVS.SCANINDEX.
    let script = |node: usize| -> Box<Script> {
        Box::new(move |received| match &*received.name() {
            "TVS.SCANINDEX" => {
                let names = bulks(&[&format!("{node}:a"), &format!("{node}:b")]);
                let reply = [b"*2\r\n".to_vec(), bulk("0").into_bytes(), names].concat();
                Action::Reply(reply)
            }
            _ => Action::bulk(&node.to_string()),
        })
    };
    let nodes = Fake::cluster((0..3).map(script).collect());
    let urls: Vec<_> = nodes.iter().map(|node| format!("redis://{}", node.addr())).collect();
    let proxy = Options::cluster(&urls).eager().start();
    let mut client = proxy.client();
    for (line, index) in TVS.iter().flat_map(|line| ["{x}", "{y}", "{z}", "{w}"].map(|index| (*line, index)))
    {
        let owner = (usize::from(Slot::of(index.as_bytes()).number()) / (16_384 / 3)).min(2);
        let line = line.replace("{}", index);
        assert_eq!(client.cmd(&line).text(), owner.to_string(), "{line}");
    }
    let crossing = client.cmd("TVS.MINDEXKNNSEARCH 2 {x} {y} 10 [1,2]");
    assert!(crossing.error().starts_with("CROSSSLOT"), "{crossing:?}");
    assert_eq!(scan_indices(&mut client), names(["0:a", "0:b", "1:a", "1:b", "2:a", "2:b"]));
}

/// All indices, over all shards.
fn scan_indices(client: &mut Raw) -> BTreeSet<String> {
    let (mut found, mut cursor) = (BTreeSet::new(), "0".to_owned());
    for _ in 0..10 {
        let reply = client.cmd(&format!("TVS.SCANINDEX {cursor} MATCH *"));
        found.extend(reply.items()[1].items().iter().map(Value::text));
        cursor = reply.items()[0].text();
        if cursor == "0" {
            return found;
        }
    }
    panic!("no end: {found:?}");
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn every_command_that_the_servers_list_is_known_or_learned() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_installed()) {
        let server = Server::with(kind, &[]);
        let [old, new] = [2, 3].map(|protocol| {
            let mut client = Raw::speaking(&server.addr(), protocol);
            client.send_line("COMMAND");
            learned::read(&client.read_frame()).unwrap()
        });
        assert_eq!(old, new, "{kind:?}: RESP2 and RESP3 say the same");
        let listed = server.client().cmd("COMMAND LIST");
        let (own, rows) = (Table::builtin(), old.len());
        let table = own.with_learned(old).map_or(own, |(table, _)| table);
        let missing: Vec<_> = listed
            .items()
            .iter()
            .map(Value::text)
            .filter(|name| table.by_full_name(name.as_bytes()).is_none())
            .collect();
        assert_eq!(missing, Vec::<String>::new(), "{kind:?}");
        assert!(rows >= listed.items().len(), "{kind:?}");
        println!("{kind:?}: {rows} rows, {} learned", table.learned());
        let surprises = surprises(&table);
        if kind == Kind::Stack {
            assert_eq!(surprises, expected_of_stack(), "what is not simply sent to the shard of its keys");
        } else {
            assert_eq!(surprises, BTreeMap::new(), "{kind:?}");
        }
    }
}

/// Learned commands that are not simply sent to the shard of their keys; of search, which is refused as a whole, none.
fn surprises(table: &Table) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    let learned = table.iter().skip(table.iter().len() - table.learned());
    for row in learned.filter(|row| row.treatment != Treatment::Keyed && !row.name.starts_with("ft.")) {
        found.entry(format!("{:?}", row.treatment)).or_default().insert(row.name.to_string());
    }
    found
}

fn expected_of_stack() -> BTreeMap<String, BTreeSet<String>> {
    let internal = [
        "timeseries.clusterset",
        "timeseries.clustersetfromshard",
        "timeseries.forceshardsconnection",
        "timeseries.hello",
        "timeseries.infocluster",
        "timeseries.innercommunication",
        "timeseries.networktest",
        "timeseries.refreshcluster",
    ];
    [
        ("Cross(Gather(First))", names(["cms.merge", "tdigest.merge"])),
        ("Split(GatherPath)", names(["json.mget"])),
        ("Split(Triples)", names(["json.mset"])),
        ("Split(GatherTriples)", names(["ts.madd"])),
        ("Series", names(["ts.mget", "ts.mrange", "ts.mrevrange"])),
        ("EveryShard(Concat)", names(["ts.queryindex"])),
        ("Refused(NodeAdmin)", names(internal)),
    ]
    .map(|(treatment, names)| (treatment.to_owned(), names))
    .into()
}
