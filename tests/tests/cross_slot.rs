//! Commands whose keys are in several slots: the answers of one server, nothing lost half-way.

use std::collections::BTreeSet;
use std::thread;

use slotway_tests::cluster::Cluster;
use slotway_tests::play::wait_for_blocked;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::value::Value;

/// What is asked of a plain server and of the proxy over a cluster: every key is in a slot of its own.
const SCRIPT: &str = "
SADD s1 a b c 1 2
SADD s2 b c d 2 3
SADD s3 c x 2
SET str v
[] SUNION s1 s2 s3 none
[] SINTER s1 s2 s3
[] SDIFF s1 s2 none
[] SINTER s1 none
SINTERCARD 3 s1 s2 s3
SINTERCARD 2 s1 s2 LIMIT 1
SINTERCARD 2 s1 s2 LIMIT x
SINTERCARD 9 s1 s2
SUNION s1 str
SINTER s1 str
SDIFF none str
SUNIONSTORE dst s1 s2
[] SMEMBERS dst
SINTERSTORE dst s1 s2 dst
[] SMEMBERS dst
SDIFFSTORE dst s1 s1
EXISTS dst
SUNIONSTORE dst s1 str
SUNIONSTORE str s1 s2
TYPE str
DEL str
SET str v
ZADD z1 1 a 2.5 b 3 c 0.1 d
ZADD z2 10 a 20 b 0.2 d -inf e
ZADD z3 inf a
[] ZUNION 2 z1 z2
ZUNION 2 z1 z2 WITHSCORES
ZUNION 3 z1 z2 s1 WEIGHTS 2 0.1 5 AGGREGATE MIN WITHSCORES
ZINTER 2 z1 z2 WITHSCORES
ZINTER 2 z1 z2 WITHSCORES WEIGHTS 1
ZDIFF 2 z1 z2 WITHSCORES
ZINTERCARD 2 z1 z2
ZUNIONSTORE zd 2 z1 z2
ZRANGE zd 0 -1 WITHSCORES
ZUNIONSTORE zd 3 z1 z2 zd WEIGHTS 0.3 0.3 3
ZRANGE zd 0 -1 WITHSCORES
ZINTERSTORE zd 2 z2 z3
ZRANGE zd 0 -1 WITHSCORES
ZDIFFSTORE zd 2 z1 none
ZRANGE zd 0 -1 WITHSCORES
ZRANGESTORE zr z1 0 1 REV
ZRANGE zr 0 -1 WITHSCORES
ZRANGESTORE zr none 0 -1
EXISTS zr
ZRANGESTORE zr str 0 -1
ZUNION 2 z1 str
SMOVE s1 s2 a
SMOVE s1 s2 nope
SMOVE none s2 a
SMOVE s1 str b
SMOVE none str b
SMOVE str s1 b
SMOVE s1 new b
[] SMEMBERS s1
[] SMEMBERS s2
[] SMEMBERS new
SET ren value EXAT 9999999999
RENAME ren ren2
GET ren2
EXPIRETIME ren2
EXISTS ren
RENAME ren ren2
RENAMENX ren2 str
RENAMENX ren2 ren3
RENAMENX ren2 ren3
GET ren3
EXPIRETIME ren3
RENAME s2 ren3
[] SMEMBERS ren3
PERSIST ren3
RENAME ren3 s2
COPY s2 copied
COPY s2 copied
COPY s2 str REPLACE
COPY none copied
COPY s2 copied NOW
[] SMEMBERS str
DEL str
SET str v
SET ttl x EXAT 9999999999
COPY ttl ttl2
EXPIRETIME ttl2
RPUSH l1 1 2 3
LMOVE l1 l2 LEFT RIGHT
LMOVE l1 l2 RIGHT LEFT
LMOVE l1 l2 UP LEFT
RPOPLPUSH l1 l2
RPOPLPUSH l1 l2
LRANGE l2 0 -1
EXISTS l1
LMOVE l2 str LEFT LEFT
LMOVE none str LEFT LEFT
LMOVE str l2 LEFT LEFT
LRANGE l2 0 -1
LMPOP 2 l1 l2 LEFT COUNT 2
LMPOP 2 l1 str LEFT
LMPOP 2 l1 none LEFT
ZMPOP 3 none z1 z2 MIN COUNT 2
ZMPOP 2 none none2 MIN
PFADD p1 a b c
PFADD p2 c d e
PFCOUNT p1 p2
PFCOUNT p1 p2 none
PFCOUNT p1 str
PFMERGE p3 p1 p2
PFCOUNT p3
PFMERGE p1 p2
PFCOUNT p1
SET t1 ohmytext
SET t2 mynewtext
LCS t1 t2
LCS t1 t2 LEN
LCS t1 none
LCS t1 s1
SETBIT b1 7 1
SETBIT b2 6 1
BITOP OR bd b1 b2
GET bd
BITOP AND bd b1 b2 none
GET bd
BITOP NOT bd b1
GET bd
BITOP NOT bd b1 b2
BITOP OR bd b1 s1
MSETNX m1 1 m2 2 m3 3
MSETNX m4 1 m2 2
MSETNX m4 1 m5
MGET m1 m2 m3 m4
GEOADD g1 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
GEOSEARCHSTORE gd g1 FROMLONLAT 15 37 BYRADIUS 200 km ASC
ZRANGE gd 0 -1 WITHSCORES
GEOSEARCHSTORE gd g1 FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST
ZRANGE gd 0 -1
GEOSEARCHSTORE gd none FROMLONLAT 15 37 BYRADIUS 200 km
EXISTS gd
GEORADIUS g1 15 37 200 km STORE gr
ZRANGE gr 0 -1 WITHSCORES
RPUSH so 3 1 2
SORT so STORE sod
LRANGE sod 0 -1
SORT so DESC LIMIT 0 2 STORE sod
LRANGE sod 0 -1
SORT none STORE sod
EXISTS sod
XADD x1 1-1 f 1
XADD x2 2-1 f 2
XADD x3 3-1 f 3
XREAD STREAMS x1 x2 x3 0 0 0
XREAD COUNT 1 STREAMS x2 none x1 0 0 0-1
XREAD STREAMS x1 x2 9 9
XREAD STREAMS x1 str 0 0
XREAD STREAMS x1 x2 0
XREAD STREAMS x1 x2 0 foo
XGROUP CREATE x1 g 0
XGROUP CREATE x2 g 0
XREADGROUP GROUP g c STREAMS x1 x3 > >
XREADGROUP GROUP g c STREAMS x1 x2 > foo
XREADGROUP GROUP g c STREAMS x1 x2 > >
XREADGROUP GROUP g c STREAMS x1 x2 > >
XREADGROUP GROUP g c STREAMS x2 x1 0 0
XADD x1 9-1 f 9
XADD x2 9-2 f 9
XREAD BLOCK 10 STREAMS x1 none x2 0 0 9
XREAD BLOCK 10 STREAMS x1 none x2 9-1 0 9-2
XREADGROUP GROUP g c BLOCK 10 STREAMS x1 x3 > >
XREADGROUP GROUP g c BLOCK 10 STREAMS x1 x2 > >
XREADGROUP GROUP g c BLOCK 10 STREAMS x1 x2 > >
COPY s2 db DB 0
COPY s2 db DB 0 REPLACE
[e] DBSIZE
";

