//! Search over shards: the same documents on one server and behind the proxy give the same ids in the same order, in both
//! protocols; what can't be merged is refused with its reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use slotway::cluster::slot::Slot;
use slotway_tests::argv;
use slotway_tests::cluster::Cluster;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::resharding::ask_while_it_moves;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

const DOCUMENTS: u64 = 300;

const CREATE: &str = "FT.CREATE i ON HASH PREFIX 1 d: SCHEMA t TEXT SORTABLE g TAG SORTABLE n NUMERIC SORTABLE \
    p NUMERIC SORTABLE q NUMERIC loc GEO v VECTOR FLAT 6 TYPE FLOAT32 DIM 4 DISTANCE_METRIC L2 \
    w VECTOR HNSW 8 TYPE FLOAT32 DIM 4 DISTANCE_METRIC COSINE EF_RUNTIME 300";

/// Served by nodes of a cluster, and by standalone servers. `$V` stands for a vector.
const EVERYWHERE: &[&str] = &[
    "* SORTBY p",
    "* SORTBY p DESC LIMIT 10 20",
    "* SORTBY p ASC LIMIT 290 50 NOCONTENT",
    "* SORTBY p LIMIT 300 5",
    "* SORTBY p LIMIT 0 0",
    "'@n:[10 30]' SORTBY p DESC RETURN 2 n p",
    "@g:{a} SORTBY p WITHSORTKEYS RETURN 3 q AS other LIMIT 2 5",
    "@g:{a|b} SORTBY p WITHSORTKEYS NOCONTENT",
    "apple|pear SORTBY p RETURN 0",
    "'apple -red' SORTBY p DESC limit 0 3",
    "'@loc:[5 5 300 km]' SORTBY p NOCONTENT LIMIT 0 100",
    "* SORTBY n ASC NOCONTENT LIMIT 0 300",
    "* SORTBY n DESC NOCONTENT WITHSORTKEYS LIMIT 20 300",
    "* SORTBY t NOCONTENT LIMIT 0 300",
    "* NOCONTENT LIMIT 0 50",
    "* NOCONTENT WITHSCORES LIMIT 90 50",
    "'@n:[0 20]' LIMIT 0 4",
    "@g:{a} NOCONTENT LIMIT 0 60",
    "'@g:{a} @n:[0 40] -@g:{c}' NOCONTENT LIMIT 0 60",
    "apple SCORER DISMAX NOCONTENT WITHSCORES",
    "apple LIMIT 0 0",
    "'*=>[KNN 1 @v $B AS d]' SORTBY d PARAMS 2 B $V DIALECT 2",
    "'*=>[KNN 10 @v $B AS d]' SORTBY d RETURN 1 d PARAMS 2 B $V DIALECT 2",
    "'*=>[KNN 50 @w $B AS d]' SORTBY d LIMIT 5 20 NOCONTENT PARAMS 2 B $V DIALECT 2",
    "'*=>[KNN 20 @v $B AS d]' SORTBY d DESC NOCONTENT PARAMS 2 B $V DIALECT 2",
    "'@g:{a}=>[KNN $k @v $B]' SORTBY __v_score RETURN 2 __v_score p PARAMS 4 B $V k 7 DIALECT 2",
    "'(@n:[0 25])=>[KNN 15 @v $B AS d]' SORTBY p RETURN 2 p d LIMIT 3 9 PARAMS 2 B $V DIALECT 2",
    "'*=>[KNN 15 @v $B AS d]' NOCONTENT LIMIT 0 15 PARAMS 2 B $V DIALECT 2",
    "'*=>[KNN 1000 @v $B AS d]' SORTBY d NOCONTENT LIMIT 280 40 PARAMS 2 B $V DIALECT 2",
    "'@v:[VECTOR_RANGE 0.4 $B]=>{$yield_distance_as: d}' SORTBY d NOCONTENT PARAMS 2 B $V DIALECT 2",
    "'@n:[0 ' SORTBY p",
];

/// Where servers read their documents: not in a cluster.
const STANDALONE: &[&str] = &[
    "* SORTBY q LIMIT 0 20",
    "* SORTBY q DESC WITHSORTKEYS RETURN 1 q",
    "apple SORTBY p SUMMARIZE HIGHLIGHT RETURN 1 t",
    "* SORTBY nix",
];

const AGGREGATES: &[&str] = &[
    "* SORTBY 2 @p ASC",
    "* LOAD 1 @p SORTBY 2 @p DESC LIMIT 10 30",
    "* FILTER exists(@n) SORTBY 4 @n ASC @p DESC LIMIT 0 300",
    "* APPLY '@p * 3' AS x FILTER '@x > 100' SORTBY 2 @x ASC MAX 25",
    "* GROUPBY 1 @n REDUCE COUNT 0 AS c SORTBY 4 @c DESC @n ASC LIMIT 0 60",
    "* GROUPBY 1 @g REDUCE SUM 1 @p AS s REDUCE AVG 1 @p AS a REDUCE MIN 1 @p REDUCE MAX 1 @p SORTBY 2 @g ASC LIMIT 0 60",
    "* GROUPBY 0 REDUCE COUNT_DISTINCT 1 @n REDUCE AVG 1 @p",
    "'@n:[0 20]' GROUPBY 1 @n REDUCE COUNT 0 AS c SORTBY 2 @n DESC DIALECT 2",
    "nothing GROUPBY 1 @n REDUCE COUNT 0 AS c",
    "* LIMIT 0 0",
];

const REFUSED: &[(&str, &str)] = &[
    ("FT.SEARCH i apple", "give SORTBY"),
    ("FT.SEARCH i @g:{a|b}", "give SORTBY"),
    ("FT.SEARCH i @g:{a} WITHSCORES", "leave out WITHSCORES"),
    ("FT.SEARCH i * NEWOPTION 1", "'NEWOPTION' is not known"),
    ("FT.SEARCH i * SORTBY p LIMIT 0", "LIMIT lacks a value"),
    ("FT.SEARCH i * SORTBY p LIMIT 999999 10", "LIMIT exceeds maximum"),
    ("FT.AGGREGATE i * WITHCURSOR", "a cursor lives in one server"),
    ("FT.AGGREGATE i * GROUPBY 1 @n REDUCE STDDEV 1 @p", "'STDDEV'"),
    ("FT.AGGREGATE i * GROUPBY 1 @n REDUCE COUNT 0 AS c FILTER @c>1", "FILTER behind GROUPBY"),
    ("FT.AGGREGATE i * LIMIT 0 5 SORTBY 2 @p ASC APPLY @p AS x", "APPLY behind SORTBY"),
    ("FT.AGGREGATE i '*=>[KNN 3 @v $B]' PARAMS 2 B x DIALECT 2", "use FT.SEARCH"),
    ("FT.AGGREGATE i * GROUPBY 1 @g REDUCE MIN 1 @n", "FILTER exists"),
    ("FT.SPELLCHECK i aple", "one server would have to hold"),
    ("FT.PROFILE i SEARCH QUERY *", "one server would have to hold"),
];

#[test]
fn searches_over_a_cluster_give_what_one_server_gives() {
    if !Kind::Stack.is_installed() {
        return;
    }
    let (cluster, one) = (Cluster::with(Kind::Stack, 3, 0), Server::with(Kind::Stack, &[]));
    let proxy = Proxy::over(&cluster);
    load(&mut one.client(), &mut proxy.client());
    compare("FT.SEARCH", EVERYWHERE, &one.addr(), &proxy.addr());
    compare("FT.AGGREGATE", AGGREGATES, &one.addr(), &proxy.addr());
    let mut client = proxy.client();
    for (line, why) in REFUSED.iter().copied().chain([
        ("FT.SEARCH i * SORTBY q", "'q' is not SORTABLE"),
        ("FT.SEARCH i apple SORTBY p HIGHLIGHT", "SUMMARIZE or HIGHLIGHT needs the documents"),
        ("FT.AGGREGATE i * LOAD 1 @q", "'q' is not SORTABLE"),
        ("FT.AGGREGATE i * LOAD *", "LOAD * needs the documents"),
        ("FT.SEARCH {tag}i * SORTBY p NOCONTENT", "hash tag"),
    ]) {
        refuses(&mut client, line, why);
    }
    // The slot by which the first shard is asked leaves it, with what it has.
    let from = cluster.first_owner(Slot::FIXED);
    cluster.move_slot(Slot::FIXED, from, (from + 1) % 3);
    compare("FT.SEARCH", &EVERYWHERE[..6], &one.addr(), &proxy.addr());
}