#[test]
fn the_answers_are_those_of_one_server() {
    let cluster = Cluster::start();
    compare(&Proxy::over(&cluster));
}

#[test]
fn so_they_are_over_standalone_servers() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let urls = servers.each_ref().map(|server| format!("redis://{}", server.addr()));
    compare(&Options::shards(&urls).start());
}

fn compare(proxy: &Proxy) {
    let server = Server::start();
    let mut differences = Vec::new();
    for protocol in [2, 3] {
        let mut plain = Raw::speaking(&server.addr(), protocol);
        let mut proxied = Raw::speaking(&proxy.addr(), protocol);
        assert_eq!(
            (plain.cmd("FLUSHALL").text(), proxied.cmd("FLUSHALL").text()),
            ("OK".into(), "OK".into())
        );
        for line in SCRIPT.lines().filter(|line| !line.is_empty()) {
            let (mark, command) =
                line.strip_prefix('[').and_then(|it| it.split_once("] ")).unwrap_or(("", line));
            let unordered = line.starts_with("[]");
            let (told, right) = (proxied.cmd(command), plain.cmd(command));
            let same = if unordered { sorted(&told) == sorted(&right) } else { told == right };
            if !same {
                differences
                    .push(format!("RESP{protocol} {mark}{command}\n  told  {told:?}\n  right {right:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    let mut client = proxy.client();
    assert!(client.cmd("KEYS slotway:*").items().is_empty(), "no temporary key is left");
    assert!(proxy.metric("commands_cross_slot") > 100);
}

fn sorted(value: &Value) -> BTreeSet<String> {
    value.items().iter().map(Value::text).collect()
}

#[test]
fn of_many_who_move_elements_each_gets_its_own_and_none_is_lost() {
    const MOVERS: usize = 8;
    const ELEMENTS: usize = 400;
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    for number in 0..ELEMENTS {
        client.send(&["RPUSH", "queue", &number.to_string()]);
        client.send(&["SADD", "pool", &number.to_string()]);
    }
    client.read_many(ELEMENTS * 2);
    let movers: Vec<_> = (0..MOVERS)
        .map(|mover| {
            let mut client = proxy.client();
            thread::spawn(move || {
                let mut moved = Vec::new();
                loop {
                    let element = client.cmd(&format!("LMOVE queue done:{mover} LEFT RIGHT"));
                    if element == Value::Nil {
                        return moved;
                    }
                    moved.push(element.text());
                    let member = moved.len().to_string();
                    let reply = client.cmd(&format!("SMOVE pool taken:{mover} {member}"));
                    assert!(matches!(reply, Value::Int(0 | 1)), "{reply:?}");
                }
            })
        })
        .collect();
    let mut moved: Vec<String> =
        movers.into_iter().flat_map(|mover| mover.join().expect("no panic")).collect();
    moved.sort_by_key(|element| element.parse::<usize>().expect("a number"));
    assert!(
        moved.iter().map(String::as_str).eq((0..ELEMENTS).map(|n| n.to_string()).collect::<Vec<_>>().iter())
    );
    let lists: usize =
        (0..MOVERS).map(|mover| client.cmd(&format!("LLEN done:{mover}")).int() as usize).sum();
    assert_eq!(lists, ELEMENTS);
    let sets = (0..MOVERS).map(|mover| client.cmd(&format!("SCARD taken:{mover}")).int()).sum::<i64>();
    assert_eq!(sets + client.cmd("SCARD pool").int(), ELEMENTS as i64, "a member is in one set");
    assert!(client.cmd("KEYS slotway:*").items().is_empty());
}

#[test]
fn a_rename_loses_nothing_that_is_written_meanwhile() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let writer = {
        let mut client = proxy.client();
        thread::spawn(move || {
            for number in 0..2_000 {
                client.cmd(&format!("RPUSH from {number}"));
            }
        })
    };
    let mut client = proxy.client();
    let mut found = BTreeSet::new();
    let mut renames = 0;
    while !writer.is_finished() || client.cmd("EXISTS from").int() == 1 {
        let reply = client.cmd("RENAME from to");
        if reply.is_error() {
            let said = reply.error();
            assert!(said == "ERR no such key" || said.contains("written to all the time"), "{said}");
            if said.contains("written") {
                client.cmd("DEL to");
            }
            continue;
        }
        renames += 1;
        found.extend(client.cmd("LRANGE to 0 -1").items().iter().map(Value::text));
        client.cmd("DEL to");
    }
    writer.join().expect("no panic");
    assert_eq!(found.len(), 2_000, "in {renames} renames");
}

#[test]
fn what_a_pipeline_asks_behind_it_sees_it() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    for line in [
        "SADD a 1 2",
        "SADD b 3",
        "SUNIONSTORE c a b",
        "SCARD c",
        "SADD b 4",
        "SUNION a b",
        "RENAME c d",
        "SCARD d",
    ] {
        client.send_line(line);
    }
    let replies = client.read_many(8);
    assert_eq!([2, 3, 4].map(|index| replies[index].int()), [3, 3, 1]);
    assert_eq!(replies[5].items().len(), 4);
    assert_eq!((replies[6].text(), replies[7].int()), ("OK".into(), 3));
}

#[test]
fn they_are_refused_where_the_settings_say_so() {
    let cluster = Cluster::start();
    let proxy = Options::cluster(&cluster.urls()).set(&["cluster.cross_slot=refuse"]).start();
    let mut client = proxy.client();
    for line in ["SUNION a b", "RENAME a b", "LMOVE a b LEFT LEFT", "MSETNX a 1 b 2", "XREAD STREAMS a b 0 0"]
    {
        let said = client.cmd(line);
        assert_eq!(said.error(), "CROSSSLOT Keys in request don't hash to the same slot", "{line}");
    }
    assert!(!client.cmd("SUNION {a}1 {a}2").is_error());
}

#[test]
fn what_is_too_large_to_be_moved_is_told_and_nothing_is_changed() {
    let cluster = Cluster::start();
    let proxy = Options::cluster(&cluster.urls()).set(&["cluster.cross_slot_memory=64KiB"]).start();
    let mut client = proxy.client();
    // Digits that no compression makes much smaller.
    let large: String =
        (0..60_000u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).to_string()).collect();
    client.call(&["SET", "large", &large]);
    client.cmd("SET other old");
    for line in ["RENAME large other", "COPY large other REPLACE", "BITOP NOT other large"] {
        let said = client.cmd(line);
        assert!(said.error().contains("cross_slot_memory"), "{line}: {said:?}");
    }
    assert_eq!(client.cmd("GET other").text(), "old");
    assert_eq!(client.cmd("GET large").text(), large);
    // What was held is given back.
    client.cmd("SET small y");
    assert_eq!(client.cmd("RENAME small other").text(), "OK");
    assert_eq!(client.cmd("GET other").text(), "y");
}

#[test]
fn an_element_is_waited_for_and_moved_to_another_slot() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    client.cmd("RPUSH from 1");
    assert_eq!(client.cmd("BLMOVE from to LEFT RIGHT 1").text(), "1");
    assert_eq!(client.cmd("BLMOVE from to LEFT RIGHT 0.05"), Value::Nil);
    client.cmd("SET str v");
    let mut waits = proxy.client();
    for (line, pushed) in [("BRPOPLPUSH from to 0", "2"), ("BLMOVE from to LEFT LEFT 0", "3")] {
        waits.send_line(line);
        wait_for_blocked(&proxy.addr(), 1);
        client.cmd(&format!("RPUSH from {pushed}"));
        assert_eq!(waits.read().text(), pushed);
    }
    assert_eq!(
        client.cmd("LRANGE to 0 -1").items().iter().map(Value::text).collect::<Vec<_>>(),
        ["3", "2", "1"]
    );
    waits.send_line("BLMOVE from str LEFT LEFT 0");
    wait_for_blocked(&proxy.addr(), 1);
    client.cmd("RPUSH from 4");
    assert!(waits.read().error().starts_with("WRONGTYPE"));
    assert_eq!(client.cmd("LRANGE from 0 -1").items().len(), 1, "it stays where it was");
    assert_eq!(client.cmd("BLMOVE from to UP LEFT 1").error(), "ERR syntax error");
    assert!(client.cmd("KEYS slotway:*").items().is_empty());
}