/// Every step of a search asks each shard once, whatever slots have come and gone since the step before.
#[test]
fn a_search_is_whole_while_the_slot_goes_back_and_forth_by_which_a_shard_is_asked() {
    if !Kind::Stack.is_installed() {
        return;
    }
    let cluster = Cluster::with(Kind::Stack, 3, 0);
    let (one, proxy) = (Server::with(Kind::Stack, &[]), Proxy::over(&cluster));
    load(&mut one.client(), &mut proxy.client());
    let search = |mut client: Raw| {
        move || {
            // The fields are asked first, and then the shards.
            let said = client.cmd("FT.SEARCH i * SORTBY p LIMIT 0 3");
            if let Value::Error(error) = &said {
                assert!(error.starts_with(b"TRYAGAIN"), "{said:?}");
                return false;
            }
            assert_eq!(said.items()[0].int(), DOCUMENTS as i64, "{said:?}");
            true
        }
    };
    ask_while_it_moves(&cluster, Slot::FIXED, &mut [(); 6].map(|()| search(proxy.client())), || ());
}

#[test]
fn searches_over_standalone_servers_give_what_one_server_gives() {
    if !Kind::Stack.is_installed() {
        return;
    }
    let servers: Vec<_> = (0..4).map(|_| Server::with(Kind::Stack, &[])).collect();
    let (one, shards) = servers.split_first().unwrap();
    let urls: Vec<_> = shards.iter().map(|server| format!("redis://{}", server.addr())).collect();
    let proxy = Options::shards(&urls).start();
    load(&mut one.client(), &mut proxy.client());
    for lines in [EVERYWHERE, STANDALONE] {
        compare("FT.SEARCH", lines, &one.addr(), &proxy.addr());
    }
    compare("FT.AGGREGATE", AGGREGATES, &one.addr(), &proxy.addr());
    let mut client = proxy.client();
    for (line, why) in REFUSED {
        refuses(&mut client, line, why);
    }
    manages_indexes(&mut one.client(), &mut client, &shards[0]);
    works_with_redis_py(&proxy);
}

/// What is said of indexes is said of all shards; what failed half-way is repaired by saying it again.
fn manages_indexes(one: &mut Raw, proxy: &mut Raw, shard: &Server) {
    for line in [
        "FT._LIST",
        "FT.CREATE i SCHEMA n NUMERIC",
        "FT.ALTER i SCHEMA ADD more NUMERIC",
        "FT.ALIASADD also i",
        "FT.ALIASADD also i",
        "FT.SEARCH also * SORTBY p NOCONTENT",
        "FT.ALIASUPDATE also i",
        "FT.ALIASDEL also",
        "FT.ALIASDEL also",
        "FT.TAGVALS i g",
        "FT.EXPLAIN i '@n:[1 2] apple'",
        "FT.DICTADD words a b",
        "FT.DICTDUMP words",
        "FT.DICTDEL words a",
        "FT.CONFIG GET TIMEOUT",
        "FT.SEARCH nope *",
        "FT.INFO nope",
        "FT.DROPINDEX nope",
        "FT.SUGADD s word 1",
        "FT.SUGGET s wo",
        "FT.SYNUPDATE i group red scarlet",
        "FT.SYNDUMP i",
    ] {
        assert_eq!(normal(proxy.cmd(line)), normal(one.cmd(line)), "{line}");
    }
    let info = proxy.cmd("FT.INFO i");
    assert_eq!(info.field("num_docs").int(), DOCUMENTS as i64);
    let mut alone = shard.client();
    assert_eq!(alone.cmd("FT.CREATE half PREFIX 1 d: SCHEMA p NUMERIC SORTABLE").text(), "OK");
    let said = proxy.cmd("FT.SEARCH half * SORTBY p");
    assert!(said.error().contains("no such index"), "a part that looks whole: {said:?}");
    let created = proxy.cmd("FT.CREATE half PREFIX 1 d: SCHEMA p NUMERIC SORTABLE");
    assert_eq!(created.error(), "Index already exists");
    eventually("every shard has indexed it", Duration::from_secs(20), || {
        (proxy.cmd("FT.SEARCH half * LIMIT 0 0").items()[0].int() == DOCUMENTS as i64).then_some(())
    });
    assert_eq!(alone.cmd("FT.DROPINDEX half").text(), "OK");
    assert_eq!(proxy.cmd("FT.DROPINDEX half").text(), "OK");
    assert_eq!(proxy.cmd("FT.DROPINDEX half").error(), "Unknown Index name");
}

fn works_with_redis_py(proxy: &Proxy) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = env::var("SLOTWAY_PYTHON").unwrap_or_else(|_| "../target/venv/bin/python".to_owned());
    let python = root.join(python);
    assert!(python.is_file(), "no {}: tests/run.sh installs it", python.display());
    let program = root.join("clients/python/search.py");
    let output = Command::new(python).arg(program).env("SLOTWAY_ADDR", proxy.addr()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.matches(": ok").count() == 2, "{said}{errors}");
}

/// The same index and documents for both. Some lack a field.
fn load(one: &mut Raw, proxy: &mut Raw) {
    let mut random = Random(20_260_401);
    for client in [&mut *one, &mut *proxy] {
        eventually("the index is made", Duration::from_secs(10), || {
            let said = client.cmd(CREATE);
            // Before the proxy knows the shards and their commands.
            let waits = ["unknown command", "LOADING"].iter().any(|word| said.error().contains(word));
            (!waits).then(|| assert_eq!(said.text(), "OK"))
        });
    }
    let words = ["red", "green", "apple", "pear", "plum", "fast", "slow"];
    for number in 0..DOCUMENTS {
        // Ids that count up, in the order of insertion: then also equal rows have one server's order.
        let mut call = vec![b"HSET".to_vec(), format!("d:{number}").into_bytes()];
        let mut field = |name: &str, value: Vec<u8>| call.extend([name.as_bytes().to_vec(), value]);
        let text: Vec<_> = (0..=random.below(3)).map(|_| words[random.below(7) as usize]).collect();
        if random.below(10) > 0 {
            field("t", text.join(" ").into_bytes());
        }
        field("g", ["a", "b", "c", "a,b", "b,c"][random.below(5) as usize].into());
        if random.below(10) > 0 {
            field("n", random.below(50).to_string().into_bytes());
        }
        field("p", (number * 7 % DOCUMENTS).to_string().into_bytes());
        field("q", (number * 11 % DOCUMENTS).to_string().into_bytes());
        field("loc", format!("{},{}", random.below(10), random.below(10)).into_bytes());
        field("v", random.vector());
        field("w", random.vector());
        for client in [&mut *one, &mut *proxy] {
            assert!(!client.call(&call).is_error());
        }
    }
}

/// Asks both, in both protocols, and wants the same; documents' fields have no order.
fn compare(command: &str, lines: &[&str], one: &str, proxy: &str) {
    let vector = Random(7).vector();
    for protocol in [2, 3] {
        let (mut one, mut proxy) = (Raw::speaking(one, protocol), Raw::speaking(proxy, protocol));
        for line in lines {
            let mut call = vec![command.as_bytes().to_vec(), b"i".to_vec()];
            let words = argv::words(line).into_iter();
            call.extend(words.map(|word| if word == b"$V" { vector.clone() } else { word }));
            let (expected, said) = (normal(one.call(&call)), normal(proxy.call(&call)));
            assert_eq!(said, expected, "RESP{protocol}: {command} i {line}");
        }
    }
}

/// With the fields of documents in one order.
fn normal(value: Value) -> Value {
    let inside = |value: Value| match normal(value) {
        Value::Array(items) if is_document(&items) => Value::Array(sorted(&items)),
        other => other,
    };
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(inside).collect()),
        Value::Map(items) => Value::Map(sorted(&items.into_iter().map(inside).collect::<Vec<_>>())),
        other => other,
    }
}

fn is_document(items: &[Value]) -> bool {
    let names = || items.iter().step_by(2);
    items.len().is_multiple_of(2) && names().all(|name| matches!(name, Value::Bulk(_)))
}

fn sorted(items: &[Value]) -> Vec<Value> {
    let mut pairs: Vec<_> = items.chunks(2).map(<[Value]>::to_vec).collect();
    pairs.sort();
    pairs.concat()
}

fn refuses(client: &mut Raw, line: &str, why: &str) {
    let said = client.cmd(line).error();
    assert!(said.starts_with("ERR slotway: ") && said.contains(why), "{line}: {said}");
}

/// The same numbers for all: a linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn vector(&mut self) -> Vec<u8> {
        (0..4).flat_map(|_| (self.below(1_000_000) as f32 / 1e6).to_le_bytes()).collect()
    }
}
